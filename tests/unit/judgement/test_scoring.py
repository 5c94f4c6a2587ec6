"""Runs to tables: what validation chooses, and that each table says what the arrays say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tramtrack.evaluation.resampling import estimate
from tramtrack.judgement.contest import contestants, readable
from tramtrack.judgement.results import best_on_validation
from tramtrack.judgement.scoring import COLUMNS, choose_all, resolve_aggregation, score_runs, units_of
from tramtrack.protocol import Evaluation
from tramtrack.training.record import PRETRAINED, RANDOM_WEIGHTS, Run, write_predictions

VIEWS = [(side, view) for side in "LR" for view in ("CC", "MLO")]
SETTINGS = Evaluation(resamples=200)


def make_run(folder: Path, network="vgg16", variant="last-conv", seed=0, weights=PRETRAINED, scatter=1.0, single=0.0) -> Run:
    """60 validation women, 20 with BAC, four views each; ``single``: how much one view alone stands out."""
    generator = np.random.default_rng(seed + len(network))
    rows, logit = [], []
    for woman in range(60):
        bac = int(woman % 3 == 0)
        outstanding = generator.integers(4)
        for number, (side, view) in enumerate(VIEWS):
            labels = {"bac_view": bac, "bac_breast": bac, "bac_woman": bac}
            rows.append(
                {"view_id": f"{woman}{side}{view}", "woman": f"w{woman}", "exam": "1", "side": side, "view": view, **labels}
            )
            logit.append(bac * (single if number == outstanding else 1.0 - bool(single)) + scatter * generator.normal())
    place = folder / network / variant / f"seed-{seed}"
    write_predictions(place / "predictions.csv", pd.DataFrame(rows).assign(fold="validation"), np.array(logit))
    return Run(place, {"network": network, "variant": variant, "seed": seed, "weights": weights}, {})


def scored(run: Run, settings=SETTINGS):
    predictions = {run.folder: run.predictions()}
    return score_runs([run], predictions, choose_all([run], "mean", settings), "mean", settings)


def test_the_aggregation_is_the_best_on_validation_and_one_for_all(tmp_path):
    runs = [make_run(tmp_path, "vgg16"), make_run(tmp_path, "xception")]
    chosen, table = resolve_aggregation(runs, SETTINGS)
    expected = {}
    for name in ("maximum", "mean", "noisy-or"):
        units = [units_of(run.predictions(), "validation", "woman", name) for run in runs]
        expected[name] = np.mean([estimate("auc_roc", one.labels, one.scores) for one in units])
    assert chosen == max(expected, key=expected.get)
    assert dict(zip(table["aggregation"], table["auc_roc"], strict=True)) == pytest.approx(expected)
    assert table.set_index("aggregation")["chosen_by"].to_dict() == {
        name: "validation" if name == chosen else "" for name in expected
    }
    assert chosen != "maximum"  # here every view carries a little
    loud = make_run(tmp_path / "loud", "vgg16", single=6.0, scatter=1.6)
    assert resolve_aggregation([loud], SETTINGS)[0] == "maximum"  # and here one view carries all


def test_random_weights_have_no_say_in_the_aggregation(tmp_path):
    real, control = make_run(tmp_path), make_run(tmp_path, "xception", weights=RANDOM_WEIGHTS, single=6.0)
    assert resolve_aggregation([real, control], SETTINGS)[1]["runs"].tolist() == [1, 1, 1]
    fixed, table = resolve_aggregation([real], Evaluation(aggregation="noisy-or"))
    assert fixed == "noisy-or" and table["chosen_by"].tolist() == ["", "", "protocol"]


def test_every_table_has_rows_with_its_columns(tmp_path):
    tables = scored(make_run(tmp_path))
    for name, columns in COLUMNS.items():
        table = tables.table(name)
        assert len(table), name
        assert list(table.columns) == ["network", "variant", "seed", "weights", *columns]


def test_scores_and_rules_agree_where_they_say_the_same(tmp_path):
    tables = scored(make_run(tmp_path))
    scores = tables.table("scores").query("unit == 'woman'").set_index("metric")
    rules = tables.table("rules").query("unit == 'woman' and rule == 'f1'").set_index("metric")
    for metric in ("f1", "sensitivity", "specificity", "ppv", "npv"):
        assert scores.loc[metric, "low"] == rules.loc[metric, "low"]
    fixed = tables.table("rules").query("unit == 'woman' and rule == 'sensitivity' and metric == 'sensitivity'")
    assert fixed["estimate"].iloc[0] >= 0.9
    assert scores.loc["average_precision", "chance"] == pytest.approx(20 / 60)


def test_the_histogram_counts_every_woman_once(tmp_path):
    table = scored(make_run(tmp_path)).table("histogram").query("unit == 'woman'")
    assert (table["positives"].sum(), table["negatives"].sum()) == (20, 40)


def test_decisions_stand_at_both_prevalences(tmp_path):
    table = scored(make_run(tmp_path)).table("decision_curve")
    assert set(table["prevalence"].round(6)) == {round(20 / 60, 6), 0.13}


def test_one_class_on_validation_leaves_reasons_and_no_value(tmp_path):
    run = make_run(tmp_path)
    path = run.folder / "predictions.csv"
    pd.read_csv(path).assign(bac_view=0, bac_breast=0, bac_woman=0).to_csv(path, index=False)
    chosen, table = resolve_aggregation([run], SETTINGS)
    assert chosen == "maximum" and table["reason"].tolist() == ["no positive woman"] * 3
    assert best_on_validation([run], SETTINGS) is None
    tables = scored(run)
    woman = tables.table("scores").query("unit == 'woman'").set_index("metric")["reason"].to_dict()
    assert woman["auc_roc"] == "no positive woman"
    assert woman["f1"] == "no threshold: no positive woman in validation"
    assert woman["brier"] == "no recalibration: no positive woman in validation"
    assert tables.table("calibration")["reason"].str.contains("no recalibration").all()
    assert tables.table("decision_curve").empty


def test_the_best_is_that_of_validation_whatever_the_other_folds_say(tmp_path):
    """In training and test the network that is worse on validation is perfect, and the other is always wrong."""
    good, poor = make_run(tmp_path, "vgg16", scatter=1.0), make_run(tmp_path, "xception", scatter=4.0)
    for run, sign in ((good, -1), (poor, 1)):
        path = run.folder / "predictions.csv"
        table = pd.read_csv(path)
        perfect = table.assign(logit=sign * (2.0 * table["bac_view"] - 1))
        perfect["score"] = 1 / (1 + np.exp(-perfect["logit"]))
        others = [perfect.assign(fold=fold, woman=fold + perfect["woman"]) for fold in ("training", "test")]
        pd.concat([table, *others]).to_csv(path, index=False)
    assert best_on_validation([poor, good], SETTINGS) is good


def test_a_score_that_is_no_number_makes_what_rests_on_it_undefined(tmp_path):
    """Through the files: a logit that came out as NaN stands there as an empty cell."""
    run = make_run(tmp_path)
    table = run.predictions()
    logits = table["logit"].to_numpy().copy()
    logits[5] = np.nan
    write_predictions(run.folder / "predictions.csv", table, logits)
    assert np.isnan(run.predictions()["score"][5])
    scores = scored(run).table("scores")
    assert len(scores) and scores["estimate"].isna().all()
    assert set(scores.query("metric == 'auc_roc'")["reason"]) == {f"scores not finite (1 of {n})" for n in (60, 120, 240)}


def test_a_network_in_several_variants_is_several_contestants():
    runs = [("vgg16", "last-conv", True), ("vgg16", "full", True), ("xception", "last-conv", True), ("xception", "x", False)]
    assert contestants(runs) == {
        ("vgg16", "last-conv"): "vgg16/last-conv",
        ("vgg16", "full"): "vgg16/full",
        ("xception", "last-conv"): "xception",
        ("xception", "x"): "xception",
    }
    assert readable("vgg16/full") == "VGG16 (full)" and readable("xception") == "Xception"
