"""From a picture to a network's input: size, orientation, greys, and the way back to the original pixel."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mammogram import breast_picture
from tramtrack.imaging.breast import find_breast
from tramtrack.imaging.geometry import fit
from tramtrack.imaging.prepare import _percentile, place, place_mask, png_bytes, prepare_picture, read_prepared
from tramtrack.protocol import Prepare

CANVAS = Prepare(height=256, width=128)


@pytest.mark.parametrize("chest_wall", ["left", "right"])
@pytest.mark.parametrize("shape", [(1280, 960), (640, 480), (150, 110)])
def test_a_bright_dot_is_found_again_within_one_original_pixel(chest_wall: str, shape: tuple[int, int]) -> None:
    """Also for a picture that is smaller than the canvas, and so is enlarged."""
    picture = np.minimum(breast_picture(*shape, chest_wall=chest_wall), 0.6)
    breast = find_breast(picture)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    wanted = np.array([shape[0] * 0.42, shape[1] * (0.25 if chest_wall == "left" else 0.75)])
    dot = np.exp(-((rows - wanted[0]) ** 2 + (columns - wanted[1]) ** 2) / (2 * (shape[0] / 100) ** 2)).astype(np.float32)
    geometry = prepare_picture(np.maximum(picture, dot), CANVAS).geometry
    assert geometry.flipped == (chest_wall == "right") and breast.chest_wall == chest_wall
    placed = place(dot, geometry)
    weights = np.where(placed > 0.1 * placed.max(), placed, 0)
    centre = [(weights * axis).sum() / weights.sum() for axis in np.mgrid[: placed.shape[0], : placed.shape[1]]]
    assert np.abs(geometry.to_original(np.array(centre)) - wanted).max() < 1.0


def test_both_sides_hang_from_the_left_edge_alike() -> None:
    left = prepare_picture(breast_picture(640, 480), CANVAS)
    right = prepare_picture(breast_picture(640, 480, chest_wall="right"), CANVAS)
    assert np.array_equal(left.pixels, right.pixels)
    assert (left.geometry.flipped, right.geometry.flipped) == (False, True)


def test_a_prepared_view_is_sixteen_bit_of_the_protocols_size_and_black_around_the_breast() -> None:
    picture = breast_picture(640, 480)
    picture[10:60, 400:470] = 0.75  # a marker outside the breast takes no part in the greys
    prepared = prepare_picture(picture, CANVAS, spacing_mm=0.07)
    plain = prepare_picture(breast_picture(640, 480), CANVAS)
    assert prepared.pixels.dtype == np.uint16 and prepared.pixels.shape == (256, 128)
    assert np.array_equal(prepared.pixels, plain.pixels)
    assert prepared.pixels[:, -10:].max() == 0 or prepared.geometry.placed_columns == 128
    assert prepared.pixels.max() > 60000 and prepared.pixels.min() == 0
    assert prepared.geometry.prepared_spacing_mm == pytest.approx(0.07 / prepared.geometry.scale_rows)
    assert prepared.steps[0].startswith("breast (") and "chest wall left" in prepared.steps[0]


def test_greys_do_not_depend_on_the_scale_of_the_picture() -> None:
    picture = breast_picture(640, 480)
    first, second = prepare_picture(picture, CANVAS), prepare_picture(picture * np.float32(1 / 16), CANVAS)
    assert np.abs(first.pixels.astype(int) - second.pixels.astype(int)).max() <= 2


def test_a_picture_prepared_like_another_differs_only_where_the_two_do() -> None:
    picture = breast_picture(640, 480)
    changed = picture.copy()
    changed[300:340, 60:110] = 1.0  # brighter than any tissue, and more of it than the brightest percentile leaves out
    where = place_mask(changed != picture, prepare_picture(picture, CANVAS).geometry)
    twin = prepare_picture(changed, CANVAS, like=picture).pixels.astype(int)
    difference = np.abs(twin - prepare_picture(picture, CANVAS).pixels)
    assert difference[where].mean() > 5000 and (difference[~where] == 0).all()
    assert (prepare_picture(changed, CANVAS).pixels.astype(int) != prepare_picture(picture, CANVAS).pixels)[~where].any()


@pytest.mark.parametrize("chest_wall", ["left", "right"])
def test_greys_in_single_precision_are_those_of_double_within_one_of_65536_steps(chest_wall: str) -> None:
    picture = breast_picture(1280, 960, chest_wall=chest_wall)
    prepared, breast = prepare_picture(picture, CANVAS), find_breast(picture)
    low, high = np.percentile(picture[breast.mask], (CANVAS.darkest_percentile, CANVAS.brightest_percentile))
    stretched = np.clip((picture.astype(np.float64) - low) / (high - low), 0, 1) * breast.mask
    wanted = np.rint(place(stretched, prepared.geometry) * 65535)
    assert np.abs(prepared.pixels - wanted).max() <= 1 and (prepared.pixels != wanted).mean() < 0.005


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("percent", [0, 1, 33.3, 50, 99.95, 100])
def test_percentiles_are_numpys(size: int, percent: float) -> None:
    values = np.random.default_rng(size).random(size, dtype=np.float32)
    assert _percentile(values, percent) == pytest.approx(float(np.percentile(values, percent)), abs=1e-7)


def test_the_percentiles_are_the_protocols() -> None:
    picture = breast_picture(640, 480)
    wide = prepare_picture(picture, Prepare(height=256, width=128, darkest_percentile=0, brightest_percentile=100))
    narrow = prepare_picture(picture, Prepare(height=256, width=128, darkest_percentile=40, brightest_percentile=60))
    saturated = [(prepared.pixels == 65535).mean() for prepared in (wide, narrow)]
    assert saturated[0] < 0.001 and saturated[1] > 0.05


def test_one_marked_pixel_survives_the_strongest_shrinking() -> None:
    mask = np.zeros((4700, 2900), dtype=bool)
    mask[2345, 678] = True
    geometry = fit(mask.shape, (0, 0, 4700, 2900), False, (32, 32))
    placed = place_mask(mask, geometry)
    assert placed.sum() == 1
    assert np.abs(np.argwhere(placed)[0] - geometry.to_prepared(np.array([2345, 678]))).max() <= 0.5
    assert not place_mask(np.zeros_like(mask), geometry).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_round_trip(tmp_path, dtype) -> None:  # type: ignore[no-untyped-def]
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (40, 30), endpoint=True).astype(dtype)
    (tmp_path / "p.png").write_bytes(png_bytes(pixels))
    with Image.open(tmp_path / "p.png") as image:
        assert np.array_equal(np.asarray(image), pixels)
    assert np.array_equal(read_prepared(tmp_path / "p.png"), pixels) and read_prepared(tmp_path / "p.png").dtype == np.uint16


def test_the_steps_say_the_spacing_or_that_there_is_none() -> None:
    picture = breast_picture()
    assert prepare_picture(picture, CANVAS).steps[-1] == "no spacing"
    with_spacing = prepare_picture(picture, CANVAS, 0.07)
    assert with_spacing.steps[-1] == "spacing 0.0700 mm"
    assert with_spacing.geometry.prepared_spacing_mm == pytest.approx(0.07 / with_spacing.geometry.scale_rows)
