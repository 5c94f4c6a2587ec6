"""Cooper's ligaments that stand out singly: fine bowed strands of a breast in three dimensions, bright thin lines in a view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tramtrack.phantom.anatomy import Field, Look, Outline, project
from tramtrack.phantom.projection import splat
from tramtrack.phantom.settings import Grid, PhantomSettings


@dataclass(frozen=True)
class Strands:
    """``points`` (n, k, 3) in the breast's frame; ``width_mm`` and ``amount_mm`` (n,): width, and tissue at its middle."""

    points: NDArray[np.float64]
    width_mm: NDArray[np.float64]
    amount_mm: NDArray[np.float64]


def draw_strands(rng: np.random.Generator, settings: PhantomSettings) -> Strands:
    """Draw a breast's strands: 8 to 45 mm long, most of them running towards the nipple or the skin."""
    count = int(rng.integers(settings.ligaments[0], settings.ligaments[1] + 1))
    middle = rng.normal(size=(count, 3))
    middle *= (0.93 * rng.uniform(0.02, 1, count) ** (1 / 3) / np.linalg.norm(middle, axis=1))[:, None]
    middle[:, 0] = np.abs(middle[:, 0])
    heading = (np.array([1.0, 0.0, 0.0]) - middle) + rng.normal(0, 0.45, (count, 3))
    heading /= np.linalg.norm(heading, axis=1)[:, None]
    aside = np.cross(heading, rng.normal(size=(count, 3)))
    aside /= np.linalg.norm(aside, axis=1)[:, None] + 1e-9
    half = np.exp(rng.uniform(np.log(0.05), np.log(0.28), count))
    t = np.linspace(-1, 1, 13)[None, :, None]
    bow = (rng.normal(0, 0.25, count) * half)[:, None, None] * (1 - t**2) * aside[:, None, :]
    wave = (rng.uniform(0, 0.06, count) * half)[:, None, None] * np.sin(4 * t + rng.uniform(0, 6, count)[:, None, None])
    points = middle[:, None, :] + t * (half[:, None, None] * heading[:, None, :]) + bow + wave * aside[:, None, :]
    return Strands(points, rng.uniform(0.25, 0.8, count), np.exp(rng.normal(np.log(0.75), 0.6, count)))


def render_strands(strands: Strands, look: Look, outline: Outline, grid: Grid) -> Field:
    """Millimetres of tissue that the strands add to one view, (rows, columns) float32."""
    image = np.zeros(grid.shape, np.float32)
    count, knots, _ = strands.points.shape
    if not count:
        return image
    placed = project(strands.points.reshape(-1, 3), outline).reshape(count, knots, 3)[:, :, :2]
    step = min(max(grid.pitch_mm, 0.08), 0.3)
    lengths = np.hypot(*np.moveaxis(np.diff(placed, axis=1), 2, 0)).sum(1)
    steps = np.maximum((lengths / step).astype(np.int64), 2)
    of = np.repeat(np.arange(count), steps)
    t = (np.arange(of.size) - np.repeat(np.cumsum(steps) - steps, steps) + 0.5) / steps[of]
    at = t * (knots - 1)
    low = np.minimum(at.astype(np.int64), knots - 2)
    share = (at - low)[:, None]
    before, after = placed[of, low], placed[of, low + 1]
    xy, along = before * (1 - share) + after * share, after - before
    normal = np.stack([-along[:, 1], along[:, 0]], 1) / (np.hypot(along[:, 0], along[:, 1])[:, None] + 1e-9)
    width, moved = strands.width_mm[of], lengths[of] / steps[of]
    peak = strands.amount_mm[of] * look.fibres * np.minimum(1, 5 * t * (1 - t)) * moved * width / (4 * grid.pitch_mm**2)
    for offset in (-0.75, -0.25, 0.25, 0.75):
        place = xy + normal * (offset * width / 2)[:, None]
        splat(image, place[:, 0], place[:, 1], peak * (1 - 0.8 * offset**2), grid.pitch_mm)
    return image
