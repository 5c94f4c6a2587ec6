"""Findings: what else a table says of views, brought to them by woman, exam, side and view; wrong cells are named."""

from __future__ import annotations

import pandas as pd
import pytest

from mammogram import write_exam
from tramtrack.cohort.cohort import make_cohort
from tramtrack.cohort.findings import distractors, read_findings
from tramtrack.cohort.privacy import Secret, pseudonym
from tramtrack.errors import TramtrackError

VIEWS = pd.DataFrame(
    [
        {"view_id": f"{woman}-{exam}-{side}{view}", "woman": woman, "exam": exam, "side": side, "view": view}
        for woman, exam in (("a", "1"), ("a", "2"), ("b", "1"))
        for side in "LR"
        for view in ("CC", "MLO")
    ]
)


def read(tmp_path, text: str) -> pd.DataFrame:
    path = tmp_path / "findings.csv"
    path.write_text(text)
    return read_findings(path, VIEWS)[0]


def test_a_truth_table_gives_burden_and_distractors(tmp_path):
    found = read(
        tmp_path,
        "woman,exam,side,view,age,area_mm2,round,eggshell\na,1,L,CC,60,12.5,2,0\nb,1,R,MLO,70,,0,0\nz,1,L,CC,1,1,1,1\n",
    )
    assert list(found.columns) == ["view_id", "burden_mm2", "distractor_round", "distractor_eggshell"]
    assert found.set_index("view_id").loc["a-1-LCC"].tolist() == [12.5, 2, 0]
    assert pd.isna(found.set_index("view_id").loc["b-1-RMLO", "burden_mm2"])
    assert distractors(found) == {"distractor_round": "round"}, "a kind that no view shows is none"


def test_a_truth_tables_length_that_shows_comes_before_the_whole_one(tmp_path):
    text = "woman,side,view,area_mm2,length_mm,visible_length_mm\na,L,CC,2,30,20\n"
    assert read(tmp_path, text)["length_mm"].tolist() == [20, 20]
    assert read(tmp_path, text.replace("visible_length_mm", "other"))["length_mm"].tolist() == [30, 30]


def test_a_row_without_an_exam_is_about_that_view_of_every_exam(tmp_path):
    found = read(tmp_path, "woman,side,view,distractor_stitch\na,l,cc,1\n")
    assert found["view_id"].tolist() == ["a-1-LCC", "a-2-LCC"] and found["distractor_stitch"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("woman,side\na,L\n", "expected the columns woman, side, view and burden_mm2 or distractor_<kind>"),
        ("woman,side,view,colour\na,L,CC,red\n", "found woman, side, view, colour"),
        ("woman,side,view,burden_mm2,area_mm2\na,L,CC,1,1\n", "expected one column with the area"),
        ("woman,side,view,burden_mm2\na,L,CC,much\n", "line 2: column burden_mm2: expected an area in mm2 from 0 on"),
        ("woman,side,view,burden_mm2\na,L,CC,-1\n", "received '-1'"),
        ("woman,side,view,burden_mm2,length_mm\na,L,CC,1,long\n", "column length_mm: expected a length in mm from 0 on"),
        ("woman,side,view,eggshell\na,L,CC,1.5\n", "expected a count from 0 on"),
        ("woman,side,view,eggshell\na,L,CC,1\na,L,CC,0\n", "line 3 is about a view that stood there already"),
        ("woman,side,view,eggshell,lenght_mm\na,L,CC,1,1\n", "unknown column lenght_mm, did you mean length_mm?"),
        ("woman,side,view,eggshell,distactor_clip\na,L,CC,1,1\n", "did you mean distractor_clip?"),
        ("woman,side,view,eggshell\nz,L,CC,1\n", "no row is about a view of this cohort"),
    ],
)
def test_what_cannot_be_read_is_named(text, says, tmp_path):
    with pytest.raises(TramtrackError) as caught:
        read(tmp_path, text)
    assert says in str(caught.value) and "findings.csv" in str(caught.value)


def test_rows_about_no_view_are_listed_beside_those_of_the_labels(tmp_path):
    write_exam(tmp_path / "in", woman="MRN1")
    (tmp_path / "labels.csv").write_text("woman,bac\nMRN1,1\nMRN2,0\n")
    (tmp_path / "findings.csv").write_text("woman,side,view,eggshell\nMRN1,L,CC,1\nMRN1,LEFT,CC,1\nMRN3,R,CC,1\n")
    tables = {"labels": tmp_path / "labels.csv", "findings": tmp_path / "findings.csv"}
    secret = Secret(b"k" * 32)
    cohort = make_cohort(tmp_path / "in", tmp_path / "study" / "cohort", secret=secret, **tables)
    woman, other = (pseudonym(secret.key, "W", name) for name in ("MRN1", "MRN3"))
    of_findings = [
        ("row of findings without a view", f"line 3: woman {woman}, side LEFT, view CC"),
        ("row of findings without a view", f"line 4: woman {other}, side R, view CC"),
    ]
    labelled = ("label row without a view", f"line 3: woman {pseudonym(secret.key, 'W', 'MRN2')}")
    assert [*cohort.unmatched.itertuples(index=False, name=None)] == [labelled, *of_findings]
    with (tmp_path / "study" / "cohort" / "unmatched.csv").open("a") as written:
        written.write("asked the archive,MRN3\n")
    cohort = make_cohort(tmp_path / "in", tmp_path / "study" / "cohort", secret=secret, labels=tables["labels"])
    assert [*cohort.unmatched.itertuples(index=False, name=None)] == [labelled, *of_findings]
    cohort = make_cohort(tmp_path / "in", tmp_path / "study" / "cohort", secret=secret, findings=tables["findings"])
    assert sorted(cohort.unmatched.itertuples(index=False, name=None)) == [labelled, *of_findings]
