"""How well measured amounts agree with true ones: Spearman's correlation and Bland and Altman's limits, intervals by woman.

Rank correlation asks whether the order is right, the limits of agreement how far a single measurement is off. Views of a woman
stay together: every interval comes from resampled women, and its quantile is Student's with the women less one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from tramtrack.evaluation.intervals import standard_error
from tramtrack.evaluation.resampling import RESAMPLES, resample_women
from tramtrack.evaluation.scores import Floats

LEAST_WOMEN = 4
"""Fewer women carry no interval: Fisher's variance of a correlation is not defined for three."""
ROUNDING = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, low <= value <= high; all None where there is none, and ``reason`` says why."""

    value: float | None
    low: float | None
    high: float | None
    reason: str = ""


@dataclass(frozen=True)
class Agreement:
    """``rank``: Spearman's rho. ``bias``: mean of measured minus true; ``lower`` and ``upper`` are the limits between which a
    share ``confidence`` of such differences lies, were they normal (Bland and Altman, Lancet 1986;1:307)."""

    rank: Estimate
    bias: Estimate
    lower: Estimate
    upper: Estimate
    units: int
    women: int


def agree(
    measured: Floats,
    true: Floats,
    woman: NDArray[np.generic],
    *,
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Agreement:
    """The agreement of ``measured`` with ``true`` amounts, float (units,), finite; ``woman`` (units,) whose each is."""
    names, index = np.unique(woman, return_inverse=True)
    if len(names) < LEAST_WOMEN:
        none = Estimate(None, None, None, f"{len(names)} women; {LEAST_WOMEN} are needed")
        return Agreement(none, none, none, none, len(measured), len(names))
    weights = resample_women(len(names), resamples, generator)[index]
    quantile = float(special.stdtrit(len(names) - 1, 0.5 + confidence / 2))
    bias, lower, upper = _limits(measured - true, weights, quantile, float(special.ndtri(0.5 + confidence / 2)))
    rank = _rank(measured, true, weights, quantile, len(names))
    return Agreement(rank, bias, lower, upper, len(measured), len(names))


def spearman(one: Floats, other: Floats) -> float:
    """Spearman's rank correlation of (n,) and (n,), ties at their mean rank; NaN where one of them is constant."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(stats.rankdata(one), stats.rankdata(other))[0, 1])


def resampled_spearman(one: Floats, other: Floats, weights: NDArray[np.int32]) -> Floats:
    """Spearman's correlation in every resample: float64 (resamples,), NaN where a resample is constant.

    ``weights`` (n, resamples) says how often each pair stands in each resample; ranks are those within the resample.
    """
    counts = weights.astype(np.float64)
    total = counts.sum(axis=0)
    a, b = (_ranks(values, counts) - (total + 1) / 2 for values in (one, other))  # the mean rank is (n + 1) / 2
    squares = ((counts * a**2).sum(axis=0), (counts * b**2).sum(axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (counts * a * b).sum(axis=0) / np.sqrt(squares[0] * squares[1])
    return np.asarray(np.where(np.minimum(*squares) > ROUNDING, found, np.nan))


def _ranks(values: Floats, counts: Floats) -> Floats:
    """The mean rank of each value within each resample, (n, resamples)."""
    groups = np.unique(values, return_inverse=True)[1]
    sizes = np.zeros((int(groups.max()) + 1, counts.shape[1]))
    np.add.at(sizes, groups, counts)
    return np.asarray((np.cumsum(sizes, axis=0) - sizes / 2 + 0.5)[groups])


def _rank(one: Floats, other: Floats, weights: NDArray[np.int32], quantile: float, women: int) -> Estimate:
    """Rho with an interval on Fisher's scale: from the resamples, or where they do not differ from its variance 1.06 / (n - 3)
    with the women as n (Fieller, Hartley and Pearson, Biometrika 1957;44:470). A perfect order, which has no place on
    that scale, counts as 1 - 1 / women there, and its interval is open to 1."""
    rho = spearman(one, other)
    if np.isnan(rho):
        return Estimate(None, None, None, "all measured, or all true, amounts are alike")
    values = resampled_spearman(one, other, weights)
    most = 1 - 1 / women
    spread = standard_error(np.arctanh(np.clip(values[np.isfinite(values)], -most, most)))
    error = spread if spread > ROUNDING and abs(rho) < most else float(np.sqrt(1.06 / (women - 3)))
    centre = float(np.arctanh(np.clip(rho, -most, most)))
    low, high = float(np.tanh(centre - quantile * error)), float(np.tanh(centre + quantile * error))
    return Estimate(rho, min(low, rho), max(high, rho))


def _limits(
    differences: Floats, weights: NDArray[np.int32], quantile: float, normal: float
) -> tuple[Estimate, Estimate, Estimate]:
    """Bias and limits of agreement with their intervals.

    A small sample's SD is too small more often than too large, so the intervals of the limits reach further outwards than
    inwards, in the proportion in which an interval of the SD does that is made on the logarithmic scale.
    """
    counts = weights.astype(np.float64)
    total = counts.sum(axis=0)
    means = differences @ counts / total
    deviations = np.sqrt(np.maximum(differences**2 @ counts / total - means**2, 0) * total / np.maximum(total - 1, 1))
    mean, deviation = float(differences.mean()), float(differences.std(ddof=1))
    off = quantile * standard_error(means)
    lower, upper = mean - normal * deviation, mean + normal * deviation
    if off <= ROUNDING:
        bias, low, high = (Estimate(value, None, None, "all differences are alike") for value in (mean, lower, upper))
        return bias, low, high
    growth = quantile * standard_error(np.log(deviations[deviations > ROUNDING]))
    outwards, inwards = (np.expm1(growth) / growth, -np.expm1(-growth) / growth) if growth > 0 else (1.0, 1.0)
    below, above = (quantile * standard_error(means + sign * normal * deviations) for sign in (-1, 1))
    return (
        Estimate(mean, mean - off, mean + off),
        Estimate(lower, float(lower - outwards * below), float(lower + inwards * below)),
        Estimate(upper, float(upper - inwards * above), float(upper + outwards * above)),
    )
