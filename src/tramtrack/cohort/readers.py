"""Several readers of the same images: what they agree on, the label that follows, and how well they agree beyond chance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

ADJUDICATOR = "adjudicated"
"""The reader whose label settles a disagreement."""
RESAMPLES = 2000
SEED = 7
Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class Reading:
    """What one reader said (1, 0 or None: uncertain or not read) of what ``key`` (woman, exam, side, view) names; ``said`` is
    the cell itself, empty where nothing was said. ``table`` is the table's name where it is not the label table."""

    line: int
    key: Key
    reader: str
    label: int | None
    mask: str
    said: str = ""
    table: str = ""


def consensus(labels: Mapping[str, int | None], rule: str) -> int | None:
    """One label from those of several readers; uncertain readers have no voice, and an adjudicator settles everything.

    ``majority``: what more than half of the others say, a tie is unknown. ``any``: 1 if one reader says so, 0 if somebody
    says 0 and nobody 1. ``adjudicated``: what all agree on; where they differ it stays unknown until it is adjudicated.
    """
    settled = labels.get(ADJUDICATOR)
    voices = [label for reader, label in labels.items() if reader != ADJUDICATOR and label is not None]
    if settled is not None or not voices:
        return settled
    positives = sum(voices)
    if rule == "any":
        return int(positives > 0)
    if rule == "adjudicated":
        return voices[0] if positives in (0, len(voices)) else None
    return None if 2 * positives == len(voices) else int(2 * positives > len(voices))


def gather(readings: Sequence[Reading]) -> dict[Key, dict[str, Reading]]:
    """The readings of each key, by reader, in order of appearance."""
    found: dict[Key, dict[str, Reading]] = defaultdict(dict)
    for reading in readings:
        found[reading.key][reading.reader] = reading
    return dict(found)


def agreed(by_reader: Mapping[str, Reading], rule: str) -> int | None:
    """The `consensus` of readings; an adjudicator who is uncertain leaves it unknown, one who is silent has no say."""
    settled = by_reader.get(ADJUDICATOR)
    if settled and settled.said and settled.label is None:
        return None
    return consensus({reader: reading.label for reader, reading in by_reader.items()}, rule)


def disagreements(readings: Sequence[Reading]) -> pd.DataFrame:
    """One row for what readers see differently, with a column to settle it in, and what was said there before; what another
    table settled stays, though the readers agree by now.

    Columns woman, exam, side, view, one bac_<reader> for each reader, and bac_adjudicated: fill that in, and give the table
    back as a label table's adjudication.
    """
    readers = [name for name in dict.fromkeys(reading.reader for reading in readings) if name != ADJUDICATOR]
    rows = []
    for key, by_reader in gather(readings).items():
        said = {by_reader[name].label for name in readers if name in by_reader} - {None}
        answer = by_reader.get(ADJUDICATOR)
        settled = answer.said if answer else ""
        if len(said) > 1 or (answer and answer.table and settled):
            labels = {name: by_reader[name].label if name in by_reader else None for name in readers}
            said_by = {f"bac_{name}": "" if label is None else str(label) for name, label in labels.items()}
            named = dict(zip(("woman", "exam", "side", "view"), key, strict=True))
            rows.append({**named, **said_by, "bac_adjudicated": settled})
    return pd.DataFrame(
        rows, columns=["woman", "exam", "side", "view", *(f"bac_{name}" for name in readers), "bac_adjudicated"]
    )


def agreement(table: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Cohen's kappa of each pair of readers and Fleiss' of all, with 95 % intervals from resampled women.

    ``table`` has a column woman and one for each reader, Int64, a row for each unit (missing: not known). An item counts
    where all readers compared know it. Returns unit, measure, readers, items, women, agreement (share of equal labels),
    kappa, low, high and reason (why there is no kappa, or no interval). Cohen, Educ Psychol Meas 1960;20:37; Fleiss,
    Psychol Bull 1971;76:378.
    """
    readers = [column for column in table.columns if column != "woman"]
    rows = [_row(table, unit, "Cohen", list(pair)) for pair in combinations(readers, 2)]
    if len(readers) > 2:
        rows.append(_row(table, unit, "Fleiss", readers))
    return pd.DataFrame(rows)


def _row(table: pd.DataFrame, unit: str, measure: str, readers: list[str]) -> dict[str, object]:
    known = table.dropna(subset=readers)
    labels = known[readers].to_numpy(dtype=float)
    names, woman = np.unique(known["woman"].to_numpy(dtype=str), return_inverse=True)
    parts = _parts(labels, measure)
    sums = np.stack([np.bincount(woman, part, minlength=len(names)) for part in parts], axis=1)  # (women, parts)
    row: dict[str, object] = {
        "unit": unit, "measure": measure, "readers": ", ".join(readers), "items": len(known), "women": len(names),
        "agreement": None, "kappa": None, "low": None, "high": None, "reason": "",
    }  # fmt: skip
    if not len(known):
        return {**row, "reason": "no item is known to all of them"}
    whole = sums.sum(axis=0)
    row["agreement"] = float(whole[1] / whole[0])
    kappa = _kappa(whole[None], measure)[0]
    if np.isnan(kappa):
        return {**row, "reason": "all readers give every item the same label"}
    rng = np.random.default_rng(SEED)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES)
    samples = _kappa(drawn @ sums, measure)
    low, high = np.nanpercentile(samples, (2.5, 97.5))
    if high - low < 1e-12:
        women = f"{len(names)} {'woman' if len(names) == 1 else 'women'}"
        return {**row, "kappa": float(kappa), "reason": f"no interval: {women}, whose readers agree alike"}
    return {**row, "kappa": float(kappa), "low": float(min(low, kappa)), "high": float(max(high, kappa))}


def _parts(labels: np.ndarray, measure: str) -> list[np.ndarray]:
    """Per item: 1, the share of agreeing pairs, and what chance is worked out from (positives of each, or of all)."""
    count = labels.shape[1]
    positives = labels.sum(axis=1)
    agreeing = (positives * (positives - 1) + (count - positives) * (count - positives - 1)) / (count * (count - 1))
    chance = [labels[:, 0], labels[:, 1]] if measure == "Cohen" else [positives / count]
    return [np.ones(len(labels)), agreeing, *chance]


def _kappa(sums: np.ndarray, measure: str) -> np.ndarray:
    """Kappa of each row of summed parts, NaN where chance alone gives full agreement."""
    shares = sums[:, 1:] / sums[:, :1]
    first = shares[:, 1]
    second = shares[:, 2] if measure == "Cohen" else first
    chance = first * second + (1 - first) * (1 - second)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(chance > 1 - 1e-12, np.nan, (shares[:, 0] - chance) / (1 - chance))
