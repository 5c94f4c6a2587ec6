"""What is true of every small table of scores, against scikit-learn and against itself."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from tramtrack.evaluation.aggregate import Units
from tramtrack.evaluation.comparisons import Comparison, compare, groups, holm
from tramtrack.evaluation.curves import roc_curve
from tramtrack.evaluation.intervals import score_all
from tramtrack.evaluation.ranks import rank_metrics
from tramtrack.evaluation.resampling import estimate
from tramtrack.evaluation.scores import COUNT_METRICS, Score, confusion, from_counts
from tramtrack.evaluation.threshold import choose_threshold


@st.composite
def tables(draw, least: int = 1, both_classes: bool = False) -> Units:
    """Few women, scores on a coarse grid (many ties, often constant), any labels."""
    size = draw(st.integers(max(least, 2 if both_classes else 1), 24))
    steps = draw(st.sampled_from([1, 3, 10]))
    scores = draw(st.lists(st.integers(0, steps).map(lambda k: k / steps), min_size=size, max_size=size))
    labels = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    if both_classes:
        labels[:2] = [0, 1]
    women = draw(st.lists(st.integers(0, 8), min_size=size, max_size=size))
    return Units("view", np.array(women), np.array(scores), np.array(labels))


@settings(deadline=None, max_examples=40)
@given(tables(both_classes=True), st.data())
def test_estimates_agree_with_scikit_learn_also_with_weights(units, data):
    size = len(units)
    weights = np.array(data.draw(st.lists(st.integers(0, 5), min_size=size, max_size=size)))
    weights[:2] += 1  # one of each class is there
    options = {"sample_weight": weights}
    found = rank_metrics(units.labels, units.scores, np.arange(size), weights[:, None].astype(np.int32))
    assert np.isclose(found["auc_roc"][0], reference.roc_auc_score(units.labels, units.scores, **options), rtol=1e-12)
    partial = reference.roc_auc_score(units.labels, units.scores, max_fpr=0.2, **options)
    assert np.isclose(found["partial_auc"][0], partial, rtol=1e-12)
    precision = reference.average_precision_score(units.labels, units.scores, **options)
    assert np.isclose(found["average_precision"][0], precision, rtol=1e-12)
    called = units.scores >= 0.5
    counts = weights @ confusion(units.labels, units.scores, 0.5)
    options["zero_division"] = np.nan
    expected = {
        "sensitivity": reference.recall_score(units.labels, called, **options),
        "specificity": reference.recall_score(~units.labels, ~called, **options),
        "ppv": reference.precision_score(units.labels, called, **options),
        "npv": reference.precision_score(~units.labels, ~called, **options),
        "f1": reference.f1_score(units.labels, called, **options),
    }
    assert set(expected) == set(COUNT_METRICS)
    for metric, value in expected.items():
        assert np.isclose(from_counts(metric, counts), value, rtol=1e-12, equal_nan=True)
    brier = reference.brier_score_loss(units.labels, units.scores)
    assert np.isclose(estimate("brier", units.labels, units.scores), brier, rtol=1e-12)


@settings(deadline=None, max_examples=60)
@given(tables(), st.sampled_from([0.0, 0.4, 0.5, 1.0]), st.integers(0, 3))
def test_an_interval_holds_its_estimate_and_has_a_width_or_there_is_a_reason(units, threshold, seed):
    options = {"generator": np.random.default_rng(seed), "resamples": 200}
    for metric, got in score_all(units, threshold, probabilities=units.scores, **options).items():
        assert (got.n, got.positives, got.women) == (len(units), units.positives, units.women)
        if isinstance(got, Score):
            assert 0 <= got.low <= got.estimate <= got.high <= 1
            assert got.high - got.low > (0 if metric == "brier" else 0.01)  # equal errors can be known well
            assert got.estimate == estimate(metric, units.labels, units.scores, threshold)
        else:
            assert got.reason


@settings(deadline=None)
@given(tables(least=2), st.randoms(use_true_random=False))
def test_the_same_seed_and_any_order_of_rows_give_the_same_scores(units, random):
    order = list(range(len(units)))
    random.shuffle(order)
    moved = Units("view", units.woman[order], units.scores[order], units.labels[order])
    first = score_all(units, 0.5, generator=np.random.default_rng(1), resamples=200)
    assert score_all(moved, 0.5, generator=np.random.default_rng(1), resamples=200) == first


@settings(deadline=None, max_examples=40)
@given(tables(both_classes=True), st.floats(0.05, 1))
def test_a_fixed_rate_is_kept_and_the_other_rate_is_the_best_that_keeps_it(units, least):
    for rule, other in (("sensitivity", "specificity"), ("specificity", "sensitivity")):
        chosen = choose_threshold(units, rule, least)
        assert estimate(rule, units.labels, units.scores, chosen.value) == chosen.achieved >= least - 1e-12
        best = estimate(other, units.labels, units.scores, chosen.value)
        for value in (*np.unique(units.scores), 2.0):
            if estimate(rule, units.labels, units.scores, value) >= least - 1e-12:
                assert estimate(other, units.labels, units.scores, value) <= best + 1e-12


@given(tables(both_classes=True), st.sampled_from(["f1", "youden"]))
def test_no_threshold_does_better_on_the_units_it_was_chosen_on(units, rule):
    def reached(value: float) -> float:
        if rule == "f1":
            return estimate("f1", units.labels, units.scores, value)
        both = [estimate(name, units.labels, units.scores, value) for name in ("sensitivity", "specificity")]
        return sum(both) - 1

    chosen = choose_threshold(units, rule)
    assert np.isclose(reached(chosen.value), chosen.achieved)
    everywhere = [reached(value) for value in np.unique(units.scores)]
    assert np.isclose(chosen.achieved, max(everywhere))
    below = [value for value in np.unique(units.scores) if value < chosen.value]
    calls = units.scores >= chosen.value
    for value in below:  # no lower threshold that calls more is as good
        if ((units.scores >= value) != calls).any():
            assert chosen.achieved - reached(value) > 1e-9


@given(tables(both_classes=True))
def test_the_roc_curve_is_scikit_learns_and_its_area_the_auc(units):
    curve = roc_curve(units)
    assert np.isclose(np.trapezoid(curve.tpr, curve.fpr), estimate("auc_roc", units.labels, units.scores))
    assert np.isfinite(curve.thresholds).all()
    assert (np.diff(curve.thresholds) < 0).all()
    for false_rate, true_rate, threshold in zip(curve.fpr, curve.tpr, curve.thresholds, strict=True):
        assert np.isclose(true_rate, estimate("sensitivity", units.labels, units.scores, threshold))
        assert np.isclose(1 - false_rate, estimate("specificity", units.labels, units.scores, threshold))
    turns = np.diff(curve.fpr)[:-1] * np.diff(curve.tpr)[1:] - np.diff(curve.tpr)[:-1] * np.diff(curve.fpr)[1:]
    assert (np.abs(turns) > 1e-9).all()  # every inner point is a corner


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_between_the_raw_p_and_bonferroni_and_keeps_the_order(p):
    adjusted = holm(p)
    assert (adjusted >= np.array(p)).all()
    assert (adjusted <= np.minimum(1, np.array(p) * len(p)) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()


@settings(deadline=None, max_examples=50)
@given(tables(both_classes=True), st.integers(2, 4), st.integers(0, 100))
def test_a_comparison_holds_its_difference_has_a_width_and_is_symmetric(units, networks, seed):
    generator = np.random.default_rng(seed)
    scores = {f"n{i}": np.round(units.scores + generator.random(len(units)), 1) for i in range(networks)}
    options = {"unit": "view", "resamples": 200}
    forwards = compare(scores, units.labels, units.woman, generator=np.random.default_rng(seed), **options)
    turned = dict(reversed(scores.items()))
    backwards = compare(turned, units.labels, units.woman, generator=np.random.default_rng(seed), **options)
    opposite = {(c.network_b, c.network_a): c for c in backwards}
    for c in forwards:
        assert isinstance(c, Comparison)
        assert -1 <= c.simultaneous_low <= c.low <= c.difference <= c.high <= c.simultaneous_high <= 1
        assert c.high - c.low > 1e-9
        assert 0 < c.p <= c.p_holm <= 1
        other = opposite[c.network_a, c.network_b]
        assert (c.difference, c.low, c.high, c.p) == (-other.difference, -other.high, -other.low, other.p)
        assert (c.p_holm, c.separated) == (other.p_holm, other.separated)
    together = groups(forwards)
    for c in forwards:
        assert any({c.network_a, c.network_b} <= set(group) for group in together) == (not c.separated)
    assert not any(set(one) <= set(other) for one, other in combinations(together, 2))
