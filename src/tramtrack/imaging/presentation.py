"""What a header says of grey values: from stored values to the picture that it describes, bright where calcium is.

The order is the standard's: modality transformation (PS3.3 C.11.1), then VOI LUT or window (C.11.2), then presentation:
MONOCHROME1 and PresentationLUTShape INVERSE mean that the smallest value is shown white (C.7.6.3.1.2), so the picture is
inverted on its own output range and never on the range of the stored bits. Padding (C.7.5.1.1.2) is black at the end.
Overlays (C.9.2) are never drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut
from scipy.special import expit

from tramtrack.errors import TramtrackError

FOR_PROCESSING_CLASS = "1.2.840.10008.5.1.4.1.1.1.2.1"
MALFORMED = (AttributeError, KeyError, IndexError, TypeError, ValueError, ArithmeticError, NotImplementedError)
"""What an attribute raises that is missing in a sequence, empty, or something else; not repeated, it may quote a value."""


class PixelError(TramtrackError):
    """A file's pixels cannot be read; ``kind`` says why in a word.

    It is no-pixels, no-decoder, truncated, not-grey, multi-frame, too-large or unreadable.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@dataclass(frozen=True)
class Picture:
    """Grey values (rows, columns), float32 in [0, 1], dense tissue bright; ``steps`` names what was applied, in order."""

    values: np.ndarray
    steps: tuple[str, ...]


def is_for_processing(dataset: Dataset) -> bool:
    """Whether a header is that of raw detector data (Presentation Intent Type, PS3.3 C.8.11.1)."""
    intent = str(dataset.get("PresentationIntentType", "") or "").strip().upper()
    return intent == "FOR PROCESSING" or str(dataset.get("SOPClassUID", "")) == FOR_PROCESSING_CLASS


def present(stored: np.ndarray, dataset: Dataset) -> Picture:
    """Apply what the header says to stored values (rows, columns): modality LUT, VOI, photometric interpretation, padding.

    Every step treats each pixel by itself, so it is done once for each grey level and looked up for each pixel. Raises
    PixelError where the header's numbers describe no picture.
    """
    lowest, highest = int(stored.min()), int(stored.max())
    every = highest - lowest >= stored.size
    try:
        table = _present(stored if every else np.arange(lowest, highest + 1, dtype=stored.dtype), dataset)
    except MALFORMED as error:
        raise PixelError("unreadable", f"what the header says of grey values is malformed ({type(error).__name__})") from error
    if every:
        return table
    if stored.dtype in (np.uint8, np.uint16):  # indexing with what is stored saves a copy of eight bytes a pixel
        whole = np.zeros(highest + 1, dtype=np.float32)
        whole[lowest:] = table.values
        return Picture(whole[stored], table.steps)
    return Picture(table.values[stored.astype(np.int64) - lowest], table.steps)


def _present(stored: np.ndarray, dataset: Dataset) -> Picture:
    steps = ["signed"] if stored.dtype.kind == "i" else []
    values = np.asarray(stored, dtype=np.float64)
    if dataset.get("ModalityLUTSequence"):
        values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64)
        steps.append("modality LUT")
    elif "RescaleSlope" in dataset or "RescaleIntercept" in dataset:
        slope, intercept = _rescale(dataset)
        values = values * slope + intercept
        steps.append(f"rescale {slope:g} x + {intercept:g}")
    values = _raw(values, dataset, steps) if is_for_processing(dataset) else _value_of_interest(values, dataset, steps)
    if _smallest_is_white(dataset, steps):
        values = 1.0 - values
        steps.append("inverted (smallest value is white)")
    relationship = str(dataset.get("PixelIntensityRelationship", "") or "")
    if relationship and not is_for_processing(dataset):  # of what is for reading, it says how it was made, not how to show it
        steps.append(
            f"made of pixel intensity {relationship}, sign {dataset.get('PixelIntensityRelationshipSign', 'not stated')}"
        )
    padding = _padding(stored, dataset)
    if padding is not None:
        values[padding] = 0.0
        steps.append(f"padding {dataset.PixelPaddingValue} is black")
    overlays = sum(1 for group in range(0x6000, 0x6020, 2) if (group, 0x0010) in dataset)
    if overlays:
        steps.append(f"{overlays} overlay{'s' if overlays > 1 else ''} not drawn")
    if not np.isfinite(values).all():
        raise PixelError("unreadable", f"the header's numbers describe no picture ({'; '.join(steps)})")
    return Picture(values.astype(np.float32), tuple(steps))


def _value_of_interest(values: np.ndarray, dataset: Dataset, steps: list[str]) -> np.ndarray:
    """Values through the VOI LUT, else the window, else from the range of the stored bits, to [0, 1]."""
    voi = dataset.get("VOILUTSequence")
    if voi:
        steps.append("VOI LUT")
        return _through_lut(values, voi[0], little_endian=dataset.original_encoding[1] is not False)
    if dataset.get("WindowCenter") not in (None, "") and dataset.get("WindowWidth") not in (None, ""):
        centre, width = _first(dataset.WindowCenter), _first(dataset.WindowWidth)
        function = str(dataset.get("VOILUTFunction", "LINEAR") or "LINEAR").upper()
        steps.append(f"window {centre:g}/{width:g} {function}")
        return window(values, centre, width, function)
    ends = _range_after_modality(dataset)
    steps.append("no window: the stored range")
    return np.clip((values - ends[0]) / max(ends[1] - ends[0], 1e-12), 0, 1)


