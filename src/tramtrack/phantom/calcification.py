"""Arterial calcium: a calcified artery as a partial hollow tube in three dimensions.

The wall, between radius r and R, holds mineral in patches. A ray at distance x from the axis passes
2(sqrt(R²-x²) - sqrt(r²-x²)) of wall, most where it grazes the lumen: hence the two bright lines of a tram track. An oblique
tube's path is longer by one over the sine of the angle between axis and beam; a tube seen end-on is a ring.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tramtrack.errors import UsageError
from tramtrack.phantom.anatomy import Outline, project, view_axes
from tramtrack.phantom.materials import HYDROXYAPATITE_MG_PER_MM3
from tramtrack.phantom.projection import Course, FloatArray, splat
from tramtrack.phantom.settings import Grid, PhantomSettings
from tramtrack.phantom.vessels import NOMINAL_MM, Kind, Vessel

PATCH_MM = 0.45
"""Grid of a segment's patches along the vessel, mm."""

PATCHES_AROUND = 16
"""Grid of a segment's patches around the circumference."""

POINTS_AT_ONCE = 200_000
"""Points of a wall that are held in memory together."""

END_ON_SINE = 0.5
"""A stretch whose axis makes a smaller sine with the beam is seen end-on."""


class Form(StrEnum):
    """The type of a calcified segment: specks, solid patches, a hollow wall, or a hollow wall that a view sees end-on."""

    PUNCTATE = "punctate"
    COARSE = "coarse"
    TRAM_TRACK = "tram-track"
    RING = "ring"


@dataclass(frozen=True)
class Segment:
    """A calcified stretch of one artery.

    ``vessel``: the artery's number in its breast. ``points`` (n, 3) in the breast's frame and ``radius_mm`` (n,): the stretch
    of it. ``wall``: wall over outer radius. ``mineral``: volume fraction of hydroxyapatite. ``patches`` (along, around), 0 or
    more: how much of the wall is calcified there, in ``PATCHES_AROUND`` steps around and equal steps along. ``reach``: where on
    the artery it begins and ends, 0 to 1; stretches of one artery may overlap. Raises UsageError naming what is out of range.
    """

    vessel: int
    form: Form
    points: NDArray[np.float64]
    radius_mm: NDArray[np.float64]
    wall: float
    mineral: float
    patches: NDArray[np.float32]
    reach: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        require_tube(self.radius_mm, self.wall)
        if not 0 <= self.mineral <= 1:
            raise UsageError(f"mineral: expected a volume fraction in 0..1, received {self.mineral:g}")

    def length_mm(self, size_mm: NDArray[np.float64]) -> float:
        """Length in a breast whose frame's units are ``size_mm`` (3,), mm."""
        return float(np.linalg.norm(np.diff(self.points * size_mm, axis=0), axis=1).sum())

    def mass_mg(self, size_mm: NDArray[np.float64]) -> float:
        """Mass of its hydroxyapatite, mg: the same in every view."""
        steps = np.linalg.norm(np.diff(self.points * size_mm, axis=0), axis=1)
        along = np.concatenate([[0.0], np.cumsum(steps)])
        at = (np.arange(len(self.patches)) + 0.5) / len(self.patches) * along[-1]
        area = np.pi * np.interp(at, along, self.radius_mm) ** 2 * (1 - (1 - self.wall) ** 2)
        volume = (area * self.patches.mean(1)).sum() * along[-1] / len(self.patches)
        return float(volume * self.mineral * HYDROXYAPATITE_MG_PER_MM3)


def require_tube(radius_mm: NDArray[np.float64], wall: float) -> None:
    """Raise UsageError, naming radius_mm or wall, where a tube's outer radius is not above 0 or its wall not in (0, 1]."""
    if not (np.asarray(radius_mm) > 0).all():
        raise UsageError(f"radius_mm: expected radii above 0, received {float(np.min(radius_mm)):g}")
    if not 0 < wall <= 1:
        raise UsageError(f"wall: expected a share of the outer radius in (0, 1], received {wall:g}")


def between(range_: tuple[float, float], at: float) -> float:
    """The value at ``at`` (0..1) of the way through a range."""
    return range_[0] + (range_[1] - range_[0]) * at


def draw_segments(
    rng: np.random.Generator, vessels: tuple[Vessel, ...], burden: float, settings: PhantomSettings
) -> tuple[Segment, ...]:
    """Draw a breast's calcified segments at ``burden`` (0..1) on its arteries; larger arteries are preferred. At least one."""
    arteries = [number for number, vessel in enumerate(vessels) if vessel.kind is Kind.ARTERY and vessel.length_mm > 9]
    weight = np.array([float(vessels[n].radius_mm.mean()) ** 2 * vessels[n].length_mm for n in arteries])
    count = 1 + int(rng.poisson(max(0.0, between(settings.segments, burden) - 1)))
    chosen = rng.choice(len(arteries), count, p=weight / weight.sum())
    return tuple(_draw_segment(rng, arteries[int(n)], vessels[arteries[int(n)]], burden, settings) for n in chosen)


