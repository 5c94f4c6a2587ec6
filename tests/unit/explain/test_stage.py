"""The heat maps of a study: runs at stride 16 are measured under their own protocol, and shown nowhere."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tramtrack.commands.maps import explain
from tramtrack.errors import UsageError
from tramtrack.explain.stage import explain_runs
from tramtrack.imaging.geometry import fit
from tramtrack.judgement import results
from tramtrack.protocol import Evaluation, Explain, Factors, Prepare, Protocol, Transfer
from tramtrack.study import Study
from tramtrack.training.record import write_predictions
from tramtrack.training.variants import variants

ROWS, COLUMNS = 64, 64
PROTOCOL = Protocol(
    prepare=Prepare(height=ROWS, width=COLUMNS),
    transfer=Transfer(widths=(8, 4)),
    evaluation=Evaluation(resamples=200),
    factors=Factors(stride=(16,), batchnorm=("adapt",)),
)
VARIANTS = {variant.name(): variant.protocol for variant in variants(PROTOCOL)}


@pytest.fixture(scope="module")
def study(tmp_path_factory, write_run):
    """Views with masks, and a MobileNet in each variant of the protocol, scored on the test fold."""
    folder = tmp_path_factory.mktemp("stage")
    rng, rows, geometry = np.random.default_rng(9175), [], {}
    for number in range(4):
        name, fold = f"v{number}", "validation" if number == 3 else "test"
        Image.fromarray(rng.integers(9000, 60000, (ROWS, COLUMNS)).astype(np.uint16)).save(folder / f"{name}.png")
        mask = np.zeros((ROWS, COLUMNS), dtype=np.uint8)
        mask[20:30, 10 + 10 * number : 14 + 10 * number] = 255
        Image.fromarray(mask).save(folder / f"{name}-mask.png")
        geometry[name] = fit((ROWS, COLUMNS), (0, 0, ROWS, COLUMNS), False, (ROWS, COLUMNS), 0.5)
        about = {"exam": "e", "side": "L", "view": "CC", "bac_view": 1, "bac_breast": 1, "bac_woman": 1, "label": 1.0}
        files = {"file": folder / f"{name}.png", "mask": str(folder / f"{name}-mask.png")}
        rows.append({"view_id": name, "woman": f"w{number}", "fold": fold, **files, **about})
    views, runs = pd.DataFrame(rows), {}
    test = views[views["fold"] == "test"].reset_index(drop=True)
    points = []
    for number, (name, protocol) in enumerate(VARIANTS.items()):
        made = write_run(folder / name, number, protocol)
        runs[name] = dataclasses.replace(made, identity={**made.identity, "variant": name, "seed": 0})
        write_predictions(results.test_file(folder / "results", runs[name]), test, np.zeros(3))
        points.append({"network": "mobilenet", "variant": name, "seed": 0, "unit": "view", "threshold": 0.4})
    pd.DataFrame(points).to_csv(folder / "results" / "operating_points.csv", index=False)
    return folder, runs, views, geometry


def test_runs_at_stride_16_are_measured_beside_and_shown_nowhere(study):
    folder, runs, views, geometry = study
    own, finer = (runs["last-conv"], runs["last-conv+stride-16"])
    at_16 = [(finer, VARIANTS["last-conv+stride-16"])]
    explain_runs([own], PROTOCOL, views, geometry, folder, "cpu", at_16=at_16)
    measured = pd.read_csv(folder / "results" / "localisation_views.csv").dropna(subset=["network"])
    by_kind = dict(list(measured.groupby("kind")))
    assert set(by_kind) == {"native", "stride-16"} and set(measured["map"]) == {"mobilenet"}
    assert list(by_kind["native"]["stride"].unique()) == [32] and list(by_kind["stride-16"]["stride"].unique()) == [16]
    assert list(by_kind["stride-16"]["variant"].unique()) == ["last-conv+stride-16"] and len(by_kind["stride-16"]) == 3
    with np.load(finer.key.folder(folder / "heatmaps") / "maps.npz") as kept:
        assert kept["map"].shape[1:] == (4, 4)  # 16 pixels a cell; native ones have 32
    assert set(pd.read_csv(folder / "heatmaps" / "views.csv")["variant"]) == {"last-conv"}
    assert not list(finer.key.folder(folder / "heatmaps").glob("*.png"))


def test_a_study_gives_those_runs_that_differ_by_the_stride_alone(study, monkeypatch):
    folder, runs, views, geometry = study
    found = []
    monkeypatch.setattr(Study, "runs", lambda self: list(runs.values()))
    monkeypatch.setattr(
        Study, "last_evaluation", lambda self: type("Found", (), {"runs": [results.name_of(run) for run in runs.values()]})
    )
    monkeypatch.setattr(Study, "views", lambda self: views)
    monkeypatch.setattr("tramtrack.study_maps.load_geometry", lambda folder: geometry)
    monkeypatch.setattr("tramtrack.explain.stage.explain_runs", lambda *arguments: found.append(arguments))
    Study(folder, PROTOCOL).explain()
    ((chosen, *_, at_16),) = found
    assert [run.key.variant for run in chosen] == ["last-conv"]
    assert [(run.key.variant, its.transfer.stride) for run, its in at_16] == [("last-conv+stride-16", 16)]


def test_a_network_without_the_layer_is_told_of_and_the_others_go_on(study, write_run, tmp_path, capsys):
    _, runs, views, geometry = study
    made = write_run(tmp_path / "run", 0, PROTOCOL, network="mobilenetv2")
    pair = [made, runs["last-conv"]]
    test = views[views["fold"] == "test"].reset_index(drop=True)
    for run in pair:
        write_predictions(results.test_file(tmp_path / "results", run), test, np.zeros(3))
    points = [{**vars(run.key), "unit": "view", "threshold": 0.4} for run in pair]
    pd.DataFrame(points).to_csv(tmp_path / "results" / "operating_points.csv", index=False)
    only = PROTOCOL.model_copy(update={"explain": Explain(layer="conv_pw_13")})
    folder = explain_runs(pair, only, views, geometry, tmp_path, "cpu")
    said = " ".join(capsys.readouterr().err.split())
    assert "MobileNetV2: layer conv_pw_13: expected cam" in said and "; the other networks go on" in said
    shown = pd.read_csv(folder / "views.csv")
    assert list(shown["network"].unique()) == ["mobilenet"] and runs["last-conv"].key.folder(folder).exists()
    assert set(pd.read_csv(tmp_path / "results" / "localisation_views.csv")["network"].dropna()) == {"mobilenet"}
    with pytest.raises(UsageError, match=r"no network can have a heat map\. MobileNetV2: layer conv_pw_13"):
        explain_runs(pair[:1], only, views, geometry, tmp_path, "cpu")


def test_a_study_without_a_heat_map_has_its_report_all_the_same(tmp_path, monkeypatch):
    done = []

    def refuse(self):
        raise UsageError("no network can have a heat map")

    monkeypatch.setattr("tramtrack.study_runs.train_all", lambda *arguments: {})
    monkeypatch.setattr(Study, "evaluate", lambda self, names, unseal: done.append("evaluate"))
    monkeypatch.setattr(Study, "report", lambda self: done.append("report"))
    monkeypatch.setattr(Study, "explain", refuse)
    with pytest.raises(UsageError, match="no network can have a heat map"):
        Study(tmp_path, PROTOCOL).run(["mobilenet"])
    assert done == ["evaluate", "report"]


@pytest.mark.parametrize("sealed", [True, False])
def test_explain_says_what_was_made(study, tmp_path, monkeypatch, capsys, sealed):
    _, runs, views, geometry = study
    run = runs["last-conv"]
    test = views[views["fold"] == "test"].reset_index(drop=True)
    if not sealed:
        write_predictions(results.test_file(tmp_path / "results", run), test, np.zeros(3))
    (tmp_path / "results").mkdir(exist_ok=True)
    points = [{**vars(run.key), "unit": "view", "threshold": 0.4}]
    pd.DataFrame(points).to_csv(tmp_path / "results" / "operating_points.csv", index=False)
    given = SimpleNamespace(
        explain=lambda: explain_runs([run], PROTOCOL, views, geometry, tmp_path, "cpu"),
        last_evaluation=lambda: SimpleNamespace(unsealed=not sealed),
    )
    monkeypatch.setattr("tramtrack.commands.maps.open_study", lambda *arguments, **options: given)
    explain(tmp_path)
    said = " ".join(capsys.readouterr().out.split())
    assert ("no view is shown. Hits, misses and false alarms are of the test fold, which is sealed" in said) == sealed
    assert ("heat maps of 3 views are in" in said) != sealed
    explain(tmp_path, as_json=True)
    assert json.loads(capsys.readouterr().out)["views"] == (0 if sealed else 3)
    assert bool(list((tmp_path / "heatmaps").rglob("*.npz"))) != sealed
