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
from tramtrack.cohort.privacy import NO_SECRET, Secret, pseudonym
from tramtrack.cohort.split import require_unsplit
from tramtrack.cohort.table import read_table
from tramtrack.errors import TramtrackError
from tramtrack.progress import track
from tramtrack.protocol import Intake as Settings
from tramtrack.protocol import Prepare
from tramtrack.workers import Crew, Failure, run_each

TABLE_COLUMNS = ("woman", "exam", "side", "view", "file")
OPTIONAL_TABLE_COLUMNS = ("spacing_mm", "age_years", "absent_breast", "synthetic")
SECONDS_A_FILE = 60.0
BYTES_A_WORKER = 2 << 30
FAILURES = {"time": Reason.TIME_LIMIT, "memory": Reason.MEMORY_LIMIT, "died": Reason.WORKER_DIED, "error": Reason.UNREADABLE}
INSPECTION = 4
"""Raised whenever the same file would be seen with other eyes: what was learnt before is then read anew."""
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


def ingest(
    source: Path,
    folder: Path,
    settings: Settings | None = None,
    *,
    skip: Path | None = None,
    processes: int = 2,
    secret: Secret | None = None,
    prepare: Prepare | None = None,
    ahead: Path | None = None,
    crew: Crew | None = None,
) -> Intake:
    """Look at every file of ``source`` (a folder, or a CSV with woman, exam, side, view, file) and write the cohort.

    Writes ``seen.jsonl``, ``views.csv``, ``exams.csv``, ``exclusions.csv`` and ``manifest.json`` into ``folder``; ``settings``
    (a protocol's section intake) says which images take part, ``secret`` makes pseudonyms. With ``prepare`` (its section
    prepare) views are prepared into the folder ``ahead`` in the same pass, for `prepare_views` to take over. Files are named by
    their absolute paths, so that a study can go on from any working directory. Below ``source``, ``folder`` and ``skip``
    (the study's folder) are not looked into. ``crew`` has the workers where they are kept between calls. Raises
    TramtrackError where the source is empty or the table is not one.
    """
    source, settings, secret = source.absolute(), settings or Settings(), secret or NO_SECRET
    is_table = source.is_file() and source.suffix.lower() == ".csv"
    found = _from_table(source) if is_table else _from_folder(source, [folder, *([skip] if skip else [])])
    raw, computed = settings.for_processing, settings.synthesised
    kept = str(ahead.absolute()) if ahead else ""
    candidates = [
        replace(candidate, for_processing=raw, synthesised=computed, secret=secret, prepare=prepare, ahead=kept)
        for candidate in found
    ]
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
    results = run_each(inspect_file, todo, processes=processes, seconds=SECONDS_A_FILE, memory_bytes=BYTES_A_WORKER, crew=crew)
    with journal.appending() as append:
        for candidate, result in track(results, "Looking at files", len(candidates), len(outcomes)):
            if isinstance(result, Failure):
                result = as_exclusion(candidate.file, FAILURES[result.kind], result.detail)
            outcomes[candidate.file] = result
            append({"candidate": _key(candidate), "stamp": stamps[candidate.file], "outcome": result})
    intake = settle(outcomes.values(), settings, str(source))
    _write(intake, folder, settings, files=len(candidates), key=secret.name)
    named = {file: outcome.get("identifying", []) for file, outcome in outcomes.items()}
    rows = [{"file": file, "attributes": "; ".join(words)} for file, words in sorted(named.items()) if words]
    store.write_csv(folder / "identifying.csv", pd.DataFrame(rows, columns=["file", "attributes"]))
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


KINDS = ("presentation", "synthesised", "processing")
"""Of several images of one view, an exposure for reading comes before a computed one, and that before raw data."""


def settle(outcomes: Iterable[dict[str, Any]], settings: Settings, source: str) -> Intake:
    """Decide what only the whole cohort can tell: duplicates, repeated views and exams that are not complete."""
    outcomes = list(outcomes)
    exclusions = [exclusion_from(outcome["exclusion"]) for outcome in outcomes if "exclusion" in outcome]
    found = [view_from(outcome["view"]) for outcome in outcomes if "view" in outcome]
    distinct = _without_copies(sorted(found, key=lambda view: (view.acquired, view.file)), exclusions)
    kept: dict[tuple[str, ...], View] = {}
    for view in distinct:
        place = (view.woman, view.exam, view.side, view.view)
        other = kept.get(place)
        kept[place] = view if other is None else _better(other, view, settings, exclusions)
    ordered = sorted(kept.values(), key=lambda view: (view.woman, view.exam, view.side, view.view))
    intake = Intake(_distinct_names(ordered), Exclusions(()), source)
    if settings.incomplete_exams == "leave-out":
        for exam in intake.exams():
            missing = ", ".join(f"{side} {view}" for side, view in exam.missing)
            exclusions += [
                Exclusion(v.file, Reason.INCOMPLETE_EXAM, f"its exam lacks {missing}") for v in exam.views if missing
            ]
    left_out = {item.file for item in exclusions}
    views = tuple(view for view in intake.views if view.file not in left_out)
    return Intake(views, Exclusions(tuple(sorted(exclusions, key=lambda item: item.file))), source)


