"""The breast without calcium: outline, muscle, tissue in three dimensions, and that both views project the same things."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tramtrack.cohort.exam import Position, Side
from tramtrack.phantom.acquisition import Anatomy, body_paths
from tramtrack.phantom.anatomy import (
    Look,
    compressed_thickness,
    draw_look,
    draw_outline,
    inside_distance,
    pectoral_muscle,
    project,
)
from tramtrack.phantom.distractors import Distractor, ViewEffects, draw_distractors, render_distractors
from tramtrack.phantom.settings import PhantomSettings
from tramtrack.phantom.strands import draw_strands
from tramtrack.phantom.tissue import draw_soft_tissue, power_law_block, soft_tissue_path
from tramtrack.phantom.vessels import Kind, draw_ducts, draw_tree
from tramtrack.phantom.woman import SyntheticWoman

SETTINGS = PhantomSettings(rows=320, columns=240, pitch_mm=0.8)
GRID = SETTINGS.grid
QUIET = ViewEffects((), None, 0.0)


def generator(seed: int = 9001) -> np.random.Generator:
    return np.random.default_rng(seed)


def look_of(seed: int = 9001, age: int = 60) -> Look:
    return draw_look(generator(seed), age, SETTINGS)


@pytest.mark.parametrize("exponent", [2.5, 3.0, 3.5])
def test_a_block_projects_to_its_power_law(exponent: float) -> None:
    block = power_law_block(generator(), (128, 128, 64), 1.0, exponent, longest_mm=200.0)
    assert block.values.dtype == np.float32
    assert block.values.std() == pytest.approx(1.0, abs=1e-3)
    power = np.abs(np.fft.fft2(block.values.mean(axis=2))) ** 2
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
    band = (f > 0.04) & (f < 0.4)
    slope = np.polyfit(np.log(f[band]), np.log(power[band]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.15)


def test_a_block_is_cut_where_it_is_asked() -> None:
    block = power_law_block(generator(), (16, 16, 16), 2.0, 3.0, longest_mm=20.0)
    rows = block.cut(np.array([6.0, 7.0, 38.0]), np.array([4.0, 4.0, 4.0]), 20)
    assert rows[0, :16] == pytest.approx(block.values[3, 2])
    assert rows[1, :16] == pytest.approx((block.values[3, 2] + block.values[4, 2]) / 2, abs=1e-6)
    assert rows[2] == pytest.approx(rows[0], abs=1e-6)
    assert (rows[:, 16:] == rows[:, :4]).all()


@pytest.mark.parametrize("position", list(Position))
@pytest.mark.parametrize("seed", range(9001, 9009))
def test_every_breast_lies_inside_its_matrix(position: Position, seed: int) -> None:
    grid = PhantomSettings(rows=192, columns=96, pitch_mm=1.2).grid  # the smallest field: 230.4 x 115.2 mm
    outline = draw_outline(generator(seed), look_of(seed), position, grid)
    inside = inside_distance(outline, grid)
    assert inside.shape == grid.shape
    assert inside[grid.rows // 2, 0] > 20
    assert (inside[:, -1] < 0).all()
    assert outline.width_mm < grid.field_mm[1]
    muscle = pectoral_muscle(outline, grid)
    assert (muscle[0, 0] > 0.1) == (position is Position.MLO)
    assert muscle[-1, -1] < 1e-6


def test_thickness_is_full_inside_and_thins_to_the_skin() -> None:
    inside = np.array([[-3.0, 0.0, 1.0, 10.0, 60.0]], np.float32)
    thickness, skin = compressed_thickness(inside, 50.0)
    assert thickness[0] == pytest.approx([0, 0, 2 * np.sqrt(625 - 576), 40.0, 50.0], abs=1e-3)
    assert skin[0, 2] > skin[0, 3] > skin[0, 4] > 0


def test_density_falls_with_age_around_the_screening_proportions() -> None:
    gland = {age: np.mean([look_of(seed, age).gland for seed in range(9000, 9200)]) for age in (45, 75)}
    assert gland[45] > gland[75] + 0.1
    letters = [look_of(seed, 59).density for seed in range(9000, 9600)]
    shares = {letter: letters.count(letter) / len(letters) for letter in "abcd"}
    assert shares["a"] == pytest.approx(0.1, abs=0.04) and shares["d"] == pytest.approx(0.1, abs=0.04)
    assert shares["b"] == pytest.approx(0.4, abs=0.06) and shares["c"] == pytest.approx(0.4, abs=0.06)


@pytest.mark.parametrize("position", list(Position))
def test_places_across_and_heights_are_inverse(position: Position) -> None:
    outline = draw_outline(generator(), look_of(), position, GRID)
    across = np.linspace(-1.2, 1.2, 49)
    assert outline.across_of(outline.height_of(across)) == pytest.approx(across, abs=1e-9)
    assert (np.diff(outline.height_of(across)) > 0).all()


def test_both_views_project_the_same_tree_inside_the_skin() -> None:
    look = look_of()
    tree = draw_tree(generator(1), generator(2), SETTINGS)
    assert {vessel.kind for vessel in tree} == {Kind.ARTERY, Kind.VEIN}
    for position in Position:
        outline = draw_outline(generator(), look, position, GRID)
        for vessel in tree:
            assert np.all(np.diff(vessel.radius_mm) < 0)
            x, y, z = project(vessel.points, outline).T
            assert (x < outline.skin_at(y)).all()
            assert (np.abs(z) < outline.thickness_mm / 2).all()


def test_left_and_right_are_alike_but_not_the_same() -> None:
    left, right = (draw_tree(generator(1), generator(seed), SETTINGS) for seed in (2, 3))
    apart = np.linalg.norm(left[0].points[0] - right[0].points[0])
    assert 0 < apart < 0.35
    tissue = [draw_soft_tissue(generator(1), generator(seed)) for seed in (2, 3)]
    islands = [one.islands.values.ravel() for one in tissue]
    assert 0.6 < np.corrcoef(*islands)[0, 1] < 0.9
    assert abs(np.corrcoef(tissue[0].grain.values.ravel(), tissue[1].grain.values.ravel())[0, 1]) < 0.1


def test_islands_of_one_breast_show_in_both_views() -> None:
    """Along depth, gland lies where it lies in both views; another breast's lies elsewhere."""
    look = replace(look_of(), gland=0.6)
    seeds, plain = range(2, 8), np.ones(GRID.shape, np.float32)
    depth, across = np.linspace(0.1, 0.9, 33), np.linspace(-0.7, 0.7, 29)
    profiles = {}
    for position in Position:
        outline = replace(draw_outline(generator(), look, position, GRID), thickness_mm=50.0)
        rows = np.round(outline.height_of(across) / GRID.pitch_mm).astype(int)
        columns = (outline.reach_of(across)[:, None] * depth / GRID.pitch_mm).astype(int)
        found = []
        for seed in seeds:
            tissue = draw_soft_tissue(generator(seed), generator(seed + 100))
            path = soft_tissue_path(generator(len(found)), tissue, look, outline, 50 * plain, 40 * plain, GRID)
            found.append(gaussian_filter(path[rows[:, None], columns].mean(axis=0), 1))
        profiles[position] = np.array(found) - np.mean(found, axis=0)
    alike = np.corrcoef(profiles[Position.CC], profiles[Position.MLO])[: len(seeds), len(seeds) :]
    own, other = np.diag(alike).mean(), alike[~np.eye(len(seeds), dtype=bool)].mean()
    assert own > 0.7
    assert own > other + 0.6


