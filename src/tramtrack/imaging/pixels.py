"""The stored values of a file, whatever its format and transfer syntax, and the picture that it describes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image, UnidentifiedImageError
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import apply_color_lut, pixel_array
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from tramtrack.imaging.presentation import Picture, PixelError, present, window

__all__ = ["PICTURE_SUFFIXES", "Picture", "PixelError", "decode", "present", "read_picture", "read_stored", "window"]

PICTURE_SUFFIXES = (".png", ".tif", ".tiff")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_BIT_DEPTH = 24
"""Where a PNG's header keeps its bits for each channel."""
TIFF_BITS = 258
TIFF_PHOTOMETRIC = 262
NO_RANGE = {"1": "1 bit", "F": "floating point"}
PLUGINS = {
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
}
"""The one decoder for what several could read: gdcm, tried after another has failed, aborts its process over broken files."""
MOST_PIXELS = 100_000_000
"""More pixels than any detector or film scanner gives: a size beyond it is an error in the header, or an attack."""


class _Clipped(io.BufferedReader):
    """A file of which never more is asked than there is: a length of gigabytes in a broken header costs no memory."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(str(path)))
        self._size = path.stat().st_size

    def read(self, size: int | None = -1) -> bytes:
        """At most ``size`` bytes, or all that is left."""
        left = max(0, self._size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def read_dicom(path: Path, content: bytes | None = None, *, stop_before_pixels: bool = False) -> Dataset:
    """A DICOM file as a dataset, from its ``content`` where that is read already; pixels only where they are wanted.

    Raises what pydicom raises.
    """
    if content is not None:
        return pydicom.dcmread(io.BytesIO(content), stop_before_pixels=stop_before_pixels)
    with _Clipped(path) as stream:
        return pydicom.dcmread(stream, stop_before_pixels=stop_before_pixels)


def read_stored(path: Path) -> np.ndarray:
    """The stored pixel values of a DICOM, PNG or TIFF file: (rows, columns), as stored (uint8, uint16, int8, int16).

    Colour pictures whose channels are equal are grey; others are refused. Raises PixelError.
    """
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return _read_picture(path)
    return decode(read_dicom(path), path)


def decode(dataset: Dataset, path: Path) -> np.ndarray:
    """The stored values of a single-frame DICOM image: (rows, columns), uint8, uint16, int8 or int16, right-aligned.

    Bits beyond Bits Stored are taken off wherever High Bit puts them (PS3.5 8.1.1), overlays in them with them. Colour whose
    channels are equal is grey. Raises PixelError.
    """
    if "PixelData" not in dataset:
        if _pixel_data_begins(path):
            raise PixelError("truncated", f"{path}: the file ends within its compressed pixel data")
        raise PixelError("no-pixels", f"{path}: has no pixel data")
    rows, columns = (_count(dataset, name, path) for name in ("Rows", "Columns"))
    if rows * columns > MOST_PIXELS:
        raise PixelError("too-large", f"{path}: {rows} x {columns} pixels, expected at most {MOST_PIXELS:,}")
    if _count(dataset, "BitsAllocated", path) not in (8, 16):
        raise PixelError("unreadable", f"{path}: expected 8 or 16 bits allocated, found {dataset.BitsAllocated}")
    colour = str(dataset.get("PhotometricInterpretation", ""))
    try:
        stored = _decoded(dataset)
        if colour == "PALETTE COLOR":
            stored = apply_color_lut(stored, dataset)
    except (NotImplementedError, AttributeError, RuntimeError, ValueError, OSError, EOFError, TypeError, KeyError) as error:
        if "memoryerror" in str(error).lower() or "unable to allocate" in str(error).lower():
            raise MemoryError(str(error)) from error  # pydicom gathers what its decoders raise into one RuntimeError
        raise PixelError(_kind_of(error), f"{path}: {_one_line(error)}") from error
    stored = np.asarray(stored, dtype=stored.dtype.newbyteorder("="))
    if stored.ndim == 3 and stored.shape[2] in (3, 4):
        if np.any(stored[..., :3] != stored[..., :1]):
            raise PixelError("not-grey", f"{path}: expected a grey picture, its colour channels differ")
        return np.ascontiguousarray(stored[..., 0])
    if stored.ndim != 2:
        raise PixelError("multi-frame", f"{path}: expected one grey frame, found an array of shape {stored.shape}")
    return _aligned(stored, dataset, path)


def _decoded(dataset: Dataset) -> np.ndarray:
    """What the decoders give: pydicom's, and imagecodecs' for JPEG Extended of 12 bits, which none of those can read."""
    if dataset.file_meta.TransferSyntaxUID != JPEGExtended12Bit or dataset.BitsStored <= 8:
        plugin = PLUGINS.get(dataset.file_meta.TransferSyntaxUID, "")
        return pixel_array(dataset, correct_unused_bits=False, decoding_plugin=plugin)
    from imagecodecs import jpeg8_decode

    stored = jpeg8_decode(get_frame(dataset.PixelData, 0, number_of_frames=1))
    if stored.shape[:2] != (dataset.Rows, dataset.Columns):
        raise ValueError(f"the JPEG has {stored.shape} pixels, its size doesn't match {dataset.Rows} x {dataset.Columns}")
    return np.asarray(stored)


def _count(dataset: Dataset, name: str, path: Path) -> int:
    """An attribute that is a positive whole number. Raises PixelError."""
    try:
        value = int(dataset.get(name, 0) or 0)
    except (TypeError, ValueError):
        value = 0
    if value < 1:
        raise PixelError("unreadable", f"{path}: {name}: expected a positive number, found {dataset.get(name, 'nothing')!s}")
    return value


def _aligned(stored: np.ndarray, dataset: Dataset, path: Path) -> np.ndarray:
    """``stored`` with Bits Stored in its lowest bits and, where signed, their sign in all bits above."""
    allocated, bits = stored.dtype.itemsize * 8, _count(dataset, "BitsStored", path)
    high = bits - 1 if dataset.get("HighBit") is None else int(dataset.HighBit)
    if not bits <= high + 1 <= allocated:
        raise PixelError("unreadable", f"{path}: {bits} bits stored, the highest {high}, in {allocated} bits allocated")
    if bits == allocated:
        return stored
    syntax = UID(str(dataset.file_meta.TransferSyntaxUID))
    coded = syntax.is_encapsulated and syntax != RLELossless
    if coded and (high == bits - 1 or int(stored.max()) < 2**bits):
        return stored  # the codestream has its own depth: its decoder has aligned the values
    return np.right_shift(np.left_shift(stored, allocated - 1 - high), allocated - bits)


def _pixel_data_begins(path: Path) -> bool:
    """Whether pixel data follows a file's header, though pydicom, which drops a sequence that breaks off, shows none."""
    with _Clipped(path) as stream:
        pydicom.dcmread(stream, stop_before_pixels=True)
        return stream.read(4) in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")


