"""A calcified artery, or an uncalcified one as its control, put into a real image along a vessel's path.

The artery is the phantom's: a tube whose wall holds mineral in patches. Where a ray passes blood and wall in place of fat,
and mineral in place of wall, its attenuation rises by the exact path length times the difference of the coefficients; the
image's own domain (grey_domain) turns that into grey. It is blurred as the image is, and the grain behind it is raised as
quanta behind more attenuation are fewer. Both control and artery hold the same tube of soft tissue: they differ by calcium
alone. The tube is taken to lie in the plane of the detector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from tramtrack.errors import UsageError
from tramtrack.phantom.calcification import PATCH_MM, between, draw_patches, wall_path
from tramtrack.phantom.grey_domain import GreyDomain
from tramtrack.phantom.materials import CALCIUM_CONTRAST, HYDROXYAPATITE_MG_PER_MM3, SOFT_CONTRAST
from tramtrack.phantom.settings import require_whole
from tramtrack.phantom.sharpness import grain, resolution
from tramtrack.phantom.vessel_paths import VesselPath

NOMINAL_SIDE_MM = 240.0
"""Length of an image's longer side that decides sizes where the file has no spacing; it never enters the truth."""

DIAMETER_MM = (0.8, 2.2)
"""Outer diameter at the thicker end, drawn where it is not given, within the 0.5 to 2.5 of breast arteries."""

TAPER = 0.55
"""Share of the diameter that is lost along the path."""

HYDROXYAPATITE = (0.06, 0.5)
"""Volume fraction of mineral in the calcified wall at severity 0 and 1."""

COVERAGE = (0.35, 0.95)
"""Share of the wall that is calcified at severity 0 and 1."""

WALL = (0.18, 0.35)
"""The wall's thickness over the outer radius."""

SCATTER_TO_PRIMARY = 0.2
"""Scatter to primary behind a grid, for raw linear data (ours); it lowers the contrast of everything small."""

VISIBLE_CNR = 4.0
"""Calcium is visible where its attenuation exceeds this many standard deviations of the grain, at APERTURE_MM."""

APERTURE_MM = 0.2
"""Width of the square over which the grain is averaged for that."""

FINENESS = 3
"""Granules along each side of one of the phantom's patches: deposits are clumps of 0.15 mm and more."""

RADIUS_JITTER = 0.07
"""Standard deviation of the outer radius along the tube, as a share of it."""

SUBPIXELS = 3
"""Points along each side of a pixel at which the tube's exact path is taken."""


@dataclass(frozen=True)
class Insertion:
    """What is to be put in. ``severity``: 0 (faint, sparse) to 1 (dense, complete); of the control it decides nothing.

    ``diameter_mm`` (needs spacing) or ``diameter_px``: outer diameter at the thicker end; drawn from DIAMETER_MM where both
    are None. ``is_control``: the uncalcified tube. Raises UsageError naming the parameter that is out of range.
    """

    seed: int
    severity: float = 0.5
    diameter_mm: float | None = None
    diameter_px: float | None = None
    is_control: bool = False

    def __post_init__(self) -> None:
        require_whole("seed", self.seed, 0)
        if not isinstance(self.is_control, bool):
            raise UsageError(f"is_control: expected True or False, received {self.is_control!r}")
        if not _lies_in(self.severity, (0, 1)):
            raise UsageError(f"severity: expected a number from 0 to 1, received {self.severity!r}")
        if self.diameter_mm is not None and self.diameter_px is not None:
            raise UsageError("diameter: expected millimetres or pixels, received both")
        for name, value, limits in (("mm", self.diameter_mm, (0.2, 6.0)), ("px", self.diameter_px, (2.0, 200.0))):
            if value is not None and not _lies_in(value, limits):
                raise UsageError(f"diameter in {name}: expected {limits[0]:g} to {limits[1]:g}, received {value!r}")

    def drawn_diameter_px(self, rng: np.random.Generator, shape: tuple[int, int], spacing_mm: float | None) -> float:
        """The diameter in pixels of an image of ``shape``. Raises UsageError where mm are asked of a file without spacing."""
        drawn = rng.uniform(*DIAMETER_MM)  # always drawn, so that what follows does not depend on it
        if self.diameter_mm is not None:
            if spacing_mm is None:
                raise UsageError("diameter in mm: the image has no pixel spacing; give it in pixels (--diameter-px)")
            return self.diameter_mm / spacing_mm
        return self.diameter_px or drawn / (spacing_mm or nominal_pitch(shape))


def _lies_in(value: object, limits: tuple[float, float]) -> bool:
    """True for a number within the limits."""
    return isinstance(value, int | float) and not isinstance(value, bool) and limits[0] <= value <= limits[1]


@dataclass(frozen=True)
class Tube:
    """An artery on the image's grid, all lengths in pixels.

    ``points`` (n, 2): column and row, a quarter of a pixel apart. ``radius`` (n,). ``wall``: wall over outer radius.
    ``mineral``: volume fraction. ``patches`` (along, around) in 0..1, ``patch`` pixels long each.
    """

    points: NDArray[np.float64]
    radius: NDArray[np.float64]
    wall: float
    mineral: float
    patches: NDArray[np.float32]
    patch: float


