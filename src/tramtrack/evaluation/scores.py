"""What is measured: AUC-ROC, F1, sensitivity and specificity of binary labels, as numbers that can never be NaN.

Every metric is computed on weighted units, so that a bootstrap resample of women is nothing but a column of integer
weights and two thousand of them are one array operation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tramtrack.errors import UsageError

Metric = Literal["auc_roc", "f1", "sensitivity", "specificity"]
METRICS: tuple[Metric, ...] = ("auc_roc", "f1", "sensitivity", "specificity")
METRIC_NAMES: dict[Metric, str] = {
    "auc_roc": "AUC-ROC",
    "f1": "F1",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Score:
    """A metric's estimate with its interval; low <= estimate <= high and low < high always hold.

    All three lie in [0, 1]. ``method`` names how the interval was made, ``n`` counts units with a known label,
    ``positives`` those of them with BAC, ``women`` the women they come from. ``resamples`` counts the bootstrap resamples
    in which the metric was defined and ``dropped`` those in which it was not.
    Raises ValueError where the invariant is broken: that is a defect of this package, never of the data.
    """

    metric: Metric
    estimate: float
    low: float
    high: float
    method: str
    n: int
    positives: int
    women: int
    resamples: int = 0
    dropped: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.estimate <= self.high <= 1 or not self.low < self.high:
            raise ValueError(
                f"{self.metric}: expected 0 <= low <= estimate <= high <= 1 and low < high, "
                f"received low {self.low}, estimate {self.estimate}, high {self.high}"
            )

    def __str__(self) -> str:
        return f"{self.estimate:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class Undefined:
    """A metric that has no value on these units, and why; ``n``, ``positives`` and ``women`` as in Score."""

    metric: str
    reason: str
    n: int
    positives: int
    women: int

    def __str__(self) -> str:
        return f"undefined: {self.reason}"


def weighted_auc(labels: Bools, scores: Floats, weights: NDArray[Any]) -> Floats:
    """Area under the ROC curve for each column of weights: P(positive above negative) + P(tie) / 2.

    ``labels`` bool (units,), ``scores`` float (units,), finite, ``weights`` >= 0 (units, resamples). Returns float
    (resamples,) in [0, 1], NaN in a column where a class has no weight. With integer weights every sum is exact, so the
    result does not depend on the order of the rows. Source: Mann-Whitney form of the AUC, Hanley and McNeil, Radiology
    1982;143:29, with the negatives' weights summed once in the order of their scores.
    """
    order = np.argsort(scores[~labels], kind="stable")
    negative_scores = scores[~labels][order]
    below = np.zeros((len(order) + 1, weights.shape[1]), dtype=weights.dtype)
    np.cumsum(weights[~labels][order], axis=0, out=below[1:])
    positive_scores, positive_weights = scores[labels], weights[labels]
    twice = below[np.searchsorted(negative_scores, positive_scores, "left")]
    twice += below[np.searchsorted(negative_scores, positive_scores, "right")]
    twice *= positive_weights
    pairs = positive_weights.sum(axis=0).astype(float) * below[-1]
    return ratio(twice.sum(axis=0) / 2, pairs)


def confusion(labels: Bools, scores: Floats, threshold: float) -> NDArray[np.int64]:
    """One row a unit, one column each for true positive, false positive, false negative, true negative; int (units, 4).

    A unit is called positive where its score >= ``threshold``.
    """
    called = scores >= threshold
    return np.stack([called & labels, called & ~labels, ~called & labels, ~called & ~labels], axis=1).astype(np.int64)


def from_counts(metric: Metric, counts: NDArray[np.int64] | Floats) -> Floats:
    """A thresholded metric from (weighted) counts: (..., 4) as in `confusion`; NaN where its denominator is zero.

    sensitivity TP / (TP + FN), specificity TN / (TN + FP), F1 = 2 TP / (2 TP + FP + FN).
    """
    tp, fp, fn, tn = np.moveaxis(np.asarray(counts, dtype=float), -1, 0)
    if metric == "sensitivity":
        return ratio(tp, tp + fn)
    if metric == "specificity":
        return ratio(tn, tn + fp)
    if metric == "f1":
        return ratio(2 * tp, 2 * tp + fp + fn)
    raise UsageError(f"metric {metric}: expected one of {', '.join(METRICS[1:])}")


def ratio(above: Floats, below: Floats) -> Floats:
    """Element-wise quotient, NaN where the denominator is zero; no warning."""
    return np.divide(above, below, out=np.full(np.shape(above), math.nan), where=below > 0)


def estimate(metric: Metric, labels: Bools, scores: Floats, threshold: float | None = None) -> float:
    """The metric on these units, each counted once; NaN where it is undefined (`undefined_reason` says why).

    Raises UsageError for an unknown metric, or where a metric other than auc_roc is asked for without a threshold.
    """
    if metric not in METRICS:
        raise UsageError(f"metric {metric}: expected one of {', '.join(METRICS)}")
    if metric == "auc_roc":
        return float(weighted_auc(labels, scores, np.ones((len(labels), 1), dtype=np.int64))[0])
    if threshold is None:
        raise UsageError(f"metric {metric}: expected a threshold chosen on validation, received none")
    return float(from_counts(metric, confusion(labels, scores, threshold).sum(axis=0)))


def undefined_reason(
    metric: Metric, labels: Bools, scores: Floats, threshold: float | None = None, unit: str = "unit"
) -> str | None:
    """Why the metric has no value on these units, or None where it has one; ``unit`` is the noun used in the sentence."""
    if not len(labels):
        return f"no {unit} with a known label"
    if not np.isfinite(scores).all():
        return f"scores not finite ({int((~np.isfinite(scores)).sum())} of {len(scores)})"
    if metric in ("auc_roc", "sensitivity") and not labels.any():
        return f"no positive {unit}"
    if metric in ("auc_roc", "specificity") and labels.all():
        return f"no negative {unit}"
    if metric == "f1" and threshold is not None and not labels.any() and not (scores >= threshold).any():
        return f"no {unit} predicted or truly positive"
    return None
