"""Rows for the section on why a network won, taken from factors.csv and scores.csv and made readable."""

from __future__ import annotations

from typing import Any

from tramtrack.judgement.scoring import RUN_COLUMNS
from tramtrack.report.cells import cell, known, p_value, signed
from tramtrack.report.reading import Material, title


def within_rows(material: Material) -> list[dict[str, str]]:
    """What each setting does to each network: network, setting, difference with its simultaneous interval, p, verdict."""
    table = material.tables["factors"]
    rows = []
    for row in table[table["kind"] == "within"].to_dict("records"):
        over = int(row["averaged_over"])
        rows.append(
            {
                "title": title(str(row["network_a"])),
                "setting": str(row["setting"]) + (f", mean over {over} combinations of the other factors" if over > 1 else ""),
                "difference": _span(row, "difference", "simultaneous_"),
                "p": p_value(row["p_holm"]) or "–",
                "verdict": _why(row),
            }
        )
    return rows


def gap_rows(material: Material) -> list[dict[str, str]]:
    """The gap of each pair under each setting: pair, setting, gap, change, the share that is left, verdict."""
    table = material.tables["factors"]
    return [
        {
            "pair": f"{title(str(row['network_a']))} minus {title(str(row['network_b']))}",
            "setting": str(row["setting"]),
            "gap": _span(row, "difference", "simultaneous_"),
            "change": _span(row, "change", "change_"),
            "share": f"{_percent(row['share'])} ({_percent(row['share_low'])} to {_percent(row['share_high'])})"
            if known(row["share"])
            else "–",
            "verdict": _why(row),
            "sentence": str(row["sentence"]),
        }
        for row in table[table["kind"] == "between"].to_dict("records")
    ]


def variant_rows(material: Material) -> list[dict[str, Any]]:
    """Every variant's scores by woman on the evaluated fold: title, variant, seed, control, a cell for each metric."""
    table = material.variant_scores
    chosen = table[(table["fold"] == material.fold) & (table["unit"] == "woman")]
    rows = []
    for keys, group in chosen.groupby(RUN_COLUMNS, sort=False):
        run = dict(zip(RUN_COLUMNS, keys, strict=True))
        cells = {str(row["metric"]): cell(row) for row in group.to_dict("records")}
        rows.append({"title": title(str(run["network"])), "variant": run["variant"], "seed": run["seed"], "cells": cells})
    return rows


def _span(row: dict[Any, Any], name: str, bounds: str) -> str:
    if not known(row[name]):
        return "–"
    return f"{signed(row[name])} ({signed(row[f'{bounds}low'])} to {signed(row[f'{bounds}high'])})"


def _percent(share: float) -> str:
    return signed(100 * share, 0) + "\u00a0%"


def _why(row: dict[Any, Any]) -> str:
    verdict = "" if isinstance(row["verdict"], float) else str(row["verdict"])
    return f"{verdict}: {row['reason']}" if isinstance(row["reason"], str) and row["reason"] else verdict
