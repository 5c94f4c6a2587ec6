"""A cohort on disk: read back as it was written, with or without labels, and never with those of other views."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mammogram import breast_stored, mammogram, write, write_exam
from tramtrack.cohort import ingest as ingest_module
from tramtrack.cohort.cohort import Cohort, analysed_views, load_cohort, make_cohort, require_same_intake
from tramtrack.cohort.exam import STANDARD_VIEWS
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.protocol import Intake


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker processes: what they do is tested elsewhere."""
    monkeypatch.setattr(ingest_module, "run_each", lambda task, units, **_: ((unit, task(unit)) for unit in units))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    write_exam(folder, woman="001", exam="1.5", SyntheticData="YES", PatientAge="055Y", Manufacturer="A\rB, Inc")
    write_exam(folder, woman="NA", exam="2", seed=1)
    return folder


def labels(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return path


def test_without_labels_nothing_is_known(tmp_path: Path, source: Path) -> None:
    cohort = make_cohort(source, tmp_path / "study" / "cohort")
    assert isinstance(cohort, Cohort) and not cohort.labelled
    assert cohort.views[["bac_view", "bac_breast", "bac_woman"]].isna().all(axis=None)
    assert repr(cohort) == "Cohort(8 views, 2 exams, 2 women; no labels; 0 files excluded; synthetic)"
    assert cohort.synthetic and len(cohort.unmatched) == 0


def test_texts_stay_texts_and_missing_numbers_stay_missing(tmp_path: Path, source: Path) -> None:
    views = make_cohort(source, tmp_path / "cohort").views.set_index("view_id")
    assert set(views["woman"]) == {"001", "NA"} and set(views["exam"]) == {"1.5", "2"}
    assert set(views["acquired"]) == {"20240102"}
    assert views.loc["001_1.5_L_CC", "age_years"] == 55 and views.loc["NA_2_L_CC"].isna()[["age_years", "spacing_mm"]].all()
    assert views.loc["001_1.5_L_CC", "manufacturer"] == "A B, Inc"
    assert views["rows"].dtype == int and views["bits"].eq(12).all()


def test_labels_come_to_their_views(tmp_path: Path, source: Path) -> None:
    table = labels(tmp_path, "woman,side,view,bac,remark\n001,L,CC,1,x\nNA,,,0,x\nNobody,,,1,x\n")
    cohort = make_cohort(source, tmp_path / "cohort", table)
    assert cohort.labelled and repr(cohort).startswith("Cohort(8 views, 2 exams, 2 women; 1 with BAC; 0 files")
    by_woman = cohort.views.groupby("woman")["bac_woman"].first()
    assert by_woman.to_dict() == {"001": 1, "NA": 0}
    assert cohort.views["bac_view"].dtype == "Int64" and cohort.views["bac_view"].isna().sum() == 3
    assert sorted(cohort.unmatched.itertuples(index=False, name=None)) == [
        ("column not read", "remark"),
        ("label row without a view", "line 4: woman Nobody"),
        ("view without a label row", "001_1.5_L_MLO"),
        ("view without a label row", "001_1.5_R_CC"),
        ("view without a label row", "001_1.5_R_MLO"),
    ]


def test_a_label_table_of_other_women_is_refused_and_the_views_stay(tmp_path: Path, source: Path) -> None:
    other = labels(tmp_path, "woman,bac\n1,1\nNobody,0\n")
    with pytest.raises(TramtrackError, match=r"labels\.csv: none of its 2 rows is about a view in .*line 2: woman 1\)"):
        make_cohort(source, tmp_path / "cohort", other)
    kept = load_cohort(tmp_path / "cohort")
    assert len(kept.views) == 8 and not kept.labelled
    assert make_cohort(source, tmp_path / "cohort", labels(tmp_path, "woman,bac\n001,1\n1,0\n")).labelled, "one row is enough"


def test_labels_stay_when_the_same_views_are_ingested_again_and_are_refused_for_others(tmp_path: Path, source: Path) -> None:
    table = labels(tmp_path, "woman,bac\n001,1\nNA,0\n")
    make_cohort(source, tmp_path / "cohort", table)
    assert make_cohort(source, tmp_path / "cohort").labelled
    write(mammogram(breast_stored(seed=77), woman="NA", exam="3"), source / "new.dcm")
    with pytest.raises(TramtrackError, match="the views have changed since the labels were brought to them"):
        make_cohort(source, tmp_path / "cohort")
    again = make_cohort(source, tmp_path / "cohort", table)
    assert len(again.views) == 9 and again.views["bac_woman"].notna().all()


def test_masks_are_absolute_paths_or_empty(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels(tmp_path, "woman,side,view,bac,mask\n001,L,CC,1,masks/m.png\n")
    monkeypatch.chdir(tmp_path)
    cohort = make_cohort(Path("in"), Path("cohort"), Path("labels.csv"))
    masks = cohort.views.set_index("view_id")["mask"]
    assert masks["001_1.5_L_CC"] == str(tmp_path / "masks/m.png") and (masks.drop("001_1.5_L_CC") == "").all()
    assert ("view whose mask is not there", "001_1.5_L_CC") in [*cohort.unmatched.itertuples(index=False, name=None)]
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/m.png").touch()
    again = make_cohort(Path("in"), Path("cohort"), Path("labels.csv"))
    assert "view whose mask is not there" not in set(again.unmatched["kind"])


def test_no_cohort_yet(tmp_path: Path) -> None:
    with pytest.raises(TramtrackError, match="no cohort yet; run `tramtrack ingest"):
        load_cohort(tmp_path / "study" / "cohort")


def test_a_later_exam_does_not_decide_the_label_of_the_analysed_one(tmp_path: Path) -> None:
    source = tmp_path / "in"
    text = "woman,exam,side,view,bac\n"
    for exam, date, bac in (("1", "20200101", 0), ("2", "20210101", 1)):
        for number, (side, view) in enumerate(STANDARD_VIEWS):
            stored = breast_stored(seed=int(exam) * 10 + number)
            dated = mammogram(stored, woman="W", exam=exam, side=side, view=view, AcquisitionDate=date)
            write(dated, source / f"{exam}{side}{view}.dcm")
            text += f"W,{exam},{side},{view},{bac}\n"
    cohort = make_cohort(source, tmp_path / "cohort", labels(tmp_path, text))
    first = analysed_views(cohort.views, Intake())
    assert set(first["exam"]) == {"1"} and len(first) == 4
    assert set(first["bac_view"]) == {0} and set(first["bac_woman"]) == {0}
    assert cohort.unmatched.empty


def test_the_protocol_may_analyse_the_last_exam_and_the_table_of_exams_says_which(tmp_path: Path) -> None:
    source = tmp_path / "in"
    for exam, date in (("1", "20210101"), ("2", "20200101"), ("3", None)):
        stored = breast_stored(seed=int(exam))
        write(mammogram(stored, woman="W", exam=exam, AcquisitionDate=date or "", StudyDate=date or ""), source / f"{exam}.dcm")
    for which, exam in (("first", "2"), ("last", "1")):
        settings = Intake(analysed_exam=which)
        cohort = make_cohort(source, tmp_path / which / "cohort", settings=settings)
        assert set(analysed_views(cohort.views, settings)["exam"]) == {exam}
        table = pd.read_csv(tmp_path / which / "cohort" / "exams.csv", dtype=str)
        assert table.loc[table["analysed"] == "yes", "exam"].tolist() == [exam] and len(table) == 3


def test_a_cohort_ingested_under_other_settings_than_the_protocols_is_refused(tmp_path: Path, source: Path) -> None:
    make_cohort(source, tmp_path / "cohort")
    require_same_intake(tmp_path / "cohort", Intake())
    with pytest.raises(TramtrackError, match="analysed_exam: first against last"):
        require_same_intake(tmp_path / "cohort", Intake(analysed_exam="last"))


@pytest.mark.parametrize(
    ("tables", "error", "message"),
    [
        (
            {"labels": "none.csv"},
            TramtrackError,
            "none.csv: expected a table with the columns woman and bac",
        ),
        ({"labels": "bad.csv"}, TramtrackError, "line 2: expected 1, 0"),
        ({"labels": "good.csv", "adjudication": "none.csv"}, TramtrackError, "none.csv: expected a table of disagreements"),
        ({"adjudication": "good.csv"}, UsageError, "--adjudication .*good.csv: .* so it needs their --labels"),
        ({"findings": "none.csv"}, TramtrackError, "none.csv: expected a table of findings"),
        ({"findings": "good.csv"}, TramtrackError, "good.csv: expected the columns woman, side, view and burden_mm2"),
    ],
)
def test_tables_are_read_before_the_images(
    tmp_path: Path, source: Path, tables: dict[str, str], error: type[TramtrackError], message: str
) -> None:
    (tmp_path / "good.csv").write_text("woman,bac\nW1,1\n")
    (tmp_path / "bad.csv").write_text("woman,bac\nW1,perhaps\n")
    with pytest.raises(error, match=message):
        make_cohort(source, tmp_path / "study" / "cohort", **{name: tmp_path / file for name, file in tables.items()})
    assert not (tmp_path / "study").exists()