def _draw_segment(rng: np.random.Generator, number: int, vessel: Vessel, burden: float, settings: PhantomSettings) -> Segment:
    length = min(between(settings.segment_length_mm, burden) * rng.uniform(0.5, 1.5), 0.95 * vessel.length_mm)
    share = length / vessel.length_mm
    start = rng.uniform(0, 1 - share) * 0.8
    at = np.linspace(start, start + share, max(4, int(length / 1.0))) * (len(vessel.points) - 1)
    index = np.arange(len(vessel.points))
    points = np.stack([np.interp(at, index, vessel.points[:, axis]) for axis in range(3)], 1)
    form = _draw_form(rng, burden)
    mineral = between(settings.hydroxyapatite, burden) * float(np.exp(rng.normal(0, 0.35)))
    coverage = float(np.clip(between(settings.coverage, burden) * rng.uniform(0.7, 1.2), 0.15, 1.0))
    wall = float(rng.uniform(*settings.wall))
    if form is Form.PUNCTATE:
        coverage, wall, mineral = coverage * 0.25, wall * 1.4, mineral * 1.4
    elif form is Form.COARSE:
        coverage, wall = coverage * 0.6, min(1.0, wall * 2.2)
    elif _is_end_on(points):
        form = Form.RING
    patches = draw_patches(rng, max(4, int(length / PATCH_MM)), coverage)
    radius = np.interp(at, index, vessel.radius_mm)
    reach = (float(start), float(start + share))
    return Segment(number, form, points, radius, min(wall, 1.0), min(mineral, 0.8), patches, reach)


def _draw_form(rng: np.random.Generator, burden: float) -> Form:
    """Specks are commonest at a low burden, tram tracks at a high one."""
    punctate, coarse = 0.4 * (1 - burden) ** 2, 0.3
    return Form(rng.choice([Form.PUNCTATE, Form.COARSE, Form.TRAM_TRACK], p=[punctate, coarse, 1 - punctate - coarse]))


def _is_end_on(points: NDArray[np.float64]) -> bool:
    """True if the cranio-caudal beam runs along most of the stretch."""
    steps = np.diff(points * NOMINAL_MM, axis=0)
    sine = np.hypot(steps[:, 0], steps[:, 1]) / np.maximum(np.linalg.norm(steps, axis=1), 1e-9)
    return bool((sine < END_ON_SINE).mean() > 0.5)


def draw_patches(rng: np.random.Generator, along: int, coverage: float) -> NDArray[np.float32]:
    """Patches (along, PATCHES_AROUND), 0 or more, covering about ``coverage`` of the wall, faded at both ends."""
    coarse = gaussian_filter(rng.normal(size=(along, PATCHES_AROUND)), (7, 2.5), mode=("nearest", "wrap"))
    fine = gaussian_filter(rng.normal(size=(along, PATCHES_AROUND)), (0.8, 0.7), mode=("nearest", "wrap"))
    field = coarse / coarse.std() + 0.9 * fine / fine.std()
    level = np.quantile(field, 1 - coverage) if coverage < 1 else field.min() - 2
    amount = np.clip((field - level) / 0.5 + 0.5, 0, 1) * np.clip(0.7 + 0.55 * fine / fine.std(), 0.1, 2.0)
    ends = np.clip(np.minimum(np.arange(along), np.arange(along)[::-1]) / 6 + 0.2, 0, 1)
    return (amount * ends[:, None]).astype(np.float32)


def wall_path(offset_mm: FloatArray, outer_mm: FloatArray, inner_mm: FloatArray) -> FloatArray:
    """Path in mm through a full tube's wall at distance ``offset_mm`` from the axis, the beam at right angles to it."""
    outer = np.sqrt(np.maximum(outer_mm**2 - offset_mm**2, 0))
    return 2 * (outer - np.sqrt(np.maximum(inner_mm**2 - offset_mm**2, 0)))


def calcium_path(line: Course, fractions: FloatArray, wall: float, patches: NDArray[np.float32], turn: float) -> FloatArray:
    """Path in mm through the calcified wall, (n, m), at ``fractions`` (m,) of the radius; half through the wall that faces
    the tube, half through the far wall. ``turn`` (0..1 of a full turn) is how the segment is rotated towards the beam.

    For a tube along a line that is known in projection only; ``add_tube`` takes one in three dimensions."""
    offset = fractions[None, :] * line.radius_mm[:, None]
    full = wall_path(offset, line.radius_mm[:, None], line.radius_mm[:, None] * (1 - wall)) / line.sine[:, None]
    row = np.clip(
        ((line.along_mm - line.along_mm[0]) / max(float(np.ptp(line.along_mm)), 1e-6) * len(patches)), 0, len(patches) - 1
    )
    near = np.arcsin(fractions) / (2 * np.pi) + turn
    far = 0.5 - np.arcsin(fractions) / (2 * np.pi) + turn
    rows = row.astype(np.int64)[:, None]
    half = [
        patches[rows, (np.floor(angle * PATCHES_AROUND).astype(np.int64) % PATCHES_AROUND)[None, :]] for angle in (near, far)
    ]
    return full * (half[0] + half[1]) / 2


