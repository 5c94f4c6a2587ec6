"""What readers made of the heat maps without knowing whose they were, as the report shows it; read from results/blind*.csv."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from tramtrack import store
from tramtrack.evaluation.scores import with_interval
from tramtrack.report.reading import Material, known, title

NUMBERS = (
    "yes", "partly", "no", "estimate", "low", "high", "share", "share_low", "share_high", "strength", "agreement", "kappa",
)  # fmt: skip


@dataclass(frozen=True)
class Localised:
    """One network: ``shares`` of yes, partly and no, "0.61 (0.40 to 0.78)" as their mean, and how many ratings."""

    title: str
    shares: list[str]
    value: str
    ratings: int


@dataclass(frozen=True)
class Finer:
    """One network: its share of wins and its strength, each with an interval, or why there is none."""

    title: str
    share: str
    strength: str
    judged: int


@dataclass(frozen=True)
class Agreed:
    """Two readers on one question: kappa over the items that both ``rated``, with its interval, or why there is none."""

    readers: str
    question: str
    rated: int
    agreement: str
    kappa: str


@dataclass(frozen=True)
class Blind:
    """The tables, whether the judgements carry a ranking, what can be said, and what it rests on."""

    localised: list[Localised]
    finer: list[Finer]
    agreed: list[Agreed]
    groups: list[list[str]]
    sentences: list[str]
    readers: list[str]
    views: int
    women: int
    fold: str
    kappa: str


def blind(material: Material) -> Blind | None:
    """What was rated, or None where nothing was, or where it was of runs that this report does not show."""
    folder = material.folder / "results"
    if not (folder / "blind.json").exists():
        return None
    information = store.read_json(folder / "blind.json")["information"]
    shown = store.read_json(folder / "summary.json")["runs"]
    if any(shown.get(name) != weights for name, weights in information["weights"].items()):
        return None
    localises, ranking, agreement = (
        pd.read_csv(folder / f"blind_{name}.csv", keep_default_na=False, na_values={column: [""] for column in NUMBERS})
        for name in ("localises", "ranking", "agreement")
    )
    return Blind(
        localised=[_localised(row) for row in localises.to_dict("records") if row["ratings"]],
        finer=[_finer(row) for row in ranking.to_dict("records")],
        agreed=[_agreed(row) for row in agreement.to_dict("records")],
        groups=[[title(name) for name in group] for group in information["groups"]],
        sentences=[_readable(sentence, list(information["networks"])) for sentence in information["sentences"]],
        readers=information["readers"],
        views=information["views"],
        women=information["women"],
        fold=information["fold"],
        kappa=information["kappa"],
    )


def _localised(row: dict[Any, Any]) -> Localised:
    shares = [f"{100 * row[rating]:.0f} %" for rating in ("yes", "partly", "no")]
    return Localised(title(str(row["network"])), shares, _span(row, "estimate", "low", "high"), int(row["ratings"]))


def _finer(row: dict[Any, Any]) -> Finer:
    strength = _span(row, "strength", "low", "high") if known(row["low"]) else str(row["reason"])
    share = _span(row, "share", "share_low", "share_high") if known(row["share"]) else ""
    return Finer(title(str(row["network"])), share, strength, int(row["judged"]))


def _agreed(row: dict[Any, Any]) -> Agreed:
    kappa = f"{row['kappa']:.2f}" if known(row["kappa"]) else ""
    kappa = _span(row, "kappa", "low", "high") if known(row["low"]) else "; ".join(filter(None, (kappa, str(row["reason"]))))
    agreement = f"{100 * row['agreement']:.0f} %" if known(row["agreement"]) else ""
    readers = f"{row['reader_a']} and {row['reader_b']}"
    return Agreed(readers, str(row["question"]), int(row["items"]), agreement, kappa)


def _span(row: dict[Any, Any], value: str, low: str, high: str) -> str:
    return with_interval(row[low], row[value], row[high])


def _readable(sentence: str, names: list[str]) -> str:
    """The sentence with the networks' titles; where it speaks of any it begins "<one> against <other>: " or "<one>: "."""
    start, colon, rest = sentence.partition(": ")
    parts = start.split(" against ")
    return " against ".join(map(title, parts)) + colon + rest if all(part in names for part in parts) else sentence
