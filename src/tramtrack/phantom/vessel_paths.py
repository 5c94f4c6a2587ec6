"""Where a vessel runs in a mammogram: found in the picture, traced between points that a person gives, or drawn point by point.

Vessels are bright ridges 1 to 2.5 mm wide. Sato's filter (Med Image Anal 1998;2:143; skimage) answers to ridges of chosen
widths; the cheapest route over its answer (skimage.graph) follows one vessel. Both work on a reduced picture; points are given
back in the original pixels. The breast's rim and the pectoral muscle are left out.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import (
    binary_dilation,
    binary_fill_holes,
    distance_transform_edt,
    gaussian_filter,
    gaussian_filter1d,
    map_coordinates,
    maximum_filter,
    minimum_filter,
)
from skimage.filters import sato
from skimage.graph import MCP_Geometric
from skimage.measure import label
from skimage.morphology import skeletonize

from tramtrack.errors import TramtrackError, UsageError
from tramtrack.imaging.breast import NoBreast, find_breast

WORKING_SIDE = 900
"""Pixels of the reduced picture's longer side, about 0.27 mm each on a film or detector of 24 cm."""

WIDTHS = (1.5, 2.2, 3.0)
"""Standard deviations of the ridge filter, working pixels: vessels about 0.8 to 2.5 mm wide."""

RIM = 0.07
"""The breast's rim that is left out, as a share of the square root of its area."""

STARTS = 6
"""Ridge points from which routes are looked for."""

ENDS = 16
"""Ridge points that are tried as the end of a route from each start."""

REACH = (0.25, 0.8)
"""How far apart the ends of a vessel lie, as a share of the square root of the breast's area."""

UNBROKEN = 0.6
"""Ridges above this, thinned to lines, hang together; a route starts and ends the rather in a piece, the longer it is."""

FAINT = 0.01
"""Detail below this share of the breast's range of greys is not raised."""

LEAST_ANSWER = 0.1
"""The filter's answer, in standard deviations of the detail, below which nothing is a ridge."""

CHOICE = 5
"""The vessel is drawn from this many of the clearest that do not overlap, the clearest most often."""

MOST_WINDING = 1.3
"""Length of a route over the distance between its ends, beyond which it is no vessel but a detour."""


class NoVessel(TramtrackError):
    """No curvilinear structure in the picture is long and clear enough."""


@dataclass(frozen=True)
class VesselPath:
    """``points`` (n, 2) float64: column and row in original pixels, about a working pixel apart, the thicker end first.

    ``source``: found, traced or drawn. Raises UsageError for fewer than two places, and for what is no number.
    """

    points: NDArray[np.float64]
    source: str

    def __post_init__(self) -> None:
        shape = np.shape(self.points)
        if len(shape) != 2 or shape[1] != 2 or not np.isfinite(self.points).all() or not self.length_px:
            raise UsageError(f"a path: expected points (n, 2) of column and row in at least 2 places, received them as {shape}")

    @property
    def length_px(self) -> float:
        """Length, original pixels."""
        return float(np.hypot(*np.diff(self.points, axis=0).T).sum())


