"""The calibration of one source on validation views: where a map is cut, and what its area stands for. Arrays only.

The cut, and the least score, are the pair under which the areas rank the views most like the true areas do (Spearman's rho);
the factor then makes the areas add up to the true ones. Judged on the same views that would flatter, so validation views get
areas from fits without their women, a fifth of the women left out at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tramtrack.evaluation.agreement import spearman
from tramtrack.evaluation.scores import Floats

CUTS: tuple[float, ...] = tuple(2.0 ** (step / 4 - 6) for step in range(29))
"""Thresholds that are tried, as shares of the strongest value of the source: 1/64 to 2, four to each doubling."""
GATES = tuple(share / 10 for share in range(1, 10))
"""Least scores that are tried beside none: these quantiles of the scores of the validation views."""
PARTS = 5
LEAST_VIEWS = 8
"""Fewer views with a known area fit nothing."""
WHERE = "masks in the label table, or burden_mm2 in --findings, say how much a view shows"


@dataclass(frozen=True)
class Fit:
    """``cut``: index of the chosen threshold. ``least_score``: None where every view counts. ``factor``: true area for each
    measured one. ``rho``: what the pair was chosen by."""

    cut: int
    least_score: float | None
    factor: float
    rho: float


def fit(areas: Floats, truth: Floats, scores: Floats | None = None) -> Fit | str:
    """The best cut and least score of ``areas`` (views, cuts) against ``truth`` (views,), in one unit; or why there is none.

    ``scores`` (views,) in [0, 1], or None where the source has none. Of equally good pairs the lowest score, then the lowest
    cut is taken.
    """
    if len(truth) < LEAST_VIEWS:
        return f"{len(truth)} validation views with a known area; {LEAST_VIEWS} are needed; {WHERE}"
    if np.ptp(truth) == 0:
        return f"all validation views have the same true area; {WHERE}"
    gates: list[float | None] = [None]
    if scores is not None:
        gates += [float(gate) for gate in np.unique(np.quantile(scores, GATES))]
    best: Fit | None = None
    for gate in gates:
        counts = np.ones(len(truth), dtype=bool) if gate is None or scores is None else scores >= gate
        for cut in range(areas.shape[1]):
            measured = areas[:, cut] * counts
            rho = spearman(measured, truth)
            if np.isfinite(rho) and (best is None or rho > best.rho + 1e-12):
                best = Fit(cut, gate, float(truth.sum() / measured.sum()), rho)
    return best or "no threshold makes the areas of validation views differ, so its maps tell none from some"


def parts(woman: NDArray[np.generic], truth: Floats) -> NDArray[np.int64]:
    """The part (0 to PARTS - 1) that each view's woman is in: (views,). Women are dealt in the order of their true area, so
    that every part has some of each kind; equal ones by name."""
    names, index = np.unique(woman, return_inverse=True)
    totals = np.bincount(index, weights=truth, minlength=len(names))
    part = np.empty(len(names), dtype=np.int64)
    part[np.lexsort((np.arange(len(names)), totals))] = np.arange(len(names)) % PARTS
    return np.asarray(part[index])


def factor_of(measured: Floats, truth: Floats) -> float | None:
    """What makes ``measured`` amounts (n,) add up to the true ones; None where either are all 0, or none is known."""
    measured_total, true_total = float(measured.sum()), float(truth.sum())
    return true_total / measured_total if measured_total > 0 and true_total > 0 else None
