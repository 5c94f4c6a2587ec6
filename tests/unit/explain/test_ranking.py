"""Means of localisation scores by woman, and which maps can be told apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tramtrack.explain.localisation import MEASURES
from tramtrack.explain.ranking import (
    MATCHED,
    NATIVE,
    TRAINED,
    compare_maps,
    geometry_sentences,
    score_maps,
    sentences,
)
from tramtrack.protocol import Evaluation

SETTINGS = Evaluation(resamples=400)


def rows(name: str, values: np.ndarray, kind: str = NATIVE) -> pd.DataFrame:
    """Two views a woman, the same value in every measure."""
    count = len(values)
    table = pd.DataFrame(
        {"map": name, "kind": kind, "woman": [f"w{n // 2}" for n in range(count)], "view_id": [f"v{n}" for n in range(count)]}
    )
    return table.assign(**dict.fromkeys(MEASURES, values), empty=0, chance=0.1)


def test_intervals_are_of_women_and_never_of_zero_width():
    rng = np.random.default_rng(0)
    by_woman = rng.uniform(0.2, 0.8, 20)
    alike = score_maps(rows("a", np.repeat(by_woman, 2)), SETTINGS)
    mixed = score_maps(rows("a", np.concatenate((by_woman, by_woman))), SETTINGS)  # a woman's two views differ
    assert list(alike["measure"]) == list(MEASURES)
    width = [float((table["high"] - table["low"]).iloc[0]) for table in (alike, mixed)]
    assert width[0] > 1.15 * width[1]  # forty views of twenty alike pairs carry less
    plain = 2 * 2.09 * by_woman.std(ddof=1) / np.sqrt(20)
    assert width[0] == pytest.approx(plain, rel=0.2)
    perfect = score_maps(rows("a", np.ones(8)), SETTINGS).iloc[0]
    assert perfect["estimate"] == 1 and perfect["low"] < 1 == perfect["high"]
    assert (alike["low"] < alike["estimate"]).all() and (alike["women"] == 20).all() and (alike["views"] == 40).all()


def test_pairs_are_compared_on_the_views_they_share_and_seeds_are_averaged_first():
    rng = np.random.default_rng(1)
    base = rng.uniform(0.2, 0.6, 24)
    seeds = pd.concat([rows("a", base + 0.1), rows("a", base + 0.3)])
    table = pd.concat([seeds, rows("b", base + rng.normal(0, 0.01, 24)).iloc[:20], rows("c", base)])
    means = score_maps(table, SETTINGS).drop_duplicates("map").set_index("map")
    assert means.loc["a", "estimate"] == pytest.approx(base.mean() + 0.2) and means.loc["a", "views"] == 24
    pairs = compare_maps(table, ["a", "b", "c"], SETTINGS)
    first = pairs[pairs["measure"] == MEASURES[0]].set_index(["map_a", "map_b"])
    row = first.loc[("a", "b")]
    assert row["difference"] == pytest.approx(0.2, abs=0.01) and row["separated"] and row["views"] == 20
    assert row["low"] < row["difference"] < row["high"] and row["low"] > 0
    assert not first.loc[("b", "c"), "separated"]
    assert first.loc[("a", "c"), "p"] != first.loc[("a", "c"), "p"]  # all differences are 0.2: no spread, no p
    assert not first.loc[("a", "c"), "separated"] and first.loc[("a", "c"), ["low", "high"]].tolist() == [-1, 1]
    assert (pairs["p_holm"] >= pairs["p"].fillna(0)).all()


def test_what_is_separated_by_chance_alone_is_rare():
    found = 0
    for trial in range(60):
        rng = np.random.default_rng(9100 + trial)
        woman = np.repeat(rng.normal(0, 0.1, 15), 2)
        one, other = (np.clip(0.5 + woman + rng.normal(0, 0.1, 30), 0, 1) for _ in range(2))
        pairs = compare_maps(pd.concat([rows("a", one), rows("b", other)]), ["a", "b"], SETTINGS)
        found += bool(pairs["separated"].iloc[0])
    assert found <= 8  # 5 % of 60 is 3; more than 8 has a chance of 0.2 %


def test_a_sentence_says_whether_it_is_more_than_geometry():
    rng = np.random.default_rng(2)
    base = rng.uniform(0.3, 0.5, 24)
    noise = [rng.normal(0, 0.02, 24) for _ in range(4)]
    better = [
        rows("vgg16", base + 0.2 + noise[0]),
        rows("xception", base + noise[1]),
        rows("mobilenet", base + 0.18 + noise[2]),
    ]
    equal = [
        rows("vgg16", base + 0.02 + noise[3], MATCHED), rows("xception", base + noise[1], MATCHED),
        rows("mobilenet", base - 0.2 + noise[2], MATCHED),
    ]  # fmt: skip
    pairs = compare_maps(pd.concat([*better, *equal]), ["vgg16", "xception", "mobilenet"], SETTINGS)
    said = sentences(pairs, MEASURES[0])
    assert len(said) == 3
    assert said[0].startswith("vgg16 against xception, native maps: 0.2") and "at equal stride" in said[0]
    alone = compare_maps(
        pd.concat([rows("vgg16", base + 0.2 + noise[0]), rows("xception", base + noise[1])]), ["vgg16", "xception"], SETTINGS
    )
    assert sentences(alone, MEASURES[0])[0].endswith("; separated.")
    geometry = compare_maps(
        pd.concat([*better[:2], rows("vgg16", base + noise[3], MATCHED), equal[1]]), ["vgg16", "xception"], SETTINGS
    )
    assert "geometry may be all of it" in sentences(geometry, MEASURES[0])[0]
    stays = compare_maps(
        pd.concat([*better[:2], rows("vgg16", base + 0.2 + noise[3], MATCHED), equal[1]]), ["vgg16", "xception"], SETTINGS
    )
    assert "more than geometry" in sentences(stays, MEASURES[0])[0]


def test_a_sentence_says_what_is_left_against_runs_that_were_trained_finer():
    rng = np.random.default_rng(9170)
    base = rng.uniform(0.3, 0.5, 24)

    def of(name: str, gain: float, kind: str) -> pd.DataFrame:
        return rows(name, np.clip(base + gain + rng.normal(0, 0.02, 24), 0, 1), kind)

    native = [
        of("vgg16", 0.2, NATIVE),
        of("xception", 0.0, NATIVE),
        of("mobilenet", 0.0, NATIVE),
        of("resnet50v2", 0.2, NATIVE),
    ]
    matched = [
        of("vgg16", 0.1, MATCHED),
        of("xception", 0.0, MATCHED),
        of("mobilenet", 0.1, MATCHED),
        of("resnet50v2", 0.4, MATCHED),
    ]
    trained = [of("vgg16", 0.2, TRAINED), of("xception", 0.0, TRAINED), of("mobilenet", 0.4, TRAINED)]
    names = ["vgg16", "xception", "mobilenet", "resnet50v2"]
    pairs = compare_maps(pd.concat([*native, *matched, *trained]), names, SETTINGS)
    said = {sentence.partition(", ")[0]: sentence for sentence in sentences(pairs, MEASURES[0])}
    first = said["vgg16 against xception"]
    assert "separated in both, so it is more than geometry; trained at stride 16 0.1" in first
    assert first.endswith("separated as well, so a finer map does not make up for it.")
    other = said["vgg16 against mobilenet"]
    assert "not separated any more, so geometry may be all of it; trained at stride 16 -0." in other
    assert other.endswith("separated the other way round.")
    assert "trained at stride 16" not in said["vgg16 against resnet50v2"]  # it has no such run
    strides = {"vgg16": 16, "xception": 32, "mobilenet": 32, "resnet50v2": 32}
    assert geometry_sentences(pairs, MEASURES[0], strides) == [
        "vgg16: its native maps lie better than those of 2 of 3 networks with coarser maps; at equal stride 1 of these 2 "
        "advantages stay separated; against runs trained at stride 16, 1 of 2."
    ]
    alike = compare_maps(pd.concat([rows("vgg16", base), rows("xception", base + rng.normal(0, 0.1, 24))]), names, SETTINGS)
    assert geometry_sentences(alike, MEASURES[0], strides) == [
        "vgg16: its native maps lie better than those of 0 of 3 networks with coarser maps."
    ]
    assert geometry_sentences(alike, MEASURES[0], dict.fromkeys(strides, 32)) == []
