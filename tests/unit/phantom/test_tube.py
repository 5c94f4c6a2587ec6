"""A calcified artery against the formula of the annulus, and the bookkeeping of projected volume and mass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tramtrack.cohort.exam import Position
from tramtrack.errors import UsageError
from tramtrack.phantom.anatomy import draw_look, draw_outline
from tramtrack.phantom.calcification import (
    PATCHES_AROUND,
    Form,
    Segment,
    Tube,
    add_tube,
    calcium_path,
    draw_patches,
    render_segments,
    transported,
    wall_path,
)
from tramtrack.phantom.materials import HYDROXYAPATITE_MG_PER_MM3
from tramtrack.phantom.projection import across, ball, course, deposit
from tramtrack.phantom.settings import PhantomSettings

OUTER, WALL, PITCH = 1.0, 0.25, 0.05
WHOLE = np.ones((30, PATCHES_AROUND), np.float32)
WAYS = ("points in the wall", "formula along a line")


def straight(angle_degrees: float = 0.0, length: float = 12.0) -> np.ndarray:
    """A straight centre line, rising along the beam by ``angle_degrees``."""
    t = np.linspace(0, 1, 40)
    rise = np.tan(np.radians(angle_degrees)) * length
    return np.stack([2 + t * length, np.full(40, 4.0), t * rise], 1)


def tube_of(points: np.ndarray, radius: float = OUTER) -> Tube:
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    return Tube(points, np.full(len(points), radius), np.concatenate([[0.0], np.cumsum(steps)]), transported(points))


def full_tube(way: str, angle_degrees: float = 0.0, patches: np.ndarray = WHOLE) -> np.ndarray:
    """The image of a calcified tube, path in mm, at a fine pitch."""
    image = np.zeros((200, 400), np.float32)
    points = straight(angle_degrees)
    if way == WAYS[0]:
        add_tube(image, tube_of(points), WALL, patches, 1.0, PITCH)
        return image
    line = course(points, np.full(40, OUTER), PITCH / 2)
    assert line is not None
    fractions = across(line, PITCH / 8)
    deposit(image, line, fractions, calcium_path(line, fractions, WALL, patches, 0.0), PITCH)
    return image


def annulus(x: np.ndarray) -> np.ndarray:
    """2(sqrt(R^2-x^2) - sqrt(r^2-x^2)), averaged over the pixel and its bilinear neighbours."""
    fine = np.linspace(-PITCH, PITCH, 401)
    weight = 1 - np.abs(fine) / PITCH
    values = wall_path(x[:, None] + fine, np.array(OUTER), np.array(OUTER * (1 - WALL)))
    return (values * weight).sum(1) / weight.sum()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("angle", [0.0, 30.0, 55.0])
def test_profile_is_the_annulus_over_the_sine(angle: float, way: str) -> None:
    profile = full_tube(way, angle)[:, 195:206].mean(axis=1)
    x = (np.arange(200) + 0.5) * PITCH - 4.0
    expected = annulus(x) / np.cos(np.radians(angle))  # the sine of the angle between axis and beam
    assert np.abs(profile - expected).max() < 0.04 * expected.max()
    assert profile.sum() == pytest.approx(expected.sum(), rel=0.005)


def test_wall_path_has_two_lines() -> None:
    path = wall_path(np.array([0.0, 0.75, 1.0]), np.array(1.0), np.array(0.75))
    assert path == pytest.approx([0.5, 2 * np.sqrt(1 - 0.5625), 0.0])
    profile = full_tube(WAYS[0])[:, 200]
    assert profile.max() > 2 * profile[100]


def test_end_on_a_tube_is_a_ring() -> None:
    points = np.stack([np.full(20, 4.0), np.full(20, 4.0), np.linspace(0, 6, 20)], 1)
    image = np.zeros((200, 200), np.float32)
    add_tube(image, tube_of(points), WALL, WHOLE, 1.0, PITCH)
    at = (np.arange(200) + 0.5) * PITCH - 4.0
    away = np.hypot(at[:, None], at[None, :])
    assert image[away < OUTER * (1 - WALL) - 2 * PITCH].max() == 0
    assert image[away > OUTER + 2 * PITCH].max() == 0
    ring = image[(away > OUTER * (1 - WALL) + 2 * PITCH) & (away < OUTER - 2 * PITCH)]
    assert ring.mean() == pytest.approx(6.0, rel=0.02)


@pytest.mark.parametrize("way", WAYS)
def test_projected_volume_is_the_tubes(way: str) -> None:
    volume = full_tube(way).sum() * PITCH**2
    assert volume == pytest.approx(np.pi * OUTER**2 * (1 - (1 - WALL) ** 2) * 12.0, rel=0.01)


@pytest.mark.parametrize("way", WAYS)
def test_half_a_circumference_gives_half_the_mineral(way: str) -> None:
    half = WHOLE.copy()
    half[:, : PATCHES_AROUND // 2] = 0
    assert full_tube(way, 0.0, half).sum() / full_tube(way).sum() == pytest.approx(0.5, abs=0.01)


def test_a_segments_mass_is_the_same_in_both_views_and_at_every_pitch() -> None:
    look = draw_look(np.random.default_rng(9001), 60, PhantomSettings())
    t = np.linspace(0, 1, 30)[:, None]
    points = np.array([0.3, -0.2, 0.1]) + t * np.array([0.4, 0.3, 0.1])
    patches = draw_patches(np.random.default_rng(1), 60, 0.7)
    segment = Segment(0, Form.TRAM_TRACK, points, np.linspace(0.9, 0.5, 30), 0.25, 0.3, patches)
    for rows, columns, pitch in ((320, 240, 0.8), (1280, 960, 0.2)):
        grid = PhantomSettings(rows=rows, columns=columns, pitch_mm=pitch).grid
        for position in Position:
            outline = draw_outline(np.random.default_rng(9001), look, position, grid)
            image = render_segments((segment,), outline, look.size_mm, grid)
            assert image.sum() * pitch**2 * HYDROXYAPATITE_MG_PER_MM3 == pytest.approx(segment.mass_mg(look.size_mm), rel=0.02)
    thicker = replace(segment, mineral=0.6)
    assert thicker.mass_mg(look.size_mm) == pytest.approx(2 * segment.mass_mg(look.size_mm))


def test_a_direction_carried_along_a_curve_stays_across_it_and_does_not_twist() -> None:
    t = np.linspace(0, 3, 60)
    curve = np.stack([np.cos(t), np.sin(t), 0.2 * t], 1) * 10
    aside = transported(curve)
    tangent = np.gradient(curve, axis=0)
    assert np.abs((aside * tangent).sum(1) / np.linalg.norm(tangent, axis=1)).max() < 1e-6
    assert np.linalg.norm(aside, axis=1) == pytest.approx(1.0)
    assert (np.linalg.norm(np.diff(aside, axis=0), axis=1) < 0.06).all()


@pytest.mark.parametrize("pitch", [0.05, 0.2, 0.8])
def test_a_ball_keeps_its_volume_at_any_pitch(pitch: float) -> None:
    image = np.zeros((int(12 / pitch), int(12 / pitch)), np.float32)
    ball(image, (6.1, 5.7), 1.5, 0.9, 2.0, pitch)
    assert image.sum() * pitch**2 == pytest.approx(2.0 * 4 / 3 * np.pi * (1.5**3 - 0.9**3), rel=0.02)


def test_patches_cover_what_is_asked() -> None:
    few, many = (draw_patches(np.random.default_rng(9001), 200, share) for share in (0.3, 0.9))
    assert few.shape == (200, PATCHES_AROUND)
    assert (few[10:-10] > 0).mean() < 0.55 < 0.8 < (many[10:-10] > 0).mean()
    assert few.min() >= 0


def test_outside_the_matrix_is_lost_without_harm() -> None:
    image = np.zeros((20, 20), np.float32)
    ball(image, (-5.0, 50.0), 1.0, 0.0, 1.0, 0.2)
    add_tube(image, tube_of(straight() + 100), WALL, WHOLE, 1.0, 0.2)
    assert not image.any()
    assert course(np.zeros((3, 3)), np.ones(3), 0.1) is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"radius_mm": np.array([0.8, -0.1, 0.5])}, "radius_mm: expected radii above 0, received -0.1"),
        ({"radius_mm": np.array([0.8, np.nan, 0.5])}, "radius_mm: expected radii above 0, received nan"),
        ({"wall": 0.0}, r"wall: expected a share of the outer radius in \(0, 1\], received 0"),
        ({"wall": 1.2}, r"wall: expected a share .* received 1.2"),
        ({"mineral": -0.2}, "mineral: expected a volume fraction in 0..1, received -0.2"),
    ],
)
def test_an_artery_that_cannot_be_is_refused_by_name(values: dict, said: str) -> None:
    whole = {"radius_mm": np.full(3, 0.8), "wall": 0.25, "mineral": 0.3}
    with pytest.raises(UsageError, match=said):
        Segment(0, Form.TRAM_TRACK, np.zeros((3, 3)), patches=WHOLE, **{**whole, **values})
    if "mineral" not in values:
        radius, wall = {**whole, **values}["radius_mm"], {**whole, **values}["wall"]
        with pytest.raises(UsageError, match=said):
            add_tube(np.zeros((20, 20), np.float32), replace(tube_of(straight()[:3]), radius_mm=radius), wall, WHOLE, 1.0, 0.2)


@pytest.mark.parametrize(("outer", "inner"), [(-1.0, 0.0), (0.0, 0.0), (1.0, 1.5), (1.0, -0.5)])
def test_a_ball_that_cannot_be_is_refused_by_name(outer: float, inner: float) -> None:
    with pytest.raises(UsageError, match="outer_mm, inner_mm: expected 0 <= inner_mm < outer_mm"):
        ball(np.zeros((20, 20), np.float32), (2.0, 2.0), outer, inner, 1.0, 0.2)
