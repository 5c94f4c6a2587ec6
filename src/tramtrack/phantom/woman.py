"""One synthetic woman: her two breasts, her calcium, her four views, and the exact truth about each view."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tramtrack.cohort.exam import STANDARD_VIEWS, Position, Side
from tramtrack.errors import TramtrackError
from tramtrack.phantom.acquisition import Anatomy, body_paths, expose
from tramtrack.phantom.anatomy import Look, Outline, draw_look, draw_outline
from tramtrack.phantom.burden import SEEN_LENGTH_MM, CalciumInView, area_band, calcium_in_view, csbi_grade
from tramtrack.phantom.calcification import Segment, draw_segments
from tramtrack.phantom.distractors import (
    Deposit,
    Distractor,
    Seen,
    ViewEffects,
    draw_distractors,
    draw_view_effects,
    render_distractors,
)
from tramtrack.phantom.presentation import film_look, present, stored
from tramtrack.phantom.settings import Grid, PhantomSettings
from tramtrack.phantom.stations import FILM, STATIONS, Station
from tramtrack.phantom.strands import draw_strands
from tramtrack.phantom.tissue import draw_soft_tissue
from tramtrack.phantom.vessels import Kind, Vessel, draw_ducts, draw_tree

ATTEMPTS = 60
"""How often a woman's calcium is drawn anew until it shows, or does not show, as it should."""


@dataclass(frozen=True)
class ViewTruth:
    """What is true of one view. Lengths along arteries, each stretch once, and areas at the breast's plane, mm and mm2; masses
    of hydroxyapatite in mg; contrasts: means over the mask. ``calibre_mm``: mean outer diameter of the segments seen.

    ``calcium`` is ``none``, ``below-visibility`` or ``visible``; only ``visible`` is labelled as BAC. ``distractors`` counts
    what else the view holds, by type; ``seen`` says where, ``segments`` what calcium.
    """

    side: Side
    position: Position
    calcium: str
    length_mm: float
    visible_length_mm: float
    area_mm2: float
    mass_mg: float
    mean_contrast: float
    mean_cnr: float
    calibre_mm: float
    calcified_segments: int
    thickness_mm: float
    motion_mm: float
    distractors: dict[str, int]
    seen: tuple[Seen, ...]
    segments: tuple[dict[str, Any], ...]

    @property
    def bac(self) -> bool:
        """True if the view shows visible BAC."""
        return self.calcium == "visible"


@dataclass(frozen=True)
class SyntheticView:
    """One finished view as displayed: ``pixels`` (rows, columns) uint16 in 0..4095, ``mask`` bool, and its truth."""

    pixels: NDArray[np.uint16]
    mask: NDArray[np.bool_]
    truth: ViewTruth


@dataclass(frozen=True)
class _Breast:
    vessels: tuple[Vessel, ...]
    distractors: tuple[Deposit, ...]
    implant_mm: float


@dataclass(frozen=True)
class Calcium:
    """One draw of a woman's calcium. ``burden``: 0 to 1. ``views``: her four views, in the standard order."""

    draw: int
    burden: float
    segments: dict[Side, tuple[Segment, ...]]
    views: tuple[CalciumInView, ...]

    def shown(self, settings: PhantomSettings) -> int:
        """How many of her views show it."""
        return sum(view.kind(settings) == "visible" for view in self.views)


