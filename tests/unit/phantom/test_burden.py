"""The truth about a woman's calcium: lengths counted once, what is visible, her CSBI grade and band of area."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tramtrack.cohort.exam import Position
from tramtrack.phantom.acquisition import calcium_contrast
from tramtrack.phantom.anatomy import draw_look, draw_outline
from tramtrack.phantom.burden import CalciumInView, area_band, calcium_in_view, csbi_grade
from tramtrack.phantom.calcification import PATCHES_AROUND, Form, Segment
from tramtrack.phantom.materials import HYDROXYAPATITE_MG_PER_MM3
from tramtrack.phantom.settings import PhantomSettings
from tramtrack.phantom.stations import STATIONS
from tramtrack.phantom.woman import SyntheticWoman

SETTINGS = PhantomSettings(rows=480, columns=360, pitch_mm=0.5)
LOOK = draw_look(np.random.default_rng(9130), 60, SETTINGS)
OUTLINE = draw_outline(np.random.default_rng(9130), LOOK, Position.CC, SETTINGS.grid)


def segment(start: float, stop: float, vessel: int = 0, mineral: float = 0.5, form: Form = Form.TRAM_TRACK) -> Segment:
    """A stretch of a straight artery of vessel 0 or 1, from ``start`` to ``stop`` of its length, calcified all over."""
    ends = np.array([[0.2, -0.3 + 0.5 * vessel, 0.1], [0.7, -0.1 + 0.5 * vessel, 0.1]])
    at = np.linspace(start, stop, 20)[:, None]
    points = ends[0] * (1 - at) + ends[1] * at
    patches = np.ones((40, PATCHES_AROUND), np.float32)
    return Segment(vessel, form, points, np.full(20, 0.8), 0.3, mineral, patches, (start, stop))


def seen(*segments: Segment) -> CalciumInView:
    return calcium_in_view(segments, LOOK, OUTLINE, STATIONS[0], SETTINGS, SETTINGS.grid)


def test_a_stretch_on_which_two_segments_lie_is_counted_once() -> None:
    whole = segment(0, 1).length_mm(LOOK.size_mm)
    both = seen(segment(0, 0.6), segment(0.2, 1.0))
    assert both.length_mm == pytest.approx(whole, rel=0.02)
    assert both.visible_mm == pytest.approx(whole, rel=0.05)
    assert sum(both.seen_mm) == pytest.approx(1.4 * whole, rel=0.05)  # of each segment, its own
    within = seen(segment(0, 1), segment(0.3, 0.5))
    assert within.length_mm == pytest.approx(whole, rel=0.02) and within.mass_mg > 1.15 * seen(segment(0, 1)).mass_mg
    apart = seen(segment(0, 1), segment(0, 0.5, vessel=1))
    assert apart.length_mm == pytest.approx(1.5 * whole, rel=0.02)


def test_the_visible_length_is_that_of_what_is_visible() -> None:
    half = seen(segment(0, 0.5), segment(0.5, 1.0, mineral=1e-5))
    assert half.visible_mm == pytest.approx(half.length_mm / 2, abs=2.5)  # calcium within the radius and 0.5 mm counts
    assert half.seen_mm[0] > 0.95 * half.length_mm / 2 and half.seen_mm[1] < 2.5
    none = seen(segment(0, 1, mineral=1e-5))
    assert none.visible_mm == 0 == none.area_mm2 and none.kind(SETTINGS) == "below-visibility" and none.length_mm > 30
    assert seen().kind(SETTINGS) == "none"


def test_area_and_mass_are_those_of_the_image() -> None:
    found = seen(segment(0, 1))
    assert found.solid_mm is not None
    assert found.area_mm2 == found.mask.sum() * 0.25
    assert found.mass_mg == pytest.approx(segment(0, 1).mass_mg(LOOK.size_mm), rel=0.02)
    assert found.mass_mg == pytest.approx(found.solid_mm.sum() * 0.25 * HYDROXYAPATITE_MG_PER_MM3, rel=1e-4)
    assert found.kind(SETTINGS) == "visible"
    assert found.kind(replace(SETTINGS, visible_area_mm2=found.area_mm2)) == "below-visibility"


def test_the_mask_is_where_contrast_over_noise_reaches_the_setting() -> None:
    found = seen(segment(0, 1))
    noise = 1 / np.sqrt(SETTINGS.quanta * LOOK.exposure)
    assert found.cnr == pytest.approx(found.contrast / noise) and found.cnr > SETTINGS.visible_cnr
    bound = calcium_contrast(STATIONS[0].beam, OUTLINE.thickness_mm) * float(found.solid_mm.max())  # before the blur
    stricter = replace(SETTINGS, visible_cnr=1.01 * bound / noise)
    assert not calcium_in_view((segment(0, 1),), LOOK, OUTLINE, STATIONS[0], stricter, SETTINGS.grid).mask.any()


@pytest.mark.parametrize(
    ("shown", "grade"),
    [
        ([], 0),
        ([("L", 0, Form.PUNCTATE), ("R", 1, Form.PUNCTATE)], 1),
        ([("L", 0, Form.COARSE)], 2),
        ([("L", 0, Form.TRAM_TRACK), ("L", 0, Form.RING), ("L", 1, Form.COARSE), ("R", 4, Form.PUNCTATE)], 2),
        ([("L", 0, Form.TRAM_TRACK), ("R", 0, Form.TRAM_TRACK)], 2),
        ([("L", 0, Form.TRAM_TRACK), ("R", 0, Form.COARSE), ("R", 1, Form.RING)], 3),
    ],
)
def test_the_csbi_grade_counts_a_womans_vessels(shown: list[tuple[str, int, Form]], grade: int) -> None:
    assert csbi_grade((breast, replace(segment(0, 1), vessel=vessel, form=form)) for breast, vessel, form in shown) == grade


BANDS = [([0], "0"), ([0.1], "up to 10"), ([6, 4], "up to 10"), ([6, 5], "up to 25"), ([9, 16], "up to 25"), ([26], "over 25")]


@pytest.mark.parametrize(("areas", "band"), BANDS)
def test_bands_of_area_add_a_womans_views(areas: list[float], band: str) -> None:
    assert area_band(areas) == band


def test_a_woman_whose_calcium_no_view_shows_enough_of_has_none_of_the_marks() -> None:
    settings = replace(SETTINGS, faint_share=1.0, visible_area_mm2=1000.0, hydroxyapatite=(0.8, 0.8))
    woman = SyntheticWoman(np.random.SeedSequence(9131), 60, False, settings)
    truth = woman.truth()
    assert sum(view.area_mm2 for view in woman.calcium.views) > 1 and truth["calcium_mg"] > 0
    assert (truth["bac_woman"], truth["calcium_woman"]) == (0, "below-visibility")
    assert (truth["csbi"], truth["calcified_vessels"], truth["area_band"]) == (0, 0, "0")
    shown = SyntheticWoman(np.random.SeedSequence(9131), 60, True, SETTINGS)
    assert shown.truth()["area_band"] == area_band(v.area_mm2 for v in shown.calcium.views if v.kind(SETTINGS) == "visible")
    assert shown.truth()["csbi"] > 0


def test_a_woman_has_her_stations_own_matrix_where_asked() -> None:
    women = [
        SyntheticWoman(np.random.SeedSequence(seed), 60, False, PhantomSettings(own_matrix=True)) for seed in range(9100, 9112)
    ]
    assert all(woman.matrix == woman.station.native == woman.grid for woman in women)
    assert len({woman.station.name for woman in women}) >= 4
