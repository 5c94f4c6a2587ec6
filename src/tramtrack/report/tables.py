"""Rows for the report's tables, taken from the study's files and made readable; nothing is computed anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from tramtrack import store
from tramtrack.judgement.contest import COSTS
from tramtrack.judgement.scoring import RUN_COLUMNS
from tramtrack.network.registry import IMAGENET
from tramtrack.protocol import Protocol
from tramtrack.report.reading import Material, known, title
from tramtrack.training.record import PRETRAINED, RANDOM_WEIGHTS, Run, RunKey

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


def standing_rows(material: Material) -> list[dict[str, str]]:
    """Where each network stands among those compared: mean AUC-ROC by woman, share of resamples on top, both spreads."""
    return [
        {
            "title": title(str(row["contestant"])),
            "value": number(row["value"], 3),
            "best": percent(float(row["best"])) if known(row["best"]) else "–",
            "sampling": number(row["sampling_sd"], 3),
            "between": number(row["seed_sd"], 3),
            "note": "" if pd.isna(row["note"]) else str(row["note"]),
        }
        for row in material.tables["standings"].to_dict("records")
    ]


def cost_rows(material: Material) -> list[dict[str, str]]:
    """Spearman's correlation of each cost with the AUC-ROC by woman, or why there is none."""
    rows = []
    for row in material.tables["cost_correlations"].to_dict("records"):
        defined = known(row["rho"])
        span = f"{signed(row['low'], 2)} to {signed(row['high'], 2)}" if defined else f"undefined: {row['reason']}"
        rho = signed(row["rho"], 2) if defined else "–"
        rows.append({"cost": COSTS[str(row["cost"])], "rho": rho, "span": span, "networks": whole(row["networks"])})
    return rows


def subgroup_rows(material: Material) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(Columns, rows): a column a run or baseline, a row a subgroup with its size and a cell for each column."""
    table = material.tables["subgroups"]
    columns, rows = [], []
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    for keys, group in table.fillna({"variant": ""}).groupby(RUN_COLUMNS, sort=False):
        run = dict(zip(RUN_COLUMNS, keys, strict=True))
        name = "/".join(map(str, keys))
        control = RANDOM_WEIGHTS if run["weights"] == RANDOM_WEIGHTS else ""
        columns.append({"key": name, "title": title(str(run["network"])), "seed": run["seed"], "control": control})
        for row in group.to_dict("records"):
            place = cells.setdefault((str(row["factor"]), str(row["group"])), {"size": f"{row['positives']} of {row['n']}"})
            place[name] = _cell(row)
    for (factor, group), found in cells.items():
        label = "All women" if factor == "all" else group
        rows.append({"factor": "" if factor == "all" else factor, "group": label, "size": found.pop("size"), "cells": found})
    return columns, rows


def mcnemar_rows(material: Material) -> list[dict[str, str]]:
    """mcnemar.csv, readable: the pair, unit and rate, who alone was right, difference, adjusted p, or why there is none."""
    rows = []
    for row in material.tables["mcnemar"].to_dict("records"):
        tested = known(row["p_holm"])
        rows.append(
            {
                "pair": f"{title(str(row['network_a']))} minus {title(str(row['network_b']))}",
                "seed": str(row["seed"]),
                "what": f"{row['rate']} by {row['unit']}",
                "alone": f"{whole(row['only_a'])} and {whole(row['only_b'])} of {whole(row['units'])}" if tested else "–",
                "difference": signed(row["difference"]) or "–",
                "p": p_value(row["p_holm"]) if tested else f"untested: {row['reason']}",
            }
        )
    return rows


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
                "cells": {str(row["metric"]): _cell(row) for row in group.to_dict("records")},
            }
        )
    return rows


def predictive_rows(material: Material) -> list[dict[str, Any]]:
    """PPV and NPV of women at the stated prevalence: run, a cell for each."""
    table = material.tables["predictive_values"]
    rows = []
    for keys, group in table[table["fold"] == material.fold].groupby(RUN_COLUMNS, sort=False):
        cells = {str(row["metric"]): _cell(row) for row in group.to_dict("records")}
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


def _who(run: dict[str, Any]) -> dict[str, Any]:
    """Title, seed and control of a run, as the page's name macro takes them."""
    control = "" if run["weights"] == PRETRAINED else RANDOM_WEIGHTS
    return {"title": title(str(run["network"])), "seed": run["seed"], "control": control}


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


def signed(value: Any, decimals: int = 3) -> str:
    """A difference with a real minus sign, never minus zero; empty where there is none."""
    if not known(value):
        return ""
    text = f"{float(value):.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


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
