"""What there is to look at: every file below a folder, or those that a table names with woman, exam, side and view."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tramtrack.cohort.exam import Position, Side
from tramtrack.cohort.inspect import Candidate
from tramtrack.cohort.table import read_table
from tramtrack.errors import TramtrackError

TABLE_COLUMNS = ("woman", "exam", "side", "view", "file")
OPTIONAL_TABLE_COLUMNS = ("spacing_mm", "age_years", "absent_breast", "synthetic")


def candidates_of(source: Path, skip: Iterable[Path]) -> list[Candidate]:
    """The files of ``source``, a folder or a .csv table, each once; the folders ``skip`` are not looked into.

    Raises TramtrackError where there is nothing, or where a table is not one.
    """
    is_table = source.is_file() and source.suffix.lower() == ".csv"
    return _from_table(source) if is_table else _from_folder(source, skip)


def _from_folder(source: Path, skip: Iterable[Path]) -> list[Candidate]:
    if not source.exists():
        raise TramtrackError(f"{source}: expected a folder of exams or a CSV table, found nothing there")
    if source.is_file():
        raise TramtrackError(f"{source}: expected a folder of exams or a .csv table that names woman, exam, side, view, file")
    visited = {_identity(folder) for folder in skip if folder.exists()} - {_identity(source)}
    files = sorted(str(path) for path in _walk(source, visited))
    if not files:
        raise TramtrackError(f"{source}: expected DICOM files, found an empty folder")
    return [Candidate(file) for file in files]


def _walk(top: Path, visited: set[tuple[int, int]]) -> Iterator[Path]:
    """Everything below a folder that is no folder, hidden ones too; links are followed, each real folder once, so a loop of
    links ends. A folder below that cannot be read stands for what lies in it."""
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            if folder.is_dir():
                if _identity(folder) not in visited:
                    visited.add(_identity(folder))
                    entries = sorted(folder.iterdir(), key=lambda entry: (entry.is_symlink(), entry.name))
                    waiting += reversed(entries)
                continue
        except OSError as error:
            if folder == top:
                raise TramtrackError(f"{folder}: cannot be read ({error.strerror}); nothing was ingested") from error
        yield folder


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _from_table(source: Path) -> list[Candidate]:
    columns, rows = read_table(source, f"a table with the columns {', '.join(TABLE_COLUMNS)}")
    missing = [column for column in TABLE_COLUMNS if column not in columns]
    if missing:
        near = [
            difflib.get_close_matches(column, [name for name in columns if name not in TABLE_COLUMNS], n=1)
            for column in missing
        ]
        hints = ", ".join(
            f"{column} (is it {found[0]}?)" if found else column for column, found in zip(missing, near, strict=True)
        )
        raise TramtrackError(f"{source}: expected the columns {', '.join(TABLE_COLUMNS)}; missing: {hints}")
    candidates = []
    for line, row in rows:
        side, view = row["side"].upper(), row["view"].upper()
        if side not in set(Side) or view not in set(Position) or not row["woman"] or not row["file"]:
            raise TramtrackError(
                f"{source}, line {line}: expected a woman, side L or R, view CC or MLO and a file; "
                f"received woman {row['woman']!r}, side {row['side']!r}, view {row['view']!r}, file {row['file']!r}"
            )
        candidates.append(
            Candidate(
                file=os.path.normpath(source.parent / row["file"]),
                woman=row["woman"],
                exam=row["exam"] or "exam",
                side=side,
                view=view,
                spacing_mm=_number(row.get("spacing_mm"), source, line, "spacing_mm"),
                age_years=_whole(_number(row.get("age_years"), source, line, "age_years")),
                absent_breast=_side_or_none(row.get("absent_breast", ""), source, line),
                synthetic=_yes(row.get("synthetic", ""), source, line),
            )
        )
    twice = [file for file, count in Counter(candidate.file for candidate in candidates).items() if count > 1]
    if twice:
        raise TramtrackError(f"{source}: each file may stand in one row; {Path(twice[0]).name} stands in several")
    if not candidates:
        raise TramtrackError(f"{source}: expected at least one row, found none")
    return candidates


def _number(text: Any, source: Path, line: int, column: str) -> float | None:
    if text is None or not str(text).strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1000:
        raise TramtrackError(f"{source}, line {line}: expected a positive number in {column}, received {text!r}")
    return value


def _side_or_none(text: str, source: Path, line: int) -> str:
    if text.upper() not in ("", *Side):
        raise TramtrackError(f"{source}, line {line}: expected L, R or nothing in absent_breast, received {text!r}")
    return text.upper()


def _yes(text: str, source: Path, line: int) -> bool:
    if text.lower() not in ("", "no", "yes"):
        raise TramtrackError(f"{source}, line {line}: expected yes, no or nothing in synthetic, received {text!r}")
    return text.lower() == "yes"


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