def test_what_a_body_is_made_of() -> None:
    look = look_of()
    outline = draw_outline(generator(), look, Position.MLO, GRID)
    anatomy = Anatomy(
        (*draw_tree(generator(1), generator(2), SETTINGS), *draw_ducts(generator(3), SETTINGS)),
        draw_strands(generator(4), SETTINGS), draw_soft_tissue(generator(5), generator(6)), 0.0,
    )  # fmt: skip
    body = body_paths(generator(1), look, anatomy, outline, QUIET, GRID)
    assert {"glandular", "skin", "muscle", "blood"} == set(body.paths_mm)
    for name, path in body.paths_mm.items():
        assert path.min() >= 0 and path.dtype == np.float32, name
        assert (path <= body.thickness_mm + 1e-3).all(), name
        assert path.max() > 0.5, name
    assert not body.paths_mm["glandular"][body.thickness_mm == 0].any()
    with_implant = body_paths(generator(1), look, replace(anatomy, implant_mm=90.0), outline, QUIET, GRID)
    assert with_implant.paths_mm["saline"].max() > 0.7 * outline.thickness_mm
    folded = body_paths(generator(1), look, anatomy, outline, ViewEffects(((30, 120, 60, 130, 2, 3),), (60, 140), 0.0), GRID)
    assert folded.paths_mm["glandular"].sum() > body.paths_mm["glandular"].sum()


def test_every_kind_of_object_is_drawn_and_seen_in_both_views() -> None:
    settings = replace(
        SETTINGS, round=3.0, clusters=3.0, rods=3.0, eggshells=3.0, skin_calcifications=3.0, masses=3.0, clips=3.0
    )
    deposits = draw_distractors(generator(9003), settings)
    assert {item.kind for item in deposits} == set(Distractor)
    boxes = {}
    for position in Position:
        paths, seen = render_distractors(deposits, draw_outline(generator(), look_of(), position, GRID), GRID)
        assert set(paths) == {"hydroxyapatite", "glandular", "titanium"}
        assert all(path.sum() > 0 for path in paths.values())
        boxes[position] = {item.number: item for item in seen}
        for item in seen:
            top, left, bottom, right = item.box_mm
            assert top < bottom and left < right
    both = boxes[Position.CC].keys() & boxes[Position.MLO].keys()
    assert len(both) > 0.7 * len(deposits)
    assert all(boxes[Position.CC][n].kind is boxes[Position.MLO][n].kind for n in both)


def test_truth_counts_what_the_view_holds() -> None:
    settings = replace(SETTINGS, skin_folds=3.0, nipple_share=1.0, motion_share=1.0, implant_share=1.0, film_share=1.0)
    woman = SyntheticWoman(np.random.SeedSequence(9001), 60, False, settings)
    truth = woman.view(Side.L, Position.CC).truth
    assert truth.distractors["nipple_out_of_profile"] == truth.distractors["motion"] == truth.distractors["implants"] == 1
    assert truth.distractors["round"] == sum(item.kind is Distractor.ROUND for item in truth.seen)
    assert truth.distractors["uncalcified_arteries"] == truth.distractors["arteries"] > 0
    assert truth.motion_mm > 0
    assert woman.station.film and woman.truth()["station"] == "FILM"
