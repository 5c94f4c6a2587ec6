"""What only the whole intake can tell: copies, repeated views, exams that are not complete, names that become one."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from pydicom.uid import RLELossless

from intakes import reasons, shown
from mammogram import breast_stored, mammogram, write, write_exam
from tramtrack.cohort.exam import Reason
from tramtrack.cohort.ingest import ingest
from tramtrack.errors import TramtrackError
from tramtrack.protocol import Intake as Settings

RAW = {"PresentationIntentType": "FOR PROCESSING", "PixelIntensityRelationship": "LOG", "PixelIntensityRelationshipSign": -1}
COMPUTED = {"ImageType": ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "GENERATED_2D"]}


@pytest.mark.parametrize(
    ("settings", "kept", "others"),
    [
        ({}, "2.dcm", ["repeated view", "repeated view", "for processing", "synthesised 2D"]),
        ({"repeated_view": "first"}, "1.dcm", ["repeated view", "repeated view", "for processing", "synthesised 2D"]),
        ({"for_processing": True, "synthesised": True}, "2.dcm", ["repeated view"] * 4),
    ],
)
def test_of_a_repeated_view_the_protocol_chooses_and_says_so(
    tmp_path: Path, looked_at: list[str], settings: dict, kept: str, others: list[str]
) -> None:
    days = [{"AcquisitionDate": f"2024010{day}"} for day in (2, 1, 3)]
    shown(*days, {**RAW, "AcquisitionDate": "20240109"}, {**COMPUTED, "AcquisitionDate": "20240108"}, folder=tmp_path / "in")
    intake = ingest(tmp_path / "in", tmp_path / "cohort", Settings(**settings))
    assert [Path(view.file).name for view in intake.views] == [kept]
    assert sorted(reasons(intake).values()) == sorted(others)
    for item in intake.exclusions:
        assert item.reason is not Reason.REPEATED_VIEW or "image " in item.detail
    assert json.loads((tmp_path / "cohort" / "manifest.json").read_text())["identity"]["intake"] == {
        **Settings().model_dump(),
        **settings,
    }


def test_every_repeated_view_names_the_one_that_is_kept(tmp_path: Path, looked_at: list[str]) -> None:
    days = [{"AcquisitionDate": f"2024010{day}"} for day in (1, 2, 3)]
    shown(*days, {**COMPUTED, "AcquisitionDate": "20240104"}, {**RAW, "AcquisitionDate": "20240105"}, folder=tmp_path / "in")
    every = Settings(for_processing=True, synthesised=True)
    intake = ingest(tmp_path / "in", tmp_path / "cohort", every)
    kept = tmp_path / "in" / "2.dcm"
    named = {Path(item.file).name: item.detail for item in intake.exclusions}
    later, reading = (f"the {which} {kept} of the same view is kept" for which in ("later image", "image for reading"))
    assert named == {"0.dcm": later, "1.dcm": later, "3.dcm": reading, "4.dcm": reading}


@pytest.mark.parametrize("order", [(RAW, COMPUTED, {}), ({}, COMPUTED, RAW), (COMPUTED, {}, RAW), (RAW, {}, COMPUTED)])
@pytest.mark.parametrize("repeated", ["first", "last"])
def test_an_image_for_reading_comes_before_a_computed_one_and_that_before_raw_data(
    tmp_path: Path, looked_at: list[str], order: tuple[dict, ...], repeated: str
) -> None:
    shown(*({**tags, "AcquisitionDate": f"2024010{day}"} for day, tags in enumerate(order, 1)), folder=tmp_path / "in")
    every = Settings(for_processing=True, synthesised=True, repeated_view=repeated)
    (view,) = ingest(tmp_path / "in", tmp_path / "cohort", every).views
    assert view.kind == "presentation" and Path(view.file).name == f"{order.index({})}.dcm"
    (tmp_path / "in" / Path(view.file).name).unlink()
    (view,) = ingest(tmp_path / "in", tmp_path / "cohort", every).views
    assert view.kind == "synthesised"


def test_raw_data_alone_are_a_view_where_they_are_asked_for(tmp_path: Path, looked_at: list[str]) -> None:
    shown(RAW, folder=tmp_path / "in")
    (view,) = ingest(tmp_path / "in", tmp_path / "cohort", Settings(for_processing=True)).views
    assert (view.kind, view.steps) == ("processing", "raw data, pixel intensity LOG, sign -1")


def test_incomplete_exams_stay_unless_the_protocol_says_otherwise(tmp_path: Path, looked_at: list[str]) -> None:
    write_exam(tmp_path / "in", woman="whole", exam="1", seed=1)
    for woman, history in (("half", ""), ("operated", "status post LEFT mastectomy 2011"), ("unclear", "mastectomy")):
        for number, view in enumerate(("CC", "MLO")):
            stored = breast_stored(seed=len(woman) * 10 + number)
            tags = {"AdditionalPatientHistory": history} if history else {}
            write(mammogram(stored, woman=woman, exam="2", side="R", view=view, **tags), tmp_path / "in" / f"{woman}{view}.dcm")
    kept = ingest(tmp_path / "in", tmp_path / "cohort")
    assert {exam.woman: len(exam.missing) for exam in kept.exams()} == {"whole": 0, "half": 2, "operated": 0, "unclear": 2}
    exams = pd.read_csv(tmp_path / "cohort" / "exams.csv", keep_default_na=False).set_index("woman")
    assert exams.loc["half", "missing"] == "L CC, L MLO" and exams.loc["operated", "missing"] == ""
    left = ingest(tmp_path / "in", tmp_path / "cohort", Settings(incomplete_exams="leave-out"))
    assert {view.woman for view in left.views} == {"whole", "operated"}
    assert [item.detail for item in left.exclusions] == ["its exam lacks L CC, L MLO"] * 4


def test_the_same_instance_with_other_pixels_is_said(tmp_path: Path, looked_at: list[str]) -> None:
    same = {"SOPInstanceUID": "1.2.3.4"}
    shown({**same, "AcquisitionTime": "10"}, {**same, "AcquisitionTime": "11"}, folder=tmp_path / "in")
    (item,) = ingest(tmp_path / "in", tmp_path / "cohort").exclusions
    assert item.reason is Reason.DUPLICATE and item.detail.endswith("0.dcm, with other pixels")


def test_women_whose_names_become_the_same_file_name_are_an_error(tmp_path: Path, looked_at: list[str]) -> None:
    write(mammogram(breast_stored(seed=1), woman="A 1"), tmp_path / "in" / "1.dcm")
    write(mammogram(breast_stored(seed=2), woman="a-1"), tmp_path / "in" / "2.dcm")
    with pytest.raises(TramtrackError, match="names differ only in signs"):
        ingest(tmp_path / "in", tmp_path / "cohort")


def test_the_same_pixels_under_two_women_are_two_views_for_the_leak_check_to_find(tmp_path: Path, looked_at: list[str]) -> None:
    stored = breast_stored()
    first = write(mammogram(stored, woman="A"), tmp_path / "in" / "a.dcm")
    other = mammogram(stored, woman="B")
    other.compress(RLELossless)
    write(other, tmp_path / "in" / "b.dcm")
    views = ingest(tmp_path / "in", tmp_path / "cohort").views
    assert [view.woman for view in views] == ["A", "B"] and first.exists()
    assert views[0].pixels_sha256 == views[1].pixels_sha256 and views[0].sha256 != views[1].sha256
