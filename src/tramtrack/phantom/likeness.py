"""How like a real mammogram a synthetic one is, in numbers that can be taken from both in the same way.

All are taken from prepared views (imaging.prepare): the same size and the same grey convention, whatever the source. What
has a length is in prepared pixels, since film samples carry no spacing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, gaussian_filter, gaussian_filter1d, map_coordinates
from scipy.stats import skew
from skimage.graph import MCP_Geometric
from skimage.measure import label
from skimage.morphology import skeletonize

from tramtrack.phantom.sharpness import radial_spectrum
from tramtrack.phantom.vessel_paths import VesselPath

BAND = (0.02, 0.09)
"""Cycles a prepared pixel between which the exponent is fitted; at 0.15 to 0.2 mm a pixel, as prepared views have about, 0.1 to
0.6 a millimetre, where mammograms follow a power law (Burgess and others, Med Phys 2001;28:419)."""

LEAST_CONTRAST = 3.0
"""A section of an artery counts if its highest point lies this many standard deviations of the surroundings above them."""


@dataclass(frozen=True)
class Likeness:
    """``exponent`` of the power spectrum, 1/f^exponent over BAND (None where no tile fits into the breast); of the interior's
    greys (0..1) the ``median``, the ``range`` from the 5th to the 95th percentile and the ``skewness``; ``fine`` and ``coarse``
    local contrast: standard deviation of what is finer than 2 and than 8 pixels, over the mean grey; ``coherence``: how far
    structures run in one direction within some 8 pixels, 0 (none) to 1, which a power spectrum does not see."""

    exponent: float | None
    median: float
    range: float
    skewness: float
    fine: float
    coarse: float
    coherence: float


@dataclass(frozen=True)
class Section:
    """The mean profile of a short stretch of a calcified artery.

    ``edge_to_centre``: mean height of the two edges over that of the middle between them, both above the background (1 where
    there is one line). ``separation``: distance of the two lines over the width at half height (0 where there is one line).
    ``width``: pixels. ``contrast``: highest point above the background, in standard deviations of the surroundings.
    """

    edge_to_centre: float
    separation: float
    width: float
    contrast: float


def page_margin(picture: NDArray[np.floating]) -> tuple[slice, slice]:
    """Rows and columns of a picture without the white page around a screenshot: lines at its edges, nearly all white."""
    white = np.asarray(picture) >= 0.99 * float(np.max(picture))
    rows, columns = (np.nonzero(white.mean(axis=axis) < 0.95)[0] for axis in (1, 0))
    if not rows.size or not columns.size:
        return slice(0, white.shape[0]), slice(0, white.shape[1])
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def likeness(picture: NDArray[np.floating], interior: NDArray[np.bool_]) -> Likeness:
    """Measure a prepared view (rows, columns), greys in 0..1, in the breast's ``interior``."""
    values = np.asarray(picture, dtype=np.float64)
    inside = values[interior]
    mean = float(inside.mean())
    low, middle, high = (float(level) for level in np.percentile(inside, (5, 50, 95)))
    finer = [float((values - gaussian_filter(values, sigma))[interior].std()) / mean for sigma in (2, 8)]
    exponent, along = spectrum_exponent(values, interior), float(coherence(values)[interior].mean())
    return Likeness(exponent, middle, high - low, float(skew(inside)), finer[0], finer[1], along)


