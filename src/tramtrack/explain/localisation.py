"""How well a map lies on the calcifications: five measures on the prepared grid, at a tolerance. Needs no torch.

All are taken over the pixels of the breast and lie in [0, 1]; where values tie, what a random order would give is expected.
A map of zeros therefore scores as an even one: the share of the breast that the target takes up, which is what chance gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy import ndimage
from skimage.filters import sato
from skimage.measure import label, regionprops

Measure = Literal["pointing_game", "average_precision", "energy", "mass", "rank"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
PRIMARY: Measure = "average_precision"
"""The measure by which maps are ranked, fixed before any is made; the others stand beside it."""

VESSEL_WIDTHS_MM = (0.5, 1.0, 2.0)
VESSEL_WIDTHS_PIXELS = (2.0, 4.0, 8.0)
"""Ridges that the vessel filter looks for; the pixels where a view has no spacing."""


@dataclass(frozen=True)
class Target:
    """Where a map should lie, on the prepared grid, every array boolean (rows, columns).

    ``breast``: the pixels that count. ``near``: the breast's pixels within the tolerance of the mask. ``boxes``: those within
    the tolerance of the upright box around each of its connected parts.
    """

    breast: np.ndarray
    near: np.ndarray
    boxes: np.ndarray


def make_target(mask: np.ndarray, breast: np.ndarray, tolerance: float) -> Target | None:
    """The target of a mask and a breast, boolean (rows, columns), at a ``tolerance`` in prepared pixels >= 0.

    None where no pixel of the mask is near the breast.
    """
    if not mask.any():
        return None
    near = _grown(mask, tolerance) & breast
    boxes = np.zeros_like(mask)
    for part in regionprops(label(mask, connectivity=2)):
        top, left, bottom, right = part.bbox
        boxes[top:bottom, left:right] = True
    return Target(breast, near, _grown(boxes, tolerance) & breast) if near.any() else None


def localise(values: np.ndarray, target: Target) -> dict[str, float]:
    """Each measure of a map (rows, columns) >= 0 on the prepared grid.

    pointing_game: whether the map's maximum is near the mask (Zhang et al., IJCV 2018;126:1084). average_precision: of the
    pixels near the mask, ranked by the map. energy: share of the map inside the boxes (Wang et al., Score-CAM, CVPRW 2020).
    mass: share of the map near the mask; rank: share of the K highest pixels that are near it, K being their number (Arras,
    Osman and Samek, Information Fusion 2022;81:14).
    """
    inside, positive = values[target.breast].astype(np.float64), target.near[target.breast]
    total = float(inside.sum())
    if total <= 0:
        inside, total = np.ones_like(inside), float(inside.size)
    top = inside == inside.max()
    return {
        "pointing_game": float(positive[top].mean()),
        "average_precision": average_precision(inside, positive),
        "energy": min(1.0, float(inside[target.boxes[target.breast]].sum()) / total),
        "mass": min(1.0, float(inside[positive].sum()) / total),
        "rank": _rank_accuracy(inside, positive),
    }


def average_precision(values: np.ndarray, positive: np.ndarray) -> float:
    """Average precision of ``positive`` bool (n,), not all False, ranked by ``values`` (n,): the sum over distinct values of
    precision times the gain in recall, ties together."""
    order = np.argsort(-values, kind="stable")
    ranked, hits = values[order], np.cumsum(positive[order])
    ends = np.flatnonzero(np.diff(ranked, append=-np.inf))
    gains = np.diff(hits[ends], prepend=0) / hits[-1]
    return float(np.sum(hits[ends] / (ends + 1) * gains))


def centre_blob(breast: np.ndarray) -> np.ndarray:
    """The first baseline, a map that has seen no image: a Gaussian about the breast's centroid, its standard deviation half
    the radius of a disk of the breast's area."""
    rows, columns = np.nonzero(breast)
    deviation = max(1.0, 0.5 * np.sqrt(len(rows) / np.pi))
    down, across = np.ogrid[: breast.shape[0], : breast.shape[1]]
    squared = (down - rows.mean()) ** 2 + (across - columns.mean()) ** 2
    return np.asarray(np.exp(-squared / (2 * deviation**2)) * breast, dtype=np.float32)


def vessel_filter(prepared: np.ndarray, breast: np.ndarray, spacing_mm: float | None) -> np.ndarray:
    """The second baseline, a map that has learnt nothing: bright ridges of 0.5 to 2 mm by Sato's filter, off the breast's edge.

    ``prepared`` (rows, columns) uint16. Source: Sato et al., Medical Image Analysis 1998;2:143.
    """
    widths = VESSEL_WIDTHS_PIXELS if spacing_mm is None else tuple(width / spacing_mm for width in VESSEL_WIDTHS_MM)
    sigmas = [max(0.5, width / 2) for width in widths]
    ridges = sato(prepared.astype(np.float32) / 65535, sigmas=sigmas, black_ridges=False)
    deep = ndimage.distance_transform_edt(np.pad(breast, ((1, 1), (1, 1)), mode="edge"))[1:-1, 1:-1] > 2 * max(sigmas)
    return np.asarray(ridges * deep, dtype=np.float32)


def breast_of(prepared: np.ndarray) -> np.ndarray:
    """The breast of a prepared view (rows, columns) uint16, which is 0 outside it: bool (rows, columns)."""
    return np.asarray(ndimage.binary_fill_holes(prepared > 0))


def _grown(mask: np.ndarray, distance: float) -> np.ndarray:
    """The mask and all pixels whose centre is at most ``distance`` pixels from one of its."""
    return mask if distance <= 0 else np.asarray(ndimage.distance_transform_edt(~mask) <= distance)


def _rank_accuracy(values: np.ndarray, positive: np.ndarray) -> float:
    count = int(positive.sum())
    cut = np.partition(values, len(values) - count)[len(values) - count]
    above, ties = values > cut, values == cut
    hits = float(positive[above].sum()) + (count - int(above.sum())) * float(positive[ties].mean())
    return hits / count
