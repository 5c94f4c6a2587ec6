"""``tramtrack segment`` on a synthetic cohort and its masks, from the command line."""

from __future__ import annotations

import json
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tramtrack import sealing
from tramtrack.segmentation.scores import COLUMNS
from tramtrack.study import Study

SETTINGS = """
[segmentation]
channels = [4, 4, 8, 8, 8]
patch = 48
learning_rate = 0.01
epochs = 25
"""


@pytest.fixture(scope="module")
def prepared(ingested: Path, tiny_protocol: Path, command, tmp_path_factory) -> Path:
    """The tiny study with its views prepared; copy it before writing into it."""
    study = tmp_path_factory.mktemp("segment") / "study"
    shutil.copytree(ingested, study)
    protocol = study.parent / "segment.toml"
    protocol.write_text(tiny_protocol.read_text() + SETTINGS)
    done = command("prepare", study, "--protocol", protocol)
    assert done.returncode == 0, done.stderr
    return study


def test_a_study_is_segmented_and_the_test_fold_on_demand(prepared, command, tmp_path):
    pytest.importorskip("monai", reason='the U-Net is MONAI\'s; pip install ".[explain]"')
    study = tmp_path / "study"
    shutil.copytree(prepared, study)
    done = command("segment", study)
    assert done.returncode == 0, done.stderr
    assert "validation" in done.stdout and "Dice" in done.stdout and "test" not in done.stdout.replace(str(study), "")
    assert "U-Net: trains 8,185 weights on" in done.stderr
    done = command("segment", study, "--unseal", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["fold"] for row in rows] == ["validation", "validation", "test", "test"]
    folds = pd.read_csv(study / "cohort" / "folds.csv").set_index("woman")["fold"]
    views = pd.read_csv(study / "cohort" / "views.csv").set_index("view_id")["woman"].map(folds)
    maps = {path.stem: path for path in (study / "segmentation" / "maps").iterdir()}
    assert set(maps) == set(views.index[views.isin(["validation", "test"])])
    with np.load(next(iter(maps.values()))) as content:
        assert content["probability"].shape == (64, 48)
        assert 0 <= content["probability"].min() <= content["probability"].max() <= 1
    status = command("status", study, "--json")
    assert {"stage": "segment", "state": "done", "detail": f"{len(maps)} maps"} in json.loads(status.stdout)
    run = command("run", study, "--networks", "mobilenet", "--weights", "random")
    assert run.returncode == 0, run.stderr
    measured = pd.read_csv(study / "results" / "localisation.csv")
    assert "segmentation" in set(measured["map"]) and len(set(measured["map"])) == 4
    done = command("burden", study, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["unmeasured"] == {}
    sources = {row["source"] for row in found["agreement"]}
    assert sources == {"segmentation", "mobilenet/last-conv+random-weights/seed-0"}
    costs = {(row["fold"], row["of"], row["measure"]) for row in found["cost"]}
    assert costs == set(product(("validation", "test"), ("view", "woman"), ("absolute_error", "rho")))
    assert len(sealing.looks(study / "results" / "unsealed.jsonl")) == 2
    assert command("report", study).returncode == 0
    page = (study / "report" / "index.html").read_text()
    assert "What the maps cost in accuracy" in page and 'id="cost-of-maps"' in page
    assert "U-Net (seed 0, trained on masks)" in page  # the log of looks


def test_masks_that_lie_off_the_breast_leave_nothing_to_measure_and_it_is_said(ingested, command, monkeypatch):
    monkeypatch.setattr(Study, "segment", lambda *_: pd.DataFrame(columns=COLUMNS))
    done = command("segment", ingested)
    assert done.returncode == 0 and "no mask of these views lies on its breast" in done.stdout
