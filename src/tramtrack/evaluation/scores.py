"""What is measured: nine metrics of binary labels, as numbers that can never be NaN.

Every metric is computed on weighted units, so that a bootstrap resample of women is nothing but a column of integer
weights and two thousand of them are a few array operations; `ranks` has the metrics that look at the order of scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tramtrack.errors import UsageError

Metric = Literal["auc_roc", "partial_auc", "average_precision", "f1", "sensitivity", "specificity", "ppv", "npv", "brier"]
METRICS: tuple[Metric, ...] = get_args(Metric)
RANK_METRICS: tuple[Metric, ...] = ("auc_roc", "partial_auc", "average_precision")
"""They need no threshold and both classes."""
COUNT_METRICS: tuple[Metric, ...] = ("f1", "sensitivity", "specificity", "ppv", "npv")
"""They need a threshold, which comes from validation."""
METRIC_NAMES: dict[Metric, str] = {
    "auc_roc": "AUC-ROC",
    "partial_auc": "partial AUC",
    "average_precision": "average precision",
    "f1": "F1",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "brier": "Brier score",
}
SMALLER_IS_BETTER: frozenset[Metric] = frozenset({"brier"})

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

    @property
    def chance(self) -> float | None:
        """What scores that know nothing reach: 1/2 for both AUCs, the share of positives for the average precision."""
        return {"auc_roc": 0.5, "partial_auc": 0.5, "average_precision": self.positives / self.n}.get(self.metric)

    def __str__(self) -> str:
        return with_interval(self.low, self.estimate, self.high)


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


def in_decimals(low: float, estimate: float, high: float, least: int = 2) -> tuple[str, str, str]:
    """The three as texts with ``least`` decimals, or with as many more as it takes for an interval to look like one.

    0.9962, 0.9997, 1 are "0.996", "1.000", "1.000": with two decimals the interval would be printed without width.
    """
    decimals = least
    while low < high and f"{low:.{decimals}f}" == f"{high:.{decimals}f}":
        decimals += 1
    return f"{low:.{decimals}f}", f"{estimate:.{decimals}f}", f"{high:.{decimals}f}"


def with_interval(low: float, estimate: float, high: float, least: int = 2) -> str:
    """ "0.81 (0.70 to 0.89)"; decimals as `in_decimals`."""
    low_text, text, high_text = in_decimals(low, estimate, high, least)
    return f"{text} ({low_text} to {high_text})"


def confusion(labels: Bools, scores: Floats, threshold: float) -> NDArray[np.int64]:
    """One row a unit, one column each for true positive, false positive, false negative, true negative; int (units, 4).

    A unit is called positive where its score >= ``threshold``.
    """
    called = scores >= threshold
    return np.stack([called & labels, called & ~labels, ~called & labels, ~called & ~labels], axis=1).astype(np.int64)


def from_counts(metric: Metric, counts: NDArray[np.int64] | Floats) -> Floats:
    """A thresholded metric from (weighted) counts: (..., 4) as in `confusion`; NaN where its denominator is zero.

    sensitivity TP / (TP + FN), specificity TN / (TN + FP), PPV TP / (TP + FP), NPV TN / (TN + FN),
    F1 = 2 TP / (2 TP + FP + FN).
    """
    tp, fp, fn, tn = np.moveaxis(np.asarray(counts, dtype=float), -1, 0)
    if metric == "sensitivity":
        return ratio(tp, tp + fn)
    if metric == "specificity":
        return ratio(tn, tn + fp)
    if metric == "ppv":
        return ratio(tp, tp + fp)
    if metric == "npv":
        return ratio(tn, tn + fn)
    if metric == "f1":
        return ratio(2 * tp, 2 * tp + fp + fn)
    raise UsageError(f"metric {metric}: expected one of {', '.join(COUNT_METRICS)}")


def squared_errors(labels: Bools, probabilities: Floats) -> Floats:
    """(probability - label)^2 of each unit, whose mean is the Brier score. Source: Brier, Mon Weather Rev 1950;78:1."""
    return (probabilities - labels) ** 2


def ratio(above: Floats, below: Floats) -> Floats:
    """Element-wise quotient, NaN where the denominator is zero; no warning."""
    return np.divide(above, below, out=np.full(np.shape(above), math.nan), where=below > 0)


def undefined_reason(
    metric: Metric, labels: Bools, scores: Floats, threshold: float | None = None, unit: str = "unit"
) -> str | None:
    """Why the metric has no value on these units, or None where it has one; ``unit`` is the noun used in the sentence."""
    if not len(labels):
        return f"no {unit} with a known label"
    if not np.isfinite(scores).all():
        return f"scores not finite ({int((~np.isfinite(scores)).sum())} of {len(scores)})"
    if metric in (*RANK_METRICS, "sensitivity") and not labels.any():
        return f"no positive {unit}"
    if metric in (*RANK_METRICS, "specificity") and labels.all():
        return f"no negative {unit}"
    if metric in COUNT_METRICS and threshold is not None:
        return _no_call(metric, labels, scores >= threshold, unit)
    return None


def _no_call(metric: Metric, labels: Bools, called: Bools, unit: str) -> str | None:
    if metric == "f1" and not labels.any() and not called.any():
        return f"no {unit} predicted or truly positive"
    if metric == "ppv" and not called.any():
        return f"no {unit} called positive"
    if metric == "npv" and called.all():
        return f"no {unit} called negative"
    return None
