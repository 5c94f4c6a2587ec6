from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from tramtrack.errors import UsageError
from tramtrack.evaluation.scores import METRICS, Score, estimate, undefined_reason, weighted_auc

LABELS = np.array([0, 0, 1, 1, 0, 1], dtype=bool)
SCORES = np.array([0.1, 0.4, 0.4, 0.8, 0.8, 0.2])


def test_auc_by_hand_with_ties_counting_half():
    # positives .4 .8 .2 against negatives .1 .4 .8: (1 + .5 + 0) + (1 + 1 + .5) + (1 + 0 + 0) of 9
    assert estimate("auc_roc", LABELS, SCORES) == 5 / 9


def test_a_score_on_the_threshold_is_positive():
    # at .4: TP 2 (.4, .8), FP 2 (.4, .8), FN 1 (.2), TN 1 (.1)
    assert estimate("sensitivity", LABELS, SCORES, 0.4) == 2 / 3
    assert estimate("specificity", LABELS, SCORES, 0.4) == 1 / 3
    assert estimate("f1", LABELS, SCORES, 0.4) == 4 / 7


def test_every_column_of_weights_is_its_own_resample():
    generator = np.random.default_rng(3)
    labels, scores = generator.random(40) < 0.3, generator.integers(0, 8, 40) / 8
    weights = generator.integers(0, 4, (40, 7))
    expected = [reference.roc_auc_score(labels, scores, sample_weight=column) for column in weights.T]
    np.testing.assert_allclose(weighted_auc(labels, scores, weights), expected, rtol=1e-12)


def test_a_column_without_a_class_is_nan_and_the_others_are_not():
    weights = np.ones((6, 2), dtype=np.int64)
    weights[LABELS, 0] = 0
    with np.errstate(all="raise"):  # and no warning on the way
        values = weighted_auc(LABELS, SCORES, weights)
    assert math.isnan(values[0])
    assert values[1] == 5 / 9


@pytest.mark.parametrize(
    ("metric", "labels", "scores", "reason"),
    [
        ("auc_roc", [0, 0], [0.1, 0.9], "no positive view"),
        ("auc_roc", [1, 1], [0.1, 0.9], "no negative view"),
        ("sensitivity", [0, 0], [0.1, 0.9], "no positive view"),
        ("specificity", [1, 1], [0.1, 0.9], "no negative view"),
        ("f1", [0, 0], [0.1, 0.2], "no view predicted or truly positive"),
        ("f1", [0, 0], [0.1, 0.9], None),
        ("auc_roc", [0, 1], [0.1, math.nan], "scores not finite (1 of 2)"),
        ("f1", [0, 1], [0.1, math.inf], "scores not finite (1 of 2)"),
        ("f1", [], [], "no view with a known label"),
    ],
)
def test_the_reason_for_no_value(metric, labels, scores, reason):
    assert undefined_reason(metric, np.array(labels, bool), np.array(scores, float), 0.5, "view") == reason


def test_a_score_must_hold_its_estimate_and_have_a_width():
    with pytest.raises(ValueError, match="low < high"):
        Score("f1", 1.0, 1.0, 1.0, "none", 2, 1, 2)
    with pytest.raises(ValueError, match=r"received low 0\.5, estimate 0\.4"):
        Score("f1", 0.4, 0.5, 0.6, "none", 2, 1, 2)
    with pytest.raises(ValueError, match="estimate nan"):
        Score("f1", math.nan, 0.5, 0.6, "none", 2, 1, 2)


def test_an_unknown_metric_and_a_missing_threshold_are_named():
    with pytest.raises(UsageError, match=f"metric accuracy: expected one of {', '.join(METRICS)}"):
        estimate("accuracy", LABELS, SCORES)
    with pytest.raises(UsageError, match="metric f1: expected a threshold"):
        estimate("f1", LABELS, SCORES)
