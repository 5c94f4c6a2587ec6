"""A study's runs as sources of burden: maps in parts, the views of other exams, and a run that cannot be calibrated."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tramtrack.errors import TramtrackError
from tramtrack.explain import burden_stage
from tramtrack.explain.atlas import make_heatmaps, read_atlas
from tramtrack.explain.burden import burden_of, load_calibration
from tramtrack.explain.burden_stage import burden_views, measure_runs, prepare_others, source_of, write_burden
from tramtrack.imaging.geometry import fit
from tramtrack.imaging.prepare import read_prepared
from tramtrack.protocol import Evaluation, Prepare, Protocol, Transfer
from tramtrack.store import file_sha256

PROTOCOL = Protocol(
    prepare=Prepare(height=64, width=32), transfer=Transfer(widths=(16, 8)), evaluation=Evaluation(resamples=200)
)


@pytest.fixture(scope="module")
def study(tmp_path_factory, write_run):
    """A run, and the views of 12 women: ten of validation and two of test, with a known area of 0 to 11 mm2."""
    folder = tmp_path_factory.mktemp("burden")
    rng = np.random.default_rng(9112)
    rows, geometry = [], {}
    for number in range(12):
        file = folder / f"v{number}.png"
        Image.fromarray(rng.integers(1, 65536, (64, 32)).astype(np.uint16)).save(file)
        geometry[f"v{number}"] = fit((64, 32), (0, 0, 64, 32), False, (64, 32), 0.5)
        fold = "validation" if number < 10 else "test"
        known = {"fold": fold, "mask": "", "bac_view": pd.NA, "burden_mm2": float(number), "length_mm": float(number)}
        about = {"view_id": f"v{number}", "woman": f"w{number}", "exam": "e", "side": "L", "view": "CC"}
        rows.append({**about, **known, "file": file, "age_years": 60, "acquired": "20200101", "absent_breast": "R"})
    return write_run(folder, 1, PROTOCOL), pd.DataFrame(rows), geometry


def test_the_maps_of_a_run_are_made_in_parts_and_give_what_a_new_exam_would_get(study, tmp_path, monkeypatch):
    run, views, geometry = study
    monkeypatch.setattr(burden_stage, "VIEWS_AT_ONCE", 5)
    chosen, truth = burden_views(views, views.iloc[:0], geometry, unsealed=True)
    assert measure_runs([run], PROTOCOL, chosen, geometry, truth, tmp_path, "cpu") == {}
    place = run.key.folder(tmp_path / "heatmaps")
    atlas = read_atlas(place)
    assert atlas.view_ids == tuple(f"v{number}" for number in range(12))
    source = source_of(run, atlas, PROTOCOL)
    assert source.score("v3") == pytest.approx(1 / (1 + np.exp(-atlas.logits[3])))
    tables = write_burden(tmp_path / "results", PROTOCOL, chosen)
    calibration = load_calibration(tmp_path / "results", source.name)
    row = tables.views.set_index("view_id").loc["v11"]
    file = views.set_index("view_id").loc["v11", "file"]
    again = burden_of(atlas["v11"], read_prepared(file), geometry["v11"], calibration, source.score("v11"))
    assert (again.area, again.length, again.pm) == pytest.approx((row["area"], row["length"], row["pm"]))
    assert repr(tables) == f"BurdenTables(12 rows of 12 views; {source.name})"


def test_a_run_that_cannot_be_calibrated_is_told_of_and_the_others_go_on(study, tmp_path, monkeypatch, capsys):
    run, views, geometry = study
    other = type(run)(run.folder, {**run.identity, "seed": 2}, run.information)

    def maps(run, *arguments):
        if run.key.seed == 2:
            raise TramtrackError("the maps of seed 2 cannot be made")
        return make_heatmaps(run, *arguments)

    monkeypatch.setattr(burden_stage, "make_heatmaps", maps)
    chosen, truth = burden_views(views, views.iloc[:0], geometry, unsealed=True)
    failed = measure_runs([other, run], PROTOCOL, chosen, geometry, truth, tmp_path, "cpu")
    assert failed == {"mobilenet/last-conv/seed-2": "the maps of seed 2 cannot be made"}
    assert "the other networks go on" in capsys.readouterr().err
    tables = write_burden(tmp_path / "results", PROTOCOL, chosen, failed)
    assert list(tables.views["source"].unique()) == ["mobilenet/last-conv/seed-1"] and tables.unmeasured == failed


def test_without_any_truth_there_is_no_burden_and_it_says_what_to_give(study, tmp_path):
    run, views, geometry = study
    bare = views.drop(columns=["burden_mm2", "length_mm"])
    chosen, truth = burden_views(bare, bare.iloc[:0], geometry, unsealed=True)
    failed = measure_runs([run], PROTOCOL, chosen, geometry, truth, tmp_path, "cpu")
    with pytest.raises(TramtrackError, match=r"no burden\. .*0 validation views with a known area.*--findings"):
        write_burden(tmp_path / "results", PROTOCOL, chosen, failed)


def test_other_exams_are_prepared_measured_and_never_fitted_on(study, tmp_path, capsys):
    run, views, geometry = study
    picture = np.zeros((400, 300), dtype=np.uint16)
    rows, columns = np.mgrid[:400, :300]
    picture[(rows - 200) ** 2 / 180**2 + columns**2 / 200**2 < 1] = 30000
    Image.fromarray(picture).save(tmp_path / "original.png")
    original = {"file": str(tmp_path / "original.png"), "sha256": file_sha256(tmp_path / "original.png"), "spacing_mm": 0.1}
    earlier = views.iloc[[3]].assign(view_id="before", exam="d", acquired="20150101", burden_mm2=500.0, **original)
    others, placed = prepare_others(earlier, tmp_path / "prepared", PROTOCOL.prepare)
    assert placed["before"].rows == 64 and others["file"].iloc[0] == tmp_path / "prepared" / "before.png"
    chosen, truth = burden_views(views, others, {**geometry, **placed}, unsealed=True)
    measure_runs([run], PROTOCOL, chosen, {**geometry, **placed}, truth, tmp_path, "cpu")
    mean = PROTOCOL.burden.model_copy(update={"woman": "mean"})  # each exam has one view, which is no sum over a woman
    tables = write_burden(tmp_path / "results", PROTOCOL.model_copy(update={"burden": mean}), chosen)
    row = tables.views.set_index("view_id").loc["before"]
    assert (row["analysed"], row["true_area"], row["calibrated"]) == ("no", 500, "cross-fitted") and row["area"] >= 0
    assert tables.agreement.loc[tables.agreement["fold"] == "validation", "n"].max() == 10
    alone = tmp_path / "alone"
    plain, known = burden_views(views, views.iloc[:0], geometry, unsealed=True)
    measure_runs([run], PROTOCOL, plain, geometry, known, alone, "cpu")
    name = "mobilenet/last-conv/seed-1"
    assert load_calibration(alone / "results", name) == load_calibration(tmp_path / "results", name)
    women = tables.women.set_index(["woman", "exam"])
    assert women.loc[("w3", "e"), "prior_area"] == women.loc[("w3", "d"), "area"]
    broken, nothing = prepare_others(earlier.assign(sha256="0"), tmp_path / "broken", PROTOCOL.prepare)
    assert broken.empty and nothing == {} and "goes without their other exams" in capsys.readouterr().err
