"""Rows for the tables that speak of one run at a time, taken from results/ and made readable; nothing is computed anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from tramtrack.judgement.scoring import RUN_COLUMNS
from tramtrack.protocol import Protocol
from tramtrack.report.cells import Cell, cell, number, signed, whole
from tramtrack.report.provenance_tables import unusual_weights
from tramtrack.report.reading import Material, known, title
from tramtrack.training.record import PRETRAINED, RANDOM_WEIGHTS, RunKey

METRICS = {"auc_roc": "AUC-ROC", "f1": "F1", "sensitivity": "Sensitivity", "specificity": "Specificity"}
MORE_METRICS = {
    "partial_auc": "Partial AUC",
    "average_precision": "Average precision",
    "ppv": "PPV",
    "npv": "NPV",
    "brier": "Brier score",
}
RULES = {
    "f1": "best F1",
    "youden": "best Youden index",
    "sensitivity": "best specificity at a sensitivity of at least {:g}",
    "specificity": "best sensitivity at a specificity of at least {:g}",
}
UNITS = ("woman", "breast", "view")


@dataclass(frozen=True)
class ScoreRow:
    """One run: name, seed, "" or "random weights", what is unusual about its weights, a cell for each metric."""

    title: str
    seed: int
    control: str
    weights: str
    cells: dict[str, Cell]


@dataclass(frozen=True)
class ScoreTable:
    """The scores of one fold and unit; ``controls`` have random weights and stand apart, unranked."""

    fold: str
    unit: str
    n: int
    positives: int
    women: int
    rows: list[ScoreRow]
    controls: list[ScoreRow]

    @property
    def plural(self) -> str:
        """The unit, for more than one of it."""
        return "women" if self.unit == "woman" else f"{self.unit}s"


def score_table(material: Material, fold: str, unit: str) -> ScoreTable | None:
    """The comparison table of one fold and unit in the study's form, networks in the study's order; None without scores."""
    table = material.results.scores
    chosen = table[(table["fold"] == fold) & (table["unit"] == unit)]
    if chosen.empty:
        return None
    rows: list[ScoreRow] = []
    controls: list[ScoreRow] = []
    unusual = {run.key: unusual_weights(run) for run in material.runs}
    for keys, group in chosen.groupby(RUN_COLUMNS, sort=False):
        run = dict(zip(RUN_COLUMNS, keys, strict=True))
        cells = {str(row["metric"]): cell(row) for row in group.to_dict("records")}
        random = run["weights"] != PRETRAINED
        key = RunKey(str(run["network"]), str(run["variant"]), int(run["seed"]))
        control = RANDOM_WEIGHTS if random else ""
        row = ScoreRow(title(key.network), key.seed, control, unusual.get(key, ""), cells)
        (controls if random else rows).append(row)
    first = chosen.iloc[0]
    return ScoreTable(fold, unit, int(first["n"]), int(first["positives"]), int(first["women"]), rows, controls)


def interval_methods(material: Material) -> list[str]:
    """The names of all interval methods behind the scores."""
    return sorted({str(method) for method in material.results.scores["method"].dropna() if method})


def operating_rows(material: Material) -> list[dict[str, Any]]:
    """One row a run: the threshold of each unit, chosen on validation, or why there is none."""
    rows = []
    for keys, group in material.operating_points.groupby(RUN_COLUMNS, sort=False):
        run = dict(zip(RUN_COLUMNS, keys, strict=True))
        cells = {
            str(row["unit"]): number(row["threshold"], 3) if known(row["threshold"]) else f"undefined: {row['reason']}"
            for row in group.to_dict("records")
        }
        control = "" if run["weights"] == PRETRAINED else RANDOM_WEIGHTS
        rows.append({"title": title(str(run["network"])), "seed": run["seed"], "control": control, "cells": cells})
    return rows


def rule_text(protocol: Protocol, rule: str | None = None) -> str:
    """A threshold rule, the protocol's if none is named, in words."""
    return RULES[rule or protocol.evaluation.threshold].format(protocol.evaluation.threshold_rate)


def rule_rows(material: Material) -> list[dict[str, Any]]:
    """The evaluated fold by woman at the threshold of each rule: run, rule, threshold, a cell for each metric of calls."""
    table = material.tables["rules"]
    chosen = table[(table["fold"] == material.fold) & (table["unit"] == "woman")]
    rows = []
    for keys, group in chosen.groupby([*RUN_COLUMNS, "rule"], sort=False):
        run = dict(zip((*RUN_COLUMNS, "rule"), keys, strict=True))
        rows.append(
            {
                **_who(run),
                "rule": rule_text(material.protocol, str(run["rule"])),
                "threshold": number(group["threshold"].iloc[0], 3),
                "cells": {str(row["metric"]): cell(row) for row in group.to_dict("records")},
            }
        )
    return rows


