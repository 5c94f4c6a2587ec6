"""What a report is made of: everything that it reads from a study's folder, read once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tramtrack import sealing, store
from tramtrack.cohort.cohort import Cohort
from tramtrack.errors import TramtrackError
from tramtrack.judgement.contest import readable
from tramtrack.judgement.results import Results, load_results
from tramtrack.judgement.scoring import COLUMNS, RUN_COLUMNS
from tramtrack.protocol import Protocol
from tramtrack.training.record import PRETRAINED, Run, RunKey, load_run

CONTEST_TABLES = (
    "aggregation",
    "standings",
    "mcnemar",
    "cost_correlations",
    "cost_front",
    "subgroups",
    "false_alarms",
    "factors",
)


@dataclass(frozen=True)
class Material:
    """One evaluated study, as its files tell it.

    ``analysed`` holds the views of each woman's analysed exam with the column ``fold``; ``folds`` is folds.csv; ``fold`` is
    the fold that the evaluation speaks of, test once it is unsealed and validation before. ``heatmaps`` is
    heatmaps/views.csv without the maps of runs that are not in this evaluation, empty where none were made; ``files_seen``
    is what the intake counted; ``tables`` are the tables of results/ by their names;
    ``variant_scores`` are the scores of every variant; all else speaks of the protocol's own variant of each network.
    ``drawings`` fills with the figures as they are drawn.
    """

    folder: Path
    protocol: Protocol
    cohort: Cohort
    analysed: pd.DataFrame
    folds: pd.DataFrame
    results: Results
    summary: dict[str, Any]
    runs: tuple[Run, ...]
    resources: pd.DataFrame
    roc: pd.DataFrame
    operating_points: pd.DataFrame
    heatmaps: pd.DataFrame
    looks: tuple[dict[str, Any], ...]
    files_seen: int
    tables: dict[str, pd.DataFrame]
    variant_scores: pd.DataFrame
    drawings: dict[str, Figure] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The study's name: that of its folder."""
        return self.folder.resolve().name

    @property
    def fold(self) -> str:
        """The fold that the evaluation speaks of."""
        return str(self.summary["fold"])

    @property
    def synthetic(self) -> bool:
        """Whether any view is synthetic, by the cohort or by the evaluation."""
        return self.cohort.synthetic or bool(self.summary["synthetic"])

    def score(self, run: dict[str, Any], metric: str, unit: str = "woman", fold: str | None = None) -> dict[str, Any] | None:
        """One row of scores.csv for a run given by RUN_COLUMNS, or None."""
        table = self.results.scores
        chosen = (table["metric"] == metric) & (table["unit"] == unit) & (table["fold"] == (fold or self.fold))
        for column in RUN_COLUMNS:
            chosen &= table[column] == run[column]
        rows = table[chosen].to_dict("records")
        return {str(key): value for key, value in rows[0].items()} if rows else None


def read_material(folder: Path, protocol: Protocol, cohort: Cohort, analysed: pd.DataFrame, folds: pd.DataFrame) -> Material:
    """Read an evaluated study. Raises TramtrackError where nothing is evaluated yet."""
    results = load_results(folder / "results")
    if results is None:
        raise TramtrackError(f"{folder}: nothing is evaluated yet, so there is nothing to report; run `tramtrack run {folder}`")
    summary = store.read_json(folder / "results" / "summary.json")
    beside = set(summary.get("beside", []))
    every, results = results.scores, replace(results, scores=_own(results.scores, beside))
    keys = results.scores[["network", "variant", "seed"]].drop_duplicates().itertuples(index=False)
    runs = [load_run(RunKey(str(n), str(v), int(s)).folder(folder / "runs")) for n, v, s in keys]
    manifest = store.read_json(folder / "cohort" / "manifest.json")
    return Material(
        folder=folder,
        protocol=protocol,
        cohort=cohort,
        analysed=analysed.merge(folds[["woman", "fold"]], on="woman", how="left", validate="many_to_one"),
        folds=folds,
        results=results,
        summary=summary,
        runs=tuple(run for run in runs if run is not None),
        resources=_own(_table(folder, "resources"), beside),
        roc=_own(_table(folder, "roc"), beside),
        operating_points=_own(_table(folder, "operating_points"), beside),
        heatmaps=_shown_maps(folder / "heatmaps", set(summary["runs"].values())),
        looks=tuple(sealing.looks(folder / "results" / "unsealed.jsonl")),
        files_seen=int(manifest["information"]["files"]),
        tables={
            name: _own(_table(folder, name), beside)
            for name in (*COLUMNS, *CONTEST_TABLES, *_made(folder, "localisation_views"))
        },
        variant_scores=every,
    )


def _shown_maps(folder: Path, evaluated: set[str]) -> pd.DataFrame:
    """views.csv of the heat maps in ``folder``: the rows of maps that are of ``evaluated`` weights (SHA-256)."""
    if not (folder / "views.csv").exists():
        return pd.DataFrame(columns=["view_id", "network"])
    table = pd.read_csv(folder / "views.csv", dtype={"view_id": str})
    keys = [RunKey(str(n), str(v), int(s)) for n, v, s in zip(table["network"], table["variant"], table["seed"], strict=True)]
    made = {key: (store.read_identity(key.folder(folder) / "manifest.json") or {}).get("weights") for key in set(keys)}
    return table[[made[key] in evaluated for key in keys]].reset_index(drop=True)


def title(network: str) -> str:
    """A network's name as it is read, its variant in brackets; one that the registry does not know keeps its own."""
    return readable(network)


def run_title(run: dict[str, Any], several_seeds: bool = False) -> str:
    """A run's name in a figure: network, seed where there are several, and random weights wherever they are."""
    seed = f", seed {run['seed']}" if several_seeds else ""
    return title(str(run["network"])) + seed + ("" if run["weights"] == PRETRAINED else ", random weights")


def known(value: Any) -> bool:
    """Whether a cell of a table holds a number."""
    return value is not None and not pd.isna(value) and math.isfinite(float(value))


def _own(table: pd.DataFrame, beside: set[str]) -> pd.DataFrame:
    """A table without the rows of the runs (network/variant/seed-k) that stand beside the comparison."""
    if not beside or not {"network", "variant", "seed"} <= set(table):
        return table
    keys = zip(table["network"], table["variant"], table["seed"], strict=True)
    kept = [pd.isna(v) or RunKey(str(n), str(v), int(s)).folder(Path()).as_posix() not in beside for n, v, s in keys]
    return table.loc[np.array(kept, dtype=bool)].reset_index(drop=True)


def _made(folder: Path, name: str) -> tuple[str, ...]:
    """The table's name, if it was made: not every study has masks."""
    return (name,) if (folder / "results" / f"{name}.csv").exists() else ()


def _table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / "results" / f"{name}.csv", keep_default_na=False, na_values=[""])  # a vendor may be called NA
