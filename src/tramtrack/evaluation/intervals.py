"""Intervals from resampling women, never of zero width.

The bootstrap draws women with replacement and takes all their units along, so views of one woman stay together. Its
variance then scales a score-type interval (Wilson's for proportions, Newcombe's for the AUC), which stays inside [0, 1],
is lopsided where it should be, and goes over into the plain one, with women as the sample size, where the bootstrap
has no spread to offer: at AUC 1, sensitivity 1 or 0, F1 1, or with two women. `docs/explanation/statistics.md` says why.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from tramtrack.errors import UsageError
from tramtrack.evaluation.aggregate import Units
from tramtrack.evaluation.scores import (
    METRICS,
    Floats,
    Metric,
    Score,
    Undefined,
    confusion,
    estimate,
    from_counts,
    undefined_reason,
    weighted_auc,
)

RESAMPLES = 2000
LEAST_RESAMPLES = 100  # fewer defined resamples than this say nothing about a variance
CELLS_AT_ONCE = 1 << 21  # units x resamples held at a time: 16 MB an array

CLUSTER_METHOD = {
    "auc_roc": "Newcombe score interval scaled to the woman bootstrap",
    "f1": "Wilson interval on Jaccard scaled to the woman bootstrap",
    "sensitivity": "Wilson interval scaled to the woman bootstrap",
    "specificity": "Wilson interval scaled to the woman bootstrap",
}
BOUNDARY_METHOD = {
    "auc_roc": "Newcombe score interval, women as sample size",
    "f1": "Wilson interval on Jaccard, women as sample size",
    "sensitivity": "Wilson interval, women as sample size",
    "specificity": "Wilson interval, women as sample size",
}


@dataclass(frozen=True)
class Sample:
    """How much evidence a metric rests on: (first class, second class); the AUC uses both, the others the first only.

    ``units`` counts units, ``women`` the women that have at least one of them. The classes are positive and negative for
    the AUC, positive for sensitivity, negative for specificity, and for F1 all units called or truly positive.
    """

    units: tuple[int, int]
    women: tuple[int, int]


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


def resampled(
    metric: Metric,
    labels: NDArray[np.bool_],
    scores: Floats,
    woman: NDArray[np.int64],
    weights: NDArray[np.int32],
    threshold: float | None = None,
) -> Floats:
    """The metric in every resample: float64 (resamples,), NaN where it is undefined there.

    ``labels`` bool (units,), ``scores`` finite float (units,), ``woman`` int (units,) the row of ``weights``
    (women, resamples) that the unit's woman has.
    """
    if metric != "auc_roc":
        if threshold is None:
            raise UsageError(f"metric {metric}: expected a threshold chosen on validation, received none")
        by_woman = np.zeros((len(weights), 4))
        np.add.at(by_woman, woman, confusion(labels, scores, threshold))
        return from_counts(metric, weights.T.astype(float) @ by_woman)
    values = np.empty(weights.shape[1])
    step = max(1, CELLS_AT_ONCE // max(1, len(labels)))
    for start in range(0, len(values), step):
        columns = slice(start, start + step)
        values[columns] = weighted_auc(labels, scores, weights[:, columns][woman].astype(np.int64))
    return values


def score(
    metric: Metric,
    units: Units,
    threshold: float | Undefined | None = None,
    *,
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Score | Undefined:
    """One metric on ``units`` with its interval; see `score_all` for the arguments."""
    weights = resample_women(max(1, units.women), resamples, generator)
    return _score(metric, units, threshold, weights, confidence)


def score_all(
    units: Units,
    threshold: float | Undefined | None = None,
    *,
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> dict[Metric, Score | Undefined]:
    """Every metric on ``units``, all on the same resamples of women.

    ``threshold`` comes from validation (score >= threshold is positive); where it is Undefined or None, the metrics that
    need one are Undefined. ``confidence`` in (0, 1) is the coverage of each interval. A generator in the same state gives
    the same result, whatever the order of the rows.
    """
    weights = resample_women(max(1, units.women), resamples, generator)
    return {metric: _score(metric, units, threshold, weights, confidence) for metric in METRICS}


def _score(
    metric: Metric, units: Units, threshold: float | Undefined | None, weights: NDArray[np.int32], confidence: float
) -> Score | Undefined:
    cut: float | None = None
    if metric != "auc_roc":
        if threshold is None:
            return Undefined(metric, "no threshold was chosen", **units.counts())
        if isinstance(threshold, Undefined):
            return Undefined(metric, f"no threshold: {threshold.reason} in validation", **units.counts())
        cut = float(threshold)
    reason = undefined_reason(metric, units.labels, units.scores, cut, units.unit)
    if reason is not None:
        return Undefined(metric, reason, **units.counts())
    woman = np.unique(units.woman, return_inverse=True)[1]
    value = estimate(metric, units.labels, units.scores, cut)
    values = resampled(metric, units.labels, units.scores, woman, weights, cut)
    defined = values[np.isfinite(values)]
    spread = standard_error(defined)
    low, high = interval(metric, value, evidence(metric, units.labels, units.scores, woman, cut), spread, confidence)
    method = (CLUSTER_METHOD if spread > 0 else BOUNDARY_METHOD)[metric]
    return Score(metric, value, low, high, method, **units.counts(), resamples=len(defined), dropped=len(values) - len(defined))


def standard_error(values: Floats) -> float:
    """Standard deviation over defined resamples; 0 where they are too few or all equal (exactly, not to rounding)."""
    if len(values) < LEAST_RESAMPLES or np.ptp(values) == 0:
        return 0.0
    return float(values.std(ddof=1))


def evidence(
    metric: Metric, labels: NDArray[np.bool_], scores: Floats, woman: NDArray[np.int64], threshold: float | None
) -> Sample:
    """The units and women that the metric rests on; arrays as in `resampled`."""
    first, second = labels, ~labels
    if metric == "specificity":
        first = ~labels
    elif metric == "f1" and threshold is not None:
        first = labels | (scores >= threshold)
    return Sample((int(first.sum()), int(second.sum())), (len(np.unique(woman[first])), len(np.unique(woman[second]))))


def interval(metric: Metric, value: float, sample: Sample, spread: float, confidence: float) -> tuple[float, float]:
    """(low, high) around ``value``, never of zero width, for a bootstrap standard error ``spread`` (0: it has none).

    The sample size of a score-type interval is the one at which its own variance at ``value`` equals the bootstrap's
    (Korn and Graubard, Survey Methodology 1998;24:193, do so for proportions of clustered surveys), never more than
    there are units; without a spread it is the number of women. The quantile is Student's with the women of the (smaller)
    class less one degree of freedom, and the normal one where that is undefined.
    """
    if metric == "auc_roc":
        degrees = min(sample.women) - 1
        quantile = _quantile(confidence, degrees if spread > 0 else 0)
        plain = newcombe_variance(value, *sample.women)
        inflation = 1.0
        if spread > 0 and plain > 0:
            inflation = max(spread**2, newcombe_variance(value, *sample.units)) / plain
        return newcombe(value, *sample.women, quantile, inflation)
    proportion = value / (2 - value) if metric == "f1" else value
    size = float(sample.women[0])
    if spread > 0 and 0 < proportion < 1:
        slope = 2 / (1 + proportion) ** 2 if metric == "f1" else 1.0  # F1 = 2 J / (1 + J)
        size = min(proportion * (1 - proportion) * (slope / spread) ** 2, sample.units[0])
    low, high = wilson(proportion, size, _quantile(confidence, sample.women[0] - 1 if spread > 0 else 0))
    if metric == "f1":
        low, high = 2 * low / (1 + low), 2 * high / (1 + high)
    return min(low, value), max(high, value)


def _quantile(confidence: float, degrees: int) -> float:
    tail = 0.5 + confidence / 2
    return float(stats.t.ppf(tail, degrees) if degrees > 0 else stats.norm.ppf(tail))


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
