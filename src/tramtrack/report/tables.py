"""Rows for the report's tables, taken from the study's files and made readable; nothing is computed anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from tramtrack import store
from tramtrack.network.registry import IMAGENET
from tramtrack.protocol import Protocol
from tramtrack.report.reading import Material, known, title
from tramtrack.results import RUN_COLUMNS
from tramtrack.training.record import PRETRAINED, RANDOM_WEIGHTS, Run, RunKey

METRICS = {"auc_roc": "AUC-ROC", "f1": "F1", "sensitivity": "Sensitivity", "specificity": "Specificity"}
ORIGINS = {
    "paper": "stated in the study's abstract or quoted methods",
    "inferred": "worked out from the study's counts",
    "unverified": "ascribed to the study by others",
    "ours": "chosen by us: the study's methods are not known, or this protocol departs from them",
}
UNITS = ("woman", "breast", "view")


@dataclass(frozen=True)
class Cell:
    """A score as it is read: estimate and bounds with two decimals, and as numbers for the drawing; or why there is none."""

    text: str
    low: str = ""
    high: str = ""
    numbers: tuple[float, float, float] | None = None
    reason: str = ""


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
        cells = {str(row["metric"]): _cell(row) for row in group.to_dict("records")}
        random = run["weights"] != PRETRAINED
        key = RunKey(str(run["network"]), str(run["variant"]), int(run["seed"]))
        control = RANDOM_WEIGHTS if random else ""
        row = ScoreRow(title(key.network), key.seed, control, unusual.get(key, ""), cells)
        (controls if random else rows).append(row)
    first = chosen.iloc[0]
    return ScoreTable(fold, unit, int(first["n"]), int(first["positives"]), int(first["women"]), rows, controls)


def label_table(material: Material) -> dict[str, str]:
    """The name and the hash of the label table as it was read at the intake; empty where that was not written down."""
    path = material.folder / "cohort" / "labels.json"
    if not path.exists():
        return {}
    kept = store.read_json(path)
    return {"file": str(kept["information"]["file"]), "sha256": str(kept["identity"]["sha256"])}


def unusual_weights(run: Run) -> str:
    """What a pretrained run's weights saw besides plain ImageNet, or that this is not stated; empty for the plain ones."""
    trained_on = str(run.information.get("weights_trained_on") or "not stated")
    if run.weights != PRETRAINED or trained_on == IMAGENET:
        return ""
    return trained_on.removeprefix(IMAGENET).removeprefix("; ") if trained_on != "not stated" else "training data not stated"


def interval_methods(material: Material) -> list[str]:
    """The names of all interval methods behind the scores."""
    return sorted({str(method) for method in material.results.scores["method"].dropna() if method})


def left_out(material: Material) -> list[dict[str, str]]:
    """The networks that could not take part: title, and the reason with the way to get them."""
    return [{"title": title(name), "reason": str(reason)} for name, reason in material.summary["left_out"].items()]


def reader_rows(material: Material) -> list[dict[str, str]]:
    """How well the readers of the label table agree, from readers.csv; empty where there was one reader."""
    path = material.folder / "cohort" / "readers.csv"
    rows = pd.read_csv(path, keep_default_na=False, na_values=[""]).to_dict("records") if path.exists() else []
    return [
        {
            "unit": str(row["unit"]),
            "measure": str(row["measure"]),
            "readers": str(row["readers"]),
            "items": str(row["items"]),
            "agreement": percent(row["agreement"]) if known(row["agreement"]) else "–",
            "kappa": (
                f"{number(row['kappa'], 2)} ({number(row['low'], 2)} to {number(row['high'], 2)})"
                if known(row["kappa"])
                else f"Undefined: {row['reason']}"
            ),
        }
        for row in rows
    ]


def not_separated(material: Material) -> list[list[str]]:
    """Groups of at least two networks within which no pair is separated, by title."""
    return [[title(name) for name in group] for group in material.summary["groups"] if len(group) > 1]


def claim_rows(material: Material) -> list[dict[str, str]]:
    """claims.csv, readable: sentence, pair, difference, interval, p, verdict."""
    return [
        {
            "sentence": str(row["sentence"]),
            "pair": _pair(row),
            "difference": signed(row["difference"]),
            "interval": f"{signed(row['low'])} to {signed(row['high'])}" if known(row["low"]) else "",
            "p": p_value(row["p_holm"]),
            "verdict": str(row["verdict"]),
        }
        for row in material.results.claims.to_dict("records")
    ]


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


def resource_rows(material: Material) -> list[dict[str, str]]:
    """resources.csv, readable."""
    rows = []
    for row in material.resources.to_dict("records"):
        rows.append(
            {
                "title": title(str(row["network"])),
                "seed": str(row["seed"]),
                "control": "" if row["weights"] == PRETRAINED else RANDOM_WEIGHTS,
                "depth": whole(row["depth"]),
                "weight_layers": whole(row["weight_layers"]),
                "parameters": whole(row["parameters"]),
                "trained_in_base": whole(row["trained_in_base"]),
                "head": whole(row["head"]),
                "multiply_adds": number(row["multiply_adds"] / 1e9, 2),
                "uncached": number(row["seconds_an_epoch_uncached"], 1),
                "cached": number(row["seconds_an_epoch_cached"], 1),
                "milliseconds": number(row["milliseconds_a_view"], 1),
                "memory": whole(row["peak_memory_mb"]),
                "epochs": f"{whole(row['epochs'])} ({whole(row['best_epoch'])})",
                "dtype": str(row["dtype"]),
            }
        )
    return rows


