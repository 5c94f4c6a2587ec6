"""The reports against our own table of the templates' rows: whole ones hold, and each kind of breach is found."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from answers import RUN, answer, burden
from mammogram import write_exam
from tramtrack.dicomout.conformance import Row, problems, templates
from tramtrack.dicomout.write import ViewResult, write_results


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reports")
    tags = {"SeriesInstanceUID": "1.2.3.1", "PatientOrientation": ["A", "R"], "StudyTime": "101112", "ContentDate": "20240102"}
    files = write_exam(out / "exam", ImagerPixelSpacing=[0.1, 0.1], **tags)
    heatmap = np.zeros((160, 120), np.float32)
    heatmap[60:80, 30:50] = 1
    views = {
        (file.stem[3], file.stem[4:]): ViewResult(file, heatmap, 1.0, {RUN: heatmap > 0.5} if "LCC" in file.stem else {})
        for file in files
    }
    scores = {place: 0.9 if place[1] == "CC" else 0.1 for place in views}
    made = answer(scores, spacing_mm=0.1, burden=(burden({("L", "CC"): 4.0, ("R", "CC"): 0.0}),))
    write_results(out / "results", made, views, "grad-cam++")
    return out / "results"


def read(folder: Path, kind: str) -> Dataset:
    return pydicom.dcmread(folder / f"bac.{kind}.dcm")


def children(item: Dataset) -> Iterator[tuple[Dataset, int]]:
    """Every content item below ``item``, as its parent and its place there."""
    for number, child in enumerate(item.get("ContentSequence") or []):
        yield item, number
        yield from children(child)


def find(item: Dataset, meaning: str) -> tuple[Dataset, int]:
    """The first content item of that name."""
    for parent, number in children(item):
        name = parent.ContentSequence[number].get("ConceptNameCodeSequence")
        if name and name[0].CodeMeaning == meaning:
            return parent, number
    raise AssertionError(meaning)


@pytest.mark.parametrize("kind", ["sr", "cad"])
def test_a_whole_report_holds(folder: Path, kind: str) -> None:
    assert problems(read(folder, kind)) == []


MANDATORY = {
    "cad": [
        "Language of Content Item and Descendants",
        "Image Library",
        "Image Laterality",
        "Image View",
        "CAD Processing and Findings Summary",
        "Individual Impression/Recommendation",
        "Rendering Intent",
        "Single Image Finding",
        "Algorithm Name",
        "Algorithm Version",
        "Center",
        "Summary of Detections",
        "Successful Detections",
        "Detection Performed",
        "Summary of Analyses",
    ],
    "sr": [
        "Language of Content Item and Descendants",
        "Observer Type",
        "Device Observer UID",
        "Procedure reported",
        "Imaging Measurements",
        "Tracking Identifier",
        "Tracking Unique Identifier",
        "Algorithm Name",
        "Source Image for Segmentation",
        "Image Library Group",
        "Modality",
    ],
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in MANDATORY.items() for name in names])
def test_a_missing_mandatory_concept_is_found(folder: Path, kind: str, name: str) -> None:
    report = read(folder, kind)
    parent, _ = find(report, name)
    same = [i for i, item in enumerate(parent.ContentSequence) if _named(item) == name]
    for place in reversed(same):
        del parent.ContentSequence[place]
    found = problems(report)
    assert any("is missing" in problem for problem in found), found


def _named(item: Dataset) -> str:
    name = item.get("ConceptNameCodeSequence")
    return str(name[0].CodeMeaning) if name else ""


def _relationship(report: Dataset) -> None:
    parent, number = find(report, "Rendering Intent")
    parent.ContentSequence[number].RelationshipType = "CONTAINS"


def _type(report: Dataset) -> None:
    parent, number = find(report, "Algorithm Name")
    parent.ContentSequence[number].ValueType = "CODE"


def _value(report: Dataset) -> None:
    parent, number = find(report, "Summary of Detections")
    parent.ContentSequence[number].ConceptCodeSequence[0].CodeValue = "111999"


def _unit(report: Dataset) -> None:
    parent, number = find(report, "Horizontal Pixel Spacing")
    parent.ContentSequence[number].MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue = "mm"


def _shape(report: Dataset) -> None:
    parent, number = find(report, "Center")
    parent.ContentSequence[number].GraphicType = "MULTIPOINT"


def _twice(report: Dataset) -> None:
    parent, number = find(report, "Center")
    parent.ContentSequence.append(parent.ContentSequence[number])


def _extra(report: Dataset) -> None:
    extra, number = find(report, "Impression Description")
    report.ContentSequence.append(extra.ContentSequence[number])


def _pointer(report: Dataset) -> None:
    parent, number = find(report, "Center")
    parent.ContentSequence[number].ContentSequence[0].ReferencedContentItemIdentifier = [1, 2, 9]


def _pointed_at(report: Dataset) -> None:
    parent, number = find(report, "Center")
    parent.ContentSequence[number].ContentSequence[0].ReferencedContentItemIdentifier = [1, 3]


def _no_findings(report: Dataset) -> None:
    report.ContentSequence[2].ConceptCodeSequence[0].CodeValue = "111241"


def _no_template(report: Dataset) -> None:
    del report.ContentTemplateSequence


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_relationship, "TID 4003 row 2 is missing"),
        (_type, "TID 4019 row 1 is missing"),
        (_value, "its value DCM 111999 is not in CID 6042"),
        (_unit, "its unit is UCUM mm, expected UCUM um"),
        (_shape, "its shape is MULTIPOINT, expected POINT"),
        (_twice, "stands 2 times, expected once"),
        (_extra, "Impression Description has no row in the template"),
        (_pointer, "TID 4021 row 2 is missing"),
        (_pointed_at, "TID 4021 row 2 is missing"),
        (_no_findings, "TID 4001 row 3 must not be there"),
        (_no_template, "names no template"),
    ],
)
def test_each_kind_of_breach_is_found(folder: Path, change: Callable[[Dataset], None], said: str) -> None:
    report = read(folder, "cad")
    change(report)
    assert any(said in problem for problem in problems(report)), problems(report)


def test_the_table_leads_to_templates_and_context_groups_that_exist() -> None:
    def walk(rows: list[Row]) -> Iterator[Row]:
        for row in rows:
            yield row
            yield from walk(row.below)

    rows = [row for tops in templates().values() for row in walk(tops)]
    assert len(rows) > 90 and sum(row.requirement == "M" for row in rows) > 45
    for row in rows:
        assert row.type != "INCLUDE" or row.concept.removeprefix("TID ") in templates(), row
        assert row.requirement in ("M", "MC", "U") and bool(row.condition) >= (row.requirement == "MC"), row


def test_dicom_validator_finds_no_error(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Runs where the standard's tables lie, which dicom-validator fetches when it is run for the first time."""
    pytest.importorskip("dicom_validator", reason="dicom-validator is not installed: pip install dicom-validator")
    from dicom_validator.spec_reader.edition_reader import EditionReader
    from dicom_validator.validator.dicom_file_validator import DicomFileValidator
    from dicom_validator.validator.validation_result import Status

    tables = Path(os.environ.get("DICOM_VALIDATOR_TABLES") or Path.home() / "dicom-validator")
    editions = sorted(path.parent.parent.name for path in tables.glob("*/json/iod_info.json"))
    if not editions:
        pytest.skip(f"no tables of the DICOM standard in {tables}; run `validate_iods` once, or set DICOM_VALIDATOR_TABLES")
    info = EditionReader(tables).load_dicom_info(editions[-1])
    for file in sorted(folder.glob("*.dcm")):
        (result,) = DicomFileValidator(info).validate(file).values()
        assert result.status is Status.Passed, (file.name, capfd.readouterr().out)


def test_dcmtk_reads_both_reports_and_follows_their_references(folder: Path) -> None:
    """DCMTK's dsrdump holds value types and relationships against the IOD, and finds the targets of those by reference."""
    program = shutil.which("dsrdump")
    if program is None:
        pytest.skip("dsrdump is not installed: apt-get install dcmtk")
    said = {}
    for kind in ("sr", "cad"):
        done = subprocess.run([program, folder / f"bac.{kind}.dcm"], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0 and "E: " not in done.stderr and "does not exist" not in done.stderr, done.stderr
        said[kind] = done.stdout
    assert "Comprehensive SR Document" in said["sr"] and "Mammography CAD SR Document" in said["cad"]
    assert said["cad"].count("<selected from 1.2.1>") == said["cad"].count("<selected from 1.2.3>") == 2
    assert [said["cad"].count(f"<has properties 1.2.{image}>") for image in (1, 2, 3, 4)] == [1, 1, 1, 1]
