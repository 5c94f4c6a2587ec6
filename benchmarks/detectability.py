"""How well networks see synthetic BAC, by its length, contrast and calibre and by density: is the generator of use?

Five cohorts of seeds that were fixed beforehand, never used to tune a setting. In each, networks are trained on half of the
women and scored on the 30 % that were never looked at: together more than 400 women, a third of them with BAC. A view's score
is compared with those of the views without any arterial calcium of the same cohort and network; views with calcium below
visibility stand by themselves. AUC by view, with a 95 % interval from resampled women. Goal: each network's AUC lies between
.75 and .97, on at least 400 women, 100 of them with BAC: fewer, by the options, never meet it. Options: --networks, --women (in
each cohort), --seeds, --keep FOLDER (goes on where it stopped).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from measuring import finish, tramtrack, watch

SEEDS = (9401, 9402, 9403, 9404, 9405)
WOMEN = 280
GOAL = (0.75, 0.97)
LEAST_WOMEN, LEAST_WITH_BAC = 400, 100
RESAMPLES = 1000
RESAMPLING_SEED = 2024
Choice = Callable[[pd.DataFrame], pd.Series]

BANDS: dict[str, tuple[tuple[float, float], ...]] = {
    "visible_length_mm": ((0, 15), (15, 40), (40, 1e9)),
    "mean_cnr": ((0, 14), (14, 20), (20, 1e9)),
    "calibre_mm": ((0, 1.0), (1.0, 1.5), (1.5, 1e9)),
}
"""Columns of truth.csv and the bands into which positive views fall."""


def scored_views(folder: Path, seed: int, women: int, networks: str) -> pd.DataFrame:
    """The test fold's views of one cohort: the truth, and each network's score."""
    cohort, study = folder / f"cohort-{seed}", folder / f"study-{seed}"
    results = study / "results" / "predictions.csv"
    if not results.exists():
        watch(tramtrack("phantom", "cohort", cohort, "--women", str(women), "--seed", str(seed)))
        watch(tramtrack("ingest", cohort / "dicom", "--labels", cohort / "labels.csv", "--study", study))
        watch(tramtrack("run", study, "--protocol", "demo", "--networks", networks))
    scores = pd.read_csv(results)
    scores = scores[scores["fold"] == "test"][["network", "woman", "side", "view", "score"]]
    truth = pd.read_csv(cohort / "truth.csv")
    return scores.merge(truth, on=["woman", "side", "view"], validate="many_to_one").assign(seed=seed)


def auc(table: pd.DataFrame, positive: np.ndarray, negative: np.ndarray, weights: np.ndarray) -> float:
    """Mean share of the same cohort's negative views that a positive view outscores; views weighted, ties count half."""
    total, mass = 0.0, 0.0
    for seed in table["seed"].unique():
        of = (table["seed"] == seed).to_numpy()
        p, n = of & positive & (weights > 0), of & negative & (weights > 0)
        if not p.any() or not n.any():
            continue
        order = np.argsort(table["score"].to_numpy()[n], kind="stable")
        values, mass_of = table["score"].to_numpy()[n][order], np.concatenate([[0.0], np.cumsum(weights[n][order])])
        low, high = (np.searchsorted(values, table["score"].to_numpy()[p], side=side) for side in ("left", "right"))
        share = (mass_of[low] + mass_of[high]) / 2 / mass_of[-1]
        total += float((share * weights[p]).sum())
        mass += float(weights[p].sum())
    return total / mass if mass else float("nan")


def interval(table: pd.DataFrame, positive: np.ndarray, negative: np.ndarray) -> tuple[float, float, float]:
    """AUC with its 95 % interval: whole women are drawn anew within each cohort."""
    rng = np.random.default_rng(RESAMPLING_SEED)
    codes, women = pd.factorize(table["woman"])
    cohort_of = table.groupby(codes)["seed"].first().to_numpy()
    found = []
    for _ in range(RESAMPLES):
        times = np.zeros(len(women))
        for seed in np.unique(cohort_of):
            members = np.nonzero(cohort_of == seed)[0]
            times += np.bincount(rng.choice(members, members.size), minlength=len(women))
        found.append(auc(table, positive, negative, times[codes]))
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return auc(table, positive, negative, np.ones(len(table))), float(low), float(high)


def report(table: pd.DataFrame, network: str) -> float:
    """Print one network's AUC in every band; returns that of all positive views."""
    table = table[table["network"] == network].reset_index(drop=True)
    positive, negative = (table["bac"] == 1).to_numpy(), (table["calcium"] == "none").to_numpy()
    rows = [
        ("all", "visible", positive, negative),
        ("all", "below", (table["calcium"] == "below-visibility").to_numpy(), negative),
    ]
    for seed in table["seed"].unique():
        of = (table["seed"] == seed).to_numpy()
        rows.append(("generator seed", str(seed), positive & of, negative & of))
    for column, bands in BANDS.items():
        value = table[column].to_numpy()
        for low, high in bands:
            name = f"{low:g} to {high:g}" if high < 1e9 else f"over {low:g}"
            rows.append((column, name, positive & (value > low) & (value <= high), negative))
    for density in sorted(table["density"].unique()):
        of = (table["density"] == density).to_numpy()
        rows.append(("density", density, positive & of, negative & of))
    print(f"\n{network:18} {'':12} {'views':>6} {'women':>6}   AUC by view")
    for factor, name, chosen, others in rows:
        women = table.loc[chosen, "woman"].nunique()
        if not chosen.any() or not others.any():
            print(f"{factor:18} {name:12} {chosen.sum():6} {women:6}   not known: too few")
            continue
        estimate, low, high = interval(table, chosen, others)
        print(f"{factor:18} {name:12} {chosen.sum():6} {women:6}   {estimate:.3f} ({low:.3f} to {high:.3f})")
    return auc(table, positive, negative, np.ones(len(table)))


def main() -> None:
    """Make, train and score every cohort; print the tables and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default="vgg16,mobilenetv2")
    parser.add_argument("--women", type=int, default=WOMEN)
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    parser.add_argument("--keep", type=Path)
    chosen = parser.parse_args()
    seeds = [int(seed) for seed in chosen.seeds.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.keep or Path(temporary)
        table = pd.concat([scored_views(folder, seed, chosen.women, chosen.networks) for seed in seeds], ignore_index=True)
    first = table[table["network"] == table["network"].iloc[0]]
    women, with_bac = first["woman"].nunique(), first.loc[first["bac"] == 1, "woman"].nunique()
    enough = women >= LEAST_WOMEN and with_bac >= LEAST_WITH_BAC
    too_few = "" if enough else f": too few for the goal, which asks for {LEAST_WOMEN} and {LEAST_WITH_BAC}"
    print(f"generator seeds {', '.join(map(str, seeds))}; test folds: {women} women, {with_bac} with BAC{too_few}")
    figures = [report(table, network) for network in chosen.networks.split(",")]
    farthest = max(figures, key=lambda value: abs(value - sum(GOAL) / 2))
    met = enough and all(GOAL[0] <= figure <= GOAL[1] for figure in figures)
    finish("detectability", farthest, "AUC by view farthest from .86", GOAL[1], met)


if __name__ == "__main__":
    main()
