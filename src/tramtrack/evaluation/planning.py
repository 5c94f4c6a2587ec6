"""How many women a study needs to tell two networks apart, by simulation, with both correlations as inputs.

Views of a woman are alike, and two networks err on the same women; a formula for independent scores has room for neither.
Scores are normal: a view with BAC lies higher by a constant, each woman shares a part of the noise (``within``), and the two
networks share a part of it (``between``). The difference in AUC is tested by Obuchowski's variance for clustered units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from tramtrack.errors import UsageError
from tramtrack.evaluation.clustered import auc_covariance
from tramtrack.evaluation.resampling import estimate
from tramtrack.evaluation.scores import Bools, Floats

VIEW_SHOWS_BAC = 0.75
"""In a woman with BAC each view shows it with this chance, and at least one does: 581 views of 194 women in the study."""
POPULATION = 20_000
MOST_WOMEN = 2_000_000
SPREAD = (0.8, 0.9, 1.0, 1.1, 1.25)  # sizes tried, as multiples of the first guess

Track = Callable[[Iterable[float], str], Iterable[float]]


@dataclass(frozen=True)
class Design:
    """What is asked. ``auc`` is the better network's, ``difference`` how much lower the other's is, both by ``unit``.

    ``prevalence`` is the share of women with BAC; ``within`` correlates the views of a woman, ``between`` the two networks'
    scores of a view, both within a class and in [0, 1). ``pairs`` divides the two-sided level ``alpha`` (Bonferroni).
    Raises UsageError naming the input that cannot be.
    """

    prevalence: float
    auc: float
    difference: float
    within: float = 0.4
    between: float = 0.5
    unit: Literal["view", "woman"] = "woman"
    views: int = 4
    power: float = 0.8
    alpha: float = 0.05
    pairs: int = 1

    def __post_init__(self) -> None:
        shares = {"prevalence": self.prevalence, "power": self.power, "alpha": self.alpha}
        for name, value in shares.items():
            if not 0 < value < 1:
                raise UsageError(f"{name} {value}: expected a number between 0 and 1")
        for name, value in {"within": self.within, "between": self.between}.items():
            if not 0 <= value < 1:
                raise UsageError(f"{name} {value}: expected a correlation from 0 to below 1")
        if self.unit not in ("view", "woman"):
            raise UsageError(f"unit {self.unit}: expected view or woman")
        if not (self.difference > 0 and self.auc - self.difference >= 0.5 and self.auc < 1):
            raise UsageError(
                f"auc {self.auc}, difference {self.difference}: expected an AUC below 1 and a difference above 0, with the "
                "lower AUC at 0.5 or above"
            )
        if self.power <= self.alpha or self.pairs < 1 or not 1 <= self.views <= 16:
            raise UsageError("expected a power above alpha, at least one pair, and 1 to 16 views of a woman")


@dataclass(frozen=True)
class Plan:
    """The answer: ``women`` in all, ``positives`` of them with BAC, and the ``power`` simulated there with its error (one
    standard error). ``without_correlation`` is the number of women if views and networks were independent."""

    design: Design
    women: int
    positives: int
    power: float
    error: float
    without_correlation: int


def plan(design: Design, *, generator: np.random.Generator, replicates: int = 400, track: Track | None = None) -> Plan:
    """The women needed. Raises UsageError where more than MOST_WOMEN would be.

    A pilot gives the variance of the difference and with it a first guess; the power is then simulated around it with
    ``replicates`` cohorts each, a probit line in the square root of the size is laid through, and the size that it names is
    simulated again. ``track`` wraps the sizes with a progress bar.
    """
    shifts = separations(design, generator)
    guess = _first_guess(design, shifts, generator)
    if guess > MOST_WOMEN:
        raise UsageError(
            f"difference {design.difference:g}: about {guess:,.0f} women would be needed; ask for a larger difference"
        )
    sizes = [max(_least(design), round(guess * share)) for share in SPREAD]
    watched = track(sizes, "power") if track else sizes
    powers = np.array([simulated_power(design, shifts, int(size), replicates, generator) for size in watched])
    women = _solve(np.array(sizes, dtype=float), powers, design.power, guess, replicates)
    women = max(_least(design), women)
    power = simulated_power(design, shifts, women, replicates, generator)
    plain = Design(**{**design.__dict__, "within": 0.0, "between": 0.0})
    alone = round(_first_guess(plain, separations(plain, generator), generator))
    error = math.sqrt(max(power * (1 - power), 1 / replicates) / replicates)
    return Plan(design, women, round(women * design.prevalence), power, error, max(_least(design), alone))


def simulate(
    design: Design, shifts: tuple[float, float], women: int, positives: int, generator: np.random.Generator
) -> tuple[list[Floats], Bools, NDArray[np.int64]]:
    """Two networks' scores, labels and women of one cohort, at the design's unit, the positive women first."""
    labels = np.zeros((women, design.views), dtype=bool)
    labels[:positives] = generator.random((positives, design.views)) < VIEW_SHOWS_BAC
    labels[:positives, 0] |= ~labels[:positives].any(axis=1)

    def noise() -> Floats:
        own = math.sqrt(1 - design.within) * generator.normal(size=labels.shape)
        return np.asarray(math.sqrt(design.within) * generator.normal(size=(women, 1)) + own)

    shared, weight = noise(), math.sqrt(design.between)
    scores = [shift * labels + weight * shared + math.sqrt(1 - design.between) * noise() for shift in shifts]
    if design.unit == "woman":
        return [one.max(axis=1) for one in scores], np.asarray(labels.any(axis=1)), np.arange(women)
    return [one.ravel() for one in scores], labels.ravel(), np.repeat(np.arange(women), design.views)


def separations(design: Design, generator: np.random.Generator) -> tuple[float, float]:
    """How much higher a view with BAC scores so that the AUCs by the design's unit are the stated ones.

    By closed form for views (sqrt(2) Phi^-1(auc)), for women on a simulated population of POPULATION, half of them positive.
    """
    wanted = (design.auc, design.auc - design.difference)
    closed = [math.sqrt(2) * float(stats.norm.ppf(auc)) for auc in wanted]
    if design.unit == "view" or design.views == 1:
        return closed[0], closed[1]
    seed = int(generator.integers(2**31))

    def reached(shift: float) -> float:
        drawn = np.random.default_rng(seed)  # common random numbers: the AUC rises smoothly with the shift
        scores, labels, _ = simulate(design, (shift, 0.0), POPULATION, POPULATION // 2, drawn)
        return estimate("auc_roc", labels, scores[0])

    first, second = (optimize.brentq(lambda shift, auc=auc: reached(shift) - auc, -0.5, 8.0, xtol=1e-3) for auc in wanted)
    return float(first), float(second)


def simulated_power(
    design: Design, shifts: tuple[float, float], women: int, replicates: int, generator: np.random.Generator
) -> float:
    """The share of simulated cohorts in which the two networks are told apart, in [0, 1]."""
    critical = float(stats.norm.isf(design.alpha / design.pairs / 2))
    found = 0
    for _ in range(replicates):
        positives = int(np.clip(generator.binomial(women, design.prevalence), 2, women - 2))
        difference, variance = _difference(*simulate(design, shifts, women, positives, generator))
        found += bool(variance > 0 and abs(difference) > critical * math.sqrt(variance))
    return found / replicates


def correlations(
    logits: Mapping[str, Floats], labels: NDArray[np.int8], woman: NDArray[np.int64]
) -> tuple[float | None, float | None]:
    """(within, between) as a study's views show them, each within a class and not below 0; None where it cannot be told.

    ``logits``: network -> float (views,), ``labels`` int8 (views,) 0 or 1, ``woman`` int (views,). Within is the intraclass
    correlation of a woman's views (one-way analysis of variance) averaged over networks, between the mean correlation of all
    pairs of networks, both after taking off each class's mean.
    """
    rest = {}
    for name, values in logits.items():
        left = np.array(values, dtype=np.float64)
        for label in np.unique(labels):
            left[labels == label] -= left[labels == label].mean()
        rest[name] = left
    within = [found for values in rest.values() if (found := _intraclass(values, woman)) is not None]
    names = [name for name, values in rest.items() if values.std() > 0]
    between = [float(np.corrcoef(rest[a], rest[b])[0, 1]) for i, a in enumerate(names) for b in names[i + 1 :]]
    return (
        min(0.99, max(0.0, float(np.mean(within)))) if within else None,
        min(0.99, max(0.0, float(np.mean(between)))) if between else None,
    )


def _intraclass(values: Floats, woman: NDArray[np.int64]) -> float | None:
    counts = np.bincount(woman)
    counts = counts[counts > 0]
    women, views = len(counts), len(values)
    if women < 2 or views == women or values.std() == 0:
        return None
    means = np.bincount(woman, weights=values)[np.unique(woman)] / counts
    own = np.repeat(means, counts)[np.argsort(np.argsort(woman, kind="stable"), kind="stable")]
    among = float((counts * (means - values.mean()) ** 2).sum()) / (women - 1)
    inside = float(((values - own) ** 2).sum()) / (views - women)
    size = (views - float((counts**2).sum()) / views) / (women - 1)
    return (among - inside) / (among + (size - 1) * inside)


def _first_guess(design: Design, shifts: tuple[float, float], generator: np.random.Generator) -> float:
    """Women needed by the mean variance of the difference in 40 pilot cohorts, and the normal formula."""
    women = max(_least(design), math.ceil(100 / design.prevalence))
    variances = []
    for _ in range(40):
        drawn = simulate(design, shifts, women, max(2, round(women * design.prevalence)), generator)
        variances.append(_difference(*drawn)[1])
    reach = stats.norm.isf(design.alpha / design.pairs / 2) + stats.norm.ppf(design.power)
    return float(women * np.mean(variances) * (reach / design.difference) ** 2)


def _difference(scores: list[Floats], labels: Bools, woman: NDArray[np.int64]) -> tuple[float, float]:
    aucs, covariance = auc_covariance(scores, labels, woman)
    return float(aucs[0] - aucs[1]), float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])


def _solve(sizes: Floats, powers: Floats, wanted: float, guess: float, replicates: int) -> int:
    """The size at which a probit line through the powers reaches the wanted one; the guess where the line does not rise."""
    held = np.clip(powers, 1 / (2 * replicates), 1 - 1 / (2 * replicates))
    weights = np.sqrt(replicates / (held * (1 - held))) * stats.norm.pdf(stats.norm.ppf(held))
    slope, start = np.polyfit(np.sqrt(sizes), stats.norm.ppf(held), 1, w=weights) if np.ptp(sizes) else (0.0, 0.0)
    if slope <= 0:
        return round(guess)
    root = (float(stats.norm.ppf(wanted)) - start) / slope
    return int(np.clip(math.ceil(max(root, 0.0) ** 2), sizes.min() / 2, 2 * sizes.max()))


def _least(design: Design) -> int:
    """So many women that two of each class are to be expected."""
    return math.ceil(2 / min(design.prevalence, 1 - design.prevalence)) + 2
