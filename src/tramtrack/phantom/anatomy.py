"""A woman's look, and the outline of a view: skin line, compressed thickness, pectoral muscle, and where tissue goes.

Everything is drawn in the frame of a left breast: x in mm from the chest wall (the left edge), y in mm from the top. A right
view is mirrored at the very end.

The breast's own frame is ``(depth, lateral, cranial)``: depth 0 at the chest wall, 1 at the nipple; the breast is the half ball
depth² + lateral² + cranial² < 1. Its unit is ``Look.size_mm`` before compression. Each view's compression carries it to the
detector by one map (``project``), which everything in the breast follows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import cKDTree

from tramtrack.cohort.exam import Position
from tramtrack.phantom.settings import Grid, PhantomSettings

Field = NDArray[np.float32]

SKIN_MM = 1.5
"""Thickness of the skin, mm."""

DENSITIES = "abcd"
"""BI-RADS density categories, from almost entirely fatty to extremely dense."""

MLO_ANGLE = math.radians(45)
"""Angle of the oblique view's beam."""

SPREAD = 0.8
"""Half the compressed thickness over the frame's unit along the beam: how far from the middle the half ball's bulk reaches."""


@dataclass(frozen=True)
class Look:
    """What the four views of one woman share.

    ``density``: BI-RADS a to d. ``gland``: how far glandular tissue reaches, 0 to 1. ``fibres``: strength of the fibrous mesh.
    ``depth_mm`` and ``half_height_mm``: size of the compressed breast. ``thickness_mm``: compressed. ``exposure``: quanta
    relative to the settings'. ``contrast`` and ``brightness``: how the station's defaults are turned for her.
    """

    age: int
    density: str
    gland: float
    fibres: float
    depth_mm: float
    half_height_mm: float
    thickness_mm: float
    exposure: float
    contrast: float
    brightness: float

    @property
    def size_mm(self) -> NDArray[np.float64]:
        """The frame's unit along depth, lateral and cranial before compression, mm, (3,): volume is kept, more or less."""
        flat = self.half_height_mm * 0.85
        return np.array([self.depth_mm * 0.95, flat, flat])


def draw_look(rng: np.random.Generator, age: int, settings: PhantomSettings) -> Look:
    """Draw a woman's look; density falls with age around the screening proportions (about 10, 40, 40, 10 %)."""
    latent = rng.normal() - 0.03 * (age - 59)
    level = int(np.searchsorted([-1.3, 0.0, 1.3], latent))
    size = rng.normal()
    return Look(
        age=age,
        density=DENSITIES[level],
        gland=float(np.clip(0.5 + 0.24 * latent, 0.02, 0.98)),
        fibres=float(rng.uniform(0.6, 1.3)),
        depth_mm=_within(86 + 13 * size, settings.depth_mm),
        half_height_mm=_within(84 + 8 * size + 4 * rng.normal(), settings.half_height_mm),
        thickness_mm=float(np.clip(56 + 8 * size + 6 * rng.normal(), 25, 90)),
        exposure=float(rng.uniform(0.7, 1.4)),
        contrast=float(rng.uniform(0.85, 1.2)),
        brightness=float(rng.uniform(-0.06, 0.06)),
    )


def _within(value: float, range_: tuple[float, float]) -> float:
    return float(np.clip(value, *range_))


