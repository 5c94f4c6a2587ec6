"""The intake: every file is a View or an Exclusion with a reason, the input stays as it is, and nothing is read twice."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from pydicom.uid import MPEG2MPML, JPEG2000Lossless, RLELossless

from mammogram import breast_picture, breast_stored, mammogram, write, write_exam
from tramtrack.cohort import ingest as ingest_module
from tramtrack.cohort.cohort import load_cohort
from tramtrack.cohort.exam import Reason
from tramtrack.cohort.ingest import ingest
from tramtrack.cohort.settle import Intake
from tramtrack.errors import TramtrackError
from tramtrack.protocol import Intake as Settings
from tramtrack.store import Journal
from tramtrack.workers import Failure, run_each
from troubled_inspection import inspect_with_trouble


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were looked at, in this process and not in workers."""
    names: list[str] = []

    def run_here(task, units, **_):  # type: ignore[no-untyped-def]
        for unit in units:
            names.append(Path(unit.file).name)
            try:
                yield unit, task(unit)
            except Exception as error:
                yield unit, Failure("error", f"{type(error).__name__}: {error}")

    monkeypatch.setattr(ingest_module, "run_each", run_here)
    return names


def reasons(intake: Intake) -> dict[str, Reason]:
    return {Path(item.file).name: item.reason for item in intake.exclusions}


