"""What each network answers to one question: the metric on the common women, and in every resample of them.

One set of woman resamples serves all networks, so whatever is made of two answers keeps the correlation between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tramtrack.errors import UsageError
from tramtrack.evaluation.aggregate import Unit, Units
from tramtrack.evaluation.intervals import Sample, evidence
from tramtrack.evaluation.resampling import RESAMPLES, estimate, resample_women, resampled
from tramtrack.evaluation.scores import COUNT_METRICS, METRICS, Floats, Metric, undefined_reason


@dataclass(frozen=True)
class Question:
    """What is asked of every network: the metric, and the common women with their units and resamples."""

    metric: Metric
    unit: Unit
    confidence: float
    labels: NDArray[np.bool_]  # (units,)
    woman: NDArray[np.int64]  # (units,), the row of weights
    weights: NDArray[np.int32]  # (women, resamples)
    dropped_women: int

    @property
    def delong(self) -> bool:
        """Whether DeLong's variance holds: the AUC at one score a woman, and two women of each class at least."""
        fewest = min(int(self.labels.sum()), int((~self.labels).sum()))
        return self.metric == "auc_roc" and len(np.unique(self.woman)) == len(self.woman) and fewest > 1

    def counts(self) -> dict[str, int]:
        """The women and units that a comparison or its absence rests on."""
        women = len(np.unique(self.woman))
        return {"women": women, "positives": int(self.labels.sum()), "dropped_women": self.dropped_women}


@dataclass(frozen=True)
class Answer:
    """A network's metric, the mean over its seeds, and what it rests on.

    ``values`` (resamples,) is the metric in each resample, ``seeds`` (seeds,) that of each seed, ``seed_values``
    (seeds, resamples) both; ``scores`` (seeds, units) are those of the common women, ``sample`` the evidence of the seed with
    fewest women.
    """

    name: str
    value: float
    values: Floats
    seeds: Floats
    seed_values: Floats
    scores: Floats
    sample: Sample


def ask(
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
) -> tuple[Question, dict[str, Answer | str]]:
    """The question as it stands, and each network's Answer, or the reason why it has none.

    ``scores``: network -> float (units,) or (seeds, units), NaN where the network has no prediction; ``labels`` 0 or 1
    (units,); ``women`` identifiers (units,). ``thresholds``: network -> one number or one a seed, chosen on validation,
    for every metric of calls; for the Brier score ``scores`` are probabilities. ``unranked``: networks that stand in no
    comparison, with the reason. A woman for whom any network lacks a score of any unit is dropped for all of them, so that
    all networks speak of the same women. Raises UsageError for a wrong name or shape.
    """
    if metric not in METRICS:
        raise UsageError(f"metric {metric}: expected one of {', '.join(METRICS)}")
    labels = np.asarray(labels)
    base = Units(unit, np.asarray(women), np.zeros(len(labels)), labels)
    matrices = {name: _matrix(name, values, len(base)) for name, values in scores.items() if name not in (unranked or {})}
    keep, question = _common_women(base, matrices, metric, resamples, generator, confidence)
    answers: dict[str, Answer | str] = {}
    for name, matrix in matrices.items():
        cuts = _cuts(name, metric, thresholds, len(matrix))
        answers[name] = "it has no scores" if _empty(matrix) else _answer(name, matrix[:, keep], cuts, question)
    return question, answers


def _common_women(
    base: Units,
    matrices: Mapping[str, Floats],
    metric: Metric,
    resamples: int,
    generator: np.random.Generator,
    confidence: float,
) -> tuple[NDArray[np.bool_], Question]:
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
    return keep, Question(metric, base.unit, confidence, base.labels[keep], index, weights, len(identifiers) - women)


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


def _answer(name: str, matrix: Floats, cuts: list[float | None], question: Question) -> Answer | str:
    """The network's mean over its seeds, or the reason why it has none."""
    metric, labels, woman = question.metric, question.labels, question.woman
    if question.dropped_women and not len(labels):
        return "there is no woman whom every network has scored"
    seeds, values, samples = [], [], []
    for scores, cut in zip(matrix, cuts, strict=True):
        reason = undefined_reason(metric, labels, scores, cut, question.unit)
        if reason is not None:
            return reason
        seeds.append(estimate(metric, labels, scores, cut))
        values.append(resampled(metric, labels, scores, woman, question.weights, cut))
        samples.append(evidence(metric, labels, scores, woman, cut))
    sample = min(samples, key=lambda sample: sample.women)
    mean = min(1.0, float(np.sum([seed / len(seeds) for seed in seeds])))
    drawn = np.stack(values)
    return Answer(name, mean, np.asarray((drawn / len(seeds)).sum(axis=0)), np.array(seeds), drawn, matrix, sample)