def read_picture(path: Path) -> Picture:
    """The picture that a file describes, whatever its format. Raises PixelError."""
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return picture_of(_read_picture(path))
    dataset = read_dicom(path)
    return present(decode(dataset, path), dataset)


def picture_of(stored: np.ndarray) -> Picture:
    """The picture that the values (rows, columns) of a PNG or TIFF file are: a share of what their type can hold."""
    return Picture(stored.astype(np.float32) / np.float32(np.iinfo(stored.dtype).max), (f"{stored.dtype} / maximum",))


def _read_picture(path: Path) -> np.ndarray:
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            frames = getattr(image, "n_frames", 1)
            if frames > 1:
                raise PixelError("multi-frame", f"{path}: expected one picture, found {frames}")
            grey = image.mode.startswith(("L", "I"))
            tags = getattr(image, "tag_v2", {})
            depths = (content[PNG_BIT_DEPTH],) if content.startswith(PNG_SIGNATURE) else tags.get(TIFF_BITS, ())
            if image.mode in ("1", "F"):  # black and white, and fractions: of no range of grey values that the file states
                raise PixelError("unreadable", f"{path}: expected 8 or 16 bit grey values, found {NO_RANGE[image.mode]}")
            if not grey and max(depths, default=8) > 8:
                raise PixelError(
                    "not-grey", f"{path}: a picture in 16-bit colour would be read as 8 bit; save it as 16-bit grey"
                )
            white_is_zero = tags.get(TIFF_PHOTOMETRIC) == 0
            values = np.asarray(image.convert("RGB") if image.mode == "P" else image)
            values = values[..., 0] if image.mode == "LA" else values
            if white_is_zero and image.mode == "I;16":  # Pillow turns the other depths itself
                values = np.iinfo(np.uint16).max - values
    except UnidentifiedImageError as error:  # whose message has an address in memory
        raise PixelError("unreadable", f"{path}: expected a PNG or TIFF picture, this is none that can be read") from error
    except (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError) as error:
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
        raise PixelError("unreadable", f"{path}: expected 8 or 16 bit grey values, found {values.dtype}")
    return values


def _kind_of(error: Exception) -> str:
    text = str(error).lower()
    if "unable to decompress" in text and ("missing dependencies" in text or "plugins are missing" in text):
        return "no-decoder"
    if "no pixel data decoders" in text or ("transfer syntax" in text and "not supported" in text):
        return "no-decoder"
    if isinstance(error, NotImplementedError) and "value representation" not in text:
        return "no-decoder"
    if any(sign in text for sign in ("less than", "doesn't match", "too short", "unexpected end", "truncat", "premature")):
        return "truncated"
    return "unreadable"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
