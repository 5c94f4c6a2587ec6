"""Calcium: calcified arteries as partial hollow tubes, and the other calcifications that every breast may have.

A calcified artery is a tube whose wall, between radius r and R, holds mineral in patches. A ray at distance x from the axis
passes 2(sqrt(R²-x²) - sqrt(r²-x²)) of wall, most where it grazes the lumen: hence the two bright lines of a tram track. An
oblique tube's path is longer by one over the sine of the angle between axis and beam.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tramtrack.phantom.anatomy import Outline
from tramtrack.phantom.materials import CALCIUM_CONTRAST
from tramtrack.phantom.projection import Course, FloatArray, across, ball, course, deposit
from tramtrack.phantom.settings import Grid, PhantomSettings
from tramtrack.phantom.vessels import Kind, Vessel, project

PATCH_MM = 0.45
"""Grid of a segment's patches along the vessel, mm."""

PATCHES_AROUND = 16
"""Grid of a segment's patches around the circumference."""


@dataclass(frozen=True)
class Segment:
    """A calcified stretch of one artery.

    ``points`` (n, 3) and ``radius_mm`` (n,): the stretch of the artery. ``wall``: wall over outer radius. ``mineral``: volume
    fraction of hydroxyapatite. ``patches`` (along, around) in 0..1: how much of the wall is calcified there, in steps of
    ``PATCH_MM`` along and of 360/``PATCHES_AROUND`` degrees around.
    """

    points: NDArray[np.float64]
    radius_mm: NDArray[np.float64]
    wall: float
    mineral: float
    patches: NDArray[np.float32]


def draw_segments(
    rng: np.random.Generator, vessels: tuple[Vessel, ...], burden: float, settings: PhantomSettings
) -> tuple[Segment, ...]:
    """Draw a breast's calcified segments at ``burden`` (0..1) on its arteries; larger arteries are preferred. At least one."""
    arteries = [vessel for vessel in vessels if vessel.kind is Kind.ARTERY and vessel.length_mm > 15]
    weight = np.array([float(vessel.radius_mm.mean()) ** 2 * vessel.length_mm for vessel in arteries])
    number = 1 + int(rng.poisson(max(0.0, between(settings.segments, burden) - 1)))
    return tuple(
        _draw_segment(rng, arteries[int(rng.choice(len(arteries), p=weight / weight.sum()))], burden, settings)
        for _ in range(number)
    )


def between(range_: tuple[float, float], at: float) -> float:
    """The value at ``at`` (0..1) of the way through a range."""
    return range_[0] + (range_[1] - range_[0]) * at


def _draw_segment(rng: np.random.Generator, vessel: Vessel, burden: float, settings: PhantomSettings) -> Segment:
    length = min(between(settings.segment_length_mm, burden) * rng.uniform(0.5, 1.5), 0.95 * vessel.length_mm)
    share = length / vessel.length_mm
    start = rng.uniform(0, 1 - share) * 0.8
    at = np.linspace(start, start + share, max(4, int(length / 1.0))) * (len(vessel.points) - 1)
    index = np.arange(len(vessel.points))
    points = np.stack([np.interp(at, index, vessel.points[:, axis]) for axis in range(3)], 1)
    coverage = float(np.clip(between(settings.coverage, burden) * rng.uniform(0.7, 1.2), 0.15, 1.0))
    mineral = between(settings.hydroxyapatite, burden) * float(np.exp(rng.normal(0, 0.35)))
    patches = draw_patches(rng, max(4, int(length / PATCH_MM)), coverage)
    return Segment(
        points, np.interp(at, index, vessel.radius_mm), float(rng.uniform(*settings.wall)), min(mineral, 0.8), patches
    )


