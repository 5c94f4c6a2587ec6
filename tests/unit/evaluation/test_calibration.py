from __future__ import annotations

import numpy as np
import pytest
from scipy import special
from sklearn.linear_model import LogisticRegression

from tramtrack.errors import UsageError
from tramtrack.evaluation.aggregate import Units
from tramtrack.evaluation.calibration import (
    Reliability,
    calibration_groups,
    logits,
    recalibrate,
    reliability,
)
from tramtrack.evaluation.resampling import resample_women
from tramtrack.evaluation.scores import Undefined


def cohort(women: int = 600, intercept: float = -1.5, slope: float = 0.5, seed: int = 0) -> Units:
    """Women whose scores have a logit x, and BAC with probability expit(intercept + slope * x)."""
    generator = np.random.default_rng(seed)
    x = generator.normal(0, 2, women)
    labels = generator.random(women) < special.expit(intercept + slope * x)
    return Units("woman", np.arange(women), special.expit(x), labels)


def test_the_fit_is_the_maximum_likelihood_with_platts_targets():
    units = cohort()
    found = recalibrate(units)
    positives = units.positives
    x = logits(units.scores)[:, None]
    high, low = (positives + 1) / (positives + 2), 1 / (len(units) - positives + 2)
    share = np.where(units.labels, high, low)
    twice = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(
        np.vstack([x, x]), np.repeat([1, 0], len(units)), sample_weight=np.concatenate([share, 1 - share])
    )
    assert found.intercept == pytest.approx(twice.intercept_[0], abs=1e-6)
    assert found.slope == pytest.approx(twice.coef_[0, 0], abs=1e-6)
    assert found.prevalence == positives / len(units)
    assert found.probabilities(units.scores).mean() == pytest.approx(share.mean())


def test_recalibrated_probabilities_hold_on_other_women():
    fitted = recalibrate(cohort(20_000, seed=1))
    fresh = cohort(2000, seed=4)
    weights = resample_women(2000, 500, np.random.default_rng(0))
    found = reliability(fresh, fitted.probabilities(fresh.scores), weights)
    assert found.intercept_interval[0] < 0 < found.intercept_interval[1]
    assert found.slope_interval[0] < 1 < found.slope_interval[1]
    raw = reliability(fresh, fresh.scores, weights)
    assert raw.slope_interval[1] < 1  # the raw scores are too extreme, and too high
    assert raw.intercept_interval[1] < 0


def test_slope_and_intercept_are_logistic_regressions_and_their_intervals_the_bootstraps():
    units = cohort(300)
    probabilities = special.expit(0.3 + 0.8 * logits(units.scores))
    weights = resample_women(300, 400, np.random.default_rng(1))
    found = reliability(units, probabilities, weights)
    x = logits(probabilities)[:, None]
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    assert found.slope == pytest.approx(model.fit(x, units.labels).coef_[0, 0], abs=1e-5)
    assert special.expit(x[:, 0] + found.intercept).mean() == pytest.approx(units.labels.mean())
    slopes = [model.fit(x, units.labels, sample_weight=column).coef_[0, 0] for column in weights.T[:200]]
    half = (found.slope_interval[1] - found.slope_interval[0]) / 2
    assert half == pytest.approx(1.98 * np.std(slopes), rel=0.15)


def test_views_that_copy_their_woman_make_no_interval_narrower():
    units = cohort(200)
    copied = Units("view", np.repeat(units.woman, 4), np.repeat(units.scores, 4), np.repeat(units.labels, 4))
    weights = resample_women(200, 400, np.random.default_rng(1))
    assert reliability(copied, copied.scores, weights).slope_interval == pytest.approx(
        reliability(units, units.scores, weights).slope_interval
    )


def test_a_shift_of_prevalence_multiplies_the_odds_once():
    fitted = recalibrate(cohort())
    scores = np.array([0.1, 0.5, 0.9])
    natural, shifted = fitted.probabilities(scores), fitted.probabilities(scores, 0.05)
    expected = (0.05 / 0.95) / (fitted.prevalence / (1 - fitted.prevalence))
    np.testing.assert_allclose((shifted / (1 - shifted)) / (natural / (1 - natural)), expected)
    np.testing.assert_allclose(fitted.probabilities(scores, fitted.prevalence), natural)
    with pytest.raises(UsageError, match=r"prevalence 1\.5: expected a share between 0 and 1"):
        fitted.probabilities(scores, 1.5)
    views = recalibrate(Units("view", np.arange(4), np.array([0.1, 0.4, 0.3, 0.8]), np.array([0, 0, 1, 1])))
    with pytest.raises(UsageError, match="expected probabilities of women"):
        views.probabilities(scores, 0.1)


def test_equal_probabilities_have_no_slope_and_the_reason_is_theirs():
    units = Units("woman", np.arange(6), np.full(6, 0.4), np.array([0, 1, 0, 1, 0, 1]))
    got = reliability(units, np.full(6, 0.4), resample_women(6, 200, np.random.default_rng(0)))
    assert isinstance(got, Undefined) and got.reason == "all probabilities are equal, so there is no slope"


def test_separated_classes_can_be_recalibrated_but_have_no_slope():
    units = Units("woman", np.arange(6), np.array([0.0, 0.1, 0.2, 0.7, 0.9, 1.0]), np.array([0, 0, 0, 1, 1, 1]))
    fitted = recalibrate(units)
    probabilities = fitted.probabilities(units.scores)
    assert np.isfinite(probabilities).all() and (np.diff(probabilities) > 0).all()
    got = reliability(units, probabilities, resample_women(6, 200, np.random.default_rng(0)))
    assert isinstance(got, Undefined) and "do not overlap" in got.reason


@pytest.mark.parametrize("women", (1, 2))
def test_women_who_are_all_alike_make_no_interval(women):
    scores, labels = np.array([0.2, 0.4, 0.6, 0.8]), np.array([0, 1, 0, 1])
    units = Units("view", np.repeat(np.arange(women), 4), np.tile(scores, women), np.tile(labels, women))
    got = reliability(units, units.scores, resample_women(women, 200, np.random.default_rng(0)))
    assert isinstance(got, Undefined) and got.reason.startswith("every resample of these women gives the same numbers")


def test_what_cannot_be_calibrated_says_why():
    def units(scores, labels):
        return Units("woman", np.arange(len(labels)), np.array(scores), np.array(labels))

    assert recalibrate(units([0.1, 0.2], [0, 0])) == Undefined("recalibration", "no positive woman", 2, 0, 2)
    assert recalibrate(units([0.5, 0.5], [0, 1])).reason == "every woman has the same score"
    assert recalibrate(units([0.5, np.nan], [0, 1])).reason == "scores not finite (1 of 2)"


def test_groups_hold_every_unit_once_and_their_intervals_hold_the_share():
    units = cohort(237)
    weights = resample_women(237, 300, np.random.default_rng(0))
    found = calibration_groups(units, units.scores, weights)
    assert len(found) == 10
    assert sum(group.n for group in found) == 237 and sum(group.positives for group in found) == units.positives
    for group in found:
        assert 0 <= group.low <= group.observed == group.positives / group.n <= group.high <= 1
        assert group.low < group.high
    constant = calibration_groups(units, np.full(237, 0.3), weights)
    assert [group.n for group in constant] == [237]


def test_the_band_holds_the_curve():
    units = cohort(200)
    got = reliability(units, units.scores, resample_women(200, 300, np.random.default_rng(0)))
    assert isinstance(got, Reliability)
    assert (got.band[0] < got.curve).all() and (got.curve < got.band[1]).all()
