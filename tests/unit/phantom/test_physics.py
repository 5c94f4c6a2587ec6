"""Attenuation, scatter, exposure, noise and blur against theory and against published numbers."""

from __future__ import annotations

import numpy as np
import pytest

from tramtrack.phantom.acquisition import (
    GRID_PASSES,
    SCATTER_PER_CM,
    Paths,
    automatic_exposure,
    blurred,
    calcium_contrast,
    expose,
    noise_deviation,
    scatter_ratio,
    with_scatter,
)
from tramtrack.phantom.beam import KVP, SPECTRA, Beam
from tramtrack.phantom.materials import ADIPOSE, CALCIUM_CONTRAST, GLANDULAR, HYDROXYAPATITE, MATERIALS, Material
from tramtrack.phantom.stations import DETECTORS, FILM, STATIONS

NIST_COMPOUNDS = {
    # cm2/g at 10, 15, 20 and 30 keV, NISTIR 5632, table 4
    "muscle": (5.356, 1.693, 0.8205, 0.3783),
    "water": (5.329, 1.673, 0.8096, 0.3756),
}


@pytest.mark.parametrize(("name", "published"), NIST_COMPOUNDS.items())
def test_mixtures_of_elements_give_the_published_compounds(name: str, published: tuple[float, ...]) -> None:
    material = Material(1.0, {"H": 0.1119, "O": 0.8881}) if name == "water" else MATERIALS[name]
    assert material.mass_attenuation([10.0, 15.0, 20.0, 30.0]) == pytest.approx(published, rel=0.002)


def test_tissues_lie_where_johns_and_yaffe_measured_them() -> None:
    """Phys Med Biol 1987;32:675: at 20 keV about .045 to .055 per mm for fat and .080 for fibroglandular tissue."""
    assert 0.044 < ADIPOSE < 0.056
    assert 0.075 < GLANDULAR < 0.085
    assert 2.0 < HYDROXYAPATITE < 2.15
    assert CALCIUM_CONTRAST < HYDROXYAPATITE


@pytest.mark.parametrize("name", SPECTRA)
def test_spectra_are_spectra(name: str) -> None:
    beam = Beam(name)
    assert sum(share for _, share in SPECTRA[name]) == pytest.approx(1.0, abs=0.005)
    assert beam.weights.sum() == pytest.approx(1.0)
    assert beam.energies_kev.max() < KVP[name]
    hard = (beam.hardened(60.0, 0.2) * beam.energies_kev).sum()
    assert hard > (beam.weights * beam.energies_kev).sum() + 0.5
    assert beam.effective("hydroxyapatite", 60.0) < beam.effective("hydroxyapatite", 20.0)


def test_beer_and_lambert_for_one_energy_and_for_a_spectrum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPECTRA, "one", ((20.0, 1.0),))
    thickness, gland, calcium = (np.full((3, 4), value, np.float32) for value in (50.0, 12.0, 0.2))
    paths = {"glandular": gland, "hydroxyapatite": calcium}
    expected = np.exp(-(ADIPOSE * 38 + GLANDULAR * 12 + CALCIUM_CONTRAST * 0.2))
    assert Beam("one").transmission(paths, thickness) == pytest.approx(np.full((3, 4), expected), rel=1e-5)
    beam = Beam("W/Rh")
    by_hand = sum(
        weight
        * np.exp(
            -(
                MATERIALS["adipose"].attenuation(energy) * 38
                + MATERIALS["glandular"].attenuation(energy) * 12
                + (MATERIALS["hydroxyapatite"].attenuation(energy) - MATERIALS["muscle"].attenuation(energy)) * 0.2
            )
        )
        for energy, weight in zip(beam.energies_kev, beam.weights, strict=True)
    )
    assert beam.transmission(paths, thickness) == pytest.approx(np.full((3, 4), by_hand), rel=1e-4)


def flat(thickness: float, rows: int = 400, columns: int = 400) -> Paths:
    plain = np.full((rows, columns), thickness, np.float32)
    return Paths(plain, plain, {"glandular": 0.2 * plain}, np.zeros_like(plain))


