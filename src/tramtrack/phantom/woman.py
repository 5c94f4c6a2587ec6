"""One synthetic woman: her two breasts, her calcium, her four views, and the exact truth about each view."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from tramtrack.cohort.exam import STANDARD_VIEWS, Position, Side
from tramtrack.errors import TramtrackError
from tramtrack.phantom.acquisition import Tissue, blurred, noise_deviation, present, tissue
from tramtrack.phantom.anatomy import Look, Outline, draw_look, draw_outline
from tramtrack.phantom.calcification import (
    Deposit,
    Distractor,
    Segment,
    draw_distractors,
    draw_segments,
    render_distractors,
    render_segments,
)
from tramtrack.phantom.projection import course
from tramtrack.phantom.settings import Grid, PhantomSettings
from tramtrack.phantom.vessels import Kind, Vessel, draw_tree, project

ATTEMPTS = 50
"""How often a woman's calcium is drawn anew until one of her views shows it."""


@dataclass(frozen=True)
class ViewTruth:
    """What is true of one view. Lengths along the artery in mm, areas in mm2 on the detector; contrasts: means over the mask.

    ``calcium`` is ``none``, ``below-visibility`` or ``visible``; only ``visible`` is labelled as BAC.
    """

    side: Side
    position: Position
    calcium: str
    length_mm: float
    visible_length_mm: float
    area_mm2: float
    mean_contrast: float
    mean_cnr: float
    segments: int
    arteries: int
    veins: int
    distractors: dict[str, int]
    thickness_mm: float

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


@dataclass(frozen=True)
class _Calcium:
    """The calcified arteries' part of one view, blurred: attenuation, visible mask, length in mm, contrast-to-noise."""

    attenuation: NDArray[np.float32]
    mask: NDArray[np.bool_]
    cnr: NDArray[np.float32]
    length_mm: float


