"""What is not an arterial calcification and may be taken for one, and other findings: objects of the breast with an identity.

Nothing here knows whether the woman has BAC. Each object has a place in the breast's frame, so both views show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from tramtrack.phantom.anatomy import Field, Outline, project
from tramtrack.phantom.projection import across, ball, course, deposit
from tramtrack.phantom.settings import Grid, PhantomSettings


class Distractor(StrEnum):
    """What an object is."""

    ROUND = "round"
    CLUSTER = "cluster"
    ROD = "rod"
    EGGSHELL = "eggshell"
    SKIN_CALCIFICATION = "skin_calcification"
    MASS = "mass"
    CLIP = "clip"


MATERIAL = {Distractor.MASS: "glandular", Distractor.CLIP: "titanium"}
"""What an object's density stands for; hydroxyapatite for all others."""

SETTING = {
    Distractor.ROUND: "round",
    Distractor.CLUSTER: "clusters",
    Distractor.ROD: "rods",
    Distractor.EGGSHELL: "eggshells",
    Distractor.SKIN_CALCIFICATION: "skin_calcifications",
    Distractor.MASS: "masses",
    Distractor.CLIP: "clips",
}
"""The setting that holds the mean number a breast."""


@dataclass(frozen=True)
class Deposit:
    """One object: ``centre`` (3,) in the breast's frame, and its parts.

    ``parts`` (n, 5): offset (x, y) in mm, outer and inner radius in mm, and volume fraction of its material; two parts of a rod
    or a clip are its ends.
    """

    kind: Distractor
    centre: NDArray[np.float64]
    parts: NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """An object in one view: ``number`` in its breast, and the box (top, left, bottom, right) in mm that holds it."""

    number: int
    kind: Distractor
    box_mm: tuple[float, float, float, float]


def draw_distractors(rng: np.random.Generator, settings: PhantomSettings) -> tuple[Deposit, ...]:
    """Draw a breast's objects."""
    found = []
    for kind in Distractor:
        for _ in range(int(rng.poisson(getattr(settings, SETTING[kind])))):
            centre = rng.normal(size=3)
            away = 0.965 if kind is Distractor.SKIN_CALCIFICATION else 0.88 * rng.uniform(0.05, 1) ** (1 / 3)
            centre *= away / np.linalg.norm(centre)
            centre[0] = abs(centre[0])
            found.append(Deposit(kind, centre, _draw_parts(rng, kind)))
    return tuple(found)


def _draw_parts(rng: np.random.Generator, kind: Distractor) -> NDArray[np.float64]:
    if kind is Distractor.ROUND:
        return np.array([[0, 0, np.exp(rng.uniform(np.log(0.12), np.log(0.9))), 0, rng.uniform(0.1, 0.5)]])
    if kind is Distractor.CLUSTER:
        number = int(rng.integers(4, 14))
        offsets = rng.normal(0, rng.uniform(0.8, 2.5), (number, 2))
        return np.column_stack([offsets, rng.uniform(0.08, 0.3, number), np.zeros(number), rng.uniform(0.2, 0.7, number)])
    if kind is Distractor.EGGSHELL:
        outer = rng.uniform(0.6, 3.0)
        return np.array([[0, 0, outer, outer - rng.uniform(0.08, 0.3), rng.uniform(0.15, 0.45)]])
    if kind is Distractor.SKIN_CALCIFICATION:
        outer = rng.uniform(0.3, 0.9)
        return np.array([[0, 0, outer, outer * rng.uniform(0.4, 0.75), rng.uniform(0.15, 0.5)]])
    if kind is Distractor.MASS:
        radius, lobes = rng.uniform(2.5, 9.0), int(rng.integers(1, 6))
        offsets = rng.normal(0, 0.28 * radius, (lobes, 2))
        radii = radius * rng.uniform(0.6, 1.0, lobes)
        return np.column_stack([offsets, radii, np.zeros(lobes), np.full(lobes, rng.uniform(0.5, 1.1) / lobes**0.6)])
    half = rng.uniform(1.0, 4.5) if kind is Distractor.ROD else rng.uniform(1.0, 1.6)
    turn = rng.normal(0, 0.35) if kind is Distractor.ROD else rng.uniform(0, np.pi)
    radius, share = (rng.uniform(0.15, 0.4), rng.uniform(0.15, 0.5)) if kind is Distractor.ROD else (0.2, 1.0)
    end = half * np.array([np.cos(turn), np.sin(turn)])
    return np.array([[*-end, radius, 0, share], [*end, radius, 0, share]])


