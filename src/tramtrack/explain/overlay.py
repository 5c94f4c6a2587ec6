"""Heat maps as pictures: the map over the prepared view on the network's own scale, and the mask's outline. Needs no torch."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image
from scipy import ndimage

from tramtrack import store
from tramtrack.imaging.geometry import Geometry
from tramtrack.imaging.prepare import place_mask, read_prepared


def read_heatmap(path: Path) -> tuple[np.ndarray, float, float]:
    """Raw map (h, w) float32 >= 0, the network's display scale, and the logit, from a .npz file (no pickle)."""
    with np.load(path, allow_pickle=False) as content:
        return content["map"], float(content["scale"]), float(content["logit"])


def overlay(prepared: np.ndarray, values: np.ndarray, scale: float, outline: np.ndarray | None) -> np.ndarray:
    """A picture (rows, columns, 3) uint8: the prepared view (uint16) in grey, the map over it, the mask's edge in cyan.

    ``values`` (h, w) is scaled up bilinearly and shown from 0 to ``scale``; its strength is also its opacity, so that where
    the map is empty the image is bare. ``outline`` is a boolean mask on the prepared grid, or None.
    """
    grey = np.repeat((prepared.astype(np.float32) / 65535)[..., None], 3, axis=2)
    size = (prepared.shape[1], prepared.shape[0])
    enlarged = np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    strength = np.clip(enlarged / scale, 0, 1) if scale > 0 else np.zeros_like(enlarged)
    colours = matplotlib.colormaps["inferno"](strength)[..., :3]
    opacity = (0.65 * strength**0.8)[..., None]
    picture = grey * (1 - opacity) + colours * opacity
    return draw_outline((np.clip(picture, 0, 1) * 255).astype(np.uint8), outline)


def draw_outline(picture: np.ndarray, outline: np.ndarray | None) -> np.ndarray:
    """The picture (rows, columns, 3) with the edge of a boolean mask drawn just outside it, in cyan."""
    if outline is None or not outline.any():
        return picture
    near = ndimage.binary_dilation(outline, iterations=2)
    edge = ndimage.binary_dilation(near) & ~near
    drawn = picture.copy()
    drawn[edge] = (64, 224, 255)
    return drawn


def prepared_mask(mask: Path, geometry: Geometry) -> np.ndarray:
    """A mask file on the original grid (non-zero is BAC) as a boolean mask on the prepared grid."""
    with Image.open(mask) as image:
        return place_mask(np.asarray(image) > 0, geometry)


def save_overlay(path: Path, prepared_file: Path, heatmap: Path, outline: np.ndarray | None) -> Path:
    """The display picture beside the raw map, as PNG."""
    values, scale, _ = read_heatmap(heatmap)
    stream = io.BytesIO()
    Image.fromarray(overlay(read_prepared(prepared_file), values, scale, outline)).save(stream, format="PNG")
    return store.write_bytes(path, stream.getvalue())
