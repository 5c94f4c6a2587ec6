"""How well a segmentation outlines the calcifications, and the threshold at which it does so best. Needs no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tramtrack.explain.localisation import average_precision, breast_of
from tramtrack.explain.ranking import mean_by_woman
from tramtrack.imaging.prepare import read_prepared
from tramtrack.progress import track
from tramtrack.protocol import Evaluation
from tramtrack.segmentation.known import Known
from tramtrack.segmentation.maps import Maps

LEVELS = 100
"""Thresholds are multiples of one in so many."""
MEASURES = ("dice", "average_precision")
VIEW_COLUMNS = ["view_id", "woman", "fold", "marked", "called", *MEASURES, "chance"]
COLUMNS = ["fold", "measure", "estimate", "low", "high", "views", "women", "chance", "threshold"]


def choose_threshold(maps: Maps, known: Known) -> tuple[float, float]:
    """The threshold in 0.01, ..., 0.99 of the highest Dice over all pixels of all ``known`` views together, and that Dice.

    A pixel is called where its probability is at least the threshold. Views without BAC count, by what is called in them.
    """
    found = np.zeros((2, LEVELS), dtype=np.int64)  # pixels by mask and level
    for number, view_id in enumerate(known.table["view_id"]):
        levels = np.minimum((maps[view_id] * LEVELS).astype(np.int64), LEVELS - 1)
        mask = known.mask(number)
        for row, chosen in enumerate((~mask, mask)):
            found[row] += np.bincount(levels[chosen], minlength=LEVELS)
    missed, hit = (np.cumsum(row[::-1])[::-1][1:] for row in found)  # called at each threshold: pixels off and on the mask
    dice = 2 * hit / (missed + hit + found[1].sum())
    best = int(dice.argmax())
    return (best + 1) / LEVELS, float(dice[best])


def dice(called: np.ndarray, mask: np.ndarray) -> float:
    """Twice the shared pixels over the sum of both, boolean arrays of one shape, not both empty."""
    return float(2 * (called & mask).sum() / (called.sum() + mask.sum()))


def measure_views(maps: Maps, known: Known, threshold: float) -> pd.DataFrame:
    """A row a view: its pixels marked and called (inside the breast), and where any is marked, Dice, average precision and what
    chance gives that (the marked share of the breast)."""
    rows = []
    entries = list(known.table.to_dict("records"))
    for number, row in enumerate(track(entries, "Measuring segmentations")):
        breast = breast_of(read_prepared(Path(row["file"])))
        values, mask = maps[row["view_id"]][breast], known.mask(number)[breast]
        called = at_least(values, threshold)
        about = {name: row[name] for name in ("view_id", "woman", "fold")}
        counts = {"marked": int(mask.sum()), "called": int(called.sum())}
        scores = {}
        if mask.any():
            found = average_precision(values, mask)
            scores = {"dice": dice(called, mask), "average_precision": found, "chance": float(mask.mean())}
        rows.append({**about, **counts, **scores})
    return pd.DataFrame(rows, columns=VIEW_COLUMNS)


def at_least(values: np.ndarray, threshold: float) -> np.ndarray:
    """Which probabilities are called at a threshold of `choose_threshold`, by the same rounding as there."""
    return np.asarray((values * LEVELS).astype(np.int64) >= round(threshold * LEVELS))


def summarise(table: pd.DataFrame, threshold: float, settings: Evaluation) -> pd.DataFrame:
    """The means over the views with BAC, a row a fold and measure, with intervals from resampled women."""
    rows = []
    for fold, part in table[table["dice"].notna()].groupby("fold", sort=False):
        for measure in MEASURES:
            value, low, high = mean_by_woman(part[measure].to_numpy(), part["woman"], settings)
            counts = {"views": len(part), "women": part["woman"].nunique(), "chance": float(part["chance"].mean())}
            about = {"fold": fold, "measure": measure, "threshold": threshold}
            rows.append({**about, "estimate": value, "low": low, "high": high, **counts})
    table = pd.DataFrame(rows, columns=COLUMNS)
    table.loc[table["measure"] == "dice", "chance"] = np.nan
    return table
