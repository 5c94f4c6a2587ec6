"""How often the intervals of Spearman's rho, the bias and the limits of agreement hold the true values, by simulation.

Four views of each woman; two women in five have calcification, in four of five of their views; amounts are gamma distributed,
errors have a part of the woman and one of the view, and measured amounts are cut off at zero. The true values are those of
200,000 women.
"""

from __future__ import annotations

import argparse

import numpy as np

from measuring import finish
from tramtrack.evaluation.agreement import Agreement, Estimate, agree, spearman
from tramtrack.evaluation.scores import Floats

WOMEN = (12, 30, 100, 230)
NAMES = ("rank", "bias", "lower", "upper")
POPULATION, RESAMPLES, GOAL = 200_000, 1000, 93.0


def draw(random: np.random.Generator, women: int) -> tuple[Floats, Floats, np.ndarray]:
    """Measured and true amounts of the views, and whose they are."""
    woman = np.repeat(np.arange(women), 4)
    own = np.where(random.random(women) < 0.4, random.gamma(1.5, 6, women), 0.0)
    true = own[woman] * (random.random(len(woman)) < 0.8)
    errors = random.normal(0, 3, women)[woman] + random.normal(0, 3, len(woman))
    return np.maximum(0, 0.8 * true + errors - 2), true, woman


def holds(estimate: Estimate, value: float) -> bool:
    """Whether the interval is there and holds the value."""
    return estimate.low is not None and estimate.high is not None and estimate.low <= value <= estimate.high


def main() -> None:
    """Print a row a number of women, and the JSON line."""
    parser = argparse.ArgumentParser(description="Coverage of the intervals of agreement, by simulation.")
    parser.add_argument("--replicates", type=int, default=1000, help="simulated cohorts of each size (default 1000)")
    parser.add_argument("--seed", type=int, default=11, help="of the random numbers (default 11)")
    arguments = parser.parse_args()
    measured, true, _ = draw(np.random.default_rng([arguments.seed, 0]), POPULATION)
    mean, deviation = float((measured - true).mean()), float((measured - true).std())
    truth = (spearman(measured, true), mean, mean - 1.959964 * deviation, mean + 1.959964 * deviation)
    print(f"seed {arguments.seed}, {arguments.replicates} replicates, {RESAMPLES} resamples; nominal 95 %")
    print("true rho {:.3f}, bias {:.2f}, limits {:.2f} and {:.2f}".format(*truth))
    print("women    rho   bias  lower  upper   coverage in percent")
    lowest = 100.0
    for women in WOMEN:
        hits = np.zeros(len(NAMES))
        for number in range(arguments.replicates):
            random = np.random.default_rng([arguments.seed, women, number])
            found: Agreement = agree(*draw(random, women), generator=random, resamples=RESAMPLES)
            hits += [holds(getattr(found, name), value) for name, value in zip(NAMES, truth, strict=True)]
        covered = 100 * hits / arguments.replicates
        lowest = min(lowest, *covered.tolist())
        print(f"{women:5}  " + "  ".join(f"{value:5.1f}" for value in covered), flush=True)
    finish("agreement", lowest, "%", GOAL, lowest >= GOAL)


if __name__ == "__main__":
    main()
