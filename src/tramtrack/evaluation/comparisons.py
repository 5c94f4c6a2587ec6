"""Which of n networks differ: paired, on the same women and the same resamples of them, corrected for all pairs.

A network's statistic is the mean of the metric over its seeds. One set of woman resamples serves all networks, so a
difference keeps the correlation between them. The primary comparison is the AUC by woman; every other is secondary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tramtrack.evaluation.aggregate import Unit
from tramtrack.evaluation.answers import Answer, Question, ask
from tramtrack.evaluation.clustered import delong_differences
from tramtrack.evaluation.intervals import LEAST_RESAMPLES, Sample, interval
from tramtrack.evaluation.resampling import RESAMPLES
from tramtrack.evaluation.scores import COUNT_METRICS, Floats, Metric

ROUNDING = 1e-12  # differences of means over seeds are equal only up to this
BOOTSTRAP = "paired woman bootstrap"
BOUNDARY = "both networks' own intervals squared and added (the bootstrap has no spread)"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Network a minus network b on the same women.

    ``estimate_a`` and ``estimate_b`` lie in [0, 1], ``difference`` and all bounds in [-1, 1]. ``low`` to ``high`` is the
    interval of this pair alone, ``simultaneous_low`` to ``simultaneous_high`` holds for all ``pairs`` at once (max-T).
    ``p`` is two-sided, ``p_holm`` adjusted over all pairs. ``separated``: p_holm is at most 1 - confidence and the
    simultaneous interval leaves out 0. ``dropped_women`` were left out because a network has no score for one of their
    units. ``p_delong`` is DeLong's two-sided p for the AUC at one score a woman, beside and not instead of ``p``.
    ``resamples`` counts the resamples in which the metric was defined for every network, and ``smallest_p`` is the
    smallest p that they and the number of women can give.
    """

    network_a: str
    network_b: str
    metric: Metric
    unit: Unit
    estimate_a: float
    estimate_b: float
    difference: float
    low: float
    high: float
    simultaneous_low: float
    simultaneous_high: float
    p: float
    p_holm: float
    separated: bool
    method: str
    women: int
    positives: int
    dropped_women: int
    pairs: int
    resamples: int
    smallest_p: float
    confidence: float
    p_delong: float | None = None

    @property
    def primary(self) -> bool:
        """Whether this is the comparison fixed beforehand: AUC-ROC by woman."""
        return self.metric == "auc_roc" and self.unit == "woman"

    @property
    def testable(self) -> bool:
        """Whether so many pairs, women and resamples could give an adjusted p small enough at all."""
        return self.pairs * self.smallest_p <= 1 - self.confidence


@dataclass(frozen=True, slots=True)
class Untested:
    """Two networks that could not be compared, and why."""

    network_a: str
    network_b: str
    metric: Metric
    unit: Unit
    reason: str
    women: int
    positives: int
    dropped_women: int


