"""Drawing women, and every metric in every draw: a resample is a column of integer weights, one row a woman."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tramtrack.errors import UsageError
from tramtrack.evaluation.ranks import rank_metrics
from tramtrack.evaluation.scores import (
    COUNT_METRICS,
    METRICS,
    RANK_METRICS,
    Bools,
    Floats,
    Metric,
    confusion,
    from_counts,
    ratio,
    squared_errors,
)

RESAMPLES = 2000


def resample_women(women: int, resamples: int, generator: np.random.Generator) -> NDArray[np.int32]:
    """How often each of ``women`` women stands in each resample: int32 (women, resamples), every column sums to ``women``.

    Not stratified by label: how many women with BAC a cohort holds is itself an accident of who came, and F1 depends on
    it. Resamples in which a metric is undefined are dropped by whoever computes it, and counted.
    """
    if women < 1 or resamples < 1:
        raise UsageError(f"expected at least one woman and one resample, received {women} and {resamples}")
    weights = np.empty((women, resamples), dtype=np.int32)
    block = 128  # fixed, so that the drawing does not depend on anything but the generator
    for start in range(0, resamples, block):
        width = min(block, resamples - start)
        drawn = generator.integers(0, women, size=(width, women)) + women * np.arange(width)[:, None]
        weights[:, start : start + width] = np.bincount(drawn.ravel(), minlength=width * women).reshape(width, women).T
    return weights


def resampled_all(
    labels: Bools,
    scores: Floats,
    woman: NDArray[np.int64],
    weights: NDArray[np.int32],
    *,
    threshold: float | None = None,
    probabilities: Floats | None = None,
    metrics: tuple[Metric, ...] = METRICS,
) -> dict[Metric, Floats]:
    """Each of ``metrics`` in every resample: float64 (resamples,), NaN where it is undefined there.

    ``labels`` bool (units,), ``scores`` finite float (units,), ``woman`` int (units,) the row of ``weights``
    (women, resamples) that the unit's woman has. The metrics of calls are left out without a ``threshold``, the Brier score
    without ``probabilities`` (units,) in [0, 1].
    """
    ranked = tuple(name for name in RANK_METRICS if name in metrics)
    found = rank_metrics(labels, scores, woman, weights, ranked) if ranked else {}
    counted = tuple(name for name in COUNT_METRICS if name in metrics and threshold is not None)
    if counted and threshold is not None:
        counts = _summed(confusion(labels, scores, threshold), woman, weights)
        found.update({name: from_counts(name, counts) for name in counted})
    if "brier" in metrics and probabilities is not None:
        errors = np.stack([squared_errors(labels, probabilities), np.ones(len(labels))], axis=1)
        found["brier"] = np.minimum(1.0, ratio(*_summed(errors, woman, weights).T))
    return {name: found[name] for name in metrics if name in found}


def resampled(
    metric: Metric,
    labels: Bools,
    scores: Floats,
    woman: NDArray[np.int64],
    weights: NDArray[np.int32],
    threshold: float | None = None,
) -> Floats:
    """One metric in every resample, arguments as in `resampled_all`; for the Brier score ``scores`` are probabilities."""
    if metric not in METRICS:
        raise UsageError(f"metric {metric}: expected one of {', '.join(METRICS)}")
    if metric in COUNT_METRICS and threshold is None:
        raise UsageError(f"metric {metric}: expected a threshold chosen on validation, received none")
    found = resampled_all(labels, scores, woman, weights, threshold=threshold, probabilities=scores, metrics=(metric,))
    return found[metric]


def estimate(metric: Metric, labels: Bools, scores: Floats, threshold: float | None = None) -> float:
    """The metric on these units, each counted once; NaN where it is undefined (`undefined_reason` says why).

    For the Brier score ``scores`` are probabilities. Raises UsageError for an unknown metric, or where a metric of calls is
    asked for without a threshold.
    """
    once = np.ones((1, 1), dtype=np.int32)
    return float(resampled(metric, labels, scores, np.zeros(len(labels), dtype=np.int64), once, threshold)[0])


def _summed(values: NDArray[np.int64] | Floats, woman: NDArray[np.int64], weights: NDArray[np.int32]) -> Floats:
    """Weighted sums over the units: ``values`` (units, k) to float64 (resamples, k)."""
    by_woman = np.zeros((len(weights), values.shape[1]))
    np.add.at(by_woman, woman, values)
    return np.asarray(weights.T.astype(float) @ by_woman)
