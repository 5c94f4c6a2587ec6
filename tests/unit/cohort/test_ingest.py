"""The intake: every file is a View or an Exclusion with a reason, the input stays as it is, and nothing is read twice."""

from __future__ import annotations

import hashlib
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

from intakes import reasons, shown
from mammogram import breast_stored, mammogram, write, write_exam
from tramtrack.cohort import ingest as ingest_module
from tramtrack.cohort.cohort import load_cohort
from tramtrack.cohort.exam import Reason
from tramtrack.cohort.ingest import ingest
from tramtrack.errors import TramtrackError
from tramtrack.store import Journal
from tramtrack.workers import run_each
from troubled_inspection import inspect_with_trouble


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


def test_contradictions_are_written_down(tmp_path: Path, looked_at: list[str]) -> None:
    shown({"Laterality": "R", "SeriesDescription": "R MLO"}, folder=tmp_path / "in")
    (view,) = ingest(tmp_path / "in", tmp_path / "cohort").views
    assert view.contradictions == (
        "Laterality says R, ImageLaterality L; SeriesDescription says R, ImageLaterality L; "
        "SeriesDescription says MLO, ViewPosition CC"
    )


def test_a_folder_without_a_single_view_says_why_and_keeps_the_reasons(tmp_path: Path, looked_at: list[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("x")
    with pytest.raises(TramtrackError, match=r"none of 1 files is a mammographic view; Exclusions\(1 not an image file\)"):
        ingest(tmp_path / "in", tmp_path / "cohort")
    assert "a.txt" in (tmp_path / "cohort" / "exclusions.csv").read_text()