@dataclass(frozen=True)
class Tube:
    """A tube's axis in one view: ``xyz_mm`` (n, 3), ``radius_mm`` (n,), ``material_mm`` (n,): length along the vessel before
    compression, and ``aside`` (n, 3): a direction that turns with the vessel, where its patches begin."""

    xyz_mm: NDArray[np.float64]
    radius_mm: NDArray[np.float64]
    material_mm: NDArray[np.float64]
    aside: NDArray[np.float64]


def transported(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each point of a curve (n, 3) a unit vector across it, (n, 3), that twists as little as possible along it."""
    tangent = np.gradient(points, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1)[:, None] + 1e-12
    start = np.eye(3)[int(np.argmin(np.abs(tangent[0])))]
    found = np.empty_like(points)
    for number, along in enumerate(tangent):
        start = start - along * (start @ along)
        start = start / (np.linalg.norm(start) + 1e-12)
        found[number] = start
    return found


def tube_in_view(segment: Segment, outline: Outline, size_mm: NDArray[np.float64]) -> Tube:
    """A segment as one view's compression places it; ``size_mm`` (3,) are the breast's units before compression."""
    material = segment.points * size_mm
    steps = np.linalg.norm(np.diff(material, axis=0), axis=1)
    aside = transported(material)
    up, beam = view_axes(outline.position) @ aside[:, 1:].T
    return Tube(
        project(segment.points, outline),
        segment.radius_mm,
        np.concatenate([[0.0], np.cumsum(steps)]),
        np.stack([aside[:, 0], -up, beam], 1),
    )


def add_tube(
    image: NDArray[np.float32], tube: Tube, wall: float, patches: NDArray[np.float32], mineral: float, pitch_mm: float
) -> None:
    """Add to ``image`` (rows, columns) the path in mm through solid hydroxyapatite that a tube's wall amounts to.

    The wall is filled with points, each standing for its share of the vessel's volume before compression, so a segment's mass
    is the same in every view. Any angle between axis and beam is exact, a tube seen end-on too. Raises UsageError naming the
    radius or the wall that is out of range.
    """
    require_tube(tube.radius_mm, wall)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(tube.xyz_mm, axis=0), axis=1))])
    if along[-1] <= 0:
        return
    outer = float(tube.radius_mm.max())
    count = max(8, int(np.ceil(max(along[-1], tube.material_mm[-1]) / (pitch_mm * 0.5))))
    around = max(16, int(np.ceil(2 * np.pi * outer / (pitch_mm * 0.4))))
    layers = max(3, int(np.ceil(outer * wall / (pitch_mm * 0.4))))
    at = (np.arange(count) + 0.5) * (along[-1] / count)
    axis = np.stack([np.interp(at, along, tube.xyz_mm[:, i]) for i in range(3)], 1)
    aside = np.stack([np.interp(at, along, tube.aside[:, i]) for i in range(3)], 1)
    tangent = np.gradient(axis, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1)[:, None] + 1e-12
    first = aside - tangent * (aside * tangent).sum(1)[:, None]
    first /= np.linalg.norm(first, axis=1)[:, None] + 1e-12
    second = np.cross(tangent, first)
    radius = np.interp(at, along, tube.radius_mm)
    length = np.interp((np.arange(count + 1)) * (along[-1] / count), along, tube.material_mm)
    shares = (np.arange(layers) + 0.5) / layers * wall + (1 - wall)  # of the outer radius
    angle = (np.arange(around) + 0.5) / around
    cosine, sine = np.cos(2 * np.pi * angle)[None, :, None], np.sin(2 * np.pi * angle)[None, :, None]
    rows = np.minimum((at / along[-1] * len(patches)).astype(np.int64), len(patches) - 1)
    columns = (angle * PATCHES_AROUND).astype(np.int64)
    share = mineral * (wall / layers) * (2 * np.pi / around) / pitch_mm**2 * shares[None, None, :]
    stretch = max(1, POINTS_AT_ONCE // (around * layers))
    for start in range(0, count, stretch):
        part = slice(start, start + stretch)
        amount = patches[rows[part]][:, columns, None] * (np.diff(length)[part] * radius[part] ** 2)[:, None, None] * share
        away = radius[part, None, None] * shares[None, None, :]
        x, y = (
            axis[part, i, None, None] + away * (cosine * first[part, i, None, None] + sine * second[part, i, None, None])
            for i in (0, 1)
        )
        splat(image, x.ravel(), y.ravel(), amount.ravel(), pitch_mm)


def render_segments(
    segments: tuple[Segment, ...], outline: Outline, size_mm: NDArray[np.float64], grid: Grid
) -> NDArray[np.float32]:
    """Path in mm through solid hydroxyapatite that the calcified arteries add to one view, (rows, columns) float32."""
    image = np.zeros(grid.shape, np.float32)
    for segment in segments:
        add_tube(image, tube_in_view(segment, outline, size_mm), segment.wall, segment.patches, segment.mineral, grid.pitch_mm)
    return image
