"""Textbook intervals that `benchmarks/coverage.py` sets beside ours, for metrics of units that come in women.

Each takes what a resampling of women gives: the estimate on the cohort, its value in every resample, and what the method
needs beside them. Where the resamples have no spread (an AUC or a sensitivity of 1) they give an interval of zero width, as
they do in the hands of their users; nothing is mended here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tramtrack.evaluation.aggregate import Units
from tramtrack.evaluation.intervals import score_resampled
from tramtrack.evaluation.resampling import resampled_all
from tramtrack.evaluation.scores import Metric, Score

METHODS = ("ours", "percentile", "logit", "Wilson", "BCa", "studentised")
RIVALLED: tuple[Metric, ...] = ("auc_roc", "f1", "sensitivity")

COLUMNS_AT_ONCE = 64  # resamples, so that an array of all units stays in the cache
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def every_method(
    units: Units, threshold: float, weights: NDArray[np.int32], confidence: float
) -> dict[Metric, dict[str, tuple[float, float]]]:
    """For AUC, F1 and sensitivity the interval, (low, high), by each of `METHODS`, all from the same resamples of women.

    ``units`` stand woman by woman, as many of each, without tied scores. A metric without a value has no intervals.
    """
    women, resamples = weights.shape
    labels, scores = units.labels.reshape(women, -1), units.scores.reshape(women, -1)
    others = 1 - np.eye(women, dtype=np.int32)  # each woman left out in turn
    values = resampled_all(
        units.labels, units.scores, units.woman, np.hstack([weights, others]), threshold=threshold, metrics=RIVALLED
    )
    called = scores >= threshold
    hit, positive, named = ((labels & called).sum(axis=1), labels.sum(axis=1), called.sum(axis=1))
    parts = {"f1": (2.0 * hit, 1.0 * (positive + named)), "sensitivity": (1.0 * hit, 1.0 * positive)}
    result: dict[Metric, dict[str, tuple[float, float]]] = {}
    for metric, score in score_resampled(units, threshold, weights, metrics=RIVALLED, confidence=confidence).items():
        if not isinstance(score, Score):
            continue
        error, errors = (
            ratio_errors(*parts[metric], drawn) if metric in parts else auc_errors(labels, scores, drawn)
            for drawn in (np.ones((women, 1), dtype=np.int32), weights)
        )
        known = np.isfinite(values[metric][:resamples])
        drawn, errors, value = values[metric][:resamples][known], errors[known], score.estimate
        result[metric] = {
            "ours": (score.low, score.high),
            "percentile": percentile(drawn, confidence),
            "logit": logit(value, drawn, confidence),
            "Wilson": wilson(value, drawn, confidence),
            "BCa": bca(value, drawn, values[metric][resamples:], confidence),
            "studentised": studentised(value, float(error[0]), drawn, errors, confidence),
        }
    return result


def percentile(resampled: Floats, confidence: float) -> tuple[float, float]:
    """The bootstrap percentile interval: ``resampled`` float (resamples,)."""
    low, high = np.quantile(resampled, _tails(confidence))
    return float(low), float(high)


def logit(value: float, resampled: Floats, confidence: float) -> tuple[float, float]:
    """Normal on the logit scale, with the bootstrap's standard error carried there by the delta method."""
    spread = float(resampled.std(ddof=1))
    if not 0 < value < 1 or spread == 0:
        return value, value
    half = float(special.ndtri(0.5 + confidence / 2)) * spread / (value * (1 - value))
    middle = float(special.logit(value))
    return float(special.expit(middle - half)), float(special.expit(middle + half))


def wilson(value: float, resampled: Floats, confidence: float) -> tuple[float, float]:
    """Wilson's, for a proportion out of as many trials as give it the bootstrap's variance (Korn and Graubard 1998)."""
    spread = float(resampled.std(ddof=1))
    if not 0 < value < 1 or spread == 0:
        return value, value
    squared = float(special.ndtri(0.5 + confidence / 2)) ** 2 * spread**2 / (value * (1 - value))
    centre, half = value + squared / 2, np.sqrt(squared * (value * (1 - value) + squared / 4))
    return float((centre - half) / (1 + squared)), float((centre + half) / (1 + squared))