def window(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """Values through a VOI window to [0, 1]: LINEAR, LINEAR_EXACT or SIGMOID of PS3.3 C.11.2.1.2 and C.11.2.1.3.

    Raises PixelError for another function, and for a width that is not above 0.
    """
    if not width > 0:
        raise PixelError("unreadable", f"window width {width:g}: expected a number above 0")
    if function == "SIGMOID":
        return np.asarray(expit(4.0 * (values - centre) / width))
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0, 1)
    if function == "LINEAR":
        if width <= 1:
            return np.where(values > centre - 0.5, 1.0, 0.0)
        return np.clip((values - (centre - 0.5)) / (width - 1.0) + 0.5, 0, 1)
    raise PixelError("unreadable", f"VOI LUT function {function}: expected LINEAR, LINEAR_EXACT or SIGMOID")


def _raw(values: np.ndarray, dataset: Dataset, steps: list[str]) -> np.ndarray:
    """Detector data to [0, 1], dense bright: the logarithm of what is linear in intensity, turned where more means more rays.

    PixelIntensityRelationship and its sign (PS3.3 C.8.11.3.1.2); a file that does not state the sign is refused.
    """
    low, high = _range_after_modality(dataset)
    relationship = str(dataset.get("PixelIntensityRelationship", "") or "").strip().upper()
    sign = int(dataset.get("PixelIntensityRelationshipSign", 0) or 0)
    if relationship not in ("LIN", "LOG") or sign not in (-1, 1):
        raise PixelError(
            "unreadable",
            "raw detector data: expected PixelIntensityRelationship LIN or LOG and its sign 1 or -1, "
            f"found {relationship or 'nothing'} and {sign or 'nothing'}",
        )
    span = max(high - low, 1e-12)
    shares = np.clip((values - low) / span, 0, 1)
    steps.append(f"raw data, pixel intensity {relationship}, sign {sign}")
    if relationship == "LIN":
        rays = shares if sign == 1 else 1.0 - shares
        return 1.0 - np.log1p(rays * span) / np.log1p(span)
    return 1.0 - shares if sign == 1 else shares


def _smallest_is_white(dataset: Dataset, steps: list[str]) -> bool:
    """Whether the picture is to be inverted; PhotometricInterpretation is believed where PresentationLUTShape differs."""
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    shape = str(dataset.get("PresentationLUTShape", "") or "")
    if is_for_processing(dataset):
        return False  # its intensities say which end is dense
    if shape:
        contradicts = photometric == "MONOCHROME1" and shape == "IDENTITY"
        steps.append(f"PresentationLUTShape {shape}" + (" contradicts MONOCHROME1, which is believed" if contradicts else ""))
    return photometric == "MONOCHROME1" or shape == "INVERSE"


def _padding(stored: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """Where stored values are padding (PixelPaddingValue to PixelPaddingRangeLimit), or None where the file names none."""
    value, limit = dataset.get("PixelPaddingValue"), dataset.get("PixelPaddingRangeLimit")
    if value is None or value == "":
        return None
    low, high = sorted(_as_stored(int(end), stored.dtype) for end in (value, value if limit in (None, "") else limit))
    return (stored >= low) & (stored <= high)


def _as_stored(value: int, dtype: np.dtype[Any]) -> int:
    """A stored value that the file writes with a sign where its pixels have none, or without one where they have."""
    holds = np.iinfo(dtype)
    size = 1 << holds.bits
    return value - size if holds.max < value < size else value + size if -size // 2 <= value < holds.min else value


def lut_of(item: Dataset, little_endian: bool) -> tuple[int, np.ndarray]:
    """The first mapped value of a table, as its file has it, and its entries (n,) float64 in [0, 1]: PS3.3 C.11.2.1.1.

    Raises PixelError where it is none.
    """
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries = entries or 65536
    if isinstance(item.LUTData, bytes):
        packed = len(item.LUTData) < 2 * entries  # 8-bit entries may lie two to a word
        table = np.frombuffer(item.LUTData, dtype="u1" if packed else "<u2" if little_endian else ">u2")
    else:
        table = np.atleast_1d(np.asarray(item.LUTData))
    table = table[:entries].astype(np.float64)
    if table.size == 0 or not 1 <= bits <= 16:
        raise PixelError("unreadable", f"VOI LUT: expected entries of 1 to 16 bits, found {table.size} of {bits} bits")
    return first, np.clip(table / float(2**bits - 1), 0, 1)


def _through_lut(values: np.ndarray, item: Dataset, little_endian: bool) -> np.ndarray:
    """Values through a VOI LUT to [0, 1]: below the first mapped value its first entry, above the last."""
    first, table = lut_of(item, little_endian)
    if first > 32767 and values.min() < 0:  # a negative first value written as unsigned
        first -= 65536
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, len(table) - 1)
    return np.asarray(table[index])


def _range_after_modality(dataset: Dataset) -> tuple[float, float]:
    """The least and the greatest value that stored pixels can have once the modality transformation is done."""
    sequence = dataset.get("ModalityLUTSequence")
    if sequence:
        return 0.0, float(2 ** int(sequence[0].LUTDescriptor[2]) - 1)
    bits = int(dataset.get("BitsStored", 16))
    signed = int(dataset.get("PixelRepresentation", 0)) == 1
    low = -float(2 ** (bits - 1)) if signed else 0.0
    slope, intercept = _rescale(dataset)
    ends = sorted((low * slope + intercept, (low + 2**bits - 1) * slope + intercept))
    return ends[0], ends[1]


def _rescale(dataset: Dataset) -> tuple[float, float]:
    """Slope and intercept of the modality transformation: 1 and 0 where the file states none."""
    stated = (dataset.get("RescaleSlope"), dataset.get("RescaleIntercept"))
    slope, intercept = (
        default if value in (None, "") else float(value) for value, default in zip(stated, (1.0, 0.0), strict=True)
    )
    return slope, intercept


def _first(value: Any) -> float:
    return float(value[0]) if isinstance(value, (pydicom.multival.MultiValue, list, tuple)) else float(value)
