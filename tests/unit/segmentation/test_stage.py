"""The stage: what it refuses, what it finds on held-out views, and that the test fold is opened once."""

from __future__ import annotations

import sys

import pandas as pd
import pytest

from tramtrack import sealing
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.segmentation.stage import segment_study


@pytest.mark.parametrize("fold", ("training", "validation"))
def test_a_fold_without_masks_is_refused(views, geometry, protocol, tmp_path, fold):
    pytest.importorskip("monai", reason='the U-Net is MONAI\'s; pip install ".[explain]"')
    views.loc[views["fold"] == fold, "mask"] = ""
    with pytest.raises(TramtrackError, match=f"no {fold} view has a mask that marks BAC; .* column mask"):
        segment_study(views, geometry, protocol, {}, tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_without_monai_the_install_line_is_given(views, geometry, protocol, tmp_path, monkeypatch):
    for name in ("monai", "monai.networks", "monai.networks.nets"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=r'segmentation needs MONAI .*pip install "\.\[explain\]"'):
        segment_study(views, geometry, protocol, {}, tmp_path / "study")


def test_the_test_fold_is_segmented_once_and_what_was_learnt_holds_there(views, geometry, protocol, tmp_path):
    pytest.importorskip("monai", reason='the U-Net is MONAI\'s; pip install ".[explain]"')
    study = tmp_path / "study"
    sealed = segment_study(views, geometry, protocol, {}, study)
    assert set(sealed["fold"]) == {"validation"}
    maps = study / "segmentation" / "maps"
    assert {path.stem for path in maps.iterdir()} == {f"v{number}" for number in range(6, 12)}
    assert sealing.looks(study / "results" / "unsealed.jsonl") == []
    opened = segment_study(views, geometry, protocol, {}, study, unseal=True)
    found = opened.set_index(["fold", "measure"])["estimate"]
    assert found["test", "dice"] > 0.8 and found["test", "average_precision"] > 0.9
    assert opened[opened["fold"] == "validation"].equals(sealed)
    assert len(list(maps.iterdir())) == 12
    look = sealing.looks(study / "results" / "unsealed.jsonl")
    assert len(look) == 1 and look[0]["look"]["runs"][0]["network"] == "U-Net"
    kept = {name: (study / "results" / name).read_bytes() for name in ("segmentation.csv", "segmentation_views.csv")}
    segment_study(views, geometry, protocol, {}, study, unseal=True)
    segment_study(views, geometry, protocol, {}, study)  # once opened with this network, the test rows stay
    assert sealing.looks(study / "results" / "unsealed.jsonl") == look
    for name, content in kept.items():
        assert (study / "results" / name).read_bytes() == content
    table = pd.read_csv(study / "results" / "segmentation_views.csv")
    assert table["fold"].value_counts().to_dict() == {"validation": 6, "test": 6}


def test_a_run_whose_weights_were_changed_takes_no_look(views, geometry, protocol, tmp_path):
    pytest.importorskip("monai", reason='the U-Net is MONAI\'s; pip install ".[explain]"')
    study = tmp_path / "study"
    short = protocol.model_copy(update={"segmentation": protocol.segmentation.model_copy(update={"epochs": 1})})
    segment_study(views, geometry, short, {}, study)
    path = study / "segmentation" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(TramtrackError, match="not the weights that this run wrote"):
        segment_study(views, geometry, short, {}, study, unseal=True)
    assert sealing.looks(study / "results" / "unsealed.jsonl") == []
