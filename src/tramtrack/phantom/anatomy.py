"""The breast without its vessels: outline, compressed thickness, pectoral muscle and fibroglandular texture of one view.

Everything is drawn in the frame of a left breast: x in mm from the chest wall (the left edge), y in mm from the top. A right
view is mirrored at the very end. A point inside the breast is also named by ``depth`` (0 at the chest wall, 1 at the skin)
and ``across`` (-1 at the top of the breast, 0 at the nipple's level, 1 at the bottom).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import cKDTree

from tramtrack.cohort.exam import Position
from tramtrack.phantom.projection import splat
from tramtrack.phantom.settings import Grid

Field = NDArray[np.float32]

SKIN_MM = 1.6
"""Thickness of the skin, mm."""

DENSITIES = "abcd"
"""BI-RADS density categories, from almost entirely fatty to extremely dense."""


@dataclass(frozen=True)
class Look:
    """What the four views of one woman share.

    ``density``: BI-RADS a to d. ``gland``: how far glandular tissue reaches, 0 to 1. ``spectrum``: exponent of the texture's
    power spectrum. ``fibres``: strength of the fibrous mesh. ``depth_mm`` and ``half_height_mm``: size of the breast.
    ``thickness_mm``: compressed. ``exposure``: quanta relative to the settings' mean. ``contrast``, ``brightness`` and
    ``sharpening``: how the station renders her images.
    """

    age: int
    density: str
    gland: float
    spectrum: float
    fibres: float
    depth_mm: float
    half_height_mm: float
    thickness_mm: float
    exposure: float
    contrast: float
    brightness: float
    sharpening: float


def draw_look(rng: np.random.Generator, age: int) -> Look:
    """Draw a woman's look; density falls with age around the screening proportions (about 10, 40, 40, 10 %)."""
    latent = rng.normal() - 0.03 * (age - 59)
    level = int(np.searchsorted([-1.3, 0.0, 1.3], latent))
    size = rng.normal()
    return Look(
        age=age,
        density=DENSITIES[level],
        gland=float(np.clip(0.5 + 0.22 * latent, 0.05, 0.95)),
        spectrum=float(rng.uniform(2.8, 3.2)),
        fibres=float(rng.uniform(0.6, 1.3)),
        depth_mm=float(np.clip(100 + 14 * size, 72, 130)),
        half_height_mm=float(np.clip(96 + 9 * size + 4 * rng.normal(), 70, 112)),
        thickness_mm=float(np.clip(54 + 7 * size + 5 * rng.normal(), 30, 80)),
        exposure=float(rng.uniform(0.7, 1.4)),
        contrast=float(rng.uniform(0.85, 1.2)),
        brightness=float(rng.uniform(-0.08, 0.08)),
        sharpening=float(rng.uniform(0.2, 0.7)),
    )