def render_distractors(
    deposits: tuple[Deposit, ...], outline: Outline, grid: Grid
) -> tuple[dict[str, Field], tuple[Seen, ...]]:
    """Path in mm through each material that the objects add to one view, and the objects whose centre lies in the breast."""
    paths: dict[str, Field] = {}
    seen = []
    for number, item in enumerate(deposits):
        x, y, _ = (float(value) for value in project(item.centre[None, :], outline)[0])
        if not (0 < y < grid.field_mm[0] and 0 < x < float(outline.skin_at(np.array([y]))[0])):
            continue
        material = MATERIAL.get(item.kind, "hydroxyapatite")
        image = paths.setdefault(material, np.zeros(grid.shape, np.float32))
        if item.kind in (Distractor.ROD, Distractor.CLIP):
            _rod(image, item, x, y, grid)
        else:
            for dx, dy, outer, inner, share in item.parts:
                ball(image, (x + dx, y + dy), outer, inner, share, grid.pitch_mm)
        reach = item.parts[:, 2]
        low = item.parts[:, :2].min(0) - reach.max()
        high = item.parts[:, :2].max(0) + reach.max()
        seen.append(Seen(number, item.kind, (y + low[1], x + low[0], y + high[1], x + high[0])))
    return paths, tuple(seen)


def _rod(image: Field, item: Deposit, x: float, y: float, grid: Grid) -> None:
    ends = np.column_stack([x + item.parts[:, 0], y + item.parts[:, 1], np.zeros(2)])
    step = min(grid.pitch_mm / 3, 0.1)
    line = course(ends, item.parts[:, 2], step)
    if line is not None:
        fractions = across(line, step)
        path = 2 * line.radius_mm[:, None] * np.sqrt(1 - fractions[None, :] ** 2)
        deposit(image, line, fractions, path * item.parts[0, 4], grid.pitch_mm)


@dataclass(frozen=True)
class ViewEffects:
    """What happens to one view alone: ``fold`` (start x, y, end x, y, width, mm of skin) or none for each fold, a nipple out
    of profile at (x, y) mm or None, and how far the breast moved along y during the exposure, mm."""

    folds: tuple[tuple[float, ...], ...]
    nipple_mm: tuple[float, float] | None
    motion_mm: float


def draw_view_effects(rng: np.random.Generator, outline: Outline, settings: PhantomSettings) -> ViewEffects:
    """Draw a view's folds, nipple and motion."""
    folds = []
    for _ in range(int(rng.poisson(settings.skin_folds))):
        y = outline.nipple_mm + rng.choice([-1, 1]) * rng.uniform(0.55, 0.9) * min(outline.top_mm, outline.bottom_mm)
        skin = float(outline.skin_at(np.array([y]))[0])
        x = skin * rng.uniform(0.1, 0.7)
        angle = rng.normal(0, 0.5)
        length = rng.uniform(15, 45)
        folds.append(
            (x, y, x + length * np.cos(angle), y + length * np.sin(angle), rng.uniform(1.0, 3.0), rng.uniform(1.5, 4.0))
        )
    out = rng.random() < settings.nipple_share
    y = outline.nipple_mm + rng.uniform(-12, 12)
    x = float(outline.skin_at(np.array([y]))[0]) - rng.uniform(6, 14)
    moved = rng.uniform(0.25, 0.8) if rng.random() < settings.motion_share else 0.0
    return ViewEffects(tuple(tuple(map(float, fold)) for fold in folds), (x, y) if out else None, float(moved))


def add_view_effects(gland_mm: Field, effects: ViewEffects, grid: Grid) -> None:
    """Add folds of skin and an overlying nipple to the path through gland, (rows, columns) float32 in mm."""
    for x, y, end_x, end_y, width, amount in effects.folds:
        line = course(np.array([[x, y, 0.0], [end_x, end_y, 0.0]]), np.full(2, width), grid.pitch_mm / 2)
        if line is not None:
            fractions = across(line, grid.pitch_mm / 2)
            fade = np.minimum(1, 6 * (t := np.linspace(0, 1, len(line.xy_mm))) * (1 - t))
            deposit(gland_mm, line, fractions, fade[:, None] * amount * (0.6 + 0.4 * np.abs(fractions[None, :])), grid.pitch_mm)
    if effects.nipple_mm is not None:
        ball(gland_mm, effects.nipple_mm, 5.0, 0.0, 0.55, grid.pitch_mm)
