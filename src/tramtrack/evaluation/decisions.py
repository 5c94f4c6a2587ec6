"""What calls are worth at other prevalences: predictive values by Bayes' rule, and the decision curve of women."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from tramtrack.errors import UsageError
from tramtrack.evaluation.aggregate import Units
from tramtrack.evaluation.calibration import Recalibration
from tramtrack.evaluation.intervals import (
    BOUNDARY_METHOD,
    CLUSTER_METHOD,
    Sample,
    interval,
    score_resampled,
    standard_error,
)
from tramtrack.evaluation.resampling import resampled_all
from tramtrack.evaluation.scores import Floats, Metric, Score, Undefined, ratio, undefined_reason

PREDICTIVE: tuple[Metric, ...] = ("ppv", "npv")
CHANCES = np.arange(1, 61) / 100
"""The probabilities from which a woman would be called back, at which a decision curve is computed."""


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit of calling women back from each of ``chances`` on, in true positives a woman; float64 (points,) each.

    ``low`` to ``high`` is an interval from resampled women, NaN where no resample differs. ``all_called`` is the net benefit
    of calling every woman; that of calling none is 0. ``prevalence`` is the one that the curve holds for.
    Source: Vickers and Elkin, Med Decis Making 2006;26:565.
    """

    chances: Floats
    net_benefit: Floats
    low: Floats
    high: Floats
    all_called: Floats
    prevalence: float
    n: int
    positives: int
    women: int


def predictive_scores(
    units: Units,
    threshold: float | Undefined | None,
    weights: NDArray[np.int32],
    prevalence: float,
    confidence: float = 0.95,
) -> dict[Metric, Score | Undefined]:
    """PPV and NPV of women at a stated ``prevalence`` in (0, 1), by Bayes' rule from sensitivity and specificity.

    The interval is Wilson's, scaled to the bootstrap of women, with the women of the smaller class as its sample where no
    resample differs: at another prevalence the calls themselves are no sample. Undefined where either rate is, or nobody is
    called so.
    """
    if units.unit != "woman":
        raise UsageError(f"predictive values of {units.unit}s at a stated prevalence: expected women")
    if not 0 < prevalence < 1:
        raise UsageError(f"prevalence {prevalence}: expected a share between 0 and 1")
    rates = score_resampled(units, threshold, weights, metrics=("sensitivity", "specificity"), confidence=confidence)
    for score in rates.values():
        if isinstance(score, Undefined):
            return {name: Undefined(name, score.reason, **units.counts()) for name in PREDICTIVE}
    assert isinstance(threshold, int | float)
    woman = np.unique(units.woman, return_inverse=True)[1]
    options: dict[str, Any] = {"threshold": float(threshold), "metrics": ("sensitivity", "specificity")}
    drawn = resampled_all(units.labels, units.scores, woman, weights, **options)
    observed = resampled_all(units.labels, units.scores, woman, np.ones((len(weights), 1), dtype=np.int32), **options)
    values = _bayes(drawn["sensitivity"], drawn["specificity"], prevalence)
    found: dict[Metric, Score | Undefined] = {}
    fewest = min(units.positives, len(units) - units.positives)
    for number, name in enumerate(PREDICTIVE):
        value = float(_bayes(observed["sensitivity"], observed["specificity"], prevalence)[number][0])
        if np.isnan(value):
            call = "positive" if name == "ppv" else "negative"
            found[name] = Undefined(name, f"no woman called {call}", **units.counts())
            continue
        known = values[number][np.isfinite(values[number])]
        spread = standard_error(known)
        low, high = interval(name, value, Sample((len(units), 0), (fewest, 0)), spread, confidence)
        method = (CLUSTER_METHOD if spread > 0 else BOUNDARY_METHOD)[name]
        dropped = len(values[number]) - len(known)
        found[name] = Score(name, value, low, high, method, **units.counts(), resamples=len(known), dropped=dropped)
    return found


def _bayes(sensitivity: Floats, specificity: Floats, prevalence: float) -> tuple[Floats, Floats]:
    true, false = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    missed, cleared = (1 - sensitivity) * prevalence, specificity * (1 - prevalence)
    return ratio(true, true + false), ratio(cleared, cleared + missed)


def decision_curve(
    units: Units,
    recalibration: Recalibration,
    weights: NDArray[np.int32],
    prevalence: float | None = None,
    confidence: float = 0.95,
) -> DecisionCurve | Undefined:
    """The decision curve of women at their own prevalence, or at another one that is stated.

    At another prevalence both the probabilities and the shares of true and false calls are moved there, once. ``weights``
    int32 (women, resamples), women in the order of np.unique. Undefined with one class; UsageError for other units.
    """
    if units.unit != "woman" or recalibration.unit != "woman":
        raise UsageError(f"decision curve of {units.unit}s: expected women")
    reason = undefined_reason("auc_roc", units.labels, units.scores, unit=units.unit)
    if reason is not None:
        return Undefined("decision_curve", reason, **units.counts())
    called = recalibration.probabilities(units.scores, prevalence)[:, None] >= CHANCES - 1e-12  # (units, points)
    woman = np.unique(units.woman, return_inverse=True)[1]
    counts = np.zeros((len(weights), 2 * len(CHANCES) + 2))
    labels = units.labels[:, None]
    np.add.at(counts, woman, np.hstack([called & labels, called & ~labels, labels, ~labels]).astype(float))
    observed = _net_benefit(counts.sum(axis=0, keepdims=True), prevalence)[0]
    drawn = _net_benefit(weights.T.astype(float) @ counts, prevalence)
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    fewest = min(units.positives, len(units) - units.positives)
    quantile = float(stats.t.ppf(0.5 + confidence / 2, max(1, fewest - 1)))
    errors = np.array([standard_error(column) for column in drawn.T])
    half = np.where(errors > 0, quantile * errors, np.nan)
    share = units.positives / len(units) if prevalence is None else prevalence
    everyone = share - (1 - share) * CHANCES / (1 - CHANCES)
    return DecisionCurve(CHANCES, observed, observed - half, observed + half, everyone, share, **units.counts())


def _net_benefit(counts: Floats, prevalence: float | None) -> Floats:
    """Rows of true calls, false calls (points each), positives, negatives to net benefits (rows, points)."""
    points = len(CHANCES)
    positives, negatives = counts[:, -2, None], counts[:, -1, None]
    share = positives / (positives + negatives) if prevalence is None else np.full_like(positives, prevalence)
    true = ratio(counts[:, :points], np.broadcast_to(positives, counts[:, :points].shape))
    false = ratio(counts[:, points : 2 * points], np.broadcast_to(negatives, counts[:, :points].shape))
    odds = np.exp(special.logit(CHANCES))
    return np.asarray(true * share - false * (1 - share) * odds)
