"""Why a network won: planted causes are found, what cannot be told is said, and nothing is compared that was not run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tramtrack.evaluation.contrasts import Share
from tramtrack.judgement.contest import Contender
from tramtrack.judgement.factors import factor_table, verdict_of
from tramtrack.network.registry import NETWORKS
from tramtrack.protocol import Evaluation, Factors, Protocol

PROTOCOL = Protocol(evaluation=Evaluation(resamples=500), factors=Factors.from_texts(["policy=equal-slice", "stride=16"]))
TWO = {name: NETWORKS[name] for name in ("vgg16", "mobilenetv2")}


def contender(name: str, strength: float, women: int = 150) -> Contender:
    common = np.random.default_rng(9130).normal(size=women)
    own = np.random.default_rng([9131, len(name)]).normal(size=women)
    labels = np.arange(women) % 3 == 0
    score = 1 / (1 + np.exp(-(strength * labels + common + 0.3 * own - 1)))
    bac = {f"bac_{unit}": labels.astype(int) for unit in ("view", "breast", "woman")}
    names = [f"w{woman:03}" for woman in range(women)]
    table = pd.DataFrame({"view_id": names, "woman": names, "side": "L", "view": "CC", "fold": "test", "score": score, **bac})
    return Contender(name, 0, table, dict.fromkeys(("view", "breast", "woman"), 0.5))


def table_of(strengths: dict[str, float], left_out: dict[str, str] | None = None) -> pd.DataFrame:
    made = [contender(name, strength) for name, strength in strengths.items()]
    return factor_table(made, PROTOCOL, TWO, "maximum", "test", left_out or {})


@pytest.fixture(scope="module")
def planted() -> pd.DataFrame:
    """VGG16 is ahead under last-conv because more of it is trained; the stride of MobileNetV2 does nothing."""
    return table_of(
        {
            "vgg16/last-conv": 3.0,
            "vgg16/equal-slice": 0.9,
            "mobilenetv2/last-conv": 0.8,
            "mobilenetv2/last-conv+stride-16": 0.8,
            "mobilenetv2/equal-slice": 0.8,
            "mobilenetv2/equal-slice+stride-16": 0.8,
        }
    )


def row(table: pd.DataFrame, kind: str, network: str, setting: str, over: int = 1) -> dict:
    chosen = table.query("kind == @kind and network_a == @network and setting == @setting and averaged_over == @over")
    assert len(chosen) == 1, (kind, network, setting)
    return chosen.iloc[0].to_dict()


def test_a_gap_that_a_confound_made_shrinks_without_it(planted):
    gone = row(planted, "between", "vgg16", "policy equal-slice")
    assert gone["verdict"] == "it shrinks, perhaps to nothing"
    assert gone["share_low"] < gone["share"] < gone["share_high"] < 1
    assert gone["change_low"] > 0 and gone["change"] == pytest.approx(gone["gap"] - gone["difference"])
    assert "of the gap is left" in gone["sentence"]
    assert row(planted, "within", "vgg16", "policy equal-slice")["verdict"] == "lowers the AUC"


def test_a_gap_that_the_confound_did_not_make_stays(planted):
    stays = row(planted, "between", "vgg16", "stride 16")
    assert stays["share_low"] > 0.5 and stays["verdict"] == "some is left, perhaps all"
    assert stays["variant_a"] == "last-conv" and stays["variant_b"] == "last-conv+stride-16"
    assert row(planted, "within", "mobilenetv2", "stride 16")["verdict"] == "unresolved"


def test_what_changes_nothing_is_said_and_not_tested(planted):
    same = row(planted, "within", "vgg16", "stride 16")
    assert same["verdict"] == "changes nothing" and np.isnan(same["difference"])
    assert "it is at stride 16 as it is" in same["reason"]
    assert row(planted, "within", "mobilenetv2", "stride 16", 2)["averaged_over"] == 2
    assert planted.query("kind == 'within' and network_a == 'vgg16' and averaged_over > 1").empty
    assert set(planted["target"]) == {"these trained models"}


def test_without_a_gap_the_data_cannot_say_what_part_is_left():
    names = ("last-conv", "equal-slice", "last-conv+stride-16", "equal-slice+stride-16")
    table = table_of({f"vgg16/{name}": 0.8 for name in names[:2]} | {f"mobilenetv2/{name}": 0.85 for name in names})
    found = row(table, "between", "vgg16", "policy equal-slice")
    assert found["verdict"] == "the data cannot say" and "not told from 0" in found["reason"]
    assert np.isnan(found["share"])


def test_a_variant_without_a_run_cannot_be_tested_and_the_reason_is_there():
    table = table_of(
        {"vgg16/last-conv": 2.0, "mobilenetv2/last-conv": 0.5}, {"vgg16/equal-slice": "the loss diverged. Try less"}
    )
    found = row(table, "between", "vgg16", "policy equal-slice")
    assert found["verdict"] == "cannot be tested" and "the loss diverged" in found["reason"]
    assert row(table, "within", "mobilenetv2", "stride 16")["reason"].endswith("it has no finished run")


def test_nothing_is_crossed_nothing_is_said():
    plain = Protocol(evaluation=Evaluation(resamples=200))
    assert factor_table([contender("vgg16/last-conv", 1.0)], plain, TWO, "maximum", "test", {}).empty


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.1, 3.0, "it grows"),
        (-2.0, -0.1, "it is reversed"),
        (0.2, 0.8, "a part is left"),
        (0.2, 1.5, "some is left, perhaps all"),
        (-0.3, 0.7, "it shrinks, perhaps to nothing"),
        (-0.3, 1.2, "the data cannot say"),
    ],
)
def test_the_interval_of_the_share_decides_what_is_said(low, high, verdict):
    assert verdict_of(Share((low + high) / 2, low, high, 1)) == verdict
