"""The metrics that look at the order of scores: AUC-ROC, its upper part, and average precision, in every resample at once.

Units are walked once in the order of their scores while the weights of the negatives are summed; only where a positive
stands are the sums kept. So a set of resamples costs one addition a unit, and memory grows with the positives.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tramtrack.evaluation.scores import RANK_METRICS, Bools, Floats, Metric, ratio

PARTIAL_FROM = 0.80
"""The partial AUC covers the specificities from this one to 1, where screening works."""
CELLS_AT_ONCE = 1 << 18  # positives x resamples held at a time: 2 MB an array, which a cache holds


def rank_metrics(
    labels: Bools,
    scores: Floats,
    woman: NDArray[np.int64],
    weights: NDArray[np.integer],
    wanted: tuple[Metric, ...] = RANK_METRICS,
) -> dict[Metric, Floats]:
    """The metrics named in ``wanted`` under each column of weights: float64 (resamples,), NaN where a class has no weight.

    ``labels`` bool (units,), ``scores`` finite float (units,), ``woman`` int (units,) the row of ``weights``, int >= 0
    (women, resamples), that the unit's woman has. Sums of weights are exact, so the order of rows changes nothing.

    - auc_roc: P(positive above negative) + P(tie) / 2 (Hanley and McNeil, Radiology 1982;143:29).
    - partial_auc: the area under the ROC curve from specificity 1 down to PARTIAL_FROM, tied scores being a straight
      segment, rescaled so that chance is 1/2 and perfection 1 (McClish, Med Decis Making 1989;9:190).
    - average_precision: the sum over distinct scores of precision times the rise of the recall, without interpolation.
    """
    order = np.argsort(scores[~labels], kind="stable")
    negatives, rows = scores[~labels][order], woman[~labels][order]
    values, group = np.unique(scores[labels], return_inverse=True)
    stops = np.concatenate([np.searchsorted(negatives, values, side) for side in ("left", "right")])
    by_group = np.argsort(group, kind="stable")
    positive_rows, starts = woman[labels][by_group], np.searchsorted(group[by_group], np.arange(len(values)))
    result: dict[Metric, Floats] = {name: np.empty(weights.shape[1]) for name in wanted}
    step = max(1, CELLS_AT_ONCE // max(1, len(values)))
    for start in range(0, weights.shape[1], step):
        columns = slice(start, start + step)
        drawn = np.ascontiguousarray(weights[:, columns])
        kept, total = _sums_at(drawn, rows, stops)
        positive = np.add.reduceat(drawn[positive_rows], starts, axis=0).astype(float)
        for name in wanted:
            result[name][columns] = _FORMULAS[name](positive, kept[: len(values)], kept[len(values) :], total)
    return result


def _sums_at(weights: NDArray[np.integer], rows: NDArray[np.int64], stops: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """For each stop the sum of ``weights[rows[:stop]]``, float64 (stops, resamples), and the sum over all rows."""
    distinct, index = np.unique(stops, return_inverse=True)
    sums = np.empty((len(distinct), weights.shape[1]))
    total: NDArray[Any] = np.zeros(weights.shape[1], dtype=np.int64)
    begin = 0
    for number, stop in enumerate(distinct.tolist()):
        for row in rows[begin:stop].tolist():  # far faster than a cumulative sum, which would also have to be kept
            total += weights[row]
        sums[number] = total
        begin = stop
    for row in rows[begin:].tolist():
        total += weights[row]
    return sums[index], total.astype(float)


def _auc(positive: Floats, below: Floats, up_to: Floats, total: Floats) -> Floats:
    """``positive`` weight at each distinct positive score, weights of negatives ``below`` it and ``up_to`` it, all of them."""
    return ratio((positive * (below + up_to)).sum(axis=0) / 2, positive.sum(axis=0) * total)


def _partial_auc(positive: Floats, below: Floats, up_to: Floats, total: Floats) -> Floats:
    limit = 1 - PARTIAL_FROM
    with np.errstate(divide="ignore", invalid="ignore"):
        first, last = 1 - up_to / total, 1 - below / total  # false positive rates before and after the tied negatives
        sloped = (limit - first) ** 2 / (2 * (last - first))
    seen = np.where(last <= limit, limit - (first + last) / 2, np.where(first < limit, sloped, 0.0))
    area = ratio((positive * seen).sum(axis=0), positive.sum(axis=0))
    return np.where(total > 0, mcclish(area / limit), np.nan)


def _average_precision(positive: Floats, below: Floats, up_to: Floats, total: Floats) -> Floats:
    true = np.cumsum(positive[::-1], axis=0)[::-1]
    precision = np.divide(true, true + total - below, out=np.zeros_like(true), where=true > 0)
    return np.where(total > 0, ratio((positive * precision).sum(axis=0), positive.sum(axis=0)), np.nan)


def mcclish(mean_sensitivity: Floats | float) -> Floats:
    """The partial AUC from the mean sensitivity over its specificities, [0, 1] to [.44, 1]; clipped to 1 against rounding."""
    limit = 1 - PARTIAL_FROM
    return np.minimum(1.0, 0.5 * (1 + (np.asarray(mean_sensitivity) - limit / 2) / (1 - limit / 2)))


def mean_sensitivity(partial_auc: float) -> float:
    """The inverse of `mcclish`, inside [0, 1]."""
    limit = 1 - PARTIAL_FROM
    return min(1.0, max(0.0, (2 * partial_auc - 1) * (1 - limit / 2) + limit / 2))


_FORMULAS = {"auc_roc": _auc, "partial_auc": _partial_auc, "average_precision": _average_precision}
