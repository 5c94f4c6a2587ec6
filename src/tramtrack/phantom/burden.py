"""How much arterial calcium a woman has and which views show it: the truth, worked out from geometry alone.

Calcium is visible in a pixel where its signal, after blur and scatter, is at least ``visible_cnr`` times the quantum noise of
0.2 x 0.2 mm behind the mean breast. Nothing of the tissue around it enters, so the truth is known before an image is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from tramtrack.phantom.acquisition import blurred, calcium_contrast
from tramtrack.phantom.anatomy import Field, Look, Outline
from tramtrack.phantom.calcification import Form, Segment, render_segments, tube_in_view
from tramtrack.phantom.materials import HYDROXYAPATITE_MG_PER_MM3
from tramtrack.phantom.settings import Grid, PhantomSettings
from tramtrack.phantom.stations import Station

AREA_BANDS_MM2 = (0.0, 10.0, 25.0)
"""Bands of the projected area of a woman's positive views: 0, up to 10, up to 25, more, mm2 (Eur Heart J 2026; our summing)."""

SEEN_LENGTH_MM = 1.0
"""A segment of which less than this is visible in a view is not seen there."""


@dataclass(frozen=True)
class CalciumInView:
    """The calcified arteries in one view. ``solid_mm`` (rows, columns): path through solid hydroxyapatite. ``mask``: where it
    is visible. ``length_mm`` and ``visible_mm``: of artery that is calcified, and where that is visible, before compression; a
    stretch on which two segments lie counts once. ``seen_mm``: visible length of each segment. ``mass_mg``: within the image.
    ``contrast`` and ``cnr``: means over the mask."""

    solid_mm: Field | None
    mask: NDArray[np.bool_]
    length_mm: float
    visible_mm: float
    seen_mm: tuple[float, ...]
    mass_mg: float
    area_mm2: float
    contrast: float
    cnr: float

    def kind(self, settings: PhantomSettings) -> str:
        """``visible`` if enough area is visible, ``below-visibility`` if there is calcium at all, else ``none``."""
        if self.area_mm2 > settings.visible_area_mm2:
            return "visible"
        return "below-visibility" if self.length_mm > 0 else "none"


def calcium_in_view(
    segments: tuple[Segment, ...], look: Look, outline: Outline, station: Station, settings: PhantomSettings, grid: Grid
) -> CalciumInView:
    """Project a breast's calcified arteries and measure them; ``grid`` is the view's, in the breast's plane."""
    if not segments:
        return CalciumInView(None, np.zeros(grid.shape, bool), 0.0, 0.0, (), 0.0, 0.0, 0.0, 0.0)
    solid = render_segments(segments, outline, look.size_mm, grid)
    heights = (np.arange(grid.rows, dtype=np.float64) + 0.5) * grid.pitch_mm
    solid *= (np.arange(grid.columns) + 0.5)[None, :] * grid.pitch_mm < outline.skin_at(heights)[:, None]
    contrast = np.float32(calcium_contrast(station.beam, outline.thickness_mm)) * blurred(solid, station.blur_mm, grid.pitch_mm)
    threshold = settings.visible_cnr / np.sqrt(settings.quanta * look.exposure)
    mask = contrast >= np.float32(threshold)
    mean = float(contrast[mask].mean()) if mask.any() else 0.0
    steps = [_steps(segments, number, look.size_mm, grid.pitch_mm) for number in range(len(segments))]
    seen = [_seen(segment, of, look, outline, mask, grid) for segment, of in zip(segments, steps, strict=True)]
    return CalciumInView(
        solid_mm=solid,
        mask=mask,
        length_mm=sum(of.length_mm * float(of.first.mean()) for of in steps),
        visible_mm=sum(of.length_mm * float((visible & of.first).mean()) for of, visible in zip(steps, seen, strict=True)),
        seen_mm=tuple(of.length_mm * float(visible.mean()) for of, visible in zip(steps, seen, strict=True)),
        mass_mg=float(solid.sum(dtype=np.float64)) * grid.pitch_mm**2 * HYDROXYAPATITE_MG_PER_MM3,
        area_mm2=float(mask.sum()) * grid.pitch_mm**2,
        contrast=mean,
        cnr=mean * float(np.sqrt(settings.quanta * look.exposure)),
    )


@dataclass(frozen=True)
class _Steps:
    """A segment in equal steps: ``length_mm`` before compression, ``at_mm`` (n,): the steps' middles, and ``first`` (n,): which
    of them lie on no earlier segment of the same artery, and so count to the artery's calcified length."""

    length_mm: float
    at_mm: NDArray[np.float64]
    first: NDArray[np.bool_]


def _steps(segments: tuple[Segment, ...], number: int, size_mm: NDArray[np.float64], pitch_mm: float) -> _Steps:
    segment = segments[number]
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(segment.points * size_mm, axis=0), axis=1))])
    count = max(2, int(along[-1] / max(pitch_mm, 0.1)))
    at = (np.arange(count) + 0.5) / count * along[-1]
    share = np.interp(at, along, np.linspace(*segment.reach, len(along)))
    first = np.ones(count, bool)
    for earlier in segments[:number]:
        if earlier.vessel == segment.vessel:
            first &= (share <= earlier.reach[0]) | (share >= earlier.reach[1])
    return _Steps(float(along[-1]), at, first)


def _seen(
    segment: Segment, steps: _Steps, look: Look, outline: Outline, mask: NDArray[np.bool_], grid: Grid
) -> NDArray[np.bool_]:
    """Which steps of a segment's axis (n,) have visible calcium within its radius and half a millimetre."""
    found = np.zeros(len(steps.at_mm), bool)
    if not mask.any():
        return found
    tube = tube_in_view(segment, outline, look.size_mm)
    x, y = (np.interp(steps.at_mm, tube.material_mm, tube.xyz_mm[:, i]) / grid.pitch_mm for i in (0, 1))
    reach = int(np.ceil((float(segment.radius_mm.max()) + 0.5) / grid.pitch_mm))
    left, top = int(x.min()) - reach - 1, int(y.min()) - reach - 1
    window = mask[max(top, 0) : int(y.max()) + reach + 2, max(left, 0) : int(x.max()) + reach + 2]
    if not window.any():
        return found
    near = maximum_filter(window, size=2 * reach + 1)
    row, column = y.astype(np.int64) - max(top, 0), x.astype(np.int64) - max(left, 0)
    inside = (row >= 0) & (row < near.shape[0]) & (column >= 0) & (column < near.shape[1])
    found[inside] = near[row[inside], column[inside]]
    return found


def csbi_grade(segments: Iterable[tuple[str, Segment]]) -> int:
    """A woman's CSBI grade from the segments that any of her views shows, each with its breast.

    0: none. 1: specks alone. 2: coarse, tram-track or ring in fewer than three vessels. 3: in three or more.
    """
    shown = list(segments)
    vessels = {(breast, segment.vessel) for breast, segment in shown if segment.form is not Form.PUNCTATE}
    return 0 if not shown else 1 if not vessels else 2 if len(vessels) < 3 else 3


def area_band(areas_mm2: Mapping[str, float] | Iterable[float]) -> str:
    """The band of a woman's visible area summed over her positive views, mm2."""
    total = sum(areas_mm2.values() if isinstance(areas_mm2, Mapping) else areas_mm2)
    low, middle, high = AREA_BANDS_MM2
    return (
        "0"
        if total <= low
        else f"up to {middle:g}"
        if total <= middle
        else f"up to {high:g}"
        if total <= high
        else f"over {high:g}"
    )