def bca(value: float, resampled: Floats, without_one: Floats, confidence: float) -> tuple[float, float]:
    """Bias-corrected and accelerated: ``without_one`` float (women,) is the value with each woman left out in turn.

    Source: Efron, JASA 1987;82:171; ties count half in the bias, as in scipy.stats.bootstrap, to which it is held in the tests.
    """
    below = float(((resampled < value).mean() + (resampled <= value).mean()) / 2)
    from_mean = without_one.mean() - without_one
    spread = float((from_mean**2).sum())
    if not 0 < below < 1 or spread == 0:
        return value, value
    bias, acceleration = float(special.ndtri(below)), float((from_mean**3).sum()) / (6 * spread**1.5)
    moved = bias + special.ndtri(_tails(confidence))
    low, high = np.quantile(resampled, special.ndtr(bias + moved / (1 - acceleration * moved)))
    return float(low), float(high)


def studentised(value: float, error: float, resampled: Floats, errors: Floats, confidence: float) -> tuple[float, float]:
    """The bootstrap-t, cut off at 0 and 1: ``errors`` float (resamples,) is each resample's own standard error.

    Source: Davison and Hinkley, Bootstrap Methods and their Application (1997), section 5.2. A resample that has no standard
    error and another value than the cohort's stands infinitely far away; one with the same value is left out.
    """
    if error == 0:
        return value, value
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = (resampled - value) / errors
    near, far = np.quantile(distance[~np.isnan(distance)], _tails(confidence), method="inverted_cdf")
    return max(0.0, value - float(far) * error), min(1.0, value - float(near) * error)


def ratio_errors(above: Floats, below: Floats, weights: NDArray[np.int32]) -> Floats:
    """The standard error of sum(above) / sum(below) in every resample, float64 (resamples,), by linearisation over women.

    ``above`` and ``below`` float (women,) are each woman's part, ``weights`` int (women, resamples) how often she was drawn.
    """
    drawn = weights.T.astype(float)
    total = drawn @ below
    quotient = drawn @ above / total
    squares = drawn @ above**2 - 2 * quotient * (drawn @ (above * below)) + quotient**2 * (drawn @ below**2)
    return np.asarray(np.sqrt(np.maximum(0.0, squares)) / total)


def auc_errors(labels: Bools, scores: Floats, weights: NDArray[np.int32]) -> Floats:
    """The standard error of the AUC in every resample, float64 (resamples,), by Obuchowski's sums over women.

    ``labels`` and ``scores`` (women, units of a woman), scores without ties; ``weights`` int (women, resamples). Without the
    factors n / (n - 1), which a resample and the cohort would share. Source: Obuchowski, Biometrics 1997;53:567.
    """
    order = np.argsort(scores, axis=None)
    woman, positive = np.repeat(np.arange(len(labels)), labels.shape[1])[order], labels.ravel()[order]
    back = np.argsort(order).reshape(labels.shape)
    result = np.empty(weights.shape[1])
    for start in range(0, weights.shape[1], COLUMNS_AT_ONCE):
        columns = slice(start, start + COLUMNS_AT_ONCE)
        drawn = weights[:, columns].astype(float)
        units = drawn[woman]
        share = np.cumsum(np.where(positive[:, None], 0.0, units), axis=0)  # of negatives below, once divided
        many = share[-1].copy()
        over = np.cumsum(np.where(positive[:, None], units, 0.0), axis=0)
        few = over[-1]
        share[positive] /= many
        auc = (units[positive] * share[positive]).sum(axis=0) / few
        share[positive] = (share[positive] - auc) / few
        share[~positive] = (1 - over[~positive] / few - auc) / many
        by_woman = sum(share[back[:, unit]] for unit in range(labels.shape[1]))
        result[columns] = np.sqrt((drawn * by_woman**2).sum(axis=0))
    return result


def _tails(confidence: float) -> Floats:
    return np.array([0.5 - confidence / 2, 0.5 + confidence / 2])
