"""A map back on the pixels of the prepared view or of the original image, through the Geometry. Needs no torch.

A cell of the map stands for a rectangle of prepared pixels and its value for the centre of that; between centres values are
interpolated linearly, beyond the outermost ones they stay.
"""

from __future__ import annotations

import numpy as np

from tramtrack.imaging.geometry import Geometry


def to_prepared(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """A map (h, w) on the prepared grid: float32 (rows, columns)."""
    return _interpolated(values, np.arange(rows), np.arange(columns), (rows, columns))


def to_original(values: np.ndarray, geometry: Geometry) -> np.ndarray:
    """A map (h, w) on the original grid: float32 (source_rows, source_columns), 0 outside the crop.

    Each original pixel gets the value at its own place in the prepared view, so crop, mirror, scale and offset are undone
    exactly.
    """
    rows, columns = np.arange(geometry.top, geometry.bottom), np.arange(geometry.left, geometry.right)
    placed_rows = geometry.to_prepared(np.stack((rows, np.full(len(rows), geometry.left)), axis=-1))[:, 0]
    placed_columns = geometry.to_prepared(np.stack((np.full(len(columns), geometry.top), columns), axis=-1))[:, 1]
    whole = np.zeros((geometry.source_rows, geometry.source_columns), dtype=np.float32)
    inside = _interpolated(values, placed_rows, placed_columns, (geometry.rows, geometry.columns))
    whole[geometry.top : geometry.bottom, geometry.left : geometry.right] = inside
    return whole


def block_average(values: np.ndarray, factor: int) -> np.ndarray:
    """A map (h, w) with ``factor`` x ``factor`` cells averaged into one; cells that do not fill a block are averaged as they
    are."""
    rows, columns = np.arange(0, values.shape[0], factor), np.arange(0, values.shape[1], factor)
    sums = np.add.reduceat(np.add.reduceat(values.astype(np.float64), rows, axis=0), columns, axis=1)
    ones = np.ones_like(values, dtype=np.float64)
    counts = np.add.reduceat(np.add.reduceat(ones, rows, axis=0), columns, axis=1)
    return np.asarray(sums / counts, dtype=np.float32)


def _interpolated(values: np.ndarray, rows: np.ndarray, columns: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Values (h, w) over a view of ``size`` at prepared ``rows`` and ``columns``: float32 (len(rows), len(columns))."""
    across = _along(values.astype(np.float32), columns, size[1], axis=1)
    return _along(across, rows, size[0], axis=0)


def _along(values: np.ndarray, places: np.ndarray, size: int, axis: int) -> np.ndarray:
    cells = values.shape[axis]
    at = np.clip((places + 0.5) * cells / size - 0.5, 0, cells - 1)
    below = np.minimum(at.astype(int), max(cells - 2, 0))
    share = (at - below).astype(np.float32)
    share = share[:, None] if axis == 0 else share
    above = np.minimum(below + 1, cells - 1)
    result: np.ndarray = np.take(values, below, axis=axis) * (1 - share) + np.take(values, above, axis=axis) * share
    return result
