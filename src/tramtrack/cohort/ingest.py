"""From a folder of exams, or a table of files, to views and exclusions: every file seen is one or the other.

The input is never modified. What was learnt of each file is written down as soon as it is known, so an interrupted intake
goes on where it stopped, and a second one reads only files that are new or changed.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from tramtrack import store
from tramtrack.cohort.exam import Reason, View
from tramtrack.cohort.inspect import Candidate, as_exclusion, inspect_file
from tramtrack.cohort.privacy import NO_SECRET, Secret, pseudonym
from tramtrack.cohort.settle import Intake, exam_table, settle
from tramtrack.cohort.sources import candidates_of
from tramtrack.cohort.split import require_unsplit
from tramtrack.errors import TramtrackError
from tramtrack.progress import track
from tramtrack.protocol import Intake as Settings
from tramtrack.protocol import Prepare
from tramtrack.workers import Crew, Failure, run_each

SECONDS_A_FILE = 60.0
BYTES_A_WORKER = 2 << 30
FAILURES = {"time": Reason.TIME_LIMIT, "memory": Reason.MEMORY_LIMIT, "died": Reason.WORKER_DIED, "error": Reason.UNREADABLE}
INSPECTION = 7
"""Raised whenever the same file would be seen with other eyes: what was learnt before is then read anew."""
MACHINE_REASONS = (
    Reason.NO_DECODER,
    Reason.UNREADABLE,
    Reason.TIME_LIMIT,
    Reason.MEMORY_LIMIT,
    Reason.WORKER_DIED,
)
"""Reasons that may lie in the machine and not in the file: a second intake looks again."""


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
    found = candidates_of(source, [folder, *([skip] if skip else [])])
    raw, computed = settings.for_processing, settings.synthesised
    kept = str(ahead.absolute()) if ahead else ""
    candidates = [
        replace(candidate, for_processing=raw, synthesised=computed, secret=secret, prepare=prepare, ahead=kept)
        for candidate in found
    ]
    journal = store.Journal(folder / "seen.jsonl")
    known = {entry["candidate"]: entry for entry in _own_entries(journal, secret)}
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


def _key(candidate: Candidate) -> str:
    """What a file was looked at as; the key's name stands for the key, and pseudonyms for the names that a table gives.

    How it is prepared is no part of it: under another protocol, what was learnt still holds.
    """
    told = asdict(replace(candidate, prepare=None, ahead="", secret=NO_SECRET))
    told["secret"] = _told(candidate.secret)
    if candidate.secret.key and candidate.from_table:
        told["woman"] = pseudonym(candidate.secret.key, "W", candidate.woman)
        told["exam"] = pseudonym(candidate.secret.key, "E", candidate.exam)
    return json.dumps([INSPECTION, *told.values()])


def _told(secret: Secret) -> list[Any]:
    return [secret.name, secret.spares_synthetic]


def _own_entries(journal: store.Journal, secret: Secret) -> list[dict[str, Any]]:
    """What ``seen.jsonl`` holds that this intake can use. What one that did not end wrote under another key, or under plain
    names, is taken out of it: beside the pseudonyms of the same files it would undo them."""
    place = 1 + list(Candidate.__dataclass_fields__).index("secret")
    entries = journal.entries()
    keys = (json.loads(entry["candidate"]) for entry in entries)
    own = [entry for key, entry in zip(keys, entries, strict=True) if key[0] == INSPECTION and key[place] == _told(secret)]
    if len(own) < len(entries):
        journal.rewrite(own)
    return own


def _stamp(file: str) -> list[int]:
    try:
        status = Path(file).stat()
    except OSError:
        return [0, 0]
    return [status.st_size, status.st_mtime_ns]
