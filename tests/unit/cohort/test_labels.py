"""Labels climb: any positive makes positive, all required negatives make negative, anything else is not known."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tramtrack.cohort.labels import Labelled, apply_labels
from tramtrack.errors import TramtrackError

FOUR = ("LCC", "LMLO", "RCC", "RMLO")


def cohort(*places: str) -> pd.DataFrame:
    """Views given as "woman/exam/side+view"."""
    rows = []
    for place in places:
        woman, exam, side_view = place.split("/")
        rows.append({"view_id": place, "woman": woman, "exam": exam, "side": side_view[0], "view": side_view[1:]})
    return pd.DataFrame(rows)


def one_exam(*women: str) -> pd.DataFrame:
    return cohort(*(f"{woman}/e/{place}" for woman in women for place in FOUR))


def label(tmp_path: Path, views: pd.DataFrame, text: str) -> Labelled:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return apply_labels(views, path)


def column(labelled: Labelled, name: str) -> list[int | None]:
    return [None if pd.isna(value) else int(value) for value in labelled.views[name]]


def test_a_positive_view_makes_breast_and_woman_positive_and_nothing_else(tmp_path: Path) -> None:
    found = label(tmp_path, one_exam("A"), "woman,exam,side,view,bac\nA,e,L,MLO,yes\n")
    assert column(found, "bac_view") == [None, 1, None, None]
    assert column(found, "bac_breast") == [1, 1, None, None]
    assert column(found, "bac_woman") == [1, 1, 1, 1]


def test_all_required_views_negative_make_negative(tmp_path: Path) -> None:
    head = "woman,side,view,bac\n"
    rows = [f"A,{place[0]},{place[1:]},0\n" for place in FOUR]
    whole = label(tmp_path, one_exam("A"), head + "".join(rows))
    assert column(whole, "bac_breast") == [0] * 4 and column(whole, "bac_woman") == [0] * 4
    three = label(tmp_path, one_exam("A"), head + "".join(rows[:3]))
    assert column(three, "bac_view") == [0, 0, 0, None]
    assert column(three, "bac_breast") == [0, 0, None, None] and column(three, "bac_woman") == [None] * 4


@pytest.mark.parametrize(("gone", "woman"), [("R", [0, 0]), ("", [None, None]), ("L", [None, None])])
def test_a_breast_absent_by_surgery_is_not_required(tmp_path: Path, gone: str, woman: list[int | None]) -> None:
    views = cohort("A/e/LCC", "A/e/LMLO").assign(absent_breast=gone)
    for text in ("woman,side,view,bac\nA,L,CC,0\nA,L,MLO,0\n", "woman,side,view,bac\nA,L,,0\n"):
        found = label(tmp_path, views, text)
        assert column(found, "bac_breast") == [0, 0] and column(found, "bac_woman") == woman


def test_negative_views_of_an_incomplete_exam_do_not_make_a_negative_woman(tmp_path: Path) -> None:
    views = cohort("A/e/LCC", "A/e/RCC", "A/e/RMLO")
    found = label(tmp_path, views, "woman,side,view,bac\nA,L,CC,0\nA,R,CC,0\nA,R,MLO,0\n")
    assert column(found, "bac_breast") == [None, 0, 0] and column(found, "bac_woman") == [None] * 3


def test_a_negative_woman_has_negative_views_and_a_positive_one_leaves_hers_unknown(tmp_path: Path) -> None:
    found = label(tmp_path, one_exam("A", "B"), "woman,bac\nA,0\nB,1\n")
    assert column(found, "bac_view") == [0] * 4 + [None] * 4
    assert column(found, "bac_breast") == [0] * 4 + [None] * 4
    assert column(found, "bac_woman") == [0] * 4 + [1] * 4


def test_a_negative_woman_is_negative_whatever_views_are_there(tmp_path: Path) -> None:
    found = label(tmp_path, cohort("A/e/LCC"), "woman,bac\nA,0\n")
    assert column(found, "bac_view") == column(found, "bac_breast") == column(found, "bac_woman") == [0]


def test_breast_labels(tmp_path: Path) -> None:
    found = label(tmp_path, one_exam("A", "B"), "woman,side,bac\nA,L,1\nA,R,0\nB,L,0\nB,R,0\n")
    assert column(found, "bac_view") == [None, None, 0, 0] + [0] * 4
    assert column(found, "bac_breast") == [1, 1, 0, 0] + [0] * 4
    assert column(found, "bac_woman") == [1] * 4 + [0] * 4


def test_both_breasts_called_negative_make_a_negative_woman_even_with_a_view_missing(tmp_path: Path) -> None:
    found = label(tmp_path, cohort("A/e/LCC", "A/e/RCC", "A/e/RMLO"), "woman,side,bac\nA,L,0\nA,R,0\n")
    assert column(found, "bac_woman") == [0] * 3


def test_exam_labels(tmp_path: Path) -> None:
    views = cohort(*(f"A/{exam}/{place}" for exam in "12" for place in FOUR))
    negative = label(tmp_path, views, "woman,exam,bac\nA,1,0\n")
    assert column(negative, "bac_view") == [0] * 4 + [None] * 4
    assert column(negative, "bac_breast") == [0] * 4 + [None] * 4
    assert column(negative, "bac_woman") == [None] * 8  # nobody has looked at the second exam
    positive = label(tmp_path, views, "woman,exam,bac\nA,1,0\nA,2,1\n")
    assert column(positive, "bac_view") == [0] * 4 + [None] * 4
    assert column(positive, "bac_breast") == [0] * 4 + [None] * 4
    assert column(positive, "bac_woman") == [1] * 8


def test_a_positive_row_about_several_exams_does_not_say_in_which(tmp_path: Path) -> None:
    views = cohort("A/1/LCC", "A/2/LCC")
    for row in ("A,L,,1", "A,L,CC,1"):
        found = label(tmp_path, views, f"woman,side,view,bac\n{row}\n")
        assert column(found, "bac_view") == column(found, "bac_breast") == [None, None]
        assert column(found, "bac_woman") == [1, 1]


def test_unknown_is_not_negative_and_still_a_match(tmp_path: Path) -> None:
    found = label(tmp_path, one_exam("A"), "woman,bac\nA,\n")
    assert column(found, "bac_woman") == [None] * 4
    assert found.rows_without_view == [] and found.views_without_row == []


def test_what_does_not_match_is_listed_on_both_sides(tmp_path: Path) -> None:
    found = label(tmp_path, one_exam("A", "B"), "woman,side,bac,age\nA,L,0,60\nC,,1,70\n,,0,\nA,,,50\n")
    assert found.rows_without_view == ["line 3: woman C", "line 4: a row without a woman"]
    assert found.views_without_row == [f"B/e/{place}" for place in FOUR]
    assert found.ignored_columns == ["age"]


@pytest.mark.parametrize(
    "rows",
    [
        ["A,,,,0", "A,e,L,CC,1"],  # woman against view
        ["A,,,,0", "A,e,L,,1"],  # woman against breast
        ["A,,,,0", "A,e,,,1"],  # woman against exam
        ["A,e,,,0", "A,e,R,,1"],  # exam against breast
        ["A,e,,,0", "A,,,,1"],  # her only exam against woman
        ["A,e,L,,0", "A,e,L,MLO,1"],  # breast against view
        ["A,e,L,,1", "A,e,L,CC,0", "A,e,L,MLO,0"],  # breast against both its views
        ["A,,,,1", "A,,L,,0", "A,,R,,0"],  # woman against both her breasts
        ["A,,L,CC,0", "A,e,L,CC,1"],  # the same view, named in two ways
    ],
)
def test_contradictions_are_errors_in_any_order(tmp_path: Path, rows: list[str]) -> None:
    for order in (rows, rows[::-1]):
        with pytest.raises(
            TramtrackError, match=r"labels\.csv: line \d: woman A.* is positive, but all its views are negative"
        ):
            label(tmp_path, one_exam("A"), "woman,exam,side,view,bac\n" + "\n".join(order) + "\n")


def test_a_positive_breast_with_one_negative_view_is_no_contradiction(tmp_path: Path) -> None:
    found = label(tmp_path, one_exam("A"), "woman,side,view,bac\nA,L,,1\nA,L,CC,0\n")
    assert column(found, "bac_view") == [0, None, None, None] and column(found, "bac_breast")[:2] == [1, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "woman,bac\nA,0\n\nB,maybe\n",
            "line 4: expected 1, 0, yes, no, positive, negative or nothing in bac, received 'maybe'",
        ),
        ("woman,bac\nA,2\n", "line 2: expected 1, 0"),
        ("woman,bac\nA,0\nB,1\n A ,1\n", "one row for each key; line 2: woman A stands in lines 2, 4"),
        ("woman,label\nA,1\n", "expected the columns woman and bac, found woman, label"),
        ("woman,Side,bac\nA,L,1\n", "unknown column Side, did you mean side?"),
        ("woman,exams,bac\nA,e,1\n", "unknown column exams, did you mean exam?"),
        ("woman,view,bac\nA,CC,1\n", "a view needs both"),
        ("woman,side,view,bac\nA,,CC,1\n", "line 2: woman A, view CC: a view needs its side"),
        ("woman,side,bac\nA,left,1\n", "expected side L or R and view CC or MLO, received 'LEFT'"),
        ("woman,bac,mask\nA,1,m.png\n", "a mask belongs to one view, this row is about 4"),
        ("woman,bac\nA,1,\nB,1,x\n", "line 3: expected 2 cells, found 3"),
        ("", "found an empty file"),
    ],
)
def test_bad_tables_get_the_line_and_the_reason(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TramtrackError) as caught:
        label(tmp_path, one_exam("A"), text)
    assert message in str(caught.value) and "labels.csv" in str(caught.value)


def test_words_short_rows_and_trailing_commas(tmp_path: Path) -> None:
    found = label(tmp_path, one_exam("A", "B", "C"), "woman,bac\nA,Positive,\nB, NO ,\nC\n")
    assert column(found, "bac_woman") == [1] * 4 + [0] * 4 + [None] * 4


def test_masks_are_found_beside_the_table(tmp_path: Path) -> None:
    found = label(tmp_path, one_exam("A"), "woman,side,view,bac,mask\nA,L,CC,1,masks/a.png\n")
    assert list(found.views["mask"]) == [str(tmp_path / "masks/a.png"), "", "", ""]
