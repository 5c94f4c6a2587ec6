"""What repeated splits of one cohort say of a difference: an interval that knows that the splits share their women."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from tramtrack.errors import UsageError


@dataclass(frozen=True, slots=True)
class Repeated:
    """The mean of a difference over ``splits``, between its bounds; ``p`` is two-sided against 0."""

    mean: float
    low: float
    high: float
    p: float
    splits: int


def corrected_t(differences: ArrayLike, tested: float, trained: float, confidence: float = 0.95) -> Repeated | None:
    """The corrected resampled t of ``differences`` (splits,), one a split; None where all of them are equal.

    Each split trains on ``trained`` women and tests on ``tested`` others. Since the splits share women, the variance of the
    mean is taken as (1/K + tested/trained) times that between the K splits, with K - 1 degrees of freedom. It speaks of
    training anew on as many women of the same kind, and so of the architecture under the protocol.
    Source: Nadeau and Bengio, Machine Learning 2003;52:239. Raises UsageError for fewer than two splits.
    """
    values = np.asarray(differences, dtype=np.float64)
    count = len(values)
    if values.ndim != 1 or count < 2 or not np.isfinite(values).all() or min(tested, trained) <= 0:
        raise UsageError(f"corrected resampled t: expected two or more finite differences, received {values.tolist()}")
    mean = float(values.mean())
    error = math.sqrt((1 / count + tested / trained) * float(values.var(ddof=1)))
    if error <= 1e-12:
        return None
    half = float(stats.t.ppf(0.5 + confidence / 2, count - 1)) * error
    low, high = max(-1.0, mean - half), min(1.0, mean + half)  # differences of shares
    return Repeated(mean, low, high, float(2 * stats.t.sf(abs(mean) / error, count - 1)), count)
