"""Heat maps held against the segmentation: which units count, what is said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tramtrack.judgement.burden import VIEW_COLUMNS, by_woman
from tramtrack.judgement.burden_cost import COLUMNS, cost_table, sentence
from tramtrack.protocol import Burden, Evaluation

SETTINGS = Evaluation(resamples=400)


def burden_of(women=24, noise=None, fold="test"):
    """burden.csv of two views each of ``women``, under the segmentation and two networks; half the women have none."""
    rng = np.random.default_rng(0)
    noise = noise or {"vgg16/last-conv/seed-0": 4.0, "xception/last-conv/seed-0": 0.6, "segmentation": 0.5}
    rows = []
    for number in range(women):
        for view in ("CC", "MLO"):
            true = float(number % 2) * rng.uniform(2, 20)
            about = {"view_id": f"v{number}{view}", "woman": f"w{number:02d}", "exam": "e", "side": "L", "view": view}
            for source, scale in noise.items():
                kind = "segmentation" if source == "segmentation" else "heat map"
                area = max(0.0, true + rng.normal(0, scale))
                more = {"fold": fold, "analysed": "yes", "source": source, "kind": kind, "unit": "mm", "area": area}
                rows.append({**about, **more, "true_area": true, "note": ""})
    return pd.DataFrame(rows, columns=VIEW_COLUMNS)


def cost_of(views):
    return cost_table(views, by_woman(views, Burden()), SETTINGS)


def test_what_is_worse_than_the_segmentation_is_separated_and_what_is_alike_is_not():
    found = cost_of(burden_of()).set_index(["source", "of", "measure"])
    assert len(found) == 8
    vgg16 = found.loc[("vgg16/last-conv/seed-0", "view", "absolute_error")]
    assert vgg16["difference"] == pytest.approx(vgg16["heat_map"] - vgg16["segmentation"])
    assert vgg16["separated"] and 0 < vgg16["low"] < vgg16["difference"] < vgg16["high"]
    assert (vgg16["n"], vgg16["women"]) == (48, 24)
    assert not found.loc[("xception/last-conv/seed-0", "view", "absolute_error"), "separated"]
    assert (found["p_holm"] >= found["p"]).all() and (found["p_holm"] > found["p"]).any()
    assert found.loc[("vgg16/last-conv/seed-0", "view", "rho"), "difference"] < 0
    assert found.loc[("vgg16/last-conv/seed-0", "woman", "absolute_error"), "n"] == 24


def test_only_units_that_both_measured_and_whose_truth_is_known_count():
    views = burden_of()
    segmented = views["source"] == "segmentation"
    views.loc[segmented & (views["view_id"] == "v0CC"), "area"] = np.nan
    views.loc[(views["source"] == "vgg16/last-conv/seed-0") & (views["view_id"] == "v1CC"), "area"] = np.nan
    views.loc[views["view_id"] == "v2CC", "true_area"] = np.nan
    views.loc[views["view_id"] == "v3CC", "analysed"] = "no"
    found = cost_of(views).set_index(["source", "of", "measure"])
    assert found.loc[("vgg16/last-conv/seed-0", "view", "rho"), "n"] == 44
    assert found.loc[("xception/last-conv/seed-0", "view", "rho"), "n"] == 45


def test_without_a_segmentation_there_is_nothing_to_compare():
    views = burden_of()
    found = cost_of(views[views["source"] != "segmentation"])
    assert found.empty and list(found.columns) == COLUMNS


def test_folds_are_compared_apart():
    both = pd.concat((burden_of(), burden_of(fold="validation").assign(view_id=lambda t: "x" + t["view_id"])))
    found = cost_of(both.assign(woman=both["fold"] + both["woman"]))
    assert found.groupby("fold").size().to_dict() == {"test": 8, "validation": 8}


def test_a_sentence_says_what_is_separated_and_what_cannot_be_told():
    found = cost_of(burden_of()).set_index(["source", "of", "measure"], drop=False)
    rows = {key: row.to_dict() for key, row in found.iterrows()}
    said = sentence(rows["vgg16/last-conv/seed-0", "view", "absolute_error"], "VGG16")
    assert said.startswith("VGG16, mean error by view: ") and said.endswith(": the heat map is less accurate.")
    assert " mm² against " in said and " to " in said
    assert sentence(rows["xception/last-conv/seed-0", "view", "absolute_error"], "X").endswith("cannot be separated.")
    assert "correlation with the truth by view" in sentence(rows["vgg16/last-conv/seed-0", "view", "rho"], "VGG16")
    few = cost_of(burden_of(women=3)).to_dict("records")
    assert sentence(few[0], "VGG16").endswith("the difference cannot be told: 3 women; 4 are needed.")
