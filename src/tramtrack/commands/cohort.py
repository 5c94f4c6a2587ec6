"""The verbs from a folder of exams to prepared views: ``tramtrack ingest``, ``audit``, ``split`` and ``prepare``."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tramtrack.commands.opening import open_study
from tramtrack.commands.options import AsJson, Processes, ProtocolName, Repeats, StudyFolder
from tramtrack.console import print_json, say, table


def ingest(
    source: Annotated[Path, typer.Argument(help="Exams: a folder, or a CSV with woman, exam, side, view, file.")],
    study: Annotated[Path, typer.Option("--study", help="The study's folder; it is made where there is none.")],
    labels: Annotated[
        Path | None, typer.Option("--labels", help="A CSV: woman, bac and, where known, exam, side, view.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", help="The file with the key of the pseudonyms, or none to keep PatientIDs. [default: your own key]"
        ),
    ] = None,
    adjudication: Annotated[
        Path | None, typer.Option("--adjudication", help="cohort/disagreements.csv with bac_adjudicated filled in.")
    ] = None,
    findings: Annotated[
        Path | None,
        typer.Option("--findings", help="A CSV of views with burden_mm2, length_mm or distractor_<kind>."),
    ] = None,
    protocol: ProtocolName = None,
    processes: Processes = 2,
    as_json: AsJson = False,
) -> None:
    """Find the mammographic views; every other file becomes an exclusion with its reason. The input is never modified."""
    cohort = open_study(study, protocol).ingest(source, labels, processes, key, adjudication, findings)
    if as_json:
        counts = {"views": len(cohort.views), "exams": cohort.exams, "women": cohort.women}
        unmatched = cohort.unmatched.to_dict("records")
        print_json({**counts, "exclusions": cohort.exclusions.by_reason(), "unmatched": unmatched})
        return
    say(repr(cohort))
    say(_named_by(key, cohort))
    table(
        [{"excluded because": reason, "files": str(count)} for reason, count in cohort.exclusions.by_reason().items()],
        f"Excluded files, each with its reason in {study / 'cohort' / 'exclusions.csv'}",
    )
    for kind, group in cohort.unmatched.groupby("kind"):
        say(f"{len(group)} {kind}: {', '.join(group['what'].head(3))}{' ...' if len(group) > 3 else ''}")


def _named_by(key: str | None, cohort: Any) -> str:
    """Whose names stand in the study's files."""
    from tramtrack.cohort.privacy import PLAIN, own_key_file

    if key is None and cohort.synthetic and (cohort.views["synthetic"] == "yes").all():
        return "synthetic women keep their names"
    if not cohort.views["woman"].str.fullmatch(r"W-[0-9a-f]{12}").any():
        return f"women keep the names of their files (--key {PLAIN}): handle this folder like patients' records"
    return f"women go by keyed hashes; whoever has the key can tell whose they are: {key or own_key_file()}"


def audit(study: StudyFolder, processes: Processes = 2, as_json: AsJson = False) -> None:
    """Write cohort/audit.html and audit.json: where every file went, what the views are, and what still identifies somebody."""
    from tramtrack.cohort.audit_page import write_audit

    page = write_audit(study, processes)
    found = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    if as_json:
        print_json(found)
        return
    for problem in found["problems"]:
        say(f"does not add up: {problem}")
    counts = found["identifying"].items()
    table([{"attribute": name, "files": str(count)} for name, count in counts], "What still identifies somebody")
    say(f"the audit is {page}")


def split(study: StudyFolder, protocol: ProtocolName = None, repeats: Repeats = None, as_json: AsJson = False) -> None:
    """Deal the women to training, validation and test; fails where anything would leak."""
    folds = open_study(study, protocol, repeats=repeats).split()
    counts = folds.groupby("fold")["bac_woman"].agg(["size", "sum"]).reset_index()
    rows = [{"fold": r["fold"], "women": int(r["size"]), "with BAC": int(r["sum"])} for r in counts.to_dict("records")]
    if as_json:
        print_json(rows)
        return
    table([{name: str(value) for name, value in row.items()} for row in rows], "Women in each fold")
    say_warnings(study)


def say_warnings(study: Path) -> None:
    """How many warnings of each kind the split wrote down, with the first of each."""
    path = study / "cohort" / "warnings.csv"
    found: dict[str, list[str]] = {}
    if path.exists():
        with path.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                found.setdefault(row["kind"], []).append(row["what"])
    for kind, what in found.items():
        say(f"warning: {kind}: {what[0]}{f' and {len(what) - 1} more in {path}' if len(what) > 1 else ''}")


def prepare(study: StudyFolder, protocol: ProtocolName = None, processes: Processes = 2) -> None:
    """Crop, orient and scale every view to the protocol's size."""
    geometry = open_study(study, protocol).prepare(processes)
    say(f"{len(geometry)} views prepared in {study / 'prepared'}")
