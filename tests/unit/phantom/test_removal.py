"""A vessel taken out: gone, its place no smoother than its surroundings, nothing else touched; and an equal band elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from pretend import mammogram, vessel_points
from tramtrack.errors import UsageError
from tramtrack.phantom.removal import band_mask, equal_band, fill_band
from tramtrack.phantom.vessel_paths import VesselPath, survey

PATH = VesselPath(vessel_points(), "drawn")
HALF = 7.0


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """The same breast with a bright vessel and without."""
    return mammogram(vessel=0.3) * 60000, mammogram(vessel=0.0) * 60000


def test_the_vessel_is_gone_and_its_grain_is_not(pair: tuple[np.ndarray, np.ndarray]) -> None:
    with_vessel, without = pair
    filled = fill_band(with_vessel, PATH, HALF)
    band = band_mask(PATH, HALF, without.shape)
    assert np.array_equal(filled[~band], with_vessel[~band])
    middle = band_mask(PATH, 2.0, without.shape)
    assert abs((filled - without)[middle].mean()) < 0.1 * (with_vessel - without)[middle].mean()

    def fine(picture: np.ndarray) -> float:
        return float((picture - gaussian_filter(picture, 1.5))[band_mask(PATH, 5.0, without.shape)].std())

    assert fine(filled) == pytest.approx(fine(without), rel=0.15)


def test_an_image_without_a_vessel_stays_alike(pair: tuple[np.ndarray, np.ndarray]) -> None:
    without = pair[1]
    band = band_mask(PATH, HALF, without.shape)
    change = fill_band(without, PATH, HALF) - without
    assert abs(change[band].mean()) < 0.3 * without[band].std() and change[band].std() < 1.5 * without[band].std()


def test_an_equal_band_is_the_same_shape_elsewhere(pair: tuple[np.ndarray, np.ndarray]) -> None:
    seen = survey((pair[0] / 60000).astype(np.float32))
    there = equal_band(seen, PATH, HALF, np.random.default_rng(9140))
    assert there.length_px == pytest.approx(PATH.length_px)
    assert cKDTree(PATH.points).query(there.points)[0].min() > 3 * HALF
    rows, columns = np.rint(there.points[:, 1]).astype(int), np.rint(there.points[:, 0]).astype(int)
    assert seen.enlarged_interior(pair[0].shape)[rows, columns].all()
    again = equal_band(seen, PATH, HALF, np.random.default_rng(9140))
    assert np.array_equal(again.points, there.points)


def test_a_band_of_no_width_is_refused() -> None:
    with pytest.raises(UsageError, match="half_width: expected 1 to 160 pixels, received 0"):
        fill_band(np.zeros((640, 480)), PATH, 0.0)


def test_a_band_beside_the_image_is_refused() -> None:
    beside = VesselPath(PATH.points + 5000, "drawn")
    with pytest.raises(UsageError, match="expected one in the image of 480 x 640 pixels, all of it lies outside"):
        fill_band(np.zeros((640, 480)), beside, 14.0)
