"""Which views are shown, and how they are drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tramtrack.explain.choice import call, choose_views
from tramtrack.explain.overlay import draw_outline, overlay


@pytest.mark.parametrize(
    ("score", "label", "expected"),
    [(0.5, 1, "hit"), (0.49, 1, "miss"), (0.5, 0, "false alarm"), (0.49, 0, "correct rejection")],
)
def test_a_score_at_the_threshold_is_positive(score, label, expected):
    assert call(score, label, 0.5) == expected


def table(network, scores, labels):
    names = [f"v{number}" for number in range(len(scores))]
    return pd.DataFrame({"network": network, "view_id": names, "bac": pd.array(labels, "Int64"), "score": scores})


def test_the_worst_come_first_and_each_view_once():
    predictions = pd.concat(
        [
            table("one", [0.9, 0.8, 0.1, 0.2, 0.7, 0.95], [1, 1, 1, 1, 0, 0]),
            table("two", [0.6, 0.9, 0.3, 0.0, 0.1, 0.2], [1, 1, 1, 1, 0, None]),
        ]
    )
    chosen = {view.view_id: view.because for view in choose_views(predictions, {"one": 0.5, "two": 0.5}, 1)}
    assert chosen == {
        "v0": ("one hit",),
        "v2": ("one miss",),
        "v5": ("one false alarm",),
        "v1": ("two hit",),
        "v3": ("two miss",),
    }


def test_a_faint_map_looks_faint():
    prepared = np.full((20, 10), 20000, dtype=np.uint16)
    strong = overlay(prepared, np.full((2, 2), 1.0, dtype=np.float32), 1.0, None)
    faint = overlay(prepared, np.full((2, 2), 0.05, dtype=np.float32), 1.0, None)
    bare = overlay(prepared, np.zeros((2, 2), dtype=np.float32), 1.0, None)
    distance = [np.abs(picture.astype(int) - bare.astype(int)).mean() for picture in (strong, faint)]
    assert distance[0] > 10 * distance[1] > 0
    assert np.array_equal(overlay(prepared, np.ones((2, 2), dtype=np.float32), 0.0, None), bare)


def test_the_outline_lies_outside_the_mask():
    picture = np.zeros((30, 30, 3), dtype=np.uint8)
    mask = np.zeros((30, 30), dtype=bool)
    mask[12:15, 10:20] = True
    drawn = draw_outline(picture, mask).any(axis=2)
    assert drawn.any() and not (drawn & mask).any()
    assert np.array_equal(draw_outline(picture, None), picture)