@dataclass(frozen=True)
class Outline:
    """The skin line of one view and the room it leaves; lengths in mm.

    ``skin_mm`` (n,): distance of the skin from the chest wall at heights ``0, spacing_mm, 2 spacing_mm, ...``.
    ``nipple_mm``: the nipple's height. ``top_mm`` and ``bottom_mm``: distance from there to the breast's upper and lower end.
    ``muscle_mm``: (x at the top, y at the chest wall) of the pectoral muscle's edge, or None in CC; ``bulge``: how far that
    edge bows out, over x.
    """

    position: Position
    skin_mm: NDArray[np.float64]
    spacing_mm: float
    nipple_mm: float
    top_mm: float
    bottom_mm: float
    thickness_mm: float
    muscle_mm: tuple[float, float] | None
    bulge: float

    def skin_at(self, y_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance of the skin from the chest wall at each height ``y_mm``."""
        return np.interp(y_mm, np.arange(self.skin_mm.size) * self.spacing_mm, self.skin_mm)

    @property
    def width_mm(self) -> float:
        """How far the breast reaches from the chest wall, mm, with a margin of 4 mm."""
        return float(self.skin_mm.max()) + 4.0

    def height_of(self, across: NDArray[np.float64]) -> NDArray[np.float64]:
        """Height y in mm of a place ``across`` the breast: -1 at its top, 0 at the nipple, 1 at its bottom."""
        low, more = self._scale
        return self.nipple_mm + across * low - more * np.minimum(across, 0) ** 2

    def across_of(self, y_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """The inverse of ``height_of``."""
        away = y_mm - self.nipple_mm
        low, more = self._scale
        up = np.maximum(-away, 0)
        return np.where(away < 0, -2 * up / (low + np.sqrt(np.maximum(low**2 + 4 * more * up, 0))), away / low)

    @property
    def _scale(self) -> tuple[float, float]:
        """Height of the lower half, and how much more the upper half has: at most a quarter, beyond lies the axilla, mm."""
        low = 0.97 * self.bottom_mm
        return low, min(0.97 * self.top_mm, 1.25 * low) - low

    def reach_of(self, across: NDArray[np.float64]) -> NDArray[np.float64]:
        """What one unit of depth is in mm there: such that the half ball's surface falls just inside the skin."""
        return np.maximum(0.97 * self.skin_at(self.height_of(across)) / np.sqrt(np.maximum(1 - across**2, 0.25)), 1.0)


def project(points: NDArray[np.float64], outline: Outline) -> NDArray[np.float64]:
    """Points (n, 3) of the breast's frame as (x, y, z) in mm of one view; z along the beam, between the paddles.

    CC looks from above: lateral is up in the image. MLO looks along the oblique: up is cranial and lateral.
    """
    depth = points[:, 0]
    up, beam = (points[:, 1:] @ view_axes(outline.position).T).T
    return np.stack([depth * outline.reach_of(-up), outline.height_of(-up), beam * outline.thickness_mm / 2 * SPREAD], 1)


def view_axes(position: Position) -> NDArray[np.float64]:
    """Rows: the view's up and beam as directions (lateral, cranial), (2, 2)."""
    if position is Position.CC:
        return np.eye(2)
    c, s = math.cos(MLO_ANGLE), math.sin(MLO_ANGLE)
    return np.array([[s, c], [c, -s]])


def draw_outline(rng: np.random.Generator, look: Look, position: Position, grid: Grid) -> Outline:
    """Draw one view's skin line: a rounded half in CC; in MLO a long upper part that runs to the axilla, and the muscle."""
    height, _ = grid.field_mm
    spacing = 0.5
    y = np.arange(0, height + spacing, spacing)
    depth = look.depth_mm * rng.uniform(0.96, 1.03)
    half = look.half_height_mm * rng.uniform(0.97, 1.03)
    muscle = None
    if position is Position.CC:
        nipple = height / 2 + rng.uniform(-6, 6)
        top, bottom, shoulder = half * rng.uniform(1.0, 1.06), half * rng.uniform(0.94, 1.0), 0.0
    else:
        nipple = height - half * rng.uniform(0.95, 1.02) - rng.uniform(4, 10)
        top, bottom, shoulder = nipple + 4, half * rng.uniform(0.93, 1.0), rng.uniform(0.42, 0.62)
        muscle = (depth * shoulder * rng.uniform(0.70, 0.98), nipple * rng.uniform(0.75, 1.12))
    s = np.where(y < nipple, (y - nipple) / top, (y - nipple) / bottom)
    roundness = rng.uniform(0.55, 0.68)
    body = np.maximum(1 - np.abs(s) ** rng.uniform(1.9, 2.25), 0) ** roundness
    if position is Position.MLO:
        slope = np.clip(1 - np.abs(s) ** rng.uniform(1.5, 1.9), 0, 1)
        body = np.where(s < 0, shoulder + (1 - shoulder) * slope, body)
    wobble = 1 + 0.007 * _smooth(rng, y, height / 5)
    nub = rng.uniform(0.5, 4.0) * np.exp(-(((y - nipple - rng.uniform(-3, 3)) / rng.uniform(3.5, 5.5)) ** 2))
    skin = depth * body * wobble + nub * (body > 0)
    return Outline(
        position,
        skin,
        spacing,
        nipple,
        top,
        bottom,
        look.thickness_mm * rng.uniform(0.92, 1.08),
        muscle,
        rng.uniform(-0.06, 0.1),
    )


def _smooth(rng: np.random.Generator, y: NDArray[np.float64], wavelength_mm: float) -> NDArray[np.float64]:
    """Three sines of about ``wavelength_mm``, of unit variance together."""
    waves = [np.sin(2 * np.pi * (y / (wavelength_mm * rng.uniform(0.8, 2.2)) + rng.uniform())) for _ in range(3)]
    return np.sqrt(2 / 3) * np.sum(waves, axis=0)


def resized(field: Field, shape: tuple[int, int]) -> Field:
    """``field`` (float32) interpolated bicubically to ``shape`` (rows, columns), centres aligned."""
    return np.array(Image.fromarray(field).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def centres(shape: tuple[int, int], grid: Grid) -> tuple[Field, Field]:
    """x (1, columns) and y (rows, 1) in mm of the pixel centres of a grid of ``shape`` over the whole matrix."""
    height, width = grid.field_mm
    x = ((np.arange(shape[1]) + 0.5) * (width / shape[1])).astype(np.float32)[None, :]
    y = ((np.arange(shape[0]) + 0.5) * (height / shape[0])).astype(np.float32)[:, None]
    return x, y


def inside_distance(outline: Outline, grid: Grid) -> Field:
    """Distance in mm from every pixel to the skin line, (rows, columns) float32; positive inside the breast.

    It is worked out on a grid of about 2 mm and interpolated: a signed distance is smooth enough for that.
    """
    factor = max(1, round(2.0 / grid.pitch_mm))
    shape = (-(-grid.rows // factor), -(-grid.columns // factor))
    x, y = centres(shape, grid)
    heights = np.arange(0, grid.field_mm[0] + 0.5, 0.5)
    line = np.stack([outline.skin_at(heights), heights], 1)
    points = np.stack(np.broadcast_arrays(x, y), -1).reshape(-1, 2)
    distance = cKDTree(line).query(points)[0].reshape(shape)
    sign = np.where(x < outline.skin_at(y[:, 0].astype(np.float64))[:, None], 1.0, -1.0)
    return resized((sign * distance).astype(np.float32), grid.shape)


def compressed_thickness(inside_mm: Field, thickness_mm: float) -> tuple[Field, Field]:
    """Breast thickness and path through skin in mm, both (rows, columns): the edge is a half circle between two paddles."""
    radius = thickness_mm / 2

    def chord(depth_mm: Field, ball: float) -> Field:
        t = np.clip(ball - depth_mm, 0, ball)
        return 2 * np.sqrt(np.maximum(np.float32(ball**2) - t * t, 0))

    outer = chord(np.maximum(inside_mm, 0), radius)
    inner = chord(np.maximum(inside_mm - SKIN_MM, 0), radius - SKIN_MM) * (inside_mm > SKIN_MM)
    return outer, outer - inner


def pectoral_muscle(outline: Outline, grid: Grid) -> Field:
    """Share of the thickness that is pectoral muscle, (rows, columns) float32 in 0..1; zero in CC."""
    if outline.muscle_mm is None:
        return np.zeros(grid.shape, np.float32)
    x, y = centres(grid.shape, grid)
    across, down = outline.muscle_mm
    t = np.clip(y / down, 0, 1.2)
    edge = across * (1 - t) + outline.bulge * across * np.sin(np.pi * np.clip(t, 0, 1))
    tilt = np.hypot(across, down) / down
    inside = (edge - x) / np.float32(tilt)
    soft = np.clip(inside / 2.0 + 0.5, 0, 1)
    return (soft * soft * (3 - 2 * soft) * np.clip(0.12 + inside / 110, 0, 0.36)).astype(np.float32)
