"""The five measures against cases worked out by hand and against scikit-learn, and the two baselines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from tramtrack.explain.localisation import (
    MEASURES,
    average_precision,
    breast_of,
    centre_blob,
    localise,
    make_target,
    vessel_filter,
)

BREAST = np.zeros((20, 12), dtype=bool)
BREAST[2:18, 0:10] = True  # 160 pixels
MASK = np.zeros_like(BREAST)
MASK[5, 3], MASK[6, 4] = True, True


def test_a_target_is_what_lies_within_the_tolerance_and_in_the_breast():
    exact = make_target(MASK, BREAST, 0)
    assert exact is not None and exact.near.sum() == 2 and exact.boxes.sum() == 4  # one part by its corner: a box of four
    wide = make_target(MASK, BREAST, 1)
    assert wide is not None and wide.near.sum() == 8 and wide.boxes.sum() == 12
    far = np.zeros_like(BREAST)
    far[0, 11] = True
    assert make_target(far, BREAST, 0.5) is None and make_target(np.zeros_like(BREAST), BREAST, 3) is None
    edge = np.zeros_like(BREAST)
    edge[2, 0] = True
    cut = make_target(edge, BREAST, 1)
    assert cut is not None and cut.near.sum() == 3


def test_a_map_on_the_mask_is_perfect_and_one_beside_it_is_not():
    target = make_target(MASK, BREAST, 0)
    perfect = localise(MASK.astype(np.float32), target)
    assert perfect == dict.fromkeys(MEASURES, 1.0)
    beside = np.zeros(BREAST.shape, dtype=np.float32)
    beside[5, 4] = 1  # inside the box, not on the mask
    found = localise(beside, target)
    assert (found["pointing_game"], found["energy"], found["mass"]) == (0, 1, 0)
    outside = np.where(BREAST, 0, 7.0)
    outside[5, 3] = 1
    assert localise(outside, target)["pointing_game"] == 1  # what lies outside the breast does not count


def test_each_measure_by_hand():
    values = np.zeros(BREAST.shape, dtype=np.float32)
    values[5, 3], values[10, 5], values[6, 4], values[5, 4] = 4, 3, 2, 1
    found = localise(values, make_target(MASK, BREAST, 0))
    assert found == pytest.approx(
        {"pointing_game": 1, "average_precision": (1 / 1 + 2 / 3) / 2, "energy": 7 / 10, "mass": 6 / 10, "rank": 1 / 2}
    )


def test_a_map_of_zeros_scores_as_an_even_one():
    target = make_target(MASK, BREAST, 1)
    empty, even = (localise(np.full(BREAST.shape, value, dtype=np.float32), target) for value in (0, 3))
    assert empty == pytest.approx(even)
    share = 8 / 160
    expected = {"pointing_game": share, "average_precision": share, "energy": 12 / 160, "mass": share, "rank": share}
    assert empty == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=40))
def test_average_precision_is_scikit_learns_with_ties(pairs):
    values, positive = (np.array(column) for column in zip(*pairs, strict=True))
    if positive.any():
        assert average_precision(values.astype(float), positive) == pytest.approx(average_precision_score(positive, values))


def test_the_measures_do_not_depend_on_the_maps_scale():
    values = np.random.default_rng(0).random(BREAST.shape).astype(np.float32)
    target = make_target(MASK, BREAST, 1)
    assert localise(values, target) == pytest.approx(localise(1000 * values, target))


def test_the_baselines_see_no_image_and_no_label():
    breast = np.zeros((100, 60), dtype=bool)
    breast[10:90, :40] = True
    blob = centre_blob(breast)
    assert np.unravel_index(blob.argmax(), blob.shape) in ((49, 19), (49, 20), (50, 19), (50, 20))
    assert not blob[~breast].any()
    rng = np.random.default_rng(3)
    prepared = np.where(breast, 20000 + rng.normal(0, 200, breast.shape), 0)
    prepared[30:75, 18:21] += 8000  # a bright vessel, 3 pixels wide
    prepared = prepared.astype(np.uint16)
    assert np.array_equal(breast_of(prepared), breast)
    for spacing in (0.5, None):
        ridges = vessel_filter(prepared, breast, spacing)
        row, column = np.unravel_index(ridges.argmax(), ridges.shape)
        assert 18 <= column <= 20 and 28 <= row <= 77
        assert not ridges[:, 38:].any()  # the breast's own edge is no vessel
