"""A network of timm beside one of the eleven, from DICOM to the report. Runs in an environment with timm."""

from __future__ import annotations

import importlib.util
import json
import shutil

import pandas as pd
import pytest

from tramtrack.study import Study

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed here"),
]
TINY = "timm:test_convnext"


def test_a_challenger_stands_in_the_same_tables(ingested, tiny_protocol, command, tmp_path):
    study = tmp_path / "study"
    shutil.copytree(ingested, study)
    done = command("run", study, "--protocol", tiny_protocol, "--networks", f"{TINY},mobilenetv2", "--weights", "random")
    assert done.returncode == 0, done.stderr
    assert [run.key.network for run in Study(study).runs()] == ["mobilenetv2", TINY]
    resources = pd.read_csv(study / "results" / "resources.csv").set_index("network")
    assert resources.loc[TINY, "trained_in_base"] == 3200 and pd.isna(resources.loc[TINY, "depth"])
    assert resources.loc["mobilenetv2", "depth"] == 105
    shown = pd.read_csv(study / "heatmaps" / "views.csv").groupby("network").size()
    assert shown[TINY] == shown["mobilenetv2"] > 0
    assert list((study / "heatmaps" / "timm-test_convnext").rglob("*.npz"))
    report = (study / "report" / "index.html").read_text()
    assert "test_convnext (timm)" in report and "MobileNetV2" in report
    information = json.loads((study / "runs/timm-test_convnext/last-conv+random-weights/seed-0/run.json").read_text())[
        "information"
    ]
    assert information["activations"] == "kept" and information["versions"]["timm"]
    refused = command("run", study, "--networks", "timm:test_vit", "--weights", "random")
    assert refused.returncode == 2 and "expected a map" in refused.stderr
