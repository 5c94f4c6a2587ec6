"""A CSV table that a person wrote, as rows of text that know their line; a table that is no table is refused with the line."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from tramtrack.errors import TramtrackError

Row = dict[str, str]


def read_table(path: Path, expected: str) -> tuple[list[str], list[tuple[int, Row]]]:
    """The columns of a CSV file, and for each row the number of its first line and its values, stripped of outer spaces.

    ``expected`` says in errors what the table should be. Empty lines are passed over, cells missing at a line's end are
    empty. Raises TramtrackError for a missing, unreadable or empty file, a column named twice, and a line with more cells
    than columns.
    """
    if not path.is_file():
        raise TramtrackError(f"{path}: expected {expected}, found no such file")
    try:
        reader = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), strict=True)
        lines: list[tuple[int, list[str]]] = []
        before = 0
        for cells in reader:
            lines.append((before + 1, [cell.strip() for cell in cells]))
            before = reader.line_num
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TramtrackError(f"{path}: expected {expected}, as CSV in UTF-8 ({error})") from error
    lines = [(number, cells) for number, cells in lines if any(cells)]
    if not lines:
        raise TramtrackError(f"{path}: expected {expected}, found an empty file")
    columns = lines[0][1]
    while columns and not columns[-1]:
        columns = columns[:-1]
    twice = [name for name in columns if columns.count(name) > 1]
    if twice:
        raise TramtrackError(f"{path}: expected {expected}; column {twice[0]!r} stands there twice")
    return columns, [(number, _row(columns, cells, path, number)) for number, cells in lines[1:]]


def _row(columns: list[str], cells: list[str], path: Path, line: int) -> Row:
    if any(cells[len(columns) :]):
        raise TramtrackError(
            f"{path}, line {line}: expected {len(columns)} cells, found {len(cells)}; quote a cell with a comma"
        )
    padded = cells[: len(columns)] + [""] * (len(columns) - len(cells))
    return dict(zip(columns, padded, strict=True))
