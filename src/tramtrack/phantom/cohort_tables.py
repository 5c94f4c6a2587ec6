"""The tables of a synthetic cohort, from its women's records: a woman at a time, so that memory does not grow with them."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tramtrack.phantom.woman_files import WomanTask, record_path
from tramtrack.store import read_json

LABEL_COLUMNS = ["woman", "exam", "side", "view", "bac", "mask"]
WOMAN_FIELDS = (
    "age", "density", "station", "burden", "draw", "bac_woman", "calcium_woman", "calcified_vessels", "csbi", "area_band",
    "calcium_mg", "implant",
)  # fmt: skip


@dataclass(frozen=True)
class CohortSummary:
    """What ``write_cohort`` left on disk. ``made``: women written by this call; the others were there already."""

    folder: Path
    women: int
    positive_women: int
    views: int
    positive_views: int
    below_visibility_views: int
    made: int

    def __str__(self) -> str:
        return (
            f"{self.women} synthetic women, {self.positive_women} with BAC; {self.views} views, {self.positive_views} with "
            f"visible BAC and {self.below_visibility_views} with calcium below visibility"
        )


def write_tables(out: Path, tasks: list[WomanTask], made: int) -> CohortSummary:
    """Write the tables from the women's records, a woman at a time, in the order of the women."""
    counts = {"positive_women": 0, "views": 0, "positive_views": 0, "below_visibility_views": 0}

    def rows() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        for task in tasks:
            record = read_json(record_path(task))
            yield {"woman": task.woman, **{name: record[name] for name in WOMAN_FIELDS}}, record

    def views() -> Iterator[dict[str, Any]]:
        for woman, record in rows():
            for view in record["views"]:
                first = {name: view[name] for name in ("woman", "exam", "side", "view")}
                plain = {name: value for name, value in view.items() if not isinstance(value, list) and name != "file"}
                yield {**first, **{k: v for k, v in woman.items() if k != "woman"}, **plain}

    _stream_csv(out / "labels.csv", ({name: view[name] for name in LABEL_COLUMNS} for view in views()))
    _stream_csv(out / "women.csv", (woman for woman, _ in rows()))

    def counted() -> Iterator[dict[str, Any]]:
        for view in views():
            counts["views"] += 1
            counts["positive_views"] += view["bac"]
            counts["below_visibility_views"] += view["calcium"] == "below-visibility"
            yield {name: value for name, value in view.items() if name != "mask"}

    _stream_csv(out / "truth.csv", counted())
    if tasks and tasks[0].format == "png":
        _stream_csv(out / "views.csv", _file_rows(rows()))
    counts["positive_women"] = sum(woman["bac_woman"] for woman, _ in rows())
    return CohortSummary(folder=out, women=len(tasks), made=made, **counts)


def _file_rows(rows: Iterable[tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """The table that ``ingest`` reads in place of headers; files relative to it."""
    for woman, record in rows:
        for view in record["views"]:
            named = {name: view[name] for name in ("woman", "exam", "side", "view", "file", "spacing_mm")}
            yield {**named, "age_years": woman["age"], "synthetic": "yes"}


def _stream_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows of equal keys as CSV, one at a time, to a temporary name that is renamed at the end."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = None
            for row in rows:
                if writer is None:
                    writer = csv.DictWriter(stream, list(row), lineterminator="\n")
                    writer.writeheader()
                writer.writerow(row)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