def protocol_rows(protocol: Protocol) -> list[dict[str, str]]:
    """Every setting with its value, unit, whose choice it is, and meaning.

    A setting that differs from the preset mobini-2024 is ours, whoever stated the preset's value; ``preset`` then holds it.
    """
    preset = {(row["section"], row["key"]): row["value"] for row in Protocol.load("mobini-2024").settings()}
    rows = []
    for row in protocol.settings():
        original = preset[row["section"], row["key"]]
        changed = row["value"] != original
        rows.append({**row, "origin": "ours" if changed else row["origin"], "preset": original if changed else ""})
    return rows


def origin_counts(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """How many settings are the paper's, inferred, unverified and ours, with what each word means."""
    return [
        {"origin": origin, "meaning": meaning, "count": sum(row["origin"] == origin for row in rows)}
        for origin, meaning in ORIGINS.items()
    ]


def weight_rows(material: Material) -> list[dict[str, str]]:
    """One row a network: where its weights came from, their hash and licence, and what they were trained on."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for run in material.runs:
        random = run.weights != PRETRAINED
        rows[run.key.network, run.weights] = {
            "title": title(run.key.network),
            "control": RANDOM_WEIGHTS if random else "",
            "source": RANDOM_WEIGHTS if random else str(run.identity.get("weights_source") or "not stated"),
            "sha256": "" if random else str(run.identity.get("weights_sha256") or ""),
            "licence": "" if random else str(run.information.get("weights_licence") or "not stated"),
            "trained_on": "" if random else str(run.information.get("weights_trained_on") or "not stated"),
        }
    return list(rows.values())


def machine_rows(material: Material) -> list[dict[str, str]]:
    """The machines and versions that the runs were made with; each distinct set once, with the runs that share it."""
    shared: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for run in material.runs:
        facts = {**run.information.get("machine", {}), **run.information.get("versions", {}), "dtype": run.identity["dtype"]}
        key = tuple((str(name), str(value)) for name, value in facts.items())
        shared.setdefault(key, []).append(f"{title(run.key.network)} (seed {run.key.seed})")
    together = {next(iter(shared)): ["All runs"]} if len(shared) == 1 else shared
    return [{"runs": ", ".join(runs), "facts": "; ".join(f"{k} {v}" for k, v in key)} for key, runs in together.items()]


def look_rows(material: Material) -> list[dict[str, str]]:
    """The log of looks at the test fold, oldest first."""
    rows = []
    for number_, entry in enumerate(material.looks, start=1):
        runs = entry["look"]["runs"]
        named = [
            f"{title(run['network'])} (seed {run['seed']}{'' if run['weights'] == PRETRAINED else ', random weights'})"
            for run in runs
        ]
        rows.append(
            {
                "number": str(number_),
                "time": str(entry["time"]).replace("T", " ").replace("+00:00", " UTC"),
                "runs": ", ".join(named),
                "protocol": str(entry["look"]["protocol"])[:12],
            }
        )
    return rows


def number(value: Any, decimals: int) -> str:
    """A number with a fixed count of decimals and commas between thousands; an en dash where there is none."""
    return f"{float(value):,.{decimals}f}" if known(value) else "–"


def whole(value: Any) -> str:
    """A whole number with commas between thousands; an en dash where there is none."""
    return number(value, 0)


def signed(value: Any) -> str:
    """A difference with three decimals and a real minus sign; empty where there is none."""
    return f"{float(value):.3f}".replace("-", "−") if known(value) else ""


def p_value(value: Any) -> str:
    """A p with three decimals, never 0.000; empty where there is none."""
    if not known(value):
        return ""
    return "< 0.001" if float(value) < 0.001 else f"{float(value):.3f}"


def percent(value: float | None) -> str:
    """A share in [0, 1] as a percentage with one decimal."""
    return "–" if value is None else f"{100 * value:.1f}\u00a0%"


def _pair(row: dict[Any, Any]) -> str:
    """ "A minus B", "A above B" where that is supported, or the one network that stands in no ranking."""
    a, b = title(str(row["network_a"])), row["network_b"]
    if pd.isna(b) or not b:
        return a
    return f"{a} {'above' if row['verdict'] == 'supported' else 'minus'} {title(str(b))}"


def _cell(row: dict[Any, Any]) -> Cell:
    if not known(row["estimate"]):
        return Cell("Undefined", reason="" if pd.isna(row["reason"]) else str(row["reason"]))
    numbers = (float(row["low"]), float(row["estimate"]), float(row["high"]))
    low, estimate, high = (f"{value:.2f}" for value in numbers)
    return Cell(estimate, low, high, numbers)