@dataclass(frozen=True)
class Outline:
    """The skin line of one view and the room it leaves; lengths in mm.

    ``skin_mm`` (n,): distance of the skin from the chest wall at heights ``0, spacing_mm, 2 spacing_mm, ...``.
    ``nipple_mm``: the nipple's height. ``top_mm`` and ``bottom_mm``: distance from there to the breast's upper and lower end.
    ``muscle_mm``: (x at the top, y at the chest wall) of the pectoral muscle's edge, or None in CC.
    """

    position: Position
    skin_mm: NDArray[np.float64]
    spacing_mm: float
    nipple_mm: float
    top_mm: float
    bottom_mm: float
    thickness_mm: float
    muscle_mm: tuple[float, float] | None

    def skin_at(self, y_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance of the skin from the chest wall at each height ``y_mm``."""
        return np.interp(y_mm, np.arange(self.skin_mm.size) * self.spacing_mm, self.skin_mm)

    @property
    def width_mm(self) -> float:
        """How far the breast reaches from the chest wall, mm, with a margin of 4 mm."""
        return float(self.skin_mm.max()) + 4.0

    def place(self, depth: NDArray[np.float64], across: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Position (x, y) in mm of points named by ``depth`` and ``across``."""
        y = self.nipple_mm + across * np.where(across < 0, self.top_mm, self.bottom_mm) * 0.95
        return depth * self.skin_at(y) * 0.96, y


def draw_outline(rng: np.random.Generator, look: Look, position: Position, grid: Grid) -> Outline:
    """Draw one view's skin line: a rounded half in CC; in MLO a long upper part that runs to the axilla, and the muscle."""
    height, _ = grid.field_mm
    spacing = 0.5
    y = np.arange(0, height + spacing, spacing)
    depth = look.depth_mm * rng.uniform(0.96, 1.04)
    half = look.half_height_mm * rng.uniform(0.97, 1.03)
    muscle = None
    if position is Position.CC:
        nipple = height / 2 + rng.uniform(-8, 8)
        top, bottom, shoulder = half * rng.uniform(1.0, 1.08), half * rng.uniform(0.94, 1.0), 0.0
    else:
        nipple = height - half * rng.uniform(0.95, 1.02) - rng.uniform(4, 10)
        top, bottom, shoulder = nipple + 4, half * rng.uniform(0.93, 1.0), rng.uniform(0.42, 0.62)
        muscle = (depth * shoulder * rng.uniform(0.75, 0.98), nipple * rng.uniform(0.75, 1.12))
    s = np.where(y < nipple, (y - nipple) / top, (y - nipple) / bottom)
    roundness = rng.uniform(0.58, 0.72)
    body = np.maximum(1 - np.abs(s) ** rng.uniform(1.9, 2.25), 0) ** roundness
    if position is Position.MLO:
        slope = np.clip(1 - np.abs(s) ** rng.uniform(1.5, 1.9), 0, 1)
        body = np.where(s < 0, shoulder + (1 - shoulder) * slope, body)
    wobble = 1 + 0.012 * np.interp(y, np.linspace(0, height, 9), rng.normal(size=9))
    nub = rng.uniform(0.5, 4.0) * np.exp(-(((y - nipple - rng.uniform(-3, 3)) / rng.uniform(5.0, 7.5)) ** 2))
    skin = depth * body * wobble + nub * (body > 0)
    return Outline(position, skin, spacing, nipple, top, bottom, look.thickness_mm * rng.uniform(0.92, 1.08), muscle)


def resized(field: Field, shape: tuple[int, int]) -> Field:
    """``field`` (float32) interpolated bicubically to ``shape`` (rows, columns), centres aligned."""
    return np.asarray(Image.fromarray(field).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def centres(shape: tuple[int, int], grid: Grid) -> tuple[Field, Field]:
    """x (1, columns) and y (rows, 1) in mm of the pixel centres of a grid of ``shape`` over the whole matrix."""
    height, width = grid.field_mm
    x = ((np.arange(shape[1]) + 0.5) * (width / shape[1])).astype(np.float32)[None, :]
    y = ((np.arange(shape[0]) + 0.5) * (height / shape[0])).astype(np.float32)[:, None]
    return x, y


def inside_distance(outline: Outline, grid: Grid) -> Field:
    """Distance in mm from every pixel to the skin line, (rows, columns) float32; positive inside the breast.

    It is worked out on a grid of about 1.6 mm and interpolated: a signed distance is smooth enough for that.
    """
    factor = max(1, round(1.6 / grid.pitch_mm))
    shape = (-(-grid.rows // factor), -(-grid.columns // factor))
    x, y = centres(shape, grid)
    heights = np.arange(0, grid.field_mm[0] + 0.3, 0.3)
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


def power_law_fields(
    rng: np.random.Generator, shape: tuple[int, int], pixel_mm: float, exponent: float, longest_mm: float, count: int = 1,
    shortest_mm: float = 0.0, stretch: float = 1.0,
) -> list[Field]:  # fmt: skip
    """Gaussian fields (rows, columns) of zero mean and unit variance whose power falls as frequency to the minus ``exponent``.

    Mammographic texture has an exponent of about 3 (Burgess, Med Phys 2001;28:419). Wavelengths above ``longest_mm`` are
    levelled off and those below ``shortest_mm`` damped; ``stretch`` above 1 draws the structure out along x.
    """
    fy = scipy.fft.fftfreq(shape[0], pixel_mm).astype(np.float32)[:, None]
    fx = scipy.fft.rfftfreq(shape[1], pixel_mm).astype(np.float32)[None, :] * np.float32(stretch)
    squared = fx * fx + fy * fy
    amplitude = (squared + np.float32(longest_mm**-2)) ** np.float32(-exponent / 4)
    if shortest_mm > 0:
        amplitude *= np.exp(-squared * np.float32(shortest_mm**2))
    amplitude[0, 0] = 0
    found = []
    for _ in range(count):
        white = rng.standard_normal((2, *amplitude.shape), dtype=np.float32)
        field = scipy.fft.irfft2((white[0] + 1j * white[1]) * amplitude, s=shape, workers=1)
        found.append((field / field.std()).astype(np.float32))
    return found


def fibroglandular(rng: np.random.Generator, look: Look, outline: Outline, grid: Grid) -> Field:
    """Share of the breast's thickness that is fibroglandular at each pixel, (rows, columns) float32 in 0..0.9.

    Islands of glandular tissue behind the nipple, whose reach is the woman's density; a mesh of fibres everywhere (the zero
    lines of smooth random fields, drawn out towards the nipple); and power-law texture over both.
    """
    factor = max(1, round(0.4 / grid.pitch_mm))
    shape = (grid.rows // factor, grid.columns // factor)
    pixel = grid.field_mm[0] / shape[0]
    x, y = centres(shape, grid)
    skin = np.maximum(outline.skin_at(y[:, 0].astype(np.float64)), 1).astype(np.float32)[:, None]
    depth = x / skin
    reach = np.where(y < outline.nipple_mm, outline.top_mm, outline.bottom_mm).astype(np.float32)
    across = (y - outline.nipple_mm) / reach
    centre = -0.12 if outline.position is Position.MLO else -0.05
    behind_nipple = np.exp(-(((depth - 0.62) / 0.42) ** 2) - ((across - centre) / 0.55) ** 2)
    broad, where = power_law_fields(rng, shape, pixel, look.spectrum, 60.0, count=2, shortest_mm=3.0, stretch=0.85)
    (fine,) = power_law_fields(rng, shape, pixel, look.spectrum, 20.0, stretch=0.8)
    mesh = np.zeros(shape, np.float32)
    for scale_mm, narrow, weight in ((28.0, 9.0, 0.8), (13.0, 6.0, 0.7), (6.0, 4.0, 0.5)):
        a, b = power_law_fields(rng, shape, pixel, 6.0, scale_mm, count=2, shortest_mm=scale_mm / 4, stretch=0.6)
        mesh += np.float32(weight) * np.exp(-np.abs(a) * narrow) / (1 + np.exp(-3 * b))
    mesh *= 0.65 + 0.35 * np.tanh(where)
    islands = 1.15 * behind_nipple + 0.36 * broad + 0.25 * look.fibres * mesh - 1.24 + 1.1 * look.gland
    islands = 1 / (1 + np.exp(np.clip(-islands / 0.24, -30, 30)))
    share = islands * (0.22 + 0.05 * fine + 0.05 * broad + 0.30 * look.fibres * mesh)
    share += 0.04 + look.fibres * 0.10 * mesh + 0.018 * fine + 0.015 * broad
    return resized(np.clip(share, 0, 0.9).astype(np.float32), grid.shape)


def fibres(rng: np.random.Generator, look: Look, outline: Outline, grid: Grid) -> Field:
    """Millimetres of tissue in fine fibres and Cooper's ligaments, (rows, columns) float32.

    Gently bowed strands of 0.3 to 0.9 mm width and 8 to 55 mm length, most of them running towards the nipple: bright thin
    lines that are not arteries.
    """
    count = int(170 * look.fibres)
    depth, across = rng.uniform(0, 0.95, count), rng.uniform(-1, 1, count)
    x, y = outline.place(depth, across)
    nipple_x = float(outline.skin_at(np.array([outline.nipple_mm]))[0])
    heading = np.arctan2(outline.nipple_mm - y, nipple_x - x) * 0.8 + rng.normal(0, 0.5, count)
    length = np.exp(rng.uniform(np.log(8), np.log(55), count))
    bow = rng.normal(0, 0.12, count) * length
    width, amount = rng.uniform(0.3, 0.9, count), np.exp(rng.normal(np.log(0.8), 0.6, count))
    step = min(grid.pitch_mm / 1.5, 0.25)
    steps = np.maximum((length / step).astype(np.int64), 2)
    strand = np.repeat(np.arange(count), steps)
    t = (np.arange(strand.size) - np.repeat(np.cumsum(steps) - steps, steps) + 0.5) / np.repeat(steps, steps)
    forward = (t - 0.5) * length[strand]
    aside = bow[strand] * (1 - (2 * t - 1) ** 2) + 0.35 * np.sin(2 * np.pi * forward / 13 + strand)
    peak = amount[strand] * np.minimum(1, 5 * t * (1 - t))
    image = np.zeros(grid.shape, np.float32)
    offsets = np.linspace(-1, 1, 5)
    weight = step * width[strand] * 0.5 / grid.pitch_mm**2
    cosine, sine = np.cos(heading)[strand], np.sin(heading)[strand]
    for offset in offsets:
        side = aside + offset * width[strand] / 2
        at_x, at_y = x[strand] + forward * cosine - side * sine, y[strand] + forward * sine + side * cosine
        splat(image, at_x, at_y, peak * weight * (1 - 0.8 * offset**2) * 0.6, grid.pitch_mm)
    return image


def pectoral_muscle(rng: np.random.Generator, outline: Outline, grid: Grid) -> Field:
    """Share of the thickness that is pectoral muscle, (rows, columns) float32 in 0..1; zero in CC."""
    if outline.muscle_mm is None:
        return np.zeros(grid.shape, np.float32)
    x, y = centres(grid.shape, grid)
    across, down = outline.muscle_mm
    bulge = rng.uniform(-0.02, 0.12)
    t = np.clip(y / down, 0, 1.2)
    edge = across * (1 - t) + bulge * across * np.sin(np.pi * np.clip(t, 0, 1))
    tilt = np.hypot(across, down) / down
    inside = (edge - x) / np.float32(tilt)
    return (1 / (1 + np.exp(np.clip(-inside / rng.uniform(0.6, 1.6), -30, 30))) * np.clip(0.35 + inside / 70, 0, 0.62)).astype(
        np.float32
    )
