"""The ROC curve as points to draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tramtrack.evaluation.aggregate import Units
from tramtrack.evaluation.scores import Undefined, undefined_reason


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
