"""How well the heat maps lie on the masks, as the report shows it; read from results/localisation*.csv."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from tramtrack import store
from tramtrack.explain.localisation import MEASURES
from tramtrack.explain.measure import BASELINES, RANDOM
from tramtrack.explain.ranking import MATCHED, NATIVE
from tramtrack.report.reading import Material, title
from tramtrack.training.record import RANDOM_WEIGHTS

HEADINGS = {
    "average_precision": "Average precision",
    "pointing_game": "Pointing game",
    "energy": "Energy in the boxes",
    "mass": "Relevance mass",
    "rank": "Relevance rank",
}
KINDS = {NATIVE: "Native maps", MATCHED: "At equal stride"}


@dataclass(frozen=True)
class Row:
    """One map: its title, a tag (baseline, random weights), stride, a cell "0.31 (0.25 to 0.38)" a measure, its empty maps."""

    title: str
    tag: str
    stride: str
    cells: list[str]
    empty: int


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
    """What was measured, or None where no test view has a mask."""
    folder = material.folder / "results"
    if not (folder / "localisation.json").exists():
        return None
    information = store.read_json(folder / "localisation.json")["information"]
    scores = pd.read_csv(folder / "localisation.csv")
    order = [information["primary"], *[measure for measure in MEASURES if measure != information["primary"]]]
    tables = []
    for kind, heading in KINDS.items():
        part = scores[scores["kind"] == kind]
        if len(part):
            names = part[part["measure"] == order[0]].sort_values("estimate", ascending=False, kind="stable")["map"]
            tables.append((heading, [_row(part[part["map"] == name], order, information, kind) for name in names]))
    return Localisation(
        headings=[HEADINGS[measure] for measure in order],
        tables=tables,
        views=information["views"],
        women=information["women"],
        tolerance=information["tolerance"],
        chance=f"{scores['chance'].mean():.3f}",
        sentences=[_readable(sentence) for sentence in information["sentences"]],
    )


def _row(rows: pd.DataFrame, order: list[str], information: dict[str, Any], kind: str) -> Row:
    by_measure = rows.set_index("measure")
    cells = [
        f"{row['estimate']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
        for row in (by_measure.loc[measure].to_dict() for measure in order)
    ]
    name = str(rows["map"].iloc[0])
    strides = information["strides"]
    is_beside = name in information.get("beside", [])
    native = 1 if is_beside else strides.get(name, 0)
    stride = "" if name in BASELINES else str(native if kind == NATIVE else max(strides.values()))
    tag = "baseline" if name in BASELINES else RANDOM_WEIGHTS if name.endswith(RANDOM) else ""
    if is_beside:
        tag = "trained on masks"
    shown = name if name in BASELINES or is_beside else title(name.removesuffix(RANDOM))
    return Row(shown, tag, stride, cells, round(by_measure["empty"].max()))


def _readable(sentence: str) -> str:
    """The sentence with the networks' titles; it begins "<one> against <other>, "."""
    pair, rest = sentence.split(", ", 1)
    one, other = pair.split(" against ")
    return f"{title(one)} against {title(other)}, {rest}"
