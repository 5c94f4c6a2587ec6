"""Which of n networks differ: paired, on the same women and the same resamples of them, corrected for all pairs.

A network's statistic is the mean of the metric over its seeds. One set of woman resamples serves all networks, so a
difference keeps the correlation between them. The primary comparison is the AUC by woman; every other is secondary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tramtrack.errors import UsageError
from tramtrack.evaluation.aggregate import Unit, Units
from tramtrack.evaluation.intervals import LEAST_RESAMPLES, Sample, evidence, interval
from tramtrack.evaluation.resampling import RESAMPLES, estimate, resample_women, resampled
from tramtrack.evaluation.scores import COUNT_METRICS, METRICS, Floats, Metric, undefined_reason

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
    units. ``resamples`` counts the resamples in which the metric was defined for every network, and ``smallest_p`` is the
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


@dataclass(frozen=True)
class _Question:
    """What is asked of every network: the metric, and the common women with their units and resamples."""

    metric: Metric
    unit: Unit
    confidence: float
    labels: NDArray[np.bool_]  # (units,)
    woman: NDArray[np.int64]  # (units,), the row of weights
    weights: NDArray[np.int32]  # (women, resamples)
    dropped_women: int

    def counts(self) -> dict[str, int]:
        """The women and units that a comparison or its absence rests on."""
        women = len(np.unique(self.woman))
        return {"women": women, "positives": int(self.labels.sum()), "dropped_women": self.dropped_women}


@dataclass(frozen=True)
class _Answer:
    """A network's metric, the metric in each resample (resamples,), and the evidence under it."""

    name: str
    value: float
    values: Floats
    sample: Sample


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

    ``scores``: network -> float (units,) or (seeds, units), NaN where the network has no prediction; ``labels`` 0 or 1
    (units,); ``women`` identifiers (units,). ``thresholds``: network -> one number or one a seed, chosen on validation,
    for every metric of calls; for the Brier score ``scores`` are probabilities. ``unranked``: networks that stand in no
    comparison, with the reason. A woman for whom any network lacks a score of any unit is dropped for all of them, so that
    all pairs speak of the same women. Pairs whose networks give infinite scores, no scores, or an undefined metric come out
    as Untested.

    p = (1 + number of resamples with |d* - d| >= |d|) / (1 + resamples), for the difference d and its resamples d*,
    but never below 2^(1 - k) with k women of the smaller class: what an exact sign test on them could reach at best.
    The interval of a pair is d -+ the quantile of |d* - d|, so it leaves out 0 where p is small, and the simultaneous one
    uses the quantile of the largest |d* - d| / SE over all pairs. Raises UsageError for a wrong name or shape.
    """
    if metric not in METRICS:
        raise UsageError(f"metric {metric}: expected one of {', '.join(METRICS)}")
    names = [name for name in scores if name not in (unranked or {})]
    labels = np.asarray(labels)
    base = Units(unit, np.asarray(women), np.zeros(len(labels)), labels)
    matrices = {name: _matrix(name, scores[name], len(base)) for name in names}
    keep, question = _common_women(base, matrices, metric, resamples, generator, confidence)
    answers: dict[str, _Answer | str] = {}
    for name, matrix in matrices.items():
        cuts = _cuts(name, metric, thresholds, len(matrix))
        answers[name] = "it has no scores" if _empty(matrix) else _answer(name, matrix[:, keep], cuts, question)
    tested = _compare_all([answer for answer in answers.values() if isinstance(answer, _Answer)], question)
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


def _common_women(
    base: Units,
    matrices: Mapping[str, Floats],
    metric: Metric,
    resamples: int,
    generator: np.random.Generator,
    confidence: float,
) -> tuple[NDArray[np.bool_], _Question]:
    """Which units belong to women whom every network (but one without any score) has scored, and the question on them."""
    missing = np.zeros(len(base), dtype=bool)
    for matrix in matrices.values():
        if not _empty(matrix):
            missing |= np.isnan(matrix).any(axis=0)
    identifiers, woman = np.unique(base.woman, return_inverse=True)
    incomplete = np.zeros(len(identifiers), dtype=bool)
    incomplete[woman[missing]] = True
    keep = ~incomplete[woman]
    women = int((~incomplete).sum())
    weights = resample_women(max(1, women), resamples, generator)
    index = np.unique(woman[keep], return_inverse=True)[1]
    return keep, _Question(metric, base.unit, confidence, base.labels[keep], index, weights, len(identifiers) - women)


def _matrix(name: str, values: ArrayLike, units: int) -> Floats:
    matrix = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if matrix.ndim != 2 or matrix.shape[1] != units or not len(matrix):
        raise UsageError(f"scores of {name}: expected (seeds, {units}) or ({units},), received {np.shape(values)}")
    return matrix


def _empty(matrix: Floats) -> bool:
    return bool(np.isnan(matrix).all())


def _cuts(name: str, metric: Metric, thresholds: Mapping[str, ArrayLike] | None, seeds: int) -> list[float | None]:
    """The threshold of each seed, or None where the metric needs none."""
    if metric not in COUNT_METRICS:
        return [None] * seeds
    if thresholds is None or name not in thresholds:
        raise UsageError(f"comparison by {metric}: expected a threshold of {name}, chosen on validation, received none")
    given = np.asarray(thresholds[name], dtype=np.float64)
    if given.shape not in ((), (1,), (seeds,)):
        raise UsageError(f"thresholds of {name}: expected one, or one for each of {seeds} seeds, received {given.shape}")
    return [float(cut) for cut in np.broadcast_to(given, (seeds,))]


def _answer(name: str, matrix: Floats, cuts: list[float | None], question: _Question) -> _Answer | str:
    """The network's mean over its seeds, or the reason why it has none; the evidence is the seed's with fewest women."""
    metric, labels, woman, seeds = question.metric, question.labels, question.woman, len(matrix)
    values = np.zeros(question.weights.shape[1])
    value = 0.0
    samples = []
    for scores, cut in zip(matrix, cuts, strict=True):
        reason = undefined_reason(metric, labels, scores, cut, question.unit)
        if reason is not None:
            return reason
        value += estimate(metric, labels, scores, cut) / seeds
        values += resampled(metric, labels, scores, woman, question.weights, cut) / seeds
        samples.append(evidence(metric, labels, scores, woman, cut))
    return _Answer(name, min(1.0, value), values, min(samples, key=lambda sample: sample.women))


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
        half.append(_upper(moved, confidence))
        spread[half[-1] <= ROUNDING] = 0.0
        error.append(spread)
        if spread.any():
            np.maximum(largest, (moved[spread > 0] / spread[spread > 0, None]).max(axis=0), out=largest)
    return _Pairs(np.concatenate(p), np.concatenate(half), np.concatenate(error), float(_upper(largest, confidence)))


def _upper(values: Floats, confidence: float) -> Floats:
    """Along the last axis the order statistic that goes with p = (1 + count) / (1 + resamples)."""
    resamples = values.shape[-1]
    rank = min(resamples, math.ceil(confidence * (resamples + 1))) - 1
    return np.partition(values, rank, axis=-1)[..., rank].copy()  # not a view, which would keep the whole array alive


def _compare_all(answers: Sequence[_Answer], question: _Question) -> Iterator[Comparison]:
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
        )


def _fewest(sample: Sample, metric: Metric) -> int:
    return sample.women[0] if metric in COUNT_METRICS else min(sample.women)


def _around(difference: float, below: float, above: float) -> tuple[float, float]:
    return max(-1.0, float(difference - below)), min(1.0, float(difference + above))


def _squared_and_added(one: _Answer, other: _Answer, metric: Metric, confidence: float) -> tuple[float, float]:
    """Interval of a difference from the two networks' own intervals, as if they were independent (so rather too wide).

    Source: Zou and Donner, Statistics in Medicine 2008;27:1693 (MOVER), with women as the sample size.
    """
    low_a, high_a = interval(metric, one.value, one.sample, 0.0, confidence)
    low_b, high_b = interval(metric, other.value, other.sample, 0.0, confidence)
    below = math.hypot(one.value - low_a, high_b - other.value)
    above = math.hypot(high_a - one.value, other.value - low_b)
    return _around(one.value - other.value, below, above)


def groups(comparisons: Sequence[Comparison | Untested]) -> list[tuple[str, ...]]:
    """The largest sets of networks within which no pair is separated; a network may stand in several.

    Two networks stand together in some group if and only if they are not separated (an untested pair is not), as letters
    do in a compact letter display. "Not separated" is never "equal". Names and groups come in the order of comparison,
    so no order means anything. Source: insert and absorb, Piepho, J Comput Graph Stat 2004;13:456.
    """
    order: dict[str, int] = {}
    for comparison in comparisons:
        for name in (comparison.network_a, comparison.network_b):
            order.setdefault(name, len(order))
    columns = {frozenset(order)} if order else set()
    for comparison in comparisons:
        if not isinstance(comparison, Comparison) or not comparison.separated:
            continue
        pair = {comparison.network_a, comparison.network_b}
        holding = {column for column in columns if pair <= column}
        halves = {column - {name} for column in holding for name in pair}
        columns -= holding
        columns |= {half for half in halves if not any(half < other or half in columns for other in columns | halves)}
    named = [tuple(sorted(column, key=order.__getitem__)) for column in columns]
    return sorted(named, key=lambda group: [order[name] for name in group])