def predictive_rows(material: Material) -> list[dict[str, Any]]:
    """PPV and NPV of women at the stated prevalence: run, a cell for each."""
    table = material.tables["predictive_values"]
    rows = []
    for keys, group in table[table["fold"] == material.fold].groupby(RUN_COLUMNS, sort=False):
        cells = {str(row["metric"]): cell(row) for row in group.to_dict("records")}
        rows.append({**_who(dict(zip(RUN_COLUMNS, keys, strict=True))), "cells": cells})
    return rows


def calibration_rows(material: Material) -> list[dict[str, Any]]:
    """Calibration by woman on the evaluated fold: run, intercept and slope with intervals, or why there are none."""
    table = material.tables["calibration"]
    chosen = table[(table["fold"] == material.fold) & (table["unit"] == "woman")]
    rows = []
    for row in chosen.to_dict("records"):
        cells = {}
        for name in ("intercept", "slope"):
            text = {key: signed(row[f"{name}{key}"], 2) for key in ("", "_low", "_high")}
            numbers = (0.0, 0.0, 0.0) if text[""] else None
            reason = "" if numbers else str(row["reason"])
            cells[name] = Cell(text[""] or "Undefined", text["_low"], text["_high"], numbers, reason)
        fitted = [signed(row[f"recalibration_{name}"], 2) for name in ("intercept", "slope")]
        rows.append({**_who({str(key): value for key, value in row.items()}), "cells": cells, "fitted": " and ".join(fitted)})
    return rows


def aggregation_rows(material: Material) -> list[dict[str, Any]]:
    """How each aggregation did on validation: name, mean AUC-ROC by woman or why none, whether it was chosen and by what."""
    rows = []
    for row in material.tables["aggregation"].to_dict("records"):
        chosen_by = "" if pd.isna(row["chosen_by"]) else str(row["chosen_by"])
        auc = number(row["auc_roc"], 3) if known(row["auc_roc"]) else f"undefined: {row['reason']}"
        rows.append({"name": row["aggregation"], "auc": auc, "chosen_by": chosen_by})
    return rows


def subgroup_rows(material: Material) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(Columns, rows): a column a run or baseline, a row a subgroup with its size and a cell for each column.

    A baseline has no seed; where it is of fewer women than the networks, its column says of how many.
    """
    table = material.tables["subgroups"]
    columns, rows = [], []
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    for keys, group in table.astype({"variant": object}).fillna({"variant": ""}).groupby(RUN_COLUMNS, sort=False):
        run = dict(zip(RUN_COLUMNS, keys, strict=True))
        name = "/".join(map(str, keys))
        control = RANDOM_WEIGHTS if run["weights"] == RANDOM_WEIGHTS else ""
        seed = run["seed"] if run["weights"] in (PRETRAINED, RANDOM_WEIGHTS) else ""
        for row in group.to_dict("records"):
            size = f"{row['positives']} of {row['n']}"
            place = cells.setdefault((str(row["factor"]), str(row["group"])), {"size": size})
            place[name] = cell(row)
            if size != place["size"]:  # women of unknown age have no score by age
                control = f"{size} women"
        columns.append({"key": name, "title": title(str(run["network"])), "seed": seed, "control": control})
    for (factor, group), found in cells.items():
        label = "All women" if factor == "all" else group
        rows.append({"factor": "" if factor == "all" else factor, "group": label, "size": found.pop("size"), "cells": found})
    return columns, rows


def false_alarm_rows(material: Material) -> tuple[list[str], list[dict[str, Any]]]:
    """(Kinds, rows): a row a run, and a cell for each distractor: the share of such views without BAC called positive."""
    table = material.tables["false_alarms"]
    kinds = [str(kind) for kind in table["distractor"].drop_duplicates()]
    rows = []
    for keys, group in table.groupby(RUN_COLUMNS, sort=False):
        cells = {str(row["distractor"]): cell(row) for row in group.to_dict("records")}
        counts = {str(row["distractor"]): whole(row["n"]) for row in group.to_dict("records")}
        rows.append({**_who(dict(zip(RUN_COLUMNS, keys, strict=True))), "cells": cells, "counts": counts})
    return kinds, rows


def _who(run: dict[str, Any]) -> dict[str, Any]:
    """Title, seed and control of a run, as the page's name macro takes them."""
    control = "" if run["weights"] == PRETRAINED else RANDOM_WEIGHTS
    return {"title": title(str(run["network"])), "seed": run["seed"], "control": control}
