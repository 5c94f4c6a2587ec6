"""What there is to look at: folders with everything that file systems hold, and tables."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from intakes import reasons
from mammogram import breast_picture, breast_stored, mammogram, write, write_exam
from tramtrack.cohort.cohort import load_cohort
from tramtrack.cohort.exam import Reason
from tramtrack.cohort.ingest import ingest
from tramtrack.errors import TramtrackError


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


def test_what_a_header_says_against_the_table_is_written_down(tmp_path: Path, looked_at: list[str]) -> None:
    modified = mammogram(breast_stored(seed=2), side=None, view="CC")
    modifier, coded = Dataset(), Dataset()
    modifier.CodeValue, modifier.CodeMeaning = "399163009", "Magnification"
    coded.CodeValue, coded.CodingSchemeDesignator, coded.ViewModifierCodeSequence = "399162004", "SCT", [modifier]
    modified.ViewCodeSequence = [coded]
    malformed = mammogram(breast_stored(seed=3), side="R", view="MLO")
    malformed.add_new("ViewCodeSequence", "LO", "none")
    write(mammogram(breast_stored(seed=1), side="R", view="MLO"), tmp_path / "other.dcm")
    write(modified, tmp_path / "magnified.dcm")
    write(malformed, tmp_path / "malformed.dcm")
    write(mammogram(breast_stored(seed=4), side="R", view="MLO"), tmp_path / "same.dcm")
    rows = ["L,CC,other.dcm", "R,CC,magnified.dcm", "L,MLO,malformed.dcm", "R,MLO,same.dcm"]
    source = table(tmp_path, "woman,exam,side,view,file\n" + "".join(f"W1,e,{row}\n" for row in rows))
    found = {Path(view.file).name: view.contradictions for view in ingest(source, tmp_path / "cohort").views}
    assert found == {
        "other.dcm": "ImageLaterality says R, the table L; ViewPosition says MLO, the table CC",
        "magnified.dcm": "view modifiers: Magnification, the table CC",
        "malformed.dcm": "",
        "same.dcm": "",
    }


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
