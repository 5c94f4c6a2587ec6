"""Choosing the threshold, once, on validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from tramtrack.errors import UsageError
from tramtrack.evaluation.aggregate import Unit, Units
from tramtrack.evaluation.scores import Undefined, undefined_reason

Rule = Literal["f1", "youden"]


@dataclass(frozen=True)
class Threshold:
    """A unit is called positive where its score >= ``value``.

    ``achieved`` is what the rule reached on the units it was chosen on: F1 in [0, 1], or Youden's J = sensitivity +
    specificity - 1 in [-1, 1]; optimistic there, and no result. ``n``, ``positives``, ``women`` count those units.
    """

    rule: Rule
    unit: Unit
    value: float
    achieved: float
    n: int
    positives: int
    women: int


def choose_threshold(units: Units, rule: Rule = "f1") -> Threshold | Undefined:
    """The threshold that makes F1, or Youden's J, largest on ``units``; Undefined with one class or scores not finite.

    Candidates: the lowest score (all positive), and the midpoint of each two neighbouring distinct scores, so that a
    threshold never sits on a score seen in validation. Of candidates that do equally well, compared in exact integers,
    the lowest is taken: the calls it adds do no harm on validation by the rule's own account, and a missed woman with
    BAC cannot be looked at again, where a false alarm can.
    """
    if rule not in get_args(Rule):
        raise UsageError(f"threshold rule {rule}: expected one of {', '.join(get_args(Rule))}")
    reason = undefined_reason("auc_roc", units.labels, units.scores, unit=units.unit)
    if reason is not None:
        return Undefined("threshold", reason, **units.counts())
    values, index = np.unique(units.scores, return_inverse=True)
    positives = np.bincount(index, weights=units.labels, minlength=len(values)).astype(np.int64)
    negatives = np.bincount(index, minlength=len(values)) - positives
    tp = np.cumsum(positives[::-1])[::-1]  # called positive from each distinct score upwards
    fp = np.cumsum(negatives[::-1])[::-1]
    total_positive, total_negative = int(tp[0]), int(fp[0])
    if rule == "f1":
        achieved = 2 * tp / (tp + fp + total_positive)  # correctly rounded quotients: equal ratios are equal floats
        best = int(np.argmax(achieved))
    else:
        best = int(np.argmax(tp * total_negative - fp * total_positive))
        achieved = tp / total_positive - fp / total_negative
    value = values[0] if best == 0 else _between(values[best - 1], values[best])
    return Threshold(rule, units.unit, float(value), float(achieved[best]), **units.counts())


def _between(lower: float, upper: float) -> float:
    """A number above ``lower`` and not above ``upper``: the midpoint, or ``upper`` where no float lies between."""
    middle = lower / 2 + upper / 2
    return middle if lower < middle <= upper else upper
