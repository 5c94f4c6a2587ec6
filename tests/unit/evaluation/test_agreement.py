"""Agreement of amounts: Spearman and Bland-Altman against scipy and against formulas, women together, never NaN."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tramtrack.evaluation.agreement import agree, resampled_spearman, spearman
from tramtrack.evaluation.resampling import resample_women


def amounts(women: int, views: int, seed: int):
    """True amounts, of which half are zero, and measured ones with an error of the woman and one of the view."""
    rng = np.random.default_rng(seed)
    woman = np.repeat(np.arange(women), views)
    true = np.where(woman % 2, rng.gamma(2, 5, women)[woman], 0.0)
    measured = np.maximum(0, true + rng.normal(0, 2, women)[woman] + rng.normal(0, 1, len(woman)))
    return measured, true, woman


def test_spearman_is_scipys_with_ties_and_none_for_a_constant():
    measured, true, _ = amounts(30, 2, 9103)
    assert spearman(measured, true) == pytest.approx(stats.spearmanr(measured, true).statistic, abs=1e-12)
    assert np.isnan(spearman(measured, np.ones(60))) and np.isnan(spearman(measured[:1], true[:1]))


def test_a_resample_is_the_same_as_repeating_its_rows():
    measured, true, woman = amounts(12, 3, 9104)
    weights = resample_women(12, 40, np.random.default_rng(1))[woman]
    found = resampled_spearman(np.round(measured), true, weights)
    for number in range(40):
        rows = np.repeat(np.arange(36), weights[:, number])
        expected = stats.spearmanr(np.round(measured)[rows], true[rows]).statistic
        assert found[number] == pytest.approx(expected, abs=1e-9)
    one = np.zeros((36, 1), dtype=np.int32)
    one[:3] = 12
    assert np.isnan(resampled_spearman(measured, true, one)).all()


def test_limits_are_bland_and_altmans_and_their_intervals_close_to_the_formula():
    rng = np.random.default_rng(9105)
    true = rng.gamma(2, 5, 400)
    measured = true + rng.normal(1, 3, 400)
    found = agree(measured, true, np.arange(400), generator=np.random.default_rng(2))
    difference = measured - true
    mean, deviation = difference.mean(), difference.std(ddof=1)
    assert found.bias.value == pytest.approx(mean)
    assert (found.lower.value, found.upper.value) == pytest.approx((mean - 1.96 * deviation, mean + 1.96 * deviation), rel=1e-3)
    width = found.bias.high - found.bias.low
    assert width == pytest.approx(2 * 1.966 * deviation / np.sqrt(400), rel=0.1)
    width = found.upper.high - found.upper.low  # SE of a limit: sqrt(1 / n + 1.96^2 / (2 (n - 1))) SD
    assert width == pytest.approx(2 * 1.966 * deviation * np.sqrt((1 + 1.96**2 / 2) / 400), rel=0.15)
    assert found.rank.low < found.rank.value < found.rank.high
    wide = 2 * 1.966 * np.sqrt(1.06 / 397)
    assert np.arctanh(found.rank.high) - np.arctanh(found.rank.low) == pytest.approx(wide, rel=0.4)


def test_views_of_a_woman_count_as_hers_and_not_as_more_women():
    measured, true, woman = amounts(40, 1, 9106)
    once = agree(measured, true, woman, generator=np.random.default_rng(3))
    copied = agree(np.tile(measured, 4), np.tile(true, 4), np.tile(woman, 4), generator=np.random.default_rng(3))
    assert (copied.units, copied.women) == (160, 40)
    assert copied.rank.value == pytest.approx(once.rank.value)
    for name in ("rank", "bias", "upper"):
        one, four = getattr(once, name), getattr(copied, name)
        assert four.high - four.low == pytest.approx(one.high - one.low, rel=0.05)


def test_a_perfect_order_has_an_interval_and_few_women_a_reason():
    true = np.arange(20.0)
    found = agree(true * 2, true, np.arange(20), generator=np.random.default_rng(4)).rank
    assert found.value == found.high == 1 and 0.6 < found.low < 0.98
    turned = agree(-true, true, np.arange(20), generator=np.random.default_rng(4)).rank
    assert turned.value == turned.low == -1 and turned.high == pytest.approx(-found.low)
    few = agree(true[:6], true[:6], np.arange(6) // 2, generator=np.random.default_rng(4))
    assert few.rank.value is None and few.bias.reason == "3 women; 4 are needed"


def test_amounts_that_do_not_differ_have_a_reason_and_no_interval():
    true = np.arange(20.0)
    alike = agree(true, true, np.arange(20), generator=np.random.default_rng(5))
    assert alike.bias.value == 0 and alike.bias.low is None and alike.bias.reason == "all differences are alike"
    constant = agree(np.zeros(20), true, np.arange(20), generator=np.random.default_rng(5))
    assert constant.rank.value is None and "alike" in constant.rank.reason and constant.bias.low is not None
