"""From a file to the picture that its header describes: decoded, windowed, bright where calcium is.

The order is the standard's: modality transformation (PS3.3 C.11.1), then VOI LUT or window (C.11.2), then presentation:
MONOCHROME1 and PresentationLUTShape INVERSE mean that the smallest value is shown white (C.7.6.3.1.2), so the picture is
inverted on its own output range and never on the range of the stored bits.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut
from scipy.special import expit

from tramtrack.errors import TramtrackError

PICTURE_SUFFIXES = (".png", ".tif", ".tiff")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_BIT_DEPTH = 24
"""Where a PNG's header keeps its bits for each channel."""
TIFF_PHOTOMETRIC = 262


class PixelError(TramtrackError):
    """A file's pixels cannot be read; ``kind`` says why in a word.

    It is no-pixels, no-decoder, truncated, not-grey, multi-frame or unreadable.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@dataclass(frozen=True)
class Picture:
    """Grey values (rows, columns), float32 in [0, 1], dense tissue bright; ``steps`` names what was applied, in order."""

    values: np.ndarray
    steps: tuple[str, ...]


def read_stored(path: Path) -> np.ndarray:
    """The stored pixel values of a DICOM, PNG or TIFF file: (rows, columns), as stored (uint8, uint16, int16).

    Colour pictures whose channels are equal are grey; others are refused. Raises PixelError.
    """
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return _read_picture(path)
    return decode(pydicom.dcmread(path), path)


def decode(dataset: Dataset, path: Path) -> np.ndarray:
    """The stored values of a single-frame DICOM image: (rows, columns). Raises PixelError."""
    if "PixelData" not in dataset:
        if _pixel_data_begins(path):
            raise PixelError("truncated", f"{path}: the file ends within its compressed pixel data")
        raise PixelError("no-pixels", f"{path}: has no pixel data")
    expected = int(dataset.get("Rows", 0)) * int(dataset.get("Columns", 0))
    if expected == 0:
        raise PixelError("unreadable", f"{path}: rows or columns are zero or missing")
    try:
        stored = dataset.pixel_array
    except (NotImplementedError, AttributeError, RuntimeError, ValueError, OSError, EOFError) as error:
        if "memoryerror" in str(error).lower() or "unable to allocate" in str(error).lower():
            raise MemoryError(str(error)) from error  # pydicom gathers what its decoders raise into one RuntimeError
        raise PixelError(_kind_of(error), f"{path}: {_one_line(error)}") from error
    if stored.ndim != 2:
        raise PixelError("not-grey", f"{path}: expected one grey frame, found an array of shape {stored.shape}")
    return np.asarray(stored, dtype=stored.dtype.newbyteorder("="))


def _pixel_data_begins(path: Path) -> bool:
    """Whether pixel data follows a file's header, though pydicom, which drops a sequence that breaks off, shows none."""
    with path.open("rb") as stream:
        pydicom.dcmread(stream, stop_before_pixels=True)
        return stream.read(4) in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")


def read_picture(path: Path) -> Picture:
    """The picture that a file describes, whatever its format. Raises PixelError."""
    if path.suffix.lower() in PICTURE_SUFFIXES:
        stored = _read_picture(path)
        return Picture(stored.astype(np.float32) / np.float32(np.iinfo(stored.dtype).max), (f"{stored.dtype} / maximum",))
    dataset = pydicom.dcmread(path)
    return present(decode(dataset, path), dataset)


def present(stored: np.ndarray, dataset: Dataset) -> Picture:
    """Apply what the header says to stored values (rows, columns): modality LUT, VOI, photometric interpretation.

    Every step treats each pixel by itself, so it is done once for each grey level and looked up for each pixel.
    """
    lowest, highest = int(stored.min()), int(stored.max())
    if highest - lowest >= stored.size:
        return _present(stored, dataset)
    table = _present(np.arange(lowest, highest + 1, dtype=stored.dtype), dataset)
    return Picture(table.values[stored.astype(np.int64) - lowest], table.steps)


def _present(stored: np.ndarray, dataset: Dataset) -> Picture:
    steps: list[str] = []
    values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64)
    if "ModalityLUTSequence" in dataset:
        steps.append("modality LUT")
    elif "RescaleSlope" in dataset:
        steps.append(f"rescale {float(dataset.RescaleSlope):g} x + {float(dataset.get('RescaleIntercept', 0)):g}")
    voi = dataset.get("VOILUTSequence")
    if voi:
        values = _through_lut(values, voi[0])
        steps.append("VOI LUT")
    elif dataset.get("WindowCenter") not in (None, "") and dataset.get("WindowWidth") not in (None, ""):
        centre, width = _first(dataset.WindowCenter), _first(dataset.WindowWidth)
        function = str(dataset.get("VOILUTFunction", "LINEAR") or "LINEAR").upper()
        values = window(values, centre, width, function)
        steps.append(f"window {centre:g}/{width:g} {function}")
    else:
        ends = _range_after_modality(dataset)
        values = np.clip((values - ends[0]) / max(ends[1] - ends[0], 1e-12), 0, 1)
        steps.append("no window: the stored range")
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE":
        values = 1.0 - values
        steps.append("inverted (smallest value is white)")
    return Picture(values.astype(np.float32), tuple(steps))


