"""How often the intervals hold what they promise, on simulated cohorts with about thirty positive women.

Prints the coverage of nominal 95 % intervals of one network (`tramtrack.evaluation.intervals`) beside the plain percentile
bootstrap on the same resamples, and how often the paired comparison (`tramtrack.evaluation.comparisons`) separates networks
that are equal. Every figure stands with its Monte-Carlo error (one standard error). The last line is one JSON object: the
lowest coverage of any interval of ours. Nothing here is tuned until it passes; a cell under the goal is printed as missed.

Run it with `make bench NAME=coverage`, or `python benchmarks/coverage.py --replicates 200` for a quick look.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tramtrack.evaluation.aggregate import Units
from tramtrack.evaluation.comparisons import Comparison, compare
from tramtrack.evaluation.intervals import evidence, interval, resample_women, score_all, standard_error
from tramtrack.evaluation.scores import METRICS, Metric, Score, confusion, estimate, from_counts, ratio
from tramtrack.progress import track

WOMEN, PREVALENCE, VIEWS = 230, 30 / 230, 4
VIEW_SHOWS_BAC = 0.75  # in a woman with BAC, each view by itself; at least one does
CALLED_POSITIVE = 1.1  # units at or above the threshold, as a multiple of the truly positive ones
AUCS, CORRELATIONS = (0.75, 0.90, 0.97), (0.2, 0.5, 0.8)
UNITS: tuple[Literal["view", "woman"], ...] = ("view", "woman")
POPULATION = 600 * WOMEN  # women from whom the truth is read
CONFIDENCE, GOAL = 0.95, 93.0
RESAMPLES = 1000

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Cohort:
    """Labels and scores of units of one kind: ``labels`` bool and ``scores`` float64, both (women, units of a woman)."""

    labels: Bools
    scores: Floats

    def units(self, unit: Literal["view", "woman"]) -> Units:
        """The same as `tramtrack.evaluation` takes it: one row a unit."""
        woman = np.repeat(np.arange(len(self.labels)), self.labels.shape[1])
        return Units(unit, woman, self.scores.ravel(), self.labels.ravel())

    def by_woman(self) -> Cohort:
        """Each woman's largest score, and whether any of her views shows BAC: arrays (women, 1)."""
        return Cohort(np.asarray(self.labels.any(axis=1, keepdims=True)), self.scores.max(axis=1, keepdims=True))


def simulate(women: int, auc: float, correlation: float, generator: np.random.Generator) -> Cohort:
    """Views of ``women`` women, the positive ones first; how many those are is drawn from a binomial distribution.

    Scores are normal with variance 1 and ``correlation`` between the views of a woman; a view with BAC scores higher by
    sqrt(2) * Phi^-1(auc), so that ``auc`` is the AUC by view.
    """
    positives = generator.binomial(women, PREVALENCE)
    labels = np.zeros((women, VIEWS), dtype=bool)
    labels[:positives] = generator.random((positives, VIEWS)) < VIEW_SHOWS_BAC
    labels[:positives, 0] |= ~labels[:positives].any(axis=1)
    common, own = generator.normal(size=(women, 1)), generator.normal(size=(women, VIEWS))
    noise = math.sqrt(correlation) * common + math.sqrt(1 - correlation) * own
    return Cohort(labels, np.asarray(separation(auc) * labels + noise))


def separation(auc: float) -> float:
    """The distance between two normal distributions of variance 1 that gives this AUC."""
    return math.sqrt(2) * float(stats.norm.ppf(auc))


def resampled_metrics(cohort: Cohort, threshold: float, weights: NDArray[np.int32]) -> dict[Metric, Floats]:
    """Every metric under each column of ``weights`` (women, resamples): float64 (resamples,), NaN where it is undefined.

    The AUC counts its pairs once, woman by woman, so that a resample is one matrix product; this is what makes thousands
    of replicates affordable. `require_same` holds the intervals that come of it against those of the package.
    """
    labels, scores, drawn = cohort.labels, cohort.scores, weights.astype(float)
    positive = labels.any(axis=1)
    pairs = labels[positive][:, :, None, None] & ~labels[None, None]
    won = (pairs & (scores[positive][:, :, None, None] > scores[None, None])).sum(axis=(1, 3)).astype(float)
    all_pairs = (labels.sum(axis=1) @ drawn) * ((~labels).sum(axis=1) @ drawn)
    counts = confusion(labels.ravel(), scores.ravel(), threshold).reshape(*labels.shape, 4).sum(axis=1)
    values: dict[Metric, Floats] = {"auc_roc": ratio(((won @ drawn) * drawn[positive]).sum(axis=0), all_pairs)}
    for metric in METRICS[1:]:
        values[metric] = from_counts(metric, drawn.T @ counts)
    return values


