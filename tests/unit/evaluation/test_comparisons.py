from __future__ import annotations

import math
import tracemalloc
from itertools import combinations

import numpy as np
import pytest

from tramtrack.errors import UsageError
from tramtrack.evaluation.comparisons import BOUNDARY, Comparison, Untested, _resample_pairs, compare, groups, holm
from tramtrack.evaluation.resampling import estimate

WOMEN = np.arange(120)
LABELS = (WOMEN % 4 == 0).astype(int)


def scores(strength: float, seed: int, common: float = 0.5) -> np.ndarray:
    shared = np.random.default_rng(99).normal(size=len(WOMEN))
    own = np.random.default_rng(seed).normal(size=len(WOMEN))
    return strength * LABELS + math.sqrt(common) * shared + math.sqrt(1 - common) * own


NETWORKS = {"strong": scores(3.0, 1), "middle": scores(1.0, 2), "alike": scores(1.0, 3), "weak": scores(0.0, 4)}


def run(networks=NETWORKS, labels=LABELS, women=WOMEN, seed: int = 0, **options):
    options = {"unit": "woman", "generator": np.random.default_rng(seed), "resamples": 500, **options}
    return compare(networks, labels, women, **options)


def test_holm_by_hand():
    # sorted .005 .01 .03 .04 times 4 3 2 1: .02 .03 .06 .04, and none below the one before
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.5, 0.6, 0.7]), [1, 1, 1])
    assert holm([]).shape == (0,)


def test_all_pairs_in_order_with_differences_of_estimates():
    result = run()
    assert [(c.network_a, c.network_b) for c in result] == list(combinations(NETWORKS, 2))
    for c in result:
        expected = estimate("auc_roc", LABELS == 1, NETWORKS[c.network_a])
        assert c.estimate_a == expected
        assert c.difference == c.estimate_a - c.estimate_b
        assert -1 <= c.simultaneous_low <= c.low < c.difference < c.high <= c.simultaneous_high <= 1
        assert (c.women, c.positives, c.dropped_women, c.pairs, c.primary) == (120, 30, 0, 6, True)
    np.testing.assert_array_equal([c.p_holm for c in result], holm([c.p for c in result]))
    verdicts = {(c.network_a, c.network_b): c.separated for c in result}
    assert verdicts["strong", "middle"]
    assert verdicts["strong", "weak"]
    assert not verdicts["middle", "alike"]


def test_a_minus_b_is_minus_b_minus_a():
    (one,) = run({"a": NETWORKS["strong"], "b": NETWORKS["middle"]})
    (other,) = run({"b": NETWORKS["middle"], "a": NETWORKS["strong"]})
    assert (one.difference, one.low, one.high, one.p) == (-other.difference, -other.high, -other.low, other.p)
    assert (one.simultaneous_low, one.p_holm) == (-other.simultaneous_high, other.p_holm)


def test_a_pairs_p_and_interval_agree():
    for seed in range(12):
        (c,) = run({"a": scores(1.0, seed), "b": scores(0.6, seed + 50)})
        assert (c.p <= 0.05) == (not c.low <= 0 <= c.high)
        assert c.separated == (c.p <= 0.05)


def test_pairing_narrows_the_interval():
    (close,) = run({"a": scores(1.0, 1, common=0.95), "b": scores(1.0, 2, common=0.95)})
    (apart,) = run({"a": scores(1.0, 1, common=0.0), "b": scores(1.0, 2, common=0.0)})
    assert close.high - close.low < 0.5 * (apart.high - apart.low)


def test_identical_scores_differ_by_nothing_within_an_honest_interval():
    (c,) = run({"a": NETWORKS["middle"], "b": NETWORKS["middle"]})
    assert (c.difference, c.p, c.p_holm, c.separated, c.method) == (0, 1, 1, False, BOUNDARY)
    assert c.low < -0.05
    assert c.high > 0.05


def test_few_women_separate_nothing_however_clear_the_bootstrap():
    labels, women = np.array([0, 0, 0, 1, 1, 1]), np.arange(6)
    (c,) = run({"a": labels * 1.0, "b": -labels * 1.0}, labels, women)
    assert c.difference == 1.0
    assert c.p == 0.25  # 2^(1 - 3): three women in the smaller class
    assert not c.separated
    assert not c.testable
    assert c.low < c.difference
    (two,) = run({"a": [0.0, 1.0], "b": [1.0, 0.0]}, [0, 1], ["x", "y"])
    assert (two.p, two.separated) == (1.0, False)


def test_seeds_are_averaged():
    seeds = np.stack([NETWORKS["strong"], NETWORKS["middle"]])
    first, _, _ = run({"both": seeds, "strong": seeds[0], "middle": seeds[1]})
    expected = np.mean([estimate("auc_roc", LABELS == 1, row) for row in seeds])
    assert first.estimate_a == pytest.approx(expected, abs=1e-12)
    (once,) = run({"a": NETWORKS["strong"], "b": NETWORKS["middle"]})
    (twice,) = run({"a": np.stack([NETWORKS["strong"]] * 2), "b": NETWORKS["middle"]})
    assert (twice.low, twice.high, twice.p) == (pytest.approx(once.low), pytest.approx(once.high), once.p)


def test_a_woman_without_a_prediction_is_dropped_for_all_and_counted():
    missing = NETWORKS["middle"].copy()
    missing[:8] = np.nan
    result = run({**NETWORKS, "middle": missing})
    kept = WOMEN >= 8
    expected = run({name: values[kept] for name, values in NETWORKS.items()}, LABELS[kept], WOMEN[kept])
    assert [(c.difference, c.p, c.women) for c in result] == [(c.difference, c.p, 112) for c in expected]
    assert {c.dropped_women for c in result} == {8}


