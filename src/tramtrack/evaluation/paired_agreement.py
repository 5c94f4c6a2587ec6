"""Whether one of two measurements agrees better with the truth, on the same units: paired differences, intervals by woman.

Both are judged on the same women, so what is hard about a woman weighs on both. Intervals and p are Student's with the women
less one, around the difference. Its standard error is that of resampled women for mean errors, and for rank correlations the
jackknife's that leaves out a woman at a time: a resample holds women several times over, which ties their ranks, and of equally
good measurements it would separate far fewer than it states.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from tramtrack.evaluation.agreement import LEAST_WOMEN, ROUNDING, Estimate, resampled_spearman, spearman
from tramtrack.evaluation.intervals import standard_error
from tramtrack.evaluation.resampling import RESAMPLES, resample_women
from tramtrack.evaluation.scores import Floats


@dataclass(frozen=True)
class Paired:
    """``one`` and ``other`` are what each measurement comes to, ``difference`` is one less other; ``p`` two-sided, None where
    the difference has no interval."""

    one: float | None
    other: float | None
    difference: Estimate
    p: float | None
    units: int
    women: int


def compare_errors(
    one: Floats,
    other: Floats,
    true: Floats,
    woman: NDArray[np.generic],
    *,
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Paired:
    """The mean absolute error of ``one`` less that of ``other``, float (units,), finite, against the ``true`` amounts.

    ``woman`` (units,) says whose each is. Unit: that of the amounts.
    """
    errors, others = np.abs(one - true), np.abs(other - true)
    counts = _counts(woman, generator, resamples)
    means = (errors - others) @ counts / counts.sum(axis=0)
    return _paired(float(errors.mean()), float(others.mean()), standard_error(means), woman, confidence)


def compare_ranks(one: Floats, other: Floats, true: Floats, woman: NDArray[np.generic], *, confidence: float = 0.95) -> Paired:
    """Spearman's rho of ``one`` with the ``true`` amounts less that of ``other``; arguments as in `compare_errors`.

    There is none where any of the three is constant. Source of the standard error: Efron and Stein, Ann Statist 1981;9:586.
    """
    values = (spearman(one, true), spearman(other, true))
    if not np.isfinite(values).all():
        found = [None if np.isnan(value) else value for value in values]
        none = Estimate(None, None, None, "all measured, or all true, amounts are alike")
        return Paired(found[0], found[1], none, None, len(true), len(np.unique(woman)))
    names, index = np.unique(woman, return_inverse=True)
    without = (1 - np.eye(len(names), dtype=np.int32))[index]  # (units, women): everyone but one woman
    differences = resampled_spearman(one, true, without) - resampled_spearman(other, true, without)
    spread = differences - differences.mean()
    error = float(np.sqrt((len(names) - 1) / len(names) * np.sum(spread**2)))
    return _paired(*values, error if np.isfinite(error) else 0.0, woman, confidence)


def _counts(woman: NDArray[np.generic], generator: np.random.Generator, resamples: int) -> Floats:
    """How often each unit stands in each resample of women: float64 (units, resamples)."""
    names, index = np.unique(woman, return_inverse=True)
    return np.asarray(resample_women(len(names), resamples, generator)[index], dtype=np.float64)


def _paired(one: float, other: float, error: float, woman: NDArray[np.generic], confidence: float) -> Paired:
    """The difference with its interval, from its standard ``error``; 0 where there is none."""
    women, value = len(np.unique(woman)), one - other
    reason = f"{women} women; {LEAST_WOMEN} are needed" if women < LEAST_WOMEN else ""
    reason = reason or ("it is the same in all women" if error <= ROUNDING else "")
    if reason:
        return Paired(one, other, Estimate(value, None, None, reason), None, len(woman), women)
    half = float(special.stdtrit(women - 1, 0.5 + confidence / 2)) * error
    p = float(2 * stats.t.sf(abs(value) / error, women - 1))
    return Paired(one, other, Estimate(value, value - half, value + half), p, len(woman), women)
