"""Rows for the tables that set networks, or readers, side by side, taken from files and made readable."""

from __future__ import annotations

from typing import Any

import pandas as pd

from tramtrack.evaluation.claims import TARGET
from tramtrack.judgement.contest import COSTS
from tramtrack.report.cells import number, p_value, percent, signed, whole
from tramtrack.report.reading import Material, known, title

SHOWN_AT_MOST = 500
"""Claims that the report lists; twenty networks have fewer. All of them stand in claims.csv."""


def claim_rows(material: Material, target: str = TARGET) -> list[dict[str, str]]:
    """The claims about ``target`` in claims.csv, readable, at most SHOWN_AT_MOST: sentence, pair, numbers, verdict."""
    table = material.results.claims
    order = table["verdict"].isin(("supported", "equivalent within the margin", "unresolved"))
    if len(table) > SHOWN_AT_MOST:  # those that say something first
        table = pd.concat((table[order], table[~order]))
    return [
        {
            "sentence": str(row["sentence"]),
            "pair": _pair(row),
            "difference": signed(row["difference"]),
            "interval": f"{signed(row['low'])} to {signed(row['high'])}" if known(row["low"]) else "",
            "p": p_value(row["p_holm"]),
            "verdict": str(row["verdict"]),
        }
        for row in table[table["target"] == target].head(SHOWN_AT_MOST).to_dict("records")
    ]


def not_separated(material: Material) -> list[list[str]]:
    """Groups of at least two networks within which no pair is separated, by title."""
    return [[title(name) for name in group] for group in material.summary["groups"] if len(group) > 1]


def left_out(material: Material) -> list[dict[str, str]]:
    """The networks that could not take part: title, and the reason with the way to get them."""
    return [{"title": title(name), "reason": str(reason)} for name, reason in material.summary["left_out"].items()]


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
            "kappa": _kappa(row),
        }
        for row in rows
    ]


def _kappa(row: dict[Any, Any]) -> str:
    if not known(row["kappa"]):
        return f"Undefined: {row['reason']}"
    interval = f"{number(row['low'], 2)} to {number(row['high'], 2)}" if known(row["low"]) else row["reason"]
    return f"{number(row['kappa'], 2)} ({interval})"


def _pair(row: dict[Any, Any]) -> str:
    """ "A minus B", "A above B" where that is supported, or the one network that stands in no ranking."""
    a, b = title(str(row["network_a"])), row["network_b"]
    if pd.isna(b) or not b:
        return a
    return f"{a} {'above' if row['verdict'] == 'supported' else 'minus'} {title(str(b))}"