def _without_copies(views: Iterable[View], exclusions: list[Exclusion]) -> list[View]:
    """The views without those of a woman whose SOP instance or pixels were seen of her before.

    The same pixels under two women stay: nobody knows whose they are, and the split refuses them.
    """
    kept: list[View] = []
    seen: dict[tuple[str, str], View] = {}
    for view in views:
        instance = seen.get((view.woman, view.sop_instance_uid)) if view.sop_instance_uid else None
        pixels = seen.get((view.woman, view.pixels_sha256))
        if instance:
            other = "" if instance.pixels_sha256 == view.pixels_sha256 else ", with other pixels"
            exclusions.append(Exclusion(view.file, Reason.DUPLICATE, f"the same SOP instance as {instance.file}{other}"))
        elif pixels:
            exclusions.append(Exclusion(view.file, Reason.SAME_PIXELS, f"the same image as {pixels.file}"))
        else:
            seen[view.woman, view.pixels_sha256] = view
            seen[view.woman, view.sop_instance_uid] = view
            kept.append(view)
    return kept


def _better(earlier: View, later: View, settings: Settings, exclusions: list[Exclusion]) -> View:
    """Of two images of one view the one that is kept; the other becomes an exclusion that names it."""
    better, other = (later, earlier) if settings.repeated_view == "last" else (earlier, later)
    which = "later" if better is later else "earlier"
    if earlier.kind != later.kind:
        better, other = sorted((earlier, later), key=lambda view: KINDS.index(view.kind))
        which = "for reading, the" if better.kind == "presentation" else "synthesised"
    exclusions.append(Exclusion(other.file, Reason.REPEATED_VIEW, f"the {which} image {better.file} of the same view is kept"))
    return better


def _distinct_names(views: Iterable[View]) -> tuple[View, ...]:
    """Two exams whose names become the same file name would overwrite each other: that is an error, not a surprise."""
    named: dict[str, View] = {}
    for view in views:
        other = named.setdefault(view.view_id.lower(), view)
        if other is not view:
            raise TramtrackError(
                f"{view.file} and {other.file}: women or exams whose names differ only in signs that no file name can "
                f"carry ({view.woman!r}/{view.exam!r}, {other.woman!r}/{other.exam!r}); "
                "rename one of them, or ingest under a key"
            )
    return tuple(replace(view) for view in named.values())


def _write(intake: Intake, folder: Path, settings: Settings, files: int, key: str) -> None:
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
    store.write_csv(folder / "exams.csv", exam_table(intake.exams(), settings.analysed_exam))
    store.write_manifest(
        folder / "manifest.json",
        {"stage": "ingest", "intake": settings.model_dump(mode="json"), "key": key},
        {
            "source": intake.source,
            "files": files,
            "views": len(intake.views),
            "exams": len(intake.exams()),
            "women": len({view.woman for view in intake.views}),
            "exclusions": intake.exclusions.by_reason(),
        },
    )


def exam_table(exams: Iterable[Exam], analysed: str) -> pd.DataFrame:
    """One row an exam: woman, exam, acquired, views, missing standard views, and whether it is the one analysed of her."""
    rows = [
        {
            "woman": exam.woman,
            "exam": exam.exam,
            "acquired": exam.acquired,
            "views": len(exam.views),
            "missing": ", ".join(f"{side} {view}" for side, view in exam.missing),
        }
        for exam in exams
    ]
    table = pd.DataFrame(rows, columns=["woman", "exam", "acquired", "views", "missing"])
    chosen = analysed_exams(table, analysed)
    table["analysed"] = ["yes" if chosen[row.woman] == row.exam else "no" for row in table.itertuples()]
    return table


def analysed_exams(exams: pd.DataFrame, which: str) -> dict[str, str]:
    """The exam analysed of each woman, the ``first`` or the ``last`` by date and then by name; undated ones come last.

    ``exams`` has the columns woman, exam and acquired, with any number of rows an exam.
    """
    acquired = exams["acquired"].replace("", pd.NA)
    dated = exams.assign(acquired=acquired).groupby(["woman", "exam"], sort=True)["acquired"].min().reset_index()
    dated["undated"] = dated["acquired"].isna()
    ascending = which == "first"
    ordered = dated.sort_values(
        ["woman", "undated", "acquired", "exam"], ascending=[True, True, ascending, ascending], kind="stable"
    )
    return {str(row.woman): str(row.exam) for row in ordered.drop_duplicates("woman").itertuples()}


def _key(candidate: Candidate) -> str:
    """What a file was looked at as; the key's name stands for the key, and pseudonyms for the names that a table gives.

    How it is prepared is no part of it: under another protocol, what was learnt still holds.
    """
    told = asdict(replace(candidate, prepare=None, ahead="", secret=NO_SECRET))
    told["secret"] = [candidate.secret.name, candidate.secret.spares_synthetic]
    if candidate.secret.key and candidate.from_table:
        told["woman"] = pseudonym(candidate.secret.key, "W", candidate.woman)
        told["exam"] = pseudonym(candidate.secret.key, "E", candidate.exam)
    return json.dumps([INSPECTION, *told.values()])


def _stamp(file: str) -> list[int]:
    try:
        status = Path(file).stat()
    except OSError:
        return [0, 0]
    return [status.st_size, status.st_mtime_ns]
