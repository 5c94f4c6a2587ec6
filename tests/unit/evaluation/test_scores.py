from __future__ import annotations

import math

import numpy as np
import pytest

from tramtrack.errors import UsageError
from tramtrack.evaluation.resampling import estimate
from tramtrack.evaluation.scores import METRICS, Score, undefined_reason

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
    assert estimate("ppv", LABELS, SCORES, 0.4) == 2 / 4
    assert estimate("npv", LABELS, SCORES, 0.4) == 1 / 2


def test_the_brier_score_by_hand():
    # (.1 - 0)^2 + (.4 - 0)^2 + (.4 - 1)^2 + (.8 - 1)^2 + (.8 - 0)^2 + (.2 - 1)^2 = .01 + .16 + .36 + .04 + .64 + .64
    assert estimate("brier", LABELS, SCORES) == pytest.approx(1.85 / 6)


@pytest.mark.parametrize(
    ("metric", "labels", "scores", "reason"),
    [
        ("auc_roc", [0, 0], [0.1, 0.9], "no positive view"),
        ("auc_roc", [1, 1], [0.1, 0.9], "no negative view"),
        ("sensitivity", [0, 0], [0.1, 0.9], "no positive view"),
        ("specificity", [1, 1], [0.1, 0.9], "no negative view"),
        ("average_precision", [0, 0], [0.1, 0.9], "no positive view"),
        ("partial_auc", [1, 1], [0.1, 0.9], "no negative view"),
        ("ppv", [0, 1], [0.1, 0.2], "no view called positive"),
        ("npv", [0, 1], [0.5, 0.9], "no view called negative"),
        ("brier", [1, 1], [0.5, 0.9], None),
        ("f1", [0, 0], [0.1, 0.2], "no view predicted or truly positive"),
        ("f1", [0, 0], [0.1, 0.9], None),
        ("auc_roc", [0, 1], [0.1, math.nan], "scores not finite (1 of 2)"),
        ("f1", [0, 1], [0.1, math.inf], "scores not finite (1 of 2)"),
        ("f1", [], [], "no view with a known label"),
    ],
)
def test_the_reason_for_no_value(metric, labels, scores, reason):
    assert undefined_reason(metric, np.array(labels, bool), np.array(scores, float), 0.5, "view") == reason


@pytest.mark.parametrize(
    ("low", "estimate", "high", "text"),
    [
        (0.7, 0.81, 0.894, "0.81 (0.70 to 0.89)"),
        (0.9962, 0.9997, 0.99998, "1.000 (0.996 to 1.000)"),
        (0.0004, 0.0008, 0.0017, "0.001 (0.000 to 0.002)"),
        (0.99996, 0.99999, 1.0, "0.99999 (0.99996 to 1.00000)"),
    ],
)
def test_no_interval_is_printed_without_width(low, estimate, high, text):
    assert str(Score("auc_roc", estimate, low, high, "-", 100, 10, 30)) == text


def test_a_score_must_hold_its_estimate_and_have_a_width():
    with pytest.raises(ValueError, match="low < high"):
        Score("f1", 1.0, 1.0, 1.0, "none", 2, 1, 2)
    with pytest.raises(ValueError, match=r"received low 0\.5, estimate 0\.4"):
        Score("f1", 0.4, 0.5, 0.6, "none", 2, 1, 2)
    with pytest.raises(ValueError, match="estimate nan"):
        Score("f1", math.nan, 0.5, 0.6, "none", 2, 1, 2)


def test_chance_is_the_prevalence_for_the_average_precision():
    assert Score("average_precision", 0.5, 0.3, 0.7, "none", 40, 10, 40).chance == 0.25
    assert Score("partial_auc", 0.5, 0.3, 0.7, "none", 40, 10, 40).chance == 0.5
    assert Score("ppv", 0.5, 0.3, 0.7, "none", 40, 10, 40).chance is None


def test_an_unknown_metric_and_a_missing_threshold_are_named():
    with pytest.raises(UsageError, match=f"metric accuracy: expected one of {', '.join(METRICS)}"):
        estimate("accuracy", LABELS, SCORES)
    with pytest.raises(UsageError, match="metric f1: expected a threshold"):
        estimate("f1", LABELS, SCORES)
