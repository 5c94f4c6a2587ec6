"""A calcified artery against the formula of the annulus, and the bookkeeping of projected volume."""

from __future__ import annotations

import numpy as np
import pytest

from tramtrack.phantom.calcification import PATCHES_AROUND, calcium_path, draw_patches, wall_path
from tramtrack.phantom.projection import across, ball, course, deposit

OUTER, WALL, PITCH = 1.0, 0.25, 0.02


def straight(angle_degrees: float = 0.0, length: float = 12.0) -> np.ndarray:
    """A straight centre line in the image plane, rising along the beam by ``angle_degrees``."""
    t = np.linspace(0, 1, 40)
    rise = np.tan(np.radians(angle_degrees)) * length
    return np.stack([2 + t * length, np.full(40, 4.0), t * rise], 1)


def full_tube(angle_degrees: float = 0.0) -> np.ndarray:
    """The image of a completely calcified tube, path in mm, at a fine pitch."""
    image = np.zeros((400, 800), np.float32)
    line = course(straight(angle_degrees), np.full(40, OUTER), PITCH / 2)
    assert line is not None
    fractions = across(line, PITCH / 8)
    path = calcium_path(line, fractions, WALL, np.ones((30, PATCHES_AROUND), np.float32), 0.0)
    deposit(image, line, fractions, path, PITCH)
    return image


def annulus(x: np.ndarray) -> np.ndarray:
    """2(sqrt(R^2-x^2) - sqrt(r^2-x^2)), averaged over the pixel and its bilinear neighbours."""
    fine = np.linspace(-PITCH, PITCH, 401)
    weight = 1 - np.abs(fine) / PITCH
    values = wall_path(x[:, None] + fine, np.array(OUTER), np.array(OUTER * (1 - WALL)))
    return (values * weight).sum(1) / weight.sum()


@pytest.mark.parametrize("angle", [0.0, 30.0, 55.0])
def test_profile_is_the_annulus_over_the_sine(angle: float) -> None:
    profile = full_tube(angle)[:, 400]
    x = (np.arange(400) + 0.5) * PITCH - 4.0
    expected = annulus(x) / np.cos(np.radians(angle))
    assert np.abs(profile - expected).max() < 0.02 * expected.max()


def test_wall_path_has_two_lines() -> None:
    path = wall_path(np.array([0.0, 0.75, 1.0]), np.array(1.0), np.array(0.75))
    assert path == pytest.approx([0.5, 2 * np.sqrt(1 - 0.5625), 0.0])
    profile = full_tube()[:, 400]
    assert profile.max() > 2 * profile[200]


def test_projected_volume_is_the_tubes() -> None:
    volume = full_tube().sum() * PITCH**2
    assert volume == pytest.approx(np.pi * OUTER**2 * (1 - (1 - WALL) ** 2) * 12.0, rel=0.01)


@pytest.mark.parametrize("pitch", [0.05, 0.2, 0.8])
def test_a_ball_keeps_its_volume_at_any_pitch(pitch: float) -> None:
    image = np.zeros((int(12 / pitch), int(12 / pitch)), np.float32)
    ball(image, (6.1, 5.7), 1.5, 0.9, 2.0, pitch)
    assert image.sum() * pitch**2 == pytest.approx(2.0 * 4 / 3 * np.pi * (1.5**3 - 0.9**3), rel=0.02)


def test_half_a_circumference_gives_half_the_mineral() -> None:
    line = course(straight(), np.full(40, OUTER), PITCH)
    assert line is not None
    fractions = across(line, PITCH)
    whole = np.ones((30, PATCHES_AROUND), np.float32)
    half = whole.copy()
    half[:, : PATCHES_AROUND // 2] = 0
    ratio = calcium_path(line, fractions, WALL, half, 0.1).sum() / calcium_path(line, fractions, WALL, whole, 0.1).sum()
    assert ratio == pytest.approx(0.5, abs=0.01)


def test_patches_cover_what_is_asked() -> None:
    few, many = (draw_patches(np.random.default_rng(9001), 200, share) for share in (0.3, 0.9))
    assert few.shape == (200, PATCHES_AROUND)
    assert (few[10:-10] > 0).mean() < 0.55 < 0.8 < (many[10:-10] > 0).mean()
    assert few.min() >= 0


def test_outside_the_matrix_is_lost_without_harm() -> None:
    image = np.zeros((20, 20), np.float32)
    ball(image, (-5.0, 50.0), 1.0, 0.0, 1.0, 0.2)
    assert not image.any()
    assert course(np.zeros((3, 3)), np.ones(3), 0.1) is None