def intervals(
    cohort: Cohort, unit: Literal["view", "woman"], threshold: float, weights: NDArray[np.int32]
) -> dict[Metric, dict[str, tuple[float, float]]]:
    """For each metric "ours" and "percentile", both (low, high), from the same resamples of women."""
    units = cohort.units(unit)
    observed = np.ones((len(weights), 1), dtype=weights.dtype)
    values = resampled_metrics(cohort, threshold, np.hstack([observed, weights]))
    tails = (0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2)
    result: dict[Metric, dict[str, tuple[float, float]]] = {}
    for metric in METRICS:
        value, resamples = float(values[metric][0]), values[metric][1:]
        resamples = resamples[np.isfinite(resamples)]
        sample = evidence(metric, units.labels, units.scores, units.woman, threshold)
        low, high = np.quantile(resamples, tails)
        result[metric] = {
            "ours": interval(metric, value, sample, standard_error(resamples), CONFIDENCE),
            "percentile": (float(low), float(high)),
        }
    return result


def require_same(
    found: dict[Metric, dict[str, tuple[float, float]]], units: Units, threshold: float, generator: np.random.Generator
) -> None:
    """Stop unless the package's own `score_all`, from a generator in the same state, gives the same intervals."""
    scores = score_all(units, threshold, generator=generator, resamples=RESAMPLES, confidence=CONFIDENCE)
    for metric, score in scores.items():
        if not isinstance(score, Score) or not np.allclose(found[metric]["ours"], (score.low, score.high), rtol=0, atol=1e-9):
            raise SystemExit(f"{units.unit} {metric}: expected the interval of score_all, {score}; received {found[metric]}")


def truths(
    auc: float, correlation: float, generator: np.random.Generator
) -> dict[Literal["view", "woman"], tuple[float, dict[Metric, float]]]:
    """For each unit the fixed threshold, and the value of every metric in a large population."""
    views = simulate(POPULATION, auc, correlation, generator)
    result: dict[Literal["view", "woman"], tuple[float, dict[Metric, float]]] = {}
    for unit in UNITS:
        units = (views if unit == "view" else views.by_woman()).units(unit)
        threshold = float(np.quantile(units.scores, 1 - CALLED_POSITIVE * units.labels.mean()))
        result[unit] = threshold, {metric: estimate(metric, units.labels, units.scores, threshold) for metric in METRICS}
    return result


def percent(hits: list[bool]) -> str:
    """A share with its Monte-Carlo error, in percent."""
    share = float(np.mean(hits))
    return f"{100 * share:5.1f} ({100 * math.sqrt(share * (1 - share) / len(hits)):.1f})"


def verdict(coverage: float) -> str:
    """ "missed" for a coverage in percent that is under the goal."""
    return "missed" if coverage < GOAL else ""


def one_network(auc: float, correlation: float, replicates: int, generator: np.random.Generator) -> list[float]:
    """Print the coverage of every metric by view and by woman in one setting; returns ours, in percent."""
    truth = truths(auc, correlation, generator)
    hits: dict[tuple[str, Metric, str], list[bool]] = {}
    for replicate in track(range(replicates), f"AUC {auc:.2f}, r {correlation}"):
        views = simulate(WOMEN, auc, correlation, generator)
        before = copy.deepcopy(generator)
        weights = resample_women(WOMEN, RESAMPLES, generator)
        for unit in UNITS:
            cohort = views if unit == "view" else views.by_woman()
            threshold, values = truth[unit]
            found = intervals(cohort, unit, threshold, weights)
            if replicate == 0:
                require_same(found, cohort.units(unit), threshold, copy.deepcopy(before))
            for metric in METRICS:
                for method, (low, high) in found[metric].items():
                    hits.setdefault((unit, metric, method), []).append(low <= values[metric] <= high)
    coverages = []
    for unit in UNITS:
        for metric in METRICS:
            ours = hits[unit, metric, "ours"]
            coverages.append(100 * float(np.mean(ours)))
            print(
                f"{unit:6}{metric:12}{auc:5.2f}{correlation:5.1f}{truth[unit][1][metric]:8.3f}   "
                f"{percent(ours)}   {percent(hits[unit, metric, 'percentile'])}   {verdict(coverages[-1])}".rstrip(),
                flush=True,
            )
    return coverages


def stratified_f1(auc: float, correlation: float, replicates: int, generator: np.random.Generator) -> None:
    """Print the coverage of our interval of F1 by view with women drawn freely, and drawn within their class."""
    threshold, values = truths(auc, correlation, generator)["view"]
    hits: dict[str, list[bool]] = {"freely": [], "within their class": []}
    for _ in track(range(replicates), "stratified"):
        views = simulate(WOMEN, auc, correlation, generator)
        positives = int(views.labels.any(axis=1).sum())
        within = [resample_women(women, RESAMPLES, generator) for women in (positives, WOMEN - positives)]
        for how, weights in zip(hits, (resample_women(WOMEN, RESAMPLES, generator), np.vstack(within)), strict=True):
            low, high = intervals(views, "view", threshold, weights)["f1"]["ours"]
            hits[how].append(low <= values["f1"] <= high)
    for how, covered in hits.items():
        print(f"F1 by view, AUC {auc:.2f}, r {correlation}, women drawn {how}: {percent(covered)}", flush=True)


