"""Paired differences of agreement: their values, their coverage, and when there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tramtrack.evaluation.paired_agreement import compare_errors, compare_ranks


def drawn(seed, women=40, noise=(2.0, 1.0)):
    """True areas of four views each of ``women``, and two measurements whose errors share a part by woman."""
    rng = np.random.default_rng(seed)
    woman = np.repeat(np.arange(women), 4)
    true = np.maximum(0, rng.normal(5, 5, women))[woman] * rng.uniform(0.5, 1.5, 4 * women)
    shared = rng.normal(0, 1, women)[woman]
    one, other = (true + shared + rng.normal(0, scale, 4 * women) for scale in noise)
    return one, other, true, woman


def options(compare, seed=0, resamples=400):
    if compare is compare_ranks:
        return {}
    return {"generator": np.random.default_rng(seed), "resamples": resamples}


def test_the_difference_is_that_of_the_mean_errors_and_of_the_correlations():
    one, other, true, woman = drawn(1)
    errors = compare_errors(one, other, true, woman, **options(compare_errors))
    assert errors.one == pytest.approx(np.abs(one - true).mean()) and errors.other == pytest.approx(np.abs(other - true).mean())
    assert errors.difference.value == pytest.approx(errors.one - errors.other) and errors.difference.value > 0
    ranks = compare_ranks(one, other, true, woman)
    assert ranks.one == pytest.approx(stats.spearmanr(one, true)[0])
    assert ranks.difference.value == pytest.approx(ranks.one - ranks.other) and ranks.difference.value < 0
    for found in (errors, ranks):
        assert found.difference.low < found.difference.value < found.difference.high
        assert found.p < 0.01 and (found.units, found.women) == (160, 40)


def test_the_same_measurement_twice_differs_by_nothing_and_has_no_interval():
    one, _, true, woman = drawn(2)
    for compare in (compare_errors, compare_ranks):
        found = compare(one, one, true, woman, **options(compare))
        assert found.difference.value == 0 and found.difference.low is None and found.p is None
        assert found.difference.reason == "it is the same in all women"


def test_three_women_tell_nothing_and_constant_amounts_have_no_correlation():
    one, other, true, woman = drawn(3, women=3)
    found = compare_errors(one, other, true, woman, **options(compare_errors))
    assert found.difference.reason == "3 women; 4 are needed" and found.difference.value is not None and found.p is None
    one, other, true, woman = drawn(4)
    found = compare_ranks(np.zeros_like(one), other, true, woman)
    assert found.one is None and found.other is not None and "alike" in found.difference.reason


@pytest.mark.parametrize("compare", (compare_errors, compare_ranks))
def test_views_of_a_woman_are_no_independent_evidence(compare):
    measured = drawn(5)
    single = compare(*measured, **options(compare)).difference
    tripled = compare(*(np.repeat(values, 3) for values in measured), **options(compare)).difference
    assert tripled.high - tripled.low == pytest.approx(single.high - single.low, rel=1e-9)


@pytest.mark.parametrize("compare", (compare_errors, compare_ranks))
def test_equally_good_measurements_are_rarely_separated(compare):
    """Of 100 pairs that differ by chance alone, at 5 %; with so few women the jackknife separates fewer."""
    found = [compare(*drawn(9100 + trial, 20, (1.5, 1.5)), **options(compare, trial, 200)).p for trial in range(100)]
    assert np.mean(np.array(found) < 0.05) <= 0.1
