from __future__ import annotations

import numpy as np

from tramtrack.evaluation.aggregate import Units
from tramtrack.evaluation.curves import roc_curve
from tramtrack.evaluation.scores import Undefined


def units(scores, labels) -> Units:
    return Units("view", np.arange(len(labels)), np.array(scores), np.array(labels))


def test_corners_only():
    curve = roc_curve(units([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [1, 1, 0, 0, 1, 0]))
    assert curve.fpr.tolist() == [0, 0, 2 / 3, 2 / 3, 1]
    assert curve.tpr.tolist() == [0, 2 / 3, 2 / 3, 1, 1]
    assert curve.thresholds[1:].tolist() == [0.8, 0.6, 0.5, 0.4]
    assert 0.9 < curve.thresholds[0] < 0.9 + 1e-9


def test_constant_scores_are_the_diagonal():
    curve = roc_curve(units([0.5] * 5, [1, 0, 0, 1, 0]))
    assert (curve.fpr.tolist(), curve.tpr.tolist()) == ([0, 1], [0, 1])


def test_one_class_has_no_curve():
    assert roc_curve(units([0.5, 0.6], [0, 0])) == Undefined("roc_curve", "no positive view", 2, 0, 2)