def coherence(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Difference over sum of the structure tensor's eigenvalues, (rows, columns) in 0..1.

    Gradients are taken at 2 pixels and averaged over 8 (standard deviations of Gaussians; Bigün and Granlund, ICCV 1987).
    """
    down, right = np.gradient(gaussian_filter(values, 2.0))
    vertical, horizontal, mixed = (gaussian_filter(part, 8.0) for part in (down * down, right * right, down * right))
    return np.sqrt((vertical - horizontal) ** 2 + 4 * mixed**2) / (vertical + horizontal + 1e-15)


def spectrum_exponent(values: NDArray[np.float64], interior: NDArray[np.bool_]) -> float | None:
    """The exponent b of the radial power spectrum 1/f^b over BAND, by least squares of the logarithms; None without a tile."""
    frequency, power = radial_spectrum(values, interior)
    used = (frequency >= BAND[0]) & (frequency <= BAND[1])
    if used.sum() < 4:
        return None
    return -float(np.polyfit(np.log(frequency[used]), np.log(power[used]), 1)[0])


def middle_line(mask: NDArray[np.bool_]) -> VesselPath | None:
    """The middle of a calcium mask's longest piece (rows, columns), gaps of a few pixels closed; None where it is short."""
    closed = binary_closing(np.pad(mask, 6), iterations=5)[6:-6, 6:-6]
    lines = skeletonize(closed)
    pieces = label(lines, connectivity=2)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    if sizes.max(initial=0) < 20:
        return None
    piece = pieces == int(sizes.argmax())
    start = tuple(np.argwhere(piece)[0])
    for _ in range(2):  # the farthest place from anywhere is one end; the farthest from it, the other
        search = MCP_Geometric(np.where(piece, 1.0, -1.0))
        reached, _ = search.find_costs([start])
        end = np.unravel_index(int(np.where(np.isfinite(reached) & piece, reached, -1).argmax()), piece.shape)
        route = np.array(search.traceback(tuple(int(place) for place in end)))
        start = tuple(int(place) for place in end)
    return VesselPath(gaussian_filter1d(route.astype(np.float64), 3, axis=0, mode="nearest")[:, ::-1], "traced")


def straightened(picture: NDArray[np.floating], path: VesselPath, reach: int) -> NDArray[np.float64]:
    """The picture along a path: (steps of a pixel along it, 2 reach + 1 across it)."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path.points, axis=0).T))])
    at = np.arange(0, along[-1], 1.0)
    points = np.stack([np.interp(at, along, path.points[:, axis]) for axis in (0, 1)], 1)
    tangent = gaussian_filter1d(np.gradient(points, axis=0), 3, axis=0, mode="nearest")
    tangent /= np.hypot(*tangent.T)[:, None] + 1e-12
    across = np.arange(-reach, reach + 1)
    columns = points[:, :1] - tangent[:, 1:] * across
    rows = points[:, 1:] + tangent[:, :1] * across
    return np.asarray(map_coordinates(np.asarray(picture, dtype=np.float64), [rows, columns], order=1, mode="nearest"))


def sections(picture: NDArray[np.floating], path: VesselPath, reach: int = 16, length: int = 10) -> list[Section]:
    """The sections of ``length`` pixels of a calcified artery whose profile stands out of its surroundings."""
    strip = straightened(picture, path, reach)
    found = []
    for start in range(0, len(strip) - length + 1, length):
        section = _section(strip[start : start + length].mean(axis=0), reach)
        if section is not None:
            found.append(section)
    return found


def _section(profile: NDArray[np.float64], reach: int) -> Section | None:
    """One profile's shape; None where nothing stands out or the line reaches the profile's end."""
    rim = max(3, reach // 4)
    ends = np.r_[profile[:rim], profile[-rim:]]
    across = np.arange(len(profile), dtype=np.float64)
    places = np.r_[across[:rim], across[-rim:]]
    line = np.polyfit(places, ends, 1)
    height = profile - np.polyval(line, across)
    deviation = float((ends - np.polyval(line, places)).std()) + 1e-9
    top = int(height[rim:-rim].argmax()) + rim
    contrast = float(height[top]) / deviation
    if contrast < LEAST_CONTRAST:
        return None
    above = np.nonzero(height > height[top] / 2)[0]
    left, right = int(above.min()), int(above.max())
    if left < rim or right >= len(profile) - rim:
        return None
    width = float(right - left + 1)
    inner = height[left : right + 1]
    peaks = [at for at in range(len(inner)) if _is_peak(inner, at)]
    if len(peaks) < 2:
        return Section(1.0, 0.0, width, contrast)
    first, last = peaks[0], peaks[-1]
    centre = float(inner[first : last + 1].min())
    edges = float(inner[first] + inner[last]) / 2
    return Section(edges / max(centre, 1e-9), (last - first) / width, width, contrast)


def _is_peak(inner: NDArray[np.float64], at: int) -> bool:
    before = inner[at - 1] if at else -np.inf
    after = inner[at + 1] if at + 1 < len(inner) else -np.inf
    return bool(inner[at] > before and inner[at] >= after)