def test_one_missing_view_drops_the_whole_woman():
    women, labels = np.repeat(WOMEN, 2), np.repeat(LABELS, 2)
    values = np.repeat(NETWORKS["middle"], 2)
    holed = values.copy()
    holed[1] = np.nan
    (c,) = run({"a": values, "b": holed}, labels, women, unit="view")
    assert (c.women, c.positives, c.dropped_women, c.primary) == (119, 58, 1, False)


def test_what_cannot_be_compared_says_why():
    bad = np.where(WOMEN == 3, np.inf, NETWORKS["weak"])
    result = run({"strong": NETWORKS["strong"], "none": np.full(120, np.nan), "weak": NETWORKS["weak"], "bad": bad})
    reasons = {(c.network_a, c.network_b): c.reason for c in result if isinstance(c, Untested)}
    assert reasons["strong", "none"] == "none: it has no scores"
    assert reasons["strong", "bad"] == "bad: scores not finite (1 of 120)"
    assert ("strong", "weak") not in reasons
    assert {c.dropped_women for c in result} == {0}
    one_class = run(labels=np.zeros(120))
    assert {c.reason.split("; ")[0].split(": ")[1] for c in one_class} == {"no positive woman"}


def test_unranked_networks_stand_in_no_pair_and_in_no_adjustment():
    result = run(unranked={"weak": "random weights"})
    assert {name for c in result for name in (c.network_a, c.network_b)} == {"strong", "middle", "alike"}
    assert {c.pairs for c in result} == {3}


def test_the_order_of_rows_changes_nothing():
    order = np.random.default_rng(1).permutation(120)
    shuffled = run({name: values[order] for name, values in NETWORKS.items()}, LABELS[order], WOMEN[order])
    assert shuffled == run()


def test_thresholded_metrics_take_a_threshold_of_each_network():
    thresholds = {"strong": 1.5, "middle": 0.5, "alike": [0.5], "weak": 0.0}
    result = run(metric="f1", thresholds=thresholds)
    assert result[0].estimate_a == estimate("f1", LABELS == 1, NETWORKS["strong"], 1.5)
    assert not result[0].primary
    with pytest.raises(UsageError, match="expected a threshold of weak"):
        run(metric="f1", thresholds={"strong": 1.5, "middle": 0.5, "alike": 0.5})
    with pytest.raises(UsageError, match=r"thresholds of alike: expected one, or one for each of 1 seeds"):
        run(metric="f1", thresholds={**thresholds, "alike": [0.5, 0.6]})


def test_bad_shapes_and_names():
    with pytest.raises(UsageError, match=r"scores of weak: expected \(seeds, 120\) or \(120,\), received \(119,\)"):
        run({**NETWORKS, "weak": NETWORKS["weak"][1:]})
    with pytest.raises(UsageError, match="metric accuracy"):
        run(metric="accuracy")
    assert run({"alone": NETWORKS["weak"]}) == []


def test_too_few_resamples_for_so_many_pairs_is_no_verdict():
    many = {f"n{i}": NETWORKS["strong"] if i else NETWORKS["weak"] for i in range(11)}
    assert not run(many, resamples=200)[0].testable  # 55 / 201 > .05
    enough = run(many, resamples=2000)[0]
    assert enough.testable
    assert enough.separated


def test_a_thousand_networks_in_little_memory():
    generator = np.random.default_rng(2)
    labels = np.arange(20) % 2
    networks = {f"n{i}": generator.random(20) for i in range(1000)}
    result = compare(networks, labels, np.arange(20), unit="woman", generator=generator, resamples=100)
    assert len(result) == 499_500
    assert not any(c.separated or c.testable for c in result)  # 499,500 / 101 > .05


def test_memory_does_not_grow_with_pairs_times_resamples():
    generator = np.random.default_rng(2)
    values, estimates = generator.random((300, 1000)), generator.random(300)
    tracemalloc.start()
    _resample_pairs(estimates, values, 0.95)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6  # 44,850 pairs x 1,000 resamples would be 359 MB


def pair(a: str, b: str, separated: bool) -> Comparison:
    (template,) = run({a: NETWORKS["strong"], b: NETWORKS["weak"]}, resamples=200)
    return Comparison(**{**{name: getattr(template, name) for name in Comparison.__slots__}, "separated": separated})


@pytest.mark.parametrize(
    ("apart", "expected"),
    [
        ([], [("a", "b", "c", "d")]),
        (["ad"], [("a", "b", "c"), ("b", "c", "d")]),
        (["ab", "ac", "ad"], [("a",), ("b", "c", "d")]),
        (["ab"], [("a", "c", "d"), ("b", "c", "d")]),
        (["ab", "ac", "ad", "bc", "bd", "cd"], [("a",), ("b",), ("c",), ("d",)]),
        (["ac", "bd"], [("a", "b"), ("a", "d"), ("b", "c"), ("c", "d")]),
    ],
)
def test_groups_hold_exactly_the_pairs_that_are_not_separated(apart, expected):
    pairs = [pair(a, b, a + b in apart) for a, b in combinations("abcd", 2)]
    assert groups(pairs) == expected


def test_an_untested_pair_is_not_separated():
    assert groups([Untested("a", "b", "auc_roc", "woman", "b: it has no scores", 3, 1, 0)]) == [("a", "b")]
    assert groups([]) == []
