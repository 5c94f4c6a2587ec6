"""Means of localisation scores with intervals by woman, and which maps can be told apart. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats

from tramtrack.evaluation.comparisons import ROUNDING, holm
from tramtrack.evaluation.intervals import Sample, interval, standard_error
from tramtrack.evaluation.resampling import resample_women
from tramtrack.explain.localisation import MEASURES
from tramtrack.protocol import Evaluation

NATIVE, MATCHED = "native", "matched"
SCORE_COLUMNS = ["map", "kind", "measure", "estimate", "low", "high", "views", "women", "empty", "chance"]
PAIR_COLUMNS = ["kind", "measure", "map_a", "map_b", "difference", "low", "high", "p", "p_holm", "separated", "views", "women"]


def score_maps(table: pd.DataFrame, settings: Evaluation) -> pd.DataFrame:
    """Each measure's mean over the views, a row a map, kind and measure, with an interval from resampled women.

    ``table`` has a row a view and map: woman, view_id, map, kind, the measures, empty (1 for a map of zeros) and chance (the
    target's share of the breast). Several rows of a view under one map (seeds) are averaged first. The interval is that of a
    mean of numbers in [0, 1], as for the Brier score; see `tramtrack.evaluation.intervals.interval`.
    """
    rows = []
    for (kind, name), part in _by_view(table).groupby(["kind", "map"], sort=False):
        for measure in MEASURES:
            value, low, high = mean_by_woman(part[measure].to_numpy(), part["woman"], settings)
            counts = {"views": len(part), "women": part["woman"].nunique(), "empty": float(part["empty"].sum())}
            rows.append(
                {"map": name, "kind": kind, "measure": measure, "estimate": value, "low": low, "high": high, **counts,
                 "chance": float(part["chance"].mean())}
            )  # fmt: skip
    return pd.DataFrame(rows, columns=SCORE_COLUMNS)


def mean_by_woman(values: np.ndarray, women: pd.Series, settings: Evaluation) -> tuple[float, float, float]:
    """The mean of ``values`` (n,) in [0, 1], a view each of ``women``, with its interval: estimate, low, high."""
    woman, weights = _resamples(women, settings)
    means, count = _means(values, woman, weights), len(weights)
    sample = Sample((len(values), len(values)), (count, count))
    value = float(values.mean())
    return value, *interval("brier", value, sample, standard_error(means), settings.confidence)


def compare_maps(table: pd.DataFrame, names: Sequence[str], settings: Evaluation) -> pd.DataFrame:
    """Every pair of maps ``names`` on the views that both have, by kind and measure; ``table`` as in `score_maps`.

    The difference of the means, its interval and p by Student's t with the standard error of the same resampled women, and
    Holm's correction over the pairs of a kind and measure. Where all women's differences are alike there is no p.
    """
    averaged, rows = _by_view(table), []
    for kind, part in averaged.groupby("kind", sort=False):
        by_name = {name: group.set_index("view_id") for name, group in part.groupby("map")}
        for measure in MEASURES:
            found = [
                _pair(by_name[a], by_name[b], measure, settings) | {"map_a": a, "map_b": b}
                for a, b in combinations([name for name in names if name in by_name], 2)
            ]
            adjusted = holm([1.0 if np.isnan(row["p"]) else row["p"] for row in found])
            for row, p_holm in zip(found, adjusted, strict=True):
                separated = bool(p_holm <= 1 - settings.confidence)
                rows.append({**row, "kind": kind, "measure": measure, "p_holm": p_holm, "separated": separated})
    return pd.DataFrame(rows, columns=PAIR_COLUMNS)


def sentences(pairs: pd.DataFrame, measure: str) -> list[str]:
    """What can be said of each pair that the native maps tell apart: whether it is so at equal stride as well."""
    found = []
    chosen = pairs[pairs["measure"] == measure]
    matched = {(row["map_a"], row["map_b"]): row for row in chosen[chosen["kind"] == MATCHED].to_dict("records")}
    for row in chosen[chosen["kind"] == NATIVE].to_dict("records"):
        better, worse = (row["map_a"], row["map_b"]) if row["difference"] > 0 else (row["map_b"], row["map_a"])
        native = f"{better} against {worse}, native maps: {_text(row)}"
        other = matched.get((row["map_a"], row["map_b"]))
        if not row["separated"]:
            found.append(f"{native}; cannot be separated.")
        elif other is None:
            found.append(f"{native}; separated.")
        elif other["separated"] and np.sign(other["difference"]) == np.sign(row["difference"]):
            found.append(f"{native}; at equal stride {_text(other)}: separated in both, so it is more than geometry.")
        else:
            found.append(f"{native}; at equal stride {_text(other)}: not separated any more, so geometry may be all of it.")
    return found


def _text(row: dict[Any, Any]) -> str:
    """The difference as its size, in the direction of the better native map."""
    low, high = sorted((abs(row["low"]), abs(row["high"]))) if row["low"] * row["high"] > 0 else (row["low"], row["high"])
    return f"{abs(row['difference']):.3f} ({low:.3f} to {high:.3f})"


def _by_view(table: pd.DataFrame) -> pd.DataFrame:
    keys = ["kind", "map", "woman", "view_id"]
    return table.groupby(keys, sort=False)[[*MEASURES, "empty", "chance"]].mean().reset_index()


def _pair(one: pd.DataFrame, other: pd.DataFrame, measure: str, settings: Evaluation) -> dict[str, Any]:
    shared = one.index.intersection(other.index)
    differences = (one.loc[shared, measure] - other.loc[shared, measure]).to_numpy()
    woman, weights = _resamples(one.loc[shared, "woman"], settings)
    error = standard_error(_means(differences, woman, weights))
    mean, women = float(differences.mean()), len(weights)
    counts = {"difference": mean, "views": len(shared), "women": women}
    if error <= ROUNDING or women < 2:
        return {**counts, "low": -1.0, "high": 1.0, "p": np.nan}
    half = float(special.stdtrit(women - 1, 0.5 + settings.confidence / 2)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, women - 1))
    return {**counts, "low": max(-1.0, mean - half), "high": min(1.0, mean + half), "p": p}


def _resamples(women: pd.Series, settings: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """The row of each view's woman, and how often she stands in each resample."""
    names, woman = np.unique(women.to_numpy().astype(str), return_inverse=True)
    weights = resample_women(len(names), settings.resamples, np.random.default_rng(settings.seed))
    return woman, weights


def _means(values: np.ndarray, woman: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean over the views in every resample: float64 (resamples,)."""
    sums, counts = (np.bincount(woman, weights=part, minlength=len(weights)) for part in (values, np.ones_like(values)))
    result: np.ndarray = (weights.T @ sums) / (weights.T @ counts)
    return result
