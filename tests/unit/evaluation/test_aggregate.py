from __future__ import annotations

import math

import numpy as np
import pytest

from tramtrack.errors import TramtrackError, UsageError
from tramtrack.evaluation.aggregate import Predictions, Units


def predictions(**changed) -> Predictions:
    content = {
        "woman": ["b", "b", "b", "a", "a", "a"],
        "side": ["L", "L", "R", "L", "R", "R"],
        "view": ["CC", "MLO", "CC", "CC", "CC", "MLO"],
        "score": [0.2, 0.4, 0.9, 0.1, 0.3, 0.5],
        "label_view": [0, -1, 1, 0, 0, 0],
        "label_breast": [-1, -1, 1, 0, 0, 0],
        "label_woman": [1, 1, 1, 0, 0, 0],
    }
    return Predictions(**{**content, **changed})


def rows(units: Units) -> list[tuple]:
    return list(zip(units.woman.tolist(), units.scores.tolist(), units.labels.tolist(), strict=True))


def test_only_units_with_a_known_label_at_that_unit():
    assert rows(predictions().units("view")) == [
        ("a", 0.1, False),
        ("a", 0.3, False),
        ("a", 0.5, False),
        ("b", 0.2, False),
        ("b", 0.9, True),
    ]
    assert rows(predictions().units("breast")) == [("a", 0.1, False), ("a", 0.5, False), ("b", 0.9, True)]
    assert rows(predictions().units("woman")) == [("a", 0.5, False), ("b", 0.9, True)]


def test_the_mean_is_over_views():
    woman = predictions().units("woman", "mean")
    np.testing.assert_allclose(woman.scores, [0.3, 0.5])
    breast = predictions().units("breast", "mean")
    np.testing.assert_allclose(breast.scores, [0.1, 0.4, 0.9])


def test_noisy_or_is_the_chance_that_any_view_shows_it():
    woman = predictions().units("woman", "noisy-or")
    np.testing.assert_allclose(woman.scores, [1 - 0.9 * 0.7 * 0.5, 1 - 0.8 * 0.6 * 0.1])


@pytest.mark.parametrize("unit", ["view", "breast", "woman"])
@pytest.mark.parametrize("aggregation", ["maximum", "mean", "noisy-or"])
def test_the_order_of_rows_changes_nothing(unit, aggregation):
    original = predictions(score=[0.1, 0.2, 0.3, 0.3, 0.1, 0.2], view=["CC"] * 6)
    expected = rows(original.units(unit, aggregation))
    for seed in range(10):  # .1 + .2 + .3 and .3 + .2 + .1 are different floats
        shuffled = np.random.default_rng(seed).permutation(6)
        moved = Predictions(**{name: getattr(original, name)[shuffled] for name in original.__dataclass_fields__})
        assert rows(moved.units(unit, aggregation)) == expected


def test_nan_is_read_as_not_known_and_a_missing_score_stays_missing():
    read = predictions(label_view=[0, math.nan, 1, 0, 0, 0], score=[0.2, 0.4, 0.9, math.nan, 0.3, 0.5])
    assert read.label_view.tolist() == [0, -1, 1, 0, 0, 0]
    assert math.isnan(read.units("woman").scores[0])
    assert math.isnan(read.units("woman", "mean").scores[0])


def test_repeated_views_are_units_of_their_own():
    assert len(predictions(view=["CC"] * 6).units("view")) == 5


@pytest.mark.parametrize("unit", ["view", "breast", "woman"])
@pytest.mark.parametrize("aggregation", ["maximum", "mean", "noisy-or"])
def test_no_rows_are_no_units(unit, aggregation):
    assert len(Predictions([], [], [], [], [], [], []).units(unit, aggregation)) == 0


def test_bad_input_is_named():
    with pytest.raises(TramtrackError, match=r"label_view: expected 1, 0 or -1 \(not known\), received 2"):
        predictions(label_view=[2, 0, 0, 0, 0, 0])
    with pytest.raises(TramtrackError, match="predictions of woman b: expected one label for each woman"):
        predictions(label_woman=[1, 1, 0, 0, 0, 0])
    with pytest.raises(TramtrackError, match="one label for each breast"):
        predictions(label_breast=[0, 1, 1, 0, 0, 0])
    with pytest.raises(UsageError, match="unit exam: expected one of view, breast, woman"):
        predictions().units("exam")
    with pytest.raises(UsageError, match="aggregation median"):
        predictions().units("woman", "median")
    with pytest.raises(ValueError, match="one length"):
        predictions(score=[0.1])
