"""Where a heat map is hot, as points and outlines in DICOM's image coordinates.

These are (column, row) with the top left corner of the top left pixel at 0, 0, so that a pixel's centre lies at its index and
a half (PS3.3 C.10.5.1.2 for presentation states, C.18.6.1 for reports).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from skimage.measure import approximate_polygon, find_contours

SHARE = 0.5
"""An outline runs where the map falls below this share of the value that is shown brightest (ours)."""
LONGEST_SIDE = 512
"""Outlines are looked for on a grid no finer than this: a map's cells are coarser by far."""
MOST_OUTLINES = 100
"""A map of attributions to pixels has thousands of specks; of more outlines than a person can look at the longest stay."""


@dataclass(frozen=True)
class Hot:
    """Where a map is hot: the ``centre`` of its hottest pixel (see `hottest`), and ``outlines`` at SHARE of what is shown
    brightest."""

    centre: tuple[float, float] | None
    outlines: list[np.ndarray]


def hot_of(heatmap: np.ndarray, scale: float) -> Hot:
    """Where a map (rows, columns) float32 >= 0 that is shown brightest at ``scale`` is hot."""
    return Hot(hottest(heatmap), outlines(heatmap, SHARE * scale))


def hottest(heatmap: np.ndarray) -> tuple[float, float] | None:
    """The centre of the pixel where a map (rows, columns) >= 0 is largest: (column, row); None for a map of zeros, which has
    no such place."""
    if not heatmap.any():
        return None
    row, column = np.unravel_index(int(np.argmax(heatmap)), heatmap.shape)
    return float(column) + 0.5, float(row) + 0.5


def outlines(heatmap: np.ndarray, level: float) -> list[np.ndarray]:
    """Closed outlines of where a map (rows, columns) reaches ``level``, the longest first and no more than MOST_OUTLINES:
    arrays (points, 2), first = last.

    Empty where it nowhere does. All points lie within the image.
    """
    if level <= 0 or float(heatmap.max()) < level:
        return []
    rows, columns = heatmap.shape
    step = max(1, -(-max(rows, columns) // LONGEST_SIDE))
    thinned = np.pad(heatmap[::step, ::step], 1)  # a border of zeros closes what runs into the image's edge
    found = []
    for contour in sorted(find_contours(thinned, level), key=len, reverse=True)[:MOST_OUTLINES]:
        points = (approximate_polygon(contour, 0.5)[:, ::-1] - 1) * step + 0.5
        points = np.clip(points, 0, (columns, rows))
        if len(points) >= 4:
            found.append(points.astype(np.float64))
    return sorted(found, key=len, reverse=True)


def around(point: tuple[float, float], found: list[np.ndarray]) -> np.ndarray | None:
    """The first of the outlines that has ``point`` inside, or None."""
    for outline in found:
        if _is_inside(point, outline):
            return outline
    return None


def _is_inside(point: tuple[float, float], outline: np.ndarray) -> bool:
    """Even-odd rule: a ray to the right crosses the outline an odd number of times."""
    x, y = point
    (x1, y1), (x2, y2) = outline[:-1].T, outline[1:].T
    crosses = (y1 > y) != (y2 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = x1 + (y - y1) * (x2 - x1) / (y2 - y1)
    return bool((crosses & (x < at)).sum() % 2)
