"""Which of n contestants is preferred, from judgements of two at a time, by Bradley and Terry; with intervals by woman.

The chance that i is preferred to j is 1 / (1 + exp(s_j - s_i)) for strengths s, whose mean is 0; "the same" counts as half a
win for each. The likelihood has a finite maximum only where every contestant won against, and lost to, the others by some
chain of judgements (Ford, Am Math Mon 1957;64:28): one that never lost has no strength, and none is made up for it. Sources:
Bradley and Terry, Biometrika 1952;39:324; Hunter, Ann Stat 2004;32:384.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tramtrack.evaluation.comparisons import ROUNDING, holm, not_separated, upper_quantile
from tramtrack.evaluation.intervals import Sample, interval, standard_error
from tramtrack.evaluation.resampling import RESAMPLES, resample_women
from tramtrack.evaluation.scores import Floats

MOST_STEPS, EXACT = 200, 1e-9


@dataclass(frozen=True)
class Judgements:
    """Two contestants (rows of ``names``) at a time: ``first`` and ``second`` int (n,); ``outcome`` float (n,): 1 where the
    first was preferred, 0 where the second was, 0.5 where they are the same; ``woman`` (n,) whose image it was."""

    names: tuple[str, ...]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    outcome: Floats
    woman: NDArray[np.str_]


@dataclass(frozen=True)
class Strength:
    """One contestant: its ``share`` of wins (the same as half) in [0, 1], and its ``strength``, in log-odds; None where that
    is not finite, with the ``reason``. A bound is None where the resamples of women do not bound it."""

    name: str
    judged: int
    women: int
    share: float | None
    share_low: float | None
    share_high: float | None
    strength: float | None
    low: float | None
    high: float | None
    reason: str


@dataclass(frozen=True)
class Preference:
    """The ``chance`` by the model that a is preferred to b, in [0, 1], with its interval and p against one half."""

    a: str
    b: str
    chance: float
    low: float
    high: float
    p: float
    p_holm: float
    separated: bool


@dataclass(frozen=True)
class Ranking:
    """The strengths in the order of the names, every pair that the model joins, and the largest sets of names of which no
    two are separated."""

    strengths: list[Strength]
    pairs: list[Preference]
    groups: list[tuple[str, ...]]


@dataclass(frozen=True)
class _Fit:
    """``by_woman`` (women, n, n): how often row was preferred to column. ``weights`` (women, resamples). ``members``: the
    contestants that are joined; of these the ``estimates`` (n,), and in each resample the distance from them (n, resamples),
    infinite where there is no strength."""

    by_woman: Floats
    weights: NDArray[np.int32]
    members: NDArray[np.int64]
    estimates: Floats
    distances: Floats


def rank_preferences(
    judged: Judgements,
    *,
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Ranking:
    """Strengths of those contestants that chains of wins join, and which pairs of them can be told apart.

    A resample of women in which their strengths have no finite maximum counts as infinitely far from the estimate, so it
    widens the intervals and speaks against a difference. p and intervals as in `comparisons.compare`: p is never below
    2^(1 - women), and Holm's correction is over all pairs.
    """
    fit = _fit(judged, resamples, generator)
    pairs = _pairs(judged.names, fit, confidence)
    strengths = [_strength(name, place, fit, confidence) for place, name in enumerate(judged.names)]
    apart = [(pair.a, pair.b) for pair in pairs if pair.separated]
    return Ranking(strengths, pairs, not_separated(judged.names, apart))


def _fit(judged: Judgements, resamples: int, generator: np.random.Generator) -> _Fit:
    names, woman = np.unique(judged.woman, return_inverse=True)
    size = len(judged.names)
    by_woman = np.zeros((len(names), size, size))
    np.add.at(by_woman, (woman, judged.first, judged.second), judged.outcome)
    np.add.at(by_woman, (woman, judged.second, judged.first), 1 - judged.outcome)
    weights = resample_women(max(1, len(names)), resamples, generator)
    members = _joined(by_woman.sum(axis=0))
    estimates, distances = np.full(size, np.nan), np.full((size, resamples), np.inf)
    if len(members) > 1:
        inner = by_woman[:, members][:, :, members]
        estimates[members] = fit_strengths(inner.sum(axis=0)[None])[0]
        drawn = fit_strengths(np.tensordot(weights.T.astype(float), inner, axes=1))
        distances[members] = np.where(np.isnan(drawn), np.inf, drawn - estimates[members]).T
    return _Fit(by_woman, weights, members, estimates, distances)


def fit_strengths(wins: Floats) -> Floats:
    """The most likely strengths (r, n), of mean 0, for each table (r, n, n) of how often row i was preferred to column j;
    NaN for a table whose likelihood has no finite maximum. By Newton's method."""
    tables, size = np.asarray(wins, dtype=np.float64), wins.shape[1]
    met = tables + tables.transpose(0, 2, 1)
    strengths = np.zeros(tables.shape[:2])
    todo: NDArray[np.bool_] = np.asarray(_connected(tables).all(axis=(1, 2)))
    strengths[~todo] = np.nan
    for _ in range(MOST_STEPS):
        rows = np.flatnonzero(todo)
        now = strengths[rows]
        chance = special.expit(now[:, :, None] - now[:, None, :])
        slope = (tables[rows] - met[rows] * chance).sum(axis=2)
        far = np.abs(slope).max(axis=1, initial=0) > EXACT * met[rows].sum(axis=(1, 2))
        todo[rows[~far]] = False
        if not far.any():
            return strengths
        spread = (met[rows] * chance * (1 - chance))[far]
        curvature = spread.sum(axis=2)[:, :, None] * np.eye(size) - spread + 1 / size  # + 1/n: the mean stays 0
        step = np.linalg.solve(curvature, slope[far][:, :, None])[:, :, 0]
        strengths[rows[far]] += step / np.maximum(1.0, np.abs(step).max(axis=1, keepdims=True))
    strengths[todo] = np.nan
    return strengths


