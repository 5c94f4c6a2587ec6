"""From a view's picture to a network's input: the breast, cropped, hung from the left edge, scaled and stretched.

The grey values between two percentiles of the breast become 0 to 65535, so that exams of several vendors are alike in
range; nothing outside the breast takes part in that, markers and film borders least of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from imagecodecs import PNG, png_encode
from PIL import Image

from tramtrack.imaging.breast import Breast, find_breast
from tramtrack.imaging.geometry import Geometry, fit
from tramtrack.imaging.pixels import Picture, read_picture
from tramtrack.protocol import Prepare


@dataclass(frozen=True)
class Prepared:
    """``pixels``: uint16 (height, width) of the protocol, 0 outside the breast; ``steps``: what was applied, in order."""

    pixels: np.ndarray
    geometry: Geometry
    steps: tuple[str, ...]


def prepare_file(path: Path, settings: Prepare, spacing_mm: float | None = None) -> Prepared:
    """Prepare one image file. Raises PixelError or NoBreast."""
    picture = read_picture(path)
    return prepare_breast(picture, find_breast(picture.values), settings, spacing_mm)


def prepare_breast(picture: Picture, breast: Breast, settings: Prepare, spacing_mm: float | None = None) -> Prepared:
    """Prepare a picture in which the breast is found already; its own steps come first."""
    prepared = _prepare(picture.values, breast, settings, spacing_mm)
    return Prepared(prepared.pixels, prepared.geometry, picture.steps + prepared.steps)


def prepare_picture(
    values: np.ndarray, settings: Prepare, spacing_mm: float | None = None, like: np.ndarray | None = None
) -> Prepared:
    """Prepare a picture (rows, columns), float32 in [0, 1], dense bright. Raises NoBreast.

    With ``like``, a picture of the same shape, ``values`` are cropped and stretched as that one is: where two pictures are
    alike, so are their prepared views.
    """
    like = values if like is None else like
    return _prepare(values, find_breast(like), settings, spacing_mm, like)


def _prepare(
    values: np.ndarray, breast: Breast, settings: Prepare, spacing_mm: float | None, like: np.ndarray | None = None
) -> Prepared:
    top, left, bottom, right = breast.crop
    crop, mask = values[top:bottom, left:right], breast.mask_of_crop
    tissue = (crop if like is None else like[top:bottom, left:right])[mask]
    low, high = (_percentile(tissue, percent) for percent in (settings.darkest_percentile, settings.brightest_percentile))
    stretched = np.subtract(crop, low, dtype=np.float32)
    stretched /= np.float32(max(high - low, 1e-6))
    np.clip(stretched, 0, 1, out=stretched)
    stretched *= mask
    geometry = fit(
        (values.shape[0], values.shape[1]),
        breast.crop,
        breast.chest_wall == "right",
        (settings.height, settings.width),
        spacing_mm,
    )
    pixels = np.rint(_place_crop(stretched, geometry) * 65535).astype(np.uint16)
    steps = (
        f"breast {breast.crop}, chest wall {breast.chest_wall}",
        f"grey {low:.4f} to {high:.4f} ({settings.darkest_percentile:g} to {settings.brightest_percentile:g} %)",
        "no spacing" if spacing_mm is None else f"spacing {spacing_mm:.4f} mm",
    )
    return Prepared(pixels, geometry, steps)


def _percentile(values: np.ndarray, percent: float) -> float:
    """A percentile, between two values in proportion as numpy's; one at a time, which numpy does several times as fast."""
    place = (len(values) - 1) * percent / 100
    below = int(place)
    parted = np.partition(values, below)
    low = float(parted[below])
    return low + (float(parted[below + 1 :].min(initial=np.inf)) - low) * (place - below) if place > below else low


def place(values: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Put an array on the original grid, float (rows, columns), into the prepared grid; averages areas when it shrinks."""
    return _place_crop(values[geometry.top : geometry.bottom, geometry.left : geometry.right], geometry)


def _place_crop(crop: np.ndarray, geometry: Geometry) -> np.ndarray:
    crop = crop.astype(np.float32, copy=False)
    if geometry.flipped:
        crop = crop[:, ::-1]
    shrinks = geometry.placed_rows <= crop.shape[0]
    scaled = Image.fromarray(np.ascontiguousarray(crop)).resize(
        (geometry.placed_columns, geometry.placed_rows),
        Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR,
    )
    canvas = np.zeros((geometry.rows, geometry.columns), dtype=np.float32)
    rows = slice(geometry.offset_rows, geometry.offset_rows + geometry.placed_rows)
    columns = slice(geometry.offset_columns, geometry.offset_columns + geometry.placed_columns)
    canvas[rows, columns] = np.asarray(scaled)
    return canvas


def place_mask(mask: np.ndarray, geometry: Geometry) -> np.ndarray:
    """A boolean mask on the original grid as a boolean mask on the prepared grid: any part of a pixel marks it."""
    return place(mask.astype(np.float32), geometry) > 1e-6


def png_bytes(pixels: np.ndarray) -> bytes:
    """A uint16 or uint8 (rows, columns) array as a grey PNG of 16 or 8 bits."""
    return bytes(png_encode(pixels, level=1, strategy=PNG.STRATEGY.RLE, filter=PNG.FILTER.UP))


def read_prepared(path: Path) -> np.ndarray:
    """A prepared view back from its file: uint16 (height, width)."""
    with Image.open(path) as image:
        return np.asarray(image).astype(np.uint16)
