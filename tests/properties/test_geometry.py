"""The way from original pixels to prepared ones and back, whatever the crop, the flip and the canvas."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tramtrack.imaging.geometry import Geometry, fit
from tramtrack.imaging.prepare import place, place_mask


@st.composite
def geometries(draw: st.DrawFn, largest: int = 6000) -> Geometry:
    rows, columns = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    top, left = draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))
    bottom, right = draw(st.integers(top + 1, rows)), draw(st.integers(left + 1, columns))
    canvas = (draw(st.integers(32, 512)), draw(st.integers(32, 512)))
    return fit((rows, columns), (top, left, bottom, right), draw(st.booleans()), canvas, draw(st.sampled_from([None, 0.07])))


coordinates = st.floats(-1000, 7000)


@given(geometries(), st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=5))
def test_there_and_back(geometry: Geometry, points: list[tuple[float, float]]) -> None:
    given_points = np.array(points)
    back = geometry.to_original(geometry.to_prepared(given_points))
    np.testing.assert_allclose(back, given_points, rtol=0, atol=1e-9)


@given(geometries())
def test_the_crop_fills_its_place_and_lies_inside_the_canvas(geometry: Geometry) -> None:
    edges = np.array([[geometry.top - 0.5, geometry.left - 0.5], [geometry.bottom - 0.5, geometry.right - 0.5]])
    placed = np.sort(geometry.to_prepared(edges), axis=0)
    expected = [
        [geometry.offset_rows - 0.5, -0.5],
        [geometry.offset_rows + geometry.placed_rows - 0.5, geometry.placed_columns - 0.5],
    ]
    np.testing.assert_allclose(placed, expected, atol=1e-6)
    assert geometry.offset_rows >= 0 and geometry.offset_rows + geometry.placed_rows <= geometry.rows
    assert 1 <= geometry.placed_columns <= geometry.columns and geometry.placed_rows >= 1
    assert geometry.placed_rows == geometry.rows or geometry.placed_columns == geometry.columns


@given(geometries())
def test_the_aspect_ratio_is_kept_to_within_a_pixel(geometry: Geometry) -> None:
    scale = min(geometry.rows / (geometry.bottom - geometry.top), geometry.columns / (geometry.right - geometry.left))
    assert abs(geometry.placed_rows - scale * (geometry.bottom - geometry.top)) <= 1
    assert abs(geometry.placed_columns - scale * (geometry.right - geometry.left)) <= 1


@given(geometries())
def test_the_chest_wall_stands_at_the_left_edge(geometry: Geometry) -> None:
    wall = geometry.right - 0.5 if geometry.flipped else geometry.left - 0.5
    assert abs(geometry.to_prepared(np.array([0.0, wall]))[1] + 0.5) < 1e-9


@given(geometries())
def test_spacing_follows_the_scale(geometry: Geometry) -> None:
    if geometry.spacing_mm is None:
        assert geometry.prepared_spacing_mm is None
        return
    length = geometry.spacing_mm * (geometry.bottom - geometry.top)
    assert geometry.prepared_spacing_mm is not None
    assert abs(geometry.prepared_spacing_mm * geometry.placed_rows - length) < 1e-9 * max(1, length)


@settings(deadline=None, max_examples=60)
@given(geometries(largest=900), st.randoms(use_true_random=False))
def test_a_marked_pixel_is_found_where_the_geometry_says(geometry: Geometry, random) -> None:  # type: ignore[no-untyped-def]
    row, column = random.randrange(geometry.top, geometry.bottom), random.randrange(geometry.left, geometry.right)
    mask = np.zeros((geometry.source_rows, geometry.source_columns), dtype=bool)
    mask[row, column] = True
    placed = place_mask(mask, geometry)
    assert placed.shape == (geometry.rows, geometry.columns) and placed.any()
    found = np.argwhere(placed).mean(axis=0)
    wanted = geometry.to_prepared(np.array([row, column], dtype=float))
    reach = np.maximum(1.0, [geometry.scale_rows, geometry.scale_columns])
    assert (np.abs(found - wanted) <= reach + 1e-9).all()


@settings(deadline=None, max_examples=30)
@given(geometries(largest=900))
def test_an_even_crop_stays_even_and_nothing_lies_outside_its_place(geometry: Geometry) -> None:
    placed = place(np.ones((geometry.source_rows, geometry.source_columns), dtype=np.float32), geometry)
    inside = placed[geometry.offset_rows : geometry.offset_rows + geometry.placed_rows, : geometry.placed_columns]
    np.testing.assert_allclose(inside, 1.0, atol=1e-6)
    assert abs(placed.sum() - inside.sum()) < 1e-3
