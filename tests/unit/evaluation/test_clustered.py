from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from tramtrack.errors import UsageError
from tramtrack.evaluation.clustered import auc_covariance, delong, delong_differences, mcnemar
from tramtrack.evaluation.comparisons import compare
from tramtrack.evaluation.resampling import estimate, resample_women, resampled


def views(women: int = 150, shared: float = 0.5, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Two networks on four views a woman: (scores, labels, woman); a positive woman has views of both classes."""
    generator = np.random.default_rng(seed)
    woman = np.repeat(np.arange(women), 4)
    labels = (woman % 3 == 0) & (generator.random(4 * women) < 0.75)
    common = np.repeat(generator.normal(size=women), 4)
    scores = [
        strength * labels + math.sqrt(shared) * common + math.sqrt(1 - shared) * generator.normal(size=4 * women)
        for strength in (1.5, 1.0)
    ]
    return scores, labels, woman


def test_delong_by_hand():
    # positives 3, 1; negatives 2, 0: V10 = (1, .5), V01 = (.5, 1), AUC .75; each variance .125, so .125 / 2 + .125 / 2
    aucs, covariance = delong([[3.0, 1.0, 2.0, 0.0]], [1, 1, 0, 0], [1, 2, 3, 4])
    assert aucs.tolist() == [0.75] and covariance.tolist() == [[0.125]]


def test_the_variance_for_clustered_views_is_the_bootstraps():
    scores, labels, woman = views()
    aucs, covariance = auc_covariance(scores, labels, woman)
    assert aucs[0] == pytest.approx(estimate("auc_roc", labels, scores[0]))
    weights = resample_women(150, 3000, np.random.default_rng(1))
    drawn = np.stack([resampled("auc_roc", labels, one, woman, weights) for one in scores])
    np.testing.assert_allclose(covariance, np.cov(drawn), rtol=0.12)
    independent = auc_covariance(scores, labels, np.arange(len(woman)))[1]
    assert covariance[0, 0] > 1.15 * independent[0, 0]


def test_views_that_copy_their_woman_carry_no_more_than_she_does():
    scores, labels, _ = views(60)
    once = auc_covariance(scores, labels, np.arange(240))[1]
    copied = auc_covariance([np.repeat(one, 4) for one in scores], np.repeat(labels, 4), np.repeat(np.arange(240), 4))[1]
    np.testing.assert_allclose(copied, once)


def test_seeds_are_averaged():
    scores, labels, woman = views()
    aucs, covariance = auc_covariance([np.stack(scores), *scores], labels, woman)
    assert aucs[0] == pytest.approx((aucs[1] + aucs[2]) / 2)
    assert covariance[0, 0] == pytest.approx((covariance[1, 1] + covariance[2, 2] + 2 * covariance[1, 2]) / 4)


def test_delong_is_only_for_one_score_a_woman():
    scores, labels, woman = views()
    with pytest.raises(UsageError, match="expected one score a woman, received several"):
        delong(scores, labels, woman)
    named = {"a": scores[0], "b": scores[1]}
    (by_view,) = compare(named, labels, woman, unit="view", generator=np.random.default_rng(0), resamples=200)
    assert by_view.p_delong is None
    options = {"unit": "woman", "generator": np.random.default_rng(0), "resamples": 4000}
    (by_woman,) = compare({name: values[:200] for name, values in named.items()}, labels[:200], np.arange(200), **options)
    assert by_woman.p_delong == pytest.approx(by_woman.p, abs=0.03)


def test_identical_scores_have_p_one_and_one_class_is_refused():
    scores, labels, _ = views(30)
    assert delong_differences([scores[0], scores[0]], labels, np.arange(120))[0, 1] == 1
    with pytest.raises(UsageError, match="expected units of both classes"):
        auc_covariance(scores, np.zeros(120, dtype=bool), np.arange(120))
    with pytest.raises(UsageError, match="two women of each class"):
        auc_covariance([scores[0][:2]], np.array([True, False]), np.arange(2))


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (5, 0), (9, 2), (3, 8), (4, 4)])
def test_one_unit_a_woman_is_mcnemars_exact_test(only_a, only_b):
    right_a = np.array([True] * only_a + [False] * only_b + [True] * 6)
    right_b = np.array([False] * only_a + [True] * only_b + [True] * 6)
    got = mcnemar(right_a, right_b, np.arange(len(right_a)))
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert got.p == pytest.approx(expected)
    assert (got.only_a, got.only_b, got.women) == (only_a, only_b, only_a + only_b)
    assert got.difference == pytest.approx((only_a - only_b) / len(right_a))


def test_four_discordant_views_of_one_woman_are_one_woman():
    right_a, right_b = np.ones(40, dtype=bool), np.repeat([False] * 3 + [True] * 7, 4)
    assert mcnemar(right_a, right_b, np.repeat(np.arange(10), 4)).p == pytest.approx(2 * 0.5**3)
    assert mcnemar(right_a, right_b, np.arange(40)).p == pytest.approx(2 * 0.5**12)


def test_many_women_are_obuchowskis_test():
    generator = np.random.default_rng(3)
    woman = np.repeat(np.arange(300), 4)
    hard = np.repeat(generator.random(300), 4)
    right_a, right_b = generator.random(1200) > 0.5 * hard, generator.random(1200) > 0.6 * hard
    got = mcnemar(right_a, right_b, woman)
    moved = np.bincount(woman, weights=right_a.astype(float) - right_b)
    z = abs(moved.sum()) / math.sqrt((moved**2).sum())
    assert got.p == pytest.approx(2 * stats.norm.sf(z), rel=0.15)
    assert 1e-4 < got.p < 0.5


def test_no_unit_is_refused():
    with pytest.raises(UsageError, match="received none"):
        mcnemar(np.array([], dtype=bool), np.array([], dtype=bool), np.array([]))
