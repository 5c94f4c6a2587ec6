"""The textbook's intervals in benchmarks/: held to scipy's BCa, to our own clustered variance, and to a nested bootstrap."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

from rival_intervals import METHODS, auc_errors, bca, every_method, logit, percentile, ratio_errors, studentised, wilson
from tramtrack.evaluation.aggregate import Units
from tramtrack.evaluation.clustered import auc_covariance
from tramtrack.evaluation.intervals import wilson as wilson_of_size
from tramtrack.evaluation.resampling import estimate, resample_women


@pytest.fixture
def drawn():
    """60 women with three views each, half of the first 20 women's views positive, and 300 resamples of women."""
    generator = np.random.default_rng(11)
    labels = np.zeros((60, 3), dtype=bool)
    labels[:20] = generator.random((20, 3)) < 0.5
    labels[0, 0] = True
    scores = labels + generator.normal(size=(60, 1)) + generator.normal(size=(60, 3))
    return labels, scores, resample_women(60, 300, generator)


def test_bca_and_percentile_are_scipys():
    sample = np.random.default_rng(3).exponential(size=40)
    found = stats.bootstrap((sample,), np.mean, method="BCa", n_resamples=500, random_state=1)
    without_one = np.array([np.delete(sample, k).mean() for k in range(len(sample))])
    assert bca(sample.mean(), found.bootstrap_distribution, without_one, 0.95) == pytest.approx(found.confidence_interval)
    plain = stats.bootstrap((sample,), np.mean, method="percentile", n_resamples=0, bootstrap_result=found)
    assert percentile(found.bootstrap_distribution, 0.95) == pytest.approx(plain.confidence_interval)


def test_the_error_of_an_auc_is_obuchowskis_but_for_its_small_sample_factors(drawn):
    labels, scores, _ = drawn
    woman = np.repeat(np.arange(60), 3)
    order = np.argsort(~labels.any(axis=1), kind="stable")
    (known,) = auc_errors(labels[order], scores[order], np.ones((60, 1), dtype=np.int32))
    covariance = auc_covariance([scores.ravel()], labels.ravel(), woman)[1]
    assert known == pytest.approx(np.sqrt(covariance[0, 0]), rel=0.04)


def test_errors_of_a_resample_are_those_of_the_cohort_that_it_is(drawn):
    """A woman who was drawn twice counts as two women; columns are cut into blocks, and 300 are more than one."""
    labels, scores, weights = drawn
    hit = (labels & (scores >= 0.5)).sum(axis=1).astype(float)
    shown = labels.sum(axis=1).astype(float)
    errors, ratios = auc_errors(labels, scores, weights), ratio_errors(hit, shown, weights)
    for column in (0, 63, 64, 299):
        rows = np.repeat(np.arange(60), weights[:, column])
        once = np.ones((60, 1), dtype=np.int32)
        assert errors[column] == pytest.approx(auc_errors(labels[rows], scores[rows], once)[0])
        assert ratios[column] == pytest.approx(ratio_errors(hit[rows], shown[rows], once)[0])


def test_the_error_of_a_ratio_is_near_its_spread_over_resamples(drawn):
    labels, scores, weights = drawn
    hit, shown = (labels & (scores >= 0.5)).sum(axis=1).astype(float), labels.sum(axis=1).astype(float)
    (error,) = ratio_errors(hit, shown, np.ones((60, 1), dtype=np.int32))
    assert error == pytest.approx(np.std(hit @ weights / (shown @ weights)), rel=0.15)


def test_wilson_and_logit():
    """Wilson's of the size with the same variance; on the logit scale the interval is symmetric."""
    values = np.random.default_rng(5).normal(0.8, 0.05, 1000)
    size = 0.8 * 0.2 / values.std(ddof=1) ** 2
    assert wilson(0.8, values, 0.95) == pytest.approx(wilson_of_size(0.8, size, stats.norm.ppf(0.975)))
    low, high = (np.log(bound / (1 - bound)) for bound in logit(0.8, values, 0.95))
    assert (low + high) / 2 == pytest.approx(np.log(4))
    assert high - low == pytest.approx(2 * stats.norm.ppf(0.975) * values.std(ddof=1) / 0.16)


def test_studentised_turns_the_distances_round():
    """Resamples far above the cohort's value lower the lower bound, as Davison and Hinkley have it; 0 and 1 are the ends."""
    values, errors = np.array([0.5, 0.6, 0.6, 0.9]), np.array([0.1, 0.1, 0.1, 0.1])
    assert studentised(0.6, 0.1, values, errors, 0.5) == pytest.approx((0.6, 0.7))
    assert studentised(0.6, 0.1, values, errors, 0.95) == pytest.approx((0.3, 0.7))
    assert studentised(0.6, 0.1, values, np.array([0.1, 0.0, 0.1, 0.0]), 0.95)[0] == 0.0
    assert studentised(1.0, 0.0, values, errors, 0.95) == (1.0, 1.0)


def test_every_method_speaks_of_the_same_cohort(drawn):
    labels, scores, weights = drawn
    units = Units("view", np.repeat(np.arange(60), 3), scores.ravel(), labels.ravel())
    found = every_method(units, 0.5, weights, 0.95)
    assert set(found) == {"auc_roc", "f1", "sensitivity"}
    for metric, intervals in found.items():
        assert tuple(intervals) == METHODS
        value = estimate(metric, units.labels, units.scores, 0.5)
        assert all(0 <= low < value < high <= 1 for low, high in intervals.values())
