"""Intervals from resampling women, never of zero width.

The bootstrap draws women with replacement and takes all their units along, so views of one woman stay together. Its
variance then scales a score-type interval (Wilson's for proportions, Newcombe's for the AUC), which stays inside [0, 1],
is lopsided where it should be, and goes over into the plain one, with women as the sample size, where the bootstrap
has no spread to offer: at AUC 1, sensitivity 1 or 0, F1 1, or with two women. `docs/explanation/statistics.md` says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from tramtrack.evaluation.aggregate import Units
from tramtrack.evaluation.ranks import PARTIAL_FROM, mcclish, mean_sensitivity
from tramtrack.evaluation.resampling import RESAMPLES, estimate, resample_women, resampled_all
from tramtrack.evaluation.scores import (
    COUNT_METRICS,
    METRICS,
    Floats,
    Metric,
    Score,
    Undefined,
    undefined_reason,
)

LEAST_RESAMPLES = 100  # fewer defined resamples than this say nothing about a variance

_KINDS = {
    "auc_roc": "Newcombe score interval",
    "partial_auc": "Wilson interval on the mean sensitivity",
    "f1": "Wilson interval on Jaccard",
}
CLUSTER_METHOD = {name: f"{_KINDS.get(name, 'Wilson interval')} scaled to the woman bootstrap" for name in METRICS}
BOUNDARY_METHOD = {name: f"{_KINDS.get(name, 'Wilson interval')}, women as sample size" for name in METRICS}


@dataclass(frozen=True)
class Sample:
    """How much evidence a metric rests on: (first class, second class).

    ``units`` counts units, ``women`` the women that have at least one of them. The classes are positive and negative for
    the AUCs, the average precision and the Brier score, positive for sensitivity, negative for specificity, called positive
    for PPV, called negative for NPV, and all units called or truly positive for F1; the second class is the rest.
    """

    units: tuple[int, int]
    women: tuple[int, int]


def score(
    metric: Metric,
    units: Units,
    threshold: float | Undefined | None = None,
    *,
    probabilities: Floats | Undefined | None = None,
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Score | Undefined:
    """One metric on ``units`` with its interval; see `score_all` for the arguments."""
    options: dict[str, Any] = {"generator": generator, "resamples": resamples, "confidence": confidence}
    return score_all(units, threshold, probabilities=probabilities, metrics=(metric,), **options)[metric]


def score_all(
    units: Units,
    threshold: float | Undefined | None = None,
    *,
    probabilities: Floats | Undefined | None = None,
    metrics: tuple[Metric, ...] = METRICS,
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> dict[Metric, Score | Undefined]:
    """Each of ``metrics`` on ``units``, all on the same resamples of women.

    ``threshold`` comes from validation (score >= threshold is positive), and so do ``probabilities``, float (units,) in
    [0, 1], by the recalibration there; where one is Undefined or None, the metrics that need it are Undefined.
    ``confidence`` in (0, 1) is the coverage of each interval. A generator in the same state gives the same result, whatever
    the order of the rows.
    """
    weights = resample_women(max(1, units.women), resamples, generator)
    return score_resampled(units, threshold, weights, probabilities=probabilities, metrics=metrics, confidence=confidence)


def score_resampled(
    units: Units,
    threshold: float | Undefined | None,
    weights: NDArray[np.int32],
    *,
    probabilities: Floats | Undefined | None = None,
    metrics: tuple[Metric, ...] = METRICS,
    confidence: float = 0.95,
) -> dict[Metric, Score | Undefined]:
    """As `score_all`, on resamples that are drawn already: int32 (women, resamples), women in the order of np.unique."""
    cut = float(threshold) if isinstance(threshold, int | float) else None
    likely = np.asarray(probabilities, dtype=np.float64) if isinstance(probabilities, np.ndarray) else None
    reasons = {name: _reason(name, units, threshold, probabilities) for name in metrics}
    defined = tuple(name for name, reason in reasons.items() if reason is None)
    woman = np.unique(units.woman, return_inverse=True)[1]
    values = (
        resampled_all(units.labels, units.scores, woman, weights, threshold=cut, probabilities=likely, metrics=defined)
        if defined
        else {}
    )
    found: dict[Metric, Score | Undefined] = {}
    for name, reason in reasons.items():
        if reason is not None:
            found[name] = Undefined(name, reason, **units.counts())
            continue
        scores = likely if name == "brier" and likely is not None else units.scores
        value = estimate(name, units.labels, scores, cut)
        sample = evidence(name, units.labels, units.scores, woman, cut)
        found[name] = _scored(name, value, values[name], sample, confidence, units)
    return found


def _scored(metric: Metric, value: float, values: Floats, sample: Sample, confidence: float, units: Units) -> Score:
    known = values[np.isfinite(values)]
    spread = standard_error(known)
    low, high = interval(metric, value, sample, spread, confidence)
    method = (CLUSTER_METHOD if spread > 0 else BOUNDARY_METHOD)[metric]
    return Score(metric, value, low, high, method, **units.counts(), resamples=len(known), dropped=len(values) - len(known))


def _reason(
    metric: Metric, units: Units, threshold: float | Undefined | None, probabilities: Floats | Undefined | None
) -> str | None:
    """Why the metric is Undefined on these units, or None."""
    if metric in COUNT_METRICS and threshold is None:
        return "no threshold was chosen"
    if metric in COUNT_METRICS and isinstance(threshold, Undefined):
        return f"no threshold: {threshold.reason} in validation"
    if metric == "brier" and probabilities is None:
        return "no recalibration was made"
    if metric == "brier" and isinstance(probabilities, Undefined):
        return f"no recalibration: {probabilities.reason} in validation"
    cut = float(threshold) if isinstance(threshold, int | float) else None
    return undefined_reason(metric, units.labels, units.scores, cut, units.unit)


def standard_error(values: Floats) -> float:
    """Standard deviation over defined resamples; 0 where they are too few or all equal (exactly, not to rounding)."""
    if len(values) < LEAST_RESAMPLES or np.ptp(values) == 0:
        return 0.0
    return float(values.std(ddof=1))


def evidence(
    metric: Metric, labels: NDArray[np.bool_], scores: Floats, woman: NDArray[np.int64], threshold: float | None
) -> Sample:
    """The units and women that the metric rests on; arrays as in `resampled`."""
    first = labels
    if metric == "specificity":
        first = ~labels
    elif metric in COUNT_METRICS and threshold is not None:
        called = scores >= threshold
        first = {"f1": labels | called, "ppv": called, "npv": ~called}.get(metric, labels)
    second = ~labels if metric == "f1" else ~first
    return Sample((int(first.sum()), int(second.sum())), (len(np.unique(woman[first])), len(np.unique(woman[second]))))


def interval(metric: Metric, value: float, sample: Sample, spread: float, confidence: float) -> tuple[float, float]:
    """(low, high) around ``value``, never of zero width, for a bootstrap standard error ``spread`` (0: it has none).

    The sample size of a score-type interval is the one at which its own variance at ``value`` equals the bootstrap's
    (Korn and Graubard, Survey Methodology 1998;24:193, do so for proportions of clustered surveys); for a share of units it
    is never more than there are units. Without a spread it is the number of women (for the Brier score those of the larger
    class). The quantile is Student's with the women of the (smaller) class less one degree of freedom, and the normal one
    where that is undefined.
    """
    degrees = (sample.women[0] if metric in COUNT_METRICS else min(sample.women)) - 1
    quantile = _quantile(confidence, degrees if spread > 0 else 0)
    if metric == "auc_roc":
        plain = newcombe_variance(value, *sample.women)
        inflation = 1.0
        if spread > 0 and plain > 0:
            inflation = max(spread**2, newcombe_variance(value, *sample.units)) / plain
        return newcombe(value, *sample.women, quantile, inflation)
    proportion, slope = _as_proportion(metric, value)
    size = float(max(sample.women) if metric == "brier" else sample.women[0])
    if spread > 0 and 0 < proportion < 1:
        size = proportion * (1 - proportion) * (slope / spread) ** 2
        if metric != "brier":
            size = min(size, sample.units[0])
    low, high = (_from_proportion(metric, bound) for bound in wilson(proportion, size, quantile))
    return min(low, value), max(high, value)


def _as_proportion(metric: Metric, value: float) -> tuple[float, float]:
    """The proportion that the metric is a rising function of, and the slope of that function there."""
    if metric == "f1":
        jaccard = value / (2 - value)  # F1 = 2 J / (1 + J)
        return jaccard, 2 / (1 + jaccard) ** 2
    if metric == "partial_auc":
        return mean_sensitivity(value), 0.5 / (1 - (1 - PARTIAL_FROM) / 2)
    return value, 1.0


def _from_proportion(metric: Metric, proportion: float) -> float:
    if metric == "f1":
        return 2 * proportion / (1 + proportion)
    return float(mcclish(proportion)) if metric == "partial_auc" else proportion


def _quantile(confidence: float, degrees: int) -> float:
    tail = 0.5 + confidence / 2
    return float(special.stdtrit(degrees, tail) if degrees > 0 else special.ndtri(tail))


def wilson(proportion: float, size: float, quantile: float) -> tuple[float, float]:
    """Wilson's score interval of a proportion in [0, 1] for ``size`` > 0 independent trials; inside [0, 1].

    Source: Wilson, JASA 1927;22:209. At proportion 1 it is (size / (size + quantile^2), 1).
    """
    squared = quantile**2 / size
    centre = (proportion + squared / 2) / (1 + squared)
    half = np.sqrt(squared * (proportion * (1 - proportion) + squared / 4)) / (1 + squared)
    return max(0.0, min(proportion, float(centre - half))), min(1.0, max(proportion, float(centre + half)))


def newcombe_variance(auc: float, positives: float, negatives: float) -> float:
    """Variance of an AUC by Hanley and McNeil with Newcombe's symmetric sizes (method 5).

    Source: Newcombe, Statistics in Medicine 2006;25:559, V = A (1 - A) (1 + N (1 - A) / (2 - A) + N A / (1 + A)) / (m n)
    with N = (m + n) / 2 - 1; Hanley and McNeil, Radiology 1982;143:29, have n - 1 and m - 1 in its place.
    """
    middle = (positives + negatives) / 2 - 1
    return auc * (1 - auc) * (1 + middle * (1 - auc) / (2 - auc) + middle * auc / (1 + auc)) / (positives * negatives)


def newcombe(auc: float, positives: float, negatives: float, quantile: float, inflation: float = 1.0) -> tuple[float, float]:
    """Newcombe's score interval of an AUC (method 5): all A with |auc - A| <= quantile * sqrt(inflation * V(A)).

    Both ends by Brent's root finding to 1e-12; inside [0, 1], and never of zero width for at least one positive and one
    negative.
    """

    def excess(candidate: float) -> float:
        return (candidate - auc) ** 2 - quantile**2 * inflation * newcombe_variance(candidate, positives, negatives)

    # At 0 and at 1, where V vanishes, the excess is not negative; next to an estimate, and a hair inside 0 and 1, it is.
    start = min(max(auc, 1e-9), 1 - 1e-9)
    low = 0.0 if auc <= start < 1e-8 else float(optimize.brentq(excess, 0.0, start, xtol=1e-12))
    high = 1.0 if auc >= start > 1 - 1e-8 else float(optimize.brentq(excess, start, 1.0, xtol=1e-12))
    return max(0.0, min(low, auc)), min(1.0, max(high, auc))
