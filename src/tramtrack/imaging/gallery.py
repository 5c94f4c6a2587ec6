"""All views of a cohort, prepared in worker processes unless the intake has done so already; goes on where it stopped."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from tramtrack import store
from tramtrack.engine import Engine, Job, Place, Task
from tramtrack.engine import Failure as JobFailure
from tramtrack.errors import TramtrackError
from tramtrack.imaging import ahead
from tramtrack.imaging.geometry import Geometry
from tramtrack.imaging.prepare import png_bytes, prepare_file
from tramtrack.progress import track
from tramtrack.protocol import Prepare
from tramtrack.workers import Failure, run_each

SECONDS = 120.0
"""How long one view may take."""
PREPARED = "prepared"
"""The folder of prepared views in a study's."""
AHEAD = "ahead"
"""The folder, among the prepared views, of what the intake has prepared already; it is gone once all views are prepared."""
SHARD = 32
"""Views that a task of an engine prepares; what a kill loses at most."""


@dataclass(frozen=True)
class _Task:
    view_id: str
    file: str
    sha256: str
    spacing_mm: float | None
    folder: str
    settings: Prepare


def prepare_views(
    views: Sequence[Mapping[str, Any]],
    folder: Path,
    settings: Prepare,
    identity: Mapping[str, Any],
    processes: int = 2,
    engine: Engine | None = None,
) -> pd.DataFrame:
    """Prepare ``views`` (each with view_id, file, sha256, spacing_mm) into ``folder`` as 16-bit PNG files.

    They are prepared in ``processes`` of this machine, or in shards on an ``engine``; what an intake under the same settings
    left in ``folder``/ahead is taken over as it is. Returns geometry.csv: view_id, the
    fields of Geometry, sha256 of the prepared file, and the steps applied. Raises TramtrackError naming the files that could
    not be prepared, after all others are done.
    """
    manifest = folder / "manifest.json"
    advice = "use another study folder for another protocol, or remove this folder to prepare anew"
    if not store.require_same_identity(manifest, identity, advice):
        store.write_manifest(manifest, identity, {"views": len(views)})
    journal = store.Journal(folder / "prepared.jsonl")
    wanted = {str(view["view_id"]) for view in views}
    done = {entry["view_id"]: entry for entry in journal.entries() if (folder / f"{entry['view_id']}.png").exists()}
    rows = {view_id: entry for view_id, entry in done.items() if view_id in wanted}
    todo = [_task(view, folder, settings) for view in views if view["view_id"] not in rows]
    failures = []
    with journal.appending() as append:
        for task, result in track(_results(todo, processes, engine), "Preparing views", len(views), len(rows)):
            if isinstance(result, Failure):
                failures.append(f"{task.file}: {result.detail}")
                continue
            rows[task.view_id] = result
            append(result)
    if failures:
        raise TramtrackError(
            f"{len(failures)} of {len(views)} views could not be prepared, the others are kept; first: {failures[0]}; "
            "if a file has changed since it was ingested, ingest again"
        )
    columns = ["view_id", *(field.name for field in fields(Geometry)), "sha256", "steps"]
    table = pd.DataFrame([rows[str(view["view_id"])] for view in views], columns=columns)
    store.write_csv(folder / "geometry.csv", table)
    shutil.rmtree(folder / AHEAD, ignore_errors=True)
    return table


def load_geometry(folder: Path) -> dict[str, Geometry]:
    """The Geometry of each prepared view, by view_id."""
    table = pd.read_csv(folder / "geometry.csv", dtype={"view_id": str})
    found = {}
    for row in table.to_dict("records"):
        values = {field.name: row[field.name] for field in fields(Geometry)}
        values["flipped"] = bool(values["flipped"])
        values["spacing_mm"] = _spacing(values["spacing_mm"])
        found[str(row["view_id"])] = Geometry(**values)
    return found


def _task(view: Mapping[str, Any], folder: Path, settings: Prepare) -> _Task:
    view_id, file, sha256 = str(view["view_id"]), str(view["file"]), str(view["sha256"])
    return _Task(view_id, file, sha256, _spacing(view["spacing_mm"]), str(folder.absolute()), settings)


def _results(todo: Sequence[_Task], processes: int, engine: Engine | None) -> Iterator[tuple[_Task, dict[str, Any] | Failure]]:
    """Each view with its row: first those that the intake has prepared, then the others, decoded for it."""
    others = []
    for task in todo:
        folder = Path(task.folder)
        row = ahead.take(folder / AHEAD, task.sha256, task.settings, task.spacing_mm, folder / f"{task.view_id}.png")
        if row is None:
            others.append(task)
        else:
            yield task, {"view_id": task.view_id, **row}
    yield from _on_engine(others, engine) if engine else run_each(_prepare_one, others, processes=processes, seconds=SECONDS)


def _on_engine(todo: Sequence[_Task], engine: Engine) -> Iterator[tuple[_Task, dict[str, Any] | Failure]]:
    """Each view with its row, or why it has none, as the shards end."""
    shards = [todo[start : start + SHARD] for start in range(0, len(todo), SHARD)]
    jobs = [Job(f"views from {shard[0].view_id}", shard, [[Task("views", _prepare_shard)]]) for shard in shards]
    for job, outcome in engine.run(jobs):
        if isinstance(outcome, JobFailure):
            yield from ((task, Failure("error", str(outcome.error))) for task in job.shared)
        else:
            yield from outcome[0]


def _prepare_shard(place: Place, shard: Sequence[_Task]) -> list[tuple[_Task, dict[str, Any] | Failure]]:
    return list(run_each(_prepare_one, shard, processes=place.threads or 1, seconds=SECONDS))


def _prepare_one(task: _Task) -> dict[str, Any]:
    if store.file_sha256(Path(task.file)) != task.sha256:
        raise TramtrackError("its content is no longer what was ingested; ingest again")
    prepared = prepare_file(Path(task.file), task.settings, task.spacing_mm)
    content = png_bytes(prepared.pixels)
    store.write_bytes(Path(task.folder) / f"{task.view_id}.png", content)
    return {"view_id": task.view_id, **ahead.row_of(prepared, content)}


def _spacing(value: Any) -> float | None:
    return None if value is None or value == "" or math.isnan(float(value)) else float(value)
