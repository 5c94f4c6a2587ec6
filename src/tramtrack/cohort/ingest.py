"""From a folder of exams, or a table of files, to views and exclusions: every file seen is one or the other.

The input is never modified. What was learnt of each file is written down as soon as it is known, so an interrupted intake
goes on where it stopped, and a second one reads only files that are new or changed.
"""

from __future__ import annotations

import difflib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from tramtrack import store
from tramtrack.cohort.exam import Exam, Exclusion, Position, Reason, Side, View
from tramtrack.cohort.inspect import Candidate, as_exclusion, exclusion_from, inspect_file, view_from
from tramtrack.cohort.split import require_unsplit
from tramtrack.cohort.table import read_table
from tramtrack.errors import TramtrackError
from tramtrack.progress import track
from tramtrack.workers import Failure, run_each

TABLE_COLUMNS = ("woman", "exam", "side", "view", "file")
OPTIONAL_TABLE_COLUMNS = ("spacing_mm", "age_years")
SECONDS_A_FILE = 60.0
FAILURES = {"time": Reason.TIME_LIMIT, "memory": Reason.MEMORY_LIMIT, "died": Reason.WORKER_DIED, "error": Reason.UNREADABLE}
MACHINE_REASONS = (
    Reason.NO_DECODER,
    Reason.UNREADABLE,
    Reason.TIME_LIMIT,
    Reason.MEMORY_LIMIT,
    Reason.WORKER_DIED,
)
"""Reasons that may lie in the machine and not in the file: a second intake looks again."""


@dataclass(frozen=True)
class Exclusions:
    """The files that are not views; printing it shows the counts by reason."""

    items: tuple[Exclusion, ...]

    def by_reason(self) -> dict[str, int]:
        """How many files were excluded for each reason, the most frequent first."""
        return {str(reason): count for reason, count in Counter(item.reason for item in self.items).most_common()}

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Exclusion]:
        return iter(self.items)

    def __repr__(self) -> str:
        return "Exclusions(" + ", ".join(f"{count} {reason}" for reason, count in self.by_reason().items()) + ")"


@dataclass(frozen=True)
class Intake:
    """What a folder or a table held: views in one fixed order, and exclusions; together they are all files seen."""

    views: tuple[View, ...]
    exclusions: Exclusions
    source: str = field(repr=False, default="")

    def exams(self) -> tuple[Exam, ...]:
        """The views gathered into exams, in order of woman and exam."""
        gathered: dict[tuple[str, str], list[View]] = defaultdict(list)
        for view in self.views:
            gathered[view.woman, view.exam].append(view)
        return tuple(Exam(woman, exam, tuple(views)) for (woman, exam), views in sorted(gathered.items()))


def ingest(source: Path, folder: Path, *, skip: Path | None = None, processes: int = 2) -> Intake:
    """Look at every file of ``source`` (a folder, or a CSV with woman, exam, side, view, file) and write the cohort.

    Writes ``seen.jsonl``, ``views.csv``, ``exclusions.csv`` and ``manifest.json`` into ``folder``. Files are named by
    their absolute paths, so that a study can go on from any working directory. Below ``source``, ``folder`` and ``skip``
    (the study's folder) are not looked into. Raises TramtrackError where the source is empty or the table is not one.
    """
    source = source.absolute()
    is_table = source.is_file() and source.suffix.lower() == ".csv"
    candidates = _from_table(source) if is_table else _from_folder(source, [folder, *([skip] if skip else [])])
    journal = store.Journal(folder / "seen.jsonl")
    known = {entry["candidate"]: entry for entry in journal.entries()}
    stamps = {candidate.file: _stamp(candidate.file) for candidate in candidates}
    outcomes: dict[str, dict[str, Any]] = {}
    todo: list[Candidate] = []
    for candidate in candidates:
        entry = known.get(_key(candidate))
        name = _printable(candidate.file)
        if name != candidate.file:
            outcomes[name] = as_exclusion(name, Reason.UNREADABLE, "its path has characters that no table can carry; rename it")
        elif entry and entry["stamp"] == stamps[candidate.file] and not _worth_another_look(entry["outcome"]):
            outcomes[candidate.file] = entry["outcome"]
        else:
            todo.append(candidate)
    results = run_each(inspect_file, todo, processes=processes, seconds=SECONDS_A_FILE)
    with journal.appending() as append:
        for candidate, result in track(results, "Looking at files", len(candidates), len(outcomes)):
            if isinstance(result, Failure):
                result = as_exclusion(candidate.file, FAILURES[result.kind], result.detail)
            outcomes[candidate.file] = result
            append({"candidate": _key(candidate), "stamp": stamps[candidate.file], "outcome": result})
    intake = _settle(outcomes, str(source))
    _write(intake, folder, files=len(candidates))
    return intake


def _worth_another_look(outcome: dict[str, Any]) -> bool:
    return "exclusion" in outcome and outcome["exclusion"]["reason"] in MACHINE_REASONS


