"""The burden of a new exam: each view's by its map, the woman's with an interval, or the reason why she has none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tramtrack.cohort.exam import STANDARD_VIEWS, Exam, View
from tramtrack.explain.burden import Calibration, burden_of
from tramtrack.imaging.geometry import fit
from tramtrack.prediction.burden import burdens, mask_of
from tramtrack.prediction.reader import Map
from tramtrack.protocol import Burden as Settings

CALIBRATED = Calibration("net/last-conv/seed-0", "heat map", 0.5, 1.0, None, 0.8, 1.0, squared_error=1.5)


def exam_of(places=STANDARD_VIEWS, spacing=0.1):
    views = tuple(View("w", "e", side, view, f"{side}{view}.dcm", "0", spacing_mm=spacing) for side, view in places)
    prepared = np.zeros((64, 48), np.uint16)
    prepared[4:60, :30] = 30000
    placed = fit((640, 480), (0, 0, 640, 480), False, (64, 48), spacing)
    maps = []
    for number in range(len(views)):
        values = np.zeros((64, 48), np.float32)
        values[20 : 22 + number, 10:20] = 1
        maps.append(Map(values, 1.0, "grad-cam++", "layer"))
    return Exam("w", "e", views), [maps], np.full((1, len(views)), 0.9), [prepared] * len(views), [placed] * len(views)


def found(parts, calibration=CALIBRATED, settings=None):
    (one,) = burdens({"net/last-conv/seed-0": calibration}, *parts, settings or Settings())
    return one


def test_the_womans_area_is_that_of_her_views_with_the_interval_of_validation():
    _, (maps,), _, pictures, geometry = parts = exam_of()
    one = found(parts)
    areas = [burden_of(m.values, p, g, CALIBRATED).area for m, p, g in zip(maps, pictures, geometry, strict=True)]
    assert areas == sorted(areas) and areas[0] == pytest.approx(20 * 0.8) and [view.area for view in one.views] == areas
    total = sum(areas)
    assert one.area_mm2 == pytest.approx(total) and one.band == ">25" and one.added == "sum" and one.reason == ""
    assert (one.low, one.high) == pytest.approx(((total**0.5 - 1.5) ** 2, (total**0.5 + 1.5) ** 2))
    assert found(parts, settings=Settings(woman="mean")).area_mm2 == pytest.approx(total / 4)


@pytest.mark.parametrize(
    ("parts", "calibration", "reason", "views"),
    [
        (exam_of(), None, "not calibrated: `tramtrack burden` on the study does so", 0),
        (exam_of(STANDARD_VIEWS[:3]), CALIBRATED, "view missing: R MLO", 3),
        (exam_of(spacing=None), CALIBRATED, "no spacing: her views are measured in pixels", 4),
    ],
    ids=["no calibration", "a view missing", "no spacing"],
)
def test_without_her_area_the_reason_stands_there(parts, calibration, reason, views):
    one = found(parts, calibration)
    assert one.area_mm2 is None and one.band == "" and one.reason.startswith(reason) and len(one.views) == views


def test_without_maps_there_is_no_burden_and_without_errors_no_interval():
    exam, _, scores, pictures, geometry = parts = exam_of()
    assert found((exam, [], scores, pictures, geometry)).reason.startswith("no heat maps")
    one = found(parts, replace(CALIBRATED, squared_error=None))
    assert one.area_mm2 > 0 and (one.low, one.high) == (None, None) and one.reason.startswith("no interval")


def test_a_view_below_the_least_score_shows_none():
    exam, maps, _, pictures, geometry = exam_of()
    scores = np.array([[0.2, 0.9, 0.9, 0.9]])
    one = found((exam, maps, scores, pictures, geometry), replace(CALIBRATED, least_score=0.5))
    assert [view.area > 0 for view in one.views] == [False, True, True, True]


@pytest.mark.parametrize("flipped", [False, True])
def test_the_pixels_that_count_have_the_area_before_its_factor(flipped):
    _, (maps,), _, pictures, _ = exam_of()
    geometry = fit((640, 480), (40, 20, 600, 440), flipped, (64, 48), 0.1)
    for found_by, prepared in zip(maps, pictures, strict=True):
        mask = mask_of(found_by, prepared, geometry, CALIBRATED, 0.9)
        assert mask.shape == (640, 480) and mask.dtype == bool
        area = burden_of(found_by.values, prepared, geometry, CALIBRATED).area
        assert 0.1**2 * mask.sum() * CALIBRATED.area_factor == pytest.approx(area, rel=0.05)
        assert (mask[:, :240].sum() > mask[:, 240:].sum()) != flipped
        assert not mask_of(found_by, prepared, geometry, replace(CALIBRATED, least_score=0.95), 0.9).any()
