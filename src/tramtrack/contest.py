"""Which of the evaluated networks differ: a network is a network and a variant, with its seeds together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from tramtrack.evaluation.aggregate import Aggregation, Units
from tramtrack.evaluation.claims import Claim, claims, overall
from tramtrack.evaluation.comparisons import Comparison, Untested, compare, groups
from tramtrack.network.registry import NETWORKS
from tramtrack.protocol import Evaluation
from tramtrack.scoring import units_of
from tramtrack.training.record import PRETRAINED, Run


@dataclass(frozen=True)
class Contest:
    """comparisons.csv, claims.csv, the verdict on all, and the groups in which no pair is separated."""

    comparisons: pd.DataFrame
    claims: pd.DataFrame
    verdict: str
    groups: list[tuple[str, ...]]


def compare_runs(
    runs: Sequence[Run],
    predictions: Mapping[Path, pd.DataFrame],
    aggregation: Aggregation,
    settings: Evaluation,
    fold: str,
    left_out: Mapping[str, str],
) -> Contest:
    """The primary comparison, AUC-ROC by woman, on the same women for all; runs without real weights stand in none."""
    scores: dict[str, list[np.ndarray]] = {}
    unranked = {name: reason.partition(". ")[0] for name, reason in left_out.items()}
    called = contestants(runs)
    reference: Units | None = None
    for run in runs:
        if run.weights != PRETRAINED:
            unranked[called[run.key.network, run.key.variant]] = "random weights; never ranked beside pretrained ones"
            continue
        units = units_of(predictions[run.folder], fold, "woman", aggregation)
        reference = reference or units
        scores.setdefault(called[run.key.network, run.key.variant], []).append(units.scores)
    ranked = {name: reason for name, reason in unranked.items() if name not in scores}
    names = {name: readable(name) for name in (*scores, *ranked)}
    compared: list[Comparison | Untested] = []
    if reference is not None:
        compared = compare(
            {name: np.stack(values) for name, values in scores.items()},
            reference.labels,
            reference.woman,
            unit="woman",
            generator=np.random.default_rng(settings.seed),
            resamples=settings.resamples,
            confidence=settings.confidence,
        )
    made = claims(compared, fold=fold, unranked=ranked, names=names)
    verdict = overall(compared, fold=fold, unranked=ranked, names=names)
    columns = list(dict.fromkeys(field.name for kind in (Comparison, Untested) for field in fields(kind)))
    return Contest(
        pd.DataFrame([asdict(item) for item in compared], columns=columns).assign(fold=fold),
        pd.DataFrame([asdict(claim) for claim in made], columns=[field.name for field in fields(Claim)]),
        verdict,
        groups([item for item in compared if isinstance(item, Comparison)]),
    )


def contestants(runs: Sequence[Run]) -> dict[tuple[str, str], str]:
    """The name of each (network, variant): the network's, and "network/variant" where a network stands in several.

    Random weights do not count as a variant beside pretrained ones: they stand in no comparison.
    """
    variants: dict[tuple[str, bool], list[str]] = {}
    for run in runs:
        known = variants.setdefault((run.key.network, run.weights == PRETRAINED), [])
        if run.key.variant not in known:
            known.append(run.key.variant)
    return {
        (network, variant): network if len(found) == 1 else f"{network}/{variant}"
        for (network, _), found in variants.items()
        for variant in found
    }


def readable(name: str) -> str:
    """A contestant's name as it is read: the network's title, and its variant in brackets where there are several."""
    network, _, variant = name.partition("/")
    title = NETWORKS[network].title if network in NETWORKS else network
    return f"{title} ({variant})" if variant else title
