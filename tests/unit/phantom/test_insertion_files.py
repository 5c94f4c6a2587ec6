"""Files in, files out: the input's kind kept, the header says what was done, the same bytes for the same seed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless
from typer.testing import CliRunner

from pretend import mammogram
from tramtrack.cli import app
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.imaging.pixels import decode
from tramtrack.phantom.insertion import Insertion
from tramtrack.phantom.insertion_files import insert_file, open_image
from tramtrack.phantom.vessel_paths import VesselPath
from tramtrack.store import IdentityMismatch

PATH = VesselPath(np.stack([np.linspace(60, 260, 100), np.linspace(330, 300, 100)], 1), "drawn")
WANTED = Insertion(9120, 0.9, diameter_px=9.0)


def dicom(file: Path, syntax: str = ExplicitVRLittleEndian, processing: bool = False, **others: object) -> Path:
    """A small mammogram as DICOM: 12 bits, spacing 0.3 mm; linear detector data where ``processing``."""
    picture = mammogram()
    stored = np.rint(4000 * np.exp(-1.5 * picture) if processing else picture * 4000).astype(np.uint16)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2" + (".1" if processing else "")
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "1.2.3", "1.2.4", "1.2.5"
    dataset.PresentationIntentType = "FOR PROCESSING" if processing else "FOR PRESENTATION"
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LIN", 1
    dataset.ImageType, dataset.PatientID = ["ORIGINAL", "PRIMARY"], "W1"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.ImagerPixelSpacing = [0.3, 0.3]
    dataset.LargestImagePixelValue = int(stored.max())
    for name, value in others.items():
        setattr(dataset, name, value)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    dataset.PixelData = stored.astype(f"{order}u2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.save_as(file, enforce_file_format=True)
    return file


def test_a_dicom_file_stays_its_object_and_says_what_was_done(tmp_path: Path) -> None:
    source = dicom(tmp_path / "view.dcm")
    before = source.read_bytes()
    made = insert_file(source, tmp_path / "out", WANTED, PATH)
    assert source.read_bytes() == before
    old, new = pydicom.dcmread(source), pydicom.dcmread(made.image)
    assert new.SyntheticData == "YES" and new.ImageType[0] == "DERIVED" and new.file_meta.TransferSyntaxUID == JPEGLSLossless
    assert new.SOPInstanceUID not in (old.SOPInstanceUID, "") and new.SeriesInstanceUID != old.SeriesInstanceUID
    assert new.file_meta.MediaStorageSOPInstanceUID == new.SOPInstanceUID
    assert (new.StudyInstanceUID, new.PatientID, new.SOPClassUID) == (old.StudyInstanceUID, old.PatientID, old.SOPClassUID)
    assert new.SourceImageSequence[0].ReferencedSOPInstanceUID == old.SOPInstanceUID
    assert "display domain, modelled local contrast" in new.DerivationDescription
    pixels, mask = decode(new, made.image), np.asarray(Image.open(made.mask))
    assert mask.shape == pixels.shape and set(np.unique(mask)) == {0, 255}
    assert new.LargestImagePixelValue == pixels.max()
    changed = pixels != decode(old, source)
    assert changed[mask > 0].mean() > 0.99 and changed.mean() < 0.02
    truth = json.loads(made.truth_file.read_text())
    assert truth["area_px"] == (mask > 0).sum() and truth["spacing_mm"] == 0.3 and truth["mass_mg"] > 0
    assert truth["domain"] == "display" and len(truth["path"]) == 100


def test_raw_data_are_changed_in_the_exposure_domain(tmp_path: Path) -> None:
    source = dicom(tmp_path / "raw.dcm", processing=True)
    made = insert_file(source, tmp_path / "out", Insertion(9120, 0.9, diameter_mm=2.5), PATH)
    assert made.truth["domain"] == "exposure-linear" and made.truth["contrast_model"] is None
    new = pydicom.dcmread(made.image)
    assert "exposure domain, linear" in new.DerivationDescription
    mask = np.asarray(Image.open(made.mask)) > 0
    ratio = decode(new, made.image)[mask].astype(float).mean() / decode(pydicom.dcmread(source), source)[mask].mean()
    assert 0.3 < ratio < 0.95  # fewer rays


def test_raw_data_that_do_not_say_what_they_mean_are_refused(tmp_path: Path) -> None:
    source = dicom(tmp_path / "raw.dcm", processing=True, PixelIntensityRelationship="")
    done = CliRunner().invoke(app, ["phantom", "insert", str(source), "--out", str(tmp_path / "out"), "--seed", "9120"])
    assert "expected PixelIntensityRelationship LIN or LOG" in str(done.exception) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_the_source_transfer_syntax_does_not_matter(tmp_path: Path, syntax: str) -> None:
    plain = insert_file(dicom(tmp_path / "a.dcm"), tmp_path / "a", WANTED, PATH)
    other = insert_file(dicom(tmp_path / "b.dcm", syntax), tmp_path / "b", WANTED, PATH)
    assert np.array_equal(*(decode(pydicom.dcmread(made.image), made.image) for made in (plain, other)))


def test_the_negative_gives_the_same_picture(tmp_path: Path) -> None:
    plain = insert_file(dicom(tmp_path / "a.dcm"), tmp_path / "a", WANTED, PATH)
    negative = pydicom.dcmread(dicom(tmp_path / "b.dcm", PhotometricInterpretation="MONOCHROME1"))
    negative.PixelData = (4095 - decode(negative, tmp_path / "b.dcm")).astype("<u2").tobytes()
    negative.save_as(tmp_path / "b.dcm")
    made = insert_file(tmp_path / "b.dcm", tmp_path / "b", WANTED, PATH)
    assert np.abs(open_image(plain.image).picture - open_image(made.image).picture).max() < 2 / 4095


def test_signed_values_stay_signed(tmp_path: Path) -> None:
    plain = insert_file(dicom(tmp_path / "a.dcm"), tmp_path / "a", WANTED, PATH)
    signed = pydicom.dcmread(dicom(tmp_path / "b.dcm", PixelRepresentation=1, RescaleIntercept=2048, RescaleSlope=1))
    shifted = (decode(signed, tmp_path / "b.dcm").astype(np.int32) % 4096 - 2048).astype("<i2")
    signed.PixelData = shifted.tobytes()
    signed.save_as(tmp_path / "b.dcm")
    made = insert_file(tmp_path / "b.dcm", tmp_path / "b", WANTED, PATH)
    new = pydicom.dcmread(made.image)
    assert new.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian and new.PixelRepresentation == 1
    assert np.array_equal(decode(new, made.image) + 2048, decode(pydicom.dcmread(plain.image), plain.image))


def test_a_picture_of_8_bits_becomes_one_of_16(tmp_path: Path) -> None:
    grey = np.rint(mammogram() * 255).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "view.png")
    made = [insert_file(tmp_path / "view.png", tmp_path / name, WANTED, PATH) for name in ("a", "b")]
    assert made[0].image.read_bytes() == made[1].image.read_bytes()
    assert made[0].truth_file.read_bytes() == made[1].truth_file.read_bytes()
    image = np.asarray(Image.open(made[0].image)).astype(int)
    far = np.ones(grey.shape, dtype=bool)
    far[250:400, 40:290] = False
    assert np.array_equal(image[far], grey[far].astype(int) * 257) and len(np.unique(image)) > 300
    assert made[0].truth["spacing_mm"] is None and "mass_mg" not in made[0].truth


def test_artery_and_control_of_one_seed_lie_in_the_same_place(tmp_path: Path) -> None:
    Image.fromarray(np.rint(mammogram(vessel=0.3) * 65535).astype(np.uint16)).save(tmp_path / "view.png")
    found = [
        insert_file(tmp_path / "view.png", tmp_path / "out", Insertion(9121, is_control=is_control))
        for is_control in (False, True)
    ]
    assert found[0].truth["path"] == found[1].truth["path"] and found[0].truth["path_source"] == "found"
    assert found[0].image != found[1].image and found[1].truth["bac"] == 0


def test_another_insertion_of_that_name_is_kept(tmp_path: Path) -> None:
    source, out = dicom(tmp_path / "view.dcm"), tmp_path / "out"
    made = insert_file(source, out, WANTED, PATH)
    before = {file: file.read_bytes() for file in out.iterdir()}
    other = tmp_path / "view.png"
    Image.fromarray(np.rint(mammogram() * 255).astype(np.uint8)).save(other)
    for file, wanted, said in (
        (source, replace(WANTED, severity=0.1), "severity differ"),
        (source, replace(WANTED, diameter_px=5.0), "diameter_px differ"),
        (other, WANTED, "source_sha256, diameter_px differ"),  # its mask would take that name
    ):
        with pytest.raises(IdentityMismatch, match=rf"view_bac_seed-9120\.json: another insertion has this name \({said}"):
            insert_file(file, out, wanted, PATH)
    assert insert_file(source, out, WANTED, PATH).truth == made.truth
    insert_file(source, out, replace(WANTED, is_control=True), PATH)
    assert before.items() <= {file: file.read_bytes() for file in out.iterdir()}.items()


def test_calcium_that_nobody_can_see_is_said(tmp_path: Path) -> None:
    faint = insert_file(dicom(tmp_path / "view.dcm"), tmp_path / "out", Insertion(9120, 0.0, diameter_mm=0.2), PATH)
    assert "calcified artery of which no calcium is visible, display domain" in str(faint)
    control = insert_file(tmp_path / "view.dcm", tmp_path / "out", replace(WANTED, is_control=True), PATH)
    assert "uncalcified tube, display domain" in str(control)


def test_no_value_of_the_header_is_printed(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    source = dicom(tmp_path / "view.dcm")
    content = pydicom.dcmread(source)
    content.add_new("SeriesNumber", "SH", "one Jane")
    content["SeriesNumber"].VR = "IS"
    content.save_as(source)
    made = insert_file(source, tmp_path / "out", WANTED, PATH)
    assert not [str(warning.message) for warning in recwarn if "Jane" in str(warning.message)]
    assert b"Jane" in made.image.read_bytes()


def test_points_are_no_path(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"path: expected a VesselPath \(see drawn_path\) or a CSV's name, received ndarray"):
        insert_file(dicom(tmp_path / "view.dcm"), tmp_path / "out", WANTED, PATH.points)  # type: ignore[arg-type]


def test_what_no_artery_can_be_put_into_is_refused_with_its_name(tmp_path: Path) -> None:
    flat = np.zeros((300, 300), np.uint8)
    flat[50:250, :150] = 128
    Image.fromarray(flat).save(tmp_path / "flat.png")
    with pytest.raises(TramtrackError, match=r"flat\.png: expected a breast of many greys, found flat areas alone"):
        insert_file(tmp_path / "flat.png", tmp_path / "out", WANTED)
    row, column = np.mgrid[:640, :480]
    smooth = np.clip(1.2 - ((row - 320) / 300.0) ** 2 - (column / 400.0) ** 2, 0, 1)
    Image.fromarray(np.rint(smooth * 65535).astype(np.uint16)).save(tmp_path / "smooth.png")
    with pytest.raises(TramtrackError, match=r"smooth\.png: expected a vessel.*give --path"):
        insert_file(tmp_path / "smooth.png", tmp_path / "out", WANTED)
    nameless = pydicom.dcmread(dicom(tmp_path / "view.dcm"))
    del nameless.SOPInstanceUID
    nameless.save_as(tmp_path / "nameless.dcm")
    with pytest.raises(TramtrackError, match=r"nameless\.dcm: expected SOPInstanceUID, found none"):
        insert_file(tmp_path / "nameless.dcm", tmp_path / "out", WANTED, PATH)
    with pytest.raises(TramtrackError, match=r"raw\.dcm: raw detector data: expected PixelIntensityRelationship LIN or LOG"):
        insert_file(dicom(tmp_path / "raw.dcm", processing=True, PixelIntensityRelationship=""), tmp_path / "out", WANTED, PATH)
    assert not (tmp_path / "out").exists()


def test_a_path_in_the_air_is_refused(tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text("column,row\n430,60\n470,300\n")
    with pytest.raises(UsageError, match=r"view\.dcm: the path: expected a path on the breast, 100% of it lies beside it"):
        insert_file(str(dicom(tmp_path / "view.dcm")), str(tmp_path / "out"), WANTED, str(tmp_path / "points.csv"))
    (tmp_path / "points.csv").write_text("column,row\n60,330\n260,300\n")
    made = insert_file(str(tmp_path / "view.dcm"), str(tmp_path / "out"), WANTED, str(tmp_path / "points.csv"))
    assert made.truth["path_source"] == "drawn" and made.image.is_file()


def test_the_command_line_refuses_by_name(tmp_path: Path) -> None:
    source = dicom(tmp_path / "view.dcm")
    words = ["phantom", "insert", str(source), "--out", str(tmp_path / "out"), "--seed", "9122"]
    for more, said in (
        (["--severity", "2"], "severity: expected a number from 0 to 1, received 2.0"),
        (["--diameter", "-1"], "diameter in mm: expected 0.2 to 6, received -1.0"),
        (["--diameter", "1", "--diameter-px", "9"], "expected millimetres or pixels, received both"),
        (["--path", str(tmp_path / "none.csv")], "--path takes a CSV of column,row"),
    ):
        done = CliRunner().invoke(app, [*words, *more])
        assert isinstance(done.exception, UsageError) and said in str(done.exception), more
    points = tmp_path / "points.csv"
    points.write_text("column,row\n60,330\n160,310\n260,300\n")
    done = CliRunner().invoke(app, [*words, "--path", str(points), "--control"])
    assert done.exit_code == 0 and "uncalcified tube" in done.output
    assert (tmp_path / "out" / "view_control_seed-9122.dcm").exists()