@dataclass(frozen=True)
class Inserted:
    """An image with something in it.

    ``stored`` (rows, columns) float64: stored values, not rounded and not clipped. ``mask`` bool: where calcium is visible.
    ``truth``: what the truth file says.
    """

    stored: NDArray[np.float64]
    mask: NDArray[np.bool_]
    truth: dict[str, Any]


def nominal_pitch(shape: tuple[int, int]) -> float:
    """Millimetres a pixel that decide sizes on an image without spacing."""
    return NOMINAL_SIDE_MM / max(shape)


def insert(
    stored: NDArray[np.generic],
    domain: GreyDomain,
    path: VesselPath,
    wanted: Insertion,
    interior: NDArray[np.bool_],
    spacing_mm: float | None = None,
) -> Inserted:
    """Put a tube along ``path`` into an image's stored values (rows, columns).

    ``interior``: the breast's interior, bool, where the image's sharpness is measured. Nothing farther than a few pixels from
    the tube changes. Raises UsageError.
    """
    shape = (stored.shape[0], stored.shape[1])
    rng = np.random.default_rng(np.random.SeedSequence(wanted.seed, spawn_key=(1,)))
    pitch = spacing_mm or nominal_pitch(shape)
    tube = draw_tube(rng, path, wanted, wanted.drawn_diameter_px(rng, shape, spacing_mm), pitch)
    sigma = resolution(domain.attenuation(stored), interior, pitch)
    window = _window(tube, shape, 4 * sigma + 4)
    soft_px, mineral_px = tube_paths(tube, window)
    soft, calcium = (
        gaussian_filter(path_px, sigma) * pitch for path_px in (soft_px * SOFT_CONTRAST, mineral_px * CALCIUM_CONTRAST)
    )
    if domain.is_exact:
        soft, calcium = (-np.log1p(-(1 - np.exp(-added)) / (1 + SCATTER_TO_PRIMARY)) for added in (soft, calcium))
    added = soft if wanted.is_control else soft + calcium
    before = domain.attenuation(stored[window])
    texture = before - gaussian_filter(before, 2 * sigma + 1)
    after = before + added + (np.exp(added / 2) - 1) * texture
    result = stored.astype(np.float64)
    touched = added > 1e-5
    result[window] = np.where(touched, result[window] + domain.stored(after) - domain.stored(before), result[window])
    noise = grain(before, max(1, round(APERTURE_MM / pitch)))
    mask = np.zeros(shape, dtype=bool)
    if not wanted.is_control:
        mask[window] = calcium > VISIBLE_CNR * noise
    volume_px3 = 0.0 if wanted.is_control else float(mineral_px.sum())
    truth = _truth(path, tube, wanted, domain, mask, volume_px3, spacing_mm)
    return Inserted(result, mask, {**truth, "blur_sigma_px": round(sigma, 3), "grain": round(noise, 5)})


