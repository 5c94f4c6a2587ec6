"""What is put into an image: the exact tube, the image's own blur and grain, nothing elsewhere, and a truth that adds up."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from pretend import mammogram, vessel_points
from tramtrack.errors import UsageError
from tramtrack.phantom import insertion
from tramtrack.phantom.calcification import wall_path
from tramtrack.phantom.grey_domain import GreyDomain, picture_domain
from tramtrack.phantom.insertion import Insertion, Tube, insert, tube_paths
from tramtrack.phantom.materials import SOFT_CONTRAST
from tramtrack.phantom.vessel_paths import VesselPath, survey

LINEAR = GreyDomain("exposure-linear", -1, 0.0, 0.0, 1.0)
PATH = VesselPath(vessel_points(), "drawn")


@pytest.fixture(scope="module")
def real() -> tuple[np.ndarray, np.ndarray, GreyDomain]:
    """Stored values, the interior and the domain."""
    picture = mammogram()
    stored = np.rint(picture * 60000).astype(np.uint16)
    interior = survey(picture).enlarged_interior(stored.shape)
    return stored, interior, picture_domain(stored, interior, (0, 65535))


def straight_tube(radius: float = 12.0, wall: float = 0.25) -> Tube:
    points = np.stack([np.linspace(20, 180, 640), np.full(640, 40.3)], 1)
    return Tube(points, np.full(640, radius), wall, 0.3, np.ones((100, 48), np.float32), 1.6)


def test_the_tube_is_the_exact_annulus() -> None:
    tube = straight_tube()
    soft, mineral = tube_paths(tube, (slice(0, 80), slice(0, 200)))
    fine = np.arange(80)[:, None] + (np.arange(41) - 20) / 41 - 40.3
    exact = 0.3 * wall_path(np.abs(fine), np.array(12.0), np.array(9.0)).mean(axis=1)
    assert np.abs(mineral[:, 100] - exact).max() < 0.03 * exact.max()
    assert mineral[:, 100].sum() == pytest.approx(0.3 * np.pi * (12**2 - 9**2), rel=0.01)
    assert soft[:, 100].sum() == pytest.approx(np.pi * 12**2, rel=0.01)
    assert mineral[:, :18].max() == 0 == mineral[:, 183:].max()
    assert 0 < soft[40, 30] < 0.4 * soft[40, 100]  # the soft tube fades in


def test_linear_exposure_falls_by_beers_law_and_scatter() -> None:
    flat = np.full((200, 200), 8000, np.uint16)
    path = VesselPath(np.stack([np.linspace(20, 180, 80), np.full(80, 100.0)], 1), "drawn")
    result = insert(flat, LINEAR, path, Insertion(9100, diameter_mm=2.0, is_control=True), flat > 0, 0.1)
    radius = result.truth["diameter_px"][0] / 2 * (1 - insertion.TAPER / 2)
    depth = 1 - np.exp(-SOFT_CONTRAST * 2 * radius * 0.1)
    middle = float(np.mean(result.stored[100, 90:110]))
    assert middle == pytest.approx(8000 * (1 - depth / (1 + insertion.SCATTER_TO_PRIMARY)), rel=0.003)


def test_nothing_else_changes_and_the_control_has_no_calcium(real: tuple[np.ndarray, np.ndarray, GreyDomain]) -> None:
    stored, interior, domain = real
    artery = insert(stored, domain, PATH, Insertion(9100, 0.9, diameter_px=10.0), interior)
    control = insert(stored, domain, PATH, Insertion(9100, 0.9, diameter_px=10.0, is_control=True), interior)
    row, column = np.mgrid[: stored.shape[0], : stored.shape[1]]
    far = np.ones(stored.shape, dtype=bool)
    for x, y in PATH.points[::8]:
        far &= np.hypot(row - y, column - x) > 14
    for result in (artery, control):
        assert np.array_equal(result.stored[far], stored[far])
    assert artery.mask.sum() > 800 and not artery.mask[far].any() and not control.mask.any()
    raised = (artery.stored - stored)[artery.mask].mean()
    soft = (control.stored - stored)[artery.mask].mean()
    assert raised > 4 * soft > 0
    assert control.truth["bac"] == 0 == control.truth["mineral_px3"] and artery.truth["bac"] == 1
    assert control.truth["diameter_px"] == artery.truth["diameter_px"]


def test_severity_adds_calcium_and_the_seed_decides_all(real: tuple[np.ndarray, np.ndarray, GreyDomain]) -> None:
    stored, interior, domain = real
    found = [insert(stored, domain, PATH, Insertion(9101, s, diameter_px=8.0), interior) for s in (0.0, 0.5, 1.0)]
    volumes = [result.truth["mineral_px3"] for result in found]
    assert volumes[0] * 2 < volumes[1] and volumes[1] * 1.5 < volumes[2]
    again = insert(stored, domain, PATH, Insertion(9101, 0.5, diameter_px=8.0), interior)
    assert np.array_equal(again.stored, found[1].stored)
    other = insert(stored, domain, PATH, Insertion(9102, 0.5, diameter_px=8.0), interior)
    assert not np.array_equal(other.stored, found[1].stored)


def test_grain_behind_calcium_is_that_of_fewer_quanta() -> None:
    rng = np.random.default_rng(9103)
    flat = np.exp(-rng.normal(0, 0.02, (400, 400))) * 20000
    path = VesselPath(np.stack([np.linspace(20, 380, 180), np.full(180, 200.0)], 1), "drawn")
    wanted = Insertion(9103, diameter_px=120.0, is_control=True)
    inside = np.s_[190:210, 60:120]
    noisy = insert(flat, LINEAR, path, wanted, np.ones(flat.shape, bool), 0.9).stored[inside]
    clean = insert(np.full_like(flat, 20000.0), LINEAR, path, wanted, np.ones(flat.shape, bool), 0.9).stored[inside]
    deviation, added = float(np.std(np.log(noisy / clean))), float(-np.log(clean / 20000).mean())
    assert added > 0.6
    assert deviation == pytest.approx(0.02 * np.exp(added / 2), rel=0.06)


def test_blur_is_the_images_own() -> None:
    sharp = mammogram(noise=0.0005)
    soft = gaussian_filter(sharp, 2.0)
    found = []
    for picture in (sharp, soft):
        stored = np.rint(picture * 60000).astype(np.uint16)
        interior = survey(picture).enlarged_interior(stored.shape)
        domain = picture_domain(stored, interior, (0, 65535))
        found.append(insert(stored, domain, PATH, Insertion(9104, 0.9, diameter_px=10.0), interior).truth["blur_sigma_px"])
    assert found[1] == pytest.approx(np.hypot(found[0], 2.0), abs=0.5) and found[0] < 1.4


def test_millimetres_only_where_there_is_a_spacing(real: tuple[np.ndarray, np.ndarray, GreyDomain]) -> None:
    stored, interior, domain = real
    without = insert(stored, domain, PATH, Insertion(9100), interior).truth
    assert not [key for key in without if key.endswith(("_mm", "_mm2", "_mg")) and without[key] is not None]
    truth = insert(stored, domain, PATH, Insertion(9100, diameter_mm=2.0), interior, 0.3).truth
    assert truth["length_mm"] == pytest.approx(truth["length_px"] * 0.3, abs=0.01)
    assert truth["area_mm2"] == pytest.approx(truth["area_px"] * 0.09, abs=0.01)
    assert truth["mass_mg"] == pytest.approx(truth["mineral_px3"] * 0.027 * 3.16, rel=1e-3)
    with pytest.raises(UsageError, match="diameter in mm: the image has no pixel spacing"):
        insert(stored, domain, PATH, Insertion(9100, diameter_mm=2.0), interior)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"seed": -1}, "seed: expected a whole number of at least 0, received -1"),
        ({"seed": 1.5}, "seed: expected a whole number of at least 0, received 1.5"),
        ({"seed": 1, "severity": "much"}, "severity: expected a number from 0 to 1, received 'much'"),
        ({"seed": 1, "diameter_px": "9"}, "diameter in px: expected 2 to 200, received '9'"),
        ({"seed": 1, "severity": 1.5}, "severity: expected a number from 0 to 1, received 1.5"),
        ({"seed": 1, "severity": float("nan")}, "severity"),
        ({"seed": 1, "diameter_mm": 0.0}, "diameter in mm: expected 0.2 to 6, received 0.0"),
        ({"seed": 1, "diameter_px": -3.0}, "diameter in px: expected 2 to 200, received -3.0"),
        ({"seed": 1, "diameter_px": 3.0, "diameter_mm": 1.0}, "received both"),
        ({"seed": 1, "is_control": "no"}, "is_control: expected True or False, received 'no'"),
    ],
)
def test_bad_parameters_are_refused_by_name(values: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Insertion(**values)  # type: ignore[arg-type]
