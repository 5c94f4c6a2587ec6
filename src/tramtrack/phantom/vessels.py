"""The tubes of one breast in three dimensions: arteries and veins, branching and tapering, and the ducts behind the nipple.

All are curves in the breast's own frame (see ``anatomy``). Both views project the same curves, so an artery calcified in one
is so in the other. A woman's two breasts have trunks of about the same course and different branches.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from tramtrack.phantom.settings import PhantomSettings

NOMINAL_MM = np.array([85.0, 72.0, 72.0])
"""Size of the frame's unit along each axis, mm, used only to draw curves with sensible bends."""


class Kind(StrEnum):
    """What a tube is; only arteries calcify."""

    ARTERY = "artery"
    VEIN = "vein"
    DUCT = "duct"


@dataclass(frozen=True)
class Vessel:
    """One unbranched tube: ``points`` (n, 3) in the breast's frame, ``radius_mm`` (n,) outer radius."""

    kind: Kind
    points: NDArray[np.float64]
    radius_mm: NDArray[np.float64]

    @property
    def length_mm(self) -> float:
        """Length of the centre line before compression in a breast of middle size, mm."""
        return float(np.sqrt((np.diff(self.points * NOMINAL_MM, axis=0) ** 2).sum(1)).sum())


def draw_tree(common: np.random.Generator, own: np.random.Generator, settings: PhantomSettings) -> tuple[Vessel, ...]:
    """Draw a breast's vessels: branching trunks from the axilla (lateral thoracic) and the sternum (internal mammary).

    ``common`` draws the trunks' courses and is in the same state for both breasts of a woman; ``own`` draws all else. An
    artery may send a short branch straight up or down, which a cranio-caudal view sees end-on.
    """
    vessels: list[Vessel] = []
    for kind, trunks in ((Kind.ARTERY, settings.artery_trunks), (Kind.VEIN, settings.vein_trunks)):
        for number in range(int(common.integers(trunks[0], trunks[1] + 1))):
            trunk = _draw_trunk(common, own, kind, lateral=number % 2 == 0)
            vessels.append(trunk)
            vessels.extend(_draw_branch(own, trunk) for _ in range(int(own.integers(1, 4))))
            if kind is Kind.ARTERY and own.random() < 0.5:
                vessels.append(_draw_perforator(own, trunk))
    return tuple(vessels)


def draw_ducts(rng: np.random.Generator, settings: PhantomSettings) -> tuple[Vessel, ...]:
    """Draw a breast's larger ducts: from the nipple backwards, apart from each other, thinning."""
    found = []
    for _ in range(int(rng.integers(settings.ducts[0], settings.ducts[1] + 1))):
        start = np.array([rng.uniform(0.97, 1.0), *rng.normal(0, 0.02, 2)])
        end = np.array([rng.uniform(0.45, 0.8), *rng.normal(0, 0.22, 2)])
        found.append(_curve(rng, Kind.DUCT, start, end, rng.uniform(0.4, 1.0), tortuosity=0.6))
    return tuple(found)


def _draw_trunk(common: np.random.Generator, own: np.random.Generator, kind: Kind, lateral: bool) -> Vessel:
    if lateral:
        start = np.array([common.uniform(0.02, 0.2), common.uniform(0.35, 0.65), common.uniform(0.25, 0.6)])
    else:
        start = np.array([common.uniform(-0.02, 0.08), common.uniform(-0.7, -0.25), common.uniform(-0.35, 0.5)])
    end = np.array([common.uniform(0.6, 0.88), common.uniform(-0.3, 0.3), common.uniform(-0.3, 0.3)])
    radius = common.uniform(0.5, 1.15) if kind is Kind.ARTERY else common.uniform(0.7, 1.7)
    tortuosity = common.uniform(0.5, 1.7)
    jitter = own.normal(0, 1, (2, 3)) * np.array([[0.02, 0.06, 0.06], [0.06, 0.08, 0.08]])
    return _curve(own, kind, start + jitter[0], end + jitter[1], radius * own.uniform(0.85, 1.15), tortuosity)


def _draw_branch(rng: np.random.Generator, trunk: Vessel) -> Vessel:
    at = int(rng.uniform(0.1, 0.7) * (len(trunk.points) - 1))
    start = trunk.points[at]
    ahead = trunk.points[-1] - start
    aside = rng.normal(size=3) * np.array([0.12, 0.4, 0.4])
    end = start + ahead * rng.uniform(0.45, 0.95) + aside
    return _curve(rng, trunk.kind, start, end, float(trunk.radius_mm[at]) * rng.uniform(0.55, 0.85), rng.uniform(0.5, 1.6))


def _draw_perforator(rng: np.random.Generator, trunk: Vessel) -> Vessel:
    at = int(rng.uniform(0.2, 0.7) * (len(trunk.points) - 1))
    start = trunk.points[at]
    up = np.array([0.0, 0.0, -np.sign(start[2]) or 1.0])
    points = start + np.linspace(0, rng.uniform(0.15, 0.3), 16)[:, None] * (up + rng.normal(0, 0.01, 3))
    return Vessel(Kind.ARTERY, points, float(trunk.radius_mm[at]) * rng.uniform(0.7, 0.9) * np.linspace(1, 0.8, 16))


def _curve(
    rng: np.random.Generator, kind: Kind, start: NDArray[np.float64], end: NDArray[np.float64], radius: float, tortuosity: float
) -> Vessel:
    """A quadratic bow from start to end with meanders of 1 to 5 cm, tapering to 45 % of its radius."""
    length = float(np.linalg.norm((end - start) * NOMINAL_MM)) + 1.0
    count = max(8, int(length))
    t = np.linspace(0, 1, count)[:, None]
    middle = (start + end) / 2 + rng.normal(size=3) * np.array([0.06, 0.13, 0.13]) * min(1.0, length / 60)
    points = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
    for wavelength_mm, amplitude_mm in ((45.0, 1.8), (22.0, 0.9), (11.0, 0.35)):
        phase = 2 * np.pi * (t * length / (wavelength_mm * rng.uniform(0.75, 1.3)) + rng.uniform(size=3))
        swing = amplitude_mm * tortuosity * rng.uniform(0.4, 1.2, size=3) / NOMINAL_MM
        points = points + np.minimum(1, 6 * t * (1 - t)) * swing * np.sin(phase)
    return Vessel(kind, _kept_inside(points) if kind is not Kind.DUCT else points, radius * (1 - 0.55 * t[:, 0]))


def _kept_inside(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points drawn in where they would leave the half ball: at most 0.94 from its middle, at least 0.02 behind the wall."""
    away = np.linalg.norm(points, axis=1)
    inside = np.where(away > 0.85, 0.85 + 0.09 * np.tanh((away - 0.85) / 0.09), away)
    points = points * (inside / np.maximum(away, 1e-9))[:, None]
    points[:, 0] = np.maximum(points[:, 0], -0.02)
    return points
