"""Weighted kappa is scikit-learn's, its interval is by woman, and where it is not defined it says so."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from tramtrack.evaluation.kappa import agree, weighted_kappa

RNG = np.random.default_rng(9120)
FIRST = RNG.integers(0, 3, 60)
SECOND = np.clip(FIRST + RNG.choice([-2, -1, 0, 0, 0, 0, 1, 2], 60), 0, 2)
WOMEN = [f"w{number // 3}" for number in range(60)]


def found(first=FIRST, second=SECOND, women=WOMEN):
    return agree(np.asarray(first), np.asarray(second), 3, women, generator=np.random.default_rng(9121), resamples=400)


def test_linear_weights_give_scikit_learns_kappa():
    for categories in (2, 3, 5):
        one = RNG.integers(0, categories, 80)
        other = np.where(RNG.random(80) < 0.6, one, RNG.integers(0, categories, 80))
        expected = cohen_kappa_score(one, other, weights="linear", labels=list(range(categories)))
        assert weighted_kappa(one, other, categories) == pytest.approx(expected, abs=1e-12)
        unweighted = cohen_kappa_score(one, other)
        assert categories == 2 or abs(expected - unweighted) > 0.01  # so the weights are seen
    assert found().kappa == pytest.approx(cohen_kappa_score(FIRST, SECOND, weights="linear"), abs=1e-12)


def test_the_interval_is_that_of_women_and_not_of_items():
    one = found()
    assert one.low < one.kappa < one.high and (one.items, one.women) == (60, 20)
    assert one.agreement == pytest.approx((FIRST == SECOND).mean())
    tripled = found(np.repeat(FIRST, 3), np.repeat(SECOND, 3), np.repeat(WOMEN, 3))
    assert (tripled.low, tripled.high) == pytest.approx((one.low, one.high))
    apart = found(np.repeat(FIRST, 3), np.repeat(SECOND, 3), [f"w{number}" for number in range(180)])
    assert apart.high - apart.low < 0.8 * (one.high - one.low)


def test_without_a_kappa_or_an_interval_there_is_a_reason():
    assert found([], [], []).reason == "no item was rated by both"
    same = found([1] * 4, [1] * 4, list("abcd"))
    assert same.kappa is None and same.agreement == 1 and "same rating" in same.reason
    perfect = found([0, 1, 2], [0, 1, 2], list("aaa"))
    assert perfect.kappa == 1 and perfect.low is None and "1 woman" in perfect.reason