class SyntheticWoman:
    """A woman drawn from a seed: the same seed, age and settings give the same four views, bit for bit.

    ``seed``: a numpy SeedSequence of her own. ``age``: years. ``bac``: whether she has visible BAC in at least one view.
    ``draw``: which draw of her calcium to take; without it, the first that shows, or without ``bac`` does not show.
    Each part of her (look, vessels, tissue, calcium, noise) has its own stream, so that a change in one leaves the others.
    """

    def __init__(
        self, seed: np.random.SeedSequence, age: int, bac: bool, settings: PhantomSettings, draw: int | None = None
    ) -> None:
        self.settings, self.bac, self._draw, self._seed = settings, bac, draw, seed
        rng = self._stream(0)
        self.look: Look = draw_look(rng, age, settings)
        film, implant, which = rng.random() < settings.film_share, rng.random() < settings.implant_share, rng.integers(99)
        self.station: Station = FILM if film else STATIONS[int(which) % len(STATIONS)]
        self.matrix: Grid = self.station.native if settings.own_matrix else settings.grid
        settings.require_room(self.matrix)
        self.grid = Grid(self.matrix.rows, self.matrix.columns, self.matrix.pitch_mm / settings.magnification)
        self.implant = bool(implant)
        self.faint = not bac and bool(rng.random() < settings.faint_share)
        self._breasts = {side: self._draw_breast(number) for number, side in enumerate(Side)}
        self._outlines: list[Outline] = []
        self._effects: list[ViewEffects] = []
        for number, (_, position) in enumerate(STANDARD_VIEWS):
            rng = self._stream(2, number)
            self._outlines.append(draw_outline(rng, self.look, position, self.grid))
            self._effects.append(draw_view_effects(rng, self._outlines[-1], settings))

    def _stream(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._seed.entropy, spawn_key=(*self._seed.spawn_key, *key)))

    def _draw_breast(self, number: int) -> _Breast:
        rng = self._stream(1, number)
        vessels = draw_tree(self._stream(1, 9), rng, self.settings)
        implant = self.look.half_height_mm * rng.uniform(0.9, 1.15) if self.implant else 0.0
        return _Breast((*vessels, *draw_ducts(rng, self.settings)), draw_distractors(rng, self.settings), implant)

    def _cropped(self, number: int) -> Grid:
        return self.grid.cropped(self._outlines[number].width_mm)

    @cached_property
    def calcium(self) -> Calcium:
        """Her calcium: the draw asked for, or the first that fits her label.

        Raises TramtrackError where none of the first draws does.
        """
        if self._draw is not None:
            return self.draw_calcium(self._draw)
        for draw in range(ATTEMPTS):
            found = self.draw_calcium(draw)
            if not self.bac and not self.faint:
                return found
            if (found.shown(self.settings) > 0) == self.bac:
                return found
        wanted = "no visible BAC" if self.bac else "nothing but visible BAC"
        raise TramtrackError(
            f"phantom: {wanted} in {ATTEMPTS} draws; "
            + ("raise" if self.bac else "lower")
            + " hydroxyapatite, coverage or segment_length_mm, or change visible_cnr or visible_area_mm2"
        )

    def draw_calcium(self, draw: int) -> Calcium:
        """Draw number ``draw`` of her calcium; none at all for most women without BAC, faint specks for the others."""
        rng = self._stream(3, draw)
        segments: dict[Side, tuple[Segment, ...]] = dict.fromkeys(Side, ())
        burden = 0.0
        if self.bac or self.faint:
            burden = float(rng.beta(*self.settings.burden_shape)) if self.bac else 0.0
            affected = rng.random(2) < self.settings.breast_share
            affected[int(rng.integers(2))] = True
            for side, has in zip(Side, affected, strict=True):
                if has:
                    drawn = draw_segments(rng, self._breasts[side].vessels, burden, self.settings)
                    segments[side] = drawn if self.bac else tuple(_thinned(rng, segment) for segment in drawn)
        views = tuple(
            calcium_in_view(segments[side], self.look, self._outlines[n], self.station, self.settings, self._cropped(n))
            for n, (side, _) in enumerate(STANDARD_VIEWS)
        )
        return Calcium(draw, burden, segments, views)

    def views(self) -> Iterator[SyntheticView]:
        """Her four views, in the order L CC, L MLO, R CC, R MLO; one at a time is held in memory."""
        anatomy = None
        for number, (side, position) in enumerate(STANDARD_VIEWS):
            if anatomy is None or position is Position.CC:
                anatomy = self._anatomy(side)
            yield self._finish(number, side, position, anatomy)

    def view(self, side: Side, position: Position) -> SyntheticView:
        """One of her four views."""
        return self._finish(STANDARD_VIEWS.index((side, position)), side, position, self._anatomy(side))

    def truth(self) -> dict[str, Any]:
        """What is true of her: age, density, station, burden, calcified vessels counted once, CSBI grade, area band, label."""
        calcium = self.calcium
        shown = list(self._shown())
        kinds = [view.kind(self.settings) for view in calcium.views]
        return {
            "age": self.look.age,
            "density": self.look.density,
            "station": self.station.name,
            "burden": round(calcium.burden, 4),
            "draw": calcium.draw,
            "bac_woman": int("visible" in kinds),
            "calcium_woman": next((kind for kind in ("visible", "below-visibility") if kind in kinds), "none"),
            "calcified_vessels": len({(side, segment.vessel) for side, segment in shown}),
            "csbi": csbi_grade(shown),
            "area_band": area_band(view.area_mm2 for view, kind in zip(calcium.views, kinds, strict=True) if kind == "visible"),
            "calcium_mg": round(
                sum(segment.mass_mg(self.look.size_mm) for of in calcium.segments.values() for segment in of), 4
            ),
            "implant": int(self.implant),
        }

    def _shown(self) -> Iterator[tuple[str, Segment]]:
        """The segments that at least one of her positive views shows, each with its breast."""
        calcium = self.calcium
        for side, segments in calcium.segments.items():
            views = [n for n, (of, _) in enumerate(STANDARD_VIEWS) if of is side]
            for number, segment in enumerate(segments):
                for n in views:
                    view = calcium.views[n]
                    if view.kind(self.settings) == "visible" and view.seen_mm[number] >= SEEN_LENGTH_MM:
                        yield str(side), segment
                        break

    def _anatomy(self, side: Side) -> Anatomy:
        breast, number = self._breasts[side], list(Side).index(side)
        return Anatomy(
            breast.vessels,
            draw_strands(self._stream(4, number), self.settings),
            draw_soft_tissue(self._stream(5, 9), self._stream(5, number)),
            breast.implant_mm,
        )

    def _finish(self, number: int, side: Side, position: Position, anatomy: Anatomy) -> SyntheticView:
        grid, outline, effects = self._cropped(number), self._outlines[number], self._effects[number]
        rng = self._stream(6, number)
        body = body_paths(rng, self.look, anatomy, outline, effects, grid)
        added, seen = render_distractors(self._breasts[side].distractors, outline, grid)
        calcium = self.calcium.views[number]
        if calcium.solid_mm is not None:
            added["hydroxyapatite"] = added.get("hydroxyapatite", np.float32(0)) + calcium.solid_mm
        quanta = self.settings.quanta * self.look.exposure
        exposed = expose(rng, self.station, body, added, quanta, effects.motion_mm, grid.pitch_mm)
        grey = self._framed(present(exposed.signal, body, self.look, self.station, grid.pitch_mm), side)
        if self.station.film:
            grey = film_look(self._stream(7, number), grey, side, position, self.grid)
        truth = self._view_truth(number, side, position, seen)
        return SyntheticView(stored(grey), self._framed(calcium.mask, side), truth)

    def _view_truth(self, number: int, side: Side, position: Position, seen: tuple[Seen, ...]) -> ViewTruth:
        calcium, effects, breast = self.calcium.views[number], self._effects[number], self._breasts[side]
        segments = self.calcium.segments[side]
        calibres = [
            2 * float(segment.radius_mm.mean())
            for segment, length in zip(segments, calcium.seen_mm, strict=True)
            if length >= SEEN_LENGTH_MM
        ]
        tubes = {str(kind): sum(vessel.kind is kind for vessel in breast.vessels) for kind in Kind}
        calcified = len({segment.vessel for segment in segments})
        return ViewTruth(
            side=side,
            position=position,
            calcium=calcium.kind(self.settings),
            length_mm=calcium.length_mm,
            visible_length_mm=calcium.visible_mm,
            area_mm2=calcium.area_mm2,
            mass_mg=calcium.mass_mg,
            mean_contrast=calcium.contrast,
            mean_cnr=calcium.cnr,
            calibre_mm=float(np.mean(calibres)) if calibres else 0.0,
            calcified_segments=len(segments),
            thickness_mm=self._outlines[number].thickness_mm,
            motion_mm=effects.motion_mm,
            distractors={
                "arteries": tubes["artery"],
                "veins": tubes["vein"],
                "ducts": tubes["duct"],
                "uncalcified_arteries": tubes["artery"] - calcified,
                **{str(kind): sum(item.kind is kind for item in seen) for kind in Distractor},
                "skin_fold": len(effects.folds),
                "nipple_out_of_profile": int(effects.nipple_mm is not None),
                "motion": int(effects.motion_mm > 0),
                "implants": int(breast.implant_mm > 0),
            },
            seen=seen,
            segments=tuple(
                {
                    "segment": f"{side}{n}",
                    "vessel": f"{side}{segment.vessel}",
                    "form": str(segment.form),
                    "length_mm": round(segment.length_mm(self.look.size_mm), 3),
                    "visible_length_mm": round(calcium.seen_mm[n], 3),
                    "calibre_mm": round(2 * float(segment.radius_mm.mean()), 3),
                    "mass_mg": round(segment.mass_mg(self.look.size_mm), 4),
                }
                for n, segment in enumerate(segments)
            ),
        )

    def _framed(self, part: NDArray[Any], side: Side) -> NDArray[Any]:
        """``part`` in the whole matrix, as displayed: chest wall at the left in L views, at the right in R views."""
        whole = np.zeros(self.grid.shape, part.dtype)
        whole[:, : part.shape[1]] = part
        return np.ascontiguousarray(whole[:, ::-1]) if side is Side.R else whole


def _thinned(rng: np.random.Generator, segment: Segment) -> Segment:
    """A segment with so little mineral left that it may stay below visibility."""
    return replace(segment, mineral=segment.mineral * float(rng.uniform(0.05, 0.35)))