@pytest.mark.parametrize("thickness", [20.0, 45.0, 80.0])
def test_scatter_over_primary_in_the_middle_of_a_large_breast(thickness: float) -> None:
    primary = np.full((600, 400), 0.05, np.float32)
    both = with_scatter(primary, np.full((600, 400), thickness, np.float32), 0.5)
    ratio = both[300, 40] / primary[300, 40] - 1
    assert ratio == pytest.approx(SCATTER_PER_CM * thickness / 10 * GRID_PASSES, rel=0.02)
    assert both[300, -1] < both[300, 40]  # at the edge half of it is missing
    assert scatter_ratio(80.0) == pytest.approx(2 * scatter_ratio(40.0))


def test_scatter_takes_contrast_away() -> None:
    beam = Beam("W/Al")
    assert calcium_contrast(beam, 60.0) == pytest.approx(beam.effective("hydroxyapatite", 60.0) / (1 + scatter_ratio(60.0)))


def test_automatic_exposure_gives_the_quanta_asked_for() -> None:
    signal = np.full((400, 400), 0.04, np.float32)
    for pitch in (0.1, 0.2):
        entrance = automatic_exposure(signal, flat(50.0), 5000.0, pitch)
        assert entrance * 0.04 == pytest.approx(5000.0 * (pitch / 0.2) ** 2)


def test_noise_falls_as_one_over_the_root_of_the_exposure() -> None:
    station = STATIONS[0]
    noise = {}
    for quanta in (2000.0, 8000.0, 32000.0):
        exposed = expose(np.random.default_rng(9001), station, flat(50.0), {}, quanta, 0.0, 0.2)
        middle = exposed.signal[150:250, 20:120]
        noise[quanta] = float(np.diff(middle, axis=1).std() / np.sqrt(2))  # neighbours: scatter's slope does not count
        seen = exposed.entrance * np.exp(-middle.mean())
        assert noise[quanta] == pytest.approx(np.sqrt(seen + station.electronic**2) / seen, rel=0.03)
        assert seen == pytest.approx(quanta, rel=0.15)
    assert noise[2000.0] / noise[32000.0] == pytest.approx(4.0, rel=0.1)


def test_electronics_add_to_the_quanta() -> None:
    signal = np.full((2, 2), 0.1, np.float32)
    assert noise_deviation(signal, 1000.0, 0.0) == pytest.approx(np.full((2, 2), 0.01))
    assert noise_deviation(signal, 1000.0, 10.0) == pytest.approx(np.full((2, 2), np.sqrt(200) / 1000))


@pytest.mark.parametrize("station", [*STATIONS, FILM], ids=lambda station: station.name)
def test_blur_has_the_mtf_of_its_gaussian(station) -> None:
    pitch = 0.02
    point = np.zeros((129, 129), np.float32)
    point[64, 64] = 1.0
    spread = blurred(point, station.blur_mm, pitch).sum(axis=0)
    frequency = np.fft.rfftfreq(129, pitch)
    mtf = np.abs(np.fft.rfft(spread))
    expected = np.exp(-2 * (np.pi * frequency * station.blur_mm) ** 2)
    assert np.abs(mtf - expected)[frequency < 8].max() < 0.02


def test_motion_blurs_along_one_direction() -> None:
    body = flat(50.0)
    dot = {"hydroxyapatite": np.zeros((400, 400), np.float32)}
    dot["hydroxyapatite"][200, 200] = 1.0
    added = []
    for motion in (0.0, 0.6):
        with_dot, without = (
            expose(np.random.default_rng(1), STATIONS[1], body, what, 1e9, motion, 0.2).signal for what in (dot, {})
        )
        added.append(with_dot - without)
    still, moved = added
    assert moved[200, 200] < 0.5 * still[200, 200]
    assert moved[204, 200] > still[204, 200] + 0.01
    assert moved[200, 204] == pytest.approx(still[200, 204], abs=0.005)


@pytest.mark.parametrize("name", [name for name, grid in DETECTORS.items() if grid is not None])
def test_matrices_and_pitches_make_the_field_of_a_detector(name: str) -> None:
    grid = DETECTORS[name]
    assert grid is not None
    height, width = grid.field_mm
    assert 228 <= height <= 310 and 115 <= width <= 260
    assert 0.05 <= grid.pitch_mm <= 0.2
