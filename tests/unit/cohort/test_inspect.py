"""What is kept of a file beside its pixels: what the header states of the image, and text that is burned in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from mammogram import breast_picture, mammogram, write
from tramtrack.cohort.exam import Reason
from tramtrack.cohort.inspect import DENSITY_CODES, Candidate, inspect_file


def with_text(text: str) -> np.ndarray:
    """A breast with a line of text beside it, as 12 bits kept in 16."""
    image = Image.new("L", (960, 1280))
    ImageDraw.Draw(image).text((580, 40), text, fill=255, font_size=24)
    return np.rint(np.maximum(breast_picture(1280, 960), np.asarray(image) / 255) * 4095).astype(np.uint16)


def view_of(path: Path, **named: str) -> dict:  # type: ignore[type-arg]
    return inspect_file(Candidate(str(path), **named))["view"]


def test_what_the_header_states_of_the_image_is_kept(tmp_path: Path) -> None:
    stated = {"Manufacturer": "A", "ManufacturerModelName": "B", "BreastImplantPresent": "YES", "KVP": "28"}
    numbers = {"BodyPartThickness": "55", "Exposure": "90", "PatientAge": "061Y"}
    view = view_of(write(mammogram(**stated, **numbers), tmp_path / "a.dcm"))
    assert [view[key] for key in ("manufacturer", "model", "implant", "kvp", "thickness_mm", "exposure_mas", "age_years")] == [
        "A", "B", "YES", 28, 55, 90, 61,
    ]  # fmt: skip
    assert view_of(write(mammogram(ExposureInuAs="89500", **numbers), tmp_path / "c.dcm"))["exposure_mas"] == 89.5
    plain = view_of(write(mammogram(), tmp_path / "b.dcm"))
    assert [plain[key] for key in ("manufacturer", "implant", "kvp", "thickness_mm", "density", "burned_in")] == [
        "", "", None, None, "", "",
    ]  # fmt: skip


@pytest.mark.parametrize("code", DENSITY_CODES)
def test_the_density_is_that_of_the_acquisition_context(tmp_path: Path, code: str) -> None:
    name, value, item, other = Dataset(), Dataset(), Dataset(), Dataset()
    name.CodeValue, value.CodeMeaning = code, "heterogeneously dense"
    item.ConceptNameCodeSequence, item.ConceptCodeSequence = [name], [value]
    other.ConceptNameCodeSequence = [Dataset()]
    path = write(mammogram(AcquisitionContextSequence=[other, item]), tmp_path / "a.dcm")
    assert view_of(path)["density"] == "heterogeneously dense"


def test_burned_in_text_is_flagged_from_the_header_and_from_the_pixels(tmp_path: Path) -> None:
    found = [
        view_of(write(mammogram(stored, BurnedInAnnotation=said), tmp_path / "a.dcm"))["burned_in"]
        for said in ("YES", "NO")
        for stored in (with_text("ROSSI MARIA"), with_text(""))
    ]
    assert found == ["header and seen", "header", "seen", ""]
    for text, seen in (("ROSSI MARIA", "seen"), ("", "")):
        Image.fromarray(with_text(text) * 16).save(tmp_path / "a.png")
        assert view_of(tmp_path / "a.png", woman="W", exam="E", side="L", view="CC")["burned_in"] == seen


def test_a_broken_element_is_no_missing_decoder_and_an_error_has_its_librarys_name(tmp_path: Path) -> None:
    path = write(mammogram(), tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes().replace(b"\xe0\x7f\x10\x00OW", b"\xe0\x7f\x10\x00O\x01"))
    assert inspect_file(Candidate(str(path)))["exclusion"]["reason"] is Reason.UNREADABLE
    dataset = mammogram()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    deflated = write(dataset, tmp_path / "b.dcm").read_bytes()
    path.write_bytes(deflated[:400] + bytes(200) + deflated[600:])
    assert inspect_file(Candidate(str(path)))["exclusion"]["detail"].endswith("(zlib.error)")
