"""Where the breast is: either side, any scale of grey, with markers, borders and strips, and not where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from mammogram import breast_picture
from tramtrack.imaging.breast import NoBreast, _filled, find_breast
from tramtrack.imaging.reduce import reduced

ROWS, COLUMNS = 640, 480


def truth(picture: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(picture)
    return rows.min(), columns.min(), rows.max() + 1, columns.max() + 1


def assert_found(picture: np.ndarray, clean: np.ndarray, chest_wall: str, margin: int = 8, too_much: float = 0.05) -> None:
    """The breast of ``clean`` is found in ``picture``: all of it, and no more than a margin around it."""
    found = find_breast(picture)
    assert found.chest_wall == chest_wall
    np.testing.assert_allclose(found.crop, truth(clean), atol=margin)
    inside = clean > 0
    assert found.mask.shape == picture.shape
    assert (found.mask & inside).sum() > 0.98 * inside.sum()
    assert (found.mask & ~inside).sum() < too_much * inside.sum()


@pytest.mark.parametrize("chest_wall", ["left", "right"])
@pytest.mark.parametrize("shape", [(640, 480), (2000, 1500), (150, 120)])
def test_on_either_side_and_in_any_size(chest_wall: str, shape: tuple[int, int]) -> None:
    clean = breast_picture(*shape, chest_wall=chest_wall)
    small = shape[0] < 200  # a rim of two pixels is much of a small breast
    assert_found(clean, clean, chest_wall, margin=max(4, shape[0] // 80), too_much=0.1 if small else 0.05)


def test_the_mirror_image_has_the_mirrored_breast() -> None:
    clean = breast_picture(ROWS, COLUMNS)
    first, second = find_breast(clean), find_breast(np.ascontiguousarray(clean[:, ::-1]))
    assert second.crop == (first.crop[0], COLUMNS - first.crop[3], first.crop[2], COLUMNS - first.crop[1])
    assert np.array_equal(second.mask, first.mask[:, ::-1])


@pytest.mark.parametrize("factor", [1 / 16, 1 / 4])
def test_twelve_bits_kept_in_sixteen_make_no_difference(factor: float) -> None:
    clean = breast_picture(ROWS, COLUMNS)
    full, dim = find_breast(clean), find_breast(clean * np.float32(factor))
    assert full.crop == dim.crop and np.array_equal(full.mask, dim.mask)


@pytest.mark.parametrize("wall", [0.6, 0.9, 0.97])
def test_dense_tissue_at_the_chest_wall_is_not_taken_for_a_strip(wall: float) -> None:
    clean = breast_picture(ROWS, COLUMNS)
    texture = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=clean.shape), 2) * 0.3
    pectoral = np.arange(COLUMNS) < COLUMNS * 0.06
    picture = np.where((clean > 0) & pectoral, np.clip(wall + texture, 0.1, 1.0), clean).astype(np.float32)
    assert find_breast(picture).crop[1] == 0
    assert_found(picture, clean, "left")


def test_film_borders_strips_and_markers_are_left_out() -> None:
    clean = breast_picture(ROWS, COLUMNS)
    noise = np.random.default_rng(4).normal(0.06, 0.01, clean.shape)
    film = np.where(clean > 0, clean, np.clip(noise, 0, 1)).astype(np.float32)
    film[:12] = 1.0  # white strips above and on the right
    film[:, -20:] = 1.0
    film[60:100, 330:420] = 0.9  # a lead marker
    film[:8, :8] = 0.0
    assert_found(film, clean, "left", margin=16)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_saturated_implant_at_the_chest_wall_is_not_taken_for_a_strip(mirrored: bool) -> None:
    clean = breast_picture(ROWS, COLUMNS)
    y, x = np.mgrid[:ROWS, :COLUMNS]
    implant = (((y - 320) / 180) ** 2 + (x / 200) ** 2 < 1) & (clean > 0)
    picture = np.where(implant, 1.0, clean).astype(np.float32)
    for cut in (slice(None), slice(160, None)):  # the second with the implant in the corner
        chosen, whole = picture[cut], clean[cut]
        if mirrored:
            chosen, whole = np.ascontiguousarray(chosen[:, ::-1]), np.ascontiguousarray(whole[:, ::-1])
        mask = find_breast(chosen).mask
        assert (mask & (whole > 0)).sum() > 0.99 * (whole > 0).sum()


def test_the_faint_rim_of_a_breast_on_fog_is_kept_and_the_fog_is_not() -> None:
    clean = breast_picture(ROWS, COLUMNS)
    inside = clean > 0
    depth = ndimage.distance_transform_edt(inside)
    grain = np.random.default_rng(6).normal(0.10, 0.006, clean.shape)
    film = np.where(inside, 0.14 + clean * np.clip(depth / 60, 0, 1), grain).astype(np.float32)  # skin hardly above the fog
    assert_found(film, clean, "left")


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_muscle_on_film_that_dark_fat_parts_from_the_gland_is_kept(mirrored: bool) -> None:
    clean = breast_picture(ROWS, COLUMNS)
    inside = clean > 0
    slanting = np.arange(ROWS)[:, None] + np.arange(COLUMNS)[None, :]
    noise = np.random.default_rng(5).normal(0, 0.004, (ROWS, COLUMNS))
    bright = (slanting < 0.36 * ROWS) | (slanting > 0.44 * ROWS)  # the muscle in the corner above, the gland below
    film = np.where(inside, np.where(bright, 0.7, 0.14), 0.06) + ndimage.gaussian_filter(noise, 1)
    film = np.ascontiguousarray(film[:, ::-1] if mirrored else film, dtype=np.float32)
    assert_found(film, clean[:, ::-1] if mirrored else clean, "right" if mirrored else "left", too_much=0.06)


def test_fog_that_brightens_across_a_film_does_not_carry_the_rim_away() -> None:
    clean = breast_picture(ROWS, COLUMNS)
    noise = ndimage.gaussian_filter(np.random.default_rng(5).normal(0, 0.01, (ROWS, COLUMNS)), 1)
    across = np.linspace(1, 0, COLUMNS)[None, :]  # brightest at the chest wall
    film = np.where(clean > 0, 0.1 + clean * 0.8, 0.05 + 0.06 * across + noise).astype(np.float32)
    found = find_breast(film)
    assert (found.mask & (clean == 0)).sum() < 0.2 * (clean > 0).sum()
    assert (found.mask & (clean > 0)).sum() > 0.98 * (clean > 0).sum()


@pytest.mark.parametrize(
    ("make", "doubt"),
    [
        (lambda clean: clean[:500], "ends at the lower edge"),
        (lambda clean: np.pad(clean, ((0, 0), (60, 0))), "touches neither side"),
        (lambda clean: np.maximum(clean, clean[::-1, ::-1]), "touches both sides"),
        (lambda clean: np.pad(clean, ((500, 500), (0, 800))), "small"),
        (lambda clean: np.pad(clean[200:440, :200], ((0, 0), (0, 30))), "fills the picture"),
    ],
)
def test_what_a_person_should_look_at_is_doubted(make, doubt: str) -> None:  # type: ignore[no-untyped-def]
    clean = breast_picture(ROWS, COLUMNS)
    assert find_breast(clean).doubts == ()
    assert doubt in find_breast(np.ascontiguousarray(make(clean))).doubts


def test_the_light_edge_of_a_film_along_the_chest_wall_is_cut_off() -> None:
    clean = breast_picture(ROWS, COLUMNS)
    film = clean.copy()
    film[:, :36] = np.maximum(film[:, :36], 0.3)
    found = find_breast(film)
    top, _, bottom, _ = truth(clean)
    assert found.crop[0] > top - 10 and found.crop[2] < bottom + 10


def test_the_thin_tips_of_a_breast_are_kept() -> None:
    y, x = np.mgrid[:ROWS, :COLUMNS]
    clean = np.where(x < 300 * (1 - np.abs(y - 320) / 300), 0.5, 0.0).astype(np.float32)  # a triangle
    found = find_breast(clean)
    # Opening takes what is thinner than 11 of 400 rows; the cut for a film's edge would take 60 rows at each end.
    assert found.crop[0] <= truth(clean)[0] + 45 and found.crop[2] >= truth(clean)[2] - 45


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_blank_picture_has_no_breast(value: float) -> None:
    with pytest.raises(NoBreast, match="a picture of one grey"):
        find_breast(np.full((ROWS, COLUMNS), value, dtype=np.float32))


def test_what_is_small_or_only_noise_is_no_breast() -> None:
    speck = np.zeros((ROWS, COLUMNS), dtype=np.float32)
    speck[100:160, 100:160] = 1.0
    with pytest.raises(NoBreast, match="no large bright region"):
        find_breast(speck)
    noise = np.random.default_rng(0).integers(0, 4, (ROWS, COLUMNS)) / 65535
    with pytest.raises(NoBreast):
        find_breast(noise.astype(np.float32))


def test_the_picture_is_not_changed() -> None:
    clean = breast_picture(ROWS, COLUMNS)
    clean[:10] = 1.0
    before = clean.copy()
    find_breast(clean)
    assert np.array_equal(clean, before)


@pytest.mark.parametrize("shape", [(640, 480), (405, 257), (2611, 1999), (3001, 900), (500, 700), (160, 120)])
def test_reducing_and_enlarging_are_pillows(shape: tuple[int, int]) -> None:
    """They are written anew because Pillow copies the whole picture first."""
    rng = np.random.default_rng(shape)
    picture = np.maximum(breast_picture(*shape), rng.uniform(0, 0.3, shape).astype(np.float32))
    factor = min(1.0, 400 / max(shape))
    size = (max(8, round(shape[1] * factor)), max(8, round(shape[0] * factor)))
    theirs = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
    np.testing.assert_allclose(reduced(picture, size[1], size[0]), theirs, rtol=0, atol=1e-6)
    found = find_breast(breast_picture(*shape))
    large = np.asarray(Image.fromarray(found.region).resize(shape[::-1], Image.Resampling.NEAREST))
    assert np.array_equal(found.mask, large)
    top, left, bottom, right = found.crop
    assert np.array_equal(found.mask_of_crop, large[top:bottom, left:right])


@pytest.mark.parametrize("share", [0.3, 0.5, 0.6, 0.9])
def test_holes_are_filled_as_scipy_fills_them(share: float) -> None:
    region = ndimage.gaussian_filter(np.random.default_rng(4).random((90, 70)), 1) > np.sqrt(share) * 0.55
    assert np.array_equal(_filled(region), ndimage.binary_fill_holes(region))
