"""The image that a radiologist sees: For Presentation renderings in 12 bits, one for each station, and the look of a film."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from tramtrack.cohort.exam import Position, Side
from tramtrack.phantom.acquisition import Paths, blurred
from tramtrack.phantom.anatomy import Field, Look, resized
from tramtrack.phantom.settings import Grid
from tramtrack.phantom.stations import Station

WHITE = 4095
"""The brightest stored value: 12 bits."""

FINE_MM, COARSE_MM = 0.4, 3.0
"""Below which sizes detail is raised, mm."""

LEAST_SPAN = 0.35
"""A breast whose logarithmic signal spans less than this is not stretched to the whole range of greys."""


def present(signal: Field, body: Paths, look: Look, station: Station, pitch_mm: float) -> Field:
    """Grey in 0..1, (rows, columns) float32, air black: ``signal`` is minus the logarithm of the detector's.

    The thickness of the breast is mostly taken out (as stations do, so that the edge can be seen), detail is raised, levels are
    set by the breast itself, and a sigmoid makes grey.
    """
    thick = float(body.thickness_mm.max())
    fat = float((station.beam.hardened(thick, 0.0) * station.beam.coefficients["adipose"]).sum())
    flat = signal - np.float32(station.equalised * fat) * body.thickness_mm
    flat -= np.float32(station.equalised * 0.8 * _skin(station, thick)) * body.paths_mm["skin"]
    level = _levels(flat, body)
    flat = (flat - np.float32(level[0])) * np.float32(1 / (level[1] - level[0]))
    np.clip(flat, -1.0, 4.0, out=flat)
    detail = np.float32(station.coarse) * (flat - _smoothed(flat, COARSE_MM, pitch_mm))
    if station.fine > 0:
        detail += np.float32(station.fine) * (flat - _smoothed(flat, FINE_MM, pitch_mm))
    flat += np.clip(detail, -0.6, 0.6)
    slope, middle = np.float32(station.slope * look.contrast), np.float32(station.middle - look.brightness)
    low, high = (1 / (1 + np.exp(-slope * (np.float32(at) - middle))) for at in (-1.0, 2.2))
    grey = 1 / (1 + np.exp(-slope * (flat - middle)))
    grey = np.clip((grey - low) / (high - low), 0, 1)
    return grey * np.clip(body.inside_mm / 0.4, 0, 1)


def _skin(station: Station, thickness_mm: float) -> float:
    """What skin adds to the signal where it replaces fat, per mm: the bright rim that equalisation takes out as well."""
    return station.beam.effective("skin", thickness_mm)


def _levels(flat: Field, body: Paths) -> tuple[float, float]:
    """The breast's dark and bright end, without muscle, skin and the thin edge."""
    step = (slice(None, None, 5), slice(None, None, 5))
    inner = (body.inside_mm[step] > 8) & (body.muscle[step] < 0.02)
    low, high = np.percentile(flat[step][inner], [2, 99.3])
    return float(low), float(max(high, low + LEAST_SPAN))


def _smoothed(image: Field, sigma_mm: float, pitch_mm: float) -> Field:
    """``image`` smoothed by a Gaussian of ``sigma_mm``, worked out on a coarser grid where that is enough."""
    factor = int(sigma_mm / pitch_mm / 1.2)
    if factor < 2:
        return blurred(image, sigma_mm, pitch_mm)
    small = np.asarray(Image.fromarray(image).reduce(factor))
    return resized(gaussian_filter(small, sigma_mm / pitch_mm / factor, truncate=3.0), image.shape)


def stored(grey: Field) -> NDArray[np.uint16]:
    """Grey in 0..1 as stored values 0..4095."""
    return (np.clip(grey, 0, 1) * np.float32(WHITE) + np.float32(0.5)).astype(np.uint16)


def film_look(rng: np.random.Generator, grey: Field, side: Side, position: Position, grid: Grid) -> Field:
    """A digitised film, (rows, columns) float32 in 0..1, of the whole matrix as displayed: fog, grain, unexposed strips at the
    edges away from the chest wall, a lead marker beside the breast, scratches and dust."""
    fog = np.float32(rng.uniform(0.02, 0.07))
    result = fog + (1 - fog) * grey
    grain = blurred(rng.standard_normal(grey.shape, dtype=np.float32), 0.09, grid.pitch_mm)
    result += grain * (np.float32(rng.uniform(0.006, 0.014)) / grain[::8, ::8].std()) * (0.35 + 0.65 * np.sqrt(result))
    rows, columns = grid.shape
    wall_left = side is Side.L
    for edge in ("top", "bottom", "air"):
        if rng.random() < 0.5:
            size = max(1, int(rng.uniform(0.5, 3.5) / grid.pitch_mm))
            strip = {
                "top": np.s_[:size],
                "bottom": np.s_[rows - size :],
                "air": np.s_[:, columns - size :] if wall_left else np.s_[:, :size],
            }[edge]
            result[strip] = rng.uniform(0.85, 1.0)
    return np.clip(np.maximum(result, _marks(rng, grey, side, position, grid)), 0, 1).astype(np.float32)


def _marks(rng: np.random.Generator, grey: Field, side: Side, position: Position, grid: Grid) -> Field:
    """Lead letters and scratches, (rows, columns) float32 in 0..1."""
    rows, columns = grid.shape
    image = Image.new("L", (columns, rows))
    draw = ImageDraw.Draw(image)
    height = rng.uniform(7, 11) / grid.pitch_mm
    y = rng.uniform(0.05, 0.12) * rows
    body = np.nonzero(grey[int(y) : int(y + 1.3 * height)].max(axis=0) > 0.02)[0]
    free = columns - (int(body.size and np.ptp(body)) + 1)  # beside the breast, at that height
    text = f"{side} {position}"
    if free * grid.pitch_mm > 12:
        height = min(height, free * 0.3)
        width = draw.textlength(text, font_size=height)
        x = rng.uniform(0.05, 0.6) * max(free - width, 0)
        draw.text((columns - width - x if side is Side.L else x, y), text, fill=int(rng.uniform(215, 255)), font_size=height)
    for _ in range(int(rng.poisson(1.2))):
        at = rng.uniform(0, 1, 2) * (columns, rows)
        turn, length = rng.uniform(0, np.pi), rng.uniform(5, 60) / grid.pitch_mm
        end = at + length * np.array([np.cos(turn), np.sin(turn)])
        width = max(1, round(rng.uniform(0.05, 0.2) / grid.pitch_mm))
        draw.line([*map(float, at), *map(float, end)], fill=int(rng.uniform(90, 220)), width=width)
    for _ in range(int(rng.poisson(3))):
        x, y = rng.uniform(0, columns), rng.uniform(0, rows)
        size = rng.uniform(0.05, 0.25) / grid.pitch_mm
        draw.ellipse([x - size, y - size, x + size, y + size], fill=int(rng.uniform(150, 255)))
    return np.asarray(image, dtype=np.float32) / np.float32(255)
