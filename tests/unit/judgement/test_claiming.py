"""Sentences answered from an evaluation's tables: sealed stays sealed, controls are not ranked, the answer is the table's."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pandas as pd
import pytest

from tramtrack import sealing
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.judgement.claiming import answer_claim, read_contenders


@pytest.fixture(scope="module")
def fabricated(tmp_path_factory):
    spec = importlib.util.spec_from_file_location("study_for_claims", Path(__file__).parents[1] / "report" / "study_folder.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    sealed = module.fabricate(tmp_path_factory.mktemp("sealed"), unseal=False)
    opened = module.fabricate(tmp_path_factory.mktemp("opened"))
    return sealed, opened


def ask(study, text):
    return answer_claim(text, study.protocol, study.folder / "results")


def test_a_sealed_study_answers_on_validation_and_refuses_test(fabricated):
    sealed, _ = fabricated
    before = sorted(path for path in sealed.folder.rglob("*"))
    with pytest.raises(TramtrackError, match=r"the test fold is sealed, and a claim does not open it"):
        ask(sealed, "vgg16 > mobilenetv2 on auc_roc in test")
    assert ask(sealed, "vgg16 > mobilenetv2 on auc_roc in validation").fold == "validation"
    assert sorted(path for path in sealed.folder.rglob("*")) == before
    assert sealing.looks(sealed.folder / "results" / "unsealed.jsonl") == []


def test_test_scores_that_lie_about_do_not_unseal(fabricated, tmp_path):
    sealed, opened = fabricated
    results = sealed.folder / "results"
    (results / "test").mkdir(exist_ok=True)
    (results / "test" / "predictions.csv").write_bytes((opened.folder / "results" / "predictions.csv").read_bytes())
    with pytest.raises(TramtrackError, match="sealed"):
        ask(sealed, "vgg16 > mobilenetv2")
    (results / "test" / "predictions.csv").unlink()
    (results / "test").rmdir()


def test_the_answer_is_the_comparison_in_the_table(fabricated):
    _, opened = fabricated
    table = pd.read_csv(opened.folder / "results" / "comparisons.csv")
    for metric in ("auc_roc", "f1", "ppv"):
        made = ask(opened, f"vgg16 > mobilenetv2 on {metric} in test by woman")
        row = table[(table["metric"] == metric) & (table["unit"] == "woman")].iloc[0]
        if pd.isna(row["difference"]):
            assert made.verdict == "cannot be tested"
        else:
            assert abs(made.difference) == pytest.approx(abs(row["difference"]))
            assert made.p_holm == pytest.approx(row["p_holm"])
    assert made.family == "secondary" and ask(opened, "vgg16 > mobilenetv2").family == "primary"
    assert ask(opened, "vgg16 > mobilenetv2").verdict == "cannot be tested"  # three women with BAC


def test_controls_and_unknown_networks_are_named(fabricated):
    _, opened = fabricated
    with pytest.raises(TramtrackError, match="xception has random weights only and stands in no ranking"):
        ask(opened, "vgg16 > xception on f1")
    with pytest.raises(UsageError, match=r"vgg19 is not among the evaluated networks; did you mean vgg16\?"):
        ask(opened, "vgg16 > vgg19 on f1")
    contenders, controls = read_contenders(opened.folder / "results")
    assert [one.name for one in contenders] == ["vgg16", "mobilenetv2"] and controls == {"xception"}
