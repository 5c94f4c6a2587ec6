from __future__ import annotations

import math

import numpy as np
import pytest

from tramtrack.errors import UsageError
from tramtrack.evaluation.aggregate import Units
from tramtrack.evaluation.scores import Undefined
from tramtrack.evaluation.threshold import Threshold, choose_threshold


def units(scores, labels) -> Units:
    return Units("woman", np.arange(len(labels)), np.array(scores), np.array(labels))


def test_the_midpoint_between_the_two_neighbours():
    chosen = choose_threshold(units([0.1, 0.2, 0.6, 0.9], [0, 0, 1, 1]), "f1")
    assert chosen == Threshold("f1", "woman", 0.4, 1.0, n=4, positives=2, women=4)


def test_f1_and_youden_can_differ():
    # one positive is below nine of ten negatives: Youden gives it up, F1 too; with two classes alike F1 keeps all
    scores, labels = [0.1, 0.2, 0.3, 0.4, 0.5], [1, 0, 0, 1, 1]
    assert choose_threshold(units(scores, labels), "youden").value == pytest.approx(0.35)
    assert choose_threshold(units(scores, labels), "f1").achieved == 0.8
    scores, labels = [0.1, 0.2, 0.3], [1, 0, 1]
    assert choose_threshold(units(scores, labels), "f1").value == 0.1
    assert choose_threshold(units(scores, labels), "youden").value == pytest.approx(0.25)


def test_a_fixed_sensitivity_is_kept_at_the_highest_threshold():
    scores, labels = [0.1, 0.2, 0.3, 0.4, 0.5], [1, 0, 1, 0, 1]
    chosen = choose_threshold(units(scores, labels), "sensitivity", 0.6)
    assert (chosen.value, chosen.achieved) == (pytest.approx(0.25), pytest.approx(2 / 3))
    assert choose_threshold(units(scores, labels), "sensitivity", 1.0).value == 0.1
    assert choose_threshold(units(scores, labels), "sensitivity", 1 / 3).value == pytest.approx(0.45)


def test_a_fixed_specificity_is_kept_at_the_lowest_threshold():
    scores, labels = [0.1, 0.2, 0.3, 0.4, 0.5], [0, 1, 0, 1, 1]
    chosen = choose_threshold(units(scores, labels), "specificity", 0.5)
    assert (chosen.value, chosen.achieved) == (pytest.approx(0.15), 0.5)
    assert choose_threshold(units(scores, labels), "specificity", 0.9).value == pytest.approx(0.35)
    none_called = choose_threshold(units([0.1, 0.5, 0.5], [1, 0, 1]), "specificity", 1.0)
    assert 0.5 < none_called.value < 0.5 + 1e-9 and none_called.achieved == 1.0
    with pytest.raises(UsageError, match=r"least sensitivity 0: expected a share above 0 and up to 1"):
        choose_threshold(units(scores, labels), "sensitivity", 0)


def test_of_equals_the_lowest():
    # F1: 4 / 6 with all four positive, 2 / 3 with the uppermost alone
    assert choose_threshold(units([0.1, 0.2, 0.3, 0.4], [1, 0, 0, 1]), "f1").value == 0.1
    # J: -0.5 + 1 at .1 (all positive, 0), .5 at the cut under .2, 0 under .3, .5 under .4
    chosen = choose_threshold(units([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1]), "youden")
    assert (chosen.value, chosen.achieved) == (pytest.approx(0.15), 0.5)


def test_constant_scores_call_everything_positive():
    assert choose_threshold(units([0.5] * 4, [0, 0, 1, 1])).value == 0.5


def test_neighbouring_floats_still_fall_apart():
    low = 0.3
    high = float(np.nextafter(low, 1))
    assert choose_threshold(units([low, high], [0, 1])).value == high


def test_one_class_or_missing_scores_give_no_threshold():
    assert choose_threshold(units([0.1, 0.2], [0, 0])) == Undefined("threshold", "no positive woman", 2, 0, 2)
    assert choose_threshold(units([0.1, 0.2], [1, 1])).reason == "no negative woman"
    assert choose_threshold(units([0.1, math.nan], [1, 0])).reason == "scores not finite (1 of 2)"


def test_an_unknown_rule_is_named():
    with pytest.raises(UsageError, match="threshold rule best: expected one of f1, youden, sensitivity, specificity"):
        choose_threshold(units([0.1, 0.2], [0, 1]), "best")
