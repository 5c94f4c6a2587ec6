from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

from tramtrack.errors import UsageError
from tramtrack.evaluation.aggregate import Units
from tramtrack.evaluation.intervals import (
    BOUNDARY_METHOD,
    CLUSTER_METHOD,
    Sample,
    interval,
    newcombe,
    newcombe_variance,
    score,
    score_all,
    standard_error,
    wilson,
)
from tramtrack.evaluation.resampling import estimate, resample_women, resampled
from tramtrack.evaluation.scores import METRICS, Score, Undefined

Z = stats.norm.ppf(0.975)


def cohort(seed: int = 0, women: int = 60, views: int = 4, shared: float = 0.0) -> Units:
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(women) % 3 == 0, views)
    own = np.repeat(generator.normal(size=women), views)
    noise = generator.normal(size=women * views)
    scores = 1.2 * labels + math.sqrt(shared) * own + math.sqrt(1 - shared) * noise
    return Units("view", np.repeat(np.arange(women), views), scores, labels)


def test_each_resample_draws_as_many_women_as_there_are():
    weights = resample_women(7, 1000, np.random.default_rng(1))
    assert weights.shape == (7, 1000)
    assert (weights.sum(axis=0) == 7).all()
    # Multinomial(7, 1/7): each woman is absent from a share (6/7)^7 = .34 of resamples
    np.testing.assert_allclose((weights == 0).mean(axis=1), (6 / 7) ** 7, atol=0.05)


@pytest.mark.parametrize("metric", METRICS)
def test_a_resample_is_the_metric_on_repeated_women(metric):
    units = cohort(women=12)
    weights = resample_women(12, 300, np.random.default_rng(2))
    values = resampled(metric, units.labels, units.scores, units.woman, weights, 0.5)
    for column in (0, 137, 299):
        repeated = np.repeat(np.arange(len(units)), weights[units.woman, column])
        expected = estimate(metric, units.labels[repeated], units.scores[repeated], 0.5)
        assert values[column] == pytest.approx(expected, rel=1e-12)


def test_chunks_change_nothing(monkeypatch):
    units = cohort(shared=0.9)
    whole = score("auc_roc", units, generator=np.random.default_rng(3))
    monkeypatch.setattr("tramtrack.evaluation.ranks.CELLS_AT_ONCE", 1000)
    assert score("auc_roc", units, generator=np.random.default_rng(3)) == whole


def test_wilson_is_scipys():
    for positive, size in ((0, 5), (3, 7), (30, 30)):
        expected = stats.binomtest(positive, size).proportion_ci(method="wilson")
        np.testing.assert_allclose(wilson(positive / size, size, Z), (expected.low, expected.high), atol=1e-12)


@pytest.mark.parametrize("auc", [0.02, 0.5, 0.9, 0.999])
def test_the_ends_of_newcombe_are_as_far_as_their_own_standard_error_says(auc):
    low, high = newcombe(auc, 30, 200, Z, inflation=1.7)
    assert 0 < low < auc < high < 1
    for end in (low, high):
        assert abs(end - auc) == pytest.approx(Z * math.sqrt(1.7 * newcombe_variance(end, 30, 200)), rel=1e-5)


def test_newcombe_at_its_boundaries_by_hand():
    # one positive and one negative: V = A (1 - A), which is Wilson's for one trial: (1 / (1 + z^2), 1)
    low, high = newcombe(1.0, 1, 1, Z)
    assert high == 1.0
    assert low == pytest.approx(1 / (1 + Z**2), abs=1e-9)
    assert newcombe(0.0, 1, 1, Z) == (0.0, pytest.approx(1 - low, abs=1e-9))


def test_by_woman_sensitivity_is_close_to_wilson_with_the_students_quantile():
    generator = np.random.default_rng(4)
    labels = np.arange(200) < 40
    scores = np.where(generator.permutation(200) < 100, 0.9, 0.1)
    units = Units("woman", np.arange(200), scores, labels)
    got = score("sensitivity", units, 0.5, generator=generator, resamples=4000)
    low, high = wilson(got.estimate, 40, stats.t.ppf(0.975, 39))
    assert got.method == CLUSTER_METHOD["sensitivity"]
    assert (got.low, got.high) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))


def test_the_sample_size_is_the_one_whose_variance_the_bootstrap_has():
    sample = Sample(units=(48, 200), women=(12, 50))
    students = stats.t.ppf(0.975, 11)
    spread = math.sqrt(0.3 * 0.7 / 20)
    low, high = wilson(0.3, 20, students)
    assert interval("sensitivity", 0.3, sample, spread, 0.95) == pytest.approx((low, high))
    # F1 = 2 J / (1 + J) has the slope 2 / (1 + J)^2, 1.183 at J = .3
    got = interval("f1", 0.6 / 1.3, sample, spread * 2 / 1.3**2, 0.95)
    assert got == pytest.approx((2 * low / (1 + low), 2 * high / (1 + high)))
    # never more than there are units
    assert interval("sensitivity", 0.3, sample, 1e-6, 0.95) == pytest.approx(wilson(0.3, 48, students))
    inflation = 0.06**2 / newcombe_variance(0.8, 12, 50)
    assert interval("auc_roc", 0.8, sample, 0.06, 0.95) == pytest.approx(newcombe(0.8, 12, 50, students, inflation))
    floor = newcombe_variance(0.8, 48, 200) / newcombe_variance(0.8, 12, 50)
    assert interval("auc_roc", 0.8, sample, 0.001, 0.95) == pytest.approx(newcombe(0.8, 12, 50, students, floor))


