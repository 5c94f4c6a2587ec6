"""Findings: what else a table says of views, brought to them by woman, exam, side and view; wrong cells are named."""

from __future__ import annotations

import pandas as pd
import pytest

from tramtrack.cohort.findings import distractors, read_findings
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
    return read_findings(path, VIEWS)


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
        ("woman,side,view,eggshell\nz,L,CC,1\n", "no row is about a view of this cohort"),
    ],
)
def test_what_cannot_be_read_is_named(text, says, tmp_path):
    with pytest.raises(TramtrackError) as caught:
        read(tmp_path, text)
    assert says in str(caught.value) and "findings.csv" in str(caught.value)
