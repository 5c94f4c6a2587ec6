"""The breast without calcium: texture, outline, muscle, and that both views project the same vessels."""

from __future__ import annotations

import numpy as np
import pytest

from tramtrack.cohort.exam import Position
from tramtrack.phantom.acquisition import noise_deviation, tissue
from tramtrack.phantom.anatomy import (
    compressed_thickness,
    draw_look,
    draw_outline,
    inside_distance,
    pectoral_muscle,
    power_law_fields,
)
from tramtrack.phantom.materials import ADIPOSE
from tramtrack.phantom.settings import PhantomSettings
from tramtrack.phantom.vessels import Kind, draw_tree, project

SETTINGS = PhantomSettings(rows=320, columns=240, pitch_mm=0.8)
GRID = SETTINGS.grid


def generator(seed: int = 9001) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("exponent", [2.5, 3.0, 3.5])
def test_texture_has_its_power_law(exponent: float) -> None:
    (field,) = power_law_fields(generator(), (512, 512), 0.4, exponent, longest_mm=200.0)
    power = np.abs(np.fft.fft2(field)) ** 2
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(512, 0.4), np.fft.fftfreq(512, 0.4)))
    band = (f > 0.05) & (f < 0.8)
    slope = np.polyfit(np.log(f[band]), np.log(power[band]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.1)
    assert field.dtype == np.float32
    assert field.std() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("position", list(Position))
@pytest.mark.parametrize("seed", range(9001, 9009))
def test_every_breast_lies_inside_its_matrix(position: Position, seed: int) -> None:
    rng = generator(seed)
    outline = draw_outline(rng, draw_look(rng, 60), position, GRID)
    inside = inside_distance(outline, GRID)
    assert inside.shape == GRID.shape
    assert inside[GRID.rows // 2, 0] > 20
    assert (inside[:, -1] < 0).all()
    assert outline.width_mm < GRID.field_mm[1]
    muscle = pectoral_muscle(rng, outline, GRID)
    assert (muscle[0, 0] > 0.3) == (position is Position.MLO)
    assert muscle[-1, -1] < 1e-6


def test_thickness_is_full_inside_and_thins_to_the_skin() -> None:
    inside = np.array([[-3.0, 0.0, 1.0, 10.0, 60.0]], np.float32)
    thickness, skin = compressed_thickness(inside, 50.0)
    assert thickness[0] == pytest.approx([0, 0, 2 * np.sqrt(625 - 576), 40.0, 50.0], abs=1e-3)
    assert skin[0, 2] > skin[0, 3] > skin[0, 4] > 0


def test_density_falls_with_age() -> None:
    gland = {age: np.mean([draw_look(generator(seed), age).gland for seed in range(9000, 9200)]) for age in (45, 75)}
    assert gland[45] > gland[75] + 0.1


def test_both_views_project_the_same_tree() -> None:
    rng = generator()
    look = draw_look(rng, 60)
    tree = draw_tree(rng, SETTINGS)
    assert {vessel.kind for vessel in tree} == {Kind.ARTERY, Kind.VEIN}
    for position in Position:
        outline = draw_outline(generator(), look, position, GRID)
        for vessel in tree:
            assert np.all(np.diff(vessel.radius_mm) < 0)
            x, y, z = project(vessel.points, outline).T
            assert (x < outline.skin_at(y)).all()
            assert (np.abs(z) < outline.thickness_mm / 2).all()
            nearer_nipple = np.corrcoef(x, vessel.points[:, 0])[0, 1]
            assert nearer_nipple > 0.5 or np.ptp(vessel.points[:, 0]) < 0.3


def test_vessels_and_gland_attenuate() -> None:
    rng = generator()
    look = draw_look(rng, 60)
    outline = draw_outline(rng, look, Position.CC, GRID)
    tree = draw_tree(rng, SETTINGS)
    plain = tissue(generator(1), look, outline, (), GRID).attenuation
    with_vessels = tissue(generator(1), look, outline, tree, GRID).attenuation
    assert (with_vessels >= plain - 1e-5).all()
    assert (with_vessels > plain + 0.01).sum() > 50
    assert plain.max() > ADIPOSE * outline.thickness_mm


def test_noise_is_one_over_the_root_of_the_quanta() -> None:
    look = draw_look(generator(), 60)
    fat = np.full((2, 2), ADIPOSE * 50, np.float32)
    one = noise_deviation(fat, 50.0, look, SETTINGS)
    assert one == pytest.approx(1 / np.sqrt(SETTINGS.photons_per_pixel * look.exposure * 16), rel=1e-5)
    assert noise_deviation(fat + 1, 50.0, look, SETTINGS) / one == pytest.approx(np.exp(0.5), rel=1e-5)