def draw_patches(rng: np.random.Generator, along: int, coverage: float) -> NDArray[np.float32]:
    """Patches (along, PATCHES_AROUND) in 0..1 covering about ``coverage`` of the wall, faded at both ends of the segment."""
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
    the tube, half through the far wall. ``turn`` (0..1 of a full turn) is how the segment is rotated towards the beam."""
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


def render_segments(segments: tuple[Segment, ...], outline: Outline, grid: Grid) -> tuple[NDArray[np.float32], float]:
    """Attenuation that the calcified arteries add to one view, (rows, columns) float32 without unit, and their length in mm."""
    image = np.zeros(grid.shape, np.float32)
    length = 0.0
    step = min(grid.pitch_mm / 3, 0.1)
    for segment in segments:
        line = course(project(segment.points, outline), segment.radius_mm, step)
        if line is None:
            continue
        length += float(line.along_mm[-1])
        fractions = across(line, step)
        turn = 0.0 if outline.muscle_mm is None else 0.125
        path = calcium_path(line, fractions, segment.wall, segment.patches, turn)
        deposit(image, line, fractions, path * (segment.mineral * CALCIUM_CONTRAST), grid.pitch_mm)
    return image, length


class Distractor(StrEnum):
    """A calcification that is not in an artery."""

    ROUND = "round"
    CLUSTER = "cluster"
    ROD = "rod"
    RING = "ring"


@dataclass(frozen=True)
class Deposit:
    """One distractor: ``centre`` (3,) in the breast's frame, and its parts.

    ``parts`` (n, 4): offset (x, y) in mm, radius in mm and mineral fraction; a rod's two parts are its ends.
    """

    kind: Distractor
    centre: NDArray[np.float64]
    parts: NDArray[np.float64]


def draw_distractors(rng: np.random.Generator, settings: PhantomSettings) -> tuple[Deposit, ...]:
    """Draw a breast's distractors; nothing here knows whether the woman has BAC."""
    means = {"round": settings.round, "cluster": settings.clusters, "rod": settings.rods, "ring": settings.rings}
    found = []
    for kind in Distractor:
        for _ in range(int(rng.poisson(means[kind]))):
            away, angle = np.sqrt(rng.uniform(0, 0.7)), rng.uniform(0, 2 * np.pi)
            centre = np.array([rng.uniform(0.1, 0.9), away * np.cos(angle), away * np.sin(angle)])
            found.append(Deposit(kind, centre, _draw_parts(rng, kind)))
    return tuple(found)


def _draw_parts(rng: np.random.Generator, kind: Distractor) -> NDArray[np.float64]:
    if kind is Distractor.ROUND:
        return np.array([[0, 0, np.exp(rng.uniform(np.log(0.12), np.log(0.9))), rng.uniform(0.1, 0.5)]])
    if kind is Distractor.CLUSTER:
        number = int(rng.integers(4, 14))
        offsets = rng.normal(0, rng.uniform(0.8, 2.5), (number, 2))
        return np.column_stack([offsets, rng.uniform(0.08, 0.3, number), rng.uniform(0.2, 0.7, number)])
    if kind is Distractor.ROD:
        half = rng.uniform(1.0, 4.5) * np.array([1.0, rng.normal(0, 0.35)])
        radius, mineral = rng.uniform(0.15, 0.4), rng.uniform(0.15, 0.5)
        return np.array([[*-half, radius, mineral], [*half, radius, mineral]])
    return np.array([[0, 0, rng.uniform(0.6, 2.0), rng.uniform(0.05, 0.3)]])


def render_distractors(deposits: tuple[Deposit, ...], outline: Outline, grid: Grid) -> NDArray[np.float32]:
    """Attenuation that the distractors add to one view, (rows, columns) float32 without unit."""
    image = np.zeros(grid.shape, np.float32)
    pitch = grid.pitch_mm
    for item in deposits:
        x, y, _ = project(item.centre[None, :], outline)[0]
        if item.kind is Distractor.ROD:
            ends = np.column_stack([x + item.parts[:, 0], y + item.parts[:, 1], np.zeros(2)])
            line = course(ends, item.parts[:, 2], min(pitch / 3, 0.1))
            if line is not None:
                fractions = across(line, min(pitch / 3, 0.1))
                path = 2 * line.radius_mm[:, None] * np.sqrt(1 - fractions[None, :] ** 2)
                deposit(image, line, fractions, path * (item.parts[0, 3] * CALCIUM_CONTRAST), pitch)
            continue
        for dx, dy, radius, mineral in item.parts:
            inner = radius * 0.75 if item.kind is Distractor.RING else 0.0
            ball(image, (x + dx, y + dy), radius, inner, mineral * CALCIUM_CONTRAST, pitch)
    return image
