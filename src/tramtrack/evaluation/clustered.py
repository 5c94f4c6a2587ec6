"""Variances and tests by formula for units that come in women: Obuchowski's AUC, DeLong's, and an exact McNemar.

They stand beside the bootstrap: the planner needs them for speed, and the tests hold each against the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from tramtrack.errors import UsageError
from tramtrack.evaluation.scores import Bools, Floats


@dataclass(frozen=True)
class PairedCalls:
    """Two networks' calls on the same units of one class.

    ``only_a`` and ``only_b`` count units that one network alone called rightly; ``women`` are those who have any such unit
    and do not balance out. ``difference`` is the rate of a minus that of b, ``p`` is two-sided.
    """

    only_a: int
    only_b: int
    units: int
    women: int
    difference: float
    p: float


def auc_covariance(scores: Sequence[Floats], labels: Bools, woman: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """The AUCs (networks,) and their covariance (networks, networks) for clustered units.

    ``scores``: for each network float (units,) or (seeds, units), the AUC then being the mean over its seeds. ``labels`` bool
    (units,), both classes; ``woman`` int (units,). Every sum is over women, whose units may be of both classes.
    Source: Obuchowski, Biometrics 1997;53:567. With one unit a woman it is DeLong's (Biometrics 1988;44:837).
    """
    index = np.unique(woman, return_inverse=True)[1]
    women, m, n = int(index.max()) + 1, int(labels.sum()), int((~labels).sum())
    if not m or not n:
        raise UsageError("covariance of AUCs: expected units of both classes")
    count_10, count_01 = np.bincount(index[labels], minlength=women), np.bincount(index[~labels], minlength=women)
    with_10, with_01 = int((count_10 > 0).sum()), int((count_01 > 0).sum())
    if min(with_10, with_01) < 2:
        raise UsageError("covariance of AUCs: expected two women of each class at least")
    aucs, excess_10, excess_01 = [], [], []
    for matrix in scores:
        placed = [_placements(np.asarray(row, dtype=np.float64), labels) for row in np.atleast_2d(matrix)]
        above, below = np.mean([one[0] for one in placed], axis=0), np.mean([one[1] for one in placed], axis=0)
        by_woman = np.bincount(index[labels], weights=above, minlength=women)  # summed by woman: the order of rows is nothing
        auc = float(by_woman.sum()) / m
        aucs.append(auc)
        excess_10.append(by_woman - count_10 * auc)
        excess_01.append(np.bincount(index[~labels], weights=below, minlength=women) - count_01 * auc)
    x, y = np.stack(excess_10), np.stack(excess_01)
    covariance = with_10 / (with_10 - 1) * (x @ x.T) / m**2 + with_01 / (with_01 - 1) * (y @ y.T) / n**2
    both = women / (women - 1) * (x @ y.T) / (m * n)
    return np.array(aucs), covariance + both + both.T


def delong_differences(scores: Sequence[Floats], labels: Bools, woman: NDArray[np.int64]) -> Floats:
    """DeLong's two-sided p of every difference between AUCs, float64 (networks, networks), at one score a woman.

    ``woman`` int (units,), each once. 1 where two networks never differ. Source: DeLong, DeLong and Clarke-Pearson,
    Biometrics 1988;44:837.
    """
    aucs, covariance = auc_covariance(scores, labels, woman)
    variance = np.diag(covariance)[:, None] + np.diag(covariance)[None, :] - 2 * covariance
    difference = np.abs(aucs[:, None] - aucs[None, :])
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(difference <= 1e-12, 0.0, difference / np.sqrt(np.maximum(variance, 0)))
    return np.asarray(2 * stats.norm.sf(z))


def delong(scores: ArrayLike, labels: ArrayLike, woman: ArrayLike) -> tuple[Floats, Floats]:
    """AUCs and DeLong's covariance of ``scores`` (networks, women). Raises UsageError where a woman has several scores."""
    women = np.asarray(woman)
    if len(np.unique(women)) < len(women):
        raise UsageError("DeLong's variance: expected one score a woman, received several; use auc_covariance")
    return auc_covariance(
        list(np.atleast_2d(np.asarray(scores, dtype=np.float64))), np.asarray(labels, dtype=bool), np.arange(len(women))
    )


def mcnemar(right_a: Bools, right_b: Bools, woman: NDArray[np.int64]) -> PairedCalls:
    """Exact McNemar test on units that come in women; ``right_a`` and ``right_b`` bool (units,), all of one class.

    Under the null hypothesis the two networks may be exchanged within each woman, so her difference in right calls may as
    well have the other sign; p is the share of all sign changes whose sum is at least as far from 0. With one unit a woman
    it is McNemar's exact test (binomial on the discordant women); with several it is the exact form of the clustered test
    (Obuchowski, Stat Med 1998;17:1495).
    """
    if not len(right_a):
        raise UsageError("McNemar: expected units of the class, received none")
    index = np.unique(woman, return_inverse=True)[1]
    moved = np.bincount(index, weights=right_a.astype(float) - right_b).astype(int)
    informative = np.abs(moved[moved != 0])
    reach = int(informative.sum())
    chances = np.ones(1)
    for size in informative.tolist():  # the distribution of the sum of +-size, on -reach .. reach in the end
        wider = np.zeros(len(chances) + 2 * size)
        wider[: len(chances)] += chances / 2
        wider[2 * size :] += chances / 2
        chances = wider
    far = np.abs(np.arange(-reach, reach + 1)) >= abs(int(moved.sum()))
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    p = min(1.0, float(chances[far].sum()))
    return PairedCalls(only_a, only_b, len(right_a), len(informative), (only_a - only_b) / len(right_a), p)


def _placements(scores: Floats, labels: Bools) -> tuple[Floats, Floats]:
    """For each positive the share of negatives below it, for each negative the share of positives above it; ties half."""
    positive, negative = scores[labels], scores[~labels]
    ranked_p, ranked_n = np.sort(positive), np.sort(negative)
    above = (np.searchsorted(ranked_n, positive, "left") + np.searchsorted(ranked_n, positive, "right")) / (2 * len(negative))
    below = (np.searchsorted(ranked_p, negative, "left") + np.searchsorted(ranked_p, negative, "right")) / (2 * len(positive))
    return above, 1 - below
