"""Settings that cannot be meant are refused by name."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from tramtrack.errors import UsageError
from tramtrack.phantom.settings import Grid, PhantomSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pitch_mm", 0.0),
        ("pitch_mm", -0.2),
        ("pitch_mm", 0.05),
        ("pitch_mm", float("nan")),
        ("rows", 0),
        ("rows", 100),
        ("columns", 400),
        ("depth_mm", (60.0, 130.0)),
        ("half_height_mm", (-3.0, 90.0)),
        ("coverage", (0.0, 0.5)),
        ("hydroxyapatite", (0.1, 1.2)),
        ("wall", (0.4, 0.2)),
        ("breast_share", 0.0),
        ("odds_ratio_per_decade", -1.0),
        ("quanta", 0.0),
        ("round", -1.0),
        ("age_range", (80, 40)),
        ("artery_trunks", (0, 2)),
        ("visible_area_mm2", "2"),
        ("film_share", 1.5),
        ("own_matrix", 1),
        ("magnification", 0.5),
        ("ducts", (3, 2)),
    ],
)
def test_bad_setting_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(UsageError, match="columns" if name == "depth_mm" else "rows|columns" if value == 0.05 else name):
        replace(PhantomSettings(), **{name: value})


def test_settings_are_frozen_and_hashed() -> None:
    settings = PhantomSettings()
    with pytest.raises(FrozenInstanceError):
        settings.rows = 5  # type: ignore[misc]
    assert settings.sha256 == PhantomSettings().sha256 != replace(settings, round=3.0).sha256


def test_crop_holds_the_width_in_blocks() -> None:
    grid = Grid(1280, 960, 0.2)
    assert grid.cropped(100.0).columns == 512
    assert grid.cropped(500.0).columns == 960
    assert grid.field_mm == pytest.approx((256.0, 192.0))
