"""Settings that cannot be meant are refused by name."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest

from tramtrack.cohort.exam import Position
from tramtrack.errors import UsageError
from tramtrack.phantom.anatomy import draw_look, draw_outline
from tramtrack.phantom.cohort import write_cohort
from tramtrack.phantom.one_view import write_view
from tramtrack.phantom.settings import Grid, PhantomSettings
from tramtrack.phantom.stations import DETECTORS, require_room_at_stations


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
        ("segments", 3.0),
        ("hydroxyapatite", 0.3),
        ("burden_shape", (1.0, 2.0, 3.0)),
        ("round", (1, 2)),
        ("rows", 1536.0),
        ("rods", True),
        ("age_range", (40, 130)),
        ("age_range", [40, 84]),
        ("depth_mm", (2.0, 90.0)),
        ("half_height_mm", (2.0, 90.0)),
        ("rows", 65536),
        ("pitch_mm", 10.5),
        ("age_mean", 650.0),
        ("quanta", 1e-9),
        ("quanta", 1e13),
        ("segments", (1.3, 1e19)),
        ("round", 1e19),
        ("skin_folds", 1001),
        ("ligaments", (50, 10**20)),
    ],
)
def test_bad_setting_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(UsageError, match="columns" if value == (60.0, 130.0) else "rows|columns" if value == 0.05 else name):
        replace(PhantomSettings(), **{name: value})


@pytest.mark.parametrize("name", [name for name, grid in DETECTORS.items() if grid is not None])
def test_every_matrix_that_has_a_name_holds_the_largest_breast(name: str) -> None:
    grid = DETECTORS[name]
    assert grid is not None
    assert replace(PhantomSettings(), rows=grid.rows, columns=grid.columns, pitch_mm=grid.pitch_mm).grid == grid


def test_stations_own_matrices_are_refused_before_any_woman_is_made(tmp_path: Path) -> None:
    require_room_at_stations(PhantomSettings(own_matrix=True))
    require_room_at_stations(PhantomSettings(magnification=1.0, own_matrix=True, film_share=1.0))
    larger = PhantomSettings(own_matrix=True, magnification=1.04)
    for make in (lambda: write_cohort(tmp_path / "a", women=1, seed=1, settings=larger),
                 lambda: write_view(tmp_path / "a", seed=1, settings=larger)):  # fmt: skip
        with pytest.raises(UsageError, match=r"rows of station A: expected rows x pitch_mm of at least 236.*232.96 mm"):
            make()
    require_room_at_stations(replace(larger, film_share=1.0))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("seed", range(9110, 9130))
def test_the_least_matrix_holds_the_largest_breast_drawn(seed: int) -> None:
    """The rule of room is that of the drawing: in a CC view's smallest matrix the skin meets the wall within it."""
    settings = PhantomSettings(rows=2277, columns=1140, pitch_mm=0.1)
    with pytest.raises(UsageError, match="rows"):
        replace(settings, rows=2276)
    look = replace(draw_look(np.random.default_rng(seed), 60, settings), depth_mm=100.0, half_height_mm=98.0)
    outline = draw_outline(np.random.default_rng(seed), look, Position.CC, settings.grid)
    height, width = settings.grid.field_mm
    assert outline.skin_at(np.array([0.0, height])).tolist() == [0.0, 0.0]
    assert outline.skin_mm.max() < width


def test_any_setting_can_be_given_as_text() -> None:
    usual = PhantomSettings()
    changed = usual.with_text(["visible_cnr=12", "segments = 1, 3.5", "ducts=4,6", "rows=1600", "own_matrix=true", "rods=1e-1"])
    assert changed == replace(usual, visible_cnr=12, segments=(1, 3.5), ducts=(4, 6), rows=1600, own_matrix=True, rods=0.1)
    for name, value in asdict(usual).items():
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        assert usual.with_text([f"{name}={text}"]) == usual, name
    assert usual.with_text([]) == usual
    assert usual.with_text(["quanta=20000", "segments=1.3,4"]).sha256 == usual.sha256 == replace(usual, quanta=20000).sha256


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("visible_cnr", "expected name=value, received 'visible_cnr'"),
        ("visble_cnr=3", "visble_cnr: no such setting; the nearest are visible_cnr"),
        ("visible_cnr=many", "visible_cnr=many: expected a number, true or false, received 'many'"),
        ("visible_cnr=", "expected a number, true or false, received ''"),
        ("visible_cnr=-1", "visible_cnr: expected above 0, received -1"),
        ("visible_cnr=1,2", "visible_cnr: expected one value"),
        ("segments=3", r"segments: expected two numbers \(first, second\), received \(3,\)"),
        ("rows=1600.5", "rows: expected whole, >= 1, received 1600.5"),
        ("rods=nan", "rods: expected 0 or more, received nan"),
    ],
)
def test_text_that_is_no_setting_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        PhantomSettings().with_text([text])


def test_every_setting_is_described_with_its_default() -> None:
    page = (Path(__file__).parents[3] / "docs/explanation/phantom.md").read_text()
    table = page.split("| setting | default |")[1].split("\n\n")[0]
    rows = dict(re.findall(r"^\| `([a-z0-9_]+)` \| ([^|]+) \|", table, flags=re.MULTILINE))
    defaults = {field.name: field.default for field in fields(PhantomSettings)}
    pairs = {name: value if isinstance(value, tuple) else (value,) for name, value in defaults.items() if name != "own_matrix"}
    assert rows == {name: ", ".join(f"{x:g}" for x in pair) for name, pair in pairs.items()} | {"own_matrix": "False"}
    described = PhantomSettings.__doc__ or ""
    assert [name for name in defaults if not re.search(rf"\b{name}\b", described)] == []


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
