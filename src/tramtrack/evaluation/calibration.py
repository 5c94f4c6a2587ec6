"""From scores to probabilities, once, on validation; and how well such probabilities hold on other women.

A network trained on a weighed and thinned-out training fold gives scores that rank but are no probabilities. Validation has
its natural prevalence, so the recalibration is made there, once. A shift to another prevalence starts from its result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from tramtrack.errors import UsageError
from tramtrack.evaluation.aggregate import Unit, Units
from tramtrack.evaluation.intervals import Sample, interval, standard_error
from tramtrack.evaluation.scores import Bools, Floats, Undefined, ratio, undefined_reason

FARTHEST_LOGIT = 30.0  # a score within 1e-13 of 0 or 1 is taken as that far, so that its logit is a number
GROUPS = 10  # points of a calibration curve, at most
LEAST_IN_GROUP = 10  # units a point stands for, at least
LEAST_SPREAD = 1e-8  # what is below is the rounding of coefficients that do not move


@dataclass(frozen=True)
class Recalibration:
    """probability = expit(intercept + slope * logit(score)), fitted on validation.

    ``prevalence`` is the share of positives there, which the probabilities carry; ``n``, ``positives`` and ``women`` count
    the units of the fit.
    """

    unit: Unit
    intercept: float
    slope: float
    prevalence: float
    n: int
    positives: int
    women: int

    def probabilities(self, scores: Floats, prevalence: float | None = None) -> Floats:
        """Probabilities float64 (units,) in [0, 1] of scores in [0, 1]; NaN stays NaN.

        With another ``prevalence`` in (0, 1) the odds are multiplied by the ratio of the two prevalences' odds, which is
        right where women with and without BAC are like those of validation and only their numbers differ (Saerens et al.,
        Neural Comput 2002;14:21). Raises UsageError for a unit other than the woman: a prevalence is stated for women.
        """
        shift = 0.0
        if prevalence is not None:
            if self.unit != "woman":
                raise UsageError(f"prevalence {prevalence} for {self.unit}s: expected probabilities of women")
            if not 0 < prevalence < 1:
                raise UsageError(f"prevalence {prevalence}: expected a share between 0 and 1")
            shift = float(special.logit(prevalence) - special.logit(self.prevalence))
        return np.asarray(special.expit(self.intercept + self.slope * logits(scores) + shift))


@dataclass(frozen=True)
class Reliability:
    """How probabilities hold on units that had no part in their making: intercept 0 and slope 1 are perfect.

    ``intercept`` (calibration in the large) is the shift of the logit that makes the mean right, with the slope held at 1;
    ``slope`` is below 1 where the probabilities are too extreme. Each has (low, high) beside it. The curve is the logistic
    one through the units: ``grid`` probabilities (points,), ``curve`` the observed share there with ``band`` (2, points).
    Source: Cox, Biometrika 1958;45:562; Van Calster et al., BMC Med 2019;17:230.
    """

    unit: Unit
    intercept: float
    intercept_interval: tuple[float, float]
    slope: float
    slope_interval: tuple[float, float]
    grid: Floats
    curve: Floats
    band: Floats
    n: int
    positives: int
    women: int


@dataclass(frozen=True)
class Group:
    """Units with neighbouring probabilities: their mean, and the share that is positive, in [0, 1], low to high."""

    predicted: float
    observed: float
    low: float
    high: float
    n: int
    positives: int


def logits(scores: Floats) -> Floats:
    """log(score / (1 - score)), held within -+ FARTHEST_LOGIT."""
    with np.errstate(divide="ignore"):
        return np.clip(special.logit(scores), -FARTHEST_LOGIT, FARTHEST_LOGIT)


def recalibrate(units: Units) -> Recalibration | Undefined:
    """Fit the two numbers on validation units; Undefined with one class, equal scores, or scores not finite.

    Maximum likelihood with Platt's targets, (positives + 1) / (positives + 2) and 1 / (negatives + 2) in place of 1 and 0,
    so that it is finite even where the classes do not overlap. Source: Platt, in Advances in Large Margin Classifiers 1999.
    """
    reason = undefined_reason("auc_roc", units.labels, units.scores, unit=units.unit)
    if reason is None and np.ptp(units.scores) == 0:
        reason = f"every {units.unit} has the same score"
    if reason is not None:
        return Undefined("recalibration", reason, **units.counts())
    positives, negatives = units.positives, len(units) - units.positives
    targets = np.where(units.labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    intercept, slope = _logistic(logits(units.scores), targets)
    return Recalibration(units.unit, intercept, slope, positives / len(units), **units.counts())


def reliability(
    units: Units, probabilities: Floats, weights: NDArray[np.int32], confidence: float = 0.95
) -> Reliability | Undefined:
    """Calibration intercept, slope and curve of ``probabilities`` (units,), with intervals from resampled women.

    ``weights`` int32 (women, resamples), women in the order of np.unique. In each resample the fit moves by one Newton step
    from the observed one; the interval is the estimate -+ Student's quantile with the women of the smaller class less one.
    Undefined with one class, where the classes do not overlap, since the slope then has no finite value, and where every
    resample of women gives the same numbers, since an interval would have no width.
    """
    reason = undefined_reason("auc_roc", units.labels, units.scores, unit=units.unit) or _no_slope(units.labels, probabilities)
    if reason is not None:
        return Undefined("calibration", reason, **units.counts())
    x, y = logits(probabilities), units.labels.astype(float)
    woman = np.unique(units.woman, return_inverse=True)[1]
    intercept, slope = _logistic(x, y)
    shift = _intercept(x, y)
    both = _one_step(np.stack([np.ones_like(x), x], axis=1), special.expit(intercept + slope * x), y, woman, weights)
    alone = _one_step(np.ones((len(x), 1)), special.expit(x + shift), y, woman, weights)
    if min(float(moved.std(axis=0, ddof=1).min()) for moved in (both, alone)) < LEAST_SPREAD:
        reason = "every resample of these women gives the same numbers, so there is no interval"
        return Undefined("calibration", reason, **units.counts())
    fewest = min(len(np.unique(woman[units.labels])), len(np.unique(woman[~units.labels])))
    quantile = float(stats.t.ppf(0.5 + confidence / 2, max(1, fewest - 1)))
    grid = np.linspace(float(x.min()), float(x.max()), 101)
    line = intercept + slope * grid
    half = quantile * (both[:, :1] + both[:, 1:] * grid).std(axis=0, ddof=1)
    return Reliability(
        units.unit,
        shift,
        _around(shift, quantile, alone[:, 0]),
        slope,
        _around(slope, quantile, both[:, 1]),
        special.expit(grid),
        special.expit(line),
        special.expit(np.stack([line - half, line + half])),
        **units.counts(),
    )


def calibration_groups(
    units: Units, probabilities: Floats, weights: NDArray[np.int32], confidence: float = 0.95
) -> list[Group]:
    """Up to GROUPS groups of about equal size, in the order of their probabilities; equal ones stay together.

    The interval of the observed share is Wilson's, scaled to the bootstrap of women as everywhere.
    """
    if not len(units) or not np.isfinite(probabilities).all():
        return []
    woman = np.unique(units.woman, return_inverse=True)[1]
    count = max(1, min(GROUPS, len(units) // LEAST_IN_GROUP))
    edges = np.unique(np.quantile(probabilities, np.arange(1, count) / count))
    group = np.searchsorted(edges, probabilities, side="left")
    found = []
    for number in np.unique(group):
        inside = group == number
        counts = np.zeros((len(weights), 2))
        np.add.at(counts, woman[inside], np.stack([units.labels[inside], np.ones(inside.sum())], axis=1))
        drawn = weights.T.astype(float) @ counts
        values = ratio(drawn[:, 0], drawn[:, 1])
        observed, n, women = float(units.labels[inside].mean()), int(inside.sum()), len(np.unique(woman[inside]))
        spread = standard_error(values[np.isfinite(values)])
        low, high = interval("ppv", observed, Sample((n, 0), (women, 0)), spread, confidence)
        found.append(Group(float(probabilities[inside].mean()), observed, low, high, n, int(units.labels[inside].sum())))
    return found


def _no_slope(labels: Bools, probabilities: Floats) -> str | None:
    if np.ptp(probabilities) == 0:
        return "all probabilities are equal, so there is no slope"
    positive, negative = probabilities[labels], probabilities[~labels]
    if positive.min() >= negative.max() or negative.min() >= positive.max():
        return "the probabilities of the two classes do not overlap, so the slope has no finite value"
    return None


def _logistic(x: Floats, target: Floats) -> tuple[float, float]:
    """Intercept and slope of the maximum-likelihood logistic curve; ``target`` in [0, 1]. Newton with halved steps."""
    centre, scale = float(x.mean()), float(x.std())
    design = np.stack([np.ones_like(x), (x - centre) / scale], axis=1)
    beta = np.zeros(2)
    loss = _loss(design @ beta, target)
    for _ in range(200):
        fitted = special.expit(design @ beta)
        gradient = design.T @ (target - fitted)
        hessian = (design * (fitted * (1 - fitted))[:, None]).T @ design
        step = np.linalg.solve(hessian + 1e-12 * np.eye(2), gradient)
        while _loss(design @ (beta + step), target) > loss and np.abs(step).max() > 1e-12:
            step = step / 2
        beta = beta + step
        loss = _loss(design @ beta, target)
        if np.abs(step).max() < 1e-10:
            break
    slope = float(beta[1]) / scale
    return float(beta[0]) - slope * centre, slope


def _loss(line: Floats, target: Floats) -> float:
    return float((np.logaddexp(0, line) - target * line).sum())


def _intercept(x: Floats, y: Floats) -> float:
    """The shift of the logits x that makes the mean probability the observed share, by bisection to 1e-10."""
    low, high = -2 * FARTHEST_LOGIT, 2 * FARTHEST_LOGIT
    while high - low > 1e-10:
        middle = (low + high) / 2
        low, high = (middle, high) if special.expit(x + middle).sum() < y.sum() else (low, middle)
    return (low + high) / 2


def _one_step(design: Floats, fitted: Floats, y: Floats, woman: NDArray[np.int64], weights: NDArray[np.int32]) -> Floats:
    """By how much one Newton step moves the coefficients in each resample: float64 (resamples, coefficients)."""
    size = design.shape[1]
    products = (design[:, :, None] * design[:, None, :]).reshape(len(y), -1) * (fitted * (1 - fitted))[:, None]
    by_woman = np.zeros((len(weights), size + size * size))
    np.add.at(by_woman, woman, np.hstack([design * (y - fitted)[:, None], products]))
    drawn = weights.T.astype(float) @ by_woman
    gradient, hessian = drawn[:, :size], drawn[:, size:].reshape(-1, size, size)
    hessian = hessian + 1e-9 * np.trace(hessian, axis1=1, axis2=2)[:, None, None] * np.eye(size)
    return np.asarray(np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0])


def _around(value: float, quantile: float, moved: Floats) -> tuple[float, float]:
    half = quantile * float(moved.std(ddof=1))
    return value - half, value + half
