"""The comparison of evaluated networks: variants apart, seeds together, common women, everything but one secondary."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tramtrack.evaluation.scores import COUNT_METRICS
from tramtrack.judgement import contest
from tramtrack.judgement.contest import Contender, aligned_units, hold_contest, put_question
from tramtrack.protocol import Evaluation

SETTINGS = Evaluation(resamples=200)
VIEWS = [(side, view) for side in "LR" for view in ("CC", "MLO")]


def contender(name: str, strength: float, seed: int = 0, women: int = 60, threshold: float | None = 0.5) -> Contender:
    generator = np.random.default_rng([seed, len(name)])
    rows = []
    for woman in range(women):
        bac = int(woman % 3 == 0)
        for side, view in VIEWS:
            score = 1 / (1 + np.exp(-(strength * bac + generator.normal() - 1)))
            labels = {"bac_view": bac, "bac_breast": bac, "bac_woman": bac}
            where = {"view_id": f"{woman:03}{side}{view}", "woman": f"w{woman:03}", "side": side, "view": view}
            rows.append({**where, **labels, "fold": "test", "score": score})
    return Contender(name, seed, pd.DataFrame(rows), dict.fromkeys(("view", "breast", "woman"), threshold))


def costs(*names: str) -> pd.DataFrame:
    columns = ("depth", "weight_layers", "parameters", "multiply_adds", "seconds_an_epoch_uncached", "seconds_an_epoch_cached")
    rows = [{"contestant": name, **dict.fromkeys(columns, float(number + 1))} for number, name in enumerate(names)]
    table = pd.DataFrame(rows)
    return table.assign(
        seconds_an_epoch_cached_least=table["seconds_an_epoch_cached"] * 0.9,
        seconds_an_epoch_cached_most=table["seconds_an_epoch_cached"] * 1.2,
    )


@pytest.fixture(scope="module")
def held():
    three = [contender("vgg16/full", 3.0), contender("vgg16/last-conv", 0.6), contender("xception", 0.5)]
    return hold_contest(three, "mean", SETTINGS, "test", {"vgg19": "no weights"}, costs(*[one.name for one in three]))


def test_variants_of_one_network_are_compared_with_each_other(held):
    primary = held.comparisons.query("family == 'primary'")
    assert list(zip(primary["network_a"], primary["network_b"], strict=True)) == [
        ("vgg16/full", "vgg16/last-conv"),
        ("vgg16/full", "xception"),
        ("vgg16/last-conv", "xception"),
    ]
    assert primary["p_delong"].notna().all()
    assert held.claims["sentence"][0].startswith("VGG16 (full) is above VGG16 (last-conv) on AUC-ROC by woman in test")
    assert held.claims["verdict"].iloc[-1] == "cannot be tested" and held.claims["network_a"].iloc[-1] == "vgg19"


def test_everything_but_the_auc_by_woman_is_secondary(held):
    table = held.comparisons
    assert set(table.query("family == 'primary'")[["metric", "unit"]].itertuples(index=False, name=None)) == {
        ("auc_roc", "woman")
    }
    secondary = set(table.query("family == 'secondary'")["metric"])
    assert set(COUNT_METRICS) < secondary and "auc_roc" in secondary and "brier" not in secondary


def test_standings_and_costs_name_every_contestant(held):
    assert held.standings["best"].sum() == pytest.approx(1)
    assert held.standings["contestant"].tolist() == ["vgg16/full", "vgg16/last-conv", "xception"]
    front = held.cost_front.query("cost == 'seconds_an_epoch_cached'").set_index("contestant")
    assert front.loc["vgg16/full", "on_front"] == 1.0
    assert (front["least"] < front["amount"]).all() and (front["amount"] < front["most"]).all()
    assert (front["low"] < front["value"]).all() and (front["value"] <= front["high"]).all()
    assert held.cost_correlations["rho"].notna().any()


def test_mcnemar_stands_for_women_and_views_with_holm(held):
    table = held.mcnemar
    assert set(zip(table["unit"], table["rate"], strict=True)) == {
        (unit, rate) for unit in ("woman", "view") for rate in ("sensitivity", "specificity")
    }
    assert (table["p"] <= table["p_holm"]).all()
    woman = table.query("unit == 'woman' and rate == 'sensitivity'").iloc[0]
    assert woman["units"] == 20 and woman["difference"] == (woman["only_a"] - woman["only_b"]) / 20


def test_missing_views_drop_their_woman_for_all_and_are_counted():
    whole, holed = contender("vgg16", 2.0), contender("xception", 1.0)
    fewer = Contender("xception", 0, holed.predictions.iloc[2:], holed.thresholds)
    units = aligned_units([whole, fewer], "test", "view", "mean")
    assert len(units[0]) == len(units[1]) == 240 and np.isnan(units[1].scores).sum() == 2
    question, _ = put_question([whole, fewer], "auc_roc", "woman", "mean", SETTINGS, "test")
    assert question.dropped_women == 1
    contest = hold_contest([whole, fewer], "mean", SETTINGS, "test", {}, costs("vgg16", "xception"))
    assert "1 woman left out, for whom a network has no score" in contest.claims["sentence"][0]
    sensitivity = contest.mcnemar.query("rate == 'sensitivity'").set_index("unit")["units"]
    assert sensitivity["woman"] == 19 and sensitivity["view"] == 76, "her other views go with her"


def test_order_of_rows_changes_nothing():
    first, second = contender("vgg16", 2.0), contender("xception", 1.0)
    moved = Contender("xception", 0, second.predictions.sample(frac=1, random_state=1), second.thresholds)
    one = aligned_units([first, second], "test", "view", "mean")[1]
    assert one.scores.tolist() == aligned_units([first, moved], "test", "view", "mean")[1].scores.tolist()


def test_a_network_without_a_threshold_cannot_be_tested_on_calls_only():
    none = contender("xception", 1.0, threshold=None)
    contest = hold_contest([contender("vgg16", 2.0), none], "mean", SETTINGS, "test", {}, costs("vgg16", "xception"))
    f1 = contest.comparisons.query("metric == 'f1'").iloc[0]
    assert f1["reason"] == "xception: no threshold by woman on validation"
    assert contest.comparisons.query("metric == 'auc_roc' and unit == 'woman'")["difference"].notna().all()
    assert set(contest.mcnemar["reason"]) == {"no threshold by woman on validation", "no threshold by view on validation"}


def test_seeds_stand_together():
    seeds = [contender("vgg16", 1.5, seed) for seed in range(5)]
    contest = hold_contest([*seeds, contender("xception", 1.0)], "mean", SETTINGS, "test", {}, costs("vgg16", "xception"))
    row = contest.standings.set_index("contestant").loc["vgg16"]
    assert row["seeds"] == 5 and row["seed_sd"] > 0 and row["sampling_sd"] > 0
    assert len(contest.comparisons.query("family == 'primary'")) == 1


def test_nobody_to_compare():
    contest = hold_contest([], "mean", SETTINGS, "test", {"vgg16": "random weights"}, costs("vgg16"))
    assert contest.comparisons.empty and contest.mcnemar.empty and contest.standings.empty and contest.groups == []
    assert contest.verdict.startswith("Nothing is compared on AUC-ROC by woman in test")


def test_more_networks_than_pairs_can_be_shown_keep_the_primary_comparison(monkeypatch):
    monkeypatch.setattr(contest, "MOST_NETWORKS", 2)
    three = [contender(name, 1.0) for name in ("vgg16", "xception", "mobilenet")]
    held = hold_contest(three, "mean", SETTINGS, "test", {}, costs(*[one.name for one in three]))
    assert len(held.comparisons.query("family == 'primary'")) == 3 and len(held.claims) == 3
    rest = held.comparisons.query("family == 'secondary'")
    assert (
        rest["reason"].str.contains("3 networks make 3 pairs; secondary comparisons end at 2 networks").all() and len(rest) > 5
    )
    assert held.mcnemar.empty


def test_networks_without_a_common_woman_are_not_compared_and_say_so():
    mine, theirs = contender("vgg16", 1.0), contender("xception", 1.0)
    first = mine.predictions["woman"] < "w030"
    apart = [replace(mine, predictions=mine.predictions[first]), replace(theirs, predictions=theirs.predictions[~first])]
    held = hold_contest(apart, "mean", SETTINGS, "test", {}, costs("vgg16", "xception"))
    assert "VGG16: there is no woman whom every network has scored" in held.verdict
    assert set(held.claims["verdict"]) == {"cannot be tested"} and held.standings.empty
