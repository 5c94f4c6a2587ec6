"""An artery taken out of a real image, and an equal band elsewhere filled in the same way, as the filling's own control.

The band is filled by what surrounds it: its broad greys by biharmonic inpainting (skimage.restoration) of the smoothed
surroundings, its texture and grain by those of the strips on either side, moved in and blended so that their variance stays.
Inpainting alone would leave a smooth scar, which a network sees as well as an artery.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.spatial import cKDTree
from skimage.restoration import inpaint_biharmonic

from tramtrack.errors import TramtrackError, UsageError
from tramtrack.phantom.vessel_paths import Survey, VesselPath

COARSE_HALF_WIDTH = 4
"""Half the band's width on the reduced grid where its broad greys are filled in, pixels."""

FEATHER = 0.2
"""Share of the band's half width over which the filling fades into the image at its edges."""

MOST_DEVIATIONS = 3.0
"""Standard deviations beyond which the surroundings' texture is cut off before it is moved in."""

TRIES = 2000
"""Places that are tried for an equal band."""


def band_mask(path: VesselPath, half_width: float, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Where an image of ``shape`` lies within ``half_width`` pixels of the path.

    Raises UsageError for a width below 1, and for a path that lies outside the image.
    """
    if not 1 <= half_width <= max(shape) / 4:
        raise UsageError(f"half_width: expected 1 to {max(shape) // 4} pixels, received {half_width:g}")
    away = _distance(path, shape)
    if away.min() > 0:
        raise UsageError(f"the path: expected one in the image of {shape[1]} x {shape[0]} pixels, all of it lies outside")
    return np.asarray(away <= half_width)


def _distance(path: VesselPath, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Distance of each pixel from the path, pixels."""
    away = np.ones(shape, dtype=bool)
    dense = _dense(path)
    places = np.rint(dense).astype(np.int64)
    inside = ((places >= 0) & (places < (shape[1], shape[0]))).all(axis=1)
    away[places[inside, 1], places[inside, 0]] = False
    return np.asarray(distance_transform_edt(away))


def _dense(path: VesselPath) -> NDArray[np.float64]:
    """The path's points, half a pixel apart."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path.points, axis=0).T))])
    at = np.linspace(0, along[-1], max(2, int(2 * along[-1])))
    return np.stack([np.interp(at, along, path.points[:, axis]) for axis in (0, 1)], 1)


def fill_band(stored: NDArray[np.generic], path: VesselPath, half_width: float) -> NDArray[np.float64]:
    """Stored values (rows, columns) with the band of ``half_width`` pixels around ``path`` filled in from its surroundings.

    Returns float64, not rounded; outside the band nothing changes. Raises UsageError.
    """
    shape = (stored.shape[0], stored.shape[1])
    band = band_mask(path, half_width, shape)
    window = _around(band, int(np.ceil(5 * half_width)))
    values, hole = stored[window].astype(np.float64), band[window]
    broad = _broad_greys(values, hole, half_width)
    texture = _without_calcium(values - broad, hole)
    corner = (window[1].start, window[0].start)
    filled = broad + _moved_in(texture, hole, _dense(path) - corner, half_width)
    inwards = np.clip(distance_transform_edt(hole) / max(FEATHER * half_width, 1.0), 0, 1)
    result = stored.astype(np.float64)
    result[window] = np.where(hole, values + (filled - values) * inwards, values)
    return result


def _around(band: NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
    rows, columns = np.nonzero(band)
    return (
        slice(max(int(rows.min()) - margin, 0), min(int(rows.max()) + margin + 1, band.shape[0])),
        slice(max(int(columns.min()) - margin, 0), min(int(columns.max()) + margin + 1, band.shape[1])),
    )


def _broad_greys(values: NDArray[np.float64], hole: NDArray[np.bool_], half_width: float) -> NDArray[np.float64]:
    """The smoothed image without the hole's values; inside the hole, its biharmonic continuation."""
    known = (~hole).astype(np.float64)
    sigma = half_width / 2
    weight = gaussian_filter(known, sigma)
    smooth = gaussian_filter(values * known, sigma) / np.maximum(weight, 1e-6)
    scale = max(1.0, half_width / COARSE_HALF_WIDTH)
    size = (max(8, round(values.shape[1] / scale)), max(8, round(values.shape[0] / scale)))
    small = np.asarray(Image.fromarray(smooth.astype(np.float32)).resize(size, Image.Resampling.BILINEAR), dtype=np.float64)
    gap = np.asarray(Image.fromarray(hole).resize(size, Image.Resampling.NEAREST), dtype=bool)
    span = max(float(np.ptp(small)), 1e-9)
    within = inpaint_biharmonic((small - small.min()) / span, gap, split_into_regions=True) * span + small.min()
    large = Image.fromarray(within.astype(np.float32)).resize(values.shape[::-1], Image.Resampling.BICUBIC)
    return np.where(hole, np.asarray(large, dtype=np.float64), smooth)


def _without_calcium(texture: NDArray[np.float64], hole: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Texture cut off at MOST_DEVIATIONS of its own (robust) spread: calcium beside the band is not copied into it."""
    around = texture[~hole]
    most = MOST_DEVIATIONS * 1.4826 * float(np.median(np.abs(around - np.median(around))))
    return np.clip(texture, -most, most)


def _moved_in(
    texture: NDArray[np.float64], hole: NDArray[np.bool_], dense: NDArray[np.float64], half_width: float
) -> NDArray[np.float64]:
    """For each pixel of the hole the texture of the strips on its two sides, blended by the roots of weights that sum to 1."""
    rows, columns = np.nonzero(hole)
    tangent = np.gradient(dense, axis=0)
    tangent /= np.hypot(*tangent.T)[:, None] + 1e-12
    normal = tangent @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    _, nearest = cKDTree(dense).query(np.stack([columns, rows], 1))
    signed = ((np.stack([columns, rows], 1) - dense[nearest]) * normal[nearest]).sum(1)
    total, weights = np.zeros(len(rows)), np.zeros(len(rows))
    for side in (-1, 1):
        shift = normal[nearest] * (side * (2 * half_width + 2))
        source = np.rint(np.stack([rows, columns], 1) + shift[:, ::-1]).astype(np.int64)
        usable = ((source >= 0) & (source < texture.shape)).all(axis=1)
        source = np.clip(source, 0, np.array(texture.shape) - 1)
        usable &= ~hole[tuple(source.T)]
        share = np.where(usable, np.clip(0.5 + side * signed / (2 * half_width), 0.02, 0.98), 0.0)
        total += np.sqrt(share) * texture[tuple(source.T)]
        weights += share
    result = np.zeros(texture.shape)
    result[rows, columns] = np.where(weights > 0, total / np.sqrt(np.maximum(weights, 1e-9)), 0)
    return result


def equal_band(seen: Survey, path: VesselPath, half_width: float, rng: np.random.Generator) -> VesselPath:
    """The same path elsewhere in the breast's interior: turned, perhaps mirrored, and moved, at least two widths away from it.

    Raises TramtrackError where the interior has no room for it.
    """
    shape = (round(seen.picture.shape[0] * seen.scale), round(seen.picture.shape[1] * seen.scale))
    reduced = VesselPath((path.points + 0.5) / seen.scale - 0.5, path.source)
    free = seen.interior & (_distance(reduced, seen.picture.shape) > 4 * half_width / seen.scale + 1)
    centre = path.points.mean(axis=0)
    places = np.argwhere(free)
    if not len(places):
        raise TramtrackError("an equal band: the breast's interior has no room beside the artery")
    for attempt in range(TRIES):
        angle = rng.normal(0, 0.3 + attempt / TRIES * 2)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        mirror = np.array([1.0, rng.choice([-1.0, 1.0])])
        target = seen.original(places[rng.integers(len(places))][None, :])[0]
        points = ((path.points - centre) * mirror) @ turn + target
        if (points < 0).any() or (points > (shape[1] - 1, shape[0] - 1)).any():
            continue
        if free[tuple(seen.reduced(points).T)].all():
            return VesselPath(points, "drawn")
    raise TramtrackError(f"an equal band: found no room for it in the breast's interior in {TRIES} tries")
