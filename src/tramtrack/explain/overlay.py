"""Heat maps as pictures: the map over a view on the network's own scale, with outlines. Needs no torch."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image
from scipy import ndimage

from tramtrack import store
from tramtrack.explain.masks import read_mask
from tramtrack.explain.place import to_original, to_prepared
from tramtrack.imaging.breast import find_breast
from tramtrack.imaging.geometry import Geometry
from tramtrack.imaging.pixels import read_picture
from tramtrack.imaging.prepare import place_mask, read_prepared

LEVELS = 256
"""So many colours has a map's scale."""
BAC_COLOUR = (64, 224, 255)
BREAST_COLOUR = (120, 190, 120)
MATCHED_PICTURE = ".matched.png"
"""How the file of a picture ends whose map is averaged to the coarsest stride of the study."""


def overlay(prepared: np.ndarray, values: np.ndarray, scale: float, outline: np.ndarray | None) -> np.ndarray:
    """A picture (rows, columns, 3) uint8: the prepared view (uint16) in grey, the map over it, the mask's edge in cyan.

    ``values`` (h, w) is scaled up bilinearly and shown from 0 to ``scale``; its strength is also its opacity, so that where
    the map is empty the image is bare. ``outline`` is a boolean mask on the prepared grid, or None.
    """
    grey = prepared.astype(np.float32) / 65535
    return draw_outline(coloured(grey, to_prepared(values, *prepared.shape), scale), outline)


def overlay_original(
    picture: np.ndarray,
    values: np.ndarray,
    scale: float,
    geometry: Geometry,
    breast: np.ndarray,
    mask: np.ndarray | None,
) -> np.ndarray:
    """The same on the original image at its full resolution, with the breast's outline in green.

    ``picture`` (rows, columns) float32 in [0, 1], dense bright; ``breast`` and ``mask`` are boolean on its grid.
    """
    pixels = max(2, picture.shape[0] // 800)
    drawn = draw_outline(coloured(picture, to_original(values, geometry), scale), breast, BREAST_COLOUR, pixels)
    return draw_outline(drawn, mask, BAC_COLOUR, pixels)


def coloured(grey: np.ndarray, enlarged: np.ndarray, scale: float) -> np.ndarray:
    """Grey in [0, 1] with a map of the same shape over it: uint8 (rows, columns, 3)."""
    strength = np.clip(enlarged / scale, 0, 1) if scale > 0 else np.zeros_like(enlarged)
    level = np.minimum(strength * LEVELS, LEVELS - 1).astype(np.uint8)  # a table of them is many times faster than each pixel
    steps = np.arange(LEVELS) / (LEVELS - 1)
    opacity = (0.65 * steps**0.8)[:, None]
    colours = (matplotlib.colormaps["inferno"](steps)[:, :3] * opacity).astype(np.float32)
    kept = (1 - opacity[:, 0]).astype(np.float32)
    picture = (np.asarray(grey, np.float32) * kept[level])[..., None] + colours[level]
    return (np.clip(picture, 0, 1) * 255).astype(np.uint8)


def draw_outline(
    picture: np.ndarray, outline: np.ndarray | None, colour: tuple[int, int, int] = BAC_COLOUR, pixels: int = 2
) -> np.ndarray:
    """The picture (rows, columns, 3) with the edge of a boolean mask drawn just outside it, ``pixels`` away."""
    if outline is None or not outline.any():
        return picture
    near = ndimage.binary_dilation(outline, iterations=pixels)
    edge = ndimage.binary_dilation(near, iterations=max(1, pixels // 2)) & ~near
    drawn = picture.copy()
    drawn[edge] = colour
    return drawn


def prepared_mask(mask: Path, geometry: Geometry) -> np.ndarray:
    """A mask file on the original grid as a boolean mask on the prepared grid, see `read_mask`."""
    return place_mask(read_mask(mask, geometry), geometry)


def save_overlay(path: Path, prepared_file: Path, values: np.ndarray, scale: float, outline: np.ndarray | None) -> Path:
    """The display picture of a map (h, w), as PNG."""
    return _save(path, overlay(read_prepared(prepared_file), values, scale, outline))


def save_original_overlay(
    path: Path, original: Path, values: np.ndarray, scale: float, geometry: Geometry, mask: np.ndarray | None
) -> Path:
    """The same at the original's resolution, as PNG. Raises PixelError or NoBreast."""
    picture = read_picture(original).values
    breast = find_breast(picture).mask
    return _save(path, overlay_original(picture, values, scale, geometry, breast, mask))


def _save(path: Path, picture: np.ndarray) -> Path:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="PNG", compress_level=3)
    return store.write_bytes(path, stream.getvalue())
