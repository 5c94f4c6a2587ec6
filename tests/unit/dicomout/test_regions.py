"""Outlines of what is hot, in DICOM's image coordinates, and how an image lies in the patient."""

from __future__ import annotations

import numpy as np
import pytest

from tramtrack.dicomout.heat import NoAxes, axes
from tramtrack.dicomout.regions import LONGEST_SIDE, MOST_OUTLINES, around, hottest, outlines


def disc(rows: int, columns: int, row: float, column: float, radius: float) -> np.ndarray:
    y, x = np.mgrid[:rows, :columns]
    return np.clip(radius + 0.5 - np.hypot(y - row, x - column), 0, 1).astype(np.float32)


def area(outline: np.ndarray) -> float:
    (x1, y1), (x2, y2) = outline[:-1].T, outline[1:].T
    return abs(float((x1 * y2 - x2 * y1).sum())) / 2


def centroid(outline: np.ndarray) -> np.ndarray:
    (x1, y1), (x2, y2) = outline[:-1].T, outline[1:].T
    cross = x1 * y2 - x2 * y1
    return np.array([((x1 + x2) * cross).sum(), ((y1 + y2) * cross).sum()]) / (3 * cross.sum())


def test_hottest_is_the_centre_of_its_pixel() -> None:
    heatmap = np.zeros((5, 7), np.float32)
    heatmap[1, 4] = 2
    assert hottest(heatmap) == (4.5, 1.5)
    assert hottest(np.zeros((5, 7), np.float32)) is None


@pytest.mark.parametrize("size", [100, 1500])  # the second is looked at on a thinned grid
def test_an_outline_is_closed_and_has_the_area_of_what_it_encloses(size: int) -> None:
    radius = size / 5
    (outline,) = outlines(disc(size, size, size / 2, size / 3, radius), 0.5)
    assert np.array_equal(outline[0], outline[-1]) and len(outline) < 200
    assert area(outline) == pytest.approx(np.pi * radius**2, rel=0.03)
    step = -(-size // LONGEST_SIDE)
    assert centroid(outline) == pytest.approx([size / 3 + 0.5, size / 2 + 0.5], abs=0.2 * step)


def test_an_outline_stays_within_the_image_and_is_found_by_its_point() -> None:
    corner, other = disc(80, 60, 0, 0, 20), disc(80, 60, 60, 40, 8)
    found = outlines(corner + other, 0.5)
    assert len(found) == 2 and all((o >= 0).all() and (o <= [60, 80]).all() for o in found)
    assert around((40.5, 60.5), found) is not None and area(around((40.5, 60.5), found)) < area(around((1, 1), found))  # type: ignore[arg-type]
    assert around((58, 5), found) is None


def test_nothing_hot_has_no_outline() -> None:
    assert outlines(np.zeros((9, 9), np.float32), 0.5) == [] == outlines(np.ones((9, 9), np.float32), 0.0)


def test_axes_are_those_that_the_letters_name() -> None:
    assert np.allclose(axes(["A", "R"]), [0, -1, 0, -1, 0, 0])
    assert np.allclose(axes(["P", "FL"]), [0, 1, 0, 0.5**0.5, 0, -(0.5**0.5)])
    for unknown in ([], ["A"], ["A", ""], ["A", "AF"], ["X", "R"]):
        with pytest.raises(NoAxes):
            axes(unknown)


def test_a_map_of_specks_has_its_longest_outlines() -> None:
    specks = (np.random.default_rng(9108).random((400, 300)) > 0.9).astype(np.float32)
    specks[100:160, 100:180] = 1
    found = outlines(specks, 0.5)
    assert 50 < len(found) <= MOST_OUTLINES and around((140, 130), found) is not None
