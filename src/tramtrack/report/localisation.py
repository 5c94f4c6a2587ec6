"""How well the heat maps lie on the masks, as the report shows it; read from results/localisation*.csv."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from tramtrack import store
from tramtrack.evaluation.scores import with_interval
from tramtrack.explain.localisation import MEASURES
from tramtrack.explain.measure import BASELINES, RANDOM, TRAINED_STRIDE
from tramtrack.explain.ranking import MATCHED, NATIVE, TRAINED
from tramtrack.report.reading import Material, title
from tramtrack.training.record import RANDOM_WEIGHTS

HEADINGS = {
    "average_precision": "Average precision",
    "pointing_game": "Pointing game",
    "energy": "Energy in the boxes",
    "mass": "Relevance mass",
    "rank": "Relevance rank",
}
KINDS = {NATIVE: "Native maps", MATCHED: "At equal stride", TRAINED: "All at stride 16, trained so"}


@dataclass(frozen=True)
class Row:
    """One map: its title, a tag (baseline, random weights), stride, a cell "0.31 (0.25 to 0.38)" a measure, its empty maps, and
    the AUC-ROC by woman of the runs whose map it is."""

    title: str
    tag: str
    stride: str
    cells: list[str]
    empty: int
    auc: str


@dataclass(frozen=True)
class Localisation:
    """The tables by kind, the best first by the primary measure; counts; chance; and what can be said of each pair."""

    headings: list[str]
    tables: list[tuple[str, list[Row]]]
    views: int
    women: int
    tolerance: str
    chance: str
    sentences: list[str]


def localisation(material: Material) -> Localisation | None:
    """What was measured of the runs that this report shows, or None where nothing was: no test view has a mask, or the maps
    were of other runs."""
    folder = material.folder / "results"
    if not (folder / "localisation.json").exists():
        return None
    information = store.read_json(folder / "localisation.json")["information"]
    every = pd.read_csv(folder / "localisation.csv")
    scores = _current(material, every)
    if scores["map"].isin(BASELINES).all():
        return None
    outdated = set(every.drop(scores.index)["map"])
    order = [information["primary"], *[measure for measure in MEASURES if measure != information["primary"]]]
    tables = []
    for kind, heading in KINDS.items():
        part = scores[scores["kind"] == kind]
        if len(part):
            names = part[part["measure"] == order[0]].sort_values("estimate", ascending=False, kind="stable")["map"]
            tables.append((heading, [_row(material, part[part["map"] == name], order, information, kind) for name in names]))
    return Localisation(
        headings=[HEADINGS[measure] for measure in order],
        tables=tables,
        views=information["views"],
        women=information["women"],
        tolerance=information["tolerance"],
        chance=f"{scores['chance'].mean():.3f}",
        sentences=[_readable(sentence) for sentence in information["sentences"] if not outdated & set(_names(sentence))],
    )


def measured_views(material: Material) -> pd.DataFrame:
    """localisation_views.csv without the maps of other runs than this report shows; empty where nothing was measured."""
    table = material.tables.get("localisation_views", pd.DataFrame())
    return table if table.empty else _current(material, table)


def _current(material: Material, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of maps (columns map, kind) whose runs, by their weights, are those evaluated, and of maps of no run at all."""
    measured = store.read_identity(material.folder / "results" / "localisation.json") or {}
    of_no_run, evaluated = {*BASELINES, *measured.get("beside", {})}, set(material.summary["runs"].values())

    def is_current(name: str, kind: str) -> bool:
        weights = measured.get("stride_16" if kind == TRAINED else "weights", {}).get(name, [])
        return name in of_no_run or (bool(weights) and set(weights) <= evaluated)

    return table[[is_current(name, kind) for name, kind in zip(table["map"], table["kind"], strict=True)]]


def _row(material: Material, rows: pd.DataFrame, order: list[str], information: dict[str, Any], kind: str) -> Row:
    by_measure = rows.set_index("measure")
    cells = [
        with_interval(row["low"], row["estimate"], row["high"], 3)
        for row in (by_measure.loc[measure].to_dict() for measure in order)
    ]
    name = str(rows["map"].iloc[0])
    strides = information["strides"]
    is_beside = name in information.get("beside", [])
    native = 1 if is_beside else strides.get(name)
    at = {NATIVE: native, MATCHED: max(strides.values()), TRAINED: TRAINED_STRIDE}[kind]
    stride = "" if name in BASELINES else str(at)
    tag = "baseline" if name in BASELINES else RANDOM_WEIGHTS if name.endswith(RANDOM) else ""
    if is_beside:
        tag = "trained on masks"
    shown = name if name in BASELINES or is_beside else title(name.removesuffix(RANDOM))
    run = information.get("variants", {}).get(kind, {}).get(name)
    return Row(shown, tag, stride, cells, round(by_measure["empty"].max()), _auc(material, *run) if run else "")


def _auc(material: Material, network: str, variant: str) -> str:
    """The AUC-ROC by woman of a variant's run, with its interval; of several seeds the mean."""
    table = material.variant_scores
    chosen = table[(table["metric"] == "auc_roc") & (table["unit"] == "woman") & (table["fold"] == material.fold)]
    rows = chosen[(chosen["network"] == network) & (chosen["variant"] == variant)].dropna(subset=["estimate"])
    if len(rows) == 1:
        row = rows.iloc[0]
        return with_interval(row["low"], row["estimate"], row["high"], 3)
    return f"{rows['estimate'].mean():.3f} (mean of {len(rows)} seeds)" if len(rows) else ""


def _names(sentence: str) -> list[str]:
    """The maps that a sentence is of; it begins "<one> against <other>, " or "<one>: "."""
    pair = sentence.partition(", ")[0]
    return pair.split(" against ") if " against " in pair else [sentence.partition(": ")[0]]


def _readable(sentence: str) -> str:
    """The sentence with the networks' titles."""
    names = _names(sentence)
    return " against ".join(map(title, names)) + sentence.removeprefix(" against ".join(names))
