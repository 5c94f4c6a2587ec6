"""Subgroups hold every woman once, and a baseline sees no image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tramtrack.evaluation.resampling import estimate
from tramtrack.evaluation.threshold import Threshold
from tramtrack.judgement.scoring import Chosen
from tramtrack.judgement.subgroups import age_band, false_alarm_table, subgroup_table
from tramtrack.protocol import Evaluation
from tramtrack.training.record import PRETRAINED, Run

SETTINGS = Evaluation(resamples=200)


@pytest.fixture
def study():
    """80 test and 40 training women, two views each; BAC above 62 years, more often at vendor B."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(120):
        age = int(45 + 30 * generator.random())
        bac = int(age + 8 * generator.normal() > 62)
        for view in ("CC", "MLO"):
            rows.append(
                {
                    "view_id": f"{number:03}{view}", "woman": f"w{number:03}", "side": "L", "view": view,
                    "fold": "training" if number % 3 == 0 else "test", "age_years": age if number != 1 else pd.NA,
                    "manufacturer": "B" if bac and number % 4 else "A", "bac_view": bac, "bac_breast": bac, "bac_woman": bac,
                    "score": 1 / (1 + np.exp(-(2 * bac + generator.normal() - 1))),
                }
            )  # fmt: skip
    views = pd.DataFrame(rows).astype({"age_years": "Int64"})  # as a cohort has them
    run = Run(Path("run"), {"network": "vgg16", "variant": "last-conv", "seed": 0, "weights": PRETRAINED}, {})
    return run, views


def table_of(study, views=None) -> pd.DataFrame:
    run, own = study
    return subgroup_table([run], {run.folder: own}, own if views is None else views, "mean", SETTINGS, "test")


def test_each_factor_holds_every_woman_once(study):
    table = table_of(study)
    for factor in ("age", "vendor"):
        part = table[table["factor"] == factor]
        assert part["n"].sum() == 80 and part["group"].is_unique
    assert table[table["factor"] == "age"]["group"].tolist() == ["under 50", "50 to 59", "60 to 69", "70 and over", "not known"]
    assert table[table["factor"] == "projection"]["n"].tolist() == [80, 80]


def test_a_group_is_the_auc_of_its_women(study):
    _, views = study
    table = table_of(study)
    own = views[(views["fold"] == "test") & (views["age_years"] >= 60) & (views["age_years"] < 70)]
    women = own.groupby("woman").agg(score=("score", "mean"), bac=("bac_woman", "first"))
    row = table[table["group"] == "60 to 69"].iloc[0]
    assert row["estimate"] == pytest.approx(estimate("auc_roc", women["bac"].to_numpy(bool), women["score"].to_numpy()))
    assert row["low"] < row["estimate"] < row["high"]


def test_baselines_see_age_and_vendor_only(study):
    run, views = study
    table = table_of(study).set_index("network")
    first = views[views["fold"] == "test"].drop_duplicates("woman").dropna(subset=["age_years"])
    by_age = estimate("auc_roc", first["bac_woman"].to_numpy(bool), first["age_years"].to_numpy())
    assert table.loc["age alone", "estimate"] == pytest.approx(by_age)
    assert table.loc["vendor alone", "estimate"] > 0.6
    blind = views.assign(score=0.5)
    again = subgroup_table([run], {run.folder: blind}, views, "mean", SETTINGS, "test").set_index("network")
    assert again.loc["age alone", "estimate"] == pytest.approx(by_age)


def test_one_class_says_so_and_nothing_known_makes_no_groups(study):
    run, views = study
    old = views.assign(bac_view=1, bac_breast=1, bac_woman=1)
    table = subgroup_table([run], {run.folder: old}, old, "mean", SETTINGS, "test")
    assert set(table["reason"]) == {"no negative woman", "no negative view"}
    bare = views.drop(columns=["age_years", "manufacturer"])
    assert set(table_of(study, bare)["factor"]) == {"all", "projection"}


def test_age_bands_meet_without_a_gap():
    assert [age_band(age) for age in (49.9, 50, 59, 60, 70, 103)] == [
        "under 50", "50 to 59", "50 to 59", "60 to 69", "70 and over", "70 and over",
    ]  # fmt: skip
    assert age_band(float("nan")) == "not known"


def with_findings(views: pd.DataFrame) -> pd.DataFrame:
    """Every positive view has an area; of the negative ones each third shows a ring, and those score high."""
    order = np.arange(len(views))
    return views.assign(
        burden_mm2=np.where(views["bac_view"] == 1, order % 40 + 0.5, 0.0), distractor_ring=((order // 2) % 3 == 1).astype(int)
    )


def test_burden_sets_views_with_so_much_calcium_against_all_without(study):
    _, views = study
    seen = with_findings(views)
    table = table_of(study, seen).query("factor == 'burden'")
    assert table["group"].tolist() == ["up to 10 mm2", "10 to 25 mm2", "above 25 mm2"]
    test = seen[seen["fold"] == "test"]
    assert table["positives"].sum() == (test["bac_view"] == 1).sum()
    assert set(table["n"] - table["positives"]) == {int((test["bac_view"] == 0).sum())} and set(table["unit"]) == {"view"}


def test_false_alarms_are_counted_by_what_distracts(study):
    run, views = study
    seen = with_findings(views)
    own = views.assign(score=np.where((seen["distractor_ring"] == 1) & (seen["bac_view"] == 0), 0.99, views["score"]))
    decided = Chosen({("view", SETTINGS.threshold): Threshold("f1", "view", 0.9, 1.0, 10, 5, 5)}, {})
    table = false_alarm_table([run], {run.folder: own}, {run.folder: decided}, seen, SETTINGS, "test").set_index("distractor")
    rings = own[(seen["distractor_ring"] == 1) & (own["bac_view"] == 0) & (own["fold"] == "test")]
    assert table.loc["ring", "estimate"] == 1.0 and table.loc["ring", "n"] == len(rings)
    assert table.loc["ring", "low"] < 1.0 and table.loc["none", "estimate"] < 0.5
    assert 0 <= table.loc["none", "low"] < table.loc["none", "high"]
    parts = subgroup_table([run], {run.folder: own}, seen, "mean", SETTINGS, "test").query("factor == 'distractor'")
    by_kind = parts.set_index("group")["estimate"]
    assert by_kind["ring"] < by_kind["none"]
    assert false_alarm_table([run], {run.folder: own}, {run.folder: decided}, views, SETTINGS, "test").empty
