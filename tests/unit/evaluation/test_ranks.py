from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from tramtrack.evaluation import ranks
from tramtrack.evaluation.ranks import mcclish, mean_sensitivity, rank_metrics
from tramtrack.evaluation.resampling import estimate

LABELS = np.array([0, 0, 1, 1, 0, 1], dtype=bool)
SCORES = np.array([0.1, 0.4, 0.4, 0.8, 0.8, 0.2])
EACH = np.arange(6)


def test_every_column_of_weights_is_its_own_resample():
    generator = np.random.default_rng(3)
    labels, scores = generator.random(40) < 0.3, generator.integers(0, 8, 40) / 8
    weights = generator.integers(0, 4, (40, 7)).astype(np.int32)
    found = rank_metrics(labels, scores, np.arange(40), weights)
    for k, column in enumerate(weights.T):
        options = {"sample_weight": column}
        assert found["auc_roc"][k] == pytest.approx(reference.roc_auc_score(labels, scores, **options), rel=1e-12)
        assert found["partial_auc"][k] == pytest.approx(reference.roc_auc_score(labels, scores, max_fpr=0.2, **options))
        precision = reference.average_precision_score(labels, scores, **options)
        assert found["average_precision"][k] == pytest.approx(precision, rel=1e-12)


def test_units_share_the_weight_of_their_woman():
    woman = np.array([0, 0, 1, 1, 2, 2])
    weights = np.array([[1, 2], [1, 0], [1, 3]], dtype=np.int32)
    expected = rank_metrics(LABELS, SCORES, EACH, weights[woman])
    for name, values in rank_metrics(LABELS, SCORES, woman, weights).items():
        np.testing.assert_array_equal(values, expected[name])


def test_a_column_without_a_class_is_nan_and_the_others_are_not():
    weights = np.ones((6, 3), dtype=np.int32)
    weights[LABELS, 0] = 0
    weights[~LABELS, 1] = 0
    with np.errstate(all="raise"):  # and no warning on the way
        found = rank_metrics(LABELS, SCORES, EACH, weights)
    for values in found.values():
        assert np.isnan(values).tolist() == [True, True, False]
    assert found["auc_roc"][2] == 5 / 9


def test_blocks_of_columns_change_nothing(monkeypatch):
    generator = np.random.default_rng(4)
    labels, scores = generator.random(50) < 0.4, generator.random(50)
    weights = generator.integers(0, 3, (50, 30)).astype(np.int32)
    whole = rank_metrics(labels, scores, np.arange(50), weights)
    monkeypatch.setattr(ranks, "CELLS_AT_ONCE", 1)
    for name, values in rank_metrics(labels, scores, np.arange(50), weights).items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-14)


def test_average_precision_by_hand():
    # .8: 1 of 2, recall + 1/3; .4: 2 of 4, + 1/3; .2: 3 of 5, + 1/3
    assert estimate("average_precision", LABELS, SCORES) == pytest.approx((1 / 2 + 2 / 4 + 3 / 5) / 3)


def test_perfect_constant_and_reversed_scores():
    labels = np.arange(10) < 4
    for scores, partial, precision in ((labels * 1.0, 1.0, 1.0), (np.zeros(10), 0.5, 0.4)):
        assert estimate("partial_auc", labels, scores) == pytest.approx(partial)
        assert estimate("average_precision", labels, scores) == precision
    assert estimate("partial_auc", labels, 1.0 - labels) == pytest.approx(4 / 9)  # its least value


def test_the_rescaled_partial_auc_and_its_inverse():
    for share in (0.0, 0.1, 0.6, 1.0):
        assert mean_sensitivity(float(mcclish(share))) == pytest.approx(share)
    assert mcclish(0.1) == pytest.approx(0.5)  # chance: a mean sensitivity of .1 where FPR goes to .2
    assert math.isclose(float(mcclish(1.0)), 1.0)