def _connected(wins: Floats) -> NDArray[np.bool_]:
    """Which contestants are joined to which by a chain of wins either way: bool (r, n, n)."""
    reach = (wins > 0) | np.eye(wins.shape[1], dtype=bool)
    for _ in range(max(1, int(wins.shape[1]).bit_length())):
        reach = reach.astype(np.float32) @ reach.astype(np.float32) > 0
    return np.asarray(reach & reach.transpose(0, 2, 1))


def _joined(wins: Floats) -> NDArray[np.int64]:
    """The largest set of contestants that chains of wins join both ways."""
    together = _connected(wins[None])[0]
    return np.flatnonzero(together[int(together.sum(axis=1).argmax())])


def _pairs(names: Sequence[str], fit: _Fit, confidence: float) -> list[Preference]:
    """Every pair of the joined contestants, in order."""
    found = []
    floor = min(1.0, 2.0 ** (1 - len(fit.by_woman)))
    for a, b in combinations(fit.members.tolist() if len(fit.members) > 1 else [], 2):
        difference = float(fit.estimates[a] - fit.estimates[b])
        lost = np.isinf(fit.distances[a])
        moved = np.where(lost, np.inf, np.abs(np.where(lost, 0, fit.distances[a]) - np.where(lost, 0, fit.distances[b])))
        p = float(1 + (moved >= abs(difference) - ROUNDING).sum()) / (1 + len(moved))
        found.append((a, b, difference, _half(moved, confidence), max(floor, p)))
    rows = []
    for (a, b, difference, half, p), p_holm in zip(found, holm([one[-1] for one in found]), strict=True):
        chance, low, high = (float(special.expit(value)) for value in (difference, difference - half, difference + half))
        separated = bool(p_holm <= 1 - confidence and not low <= 0.5 <= high)
        rows.append(Preference(names[a], names[b], chance, low, high, p, float(p_holm), separated))
    return rows


def _half(moved: Floats, confidence: float) -> float:
    """Half the width of an interval from distances >= 0 of the resamples; infinite where they have no spread."""
    half = float(upper_quantile(moved, confidence))
    return half if half > ROUNDING else np.inf


def _strength(name: str, place: int, fit: _Fit, confidence: float) -> Strength:
    won, lost = fit.by_woman[:, place].sum(axis=1), fit.by_woman[:, :, place].sum(axis=1)  # (women,)
    met = won + lost
    count, women = round(met.sum()), int((met > 0).sum())
    if not count:
        return Strength(name, 0, 0, None, None, None, None, None, None, "it was never judged")
    with np.errstate(invalid="ignore"):
        drawn = (fit.weights.T @ won) / (fit.weights.T @ met)
    share = float(won.sum() / count)
    sample = Sample((count, count), (women, women))
    counts = (
        name,
        count,
        women,
        share,
        *interval("brier", share, sample, standard_error(drawn[np.isfinite(drawn)]), confidence),
    )
    if len(fit.members) < 2 or place not in fit.members:
        what = "never lost" if not lost.any() else "never won" if not won.any() else "no chain of wins joins it with the others"
        return Strength(*counts, None, None, None, f"unresolved: {what}, so its strength is not finite")
    value, half = float(fit.estimates[place]), _half(np.abs(fit.distances[place]), confidence)
    if np.isinf(half):
        return Strength(*counts, value, None, None, "unresolved: women so few do not bound its strength")
    return Strength(*counts, value, value - half, value + half, "")
