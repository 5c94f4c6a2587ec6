"""Where each network stands among those compared: how often it is best, what seeds and sampling add, what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from tramtrack.evaluation.answers import Answer
from tramtrack.evaluation.intervals import LEAST_RESAMPLES
from tramtrack.evaluation.scores import Floats, Undefined

LEAST_SEEDS = 5
"""Seeds from which on the variance between them is worth stating; with fewer it is stated as too few."""


@dataclass(frozen=True)
class Standing:
    """One network among those compared on one metric.

    ``best`` is the share of resamples of women, in [0, 1], in which it has the highest value (shared where equal): how stable
    its place is on women like these, and no probability that it truly is the best. ``sampling_sd`` is the standard deviation
    of one trained model's value over resampled women, ``seed_sd`` that between the network's seeds on the women as they are;
    None with one seed. ``seeds`` counts them.
    """

    name: str
    value: float
    best: float
    sampling_sd: float
    seed_sd: float | None
    seeds: int
    note: str


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's correlation of a cost with the metric over the networks, in [-1, 1]; described, not tested.

    ``low`` to ``high`` is where it lies in the middle ``confidence`` of the resamples of women, the networks being these.
    """

    cost: str
    rho: float
    low: float
    high: float
    networks: int


def standings(answers: Mapping[str, Answer | str]) -> list[Standing]:
    """One Standing for each network that has an Answer, in their order."""
    known = [answer for answer in answers.values() if isinstance(answer, Answer)]
    if not known:
        return []
    values = np.stack([answer.values for answer in known])
    values = values[:, np.isfinite(values).all(axis=0)]
    top = values >= values.max(axis=0, initial=-math.inf) - 1e-12
    best = (top / top.sum(axis=0)).mean(axis=1) if values.shape[1] >= LEAST_RESAMPLES else np.full(len(known), math.nan)
    found = []
    for answer, share in zip(known, best, strict=True):
        count = len(answer.seeds)
        spread = math.sqrt(float(np.mean(np.nanvar(answer.seed_values, axis=1, ddof=1))))
        between = float(answer.seeds.std(ddof=1)) if count > 1 else None
        note = "" if count >= LEAST_SEEDS else f"{count} seed{'s' if count > 1 else ''}; {LEAST_SEEDS} are needed to tell"
        found.append(Standing(answer.name, answer.value, float(share), spread, between, count, note))
    return found


def rank_correlations(
    answers: Mapping[str, Answer | str], costs: Mapping[str, Mapping[str, float]], confidence: float = 0.95
) -> list[RankCorrelation | Undefined]:
    """One for each cost; ``costs``: cost -> network -> number. Undefined with fewer than three networks or equal costs."""
    known = {name: answer for name, answer in answers.items() if isinstance(answer, Answer)}
    found: list[RankCorrelation | Undefined] = []
    for cost, by_network in costs.items():
        names = [name for name in known if math.isfinite(by_network.get(name, math.nan))]
        x = np.array([by_network[name] for name in names])
        if len(names) < 3 or np.ptp(x) == 0:
            reason = "fewer than three networks" if len(names) < 3 else "all networks cost the same"
            found.append(Undefined(cost, reason, len(names), 0, 0))
            continue
        observed = _spearman(x, np.array([[known[name].value for name in names]]).T)[0]
        drawn = _spearman(x, np.stack([known[name].values for name in names]))
        drawn = drawn[np.isfinite(drawn)]
        if not math.isfinite(observed) or len(drawn) < LEAST_RESAMPLES:
            found.append(Undefined(cost, "all networks do equally well", len(names), 0, 0))
            continue
        low, high = np.quantile(drawn, (0.5 - confidence / 2, 0.5 + confidence / 2))
        rho = float(observed)
        if low == high:
            found.append(Undefined(cost, "no resample changes the order of the networks", len(names), 0, 0))
            continue
        found.append(RankCorrelation(cost, rho, min(float(low), rho), max(float(high), rho), len(names)))
    return found


def on_the_front(answers: Mapping[str, Answer | str], cost: Mapping[str, float]) -> dict[str, float]:
    """For each network the share of resamples, in [0, 1], in which no other is at most as costly and strictly better, or
    cheaper and as good: how surely it belongs to the Pareto front of this cost."""
    known = {name: answer for name, answer in answers.items() if isinstance(answer, Answer)}
    names = [name for name in known if math.isfinite(cost.get(name, math.nan))]
    if not names:
        return {}
    x = np.array([cost[name] for name in names])
    values = np.stack([known[name].values for name in names])
    values = values[:, np.isfinite(values).all(axis=0)]
    shares = {}
    for number, name in enumerate(names):
        better = (x <= x[number])[:, None] & (values > values[number] + 1e-12)
        cheaper = (x < x[number])[:, None] & (values >= values[number] - 1e-12)
        shares[name] = float(1 - (better | cheaper).any(axis=0).mean()) if values.shape[1] else math.nan
    return shares


def _spearman(x: Floats, values: Floats) -> Floats:
    """Spearman's correlation of ``x`` (networks,) with each column of ``values`` (networks, columns); NaN if all are equal."""
    a = stats.rankdata(x)
    b = stats.rankdata(values, axis=0)
    a, b = a - a.mean(), b - b.mean(axis=0)
    below = np.sqrt((a**2).sum() * (b**2).sum(axis=0))
    return np.asarray(np.divide(a @ b, below, out=np.full(b.shape[1], math.nan), where=below > 0))
