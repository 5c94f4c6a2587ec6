from __future__ import annotations

import numpy as np
import pytest

from tramtrack.evaluation.aggregate import Units
from tramtrack.evaluation.curves import GRID, roc_band, roc_curve
from tramtrack.evaluation.intervals import Sample, interval
from tramtrack.evaluation.resampling import resample_women
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


def test_the_band_holds_the_curve_and_is_a_sensitivitys_at_each_point():
    generator = np.random.default_rng(0)
    labels = np.arange(120) % 3 == 0
    women = Units("woman", np.arange(120), labels + generator.normal(size=120), labels)
    weights = resample_women(120, 400, np.random.default_rng(1))
    estimate, low, high = roc_band(women, weights)
    assert (low <= estimate).all() and (estimate <= high).all() and (low < high).all()
    drawn = []
    for column in weights.T:  # each resample is the curve of repeated women
        repeated = np.repeat(np.arange(120), column)
        curve = roc_curve(Units("woman", repeated, women.scores[repeated], labels[repeated]))
        drawn.append(np.interp(GRID[12], curve.fpr, curve.tpr))
    sample = Sample((40, 80), (40, 80))
    expected = interval("sensitivity", estimate[12], sample, np.std(drawn, ddof=1), 0.95)
    assert (low[12], high[12]) == pytest.approx(expected)


def test_tied_and_constant_scores_have_a_band_and_one_class_has_none():
    weights = resample_women(5, 200, np.random.default_rng(0))
    constant = roc_band(units([0.5] * 5, [1, 0, 0, 1, 0]), weights)
    np.testing.assert_allclose(constant[0], GRID)
    assert (constant[1] < constant[2]).all()
    assert roc_band(units([0.5, 0.6], [0, 0]), weights).reason == "no positive view"
