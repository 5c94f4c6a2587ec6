"""How often the intervals hold what they promise, on simulated cohorts with about thirty positive women.

Prints the coverage of nominal 95 % intervals of one network (`tramtrack.evaluation.intervals`) beside the plain percentile
bootstrap on the same resamples; for AUC, F1 and sensitivity beside the textbook's other intervals as well, with their mean
widths; and how often the paired comparison (`tramtrack.evaluation.comparisons`) separates networks that are equal. Every
figure stands with its Monte-Carlo error (one standard error). The last line is one JSON object: the lowest coverage of any
interval of ours. Nothing here is tuned until it passes; a cell under the goal is printed as missed.

Run it with `make bench NAME=coverage`, or `python benchmarks/coverage.py --replicates 200` for a quick look. Each cell has
random numbers of its own, so a long run can be done in parts: `--keep cells.jsonl` writes down each cell as it ends, the same
command goes on from there, and `--part networks`, `methods`, `pairs` or `gaps` does one of the four tables.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from measuring import finish
from rival_intervals import METHODS, RIVALLED, every_method
from tramtrack.evaluation.aggregate import Units
from tramtrack.evaluation.answers import Answer, ask
from tramtrack.evaluation.comparisons import Comparison, compare
from tramtrack.evaluation.contrasts import Share, contrast_all, share_left
from tramtrack.evaluation.intervals import score_resampled
from tramtrack.evaluation.resampling import estimate, resample_women, resampled_all
from tramtrack.evaluation.scores import METRICS, Metric, Score
from tramtrack.progress import track
from tramtrack.store import Journal

WOMEN, PREVALENCE, VIEWS = 230, 30 / 230, 4
VIEW_SHOWS_BAC = 0.75  # in a woman with BAC, each view by itself; at least one does
CALLED_POSITIVE = 1.1  # units at or above the threshold, as a multiple of the truly positive ones
AUCS, CORRELATIONS = (0.75, 0.90, 0.97), (0.2, 0.5, 0.8)
UNITS: tuple[Literal["view", "woman"], ...] = ("view", "woman")
POPULATION = 600 * WOMEN  # women from whom the truth is read
CONFIDENCE, GOAL = 0.95, 93.0
RESAMPLES = 1000

PARTS = ("networks", "methods", "pairs", "gaps")

Cell = tuple[list[str], list[float]]
"""What a cell gives: its printed lines, and its coverages in percent."""
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


def intervals(
    cohort: Cohort, unit: Literal["view", "woman"], threshold: float, weights: NDArray[np.int32]
) -> dict[Metric, dict[str, tuple[float, float]]]:
    """For each metric "ours" and "percentile", both (low, high), from the same resamples of women."""
    units = cohort.units(unit)
    likely = probabilities(units, threshold)
    scores = score_resampled(units, threshold, weights, probabilities=likely, confidence=CONFIDENCE)
    drawn = resampled_all(units.labels, units.scores, units.woman, weights, threshold=threshold, probabilities=likely)
    result: dict[Metric, dict[str, tuple[float, float]]] = {}
    for metric, score in scores.items():
        if not isinstance(score, Score):
            continue  # a cohort in which it has no value has no interval either
        values = drawn[metric][np.isfinite(drawn[metric])]
        low, high = np.quantile(values, (0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2))
        result[metric] = {"ours": (score.low, score.high), "percentile": (float(low), float(high))}
    return result


def probabilities(units: Units, threshold: float) -> Floats:
    """Scores as probabilities for the Brier score: a logistic curve that is one half at the threshold; its truth is known
    from the same curve in the population, so it need not be the right one."""
    return np.asarray(special.expit(2 * (units.scores - threshold)))


def truths(
    auc: float, correlation: float, generator: np.random.Generator
) -> dict[Literal["view", "woman"], tuple[float, dict[Metric, float]]]:
    """For each unit the fixed threshold, and the value of every metric in a large population."""
    views = simulate(POPULATION, auc, correlation, generator)
    result: dict[Literal["view", "woman"], tuple[float, dict[Metric, float]]] = {}
    for unit in UNITS:
        units = (views if unit == "view" else views.by_woman()).units(unit)
        threshold = float(np.quantile(units.scores, 1 - CALLED_POSITIVE * units.labels.mean()))
        values = {metric: estimate(metric, units.labels, units.scores, threshold) for metric in METRICS if metric != "brier"}
        values["brier"] = estimate("brier", units.labels, probabilities(units, threshold))
        result[unit] = threshold, values
    return result


def percent(hits: list[bool]) -> str:
    """A share with its Monte-Carlo error, in percent."""
    share = float(np.mean(hits))
    return f"{100 * share:5.1f} ({100 * math.sqrt(share * (1 - share) / len(hits)):.1f})"


def verdict(coverage: float) -> str:
    """ "missed" for a coverage in percent that is under the goal."""
    return "missed" if coverage < GOAL else ""


def one_network(auc: float, correlation: float, replicates: int, generator: np.random.Generator) -> Cell:
    """The coverage of every metric by view and by woman in one setting."""
    truth = truths(auc, correlation, generator)
    hits: dict[tuple[str, Metric, str], list[bool]] = {}
    for _ in track(range(replicates), f"AUC {auc:.2f}, r {correlation}"):
        views = simulate(WOMEN, auc, correlation, generator)
        weights = resample_women(WOMEN, RESAMPLES, generator)
        for unit in UNITS:
            cohort = views if unit == "view" else views.by_woman()
            threshold, values = truth[unit]
            found = intervals(cohort, unit, threshold, weights)
            for metric, bounds in found.items():
                for method, (low, high) in bounds.items():
                    hits.setdefault((unit, metric, method), []).append(low <= values[metric] <= high)
    lines, coverages = [], []
    for unit in UNITS:
        for metric in METRICS:
            ours = hits[unit, metric, "ours"]
            coverages.append(100 * float(np.mean(ours)))
            lines.append(
                f"{unit:6}{metric:18}{auc:5.2f}{correlation:5.1f}{truth[unit][1][metric]:8.3f}   "
                f"{percent(ours)}   {percent(hits[unit, metric, 'percentile'])}   {verdict(coverages[-1])}".rstrip()
            )
    return lines, coverages


def methods_compared(auc: float, correlation: float, replicates: int, generator: np.random.Generator) -> Cell:
    """The coverage and the mean width of every method's interval in one setting; the cell's coverages are those of ours."""
    truth = truths(auc, correlation, generator)
    found: dict[tuple[str, Metric, str], list[tuple[bool, float]]] = {}
    for _ in track(range(replicates), f"methods, AUC {auc:.2f}, r {correlation}"):
        views = simulate(WOMEN, auc, correlation, generator)
        weights = resample_women(WOMEN, RESAMPLES, generator)
        for unit in UNITS:
            threshold, values = truth[unit]
            cohort = views if unit == "view" else views.by_woman()
            for metric, bounds in every_method(cohort.units(unit), threshold, weights, CONFIDENCE).items():
                for method, (low, high) in bounds.items():
                    found.setdefault((unit, metric, method), []).append((low <= values[metric] <= high, high - low))
    lines, coverages = [], []
    for unit in UNITS:
        for metric in RIVALLED:
            cells = {method: np.array(found[unit, metric, method]) for method in METHODS}
            coverages.append(100 * float(cells["ours"][:, 0].mean()))
            told = "  ".join(f"{100 * one[:, 0].mean():5.1f} {one[:, 1].mean():.3f}" for one in cells.values())
            lines.append(f"{unit:6}{metric:13}{auc:5.2f}{correlation:5.1f}{truth[unit][1][metric]:7.3f}   {told}")
    return lines, coverages


def stratified_f1(auc: float, correlation: float, replicates: int, generator: np.random.Generator) -> Cell:
    """The coverage of our interval of F1 by view with women drawn freely, and drawn within their class."""
    threshold, values = truths(auc, correlation, generator)["view"]
    hits: dict[str, list[bool]] = {"freely": [], "within their class": []}
    for _ in track(range(replicates), "stratified"):
        views = simulate(WOMEN, auc, correlation, generator)
        positives = int(views.labels.any(axis=1).sum())
        within = [resample_women(women, RESAMPLES, generator) for women in (positives, WOMEN - positives)]
        for how, weights in zip(hits, (resample_women(WOMEN, RESAMPLES, generator), np.vstack(within)), strict=True):
            low, high = intervals(views, "view", threshold, weights)["f1"]["ours"]
            hits[how].append(low <= values["f1"] <= high)
    named = hits.items()
    return [f"F1 by view, AUC {auc:.2f}, r {correlation}, women drawn {how}: {percent(covered)}" for how, covered in named], []


def networks_compared(
    networks: int, auc: float, correlation: float, difference: float, replicates: int, generator: np.random.Generator
) -> Cell:
    """How the comparison by woman does where the first network's AUC is ``auc`` and the others' lower by ``difference``.

    The scores of any two networks correlate at ``correlation`` within a class. Rejection (p <= .05) and coverage are those
    of the first pair; "all covered" is how often the simultaneous intervals of all pairs hold at once, "any separated" is over
    all pairs.
    """
    shifts = [separation(auc)] + [separation(auc - difference)] * (networks - 1)
    rejected, covered, together, separated = [], [], [], []
    true = {(0, k): difference for k in range(1, networks)}
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
        order = [(int(pair.network_a.split()[1]), int(pair.network_b.split()[1])) for pair in tested]
        gaps = [true.get(numbers, 0.0) for numbers in order]
        holds = [p.simultaneous_low <= gap <= p.simultaneous_high for p, gap in zip(tested, gaps, strict=True)]
        together.append(all(holds))
    coverages = [100 * float(np.mean(hits)) for hits in (covered, together)]
    line = (
        f"{networks:8}{auc:6.2f}{correlation:5.1f}{difference:6.2f}    {percent(rejected)}   {percent(covered)}   "
        f"{percent(together)}   {percent(separated)}   {verdict(min(coverages))}"
    )
    return [line.rstrip()], coverages


def gaps_left(aucs: tuple[float, ...], correlation: float, replicates: int, generator: np.random.Generator) -> Cell:
    """How the share of a gap that is left does: four runs by woman, two networks under two settings, with these AUCs.

    The gap is the first AUC minus the second, what is left of it the third minus the fourth. The interval of the share is
    unbounded where the gap is not told from 0, and then it covers; "change" is the difference of the two gaps.
    """
    gap, rest = aucs[0] - aucs[1], aucs[2] - aucs[3]
    before, after = {"0": 1.0, "1": -1.0}, {"2": 1.0, "3": -1.0}
    told, covered, changed = [], [], []
    for _ in track(range(replicates), f"share {rest / gap:.2f}, r {correlation}"):
        labels = generator.random(WOMEN) < PREVALENCE
        noise = math.sqrt(correlation) * generator.normal(size=WOMEN)
        own = math.sqrt(1 - correlation) * generator.normal(size=(4, WOMEN))
        scores = {str(k): separation(auc) * labels + noise + own[k] for k, auc in enumerate(aucs)}
        options = {"unit": "woman", "generator": generator, "resamples": RESAMPLES, "confidence": CONFIDENCE}
        question, found = ask(scores, labels, np.arange(WOMEN), **options)
        answers = {name: answer for name, answer in found.items() if isinstance(answer, Answer)}
        share = share_left(before, after, answers, question, 1)
        told.append(isinstance(share, Share))
        covered.append(not isinstance(share, Share) or share.low <= rest / gap <= share.high)
        (change,) = contrast_all([{"0": 1.0, "1": -1.0, "2": -1.0, "3": 1.0}], answers, question)
        changed.append(change.low <= gap - rest <= change.high)
    coverages = [100 * float(np.mean(hits)) for hits in (covered, changed)]
    line = (
        f"{gap:8.2f}{rest:6.2f}{rest / gap:7.2f}{correlation:5.1f}    {percent(told)}   {percent(covered)}   "
        f"{percent(changed)}   {verdict(min(coverages))}"
    )
    return [line.rstrip()], coverages


def at_the_boundary(generator: np.random.Generator) -> Cell:
    """The sensitivity of five women found out of five, with four views each, for its interval."""
    found = Units("view", np.repeat(np.arange(5), VIEWS), np.ones(5 * VIEWS), np.ones(5 * VIEWS, dtype=bool))
    score = score_resampled(found, 0.5, resample_women(5, RESAMPLES, generator))["sensitivity"]
    return [f"sensitivity of five women out of five, four views each: {score}"], []


@dataclass(frozen=True)
class Kept:
    """Finished cells, one line each in ``journal`` (None keeps nothing); a cell is known by seed, replicates and name."""

    journal: Journal | None
    settings: str

    def cell(self, name: str, make: Callable[[], Cell]) -> list[float]:
        """Print a cell, computed now or read back; returns its coverages."""
        wanted = f"{self.settings}, {name}"
        known = {entry["cell"]: entry for entry in self.journal.entries()} if self.journal else {}
        if wanted in known:
            lines, coverages = known[wanted]["lines"], known[wanted]["coverages"]
        else:
            lines, coverages = make()
            if self.journal:
                with self.journal.appending() as append:
                    append({"cell": wanted, "lines": lines, "coverages": coverages})
        print("\n".join(lines), flush=True)
        return list(coverages)


def main() -> None:
    """Run every setting and print the tables and the JSON line."""
    parser = argparse.ArgumentParser(description="Coverage of the intervals and of the paired comparison, by simulation.")
    parser.add_argument("--replicates", type=int, default=2000, help="simulated cohorts in each setting (default 2000)")
    parser.add_argument("--seed", type=int, default=5, help="of the random numbers (default 5)")
    parser.add_argument("--part", choices=PARTS, help="one of the four tables alone")
    parser.add_argument("--keep", type=Path, help="a file to write finished cells into, and to go on from")
    arguments = parser.parse_args()
    if arguments.replicates < 1 or arguments.seed < 0:
        parser.error("expected at least one replicate and a seed of 0 or more")
    replicates, seed = arguments.replicates, arguments.seed
    wanted = (arguments.part,) if arguments.part else PARTS
    kept = Kept(Journal(arguments.keep) if arguments.keep else None, f"seed {seed}, {replicates} replicates")
    settings = [(auc, correlation) for auc in AUCS for correlation in CORRELATIONS]
    print(f"seed {seed}, {replicates} replicates, {RESAMPLES} resamples, {WOMEN} women, about 30 of them positive")
    print("percent, Monte-Carlo error in brackets; r: correlation between the views of a woman, or between two networks")
    coverages: list[float] = []
    if "networks" in wanted:
        print(f"\nunit  metric              AUC    r   truth   {'ours':11}   {'percentile':11}")
        for k, (auc, r) in enumerate(settings):
            random = np.random.default_rng([seed, 0, k])
            coverages += kept.cell(f"network {k}", lambda a=auc, r=r, g=random: one_network(a, r, replicates, g))
        print()
        kept.cell("stratified", lambda: stratified_f1(0.90, 0.5, replicates, np.random.default_rng([seed, 1])))
        kept.cell("boundary", lambda: at_the_boundary(np.random.default_rng([seed, 2])))
    if "methods" in wanted:
        print("\nEach method's coverage in percent and mean width, on the same resamples (Monte-Carlo error .2 to .9 points)")
        print(f"unit  metric         AUC    r  truth   {'  '.join(f'{method:11}' for method in METHODS)}".rstrip())
        for k, (auc, r) in enumerate(settings):
            random = np.random.default_rng([seed, 5, k])
            coverages += kept.cell(f"methods {k}", lambda a=auc, r=r, g=random: methods_compared(a, r, replicates, g))
    if "pairs" in wanted:
        print("\nAUC by woman of paired networks")
        print(f"networks   AUC    r  diff    {'rejected':11}   {'covered':11}   {'all covered':11}   any separated")
        compared = [(2, auc, correlation, 0.0) for auc, correlation in settings] + [(2, 0.90, 0.5, 0.05), (6, 0.90, 0.5, 0.0)]
        for k, case in enumerate(compared):
            random = np.random.default_rng([seed, 3, k])
            coverages += kept.cell(f"pair {k}", lambda c=case, g=random: networks_compared(*c, replicates, g))
    if "gaps" in wanted:
        print("\nWhat is left of a gap between two networks under another setting, AUC by woman")
        print(f"     gap  left  share    r    {'gap told':11}   {'share':11}   {'change':11}")
        gaps = [(0.95, 0.75, 0.95, 0.75), (0.95, 0.75, 0.85, 0.75), (0.95, 0.75, 0.75, 0.75), (0.85, 0.80, 0.82, 0.80)]
        for k, (aucs, r) in enumerate((aucs, r) for aucs in gaps for r in (0.5, 0.8)):
            random = np.random.default_rng([seed, 4, k])
            coverages += kept.cell(f"gap {k}", lambda a=aucs, r=r, g=random: gaps_left(a, r, replicates, g))
    lowest = min(coverages)
    missed = sum(coverage < GOAL for coverage in coverages)
    print(f"\n{len(coverages)} cells, {missed} missed: coverage of our interval under {GOAL:.0f} %")
    finish("coverage", lowest, "%", GOAL, lowest >= GOAL)


if __name__ == "__main__":
    main()
