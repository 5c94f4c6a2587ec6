"""A vessel's path: found where one is, never in the rim or the muscle, followed between points, or refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from pretend import COLUMNS, ROWS, mammogram, vessel_points
from tramtrack.errors import UsageError
from tramtrack.phantom.vessel_paths import NoVessel, VesselPath, drawn_path, find_path, read_path, survey, trace_path


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return mammogram(vessel=0.3)


def far(points: np.ndarray) -> np.ndarray:
    """How far each point lies from the vessel, pixels."""
    return cKDTree(vessel_points()).query(points)[0]


def test_the_vessel_that_is_there_is_found_from_the_chest_wall_on(picture: np.ndarray) -> None:
    seen = survey(picture)
    paths = [find_path(seen, np.random.default_rng(seed)) for seed in range(9100, 9103)]
    along = [float((far(path.points) < 4).mean()) for path in paths]
    assert sum(share > 0.9 for share in along) >= 2, along
    for path in paths:
        rows, columns = np.rint(path.points[:, 1]).astype(int), np.rint(path.points[:, 0]).astype(int)
        assert seen.enlarged_interior(picture.shape)[rows, columns].mean() > 0.95
        assert path.points[0, 0] <= path.points[-1, 0]
        assert path.length_px > 0.2 * seen.size


def test_the_same_seed_finds_the_same_path(picture: np.ndarray) -> None:
    paths = [find_path(survey(picture), np.random.default_rng(9101)).points for _ in range(2)]
    assert np.array_equal(*paths)


def test_mirrored_storage_turns_the_way_round(picture: np.ndarray) -> None:
    seen = survey(np.ascontiguousarray(picture[:, ::-1]))
    assert seen.chest_wall == "right"
    path = find_path(seen, np.random.default_rng(9100))
    assert path.points[0, 0] >= path.points[-1, 0]


def test_the_rim_and_a_brighter_corner_are_left_out(picture: np.ndarray) -> None:
    interior = survey(picture).interior
    assert not interior[ROWS // 2, 395:].any() and interior[ROWS // 2, 5]
    row, column = np.mgrid[:ROWS, :COLUMNS]
    corner = (column / 200 + (row - 20) / 380 < 1) & (picture > 0)
    muscle = np.where(corner, np.minimum(picture + 0.3, 1), picture).astype(np.float32)
    found = survey(muscle).interior
    assert not found[80:200, :40].any() and found[450, 100]


def test_a_trace_follows_the_ridge_between_points(picture: np.ndarray) -> None:
    ends = vessel_points()[[0, 200, -1]]
    path = trace_path(survey(picture), ends)
    assert far(path.points).max() < 4 and path.source == "traced"
    straight = np.linspace(ends[0], ends[-1], 50)
    assert far(straight).max() > 15  # the vessel bows away from the straight line
    assert np.hypot(*(path.points[-1] - ends[-1])) < 6


def test_a_breast_without_lines_has_no_vessel() -> None:
    row, column = np.mgrid[:ROWS, :COLUMNS]
    smooth = np.clip(1.2 - ((row - 320) / 300.0) ** 2 - (column / 400.0) ** 2, 0, 1).astype(np.float32)
    with pytest.raises(NoVessel, match=r"expected a vessel.*give --path"):
        find_path(survey(smooth), np.random.default_rng(9100))


def test_drawn_points_are_passed_through(tmp_path: Path) -> None:
    file = tmp_path / "points.csv"
    file.write_text("row,column\n100,20\n140,120\n120,200\n")
    path = read_path(file, (300, 300))
    for point in ((20, 100), (120, 140), (200, 120)):
        assert np.hypot(*(path.points - point).T).min() < 1.1
    assert path.points[:, 1].max() < 141 and path.source == "drawn"  # no overshoot


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x,y\n1,2\n3,4\n", "expected the columns column,row, found x,y"),
        ("column,row\n1,2\n", "expected at least 2 points of column,row, received 1"),
        ("column,row\n1,2\n1,2\n", "two neighbouring points are the same"),
        ("column,row\n1,2\n400,2\n", "column 400, row 2 lies outside the image of 300 x 300 pixels"),
        ("column,row\n1,2\n3,many\n", "expected a number for each column and row"),
        ("column,row\n1,2\n3\n", r"expected a number for each column and row \(could not convert string to float: ''\)"),
        ("column,row\n1,2\nnan,4\n", "lies outside"),
    ],
)
def test_a_drawn_path_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "points.csv"
    file.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_path(file, (300, 300))
    with pytest.raises(UsageError, match="--path takes a CSV"):
        read_path(tmp_path / "none.csv", (300, 300))
    with pytest.raises(UsageError, match="received 1"):
        drawn_path(np.array([[1.0, 2.0]]), (10, 10))


@pytest.mark.parametrize("points", [[[9, 9]], [[9, 9], [9, 9]], [[9, 9], [np.nan, 9]], [9, 9], [[9, 9, 9], [8, 8, 8]]])
def test_a_path_of_no_length_is_none(points: list) -> None:
    with pytest.raises(UsageError, match=r"a path: expected points \(n, 2\) of column and row in at least 2 places"):
        VesselPath(np.array(points, dtype=np.float64), "drawn")


@pytest.mark.parametrize("other", [(-50.0, 300.0), (100.0, 5000.0), (np.nan, 300.0)])
def test_a_point_to_trace_lies_in_the_picture(picture: np.ndarray, other: tuple[float, float]) -> None:
    seen = survey(picture)
    with pytest.raises(UsageError, match=r"a path to trace: column .* lies outside the image"):
        trace_path(seen, np.array([(100.0, 300.0), other]))
    corner = (float(picture.shape[1] - 1), float(picture.shape[0] - 1))
    assert trace_path(seen, np.array([(100.0, 300.0), corner])).length_px > 100
