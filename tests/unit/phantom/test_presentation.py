"""From the detector's signal to what is looked at: each station's look; a film's border, lead marker, scratches and grain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import find_objects, label

from tramtrack.cohort.exam import Position, Side
from tramtrack.phantom.acquisition import Paths
from tramtrack.phantom.anatomy import compressed_thickness, draw_look, draw_outline, inside_distance
from tramtrack.phantom.presentation import WHITE, film_look, present, stored
from tramtrack.phantom.settings import PhantomSettings
from tramtrack.phantom.stations import FILM, STATIONS, Station

SETTINGS = PhantomSettings(rows=480, columns=360, pitch_mm=0.5)
GRID, PITCH = SETTINGS.grid, SETTINGS.pitch_mm
LOOK = replace(draw_look(np.random.default_rng(9140), 60, SETTINGS), contrast=1.0, brightness=0.0)
LOOKS = (*STATIONS, FILM)


def body(gland_mm: float = 0.0) -> tuple[Paths, np.ndarray]:
    """A breast of fat with a square of gland in its middle, 10 mm wide and ``gland_mm`` thick, and where the square is."""
    outline = draw_outline(np.random.default_rng(9140), LOOK, Position.CC, GRID)
    inside = inside_distance(outline, GRID)
    thickness, skin = compressed_thickness(inside, 50.0)
    gland = np.zeros(GRID.shape, np.float32)
    row, column = int(outline.nipple_mm / PITCH), int(30 / PITCH)
    square = np.s_[row - 10 : row + 10, column - 10 : column + 10]
    gland += np.random.default_rng(9141).normal(10, 2, GRID.shape).astype(np.float32).clip(0) * (thickness > 20)
    gland[square] += gland_mm
    where = np.zeros(GRID.shape, bool)
    where[square] = True
    return Paths(thickness, inside, {"glandular": gland, "skin": skin}, np.zeros(GRID.shape, np.float32)), where


def shown(station: Station, gland_mm: float = 0.0) -> tuple[np.ndarray, Paths, np.ndarray]:
    """The view as this station shows it without noise, the body, and where its square is."""
    paths, square = body(gland_mm)
    signal = -np.log(station.beam.transmission(paths.paths_mm, paths.thickness_mm))
    return present(signal, paths, LOOK, station, PITCH), paths, square


@pytest.mark.parametrize("station", LOOKS, ids=lambda station: station.name)
def test_a_look_is_black_in_air_and_brighter_where_more_is_absorbed(station: Station) -> None:
    plain, paths, square = shown(station)
    dense, _, _ = shown(station, gland_mm=20.0)
    assert plain.dtype == np.float32 and plain.min() >= 0 and plain.max() <= 1
    assert not plain[paths.inside_mm <= 0].any()
    surroundings = (paths.inside_mm > 15) & ~square
    assert dense[square].mean() > plain[surroundings].mean() + 0.1
    assert plain[surroundings].std() > 0.01


def test_each_station_and_film_has_its_own_look() -> None:
    looks = [shown(station)[0] for station in LOOKS]
    apart = [np.abs(a - b).mean() for n, a in enumerate(looks) for b in looks[:n]]
    assert min(apart) > 0.005, apart


def test_equalising_takes_the_thickness_out_and_fine_detail_is_raised() -> None:
    station = STATIONS[0]
    rim = {}
    for share in (0.0, 0.95):
        picture, paths, _ = shown(replace(station, equalised=share, fine=0.0, coarse=0.0))
        edge, middle = ((paths.inside_mm > low) & (paths.inside_mm < high) for low, high in ((4, 6), (25, 60)))
        rim[share] = np.median(picture[edge]) / np.median(picture[middle])
    assert rim[0.0] < 0.5 * rim[0.95]

    def detail(fine: float) -> float:
        picture, paths, _ = shown(replace(station, fine=fine, coarse=0.0))
        return float(np.diff(picture, axis=1)[:, :-20][paths.inside_mm[:, 1:-20] > 25].std())

    assert detail(0.8) > 1.2 * detail(0.0)


def test_twelve_bits_are_stored() -> None:
    assert stored(np.array([-0.1, 0.0, 0.5, 1.0, 1.2], np.float32)).tolist() == [0, 0, 2048, WHITE, WHITE]


def film(seed: int, side: Side = Side.L) -> tuple[np.ndarray, list[tuple[int, int, int, int]]]:
    """A film and the bright marks in its air, away from the edges: (top, height, width, pixels) of each."""
    grey, paths, _ = shown(FILM)
    air = paths.inside_mm < -5
    grey, air = (np.ascontiguousarray(part[:, ::-1]) if side is Side.R else part for part in (grey, air))
    picture = film_look(np.random.default_rng(seed), grey, side, Position.CC, GRID)
    inner = np.zeros(air.shape, bool)
    inner[12:-12, 12:-12] = air[12:-12, 12:-12]  # without the unexposed strips
    assert 0.01 < np.median(picture[inner]) < 0.08  # fog
    assert np.ptp(np.percentile(picture[inner], (2, 60))) > 0.001  # grain
    pieces, _ = label((picture > 0.4) & inner, np.ones((3, 3)))
    boxes = [(place[0], place[1], pieces[place] == n) for n, place in enumerate(find_objects(pieces), start=1)]
    return picture, [(rows.start, own.shape[0], own.shape[1], int(own.sum())) for rows, _, own in boxes]


@pytest.mark.parametrize("side", list(Side))
def test_a_film_has_fog_grain_and_a_lead_marker_in_the_air(side: Side) -> None:
    for seed in range(9140, 9146):
        picture, marks = film(seed, side)
        assert picture.dtype == np.float32 and picture.min() >= 0 and picture.max() <= 1
        letters = [mark for mark in marks if 20 < mark[0] < 70 and 9 <= mark[1] <= 16 and mark[3] > 15]
        assert len(letters) == 3, (seed, marks)  # the side and CC


def test_some_films_have_unexposed_edges_never_at_the_chest_wall_and_scratches_and_dust() -> None:
    edges = {"top": 0, "bottom": 0, "air": 0}
    scratched = dusty = 0
    for seed in range(9140, 9152):
        picture, marks = film(seed)
        for name, line in (("top", picture[0]), ("bottom", picture[-1]), ("air", picture[:, -1])):
            edges[name] += int(np.median(line) > 0.8)
        assert np.median(picture[8:-8, 0]) < 0.8
        scratched += any(np.hypot(height, width) > 20 and count < 2 * max(height, width) for _, height, width, count in marks)
        dusty += any(height <= 3 and width <= 3 for _, height, width, _ in marks)
    assert all(2 <= count <= 10 for count in edges.values()), edges
    assert 2 <= scratched < 12 and dusty >= 4
