"""Every metric in 2,000 resamples of women, for eleven networks and three units: ours against a loop over scikit-learn.

A fabricated study of 1,500 women with four views each. Ours is timed on all of it; the loop, which takes one resample after
the other and calls scikit-learn once a metric, on a share of it (a few resamples of one network in all three units) and scaled
up. Both give the same numbers on that share, or the benchmark stops. The fits and bands of the calibration curves (200
resamples) are timed apart. Goals: at most 10 s and 1,024 MiB, and at least 50 times as fast as the loop.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from scipy import special
from sklearn import metrics as reference
from sklearn.exceptions import UndefinedMetricWarning

sys.path.insert(0, str(Path(__file__).parent))

from measuring import finish, processor
from tramtrack.evaluation.aggregate import UNITS, Predictions, Units
from tramtrack.evaluation.calibration import calibration_groups, recalibrate, reliability
from tramtrack.evaluation.resampling import resample_women, resampled_all
from tramtrack.evaluation.scores import METRICS

NETWORKS, WOMEN, RESAMPLES, CALIBRATION_RESAMPLES = 11, 1500, 2000, 200
THRESHOLD, SECONDS, MEBIBYTES, TIMES = 0.5, 10.0, 1024.0, 50.0
SIDES, VIEWS = np.array(["L", "L", "R", "R"]), np.array(["CC", "MLO", "CC", "MLO"])


def networks(generator: np.random.Generator) -> list[dict[str, Units]]:
    """The units of each network: the same women, about 13 % of them with BAC, scores that agree in part."""
    positive = generator.random(WOMEN) < 0.13
    shown = np.repeat(positive, 4) & (generator.random(4 * WOMEN) < 0.75)
    breast = np.repeat(shown.reshape(-1, 2).any(axis=1), 2)
    common = np.repeat(generator.normal(size=WOMEN), 4)
    found = []
    for number in range(NETWORKS):
        logit = (1 + number / NETWORKS) * shown + 0.7 * common + generator.normal(size=4 * WOMEN) - 1
        predictions = Predictions(
            np.repeat(np.arange(WOMEN), 4), np.tile(SIDES, WOMEN), np.tile(VIEWS, WOMEN), special.expit(logit),
            shown, breast, np.repeat(shown.reshape(-1, 4).any(axis=1), 4),
        )  # fmt: skip
        found.append({unit: predictions.units(unit) for unit in UNITS})
    return found


def ours(units: Units, weights: NDArray[np.int32]) -> dict[str, NDArray[np.float64]]:
    """Every metric in every resample."""
    woman = np.unique(units.woman, return_inverse=True)[1]
    options = {"threshold": THRESHOLD, "probabilities": units.scores}
    return resampled_all(units.labels, units.scores, woman, weights, **options)


def looped(units: Units, column: NDArray[np.int32]) -> list[float]:
    """Every metric in one resample, as one writes it with scikit-learn: repeat the drawn women's units and call."""
    rows = np.repeat(np.arange(len(units)), column[units.woman])
    labels, scores = units.labels[rows], units.scores[rows]
    called = scores >= THRESHOLD
    return [
        reference.roc_auc_score(labels, scores),
        reference.roc_auc_score(labels, scores, max_fpr=0.2),
        reference.average_precision_score(labels, scores),
        reference.f1_score(labels, called),
        reference.recall_score(labels, called),
        reference.recall_score(~labels, ~called),
        reference.precision_score(labels, called),
        reference.precision_score(~labels, ~called),
        reference.brier_score_loss(labels, scores),
    ]


def main() -> None:
    """Time both sides and the calibration, print the ratios and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=int, default=10, help="resamples that the loop is timed on (default 10)")
    share = parser.parse_args().share
    warnings.simplefilter("ignore", UndefinedMetricWarning)
    generator = np.random.default_rng(6)
    study = networks(generator)
    print(
        f"{NETWORKS} networks, {WOMEN:,} women, {4 * WOMEN:,} views, {len(METRICS)} metrics, {len(UNITS)} units; {processor()}"
    )
    before = psutil.Process().memory_info().rss / 2**20
    started = time.perf_counter()
    weights = resample_women(WOMEN, RESAMPLES, generator)
    kept = [{unit: ours(units, weights) for unit, units in network.items()} for network in study]
    seconds = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.perf_counter()
    loop = {unit: [looped(study[0][unit], weights[:, k]) for k in range(share)] for unit in UNITS}
    loop_seconds = (time.perf_counter() - started) * NETWORKS * RESAMPLES / share
    for unit in UNITS:
        mine = np.stack([kept[0][unit][metric][:share] for metric in METRICS], axis=1)
        if not np.allclose(mine, loop[unit], rtol=1e-9):
            raise SystemExit(f"{unit}: expected scikit-learn's numbers, received others")
    print(f"{RESAMPLES:,} resamples: {seconds:.1f} s, peak {memory:.0f} MiB ({before:.0f} before)")
    times = loop_seconds / seconds
    print(f"a loop over scikit-learn, timed on {share} resamples of one network: {loop_seconds:,.0f} s, {times:.0f} times")
    started = time.perf_counter()
    few = weights[:, :CALIBRATION_RESAMPLES]
    for network in study:
        for units in network.values():
            likely = recalibrate(units).probabilities(units.scores)
            reliability(units, likely, few)
            calibration_groups(units, likely, few)
    bands = time.perf_counter() - started
    print(f"calibration fits, curves and groups with bands of {CALIBRATION_RESAMPLES} resamples: {bands:.1f} s")
    met = seconds <= SECONDS and memory <= MEBIBYTES and times >= TIMES
    finish("bootstrap", seconds, "s", SECONDS, met)


if __name__ == "__main__":
    main()