def draw_tube(rng: np.random.Generator, path: VesselPath, wanted: Insertion, diameter_px: float, pitch: float) -> Tube:
    """Draw an artery along ``path``: wall, mineral and patches from ``rng``, at ``pitch`` millimetres a pixel."""
    steps = np.hypot(*np.diff(path.points, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    at = np.linspace(0, along[-1], max(8, int(along[-1] * 4)))
    points = np.stack([np.interp(at, along, path.points[:, axis]) for axis in (0, 1)], 1)
    patch = PATCH_MM / pitch
    coverage = float(np.clip(between(COVERAGE, wanted.severity) * rng.uniform(0.85, 1.15), 0.15, 0.98))
    mineral = between(HYDROXYAPATITE, wanted.severity) * float(np.exp(rng.normal(0, 0.2)))
    patches = _granular(rng, draw_patches(rng, max(4, round(along[-1] / patch)), coverage))
    bumps = gaussian_filter(rng.normal(size=len(at)), 4 * patch)  # a quarter of a pixel apart: a patch's length
    radius = diameter_px / 2 * (1 - TAPER * at / along[-1]) * (1 + RADIUS_JITTER * bumps / (bumps.std() + 1e-12))
    return Tube(points, radius, float(rng.uniform(*WALL)), mineral, patches, along[-1] / len(patches))


def _granular(rng: np.random.Generator, patches: NDArray[np.float32]) -> NDArray[np.float32]:
    """Patches (along, around) on a grid finer by FINENESS, broken up into granules; their mean stays about the same."""
    fine = np.kron(patches, np.ones((FINENESS, FINENESS)))
    fine = gaussian_filter(fine, FINENESS / 2, mode=("nearest", "wrap"))
    grains = gaussian_filter(rng.normal(size=fine.shape), 0.8, mode=("nearest", "wrap"))
    return (fine * np.exp(0.6 * grains / grains.std() - 0.18)).astype(np.float32)


def tube_paths(tube: Tube, window: tuple[slice, slice]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Paths in pixels through soft tissue and through solid mineral, averaged over each pixel of ``window``.

    Two float64 arrays of its size. The whole tube is soft (blood and wall alike); its ends fade over three radii, as a vessel
    that leaves the picture's plane.
    """
    top, left = window[0].start, window[1].start
    size = (window[0].stop - top, window[1].stop - left)
    away = np.ones(size, dtype=bool)
    places = np.rint(tube.points - (left, top)).astype(np.int64)
    inside = ((places >= 0) & (places < (size[1], size[0]))).all(axis=1)
    away[places[inside, 1], places[inside, 0]] = False
    rows, columns = np.nonzero(distance_transform_edt(away) < tube.radius.max() + 2)
    tree = cKDTree(tube.points)
    tangent = np.gradient(tube.points, axis=0)
    tangent /= np.hypot(*tangent.T)[:, None] + 1e-12
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(tube.points, axis=0).T))])
    soft, mineral = np.zeros(size), np.zeros(size)
    shifts = (np.arange(SUBPIXELS) + 0.5) / SUBPIXELS - 0.5
    for down in shifts:
        for right in shifts:
            place = np.stack([columns + left + right, rows + top + down], 1)
            _, nearest = tree.query(place)
            offset = (place - tube.points[nearest]) @ np.array([[0.0, 1.0], [-1.0, 0.0]])
            signed = (offset * tangent[nearest]).sum(1)
            beyond = np.abs(((place - tube.points[nearest]) * tangent[nearest]).sum(1)) > 0.5  # past the tube's ends
            paths = _point_paths(tube, signed, nearest, along[nearest])
            soft[rows, columns] += np.where(beyond, 0, paths[0]) / SUBPIXELS**2
            mineral[rows, columns] += np.where(beyond, 0, paths[1]) / SUBPIXELS**2
    return soft, mineral


def _point_paths(
    tube: Tube, signed: NDArray[np.float64], nearest: NDArray[np.int64], along: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Soft and mineral path of rays at ``signed`` distance from the axis, half the wall facing the tube and half behind."""
    radius = tube.radius[nearest]
    length = len(tube.points) / 4
    ends = np.clip(np.minimum(along, length - along) / (3 * tube.radius.max()), 0, 1)
    soft = 2 * np.sqrt(np.maximum(radius**2 - signed**2, 0)) * ends
    full = wall_path(np.abs(signed), radius, radius * (1 - tube.wall))
    angle = np.arcsin(np.clip(signed / radius, -1, 1)) / (2 * np.pi)
    ring = np.pad(tube.patches, ((0, 0), (1, 1)), mode="wrap")
    shares = [
        map_coordinates(ring, [along / tube.patch - 0.5, (turn % 1.0) * tube.patches.shape[1] + 0.5], order=1, mode="nearest")
        for turn in (angle, 0.5 - angle)
    ]
    return soft, full * tube.mineral * (shares[0] + shares[1]) / 2


def _window(tube: Tube, shape: tuple[int, int], margin: float) -> tuple[slice, slice]:
    """The part of the image that holds the tube and ``margin`` pixels around it."""
    reach = float(tube.radius.max()) + margin
    low = np.maximum(np.floor(tube.points.min(axis=0) - reach), 0).astype(int)
    high = np.minimum(np.ceil(tube.points.max(axis=0) + reach) + 1, (shape[1], shape[0])).astype(int)
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _truth(
    path: VesselPath,
    tube: Tube,
    wanted: Insertion,
    domain: GreyDomain,
    mask: NDArray[np.bool_],
    volume_px3: float,
    spacing_mm: float | None,
) -> dict[str, Any]:
    """What was put in, in pixels, and in millimetres and milligrams where the image has a spacing."""
    bac = int(mask.any())
    facts: dict[str, Any] = {
        "kind": "uncalcified tube" if wanted.is_control else "calcified artery",
        "bac": bac,
        "domain": domain.kind,
        "domain_label": domain.label,
        "contrast_model": None if domain.is_exact else {"gain": domain.gain, "black": domain.black, "white": domain.white},
        "seed": wanted.seed,
        "severity": None if wanted.is_control else wanted.severity,
        "path_source": path.source,
        "length_px": round(path.length_px, 2),
        "diameter_px": [round(2 * float(tube.radius[0]), 3), round(2 * float(tube.radius[-1]), 3)],
        "area_px": int(mask.sum()),
        "mineral_fraction": 0.0 if wanted.is_control else round(tube.mineral, 4),
        "mineral_px3": round(volume_px3, 3),
        "wall": round(tube.wall, 4),
        "spacing_mm": spacing_mm,
    }
    if spacing_mm is not None:
        facts |= {
            "length_mm": round(path.length_px * spacing_mm, 3),
            "diameter_mm": [round(size * spacing_mm, 4) for size in facts["diameter_px"]],
            "area_mm2": round(facts["area_px"] * spacing_mm**2, 4),
            "mass_mg": round(volume_px3 * spacing_mm**3 * HYDROXYAPATITE_MG_PER_MM3, 5),
        }
    return {**facts, "path": [[round(float(x), 2), round(float(y), 2)] for x, y in path.points]}
