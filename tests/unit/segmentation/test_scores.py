"""The threshold of the best Dice, and what is measured of maps."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from tramtrack.protocol import Evaluation
from tramtrack.segmentation.known import find_known
from tramtrack.segmentation.maps import Maps
from tramtrack.segmentation.scores import choose_threshold, dice, measure_views, summarise

SIZE = (64, 48)


@pytest.fixture
def known(views, geometry):
    return find_known(views[views["fold"] == "validation"], geometry, SIZE, "masks")


@pytest.fixture
def maps(known, tmp_path):
    """Noisy maps, higher where the mask is; float16 as they are kept."""
    rng, found = np.random.default_rng(3), Maps(tmp_path / "maps")
    for number, view_id in enumerate(known.table["view_id"]):
        found.write(view_id, np.clip(rng.beta(1, 6, SIZE) + 0.4 * known.mask(number) * rng.random(SIZE), 0, 1))
    return found


def test_the_threshold_is_that_of_the_best_dice_over_all_pixels(known, maps):
    values = np.stack([maps[view_id] for view_id in known.table["view_id"]]).ravel()
    masks = np.stack([known.mask(number) for number in range(len(known))]).ravel()
    by_hand = [f1_score(masks, np.floor(values * 100) >= level) for level in range(1, 100)]
    threshold, best = choose_threshold(maps, known)
    assert threshold == (1 + int(np.argmax(by_hand))) / 100
    assert best == pytest.approx(max(by_hand))


def test_views_are_measured_by_dice_and_average_precision(known, maps):
    threshold, _ = choose_threshold(maps, known)
    table = measure_views(maps, known, threshold).set_index("view_id")
    assert list(table.index) == ["v6", "v7", "v8", "v9", "v10", "v11"]
    values, mask = maps["v7"].ravel(), known.mask(1).ravel()
    called = np.floor(values * 100) >= round(threshold * 100)
    assert table.loc["v7", "dice"] == pytest.approx(f1_score(mask, called))
    assert table.loc["v7", "average_precision"] == pytest.approx(average_precision_score(mask, values))
    assert table.loc["v7", "chance"] == pytest.approx(mask.mean())
    assert table.loc["v7", ["marked", "called"]].tolist() == [mask.sum(), called.sum()]
    assert table.loc["v6", "marked"] == 0 and np.isnan(table.loc["v6", "dice"])  # without BAC there is none
    found = summarise(table.reset_index(), threshold, Evaluation(resamples=200)).set_index("measure")
    assert found.loc["dice", "estimate"] == pytest.approx(table["dice"].mean())
    assert (found["views"] == 3).all() and (found["women"] == 3).all() and (found["threshold"] == threshold).all()
    assert (found["low"] < found["estimate"]).all() and (found["estimate"] < found["high"]).all()
    assert np.isnan(found.loc["dice", "chance"]) and found.loc["average_precision", "chance"] == table["chance"].mean()


def test_dice_is_twice_the_shared_over_the_sum():
    one, other = np.array([1, 1, 0, 0], dtype=bool), np.array([0, 1, 1, 1], dtype=bool)
    assert dice(one, other) == pytest.approx(2 / 5)
    assert dice(one, one) == 1


def test_maps_are_read_back_as_they_were_kept(tmp_path):
    maps = Maps(tmp_path / "maps")
    values = np.linspace(0, 1, 12).reshape(3, 4)
    maps.write("a", values)
    assert "a" in maps and "b" not in maps and list(maps) == ["a"]
    assert maps["a"].dtype == np.float32 and np.allclose(maps["a"], values, atol=5e-4)
    maps.clear()
    assert list(maps) == []