def networks_compared(
    networks: int, auc: float, correlation: float, difference: float, replicates: int, generator: np.random.Generator
) -> float:
    """Print how the comparison by woman does where the first network's AUC is ``auc`` and the others' lower by ``difference``.

    The scores of any two networks correlate at ``correlation`` within a class. Rejection (p <= .05) and coverage are those
    of the first pair, "any separated" is over all pairs. Returns the coverage in percent.
    """
    shifts = [separation(auc)] + [separation(auc - difference)] * (networks - 1)
    rejected, covered, separated = [], [], []
    for _ in track(range(replicates), f"{networks} networks, AUC {auc:.2f}, r {correlation}"):
        labels = generator.random(WOMEN) < PREVALENCE
        noise = math.sqrt(correlation) * generator.normal(size=WOMEN)
        own = math.sqrt(1 - correlation) * generator.normal(size=(networks, WOMEN))
        scores = {f"network {k}": shift * labels + noise + own[k] for k, shift in enumerate(shifts)}
        pairs = compare(
            scores, labels, np.arange(WOMEN), unit="woman", generator=generator, resamples=RESAMPLES, confidence=CONFIDENCE
        )
        tested = [pair for pair in pairs if isinstance(pair, Comparison)]
        rejected.append(tested[0].p <= 1 - CONFIDENCE)
        covered.append(tested[0].low <= difference <= tested[0].high)
        separated.append(any(pair.separated for pair in tested))
    coverage = 100 * float(np.mean(covered))
    print(
        f"{networks:8}{auc:6.2f}{correlation:5.1f}{difference:6.2f}    {percent(rejected)}   {percent(covered)}   "
        f"{percent(separated)}   {verdict(coverage)}".rstrip(),
        flush=True,
    )
    return coverage


def at_the_boundary(generator: np.random.Generator) -> None:
    """Print the sensitivity of five women found out of five, with four views each, for its interval."""
    found = Units("view", np.repeat(np.arange(5), VIEWS), np.ones(5 * VIEWS), np.ones(5 * VIEWS, dtype=bool))
    score = score_all(found, 0.5, generator=generator, resamples=RESAMPLES)["sensitivity"]
    print(f"sensitivity of five women out of five, four views each: {score}", flush=True)


def main() -> None:
    """Run every setting and print the tables and the JSON line."""
    parser = argparse.ArgumentParser(description="Coverage of the intervals and of the paired comparison, by simulation.")
    parser.add_argument("--replicates", type=int, default=2000, help="simulated cohorts in each setting (default 2000)")
    parser.add_argument("--seed", type=int, default=5, help="of the random numbers (default 5)")
    arguments = parser.parse_args()
    if arguments.replicates < 1 or arguments.seed < 0:
        parser.error("expected at least one replicate and a seed of 0 or more")
    replicates, seed = arguments.replicates, arguments.seed
    settings = [(auc, correlation) for auc in AUCS for correlation in CORRELATIONS]
    print(f"seed {seed}, {replicates} replicates, {RESAMPLES} resamples, {WOMEN} women, about 30 of them positive")
    print("percent, Monte-Carlo error in brackets; r: correlation between the views of a woman\n")
    print(f"unit  metric        AUC    r   truth   {'ours':11}   {'percentile':11}")
    coverages: list[float] = []
    for k, (auc, correlation) in enumerate(settings):
        coverages += one_network(auc, correlation, replicates, np.random.default_rng([seed, 0, k]))
    print()
    stratified_f1(0.90, 0.5, replicates, np.random.default_rng([seed, 1]))
    at_the_boundary(np.random.default_rng([seed, 2]))
    print("\nAUC by woman of paired networks; r: correlation between the scores of two networks")
    print(f"networks   AUC    r  diff    {'rejected':11}   {'covered':11}   any separated")
    compared = [(2, auc, correlation, 0.0) for auc, correlation in settings] + [(2, 0.90, 0.5, 0.05), (6, 0.90, 0.5, 0.0)]
    for k, case in enumerate(compared):
        coverages.append(networks_compared(*case, replicates, np.random.default_rng([seed, 3, k])))
    lowest = min(coverages)
    missed = sum(coverage < GOAL for coverage in coverages)
    print(f"\n{len(coverages)} cells, {missed} missed: coverage of our interval under {GOAL:.0f} %")
    line = {"name": "coverage", "figure": round(lowest, 2), "unit": "%", "goal": int(GOAL), "met": lowest >= GOAL}
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
