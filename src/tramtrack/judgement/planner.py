"""From a question and, where there is one, a study's validation fold to the number of women that would answer it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tramtrack.errors import TramtrackError
from tramtrack.evaluation.calibration import logits
from tramtrack.evaluation.planning import Design, Plan, correlations, plan
from tramtrack.progress import track
from tramtrack.training.record import PRETRAINED, read_predictions

ASSUMED = {"within": 0.4, "between": 0.5}
"""Ours, where neither an option nor a study says more."""


@dataclass(frozen=True)
class Planned:
    """A plan, and where each correlation came from."""

    plan: Plan
    within_from: str
    between_from: str

    def lines(self) -> list[str]:
        """The plan in sentences."""
        design, made = self.plan.design, self.plan
        networks = f"at a level of {design.alpha:g}" + (f" shared by {design.pairs} pairs" if design.pairs > 1 else "")
        return [
            f"{made.women:,} women, about {made.positives:,} of them with BAC, to tell an AUC by {design.unit} of "
            f"{design.auc:g} from one of {design.auc - design.difference:g} with a power of {design.power:g}, {networks}.",
            f"Simulated power there: {made.power:.3f} (Monte-Carlo error {made.error:.3f}).",
            f"A woman's {design.views} views correlate at {design.within:.2f} ({self.within_from}), the two networks at "
            f"{design.between:.2f} ({self.between_from}); without either correlation it would be {made.without_correlation:,}.",
        ]


def make_plan(
    given: Mapping[str, Any], within: float | None, between: float | None, study: Path | None, replicates: int, seed: int
) -> Planned:
    """Plan with the correlations that were given, else those of the study's validation fold, else the assumed ones.

    Raises UsageError for an input that cannot be, TramtrackError where the study has no evaluated validation fold.
    """
    read = study_correlations(study) if study else (None, None)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, asked, found in (("within", within, read[0]), ("between", between, read[1])):
        values[name] = asked if asked is not None else ASSUMED[name] if found is None else found
        origins[name] = "as given" if asked is not None else "assumed" if found is None else f"of {study}'s validation fold"
    design = Design(**given, **values)
    made = plan(
        design, generator=np.random.default_rng(seed), replicates=replicates, track=lambda sizes, what: track(list(sizes), what)
    )
    return Planned(made, origins["within"], origins["between"])


def study_correlations(study: Path) -> tuple[float | None, float | None]:
    """(within, between) of the pretrained networks on a study's validation views; None where one network or view is too few."""
    path = study / "results" / "predictions.csv"
    if not path.exists():
        raise TramtrackError(
            f"{study}: nothing is evaluated yet; run `tramtrack evaluate {study}`, or give --within and --between"
        )
    table = read_predictions(path)
    table = table[(table["fold"] == "validation") & table["bac_view"].notna() & (table["weights"] == PRETRAINED)]
    keys = table["network"] + "/" + table["variant"] + "/" + table["seed"].astype(str)
    wide = table.assign(run=keys, logit=logits(table["score"].to_numpy(dtype=float)))
    wide = wide.pivot_table(index=["view_id", "woman", "bac_view"], columns="run", values="logit").dropna().reset_index()
    if wide.empty:
        raise TramtrackError(f"{study}: no validation view has a label and pretrained scores; give --within and --between")
    networks = {str(name): wide[name].to_numpy(dtype=float) for name in pd.unique(keys)}
    woman = np.unique(wide["woman"].to_numpy(dtype=str), return_inverse=True)[1]
    return correlations(networks, wide["bac_view"].to_numpy(dtype=np.int8), woman)