def compare(
    scores: Mapping[str, ArrayLike],
    labels: ArrayLike,
    women: ArrayLike,
    *,
    unit: Unit,
    metric: Metric = "auc_roc",
    thresholds: Mapping[str, ArrayLike] | None = None,
    unranked: Mapping[str, str] | None = None,
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> list[Comparison | Untested]:
    """All pairs of networks, in the order in which ``scores`` names them.

    Arguments as in `answers.ask`. Pairs whose networks give infinite scores, no scores, or an undefined metric come out as
    Untested.

    p = (1 + number of resamples with |d* - d| >= |d|) / (1 + resamples), for the difference d and its resamples d*,
    but never below 2^(1 - k) with k women of the smaller class: what an exact sign test on them could reach at best.
    The interval of a pair is d -+ the quantile of |d* - d|, so it leaves out 0 where p is small, and the simultaneous one
    uses the quantile of the largest |d* - d| / SE over all pairs. Raises UsageError for a wrong name or shape.
    """
    question, answers = ask(
        scores,
        labels,
        women,
        unit=unit,
        metric=metric,
        thresholds=thresholds,
        unranked=unranked,
        generator=generator,
        resamples=resamples,
        confidence=confidence,
    )
    return compare_answers(question, answers)


def compare_answers(question: Question, answers: Mapping[str, Answer | str]) -> list[Comparison | Untested]:
    """All pairs of the networks that were asked, in order; see `compare`."""
    tested = _compare_all([answer for answer in answers.values() if isinstance(answer, Answer)], question)
    metric, unit, names = question.metric, question.unit, list(answers)
    counts = question.counts()
    result: list[Comparison | Untested] = []
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            reasons = [f"{name}: {reason}" for name in (a, b) if isinstance(reason := answers[name], str)]
            if reasons:
                result.append(Untested(a, b, metric, unit, "; ".join(reasons), **counts))
            else:
                result.append(next(tested))
    return result


def holm(p_values: ArrayLike) -> Floats:
    """Holm's adjusted p: float (tests,) in [0, 1], in the order given.

    The k-th smallest of m is multiplied by m - k + 1, and none is smaller than the one before it. Source: Holm, Scand J
    Statist 1979;6:65.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted


@dataclass(frozen=True)
class _Pairs:
    """All pairs of answers in order, one entry a pair: what the resamples say of their differences."""

    p: Floats
    half: Floats  # half width of the pair's own interval
    error: Floats  # standard error, 0 where the resamples have no spread
    critical: float  # the simultaneous interval is the difference -+ critical * error


def _resample_pairs(estimates: Floats, values: Floats, confidence: float) -> _Pairs:
    """``estimates`` (networks,), ``values`` (networks, resamples). Differences are formed for one network against all
    later ones at a time, so that memory grows with networks x resamples and never with pairs x resamples."""
    resamples = values.shape[1]
    largest = np.zeros(resamples)
    p, half, error = [], [], []
    for i in range(len(estimates) - 1):
        differences = estimates[i] - estimates[i + 1 :]
        moved = values[i] - values[i + 1 :]
        spread = np.where(np.ptp(moved, axis=1) > ROUNDING, moved.std(axis=1, ddof=1), 0.0)
        moved = np.abs(moved - differences[:, None])
        p.append((1 + (moved >= np.abs(differences)[:, None] - ROUNDING).sum(axis=1)) / (1 + resamples))
        half.append(upper_quantile(moved, confidence))
        spread[half[-1] <= ROUNDING] = 0.0
        error.append(spread)
        if spread.any():
            np.maximum(largest, (moved[spread > 0] / spread[spread > 0, None]).max(axis=0), out=largest)
    return _Pairs(np.concatenate(p), np.concatenate(half), np.concatenate(error), float(upper_quantile(largest, confidence)))


def upper_quantile(values: Floats, confidence: float) -> Floats:
    """Along the last axis the order statistic that goes with p = (1 + count) / (1 + resamples)."""
    resamples = values.shape[-1]
    rank = min(resamples, math.ceil(confidence * (resamples + 1))) - 1
    return np.partition(values, rank, axis=-1)[..., rank].copy()  # not a view, which would keep the whole array alive


def _compare_all(answers: Sequence[Answer], question: Question) -> Iterator[Comparison]:
    """One Comparison a pair, in order."""
    if len(answers) < 2:
        return
    estimates = np.array([answer.value for answer in answers])
    values = np.stack([answer.values for answer in answers])
    values = values[:, np.isfinite(values).all(axis=0)]
    resamples = values.shape[1]
    first, second = np.triu_indices(len(answers), k=1)
    if resamples >= LEAST_RESAMPLES:
        pairs = _resample_pairs(estimates, values, question.confidence)
        floor = 1 / (1 + resamples)
    else:
        pairs = _Pairs(np.ones(len(first)), np.zeros(len(first)), np.zeros(len(first)), 0.0)
        floor = 1.0
    women = np.array([_fewest(answer.sample, question.metric) for answer in answers])
    smallest = np.maximum(floor, np.minimum(1.0, 2.0 ** (1.0 - np.minimum(women[first], women[second]))))
    p = np.maximum(pairs.p, smallest)
    adjusted = holm(p)
    bonferroni = 1 - (1 - question.confidence) / len(first)
    counts = question.counts()
    by_delong = None
    if question.delong:
        by_delong = delong_differences([answer.scores for answer in answers], question.labels, question.woman)
    for k, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        one, other = answers[a], answers[b]
        difference = one.value - other.value
        if pairs.error[k] > 0:
            low, high = _around(difference, pairs.half[k], pairs.half[k])
            wide_low, wide_high = _around(difference, *[max(pairs.half[k], pairs.critical * pairs.error[k])] * 2)
        else:
            low, high = _squared_and_added(one, other, question.metric, question.confidence)
            wide_low, wide_high = _squared_and_added(one, other, question.metric, bonferroni)
        separated = adjusted[k] <= 1 - question.confidence and not wide_low <= 0 <= wide_high
        yield Comparison(
            one.name,
            other.name,
            question.metric,
            question.unit,
            one.value,
            other.value,
            difference,
            low,
            high,
            wide_low,
            wide_high,
            float(p[k]),
            float(adjusted[k]),
            bool(separated),
            BOOTSTRAP if pairs.error[k] > 0 else BOUNDARY,
            **counts,
            pairs=len(first),
            resamples=resamples,
            smallest_p=float(smallest[k]),
            confidence=question.confidence,
            p_delong=None if by_delong is None else float(by_delong[a, b]),
        )


def _fewest(sample: Sample, metric: Metric) -> int:
    return sample.women[0] if metric in COUNT_METRICS else min(sample.women)


def _around(difference: float, below: float, above: float) -> tuple[float, float]:
    return max(-1.0, float(difference - below)), min(1.0, float(difference + above))


def _squared_and_added(one: Answer, other: Answer, metric: Metric, confidence: float) -> tuple[float, float]:
    """Interval of a difference from the two networks' own intervals, as if they were independent (so rather too wide).

    Source: Zou and Donner, Statistics in Medicine 2008;27:1693 (MOVER), with women as the sample size.
    """
    low_a, high_a = interval(metric, one.value, one.sample, 0.0, confidence)
    low_b, high_b = interval(metric, other.value, other.sample, 0.0, confidence)
    below = math.hypot(one.value - low_a, high_b - other.value)
    above = math.hypot(high_a - one.value, other.value - low_b)
    return _around(one.value - other.value, below, above)


def groups(comparisons: Sequence[Comparison | Untested]) -> list[tuple[str, ...]]:
    """The largest sets of networks within which no pair is separated, see `not_separated`; an untested pair is not."""
    names = [name for comparison in comparisons for name in (comparison.network_a, comparison.network_b)]
    apart = [
        (comparison.network_a, comparison.network_b)
        for comparison in comparisons
        if isinstance(comparison, Comparison) and comparison.separated
    ]
    return not_separated(names, apart)


def not_separated(names: Sequence[str], separated: Sequence[tuple[str, str]]) -> list[tuple[str, ...]]:
    """The largest sets of ``names`` without a ``separated`` pair; a name may stand in several, and twice in ``names``.

    Two stand together in some group if and only if they are not separated, as letters do in a compact letter display. "Not
    separated" is never "equal". Names and groups come in the order of ``names``, so no order means anything. Source: insert
    and absorb, Piepho, J Comput Graph Stat 2004;13:456.
    """
    order = {name: place for place, name in enumerate(dict.fromkeys(names))}
    columns = {frozenset(order)} if order else set()
    for one, other in separated:
        pair = {one, other}
        holding = {column for column in columns if pair <= column}
        halves = {column - {name} for column in holding for name in pair}
        columns -= holding
        columns |= {half for half in halves if not any(half < larger or half in columns for larger in columns | halves)}
    named = [tuple(sorted(column, key=order.__getitem__)) for column in columns]
    return sorted(named, key=lambda group: [order[name] for name in group])