def test_equal_resamples_have_no_spread_not_even_by_rounding():
    assert np.full(1000, 0.1).std() > 0
    assert standard_error(np.full(1000, 0.1)) == 0
    assert standard_error(np.linspace(0, 1, 50)) == 0  # too few
    assert standard_error(np.linspace(0, 1, 1000)) == pytest.approx(0.289, abs=0.001)


@pytest.mark.parametrize("metric", METRICS)
def test_views_that_copy_their_woman_carry_no_more_than_she_does(metric):
    by_woman = cohort(women=90, views=1)
    copied = Units("view", np.repeat(by_woman.woman, 4), np.repeat(by_woman.scores, 4), np.repeat(by_woman.labels, 4))
    apart = Units("view", np.arange(360), copied.scores, copied.labels)
    clustered, independent, woman = (
        score(metric, units, 0.5, probabilities=special.expit(units.scores), generator=np.random.default_rng(5))
        for units in (copied, apart, by_woman)
    )
    assert clustered.estimate == independent.estimate == pytest.approx(woman.estimate, rel=1e-12)
    ratio = (clustered.high - clustered.low) / (independent.high - independent.low)
    assert 1.8 < ratio < 2.3  # four copies: twice the standard error
    assert clustered.high - clustered.low >= 0.9 * (woman.high - woman.low)


@pytest.mark.parametrize("threshold", [0.5])
def test_all_correct_gives_bounds_with_women_as_the_sample_size(threshold):
    labels = np.repeat([True] * 5 + [False] * 20, 4)
    units = Units("view", np.repeat(np.arange(25), 4), np.where(labels, 0.9, 0.1), labels)
    got = score_all(units, threshold, probabilities=labels * 1.0, generator=np.random.default_rng(6))
    assert {metric: value.estimate for metric, value in got.items()} == {**dict.fromkeys(METRICS, 1.0), "brier": 0.0}
    assert {metric: value.method for metric, value in got.items()} == BOUNDARY_METHOD
    assert got["sensitivity"].low == pytest.approx(5 / (5 + Z**2))
    assert got["specificity"].low == pytest.approx(20 / (20 + Z**2))
    jaccard = 5 / (5 + Z**2)
    assert got["f1"].low == pytest.approx(2 * jaccard / (1 + jaccard))
    assert got["auc_roc"].low == pytest.approx(newcombe(1.0, 5, 20, Z)[0])
    assert got["ppv"].low == got["average_precision"].low == pytest.approx(5 / (5 + Z**2))
    assert got["npv"].low == pytest.approx(20 / (20 + Z**2))
    assert got["partial_auc"].low == pytest.approx(0.5 * (1 + (5 / (5 + Z**2) - 0.1) / 0.9))
    assert (got["brier"].low, got["brier"].high) == (0.0, pytest.approx(1 - 20 / (20 + Z**2)))
    assert all(value.high == 1.0 for name, value in got.items() if name != "brier")


def test_two_women():
    units = Units("woman", np.array(["a", "b"]), np.array([0.2, 0.7]), np.array([0, 1]))
    got = score("auc_roc", units, generator=np.random.default_rng(7), resamples=1000)
    assert isinstance(got, Score)
    assert (got.estimate, got.high, got.women) == (1.0, 1.0, 2)
    assert got.low == pytest.approx(0.2065, abs=1e-4)
    assert 400 < got.dropped < 600  # half of the resamples draw one woman twice
    assert got.resamples + got.dropped == 1000


def test_one_class_nan_scores_and_no_threshold_are_undefined():
    generator = np.random.default_rng(8)
    negative = Units("view", np.array([1, 1, 2]), np.array([0.1, 0.9, 0.2]), np.zeros(3))
    got = score_all(negative, 0.5, generator=generator)
    assert got["auc_roc"] == Undefined("auc_roc", "no positive view", 3, 0, 2)
    assert got["sensitivity"].reason == "no positive view"
    assert got["specificity"].estimate == 2 / 3
    assert got["f1"].estimate == 0.0
    assert got["f1"].high > 0
    missing = Units("view", np.array([1, 2]), np.array([0.1, math.nan]), np.array([0, 1]))
    broken = score_all(missing, 0.5, probabilities=missing.scores, generator=generator)
    assert {value.reason for value in broken.values()} == {"scores not finite (1 of 2)"}
    none = score_all(cohort(), Undefined("threshold", "no positive view", 9, 0, 9), generator=generator)
    assert none["f1"].reason == "no threshold: no positive view in validation"
    assert isinstance(none["auc_roc"], Score)
    assert none["brier"].reason == "no recalibration was made"
    one_class = Undefined("recalibration", "no positive view", 9, 0, 9)
    assert score("brier", cohort(), probabilities=one_class, generator=generator).reason == (
        "no recalibration: no positive view in validation"
    )
    assert score("f1", cohort(), generator=generator).reason == "no threshold was chosen"
    empty = Units("woman", np.array([]), np.array([]), np.array([]))
    assert score("auc_roc", empty, generator=generator).reason == "no woman with a known label"


def test_no_woman_cannot_be_resampled():
    with pytest.raises(UsageError, match="received 0 and 10"):
        resample_women(0, 10, np.random.default_rng(0))
