"""How well two readers agree on an ordered scale beyond chance: Cohen's weighted kappa, with intervals by woman.

The weights are linear: a disagreement counts by how many steps apart the two ratings lie. Source: Cohen, Psychol Bull
1968;70:213.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tramtrack.evaluation.intervals import standard_error
from tramtrack.evaluation.resampling import RESAMPLES, resample_women
from tramtrack.evaluation.scores import Floats


@dataclass(frozen=True)
class Agreement:
    """``agreement`` is the share of equal ratings, ``kappa`` in [-1, 1] with its interval; None with the ``reason`` why not."""

    items: int
    women: int
    agreement: float | None
    kappa: float | None
    low: float | None
    high: float | None
    reason: str


def weighted_kappa(first: NDArray[np.int64], second: NDArray[np.int64], categories: int) -> float:
    """Kappa of two readers' ratings int (items,), 0 to ``categories`` - 1 in the order of the scale; NaN where chance alone
    gives full agreement."""
    return float(_kappas(_counts(first, second, categories, np.zeros(len(first), dtype=np.int64), 1))[0])


def agree(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    categories: int,
    women: Sequence[str],
    *,
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Agreement:
    """`weighted_kappa` with an interval by Student's t from resampled women; ``women`` (items,) names each item's."""
    names, woman = np.unique(np.asarray(women, dtype=str), return_inverse=True)
    counts = {"items": len(first), "women": len(names)}
    if not len(first):
        return Agreement(**counts, agreement=None, kappa=None, low=None, high=None, reason="no item was rated by both")
    equal = float((first == second).mean())
    tables = _counts(first, second, categories, woman, len(names))
    value = float(_kappas(tables.sum(axis=0, keepdims=True))[0])
    if np.isnan(value):
        reason = "both give every item the same rating"
        return Agreement(**counts, agreement=equal, kappa=None, low=None, high=None, reason=reason)
    weights = resample_women(len(names), resamples, generator)
    drawn = _kappas(np.tensordot(weights.T.astype(float), tables, axes=1))
    error = standard_error(drawn[np.isfinite(drawn)])
    if not error or len(names) < 2:
        reason = f"no interval: {len(names)} {'woman' if len(names) == 1 else 'women'}, whose ratings do not differ"
        return Agreement(**counts, agreement=equal, kappa=value, low=None, high=None, reason=reason)
    half = float(special.stdtrit(len(names) - 1, 0.5 + confidence / 2)) * error
    return Agreement(
        **counts, agreement=equal, kappa=value, low=max(-1.0, value - half), high=min(1.0, value + half), reason=""
    )


def _counts(
    first: NDArray[np.int64], second: NDArray[np.int64], categories: int, woman: NDArray[np.int64], women: int
) -> Floats:
    """How often each pair of ratings was given, by woman: float64 (women, categories, categories)."""
    found = np.zeros((women, categories, categories))
    np.add.at(found, (woman, first, second), 1)
    return found


def _kappas(tables: Floats) -> Floats:
    """Kappa of each table (n, categories, categories), NaN where it is not defined."""
    steps = np.arange(tables.shape[1])
    apart = np.abs(steps[:, None] - steps[None, :])
    total = tables.sum(axis=(1, 2))
    chance = np.einsum("ni,ij,nj->n", tables.sum(axis=2), apart, tables.sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(chance > 0, 1 - (tables * apart).sum(axis=(1, 2)) * total / chance, np.nan))
