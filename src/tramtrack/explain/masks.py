"""Where the calcifications are, as a file says it: a picture of them, or a table of boxes. Needs no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError

from tramtrack.errors import TramtrackError
from tramtrack.imaging.geometry import Geometry

BOX_COLUMNS = ("top", "left", "bottom", "right")


class MaskError(TramtrackError):
    """A mask that cannot be read or does not fit its view."""


def read_mask(path: Path, geometry: Geometry) -> np.ndarray:
    """A boolean mask (source_rows, source_columns) on the original grid.

    A picture: non-zero is BAC, whatever its transparency. A CSV: boxes in original pixels, top, left, bottom, right, the last
    two exclusive. Raises MaskError naming the file, with what was expected and received.
    """
    size = (geometry.source_rows, geometry.source_columns)
    if path.suffix.lower() == ".csv":
        return _boxes(path, size)
    try:
        with Image.open(path) as image:
            mask = np.asarray(image.convert(image.mode.removesuffix("A")) if image.mode in ("LA", "RGBA") else image)
    except (OSError, UnidentifiedImageError) as error:
        raise MaskError(f"{path}: expected a mask, cannot read it ({error})") from error
    mask = (mask if mask.ndim == 2 else mask.max(axis=2)) > 0
    if mask.shape != size:
        raise MaskError(
            f"{path}: expected a mask of {size[0]} x {size[1]} pixels, as its view has, received "
            f"{mask.shape[0]} x {mask.shape[1]}"
        )
    return np.asarray(mask)


def _boxes(path: Path, size: tuple[int, int]) -> np.ndarray:
    try:
        table = pd.read_csv(path)
        boxes = table[list(BOX_COLUMNS)].to_numpy(dtype=np.int64)
    except (OSError, ValueError, KeyError) as error:
        raise MaskError(f"{path}: expected a CSV with whole numbers {', '.join(BOX_COLUMNS)} ({error})") from error
    mask = np.zeros(size, dtype=bool)
    for top, left, bottom, right in boxes.tolist():
        if not (0 <= top < bottom <= size[0] and 0 <= left < right <= size[1]):
            raise MaskError(f"{path}: box {top}, {left}, {bottom}, {right}: expected one inside {size[0]} x {size[1]} pixels")
        mask[top:bottom, left:right] = True
    return mask