def window(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """Values through a VOI window to [0, 1]: LINEAR, LINEAR_EXACT or SIGMOID of PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    if function == "SIGMOID":
        return np.asarray(expit(4.0 * (values - centre) / max(width, 1e-12)))
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / max(width, 1e-12) + 0.5, 0, 1)
    if function == "LINEAR":
        if width <= 1:
            return np.where(values > centre - 0.5, 1.0, 0.0)
        return np.clip((values - (centre - 0.5)) / (width - 1.0) + 0.5, 0, 1)
    raise PixelError("unreadable", f"VOI LUT function {function}: expected LINEAR, LINEAR_EXACT or SIGMOID")


def _through_lut(values: np.ndarray, item: Dataset) -> np.ndarray:
    """Values through a VOI LUT to [0, 1]: PS3.3 C.11.2.1.1, below the first mapped value its first entry, above the last."""
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    table = np.frombuffer(item.LUTData, dtype="<u2") if isinstance(item.LUTData, bytes) else np.asarray(item.LUTData)
    table = table[: entries or 65536].astype(np.float64)
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, len(table) - 1)
    return np.clip(table[index] / float(2**bits - 1), 0, 1)


def _range_after_modality(dataset: Dataset) -> tuple[float, float]:
    """The least and the greatest value that stored pixels can have once the modality transformation is done."""
    sequence = dataset.get("ModalityLUTSequence")
    if sequence:
        return 0.0, float(2 ** int(sequence[0].LUTDescriptor[2]) - 1)
    bits = int(dataset.get("BitsStored", 16))
    signed = int(dataset.get("PixelRepresentation", 0)) == 1
    low = -float(2 ** (bits - 1)) if signed else 0.0
    slope, intercept = float(dataset.get("RescaleSlope", 1) or 1), float(dataset.get("RescaleIntercept", 0) or 0)
    ends = sorted((low * slope + intercept, (low + 2**bits - 1) * slope + intercept))
    return ends[0], ends[1]


def _first(value: Any) -> float:
    return float(value[0]) if isinstance(value, (pydicom.multival.MultiValue, list, tuple)) else float(value)


def _read_picture(path: Path) -> np.ndarray:
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            frames = getattr(image, "n_frames", 1)
            if frames > 1:
                raise PixelError("multi-frame", f"{path}: expected one picture, found {frames}")
            grey = image.mode.startswith(("L", "I"))
            if not grey and content.startswith(PNG_SIGNATURE) and content[PNG_BIT_DEPTH] == 16:
                raise PixelError("not-grey", f"{path}: a 16-bit colour PNG would be read as 8 bit; save it as 16-bit grey")
            white_is_zero = getattr(image, "tag_v2", {}).get(TIFF_PHOTOMETRIC) == 0
            values = np.asarray(image.convert("RGB") if image.mode == "P" else image)
            values = values[..., 0] if image.mode == "LA" else values
            if white_is_zero and image.mode == "I;16":  # Pillow turns the other depths itself
                values = np.iinfo(np.uint16).max - values
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PixelError("unreadable", f"{path}: expected a PNG or TIFF picture, {_one_line(error)}") from error
    if values.ndim == 3:
        colours = values[..., :3]
        if np.any(colours != colours[..., :1]):
            raise PixelError("not-grey", f"{path}: expected a grey picture, its colour channels differ")
        values = colours[..., 0]
    if values.dtype == np.dtype(">u2"):
        values = values.astype(np.uint16)
    if values.dtype == np.int32 and values.min(initial=0) >= 0 and values.max(initial=0) <= 65535:
        values = values.astype(np.uint16)
    if values.dtype not in (np.uint8, np.uint16):
        raise PixelError("not-grey", f"{path}: expected 8 or 16 bit grey values, found {values.dtype}")
    return values


def _kind_of(error: Exception) -> str:
    text = str(error).lower()
    if "unable to decompress" in text and ("missing dependencies" in text or "plugins are missing" in text):
        return "no-decoder"
    if "no pixel data decoders" in text or ("transfer syntax" in text and "not supported" in text):
        return "no-decoder"
    if isinstance(error, NotImplementedError):
        return "no-decoder"
    if any(sign in text for sign in ("less than", "doesn't match", "too short", "unexpected end", "truncat", "premature")):
        return "truncated"
    return "unreadable"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
