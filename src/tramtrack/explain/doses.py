"""A view with more and less of its own calcification: the mask filled in from around it, whole or in part. Needs no torch."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

DOSES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the calcified pixels that are left in the view."""
MARGIN = 2
"""Prepared pixels around the mask that are filled in with it, because its edge is blurred."""


def dose_series(prepared: np.ndarray, mask: np.ndarray, doses: tuple[float, ...] = DOSES) -> list[np.ndarray]:
    """The view (rows, columns) uint16 with each share of the calcification left that ``mask`` (bool) marks.

    With 1 it is the view as it is. What goes first lies lowest, so that a smaller dose is always a part of a larger one. The
    tissue put in its place is the blurred surroundings with grain of their own strength.
    """
    whole = _grown(mask)
    empty = _filled(prepared, whole)
    order = np.flatnonzero(mask.ravel())
    series = []
    for dose in doses:
        left = np.zeros(mask.size, dtype=bool)
        left[order[: round(dose * len(order))]] = True
        gone = _grown(mask & ~left.reshape(mask.shape)) & ~left.reshape(mask.shape)
        series.append(np.where(gone, empty, prepared))
    return series


def _grown(mask: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.binary_dilation(mask, iterations=MARGIN)) if mask.any() else mask


def _filled(prepared: np.ndarray, gone: np.ndarray) -> np.ndarray:
    """The view with the pixels ``gone`` replaced: a Gaussian mean of the others, as wide as the gap, plus their grain."""
    values, known = prepared.astype(np.float64), (~gone & (prepared > 0)).astype(np.float64)
    width = max(2.0, float(ndimage.distance_transform_edt(gone).max()) + MARGIN)
    weight = ndimage.gaussian_filter(known, width)
    mean = ndimage.gaussian_filter(values * known, width) / np.maximum(weight, 1e-9)
    around = np.asarray(ndimage.binary_dilation(gone, iterations=4 * MARGIN)) & (known > 0)
    grain = (values - ndimage.gaussian_filter(values, 1.0))[around]
    drawn = np.random.default_rng(int(gone.sum())).choice(grain, size=values.shape) if grain.size else np.zeros_like(values)
    return np.where(gone, np.clip(mean + drawn, 0, 65535), values).astype(np.uint16)