def fingerprints(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def all_sorts(folder: Path) -> int:
    """One good exam and one file of each bad sort; returns the number of files."""
    files = write_exam(folder)
    good = mammogram(breast_stored(seed=50), woman="W2", exam="9", view="MLO")
    write(good, folder / "sub" / "good.dcm")
    (folder / "notes.txt").write_text("not an image")
    (folder / "empty.dcm").write_bytes(b"")
    (folder / ".hidden").write_text("hidden")
    (folder / "header-only.dcm").write_bytes(files[0].read_bytes()[:200])
    Image.fromarray(breast_stored(8)).save(folder / "loose.png")
    whole = files[0].read_bytes()
    half = mammogram(woman="W3")
    write(half, folder / "half.dcm")
    (folder / "half.dcm").write_bytes((folder / "half.dcm").read_bytes()[: -len(half.PixelData) // 2])
    squeezed = mammogram(woman="W3")
    squeezed.compress(JPEG2000Lossless)
    write(squeezed, folder / "half-j2k.dcm")
    (folder / "half-j2k.dcm").write_bytes((folder / "half-j2k.dcm").read_bytes()[: -len(squeezed.PixelData) // 2])
    video = pydicom.dcmread(write(mammogram(woman="W3"), folder / "video.dcm"))
    video.compress(RLELossless)
    video.file_meta.TransferSyntaxUID = MPEG2MPML
    write(video, folder / "video.dcm")
    write(mammogram(woman="W4", side=None), folder / "no-side.dcm")
    write(mammogram(woman="W4", view=None), folder / "no-view.dcm")
    write(mammogram(woman="", exam="7"), folder / "nobody.dcm")
    write(mammogram(woman="W4", PresentationIntentType="FOR PROCESSING"), folder / "raw.dcm")
    write(mammogram(woman="W4", Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2"), folder / "ct.dcm")
    write(mammogram(woman="W4", PixelData=None), folder / "no-pixels.dcm")
    write(mammogram(np.zeros((160, 120), dtype=np.uint16), woman="W4"), folder / "blank.dcm")
    (folder / "zz-copy.dcm").write_bytes(whole)  # the same SOP instance
    same_pixels = pydicom.dcmread(files[1])
    same_pixels.SOPInstanceUID = "1.2.3.4.5"
    write(same_pixels, folder / "zz-same-pixels.dcm")
    later = mammogram(breast_stored(seed=99), woman="W1", exam="1.2.3", side="R", view="CC", AcquisitionDate="20240103")
    write(later, folder / "zz-later.dcm")
    (folder / "to-nothing.dcm").symlink_to(folder / "gone.dcm")
    return sum(1 for path in folder.rglob("*") if path.is_file() or path.is_symlink())


def test_every_file_is_a_view_or_an_exclusion_with_its_reason(tmp_path: Path, looked_at: list[str]) -> None:
    source, out = tmp_path / "in", tmp_path / "study" / "cohort"
    files = all_sorts(source)
    before = fingerprints(source)
    intake = ingest(source, out)
    assert len(intake.views) + len(intake.exclusions) == files == 24
    assert len({*(view.file for view in intake.views), *(item.file for item in intake.exclusions)}) == files
    assert reasons(intake) == {
        "notes.txt": Reason.NOT_AN_IMAGE,
        "empty.dcm": Reason.NOT_AN_IMAGE,
        ".hidden": Reason.NOT_AN_IMAGE,
        "header-only.dcm": Reason.NOT_MAMMOGRAPHY,
        "loose.png": Reason.NOT_IN_TABLE,
        "half.dcm": Reason.TRUNCATED_PIXELS,
        "half-j2k.dcm": Reason.TRUNCATED_PIXELS,
        "video.dcm": Reason.NO_DECODER,
        "no-side.dcm": Reason.UNKNOWN_SIDE,
        "no-view.dcm": Reason.UNKNOWN_POSITION,
        "nobody.dcm": Reason.NO_WOMAN,
        "raw.dcm": Reason.FOR_PROCESSING,
        "ct.dcm": Reason.NOT_MAMMOGRAPHY,
        "no-pixels.dcm": Reason.NO_PIXELS,
        "blank.dcm": Reason.NOT_A_BREAST,
        "zz-copy.dcm": Reason.DUPLICATE,
        "zz-same-pixels.dcm": Reason.SAME_PIXELS,
        "W1_RCC.dcm": Reason.REPEATED_VIEW,
        "to-nothing.dcm": Reason.UNREADABLE,
    }
    assert all(item.detail for item in intake.exclusions)
    assert fingerprints(source) == before
    first, second = intake.exams()
    assert (first.woman, first.missing, second.woman, len(second.missing)) == ("W1", (), "W2", 3)

    views = pd.read_csv(out / "views.csv")
    assert list(views.columns[:7]) == ["view_id", "woman", "exam", "side", "view", "file", "sha256"]
    assert all(row.sha256 == before[str(Path(row.file).relative_to(source))][0] for row in views.itertuples())
    cohort = load_cohort(out)
    assert (len(cohort.views), cohort.women, cohort.exams, len(cohort.exclusions)) == (5, 2, 2, 19)
    assert cohort.exclusions.by_reason() == intake.exclusions.by_reason()


def test_a_second_intake_reads_only_what_is_new_or_changed(tmp_path: Path, looked_at: list[str]) -> None:
    source, out = tmp_path / "in", tmp_path / "cohort"
    all_sorts(source)
    first = ingest(source, out)
    tables = {name: (out / name).read_bytes() for name in ("views.csv", "exclusions.csv")}
    looked_at.clear()
    again = ingest(source, out)
    # Only files whose trouble may have been the machine's are looked at again.
    assert sorted(looked_at) == ["to-nothing.dcm", "video.dcm"]
    assert again.views == first.views
    assert {name: (out / name).read_bytes() for name in tables} == tables
    looked_at.clear()
    write(mammogram(breast_stored(seed=60), woman="W9"), source / "new.dcm")
    write(mammogram(breast_stored(seed=61), woman="W2", exam="9", view="MLO"), source / "sub" / "good.dcm")
    (source / "notes.txt").unlink()
    third = ingest(source, out)
    assert sorted(looked_at) == ["good.dcm", "new.dcm", "to-nothing.dcm", "video.dcm"]
    assert {view.woman for view in third.views} == {"W1", "W2", "W9"}
    assert "notes.txt" not in reasons(third)


def test_a_stopped_intake_goes_on(tmp_path: Path, looked_at: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = tmp_path / "in", tmp_path / "cohort"
    write_exam(source)
    in_process = ingest_module.run_each

    def stopped(task, units, **options) -> Iterator:  # type: ignore[no-untyped-def]
        for number, result in enumerate(in_process(task, units, **options)):
            if number == 2:
                raise KeyboardInterrupt
            yield result

    with monkeypatch.context() as patch:
        patch.setattr(ingest_module, "run_each", stopped)
        with pytest.raises(KeyboardInterrupt):
            ingest(source, out)
    assert not (out / "views.csv").exists() and len(Journal(out / "seen.jsonl").entries()) == 2
    looked_at.clear()
    assert len(ingest(source, out).views) == 4
    assert len(looked_at) == 2


def test_kill_nine_and_the_same_command_again(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "cohort"
    for number in range(6):
        write_exam(source, woman=f"W{number}", exam=str(number), seed=number)
    call = f"ingest(Path({str(source)!r}), Path({str(out)!r}))"
    program = f"from pathlib import Path; from tramtrack.cohort.ingest import ingest; {call}"
    process = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    journal = Journal(out / "seen.jsonl")
    deadline = time.monotonic() + 60
    while len(journal.entries()) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = len(journal.entries())
    assert done >= 3
    intake = ingest(source, out)
    assert len(intake.views) == 24 and len(intake.exclusions) == 0
    assert len(journal.entries()) == 24
    assert len({entry["candidate"] for entry in journal.entries()}) == 24


def test_files_that_kill_hang_or_swell_cost_only_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = tmp_path / "in", tmp_path / "cohort"
    write_exam(source)
    for number, name in enumerate(("dies", "hangs", "swells", "raises")):
        write(mammogram(breast_stored(seed=70 + number), woman=name), source / f"{name}.dcm")

    def with_trouble(_, units, **options):  # type: ignore[no-untyped-def]
        return run_each(inspect_with_trouble, units, **{**options, "seconds": 4.0})

    with monkeypatch.context() as patch:
        patch.setattr(ingest_module, "run_each", with_trouble)
        intake = ingest(source, out)
    assert len(intake.views) == 4
    assert reasons(intake) == {
        "dies.dcm": Reason.WORKER_DIED,
        "hangs.dcm": Reason.TIME_LIMIT,
        "swells.dcm": Reason.MEMORY_LIMIT,
        "raises.dcm": Reason.UNREADABLE,
    }
    assert {Path(item.file).stem: item.detail for item in intake.exclusions}["raises"] == "IndexError: deep inside a library"
    # On a healthy machine the same folder gives all views: such exclusions are not for ever.
    assert len(ingest(source, out).views) == 8


def shown(*tags: dict[str, str], folder: Path) -> None:
    """One view for each set of tags, all of woman W and exam 1, L CC, each with pixels of its own."""
    for number, extra in enumerate(tags):
        write(mammogram(breast_stored(seed=200 + number), woman="W", exam="1", **extra), folder / f"{number}.dcm")


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


def test_contradictions_are_written_down(tmp_path: Path, looked_at: list[str]) -> None:
    shown({"Laterality": "R", "SeriesDescription": "R MLO"}, folder=tmp_path / "in")
    (view,) = ingest(tmp_path / "in", tmp_path / "cohort").views
    assert view.contradictions == (
        "Laterality says R, ImageLaterality L; SeriesDescription says R, ImageLaterality L; "
        "SeriesDescription says MLO, ViewPosition CC"
    )


def test_pipes_and_very_deep_folders_are_accounted_for(tmp_path: Path, looked_at: list[str]) -> None:
    source = tmp_path / "in"
    write_exam(source)
    os.mkfifo(source / "pipe.dcm")
    os.mkfifo(source / "pipe.png")
    deep = source
    for _ in range(1200):
        deep = deep / "d"
    subprocess.run(["mkdir", "-p", str(deep)], check=True)
    write(mammogram(breast_stored(seed=40), woman="W2"), deep / "far.dcm")
    intake = ingest(source, tmp_path / "cohort")
    assert len(intake.views) == 5
    assert reasons(intake) == {"pipe.dcm": Reason.NOT_AN_IMAGE, "pipe.png": Reason.NOT_AN_IMAGE}
    subprocess.run(["rm", "-rf", str(source / "d")], check=True)  # deeper than what pytest can remove


def test_a_folder_that_cannot_be_read_costs_only_itself(
    tmp_path: Path, looked_at: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in"
    write_exam(source)
    (source / "lost+found").mkdir()
    listed = Path.iterdir

    def refused(folder: Path) -> Iterator[Path]:
        if folder.name == closed:
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", refused)
    closed = "lost+found"
    intake = ingest(source, tmp_path / "cohort")
    assert len(intake.views) == 4 and reasons(intake) == {"lost+found": Reason.UNREADABLE}
    assert intake.exclusions.items[0].detail == "a folder: what lies in it was not looked at"
    closed = "in"
    with pytest.raises(TramtrackError, match=r"in: cannot be read \(Permission denied\); nothing was ingested"):
        ingest(source, tmp_path / "cohort")


def test_links_that_loop_end_and_linked_folders_are_seen(tmp_path: Path, looked_at: list[str]) -> None:
    source, elsewhere = tmp_path / "in", tmp_path / "elsewhere"
    write_exam(source / "a")
    write_exam(elsewhere, woman="W2", exam="5", seed=5)
    (source / "a" / "up").symlink_to(source)
    (source / "again").symlink_to(source / "a")
    (source / "linked").symlink_to(elsewhere)
    intake = ingest(source, tmp_path / "cohort")
    assert len(intake.views) == 8 and len(intake.exclusions) == 0 and len(looked_at) == 8


def test_odd_paths(tmp_path: Path, looked_at: list[str]) -> None:
    source, out = tmp_path / "in", tmp_path / "cohort"
    names = ['comma, "quote".dcm', "Ünï côdé 乳.dcm", "per%cent {brace}.dcm", "no-suffix", "UPPER.DCM", "|pipe|.dcm"]
    for number, name in enumerate(names):
        write(mammogram(breast_stored(seed=number), woman=f"W{number}"), source / name)
    odd = [source / "new\nline.dcm", source / "re\rturn.dcm", Path(os.fsdecode(os.fsencode(source) + b"/latin-\xfc.dcm"))]
    for number, path in enumerate(odd):
        write(mammogram(breast_stored(seed=20 + number), woman=f"X{number}"), path)
    intake = ingest(source, out)
    assert sorted(Path(view.file).name for view in intake.views) == sorted(names)
    assert sorted(Path(item.file).name for item in intake.exclusions) == [
        "latin-\\xfc.dcm",
        "new\\x0aline.dcm",
        "re\\x0dturn.dcm",
    ]
    assert all("no table can carry" in item.detail for item in intake.exclusions)
    back = load_cohort(out)
    assert sorted(back.views["file"]) == sorted(view.file for view in intake.views)
    assert [item.file for item in back.exclusions] == [item.file for item in intake.exclusions]


def test_paths_hold_from_any_working_directory(tmp_path: Path, looked_at: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    write_exam(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    ingest(Path("in"), Path("cohort"))
    monkeypatch.chdir("/")
    assert all(Path(file).is_file() for file in load_cohort(tmp_path / "cohort").views["file"])


def test_the_study_folder_inside_the_source_is_not_looked_into(tmp_path: Path, looked_at: list[str]) -> None:
    write_exam(tmp_path)
    study = tmp_path / "study"
    for _ in range(2):
        (study / "prepared").mkdir(parents=True, exist_ok=True)
        (study / "prepared" / "v.png").write_bytes(b"")
        intake = ingest(tmp_path, study / "cohort", skip=study)
        assert len(intake.views) == 4 and len(intake.exclusions) == 0


def test_empty_and_missing_sources(tmp_path: Path, looked_at: list[str]) -> None:
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    (tmp_path / "file.dcm").write_text("x")
    for source, message in (
        ("empty", "expected DICOM files, found an empty folder"),
        ("missing", "found nothing there"),
        ("missing.csv", "found nothing there"),
        ("file.dcm", "expected a folder of exams or a .csv table"),
    ):
        with pytest.raises(TramtrackError, match=message):
            ingest(tmp_path / source, tmp_path / "cohort")
    assert not (tmp_path / "cohort" / "views.csv").exists()


def test_a_folder_without_a_single_view_says_why_and_keeps_the_reasons(tmp_path: Path, looked_at: list[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("x")
    with pytest.raises(TramtrackError, match=r"none of 1 files is a mammographic view; Exclusions\(1 not an image file\)"):
        ingest(tmp_path / "in", tmp_path / "cohort")
    assert "a.txt" in (tmp_path / "cohort" / "exclusions.csv").read_text()


def test_women_whose_names_become_the_same_file_name_are_an_error(tmp_path: Path, looked_at: list[str]) -> None:
    write(mammogram(breast_stored(seed=1), woman="A 1"), tmp_path / "in" / "1.dcm")
    write(mammogram(breast_stored(seed=2), woman="a-1"), tmp_path / "in" / "2.dcm")
    with pytest.raises(TramtrackError, match="names differ only in signs"):
        ingest(tmp_path / "in", tmp_path / "cohort")


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cohort.csv"
    path.write_text(text)
    return path


def test_a_table_is_believed_for_pictures_and_for_dicom(tmp_path: Path, looked_at: list[str]) -> None:
    picture = breast_picture(seed=3)
    Image.fromarray(np.rint(picture * 65535).astype(np.uint16)).save(tmp_path / "a.png")
    Image.fromarray(np.rint(breast_picture(seed=4) * 255).astype(np.uint8)).save(tmp_path / "b.tif")
    write(mammogram(breast_stored(seed=5), woman="other", side=None, view=None, Modality="OT"), tmp_path / "c.dcm")
    write(mammogram(breast_stored(seed=6), PresentationIntentType="FOR PROCESSING"), tmp_path / "raw.dcm")
    source = table(
        tmp_path,
        "woman,exam,side,view,file,spacing_mm,age_years,remark\n"
        "W1,e1,l,cc,a.png,0.1,61,x\nW1,e1,L,MLO,b.tif,,,\nW1,,R,CC,c.dcm,0.2,,\nW1,e1,R,MLO,raw.dcm,,,\nW2,e,R,MLO,gone.png,,,\n",
    )
    intake = ingest(source, tmp_path / "cohort")
    found = {Path(view.file).name: view for view in intake.views}
    assert set(found) == {"a.png", "b.tif", "c.dcm"}
    assert (found["a.png"].bits, found["a.png"].spacing_mm, found["a.png"].age_years) == (16, 0.1, 61)
    assert (found["b.tif"].bits, found["b.tif"].spacing_mm, found["b.tif"].age_years) == (8, None, None)
    assert (found["c.dcm"].woman, found["c.dcm"].exam, found["c.dcm"].spacing_mm) == ("W1", "exam", 0.2)
    assert {view.view_source for view in intake.views} == {"table"}
    assert reasons(intake) == {"raw.dcm": Reason.FOR_PROCESSING, "gone.png": Reason.UNREADABLE}
    loaded = load_cohort(tmp_path / "cohort").views.set_index("view_id")
    assert loaded["age_years"].dtype == "Int64" and loaded.loc["W1_e1_L_CC", "age_years"] == 61
    assert loaded["spacing_mm"].isna().tolist() == [view.spacing_mm is None for view in intake.views]


def test_changing_the_table_changes_the_views(tmp_path: Path, looked_at: list[str]) -> None:
    Image.fromarray(breast_stored(8)).save(tmp_path / "a.png")
    head = "woman,exam,side,view,file\n"
    ingest(table(tmp_path, head + "W1,e,L,CC,a.png\n"), tmp_path / "cohort")
    again = ingest(table(tmp_path, head + "W2,e,L,CC,a.png\n"), tmp_path / "cohort")
    assert [view.woman for view in again.views] == ["W2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found an empty file"),
        ("woman,exam,side,view,file\n", "expected at least one row, found none"),
        ("woman,exam,Side,view,file\nW,e,L,CC,a.png\n", r"missing: side \(is it Side\?\)"),
        ("woman,side\nW,L\n", "missing: exam, view, file"),
        ("woman,exam,side,view,file\n\nW,e,X,CC,a.png\n", "line 3: expected a woman, side L or R"),
        ("woman,exam,side,view,file\nW,e,L,ML,a.png\n", "line 2: expected a woman, side L or R, view CC or MLO"),
        ("woman,exam,side,view,file\n,e,L,CC,a.png\n", "line 2: expected a woman"),
        ("woman,exam,side,view,file\nW,e,L,CC,\n", "line 2: expected a woman"),
        ("woman,exam,side,view,file\nW,e,L,CC,a.png\nW,e,R,CC,./a.png\n", "each file may stand in one row; a.png stands"),
        ("woman,exam,side,view,file,spacing_mm\nW,e,L,CC,a.png,wide\n", "line 2: expected a positive number in spacing_mm"),
        ("woman,exam,side,view,file,absent_breast\nW,e,L,CC,a.png,both\n", "line 2: expected L, R or nothing in absent_breast"),
        ("woman,exam,side,view,file,synthetic\nW,e,L,CC,a.png,1\n", "line 2: expected yes, no or nothing in synthetic"),
        ("woman,exam,side,view,file\nW,e,L,CC,a.png,b.png\n", "line 2: expected 5 cells, found 6"),
    ],
)
def test_bad_tables(tmp_path: Path, looked_at: list[str], text: str, message: str) -> None:
    with pytest.raises(TramtrackError, match=message) as caught:
        ingest(table(tmp_path, text), tmp_path / "cohort")
    assert "cohort.csv" in str(caught.value)
    assert looked_at == []


def test_the_same_pixels_under_two_women_are_two_views_for_the_leak_check_to_find(tmp_path: Path, looked_at: list[str]) -> None:
    stored = breast_stored()
    first = write(mammogram(stored, woman="A"), tmp_path / "in" / "a.dcm")
    other = mammogram(stored, woman="B")
    other.compress(RLELossless)
    write(other, tmp_path / "in" / "b.dcm")
    views = ingest(tmp_path / "in", tmp_path / "cohort").views
    assert [view.woman for view in views] == ["A", "B"] and first.exists()
    assert views[0].pixels_sha256 == views[1].pixels_sha256 and views[0].sha256 != views[1].sha256
