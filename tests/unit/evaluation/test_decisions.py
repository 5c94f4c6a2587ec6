from __future__ import annotations

import numpy as np
import pytest

from tramtrack.errors import UsageError
from tramtrack.evaluation.aggregate import Units
from tramtrack.evaluation.calibration import Recalibration
from tramtrack.evaluation.decisions import CHANCES, decision_curve, predictive_scores
from tramtrack.evaluation.resampling import estimate, resample_women
from tramtrack.evaluation.scores import Undefined

SCORES = np.array([0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75])
LABELS = np.array([0, 0, 1, 0, 0, 1, 0, 1])
AS_THEY_ARE = Recalibration("woman", 0.0, 1.0, 3 / 8, 8, 3, 8)
WEIGHTS = resample_women(8, 300, np.random.default_rng(0))


def women(labels=LABELS) -> Units:
    return Units("woman", np.arange(8), SCORES, labels)


def test_net_benefit_by_hand():
    got = decision_curve(women(), AS_THEY_ARE, WEIGHTS)
    at = {round(float(chance), 2): value for chance, value in zip(got.chances, got.net_benefit, strict=True)}
    assert at[0.2] == pytest.approx(3 / 8 - 3 / 8 * 0.25)  # six called, three of them rightly
    assert at[0.5] == pytest.approx(2 / 8 - 1 / 8)
    assert got.all_called[19] == pytest.approx(3 / 8 - 5 / 8 * 0.25)
    assert got.net_benefit[0] == pytest.approx(got.all_called[0])  # from 1 % on every one of these is called


def test_at_a_stated_prevalence_probabilities_and_shares_move_once():
    got = decision_curve(women(), AS_THEY_ARE, WEIGHTS, prevalence=0.1)
    odds = (0.1 / 0.9) / (3 / 5)
    moved = SCORES / (1 - SCORES) * odds
    called = moved / (1 + moved) >= 0.2
    sensitivity, false = called[LABELS == 1].mean(), called[LABELS == 0].mean()
    assert got.net_benefit[19] == pytest.approx(0.1 * sensitivity - 0.9 * false * 0.25)
    assert got.prevalence == 0.1
    same = decision_curve(women(), AS_THEY_ARE, WEIGHTS, prevalence=3 / 8)
    np.testing.assert_allclose(same.net_benefit, decision_curve(women(), AS_THEY_ARE, WEIGHTS).net_benefit)


def test_the_interval_has_a_width_or_is_not_there():
    got = decision_curve(women(), AS_THEY_ARE, WEIGHTS)
    known = np.isfinite(got.low)
    assert known.any()
    assert (got.low[known] < got.net_benefit[known]).all() and (got.net_benefit[known] < got.high[known]).all()


def test_predictive_values_by_bayes():
    # at .3: sensitivity 2 / 3 (.25 is missed), specificity 2 / 5 (.05 and .15 are cleared)
    got = predictive_scores(women(), 0.3, WEIGHTS, 0.1)
    true, false, missed, cleared = 0.1 * 2 / 3, 0.9 * 3 / 5, 0.1 / 3, 0.9 * 2 / 5
    assert got["ppv"].estimate == pytest.approx(true / (true + false))
    assert got["npv"].estimate == pytest.approx(cleared / (cleared + missed))
    assert all(score.low < score.estimate < score.high for score in got.values())
    assert predictive_scores(women(), 0.9, WEIGHTS, 0.1)["ppv"].reason == "no woman called positive"
    assert predictive_scores(women(np.zeros(8)), 0.3, WEIGHTS, 0.1)["npv"].reason == "no positive woman"
    with pytest.raises(UsageError, match="prevalence 0: expected a share between 0 and 1"):
        predictive_scores(women(), 0.3, WEIGHTS, 0)


def test_at_the_prevalence_of_the_fold_they_are_the_plain_ones():
    weights, units = resample_women(8, 400, np.random.default_rng(1)), women()
    for name, got in predictive_scores(units, 0.3, weights, 3 / 8).items():
        assert got.estimate == pytest.approx(estimate(name, units.labels, units.scores, 0.3))


def test_one_class_and_other_units():
    assert decision_curve(women(np.zeros(8)), AS_THEY_ARE, WEIGHTS) == Undefined("decision_curve", "no positive woman", 8, 0, 8)
    with pytest.raises(UsageError, match="decision curve of views: expected women"):
        decision_curve(Units("view", np.arange(8), SCORES, LABELS), AS_THEY_ARE, WEIGHTS)
    assert len(CHANCES) == 60 and CHANCES[-1] == 0.6
