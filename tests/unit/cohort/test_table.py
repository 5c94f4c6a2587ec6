"""CSV tables that people wrote: line numbers that are right, short rows, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tramtrack.cohort.table import read_table
from tramtrack.errors import TramtrackError


def written(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_rows_know_their_line_past_empty_lines_and_cells_with_line_breaks(tmp_path: Path) -> None:
    path = written(tmp_path, 'woman, bac ,note\r\n\r\nA,1,"two\nlines"\r\n,,\r\n B , 0\r\n')
    columns, rows = read_table(path, "x")
    assert columns == ["woman", "bac", "note"]
    assert rows == [
        (3, {"woman": "A", "bac": "1", "note": "two\nlines"}),
        (6, {"woman": "B", "bac": "0", "note": ""}),
    ]


def test_a_byte_order_mark_and_trailing_commas_do_no_harm(tmp_path: Path) -> None:
    columns, rows = read_table(written(tmp_path, "\ufeffwoman,bac,\nA,1,\n"), "x")
    assert columns == ["woman", "bac"] and rows == [(2, {"woman": "A", "bac": "1"})]


def test_nothing_is_taken_for_a_missing_value(tmp_path: Path) -> None:
    _, rows = read_table(written(tmp_path, "woman,bac\nNA,null\n001,1.0\n"), "x")
    assert [row["woman"] for _, row in rows] == ["NA", "001"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found an empty file"),
        (b"\n\n", "found an empty file"),
        (b"woman,bac\nA,1,extra\n", "line 2: expected 2 cells, found 3"),
        (b"woman,bac,woman\n", "column 'woman' stands there twice"),
        (b"woman,bac\nM\xfcller,1\n", "as CSV in UTF-8"),
        (b'woman,bac\n"A,1\n', "as CSV in UTF-8"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(TramtrackError) as caught:
        read_table(written(tmp_path, content), "a table with woman and bac")
    assert message in str(caught.value) and "table.csv" in str(caught.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(TramtrackError, match="expected a table with woman and bac, found no such file"):
        read_table(tmp_path / "none.csv", "a table with woman and bac")
