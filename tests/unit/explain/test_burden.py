"""From one map to area, length and share: in mm2 by the Geometry, in pixels without a spacing, nothing where nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from tramtrack.errors import TramtrackError
from tramtrack.explain.burden import (
    Calibration,
    NoBurden,
    PixelSize,
    burden_of,
    calibration_file,
    centreline_length,
    load_calibration,
    pixel_size,
    save_calibration,
)
from tramtrack.imaging.geometry import fit

ROWS, COLUMNS = 128, 64
CALIBRATION = Calibration("vgg16/last-conv/seed-0", "heat map", 0.5, 2.0, None, 0.25, 0.5)


def prepared(grey: int = 65535) -> np.ndarray:
    """A breast on the left half of the view."""
    pixels = np.zeros((ROWS, COLUMNS), dtype=np.uint16)
    pixels[:, :32] = grey
    return pixels


def geometry(spacing_mm: float | None = 0.1, shrink: int = 2):
    source = (ROWS * shrink, COLUMNS * shrink)
    return fit(source, (0, 0, *source), False, (ROWS, COLUMNS), spacing_mm)


def test_area_share_and_length_are_in_mm_and_calibrated():
    values = np.zeros((ROWS, COLUMNS), dtype=np.float32)
    values[10:14, 4:28] = 1
    values[60:64, 40:60] = 9  # outside the breast
    found = burden_of(values, prepared(), geometry(), CALIBRATION)
    assert found.unit == "mm" and not found.empty
    assert found.am == pytest.approx(4 * 24 * 0.2**2)
    assert found.area == pytest.approx(0.25 * found.am)
    assert found.breast_area == pytest.approx(ROWS * 32 * 0.04)
    assert found.share == pytest.approx(found.area / found.breast_area)
    assert found.length == pytest.approx(0.5 * 0.2 * 24, rel=0.15)


def test_the_five_measures_of_scu_net_are_sums_over_the_map_times_the_pixels_area():
    values = np.zeros((ROWS, COLUMNS), dtype=np.float32)
    values[0, :4] = (0.4, 1.0, 2.0, 6.0)  # probabilities 0.2, 0.5, 1 and 1; the first is below the threshold
    image = prepared(1000)
    image[0, :4] = (65535, 20000, 30000, 65535)  # of which 20000 is darker than 100/255
    found = burden_of(values, image, geometry(1.0, shrink=1), CALIBRATION)
    assert (found.pm, found.am, found.tam) == pytest.approx((2.7, 3, 2))
    assert found.sim == pytest.approx((20000 + 30000 + 65535) / 65535)
    assert found.tsim == pytest.approx((30000 + 65535) / 65535)


def test_without_spacing_it_is_pixels_of_the_original():
    values = np.ones((ROWS // 8, COLUMNS // 8), dtype=np.float32)
    found = burden_of(values, prepared(), geometry(None), CALIBRATION)
    assert found.unit == "pixels" and found.am == pytest.approx(ROWS * 32 * 4)
    assert pixel_size(geometry(0.1)) == PixelSize(0.2, 0.2, "mm")


def test_a_view_that_scores_too_low_shows_none_whatever_its_map():
    values = np.ones((ROWS, COLUMNS), dtype=np.float32)
    gated = Calibration(**{**CALIBRATION.__dict__, "least_score": 0.4})
    low, high = (burden_of(values, prepared(), geometry(), gated, score) for score in (0.39, 0.4))
    assert (low.area, low.pm, low.length, low.empty) == (0, 0, 0, False)
    assert high == burden_of(values, prepared(), geometry(), CALIBRATION)
    with pytest.raises(NoBurden, match="expected the view's score"):
        burden_of(values, prepared(), geometry(), gated)


def test_a_map_of_zeros_is_no_burden_and_said_so():
    found = burden_of(np.zeros((4, 2), dtype=np.float32), prepared(), geometry(), CALIBRATION)
    assert found.empty and (found.area, found.length, found.pm) == (0, 0, 0)


def test_an_image_without_breast_and_a_map_that_is_none_are_refused():
    values = np.ones((4, 2), dtype=np.float32)
    with pytest.raises(NoBurden, match="without one"):
        burden_of(values, prepared(0), geometry(), CALIBRATION)
    with pytest.raises(NoBurden, match="finite numbers"):
        burden_of(values * np.nan, prepared(), geometry(), CALIBRATION)


@pytest.mark.parametrize("pixel", (0.1, 0.16))
@pytest.mark.parametrize("angle", (0, 10, 30, 45, 90))
def test_two_walls_are_one_line_as_long_as_the_artery_and_so_is_a_solid_one(angle, pixel):
    size = PixelSize(pixel, pixel, "mm")
    down, across = np.mgrid[: int(30 / pixel), : int(30 / pixel)] * pixel - 15
    turn = np.deg2rad(angle)
    along, beside = across * np.cos(turn) + down * np.sin(turn), down * np.cos(turn) - across * np.sin(turn)
    for half_width in (0.4, 1.0, 1.4):
        walls = (np.abs(along) < 10) & (np.abs(np.abs(beside) - half_width) < 0.15)
        solid = (np.abs(along) < 10) & (np.abs(beside) < half_width)
        for mask in (walls, solid):  # steps along a slope are up to 8 % too long; a line may end half a width before the artery
            assert abs(centreline_length(mask, size) - 20) < 0.082 * 20 + 2 * half_width


def test_far_lines_are_two_and_a_speck_is_a_working_pixel_long():
    size = PixelSize(0.1, 0.1, "mm")
    mask = np.zeros((300, 300), dtype=bool)
    mask[50, 50:250] = mask[150, 50:250] = True
    assert centreline_length(mask, size) == pytest.approx(40, rel=0.03)
    speck = np.zeros((30, 30), dtype=bool)
    speck[5, 7] = True
    assert centreline_length(speck, size) == pytest.approx(0.3)
    assert centreline_length(speck, PixelSize(1.0, 1.0, "mm")) == pytest.approx(1)
    assert centreline_length(speck & False, size) == 0


def test_the_calibration_is_a_file_that_comes_back(tmp_path):
    assert load_calibration(tmp_path, CALIBRATION.source) is None
    path = save_calibration(tmp_path, CALIBRATION, {"weights": "ab"}, {"views": 12})
    assert path == calibration_file(tmp_path, CALIBRATION.source)
    assert load_calibration(tmp_path, CALIBRATION.source) == CALIBRATION
    path.write_text(path.read_text().replace('"threshold"', '"cut"'))
    with pytest.raises(TramtrackError, match="run `tramtrack burden` again"):
        load_calibration(tmp_path, CALIBRATION.source)
