"""The arteries and veins of one breast as branching, curved, tapering tubes in three dimensions, and how a view projects them.

The breast's own frame is ``(depth, lateral, cranial)``: depth 0 at the chest wall and 1 at the nipple, lateral and cranial
-1 to 1 with lateral² + cranial² below 1. Both views project the same tubes, so an artery calcified in one is so in the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from tramtrack.cohort.exam import Position
from tramtrack.phantom.anatomy import Outline
from tramtrack.phantom.settings import PhantomSettings

MLO_ANGLE = math.radians(45)
"""Angle of the oblique view's beam."""

NOMINAL_MM = np.array([95.0, 85.0, 85.0])
"""Size of the frame's unit along each axis, mm, used only to draw curves with sensible bends."""


class Kind(StrEnum):
    """What a vessel carries; only arteries calcify."""

    ARTERY = "artery"
    VEIN = "vein"


@dataclass(frozen=True)
class Vessel:
    """One unbranched vessel: ``points`` (n, 3) in the breast's frame, ``radius_mm`` (n,) outer radius."""

    kind: Kind
    points: NDArray[np.float64]
    radius_mm: NDArray[np.float64]

    @property
    def length_mm(self) -> float:
        """Length of the centre line before compression, mm."""
        return float(np.sqrt((np.diff(self.points * NOMINAL_MM, axis=0) ** 2).sum(1)).sum())


def draw_tree(rng: np.random.Generator, settings: PhantomSettings) -> tuple[Vessel, ...]:
    """Draw a breast's vessels: branching trunks from the axilla (lateral thoracic) and the sternum (internal mammary)."""
    vessels: list[Vessel] = []
    for kind, trunks in ((Kind.ARTERY, settings.artery_trunks), (Kind.VEIN, settings.vein_trunks)):
        count = int(rng.integers(trunks[0], trunks[1] + 1))
        for number in range(count):
            trunk = _draw_trunk(rng, kind, lateral=number % 2 == 0)
            vessels.append(trunk)
            vessels.extend(_draw_branch(rng, trunk) for _ in range(int(rng.integers(1, 4))))
    return tuple(vessels)


def _draw_trunk(rng: np.random.Generator, kind: Kind, lateral: bool) -> Vessel:
    if lateral:
        start = np.array([rng.uniform(0.02, 0.2), rng.uniform(0.35, 0.75), rng.uniform(0.25, 0.65)])
    else:
        start = np.array([rng.uniform(-0.02, 0.08), rng.uniform(-0.75, -0.25), rng.uniform(-0.35, 0.5)])
    end = np.array([rng.uniform(0.7, 0.92), rng.uniform(-0.25, 0.25), rng.uniform(-0.25, 0.25)])
    radius = rng.uniform(0.55, 1.2) if kind is Kind.ARTERY else rng.uniform(0.6, 1.7)
    return _curve(rng, kind, start, end, radius, tortuosity=rng.uniform(0.5, 1.6))


def _draw_branch(rng: np.random.Generator, trunk: Vessel) -> Vessel:
    at = int(rng.uniform(0.1, 0.7) * (len(trunk.points) - 1))
    start = trunk.points[at]
    ahead = trunk.points[-1] - start
    aside = rng.normal(size=3) * np.array([0.12, 0.4, 0.4])
    end = start + ahead * rng.uniform(0.45, 0.95) + aside
    return _curve(rng, trunk.kind, start, end, float(trunk.radius_mm[at]) * rng.uniform(0.55, 0.85), rng.uniform(0.5, 1.6))


def _curve(
    rng: np.random.Generator, kind: Kind, start: NDArray[np.float64], end: NDArray[np.float64], radius: float, tortuosity: float
) -> Vessel:
    """A quadratic bow from start to end with meanders of 2 to 6 cm, tapering to 45 % of its radius."""
    length = float(np.linalg.norm((end - start) * NOMINAL_MM)) + 1.0
    count = max(8, int(length))
    t = np.linspace(0, 1, count)[:, None]
    middle = (start + end) / 2 + rng.normal(size=3) * np.array([0.06, 0.13, 0.13]) * min(1.0, length / 60)
    points = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
    for wavelength_mm, amplitude_mm in ((45.0, 1.8), (22.0, 0.8), (11.0, 0.3)):
        phase = 2 * np.pi * (t * length / (wavelength_mm * rng.uniform(0.75, 1.3)) + rng.uniform(size=3))
        swing = amplitude_mm * tortuosity * rng.uniform(0.4, 1.2, size=3) / NOMINAL_MM
        points = points + np.minimum(1, 6 * t * (1 - t)) * swing * np.sin(phase)
    points[:, 0] = np.clip(points[:, 0], -0.02, 0.96)
    away = np.hypot(points[:, 1], points[:, 2])
    points[:, 1:] *= (np.minimum(away, 0.9 + 0.05 * np.tanh((away - 0.9) * 4)) / np.maximum(away, 1e-9))[:, None]
    return Vessel(kind, points, radius * (1 - 0.55 * t[:, 0]))


def project(points: NDArray[np.float64], outline: Outline) -> NDArray[np.float64]:
    """Points (n, 3) of the breast's frame as (x, y, z) in mm of one view; z along the beam, between the paddles.

    CC looks from above: lateral is up in the image. MLO looks along the oblique: up is cranial and lateral.
    """
    depth, lateral, cranial = points.T
    if outline.position is Position.CC:
        up, beam = lateral, cranial
    else:
        up = math.cos(MLO_ANGLE) * cranial + math.sin(MLO_ANGLE) * lateral
        beam = math.cos(MLO_ANGLE) * lateral - math.sin(MLO_ANGLE) * cranial
    x, y = outline.place(depth, -up)
    return np.stack([x, y, beam * outline.thickness_mm * 0.4], 1)
