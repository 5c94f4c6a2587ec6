"""The benchmark of detectability: its AUC is the field's, within each cohort, and too small a cohort never meets the goal."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

import detectability


def views(seed: int, women: int, apart: float = 1.5) -> pd.DataFrame:
    """A test fold of one cohort: every third woman has BAC in all four views, which score higher by ``apart``."""
    rng = np.random.default_rng(seed)
    woman = np.repeat(np.arange(women), 4)
    bac = (woman % 3 == 0).astype(int)
    calcium = np.where(bac, "visible", np.where(woman % 20 == 1, "below-visibility", "none"))
    truth = {name: rng.uniform(1, 50, len(woman)) * bac for name in ("visible_length_mm", "mean_cnr", "calibre_mm")}
    score = np.round(rng.normal(size=len(woman)) + apart * bac + seed % 5, 1)  # cohorts differ in level; some scores tie
    names = {"network": "vgg16", "woman": [f"{seed}-{n}" for n in woman], "seed": seed}
    return pd.DataFrame({**names, "score": score, "bac": bac, "calcium": calcium, "density": "b", **truth})


def test_auc_compares_views_of_one_cohort_alone() -> None:
    tables = [views(seed, 60) for seed in (9401, 9402)]
    table = pd.concat(tables, ignore_index=True)
    positive, negative = (table["bac"] == 1).to_numpy(), (table["calcium"] == "none").to_numpy()
    each = [roc_auc_score(part["bac"], part["score"]) for t in tables for part in [t[t["calcium"] != "below-visibility"]]]
    found = detectability.auc(table, positive, negative, np.ones(len(table)))
    assert found == pytest.approx(np.mean(each))
    twice = detectability.auc(table, positive, negative, np.where(table["seed"] == 9401, 2.0, 1.0))
    assert twice == pytest.approx((2 * each[0] + each[1]) / 3)
    drawn = np.random.default_rng(1).integers(0, 3, len(table)).astype(float)  # a weight is so many copies
    copies = table.loc[np.repeat(table.index, drawn.astype(int))].reset_index(drop=True)
    of_copies = ((copies["bac"] == 1).to_numpy(), (copies["calcium"] == "none").to_numpy(), np.ones(len(copies)))
    assert detectability.auc(table, positive, negative, drawn) == pytest.approx(detectability.auc(copies, *of_copies))


@pytest.mark.parametrize(("women", "apart", "met"), [(84, 1.5, True), (20, 1.5, False), (84, 0.0, False)])
def test_the_goal_is_met_only_on_enough_women(
    women: int, apart: float, met: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(detectability, "RESAMPLES", 5)
    monkeypatch.setattr(detectability, "scored_views", lambda folder, seed, *_: views(seed, women, apart))
    monkeypatch.setattr(sys, "argv", ["detectability", "--networks", "vgg16"])
    detectability.main()
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[-1])["met"] is met
    assert ("too few" in lines[0]) == (women == 20) and "9401, 9402, 9403, 9404, 9405" in lines[0]
    assert [line.split()[0] for line in lines if line.startswith(("visible_length", "mean_cnr", "calibre", "density"))]


def test_each_seed_stands_by_itself(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(detectability, "RESAMPLES", 5)
    tables = [views(seed, 60, apart) for seed, apart in ((9401, 0.5), (9402, 2.0))]
    detectability.report(pd.concat(tables, ignore_index=True), "vgg16")
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("generator seed")]
    known = [table[table["calcium"] != "below-visibility"] for table in tables]
    each = [f"{roc_auc_score(part['bac'], part['score']):.3f}" for part in known]
    assert [(row[2], row[3], row[5]) for row in rows] == [("9401", "80", each[0]), ("9402", "80", each[1])]