class SyntheticWoman:
    """A woman drawn from a seed: the same seed, age and settings give the same four views, bit for bit.

    ``seed``: a numpy SeedSequence of her own. ``age``: years. ``bac``: whether she has visible BAC in at least one view.
    Each part of her (look, vessels, tissue, calcium, noise) has its own stream, so that a change in one leaves the others.
    """

    def __init__(self, seed: np.random.SeedSequence, age: int, bac: bool, settings: PhantomSettings) -> None:
        self.settings, self.bac = settings, bac
        streams = [np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, part)) for part in range(5)]
        self._look_seed, self._breast_seed, self._tissue_seed, self._calcium_seed, self._noise_seed = streams
        self.look: Look = draw_look(np.random.default_rng(self._look_seed), age)
        self._breasts = {side: self._draw_breast(number) for number, side in enumerate(Side)}

    def _draw_breast(self, number: int) -> _Breast:
        rng = _stream(self._breast_seed, number)
        return _Breast(draw_tree(rng, self.settings), draw_distractors(rng, self.settings))

    def views(self) -> Iterator[SyntheticView]:
        """Her four views, in the order L CC, L MLO, R CC, R MLO; one at a time is held in memory besides their tissue."""
        outlines: list[Outline] = []
        tissues: list[Tissue] = []
        for number, (side, position) in enumerate(STANDARD_VIEWS):
            rng = _stream(self._tissue_seed, number)
            outline = draw_outline(rng, self.look, position, self.settings.grid)
            outlines.append(outline)
            tissues.append(
                tissue(rng, self.look, outline, self._breasts[side].vessels, self.settings.grid.cropped(outline.width_mm))
            )
        segments, calcium = self._draw_calcium(outlines, tissues)
        for number, (side, position) in enumerate(STANDARD_VIEWS):
            yield self._finish(number, side, position, outlines[number], tissues[number], segments[side], calcium[number])

    def _grid(self, view: Tissue) -> Grid:
        rows, columns = view.attenuation.shape
        return Grid(rows, columns, self.settings.pitch_mm)

    def _draw_calcium(
        self, outlines: list[Outline], tissues: list[Tissue]
    ) -> tuple[dict[Side, tuple[Segment, ...]], list[_Calcium]]:
        """Draw her calcium until at least one view shows it; none at all without BAC."""
        nothing: dict[Side, tuple[Segment, ...]] = dict.fromkeys(Side, ())
        if not self.bac:
            return nothing, self._render_calcium(nothing, outlines, tissues)
        for attempt in range(ATTEMPTS):
            rng = _stream(self._calcium_seed, attempt)
            burden = float(rng.beta(*self.settings.burden_shape))
            affected = rng.random(2) < self.settings.breast_share
            affected[int(rng.integers(2))] = True
            segments = {
                side: draw_segments(rng, self._breasts[side].vessels, burden, self.settings) if has else ()
                for side, has in zip(Side, affected, strict=True)
            }
            calcium = self._render_calcium(segments, outlines, tissues)
            if any(self._classify(view) == "visible" for view in calcium):
                return segments, calcium
        raise TramtrackError(
            f"phantom: no visible BAC in {ATTEMPTS} draws; raise hydroxyapatite, coverage or segment_length_mm, "
            "or lower visible_cnr or visible_area_mm2"
        )

    def _render_calcium(
        self, segments: dict[Side, tuple[Segment, ...]], outlines: list[Outline], tissues: list[Tissue]
    ) -> list[_Calcium]:
        found = []
        for (side, _), outline, view in zip(STANDARD_VIEWS, outlines, tissues, strict=True):
            if not segments[side]:
                empty = np.zeros_like(view.attenuation)
                found.append(_Calcium(empty, np.zeros(empty.shape, bool), empty, 0.0))
                continue
            raw, length = render_segments(segments[side], outline, self._grid(view))
            raw *= view.inside_mm > 0
            noise = noise_deviation(view.attenuation + raw, outline.thickness_mm, self.look, self.settings)
            cnr = blurred(raw, self.settings) / noise
            found.append(_Calcium(raw, cnr >= self.settings.visible_cnr, cnr, length))
        return found

    def _classify(self, calcium: _Calcium) -> str:
        """``visible`` if enough area reaches the visible contrast-to-noise ratio, else whether there is calcium at all."""
        if calcium.mask.sum() * self.settings.pitch_mm**2 > self.settings.visible_area_mm2:
            return "visible"
        return "below-visibility" if calcium.length_mm > 0 else "none"

    def _finish(
        self, number: int, side: Side, position: Position, outline: Outline, view: Tissue,
        segments: tuple[Segment, ...], calcium: _Calcium,
    ) -> SyntheticView:  # fmt: skip
        breast = self._breasts[side]
        other = render_distractors(breast.distractors, outline, self._grid(view)) * (view.inside_mm > 0)
        rng = _stream(self._noise_seed, number)
        pixels = present(rng, self.look, outline, view, calcium.attenuation + other, self.settings)
        mask = calcium.mask
        area = float(mask.sum()) * self.settings.pitch_mm**2
        signal = blurred(calcium.attenuation, self.settings)[mask]
        truth = ViewTruth(
            side=side,
            position=position,
            calcium=self._classify(calcium),
            length_mm=calcium.length_mm,
            visible_length_mm=_visible_length(segments, outline, mask, self.settings),
            area_mm2=area,
            mean_contrast=float(signal.mean()) if signal.size else 0.0,
            mean_cnr=float(calcium.cnr[mask].mean()) if signal.size else 0.0,
            segments=len(segments),
            arteries=sum(vessel.kind is Kind.ARTERY for vessel in breast.vessels),
            veins=sum(vessel.kind is Kind.VEIN for vessel in breast.vessels),
            distractors={str(kind): sum(item.kind is kind for item in breast.distractors) for kind in Distractor},
            thickness_mm=outline.thickness_mm,
        )
        return SyntheticView(self._framed(pixels, side), self._framed(mask, side), truth)

    def _framed(self, part: NDArray[Any], side: Side) -> NDArray[Any]:
        """``part`` in the whole matrix, as displayed: chest wall at the left in L views, at the right in R views."""
        whole = np.zeros(self.settings.grid.shape, part.dtype)
        whole[:, : part.shape[1]] = part
        return np.ascontiguousarray(whole[:, ::-1]) if side is Side.R else whole


def _visible_length(
    segments: tuple[Segment, ...], outline: Outline, mask: NDArray[np.bool_], settings: PhantomSettings
) -> float:
    """Length in mm of the segments' centre lines that have visible calcium within half a millimetre plus their radius."""
    if not mask.any():
        return 0.0
    reach = 2 * round(1.0 / settings.pitch_mm) + 1
    near = maximum_filter(mask, size=reach)
    total = 0.0
    for segment in segments:
        line = course(project(segment.points, outline), segment.radius_mm, settings.pitch_mm)
        if line is None:
            continue
        column, row = (np.floor(line.xy_mm / settings.pitch_mm).astype(np.int64)).T
        inside = (row >= 0) & (row < mask.shape[0]) & (column >= 0) & (column < mask.shape[1])
        seen = near[row[inside], column[inside]].sum()
        total += float(line.along_mm[-1]) * float(seen) / len(line.xy_mm)
    return total


def _stream(seed: np.random.SeedSequence, number: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, number)))
