"""Choosing the threshold, once, on validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tramtrack.errors import UsageError
from tramtrack.evaluation.aggregate import Unit, Units
from tramtrack.evaluation.scores import Undefined, undefined_reason

Rule = Literal["f1", "youden", "sensitivity", "specificity"]


@dataclass(frozen=True)
class Threshold:
    """A unit is called positive where its score >= ``value``.

    ``achieved`` is what the rule reached on the units it was chosen on: F1, sensitivity or specificity in [0, 1], or
    Youden's J = sensitivity + specificity - 1 in [-1, 1]; optimistic there, and no result. ``n``, ``positives``,
    ``women`` count those units.
    """

    rule: Rule
    unit: Unit
    value: float
    achieved: float
    n: int
    positives: int
    women: int


def choose_threshold(units: Units, rule: Rule = "f1", least: float = 0.9) -> Threshold | Undefined:
    """The threshold that fits ``rule`` best on ``units``; Undefined with one class or scores not finite.

    "f1" and "youden" make F1 or Youden's J largest. "sensitivity" is the highest threshold that keeps a sensitivity of at
    least ``least`` in (0, 1], "specificity" the lowest that keeps such a specificity. Candidates: the lowest score (all
    positive), the midpoint of each two neighbouring distinct scores, so that a threshold never sits on a score seen in
    validation, and for "specificity" the next float above the highest score (all negative). Of candidates that do equally
    well, compared in exact integers, the lowest is taken: the calls it adds do no harm on validation by the rule's own
    account, and a missed woman with BAC cannot be looked at again, where a false alarm can.
    """
    if rule not in get_args(Rule):
        raise UsageError(f"threshold rule {rule}: expected one of {', '.join(get_args(Rule))}")
    if not 0 < least <= 1:
        raise UsageError(f"least {rule} {least}: expected a share above 0 and up to 1")
    reason = undefined_reason("auc_roc", units.labels, units.scores, unit=units.unit)
    if reason is not None:
        return Undefined("threshold", reason, **units.counts())
    values, index = np.unique(units.scores, return_inverse=True)
    positives = np.bincount(index, weights=units.labels, minlength=len(values)).astype(np.int64)
    negatives = np.bincount(index, minlength=len(values)) - positives
    tp = np.concatenate([np.cumsum(positives[::-1])[::-1], [0]])  # called positive from each distinct score upwards
    fp = np.concatenate([np.cumsum(negatives[::-1])[::-1], [0]])
    best, achieved = _best(rule, tp, fp, least)
    if best == len(values):
        value = np.nextafter(values[-1], np.inf)
    else:
        value = values[0] if best == 0 else _between(values[best - 1], values[best])
    return Threshold(rule, units.unit, float(value), float(achieved), **units.counts())


def _best(rule: Rule, tp: NDArray[np.int64], fp: NDArray[np.int64], least: float) -> tuple[int, float]:
    """Which candidate, of those from the lowest score to none called, and what the rule reaches there."""
    total_positive, total_negative = int(tp[0]), int(fp[0])
    if rule == "f1":
        f1 = 2 * tp / (tp + fp + total_positive)  # correctly rounded quotients: equal ratios are equal floats
        return int(np.argmax(f1)), float(f1.max())
    if rule == "youden":
        best = int(np.argmax(tp * total_negative - fp * total_positive))
        return best, float(tp[best] / total_positive - fp[best] / total_negative)
    if rule == "sensitivity":
        sensitivity = tp / total_positive
        best = int(np.flatnonzero(sensitivity >= least - 1e-12)[-1])
        return best, float(sensitivity[best])
    specificity = (total_negative - fp) / total_negative
    best = int(np.flatnonzero(specificity >= least - 1e-12)[0])
    return best, float(specificity[best])


def _between(lower: float, upper: float) -> float:
    """A number above ``lower`` and not above ``upper``: the midpoint, or ``upper`` where no float lies between."""
    middle = lower / 2 + upper / 2
    return middle if lower < middle <= upper else upper