@dataclass(frozen=True)
class Survey:
    """A picture reduced by ``scale`` (original pixels in one of its own) and what was seen in it; all (rows, columns).

    ``breast``: the whole breast, bool. ``interior``: the breast without its rim, the pectoral muscle and flat areas, bool.
    ``ridges``: the ridge filter's answer in 0..1, 0 outside the interior. ``chest_wall``: left or right. ``size``: square root
    of the breast's area.
    """

    picture: NDArray[np.float32]
    breast: NDArray[np.bool_]
    interior: NDArray[np.bool_]
    ridges: NDArray[np.float32]
    chest_wall: str
    size: float
    scale: float

    def enlarged_interior(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """The interior on the original grid of ``shape``."""
        return np.asarray(Image.fromarray(self.interior).resize(shape[::-1], Image.Resampling.NEAREST), dtype=bool)

    def original(self, places: NDArray[np.floating]) -> NDArray[np.float64]:
        """(row, column) places (n, 2) of the reduced picture as (column, row) of the original."""
        return (np.asarray(places, dtype=np.float64)[:, ::-1] + 0.5) * self.scale - 0.5

    def reduced(self, points: NDArray[np.floating]) -> NDArray[np.int64]:
        """(column, row) points of the original as the (row, column) pixels of the reduced picture that hold them."""
        places = np.floor((np.asarray(points)[:, ::-1] + 0.5) / self.scale).astype(np.int64)
        return np.clip(places, 0, np.array(self.picture.shape) - 1)


def survey(picture: NDArray[np.float32]) -> Survey:
    """Look for ridges in the breast on a picture (rows, columns), float32, dense bright. Raises NoBreast."""
    rows, columns = picture.shape
    scale = max(1.0, max(rows, columns) / WORKING_SIDE)
    size = (max(16, round(columns / scale)), max(16, round(rows / scale)))
    small = np.asarray(Image.fromarray(np.ascontiguousarray(picture, dtype=np.float32)).resize(size, Image.Resampling.BOX))
    breast = find_breast(small)
    inside = _within(small, breast.mask)
    if not inside.any():
        raise NoBreast("expected a breast of many greys, found flat areas alone")
    extent = float(np.sqrt(inside.sum()))
    depth = distance_transform_edt(np.pad(inside, 1, mode="edge"))[1:-1, 1:-1]
    interior = (depth > RIM * extent) & ~pectoral_muscle(small, breast.mask, breast.chest_wall)
    detail = small - gaussian_filter(small, 12)
    spread = np.sqrt(gaussian_filter(detail**2, 30)) + FAINT * float(np.ptp(small[inside])) + 1e-9
    answer = sato(detail / spread, sigmas=WIDTHS, black_ridges=False) * interior
    strong = max(float(np.percentile(answer[interior], 99)), LEAST_ANSWER) if interior.any() else LEAST_ANSWER
    ridges = np.clip(answer / strong, 0, 1).astype(np.float32)
    return Survey(small, breast.mask, interior, ridges, breast.chest_wall, extent, scale)


def _within(small: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The breast without flat areas (page margins, padding, labels) and without a faint rim that may be the film's fog."""
    same = maximum_filter(small, 7) - minimum_filter(small, 7) < 1e-4
    inside = mask & ~binary_dilation(same, iterations=6)
    if not inside.any():
        return inside
    smooth = gaussian_filter(small, 4)
    dark, middle = float(smooth.min()), float(np.median(smooth[inside]))
    regions = label(inside & (smooth > dark + 0.25 * (middle - dark)))
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    return np.asarray(binary_fill_holes(regions == int(sizes.argmax())))


def pectoral_muscle(small: NDArray[np.float32], mask: NDArray[np.bool_], chest_wall: str) -> NDArray[np.bool_]:
    """The pectoral muscle of an oblique view: a brighter corner between the top and the chest wall, cut off by a line.

    The line is the one with the strongest and most even step of grey across it; where none is even, as in most CC
    views, nothing is marked. ``small`` and ``mask`` (rows, columns); returns bool of that shape.
    """
    grey, region = (small, mask) if chest_wall == "left" else (small[:, ::-1], mask[:, ::-1])
    tops, lefts = np.nonzero(region)
    top, left, height, width = int(tops.min()), int(lefts.min()), int(np.ptp(tops)), int(np.ptp(lefts))
    smooth = gaussian_filter(grey, 3)
    spread = float(np.subtract(*np.percentile(smooth[region], (95, 5)))) + 1e-6
    best, found = 0.0, None
    for across in np.arange(0.2, 0.95, 0.05) * width:
        for down in np.arange(0.25, 0.95, 0.05) * height:
            step = _step_across(smooth, region, (top, left), float(across), float(down)) / spread
            if step.size > 30 and (step > 0).mean() > 0.9 and np.median(step) > max(best, 0.08):
                best, found = float(np.median(step)), (across, down)
    muscle = np.zeros_like(region)
    if found is not None:
        row, column = np.mgrid[: region.shape[0], : region.shape[1]]
        margin = 0.03 * np.hypot(*found)
        beyond = (column - left) / found[0] + (row - top) / found[1]
        muscle = (beyond < 1 + margin / min(found)) & region
    return muscle if chest_wall == "left" else muscle[:, ::-1]


def _step_across(
    smooth: NDArray[np.float32], region: NDArray[np.bool_], corner: tuple[int, int], across: float, down: float
) -> NDArray[np.float64]:
    """How much brighter the corner's side is, along the line from ``across`` on the top edge to ``down`` on the chest wall."""
    t = np.linspace(0.04, 0.96, 80)
    row, column = corner[0] + t * down, corner[1] + (1 - t) * across
    normal = np.array([across, down]) / np.hypot(across, down)  # (row, column), away from the corner
    sides = [[row + sign * 6 * normal[0], column + sign * 6 * normal[1]] for sign in (-1, 1)]
    inside = np.min([map_coordinates(region.astype(np.float32), side, order=0) for side in sides], axis=0) > 0
    greys = [map_coordinates(smooth, side, order=1) for side in sides]
    return np.asarray((greys[0] - greys[1])[inside], dtype=np.float64)


def find_path(seen: Survey, rng: np.random.Generator) -> VesselPath:
    """One of the clearest vessels of a survey, chosen by ``rng``. Raises NoVessel."""
    lines = skeletonize(seen.ridges > UNBROKEN)
    spots = np.argwhere(lines)
    if len(spots) < 2:
        raise NoVessel("expected a vessel, found no bright line in the breast's interior; give --path")
    pieces = label(lines, connectivity=2)[tuple(spots.T)]
    weight = np.bincount(pieces)[pieces].astype(np.float64)
    starts = rng.choice(len(spots), size=min(STARTS, len(spots)), replace=False, p=weight / weight.sum())
    routes = [found for start in starts for found in _routes(seen, spots, weight, int(start), rng)]
    routes.sort(key=lambda found: -found[0])
    kept: list[tuple[float, NDArray[np.int64]]] = []
    taken = np.zeros(seen.interior.shape, dtype=bool)
    for score, route in routes:
        if taken[tuple(route.T)].mean() < 0.3:
            kept.append((score, route))
            taken[tuple(route.T)] = True
            taken = np.asarray(binary_dilation(taken, iterations=4))
        if len(kept) == CHOICE:
            break
    if not kept:
        raise NoVessel("expected a vessel, found no bright line long enough in the breast's interior; give --path")
    clear = np.array([score + 1e-6 for score, _ in kept]) ** 4
    return VesselPath(_smooth(seen, kept[int(rng.choice(len(kept), p=clear / clear.sum()))][1]), "found")


def _routes(
    seen: Survey, spots: NDArray[np.int64], weight: NDArray[np.float64], start: int, rng: np.random.Generator
) -> list[tuple[float, NDArray[np.int64]]]:
    """Routes from one ridge point to others, each with its score: the height that nine tenths of it exceed, times the
    square root of its length over the breast's size."""
    away = np.hypot(*(spots - spots[start]).T) / seen.size
    ends = np.nonzero((away > REACH[0]) & (away < REACH[1]))[0]
    if not ends.size:
        return []
    ends = rng.choice(ends, size=min(ENDS, ends.size), replace=False, p=weight[ends] / weight[ends].sum())
    costs = MCP_Geometric(_costs(seen))
    reached, _ = costs.find_costs([tuple(spots[start])], [tuple(spots[end]) for end in ends], find_all_ends=True)
    found = []
    for end in ends:
        if np.isfinite(reached[tuple(spots[end])]):
            route = np.array(costs.traceback(tuple(spots[end])))
            length = float(np.hypot(*np.diff(route, axis=0).T).sum())
            if length < MOST_WINDING * float(np.hypot(*(spots[end] - spots[start]))):
                height = float(np.percentile(gaussian_filter1d(seen.ridges[tuple(route.T)], 3), 10))
                found.append((height * float(np.sqrt(length / seen.size)), route))
    return found


def _costs(seen: Survey) -> NDArray[np.float64]:
    """What a step through each pixel costs; negative is closed."""
    return np.where(seen.interior, 1 / (0.04 + seen.ridges.astype(np.float64)), -1.0)


def trace_path(seen: Survey, points: NDArray[np.floating]) -> VesselPath:
    """The vessel that runs through ``points`` (n, 2), column and row in original pixels, followed along the ridge between them.

    The breast's rim is open here, since a person has pointed at it. Raises UsageError where fewer than two points are given,
    or one lies outside the picture.
    """
    if len(points) < 2:
        raise UsageError(f"a path to trace: expected at least 2 points, received {len(points)}")
    points = np.asarray(points, dtype=np.float64)
    limits = (np.array(seen.picture.shape[::-1]) + 1) * seen.scale  # reducing has rounded the size
    for column, row in points:
        if not (0 <= column <= limits[0] and 0 <= row <= limits[1]):
            raise UsageError(f"a path to trace: column {column:g}, row {row:g} lies outside the image")
    detail = seen.picture - gaussian_filter(seen.picture, 12)
    answer = sato(detail, sigmas=WIDTHS, black_ridges=False)
    places = seen.reduced(points)
    height = float(np.percentile(answer[seen.interior], 99)) if seen.interior.any() else float(answer.max())
    costs = 1 / (0.04 + np.clip(answer / max(height, 1e-9), 0, 2))
    legs: list[NDArray[np.int64]] = []
    for start, end in pairwise(places):
        costs_from = MCP_Geometric(costs)
        costs_from.find_costs([tuple(start)], [tuple(end)])
        legs.append(np.array(costs_from.traceback(tuple(end)))[len(legs) > 0 :])
    return VesselPath(_smooth(seen, np.concatenate(legs), ordered=True), "traced")


def _smooth(seen: Survey, route: NDArray[np.int64], ordered: bool = False) -> NDArray[np.float64]:
    """A route without its pixels' corners, in original pixels; unless ``ordered``, from the chest wall towards the nipple."""
    smooth = gaussian_filter1d(route.astype(np.float64), 4, axis=0, mode="nearest")
    points = seen.original(smooth)
    to_the_right = points[-1, 0] >= points[0, 0]
    return points if ordered or to_the_right == (seen.chest_wall == "left") else points[::-1]


def drawn_path(points: NDArray[np.floating], shape: tuple[int, int], where: str = "the path") -> VesselPath:
    """A path through ``points`` (n, 2), column and row in original pixels of an image of ``shape``, bent smoothly in between.

    Raises UsageError for fewer than two points, for points outside the image, or for two in the same place.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2:
        raise UsageError(f"{where}: expected at least 2 points of column,row, received {len(points)}")
    limits = np.array([shape[1], shape[0]])
    outside = ~np.isfinite(points).all(axis=1) | (points < 0).any(axis=1) | (points > limits - 1).any(axis=1)
    if outside.any():
        column, row = points[np.argmax(outside)]
        raise UsageError(f"{where}: column {column:g}, row {row:g} lies outside the image of {shape[1]} x {shape[0]} pixels")
    steps = np.hypot(*np.diff(points, axis=0).T)
    if (steps == 0).any():
        raise UsageError(f"{where}: two neighbouring points are the same (point {int(np.argmin(steps)) + 1})")
    along = np.concatenate([[0.0], np.cumsum(steps)])
    at = np.linspace(0, along[-1], max(2, int(along[-1] / 2)))
    return VesselPath(np.asarray(PchipInterpolator(along, points)(at)), "drawn")


def read_path(file: Path, shape: tuple[int, int]) -> VesselPath:
    """A path drawn by a person: a CSV with the columns ``column`` and ``row``, original pixels. Raises UsageError."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            names = reader.fieldnames or []
            if not {"column", "row"} <= set(names):
                raise UsageError(f"{file}: expected the columns column,row, found {','.join(names) or 'nothing'}")
            points = np.array([[float(line["column"] or ""), float(line["row"] or "")] for line in reader]).reshape(-1, 2)
    except ValueError as error:  # no number, or no UTF-8
        raise UsageError(f"{file}: expected a number for each column and row ({error})") from error
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}; --path takes a CSV of column,row") from error
    return drawn_path(points, shape, str(file))
