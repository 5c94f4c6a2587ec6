"""Conformal calls: what is promised of them holds over many exams, at any size, with ties, whatever the scores are worth."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tramtrack.errors import UsageError
from tramtrack.evaluation.aggregate import Units
from tramtrack.evaluation.conformal import INDETERMINATE, LIKELY, UNLIKELY, Conformal, conformal

SCORES = st.lists(st.integers(0, 10).map(lambda tenths: tenths / 10), min_size=1, max_size=25).map(sorted).map(np.array)


@settings(deadline=None, max_examples=100)
@given(SCORES, SCORES, st.integers(0, 10), st.floats(0.05, 0.49))
def test_calls_follow_the_definition(with_bac, without_bac, tenths, alpha):
    """Against the plain sentence: a class fits where more than alpha of its women and the new one fit it no better."""
    found, score = Conformal(with_bac, without_bac), tenths / 10
    p_with = (1 + sum(other <= score for other in with_bac)) / (len(with_bac) + 1)
    p_without = (1 + sum(other >= score for other in without_bac)) / (len(without_bac) + 1)
    assert found.p_values(score) == pytest.approx((p_with, p_without))
    if alpha < 1 / (min(len(with_bac), len(without_bac)) + 1):
        with pytest.raises(UsageError, match="the smallest possible alpha is"):
            found.find(score, alpha)
        return
    expected = {(True, False): LIKELY, (False, True): UNLIKELY}.get((p_with > alpha, p_without > alpha), INDETERMINATE)
    assert found.find(score, alpha) == expected


@pytest.mark.parametrize("separation", [0.0, 1.5, 4.0])
@pytest.mark.parametrize(("with_bac", "without_bac", "alpha"), [(9, 40, 0.1), (19, 60, 0.05), (30, 30, 0.2)])
def test_errors_over_exchangeable_women_are_as_promised(with_bac, without_bac, alpha, separation):
    """5,000 calibrations with a new woman of each class: she falls out of her own class as often as the theory says, which is
    floor(alpha (n + 1)) / (n + 1), and wrong calls are at most alpha. Limit: five standard errors. Seed 9101."""
    generator, times = np.random.default_rng(9101), 5_000
    positives = generator.normal(separation, 1, (times, with_bac + 1))
    negatives = generator.normal(0, 1, (times, without_bac + 1))
    positives, negatives = 1 / (1 + np.exp(-positives)), 1 / (1 + np.exp(-negatives))
    wrong = {1: 0, 0: 0}
    outside = {1: 0, 0: 0}
    for one, zero in zip(positives, negatives, strict=True):
        found = Conformal(np.sort(one[1:]), np.sort(zero[1:]))
        outside[1] += found.p_values(one[0])[0] <= alpha
        outside[0] += found.p_values(zero[0])[1] <= alpha
        wrong[1] += found.find(one[0], alpha) == UNLIKELY
        wrong[0] += found.find(zero[0], alpha) == LIKELY
    for label, n in ((1, with_bac), (0, without_bac)):
        exact = math.floor(alpha * (n + 1) + 1e-9) / (n + 1)
        assert abs(outside[label] / times - exact) < 5 * math.sqrt(exact * (1 - exact) / times)
        assert wrong[label] <= outside[label]


def test_ties_never_cost_coverage():
    """Scores of three values only, Seed 9102: a woman with BAC is called unlikely in at most a tenth of the draws."""
    generator, wrong, times = np.random.default_rng(9102), 0, 5_000
    for _ in range(times):
        drawn = generator.choice([0.2, 0.5, 0.8], 20, p=[0.1, 0.3, 0.6])
        wrong += Conformal(np.sort(drawn[1:]), np.full(30, 0.1)).find(drawn[0], 0.1) == UNLIKELY
    assert wrong / times <= 0.1


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 400), st.integers(1, 400))
def test_the_alpha_that_a_refusal_names_is_accepted(with_bac, without_bac):
    found = Conformal(np.linspace(0, 1, with_bac), np.linspace(0, 1, without_bac))
    if found.smallest_alpha >= 0.5:
        return
    with pytest.raises(UsageError, match=f"{with_bac} women with BAC and {without_bac} without") as refusal:
        found.find(0.5, found.smallest_alpha * 0.99)
    named = float(re.search(r"smallest possible alpha is ([0-9.]+)", str(refusal.value)).group(1))
    assert found.smallest_alpha <= named < found.smallest_alpha + 1e-4
    found.require(named)
    found.require(found.smallest_alpha)


def test_only_error_rates_are_taken_and_only_numbers_calibrate():
    found = Conformal(np.linspace(0, 1, 40), np.linspace(0, 1, 40))
    for alpha in (0.0, 0.5, 1.0, math.nan):
        with pytest.raises(UsageError, match="expected an error rate above 0 and below"):
            found.find(0.5, alpha)
    units = Units("woman", np.arange(3), np.array([0.9, 0.1, 0.4]), np.array([1, 0, 1]))
    assert list(conformal(units).with_bac) == [0.4, 0.9] and list(conformal(units).without_bac) == [0.1]
    with pytest.raises(ValueError, match="not finite"):
        conformal(Units("woman", np.arange(2), np.array([np.nan, 0.1]), np.array([1, 0])))
