"""Whether the heat maps can be trusted, as the report shows it; read from results/trust.csv."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from tramtrack import store
from tramtrack.evaluation.scores import with_interval
from tramtrack.network.registry import file_stem
from tramtrack.report.reading import Material, title

MEANINGS = {
    "repeatability": "the maps of two seeds",
    "flip": "a view's map and its mirror image's, mirrored back",
    "removal": "the share of calcification left, and the {stage} beyond that of the same filling elsewhere",
    "insertion": "the share of an artery's mineral put in, and the {stage}",
    "permuted labels": "the same network trained on permuted labels",
    "randomisation": "the same network with random weights",
}


@dataclass(frozen=True)
class Row:
    """One test: the map's title, what is compared, the correlation "0.31 (0.10 to 0.52)", the limit in words, the verdict."""

    title: str
    test: str
    meaning: str
    stage: str
    value: str
    limit: str
    verdict: str


@dataclass(frozen=True)
class Trust:
    """The tests that have a limit, the stages on the way of a randomisation, and how many failed or stay unresolved."""

    judged: list[Row]
    stages: list[Row]
    failed: int
    unresolved: int
    views: int
    women: int


def trust(material: Material) -> Trust | None:
    """What was tested, or None where nothing was."""
    path = material.folder / "results" / "trust.csv"
    if not path.exists():
        return None
    tested = pd.read_csv(path).to_dict("records")
    rows = [row for row in tested if row["test"] in MEANINGS and _is_of_these_runs(material, str(row["map"]))]
    if not rows:
        return None
    judged = [_row(row) for row in rows if row["verdict"] != "information"]
    stages = [_row(row) for row in rows if row["test"] == "randomisation"]
    failed, unresolved = (sum(row.verdict == verdict for row in judged) for verdict in ("fail", "unresolved"))
    views, women = (max(int(row[name]) for row in rows) for name in ("views", "women"))
    return Trust(judged, stages, failed, unresolved, views, women)


def _is_of_these_runs(material: Material, name: str) -> bool:
    """Whether the maps that were tested are of runs that this report shows."""
    kept = material.folder / "results" / "trust" / f"{file_stem(name.replace('/', '-'))}.json"
    tested = (store.read_identity(kept) or {}).get("weights", [])
    shown = set(store.read_json(material.folder / "results" / "summary.json")["runs"].values())
    return bool(tested) and tested[0] in shown


def _row(row: dict[Any, Any]) -> Row:
    limit = f"at {row['bound']} {row['limit']:g}" if row["verdict"] != "information" else ""
    return Row(
        title=title(str(row["map"])),
        test=str(row["test"]),
        meaning=MEANINGS[str(row["test"])].format(stage=row["stage"]),
        stage=str(row["stage"]),
        value=with_interval(row["low"], row["estimate"], row["high"]),
        limit=limit,
        verdict=str(row["verdict"]),
    )
