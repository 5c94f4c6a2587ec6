"""Weighted sums of several networks' answers, such as a difference of differences, and what part of a gap is left.

All answers come from the same women and the same resamples of them, so a contrast keeps the correlation between its parts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from tramtrack.evaluation.answers import Answer, Question
from tramtrack.evaluation.comparisons import ROUNDING, holm, upper_quantile
from tramtrack.evaluation.intervals import LEAST_RESAMPLES, interval
from tramtrack.evaluation.scores import Undefined

Weights = Mapping[str, float]
"""Network -> its weight; a difference has 1 and -1."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """A weighted sum of answers in [0, 1]; its bounds stay where such a sum can lie.

    ``simultaneous_low`` to ``simultaneous_high`` holds for all ``contrasts`` at once (max-T).

    ``p`` is two-sided against 0, ``p_holm`` adjusted over all contrasts. ``separated``: p_holm is at most 1 - confidence and
    the simultaneous interval leaves out 0.
    """

    estimate: float
    low: float
    high: float
    simultaneous_low: float
    simultaneous_high: float
    p: float
    p_holm: float
    separated: bool
    contrasts: int


def contrast_all(wanted: Sequence[Weights], answers: Mapping[str, Answer], question: Question) -> list[Contrast]:
    """Each of ``wanted`` on the resamples in which every answer is defined; one family.

    p and intervals as in `comparisons.compare`. Where the resamples of a contrast have no spread, its interval is made of its
    answers' own (the method of variance estimates recovery for linear functions: Zou, Huang and Zhang, Comput Stat Data Anal
    2009;53:3755), as if they were independent.
    """
    if not wanted:
        return []
    names = list(dict.fromkeys(name for weights in wanted for name in weights))
    matrix = np.array([[weights.get(name, 0.0) for name in names] for weights in wanted])
    values = np.stack([answers[name].values for name in names])
    values = values[:, np.isfinite(values).all(axis=0)]
    estimates = matrix @ np.array([answers[name].value for name in names])
    resamples, confidence = values.shape[1], question.confidence
    floor = 2.0 ** (1.0 - min(min(answers[name].sample.women) for name in names))
    half, error, p = np.zeros(len(wanted)), np.zeros(len(wanted)), np.ones(len(wanted))
    critical = 0.0
    if resamples >= LEAST_RESAMPLES:
        drawn = matrix @ values
        spread = np.where(np.ptp(drawn, axis=1) > ROUNDING, drawn.std(axis=1, ddof=1), 0.0)
        moved = np.abs(drawn - estimates[:, None])
        p = (1 + (moved >= np.abs(estimates)[:, None] - ROUNDING).sum(axis=1)) / (1 + resamples)
        half, error = upper_quantile(moved, confidence), spread
        if spread.any():
            critical = float(upper_quantile((moved[spread > 0] / spread[spread > 0, None]).max(axis=0), confidence))
    p = np.maximum(p, min(1.0, floor))
    adjusted = holm(p)
    found = []
    for k, weights in enumerate(wanted):
        value = float(estimates[k])
        if error[k] > 0:
            wide = max(half[k], critical * error[k])
            bounds = (value - half[k], value + half[k], value - wide, value + wide)
        else:
            together = 1 - (1 - confidence) / len(wanted)
            bounds = (*_recovered(value, weights, answers, confidence), *_recovered(value, weights, answers, together))
        least, most = -sum(-w for w in weights.values() if w < 0), sum(w for w in weights.values() if w > 0)
        low, high, wide_low, wide_high = (min(most, max(least, float(bound))) for bound in bounds)
        separated = bool(adjusted[k] <= 1 - confidence and not wide_low <= 0 <= wide_high)
        found.append(Contrast(value, low, high, wide_low, wide_high, float(p[k]), float(adjusted[k]), separated, len(wanted)))
    return found


def _recovered(value: float, weights: Weights, answers: Mapping[str, Answer], confidence: float) -> tuple[float, float]:
    below = above = 0.0
    for name, weight in weights.items():
        answer = answers[name]
        low, high = interval("auc_roc", answer.value, answer.sample, 0.0, confidence)
        down, up = answer.value - low, high - answer.value
        below += (weight * (down if weight > 0 else up)) ** 2
        above += (weight * (up if weight > 0 else down)) ** 2
    return value - math.sqrt(below), value + math.sqrt(above)


@dataclass(frozen=True, slots=True)
class Share:
    """What part of the gap ``before`` is left in the gap ``after``: their quotient, and its interval for all ``tests`` at once.

    1 is all of it, 0 nothing; below 0 the order is reversed, above 1 the gap has grown.
    """

    estimate: float
    low: float
    high: float
    tests: int


def share_left(
    before: Weights, after: Weights, answers: Mapping[str, Answer], question: Question, tests: int
) -> Share | Undefined:
    """The quotient after / before by Fieller's theorem with the bootstrap's covariance, Bonferroni-adjusted for ``tests``.

    Its interval is bounded only where ``before`` differs from 0 at that level; elsewhere there is no gap of which a part could
    be left, and it is Undefined. The quantile is Student's with the women of the smaller class less one degree of freedom.
    Source: Fieller, J R Stat Soc B 1954;16:175.
    """
    names = list(dict.fromkeys((*before, *after)))
    counts = {"n": len(question.labels), "positives": int(question.labels.sum()), "women": question.counts()["women"]}
    degrees = min(min(answers[name].sample.women) for name in names) - 1
    values = np.stack([answers[name].values for name in names])
    values = values[:, np.isfinite(values).all(axis=0)]
    if degrees < 1 or values.shape[1] < LEAST_RESAMPLES:
        return Undefined("auc_roc", "too few women of a class", **counts)
    first, second = (np.array([weights.get(name, 0.0) for name in names]) for weights in (before, after))
    point = np.array([answers[name].value for name in names])
    gap, rest = float(first @ point), float(second @ point)
    covariance = np.cov(np.stack([first @ values, second @ values]))
    if covariance[0, 0] <= ROUNDING**2:
        return Undefined("auc_roc", "the gap is the same in every resample, so that they say nothing of its spread", **counts)
    squared = float(special.stdtrit(degrees, 1 - (1 - question.confidence) / (2 * tests))) ** 2
    a = gap**2 - squared * covariance[0, 0]
    if a <= 0:
        return Undefined("auc_roc", "the gap under the protocol's own settings is not told from 0", **counts)
    b = gap * rest - squared * covariance[0, 1]
    if np.ptp(first @ values - second @ values) <= ROUNDING:
        return Undefined("auc_roc", "the gap is the same with and without it in every resample", **counts)
    root = math.sqrt(max(0.0, b**2 - a * (rest**2 - squared * covariance[1, 1])))
    return Share(rest / gap, (b - root) / a, (b + root) / a, tests)
