"""Maps back on the original pixels, exactly, and the pictures drawn there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tramtrack.explain.masks import MaskError, read_mask
from tramtrack.explain.overlay import BAC_COLOUR, BREAST_COLOUR, overlay_original, save_original_overlay
from tramtrack.explain.place import block_average, to_original, to_prepared
from tramtrack.imaging.breast import NoBreast
from tramtrack.imaging.geometry import fit

SOURCE, CROP, CANVAS = (300, 220), (20, 30, 260, 190), (64, 32)


def test_on_the_prepared_grid_it_is_the_bilinear_enlargement_of_pillow():
    values = np.random.default_rng(0).random((4, 2), dtype=np.float32)
    theirs = np.asarray(Image.fromarray(values).resize((32, 64), Image.Resampling.BILINEAR))
    assert np.abs(to_prepared(values, 64, 32) - theirs).max() < 1e-6
    assert np.array_equal(to_prepared(np.full((1, 1), 3.0), 5, 4), np.full((5, 4), 3.0))


@pytest.mark.parametrize("flipped", (False, True))
def test_every_original_pixel_has_the_value_at_its_own_place(flipped):
    """A map that is linear in the prepared coordinates is known at any point of the original."""
    geometry = fit(SOURCE, CROP, flipped, CANVAS)
    cells = (16, 8)
    rows, columns = (np.arange(n) for n in cells)
    values = (3 * rows[:, None] + 5 * columns[None, :]).astype(np.float32)
    whole = to_original(values, geometry)
    assert whole.shape == SOURCE
    points = np.stack(np.meshgrid(np.arange(20, 260), np.arange(30, 190), indexing="ij"), axis=-1)
    at = (geometry.to_prepared(points) + 0.5) * (np.array(cells) / CANVAS) - 0.5
    at = np.clip(at, 0, np.array(cells) - 1)
    expected = 3 * at[..., 0] + 5 * at[..., 1]
    assert np.abs(whole[20:260, 30:190] - expected).max() < 1e-4
    outside = whole.copy()
    outside[20:260, 30:190] = 0
    assert not outside.any()


def test_a_bright_cell_comes_back_where_its_pixels_were():
    geometry = fit(SOURCE, CROP, True, CANVAS)
    values = np.zeros((16, 8), dtype=np.float32)
    values[3, 2] = 1
    row, column = np.unravel_index(np.argmax(to_original(values, geometry)), SOURCE)
    centre = geometry.to_original(np.array([3.5 * 4 - 0.5, 2.5 * 4 - 0.5]))
    assert np.abs(np.array([row, column]) - centre).max() <= 1


def test_block_averages_keep_the_mean_and_take_what_is_left_at_the_edge():
    values = np.arange(24, dtype=np.float32).reshape(4, 6)
    assert np.array_equal(block_average(values, 2), [[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]])
    assert np.array_equal(block_average(values[:3, :3], 2), [[3.5, 5.0], [12.5, 14.0]])


def test_the_overlay_is_as_large_as_the_original_and_shows_breast_and_mask():
    geometry = fit(SOURCE, CROP, False, CANVAS)
    breast, mask = np.zeros(SOURCE, dtype=bool), np.zeros(SOURCE, dtype=bool)
    breast[40:240, 30:150], mask[100:120, 60:80] = True, True
    grey = np.full(SOURCE, 0.3, dtype=np.float32)
    picture = overlay_original(grey, np.zeros((16, 8), dtype=np.float32), 1.0, geometry, breast, mask)
    assert picture.shape == (*SOURCE, 3)
    for colour, region in ((BREAST_COLOUR, breast), (BAC_COLOUR, mask)):
        edge = (picture == colour).all(axis=2)
        assert edge.any() and not (edge & region).any()
    bright = overlay_original(grey, np.ones((16, 8), dtype=np.float32), 1.0, geometry, breast, None)
    assert (bright[150, 100] != picture[150, 100]).any() and (bright[5, 5] == picture[5, 5]).all()


def test_a_picture_without_a_breast_is_refused(tmp_path):
    Image.fromarray(np.zeros(SOURCE, dtype=np.uint16)).save(tmp_path / "black.png")
    geometry = fit(SOURCE, CROP, False, CANVAS)
    with pytest.raises(NoBreast, match="expected a breast"):
        save_original_overlay(tmp_path / "o.png", tmp_path / "black.png", np.ones((2, 2)), 1.0, geometry, None)


def test_masks_are_pictures_or_boxes_of_the_views_own_size(tmp_path):
    geometry = fit(SOURCE, CROP, False, CANVAS)
    mask = np.zeros(SOURCE, dtype=np.uint8)
    mask[10:20, 30:50] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    boxes = pd.DataFrame([(10, 30, 20, 50)], columns=["top", "left", "bottom", "right"])
    boxes.to_csv(tmp_path / "boxes.csv", index=False)
    for mode in ("RGBA", "LA"):  # opaque everywhere
        Image.fromarray(mask).convert(mode).save(tmp_path / f"{mode}.png")
    for name in ("mask.png", "boxes.csv", "RGBA.png", "LA.png"):
        assert np.array_equal(read_mask(tmp_path / name, geometry), mask > 0)
    Image.fromarray(mask[:100]).save(tmp_path / "short.png")
    (tmp_path / "text.png").write_text("no picture")
    boxes.assign(bottom=301).to_csv(tmp_path / "outside.csv", index=False)
    boxes.drop(columns="top").to_csv(tmp_path / "columns.csv", index=False)
    for name, reason in {
        "short.png": "short.png: expected a mask of 300 x 220 pixels, as its view has, received 100 x 220",
        "text.png": "text.png: expected a mask, cannot read it",
        "outside.csv": r"box 10, 30, 301, 50: expected one inside 300 x 220",
        "columns.csv": "expected a CSV with whole numbers top, left, bottom, right",
        "missing.png": "missing.png: expected a mask, cannot read it",
    }.items():
        with pytest.raises(MaskError, match=reason):
            read_mask(tmp_path / name, geometry)
