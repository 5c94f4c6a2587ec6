"""What the heat maps cost in accuracy against a segmentation, as the report shows it; read from results/segmentation.csv and
burden_cost.csv."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from tramtrack import store
from tramtrack.evaluation.scores import with_interval
from tramtrack.report.burden import is_shown, source_title
from tramtrack.report.cells import number, signed
from tramtrack.report.reading import Material, known

MEASURES = {"absolute_error": "mean error of the area", "rho": "rho with the true area"}


@dataclass(frozen=True)
class Cost:
    """One heat map against the segmentation: its title and tag, what is compared, both values, the difference, the verdict."""

    title: str
    tag: str
    what: str
    heat_map: str
    segmentation: str
    difference: str
    verdict: str


@dataclass(frozen=True)
class Segmented:
    """Dice and average precision "0.61 (0.50 to 0.71)" on the evaluated fold's views with BAC, or none; what it was trained on;
    and what the maps cost. ``sealed``: the fold's views were not segmented."""

    dice: str
    average_precision: str
    chance: str
    views: int
    women: int
    sealed: bool
    trained: str
    costs: list[Cost]


def segmented(material: Material) -> Segmented | None:
    """What the segmentation gives, or None where there is none."""
    results, run = material.folder / "results", material.folder / "segmentation" / "run.json"
    if not run.exists() or not (results / "segmentation.csv").exists():
        return None
    information = store.read_json(run)["information"]
    table = pd.read_csv(results / "segmentation.csv")
    own = table[table["fold"] == material.fold].set_index("measure")
    return Segmented(
        dice=_between(own, "dice"),
        average_precision=_between(own, "average_precision"),
        chance="" if own.empty else f"{own.loc['average_precision', 'chance']:.3f}",
        views=0 if own.empty else int(own["views"].iloc[0]),
        women=0 if own.empty else int(own["women"].iloc[0]),
        sealed=own.empty,
        trained=f"{information['training_views']} training views, {information['training_views_with_bac']} of them with BAC",
        costs=[_cost(material, row) for row in _costs(material)],
    )


def _costs(material: Material) -> list[dict[Any, Any]]:
    """The rows of burden_cost.csv on the evaluated fold, of runs that this report shows."""
    path = material.folder / "results" / "burden_cost.csv"
    if not path.exists():
        return []
    table = pd.read_csv(path)
    table = table[(table["fold"] == material.fold) & table["source"].map(lambda source: is_shown(material, source))]
    return table.assign(reason=table["reason"].fillna("").astype(str)).to_dict("records")


def _cost(material: Material, row: dict[Any, Any]) -> Cost:
    title, tag = source_title(material, str(row["source"]))
    is_rho = row["measure"] == "rho"
    places = 2 if is_rho else 1
    unit = "" if is_rho else " mm²" if row["unit"] == "mm" else " pixels"
    both = [f"{number(row[name], places)}{unit}" if known(row[name]) else "" for name in ("heat_map", "segmentation")]
    difference, low, high = (signed(row[name], places) for name in ("difference", "low", "high"))
    difference += f" ({low} to {high})" if low else ""
    worse = (row["difference"] > 0) != is_rho
    verdict = f"the heat map is {'less' if worse else 'more'} accurate" if row["separated"] else "cannot be separated"
    return Cost(
        title, tag, f"{MEASURES[row['measure']]}, by {row['of']}", both[0], both[1], difference,
        f"cannot be told: {row['reason']}" if row["reason"] else verdict,
    )  # fmt: skip


def _between(own: pd.DataFrame, measure: str) -> str:
    if own.empty:
        return ""
    row = own.loc[measure]
    return with_interval(row["low"], row["estimate"], row["high"], 3)
