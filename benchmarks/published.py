"""Could the published F1 scores be told apart? The study's three statements, replayed by simulation.

Mobini et al. (Eur Radiol Exp 2024;8:80) rank by F1 on a test fold of some 230 women, some 30 of them with BAC: VGG16 first (its
figure is not in the abstract), MobileNet .51, VGG19 .46; without intervals, and the unit is not known. So two networks with
these F1 scores are simulated by view and by woman, over the correlation between a woman's views and the correlation between
the two networks' scores. Each threshold calls as many units positive as are. For each cell stand the share of cohorts in
which the difference of .05 is resolved (paired bootstrap of women, p at most .05, no correction for 55 pairs), and the median
half width of its interval: a smaller observed difference is not resolved. The figure is the smallest correlation of scores at
which .05 is resolved with a power of .8 in any cell; the goal is what was worked out beforehand from the errors' correlation:
only above about .9. It is 1 where no cell reaches that power.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

sys.path.insert(0, str(Path(__file__).parent))

from measuring import finish
from tramtrack.evaluation.resampling import resample_women
from tramtrack.evaluation.scores import confusion, from_counts
from tramtrack.progress import track

WOMEN, PREVALENCE, VIEWS, VIEW_SHOWS_BAC = 230, 30 / 230, 4, 0.75
PUBLISHED = {"MobileNet": 0.51, "VGG19": 0.46}
WITHIN, BETWEEN = (0.2, 0.5, 0.8), (0.0, 0.5, 0.8, 0.9, 0.95, 0.99)
RESAMPLES, POWER, GOAL = 1000, 0.8, 0.9
POPULATION = 40_000
Floats = NDArray[np.float64]


def labels_of(women: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Which views show BAC, bool (women, views): in a woman with BAC each with chance .75, and at least one."""
    positive = generator.random(women) < PREVALENCE
    shown = positive[:, None] & (generator.random((women, VIEWS)) < VIEW_SHOWS_BAC)
    shown[:, 0] |= positive & ~shown.any(axis=1)
    return np.asarray(shown)


def noise(women: int, within: float, generator: np.random.Generator) -> Floats:
    """Normal scores of variance 1 that correlate at ``within`` between the views of a woman."""
    own = math.sqrt(1 - within) * generator.normal(size=(women, VIEWS))
    return np.asarray(math.sqrt(within) * generator.normal(size=(women, 1)) + own)


def at_unit(unit: str, values: NDArray) -> NDArray:
    """Views as they are, or each woman's maximum."""
    return values if unit == "view" else values.max(axis=1, keepdims=True)


def network(unit: str, f1: float, within: float) -> tuple[float, float]:
    """The shift of views with BAC, and the threshold, that give this F1 by ``unit`` in a large population."""
    generator = np.random.default_rng(1)
    shown, scatter = labels_of(POPULATION, generator), noise(POPULATION, within, generator)
    labels = at_unit(unit, shown).ravel()

    def reached(shift: float) -> tuple[float, float]:
        scores = at_unit(unit, shift * shown + scatter).ravel()
        threshold = float(np.quantile(scores, 1 - labels.mean()))
        return float(from_counts("f1", confusion(labels, scores, threshold).sum(axis=0))), threshold

    shift = float(optimize.brentq(lambda shift: reached(shift)[0] - f1, 0, 6, xtol=1e-3))
    return shift, reached(shift)[1]


def cell(
    unit: str, within: float, between: float, replicates: int, generator: np.random.Generator
) -> tuple[float, float, float]:
    """Power at p <= .05, median half width of the interval, mean correlation of the two networks' errors."""
    shifts, cuts = zip(*(network(unit, f1, within) for f1 in PUBLISHED.values()), strict=True)
    weights = resample_women(WOMEN, RESAMPLES, generator).T.astype(float)
    resolved, halves, alike = 0, [], []
    for _ in range(replicates):
        shown, shared = labels_of(WOMEN, generator), noise(WOMEN, within, generator)
        counts, wrong = [], []
        for shift, cut in zip(shifts, cuts, strict=True):
            scores = shift * shown + math.sqrt(between) * shared + math.sqrt(1 - between) * noise(WOMEN, within, generator)
            scores, labels = at_unit(unit, scores), at_unit(unit, shown)
            table = confusion(labels.ravel(), scores.ravel(), cut).reshape(*labels.shape, 4)
            counts.append(table.sum(axis=1))
            wrong.append(((scores >= cut) != labels).ravel())
        difference = float(np.subtract(*[from_counts("f1", one.sum(axis=0)) for one in counts]))
        drawn = from_counts("f1", weights @ counts[0]) - from_counts("f1", weights @ counts[1])
        moved = np.abs(drawn[np.isfinite(drawn)] - difference)
        resolved += (1 + (moved >= abs(difference) - 1e-12).sum()) / (1 + len(moved)) <= 0.05
        halves.append(float(np.quantile(moved, 0.95)))
        alike.append(float(np.corrcoef(*wrong)[0, 1]) if wrong[0].any() and wrong[1].any() else 0.0)
    return resolved / replicates, float(np.median(halves)), float(np.mean(alike))


def main() -> None:
    """Print the table, the region, what it says of the three statements, and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=500, help="simulated test folds in each cell (default 500)")
    parser.add_argument("--seed", type=int, default=8, help="of the random numbers (default 8)")
    arguments = parser.parse_args()
    replicates = arguments.replicates
    error = math.sqrt(0.25 / replicates)
    print(
        f"{WOMEN} women, about 30 with BAC, {replicates} simulated folds a cell; "
        f"Monte-Carlo error of a power at most {error:.3f}"
    )
    print("unit    within  between  errors correlate  power for .05  half width of the interval")
    cells = [(unit, within, between) for unit in ("view", "woman") for within in WITHIN for between in BETWEEN]
    region, halves = [], []
    for number, (unit, within, between) in enumerate(track(cells, "cells")):
        power, half, alike = cell(unit, within, between, replicates, np.random.default_rng([arguments.seed, number]))
        halves.append(half)
        if power >= POWER:
            region.append((between, unit, within))
        mark = "   resolved" if power >= POWER else ""
        print(f"{unit:6}  {within:6.1f}  {between:7.2f}  {alike:16.2f}  {power:13.3f}  {half:10.3f}{mark}", flush=True)
    where = "; ".join(f"by {unit}, within {within:g}, between {between:g}" for between, unit, within in region) or "nowhere"
    print(f"\nA difference of .05 is resolved with a power of {POWER:g}: {where}.")
    print(f"MobileNet above VGG19 (.51 and .46): {'resolved only there' if region else 'resolved in no cell'}.")
    print(
        f"VGG16 above MobileNet: its figure is not published; a gap is not resolved below {min(halves):.3f} in the most "
        f"favourable cell and below {max(halves):.3f} in the least."
    )
    print("VGG16 above VGG19: the gap is .05 or more, of unknown size; the same widths hold for it.")
    figure = min((between for between, _, _ in region), default=1.0)
    finish("published", figure, "correlation between two networks' scores", GOAL, figure >= GOAL)


if __name__ == "__main__":
    main()
