"""Means of localisation scores with intervals by woman, and which maps can be told apart. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

NATIVE, MATCHED, TRAINED = "native", "matched", "stride-16"
"""As they are; block-averaged to the coarsest stride of the study; and, of every network, at stride 16: of its run that was
trained so, or as it is where it has that stride by itself."""
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
    """What can be said of each pair: what the native maps tell apart, and whether that is so at equal stride as well, of the
    same models and of models trained at stride 16."""
    chosen = pairs[pairs["measure"] == measure]
    by_kind = {
        kind: {(row["map_a"], row["map_b"]): row for row in chosen[chosen["kind"] == kind].to_dict("records")}
        for kind in (NATIVE, MATCHED, TRAINED)
    }
    found = []
    for pair, row in by_kind[NATIVE].items():
        better, worse = pair if row["difference"] > 0 else pair[::-1]
        native = f"{better} against {worse}, native maps: {_text(row)}"
        matched, trained = by_kind[MATCHED].get(pair), by_kind[TRAINED].get(pair)
        said = [f"{native}; {'separated' if row['separated'] else 'cannot be separated'}"]
        if row["separated"] and matched is not None:
            said = [f"{native}; at equal stride {_text(matched, row)}: {_after_averaging(row, matched)}"]
        if trained is not None:
            said.append(f"trained at stride 16 {_text(trained, row)}: {_after_training(row, trained)}")
        found.append("; ".join(said) + ".")
    return found


def geometry_sentences(pairs: pd.DataFrame, measure: str, strides: Mapping[str, int]) -> list[str]:
    """Of each map that is finer than others: over how many of these it has an advantage, and how many of the advantages are
    more than geometry."""
    chosen = pairs[pairs["measure"] == measure]
    found = []
    for name, stride in strides.items():
        kept: dict[str, list[str]] = {NATIVE: [], MATCHED: [], TRAINED: []}
        coarser = {other for other, its in strides.items() if its > stride}
        for kind, names in kept.items():
            for row in chosen[(chosen["kind"] == kind) & chosen["separated"]].to_dict("records"):
                better, worse = (row["map_a"], row["map_b"]) if row["difference"] > 0 else (row["map_b"], row["map_a"])
                if better == name and worse in coarser:
                    names.append(worse)
        if not coarser or name not in {*chosen["map_a"], *chosen["map_b"]}:
            continue
        ahead = kept[NATIVE]
        text = f"{name}: its native maps lie better than those of {len(ahead)} of {len(coarser)} networks with coarser maps"
        if ahead:
            text += f"; at equal stride {len(set(ahead) & set(kept[MATCHED]))} of these {len(ahead)} advantages stay separated"
        tested = chosen[(chosen["kind"] == TRAINED) & ((chosen["map_a"] == name) | (chosen["map_b"] == name))]
        others = (set(tested["map_a"]) | set(tested["map_b"])) & set(ahead)
        if others:
            text += f"; against runs trained at stride 16, {len(others & set(kept[TRAINED]))} of {len(others)}"
        found.append(text + ".")
    return found


def _keeps(row: Mapping[Any, Any], other: Mapping[Any, Any]) -> bool:
    """Whether another comparison of the same pair is separated in the same direction."""
    return bool(other["separated"] and np.sign(other["difference"]) == np.sign(row["difference"]))


def _after_averaging(row: Mapping[Any, Any], matched: Mapping[Any, Any]) -> str:
    if _keeps(row, matched):
        return "separated in both, so it is more than geometry"
    if matched["separated"]:
        return "separated the other way round, so it was geometry"
    return "not separated any more, so geometry may be all of it"


def _after_training(row: Mapping[Any, Any], trained: Mapping[Any, Any]) -> str:
    if not row["separated"]:
        return "separated" if trained["separated"] else "cannot be separated either"
    if _keeps(row, trained):
        return "separated as well, so a finer map does not make up for it"
    return "separated the other way round" if trained["separated"] else "not separated any more, so the stride may be all of it"


def _text(row: Mapping[Any, Any], native: Mapping[Any, Any] | None = None) -> str:
    """The difference, in the direction of the better native map (of ``native``, or of the row itself)."""
    sign = 1 if (native or row)["difference"] > 0 else -1
    low, high = sorted((sign * row["low"], sign * row["high"]))
    return f"{sign * row['difference']:.3f} ({low:.3f} to {high:.3f})"


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
