"""Claims about architectures under the protocol, which need several splits: the same comparison in each, and its spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import pandas as pd

from tramtrack.evaluation.aggregate import Unit
from tramtrack.evaluation.claims import ARCHITECTURES, Claim, Verdict, family_of
from tramtrack.evaluation.comparisons import holm
from tramtrack.evaluation.repeated import Repeated, corrected_t
from tramtrack.evaluation.scores import METRIC_NAMES, Metric
from tramtrack.protocol import Evaluation

NEEDS = "it needs repeated splits: tramtrack run STUDY --repeats 10"


@dataclass(frozen=True)
class SplitResult:
    """What one split of the cohort gave: each contestant's value, mean over its seeds, and how many women it rests on."""

    values: Mapping[str, float]
    tested: int
    trained: int


def women_of(study: Path, fold: str) -> tuple[int, int]:
    """(Tested, trained): the women of ``fold`` and of the training fold of the study in this folder."""
    folds = pd.read_csv(study / "cohort" / "folds.csv", dtype=str, keep_default_na=False)["fold"]
    return int((folds == fold).sum()), int((folds == "training").sum())


def read_split(study: Path, fold: str) -> SplitResult:
    """The primary comparison of an evaluated split: AUC-ROC by woman of each contestant, from its standings.csv."""
    table = pd.read_csv(study / "results" / "standings.csv")
    values = {str(name): float(value) for name, value in zip(table["contestant"], table["value"], strict=True)}
    return SplitResult(values, *women_of(study, fold))


def architecture_claims(
    names: Sequence[str],
    splits: Sequence[SplitResult],
    settings: Evaluation,
    fold: str,
    readable: Mapping[str, str],
    metric: Metric = "auc_roc",
    unit: Unit = "woman",
) -> list[Claim]:
    """One claim a pair of ``names``, about architectures; "cannot be tested" with one split, or where a split lacks a network.

    Intervals are Bonferroni-adjusted for all pairs tested, p after Holm; see `corrected_t`.
    """
    pairs = list(combinations(names, 2))
    found: dict[tuple[str, str], Repeated] = {}
    reasons: dict[tuple[str, str], str] = {}
    tested = sum(one.tested for one in splits) / max(1, len(splits))
    trained = sum(one.trained for one in splits) / max(1, len(splits))
    for pair in pairs:
        absent = [name for name in pair if any(name not in one.values for one in splits)]
        if len(splits) < 2:
            reasons[pair] = f"one split of the women speaks of the trained models alone; {NEEDS}"
        elif absent:
            reasons[pair] = f"{readable[absent[0]]} has no result in some of the {len(splits)} splits"
    for level in (settings.confidence, 1 - (1 - settings.confidence) / max(1, len(pairs) - len(reasons))):
        for a, b in (pair for pair in pairs if pair not in reasons):
            one = corrected_t([split.values[a] - split.values[b] for split in splits], tested, trained, level)
            if one is None:
                reasons[a, b] = "the difference is the same in every split, so that nothing is known of its spread"
            else:
                found[a, b] = one  # in the second round that of the adjusted level
    sure = [pair for pair in pairs if pair not in reasons]
    adjusted = dict(zip(sure, holm([found[pair].p for pair in sure]).tolist(), strict=True))
    about = (metric, unit, fold)
    where = f"on {METRIC_NAMES[metric]} by {unit} in {fold}"
    claims = []
    for a, b in pairs:
        blank = Claim("", a, b, *about, None, None, None, None, "cannot be tested", settings.margin, family_of(metric, unit))
        named = f"{readable[a]} and {readable[b]}"
        if (a, b) in reasons:
            sentence = f"As architectures, {named}: cannot be tested {where} ({reasons[a, b]})."
            claims.append(replace(blank, sentence=sentence, target=ARCHITECTURES))
            continue
        claims.append(_claim(blank, found[a, b], adjusted[a, b], named, where, readable, settings))
    return claims


def _claim(
    blank: Claim, found: Repeated, p: float, named: str, where: str, readable: Mapping[str, str], settings: Evaluation
) -> Claim:
    a, b, mean, low, high = blank.network_a, blank.network_b, found.mean, found.low, found.high
    verdict: Verdict = "unresolved"
    said = f"{named}: cannot be separated {where}"
    if p <= 1 - settings.confidence and not low <= 0 <= high:
        verdict = "supported"
        if mean < 0:
            a, b, mean, low, high = b, a, -mean, -high, -low
        said = f"{readable[a]} is above {readable[b]} {where}"
    elif -settings.margin < low and high < settings.margin:
        verdict = "equivalent within the margin"
        said = f"{named} differ by less than {settings.margin:g}, the margin set beforehand, {where}"
    numbers = (
        f"mean difference over {found.splits} splits {mean:.3f}, {100 * settings.confidence:g} % interval {low:.3f} to "
        f"{high:.3f} by the corrected resampled t, Holm p {'< 0.001' if p < 0.001 else f'{p:.3f}'}"
    )
    return replace(
        blank, sentence=f"As architectures under this protocol, {said} ({numbers}).", network_a=a, network_b=b, difference=mean,
        low=low, high=high, p_holm=p, verdict=verdict, target=ARCHITECTURES,
    )  # fmt: skip
