"""The measures of likeness find what was put in: an exponent, a local contrast, the shape of an artery's profile."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tramtrack.phantom.calcification import wall_path
from tramtrack.phantom.likeness import coherence, likeness, middle_line, page_margin, sections, spectrum_exponent
from tramtrack.phantom.vessel_paths import VesselPath

EVERYWHERE = np.ones((512, 512), dtype=bool)


def power_law(exponent: float, seed: int) -> np.ndarray:
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(512), np.fft.fftfreq(512), indexing="ij"))
    frequency[0, 0] = 1
    noise = np.random.default_rng(seed).normal(size=(512, 512))
    return np.fft.ifft2(np.fft.fft2(noise) / frequency ** (exponent / 2)).real


@pytest.mark.parametrize("exponent", [2.0, 3.0])
def test_the_exponent_is_the_one_drawn(exponent: float) -> None:
    found = [spectrum_exponent(power_law(exponent, seed), EVERYWHERE) for seed in range(9150, 9154)]
    assert np.mean(found) == pytest.approx(exponent, abs=0.15)


def test_without_room_for_a_tile_there_is_no_exponent() -> None:
    narrow = np.zeros((512, 512), dtype=bool)
    narrow[:, :20] = True
    assert spectrum_exponent(power_law(3, 9150), narrow) is None


def test_local_contrast_falls_with_blur_and_greys_are_those_inside() -> None:
    picture = 0.5 + 0.1 * np.random.default_rng(9151).normal(size=(512, 512))
    inside = EVERYWHERE.copy()
    inside[:, 256:] = False
    picture[:, 256:] = 0
    sharp, soft = likeness(picture, inside), likeness(gaussian_filter(picture, 2), inside)
    assert sharp.median == pytest.approx(0.5, abs=0.01) and sharp.range == pytest.approx(0.329, abs=0.01)
    assert sharp.fine > 3 * soft.fine and abs(sharp.skewness) < 0.05


def test_stripes_are_coherent_and_noise_is_not() -> None:
    stripes = np.sin(np.arange(256)[:, None] / 4 + np.arange(256) / 7)
    noise = np.random.default_rng(9154).normal(size=(256, 256))
    inner = np.s_[40:-40, 40:-40]
    assert coherence(stripes)[inner].min() > 0.99
    assert coherence(noise)[inner].mean() < 0.35 < coherence(noise + 4 * stripes)[inner].mean()


@pytest.mark.parametrize(("wall", "lines"), [(0.25, 2), (1.0, 1)])
def test_a_tube_has_the_annulus_shape(wall: float, lines: int) -> None:
    row = np.arange(120)[:, None] - 60.0
    tube = wall_path(np.abs(row + np.zeros((1, 200))), np.array(8.0), np.array(8.0 * (1 - wall)))
    picture = tube + np.random.default_rng(9152).normal(0, 0.05, tube.shape)
    path = VesselPath(np.stack([np.linspace(10, 190, 180), np.full(180, 60.0)], 1), "drawn")
    found = sections(picture, path)
    assert len(found) > 12
    shape = np.median([(section.edge_to_centre, section.separation, section.width) for section in found], axis=0)
    if lines == 2:
        exact = wall_path(np.array([6.0]), np.array(8.0), np.array(6.0))[0] / 4.0
        assert shape == pytest.approx([exact, 12 / 15, 15], rel=0.2)
    else:
        assert shape[0] < 1.05 and shape[2] == pytest.approx(14, abs=2)


def test_nothing_stands_out_of_noise() -> None:
    picture = np.random.default_rng(9153).normal(size=(120, 200))
    path = VesselPath(np.stack([np.linspace(10, 190, 180), np.full(180, 60.0)], 1), "drawn")
    assert len(sections(picture, path)) < 6


def test_the_middle_of_a_mask_is_the_line_it_was_drawn_around() -> None:
    row, column = np.mgrid[:200, :300]
    bow = 100 + 30 * np.sin(column / 60)
    mask = (np.abs(row - bow) < 5) & (column > 40) & (column < 260) & (column % 50 > 5)
    mask[20:30, 20:30] = True
    path = middle_line(mask)
    assert path is not None and path.length_px > 190
    inner = path.points[10:-10]  # at its ends a skeleton runs into a corner
    assert np.abs(inner[:, 1] - (100 + 30 * np.sin(inner[:, 0] / 60))).max() < 2
    assert middle_line(np.zeros((50, 50), dtype=bool)) is None


def test_a_white_page_is_told_from_a_white_breast() -> None:
    page = np.ones((100, 80))
    page[20:90, 10:70] = 0.2
    page[30:50, 10:40] = 1.0
    assert page_margin(page) == (slice(20, 90), slice(10, 70))
    assert page_margin(page[20:90, 10:70]) == (slice(0, 70), slice(0, 60))
