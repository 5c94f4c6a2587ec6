"""The ROC curve as points to draw, and the band around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tramtrack.evaluation.aggregate import Units
from tramtrack.evaluation.intervals import evidence as evidence_of
from tramtrack.evaluation.intervals import interval, standard_error
from tramtrack.evaluation.scores import Undefined, undefined_reason

GRID = np.linspace(0, 1, 41)
"""The false positive rates at which a band is computed."""


@dataclass(frozen=True)
class RocCurve:
    """Corner points of an empirical ROC curve from (0, 0) to (1, 1), float64 (points,) each.

    ``fpr`` and ``tpr`` rise in [0, 1]; ``thresholds`` fall: a unit is positive where its score >= threshold. The first
    threshold is the next float above the highest score, so all values are finite.
    """

    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]
    thresholds: NDArray[np.float64]


def roc_curve(units: Units) -> RocCurve | Undefined:
    """The ROC curve of ``units``; tied scores make one sloped segment, points on a straight line are left out.

    Undefined with one class or with scores that are not finite. The trapezoidal area under it is the AUC-ROC.
    """
    reason = undefined_reason("auc_roc", units.labels, units.scores, unit=units.unit)
    if reason is not None:
        return Undefined("roc_curve", reason, **units.counts())
    values, index = np.unique(units.scores, return_inverse=True)
    positives = np.bincount(index, weights=units.labels, minlength=len(values)).astype(np.int64)
    negatives = np.bincount(index, minlength=len(values)) - positives
    tp = np.concatenate([[0], np.cumsum(positives[::-1])])
    fp = np.concatenate([[0], np.cumsum(negatives[::-1])])
    thresholds = np.concatenate([[np.nextafter(values[-1], np.inf)], values[::-1]])
    turns = np.diff(fp)[:-1] * np.diff(tp)[1:] != np.diff(tp)[:-1] * np.diff(fp)[1:]
    corners = np.concatenate([[True], turns, [True]])
    return RocCurve(fp[corners] / fp[-1], tp[corners] / tp[-1], thresholds[corners])


def roc_band(units: Units, weights: NDArray[np.int32], confidence: float = 0.95) -> NDArray[np.float64] | Undefined:
    """Sensitivity at each false positive rate of GRID, with its interval: float64 (3, points), rows estimate, low, high.

    ``weights`` int32 (women, resamples), women in the order of np.unique. Pointwise, not for the whole curve at once: Wilson's
    interval scaled to the bootstrap of women, as for a sensitivity. Undefined where the curve is.
    """
    curve = roc_curve(units)
    if isinstance(curve, Undefined):
        return curve
    woman = np.unique(units.woman, return_inverse=True)[1]
    order = np.argsort(-units.scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(units.scores[order]) != 0, True))  # the last of each run of tied scores
    drawn = weights[woman[order]].astype(np.float64)
    labels = units.labels[order][:, None]
    tp, fp = (np.cumsum(drawn * inside, axis=0)[ends] for inside in (labels, ~labels))
    usable = np.flatnonzero((tp[-1] > 0) & (fp[-1] > 0))
    values = (
        np.stack([np.interp(GRID, np.append(0, fp[:, k] / fp[-1, k]), np.append(0, tp[:, k] / tp[-1, k])) for k in usable])
        if len(usable)
        else np.empty((0, len(GRID)))
    )
    estimate = np.interp(GRID, curve.fpr, curve.tpr)
    sample = evidence_of("sensitivity", units.labels, units.scores, woman, None)
    bounds = [
        interval("sensitivity", float(value), sample, standard_error(column), confidence)
        for value, column in zip(estimate, values.T, strict=True)
    ]
    return np.stack([estimate, *np.array(bounds).T])
