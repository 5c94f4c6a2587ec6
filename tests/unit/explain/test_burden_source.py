"""The burden of a source: calibrated on validation alone, cross-fitted there, kept, and joined with other sources."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tramtrack.errors import TramtrackError
from tramtrack.explain.burden import load_calibration
from tramtrack.explain.burden_fit import fit, parts
from tramtrack.explain.burden_source import Source, measure_source
from tramtrack.explain.burden_stage import burden_views, write_burden
from tramtrack.explain.burden_truth import truths
from tramtrack.imaging.geometry import fit as place
from tramtrack.protocol import Burden, Evaluation, Prepare, Protocol

ROWS, COLUMNS = 64, 32
PROTOCOL = Protocol(prepare=Prepare(height=ROWS, width=COLUMNS), evaluation=Evaluation(resamples=200, confidence=0.8))
NAME = "vgg16/last-conv/seed-0"


@pytest.fixture
def study(tmp_path):
    """40 women of validation and 12 of test, two views each; half of them have 1 to 12 rows of calcification, 8 pixels wide.

    The maps lie on the calcification twice as wide as it is, at 4 of a strongest value of 4, and elsewhere at 0.1.
    """
    rng = np.random.default_rng(9101)
    rows, maps, geometry = [], {}, {}
    prepared = tmp_path / "prepared.png"
    Image.fromarray(np.full((ROWS, COLUMNS), 40000, dtype=np.uint16)).save(prepared)
    for number in range(52):
        fold = "validation" if number < 40 else "test"
        for view in ("CC", "MLO"):
            view_id = f"{number}-{view}"
            size = int(rng.integers(1, 13)) if number % 2 else 0
            mask = np.zeros((ROWS, COLUMNS), dtype=bool)
            mask[20 : 20 + size, 4:12] = True
            path = tmp_path / f"{view_id}.png"
            Image.fromarray(mask.astype(np.uint8) * 255).save(path)
            values = np.full((ROWS, COLUMNS), 0.1, dtype=np.float32)
            values[20 : 20 + size, 4:20] = 4
            maps[view_id] = values
            geometry[view_id] = place((ROWS, COLUMNS), (0, 0, ROWS, COLUMNS), False, (ROWS, COLUMNS), 0.5)
            rows.append(
                {"view_id": view_id, "woman": f"w{number}", "exam": "e", "side": "L", "view": view, "fold": fold,
                 "file": prepared, "mask": str(path) if size else "", "bac_view": int(size > 0), "age_years": 50 + number % 5,
                 "acquired": "20200101", "absent_breast": "R"}
            )  # fmt: skip
    views = pd.DataFrame(rows).astype({"bac_view": "Int64", "age_years": "Int64"})
    return views, geometry, maps, tmp_path / "results"


def measured(study, source=None, protocol=PROTOCOL):
    views, geometry, maps, results = study
    chosen, truth = burden_views(views, views.iloc[:0], geometry, unsealed=True)
    source = source or Source(NAME, "heat map", {"weights": "ab"}, maps.__getitem__, 4.0)
    return measure_source(source, chosen, geometry, truth, protocol, results), chosen


def test_the_area_is_calibrated_on_validation_and_right_on_test(study):
    table, _ = measured(study)
    test = table[table["fold"] == "test"]
    assert len(test) == 24 and (test["calibrated"] == "validation").all()
    assert test["area"].to_numpy() == pytest.approx(test["true_area"].to_numpy())
    assert test["true_area"].max() > 10 and (test["unit"] == "mm").all()
    found = load_calibration(study[-1], NAME)
    assert found.area_factor == pytest.approx(0.5) and found.least_score is None
    assert found.threshold > 0.1


def test_neither_maps_nor_truth_of_test_views_have_a_say_in_the_calibration(study):
    measured(study)
    before = load_calibration(study[-1], NAME)
    views, geometry, maps, results = study
    test = views["fold"] == "test"
    others = {view_id: values * 7 for view_id, values in maps.items() if view_id in set(views.loc[test, "view_id"])}
    views.loc[test, "mask"] = ""
    views.loc[test, "bac_view"] = 0
    table, _ = measured((views, geometry, {**maps, **others}, results / "again"))
    assert load_calibration(results / "again", NAME) == before
    assert table.loc[table["fold"] == "test", "true_area"].max() == 0


def test_a_womans_own_truth_has_no_say_in_her_area_on_validation(study):
    table, _ = measured(study)
    views, geometry, maps, results = study
    own = views["woman"] == "w1"
    views.loc[own, "bac_view"] = 0
    views.loc[own, "mask"] = ""
    part_before = parts(table.loc[table["fold"] == "validation", "woman"].to_numpy(), np.zeros(80))
    assert set(part_before) == {0, 1, 2, 3, 4}
    chosen, truth = burden_views(views, views.iloc[:0], geometry, unsealed=True)
    source = Source(NAME, "heat map", {"weights": "ab"}, maps.__getitem__, 4.0)
    again = measure_source(source, chosen, geometry, truth, PROTOCOL, results / "again")
    for found in (table, again):
        assert (found.loc[found["fold"] == "validation", "calibrated"] == "cross-fitted").all()
    hers = again[again["woman"] == "w1"]
    assert hers["area"].to_numpy() == pytest.approx(table.loc[table["woman"] == "w1", "area"].to_numpy())
    others = again[(again["fold"] == "test") & (again["area"] > 0)]
    assert (others["area"] < others["true_area"]).all()  # the others' factor is what her wrong truth moves


def test_a_score_below_the_least_one_means_none(study):
    views, _, maps, results = study
    noisy = {name: values.copy() for name, values in maps.items()}
    for view_id in views.loc[views["bac_view"] == 0, "view_id"]:
        noisy[view_id][30:40, 4:20] = 4  # the maps of negative views look like those of positive ones
    scores = dict(zip(views["view_id"], views["bac_view"].astype(float) * 0.8 + 0.1, strict=True))
    source = Source(NAME, "heat map", {"weights": "ab"}, noisy.__getitem__, 4.0, score_of=scores.__getitem__)
    table, _ = measured(study, source)
    assert 0.1 < load_calibration(results, NAME).least_score <= 0.9
    assert (table.loc[table["true_area"] == 0, "area"] == 0).all() and (table.loc[table["true_area"] > 0, "area"] > 0).all()


def test_what_is_measured_is_kept_until_the_maps_or_the_truth_change(study):
    measured(study)
    calls = []

    def map_of(view_id):
        calls.append(view_id)
        return study[2][view_id]

    source = Source(NAME, "heat map", {"weights": "ab"}, map_of, 4.0)
    again, _ = measured(study, source)
    assert not calls and len(again) == 104
    measured(study, replace(source, identity={"weights": "cd"}))
    assert calls


def test_views_that_cannot_be_measured_have_a_note_and_the_others_go_on(study, tmp_path, capsys):
    views, _, maps, _ = study
    empty, nothing, small = "40-CC", "41-CC", "43-MLO"
    maps[empty] = np.zeros_like(maps[empty])
    dark = tmp_path / "dark.png"
    Image.fromarray(np.zeros((ROWS, COLUMNS), dtype=np.uint16)).save(dark)
    views.loc[views["view_id"] == nothing, "file"] = dark
    Image.fromarray(np.full((9, 9), 255, dtype=np.uint8)).save(tmp_path / f"{small}.png")
    table, _ = measured(study)
    rows = table.set_index("view_id")
    assert rows.loc[empty, "note"] == "the map is zero everywhere" and rows.loc[empty, "area"] == 0
    assert "without one" in rows.loc[nothing, "note"] and np.isnan(rows.loc[nothing, "area"])
    assert np.isnan(rows.loc[small, "true_area"]) and rows.loc[small, "area"] > 0
    assert "expected a mask of 64 x 32 pixels" in capsys.readouterr().err
    assert rows["area"].notna().sum() == 103


def test_without_spacing_areas_are_in_pixels_and_no_woman_has_a_band(study):
    views, geometry, maps, results = study
    bare = {view_id: replace(one, spacing_mm=None) for view_id, one in geometry.items()}
    table, chosen = measured((views, bare, maps, results))
    assert (table["unit"] == "pixels").all()
    test = table[table["fold"] == "test"]
    assert test["area"].to_numpy() == pytest.approx(test["true_area"].to_numpy())
    women = write_burden(results, PROTOCOL, chosen).women
    assert women["area"].isna().all() and women["reason"].str.startswith("no spacing").all()


def test_without_a_known_area_nothing_is_calibrated(study):
    views, geometry, maps, results = study
    views["mask"] = ""
    with pytest.raises(TramtrackError, match="no calibration, all validation views have the same true area"):
        measured((views[views["bac_view"] == 0].reset_index(drop=True), geometry, maps, results))
    with pytest.raises(TramtrackError, match=r"no calibration, 0 validation views with a known area; 8 are needed"):
        measured((views[views["bac_view"] == 1].reset_index(drop=True), geometry, maps, results))


def test_another_source_joins_the_tables(study):
    _, chosen = measured(study)
    _, geometry, maps, results = study
    probabilities = {view_id: (values >= 4).astype(np.float32) for view_id, values in maps.items()}
    for values in probabilities.values():
        values[:, 12:] = 0
    source = Source("segmentation", "segmentation", {"weights": "s"}, probabilities.__getitem__, 1.0, cuts=(0.5,))
    measure_source(source, chosen, geometry, truths(chosen, geometry), PROTOCOL, results)
    tables = write_burden(results, PROTOCOL, chosen)
    assert sorted(tables.views["source"].unique()) == ["segmentation", NAME]
    assert load_calibration(results, "segmentation").threshold == 0.5
    written = {path.name for path in results.glob("*.csv")}
    assert written == {"burden.csv", "burden_agreement.csv", "burden_bands.csv", "burden_cost.csv", "women_burden.csv"}
    women = tables.women[(tables.women["fold"] == "test") & (tables.women["source"] == "segmentation")]
    assert women["area"].to_numpy() == pytest.approx(women["true_area"].to_numpy())
    bands = tables.bands[(tables.bands["fold"] == "test") & (tables.bands["source"] == NAME)]
    counts = bands[["0", ">0-10", ">10-25", ">25"]].to_numpy()
    assert counts.sum() == 12 and np.diag(counts).sum() == 12


def test_a_source_of_other_views_is_left_out_and_told_of(study):
    _, chosen = measured(study)
    with pytest.raises(TramtrackError, match="measured on other views than the study has now"):
        write_burden(study[-1], PROTOCOL, chosen.iloc[:-1])


def test_the_sealed_fold_is_not_measured(study):
    views, geometry, *_ = study
    chosen, truth = burden_views(views, views.iloc[:0], geometry, unsealed=False)
    assert set(chosen["fold"]) == {"validation"} and len(truth) == len(chosen) == 80


def test_the_mean_of_views_is_half_the_sum_of_two(study):
    table, chosen = measured(study)
    both = write_burden(study[-1], PROTOCOL, chosen).women
    mean = write_burden(study[-1], PROTOCOL.model_copy(update={"burden": Burden(woman="mean")}), chosen).women
    assert mean["area"].to_numpy() == pytest.approx(both["area"].to_numpy() / 2)
    assert len(table) == 2 * len(both)


def test_the_fit_takes_the_pair_that_ranks_best_and_the_lower_of_equal_ones():
    truth = np.array([0, 0, 0, 0, 1, 2, 3, 4], dtype=float)
    good = truth * 3
    areas = np.stack([np.ones(8), good, good, truth[::-1]], axis=1)
    found = fit(areas, truth)
    assert (found.cut, found.least_score) == (1, None)
    assert (found.factor, found.rho) == pytest.approx((1 / 3, 1))
    assert fit(areas[:7], truth[:7]).startswith("7 validation views with a known area; 8 are needed")
    assert fit(np.ones((8, 3)), truth).startswith("no threshold makes the areas of validation views differ")


def test_boxes_say_where_and_not_how_much(study, tmp_path):
    views, geometry, *_ = study
    boxes = Path(tmp_path / "boxes.csv")
    boxes.write_text("top,left,bottom,right\n1,1,9,9\n")
    row = views[views["bac_view"] == 1].iloc[:1].assign(mask=str(boxes))
    assert truths(row, geometry)["true_area"].isna().all()
    table = truths(row.assign(burden_mm2=7.5, length_mm=3.0), geometry).iloc[0]
    assert (table["true_area"], table["true_length"], table["true_from"]) == (7.5, 3.0, "table")