def _printable(file: str) -> str:
    """``file`` as it can stand in a table: bytes that are no UTF-8 and control characters are written as escapes."""
    text = os.fsencode(file).decode("utf-8", "backslashreplace")
    return "".join(sign if ord(sign) >= 32 and ord(sign) != 127 else f"\\x{ord(sign):02x}" for sign in text)


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


def _walk(folder: Path, visited: set[tuple[int, int]]) -> Iterator[Path]:
    """All files below a folder, hidden ones too; links are followed, each real folder once, so a loop of links ends."""
    if _identity(folder) in visited:
        return
    visited.add(_identity(folder))
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: (entry.is_symlink(), entry.name))
    except OSError as error:
        raise TramtrackError(f"{folder}: this folder cannot be read ({error.strerror}); nothing was ingested") from error
    for entry in entries:
        if entry.is_dir():
            yield from _walk(entry, visited)
        elif entry.is_file() or entry.is_symlink():  # a link to nothing is a file that cannot be read
            yield entry


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


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _settle(outcomes: dict[str, dict[str, Any]], source: str) -> Intake:
    """Decide what only the whole cohort can tell: duplicates and repeated views."""
    exclusions = [exclusion_from(outcome["exclusion"]) for outcome in outcomes.values() if "exclusion" in outcome]
    views = [view_from(outcome["view"]) for outcome in outcomes.values() if "view" in outcome]
    kept: dict[tuple[str, ...], View] = {}
    seen: dict[tuple[str, str], View] = {}
    for view in sorted(views, key=lambda view: (view.acquired, view.file)):
        earlier = seen.get((view.woman, view.pixels_sha256))
        if earlier or (view.sop_instance_uid and (view.woman, view.sop_instance_uid) in seen):
            first = earlier or seen[view.woman, view.sop_instance_uid]
            exclusions.append(Exclusion(view.file, Reason.DUPLICATE, f"the same image as {first.file}"))
            continue
        seen[view.woman, view.pixels_sha256] = view
        if view.sop_instance_uid:
            seen[view.woman, view.sop_instance_uid] = view
        place = (view.woman, view.exam, view.side, view.view)
        if place in kept:
            exclusions.append(
                Exclusion(kept[place].file, Reason.REPEATED_VIEW, f"the later image {view.file} of the same view is kept")
            )
        kept[place] = view
    ordered = sorted(kept.values(), key=lambda view: (view.woman, view.exam, view.side, view.view))
    return Intake(_distinct_names(ordered), Exclusions(tuple(sorted(exclusions, key=lambda item: item.file))), source)


def _distinct_names(views: Iterable[View]) -> tuple[View, ...]:
    """Two exams whose names become the same file name would overwrite each other: that is an error, not a surprise."""
    named: dict[str, View] = {}
    for view in views:
        other = named.setdefault(view.view_id.lower(), view)
        if other is not view:
            raise TramtrackError(
                f"{view.file} and {other.file}: women or exams whose names differ only in signs that no file name can "
                f"carry ({view.woman!r}/{view.exam!r}, {other.woman!r}/{other.exam!r}); rename one of them"
            )
    return tuple(replace(view) for view in named.values())


def _write(intake: Intake, folder: Path, files: int) -> None:
    """Write the cohort; a study that is already split, or a source without views, leaves what is there untouched."""
    columns = ["view_id", *View.__dataclass_fields__]
    rows = [{"view_id": view.view_id, **asdict(view)} for view in intake.views]
    table = pd.DataFrame(rows, columns=columns)
    table["age_years"] = table["age_years"].astype("Int64")
    table["synthetic"] = table["synthetic"].map({True: "yes", False: "no"}) if rows else table["synthetic"]
    excluded = pd.DataFrame([asdict(item) for item in intake.exclusions], columns=["file", "reason", "detail"])
    if not rows:
        if not (folder / "views.csv").exists():
            store.write_csv(folder / "exclusions.csv", excluded)
        raise TramtrackError(
            f"{intake.source}: none of {files} files is a mammographic view; {intake.exclusions!r}; first: "
            f"{excluded['file'].iloc[0]}: {excluded['detail'].iloc[0]}"
        )
    require_unsplit(folder, "views.csv", table)
    store.write_csv(folder / "exclusions.csv", excluded)
    store.write_csv(folder / "views.csv", table)
    store.write_manifest(
        folder / "manifest.json",
        {"stage": "ingest"},
        {
            "source": intake.source,
            "files": files,
            "views": len(intake.views),
            "exams": len(intake.exams()),
            "women": len({view.woman for view in intake.views}),
            "exclusions": intake.exclusions.by_reason(),
        },
    )


def _key(candidate: Candidate) -> str:
    return json.dumps(list(asdict(candidate).values()))


def _stamp(file: str) -> list[int]:
    try:
        status = Path(file).stat()
    except OSError:
        return [0, 0]
    return [status.st_size, status.st_mtime_ns]
