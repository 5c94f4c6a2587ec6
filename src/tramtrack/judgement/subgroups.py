"""AUC-ROC in parts of the cohort, and what age or vendor alone would reach: where a network may have taken a shortcut.

Subgroups are described with their sizes and intervals; no test is made of them. A baseline sees no image: it scores a woman by
her age, or by how often women of her vendor have BAC in the training fold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tramtrack.cohort.findings import distractors
from tramtrack.evaluation.aggregate import Aggregation, Units
from tramtrack.evaluation.intervals import score_resampled
from tramtrack.evaluation.resampling import resample_women
from tramtrack.evaluation.scores import Score, Undefined
from tramtrack.judgement.scoring import Chosen, named, predictions_of, score_row
from tramtrack.protocol import Evaluation
from tramtrack.training.record import Run

AGE_BANDS = ((0, 50, "under 50"), (50, 60, "50 to 59"), (60, 70, "60 to 69"), (70, 200, "70 and over"))
BY_WOMAN = {"age_years": "age", "manufacturer": "vendor", "density": "density"}
"""Columns of the views table that make subgroups of women, where they are there, with the name of the factor."""
BURDEN_BANDS = ((0, 10, "up to 10 mm2"), (10, 25, "10 to 25 mm2"), (25, np.inf, "above 25 mm2"))
"""Calcified area of a view. The bounds are those of women's (Eur Heart J 2026); that they are used for views is ours."""
BASELINES = {"age": "age alone", "vendor": "vendor alone"}
COLUMNS = [
    "network", "variant", "seed", "weights", "fold", "factor", "group", "unit", "estimate", "low", "high", "method", "reason",
    "n", "positives", "women",
]  # fmt: skip


FALSE_ALARM_COLUMNS = [
    "network", "variant", "seed", "weights", "fold", "distractor", "estimate", "low", "high", "method", "reason", "n", "women",
]  # fmt: skip


def subgroup_table(
    runs: Sequence[Run],
    predictions: Mapping[Path, pd.DataFrame],
    views: pd.DataFrame,
    aggregation: Aggregation,
    settings: Evaluation,
    fold: str,
) -> pd.DataFrame:
    """AUC-ROC of every run in every subgroup of ``fold``, by woman (by view for projection, burden and distractor), then
    the baselines.

    ``views`` has view_id, woman, fold and bac_woman, and may have age_years, manufacturer, density, burden_mm2 and
    distractor_<kind>. A woman belongs to the
    group of her first view; one whose value is not known stands in the group "not known". Undefined where a group has one
    class.
    """

    @cache
    def draw(women: int) -> NDArray[np.int32]:
        return resample_women(max(1, women), settings.resamples, np.random.default_rng(settings.seed))

    def scored(units: Units) -> Score | Undefined:
        options: dict[str, Any] = {"metrics": ("auc_roc",), "confidence": settings.confidence}
        return score_resampled(units, None, draw(units.women), **options)["auc_roc"]

    groups = _groups(views[views["fold"] == fold])
    rows = []
    for run in runs:
        of_fold = predictions_of(predictions[run.folder], fold)
        women = of_fold.units("woman", aggregation)
        parts = [("all", "all", women), *_parts(women, groups)]
        seen = predictions[run.folder]
        for position in sorted(seen["view"].unique()):
            of_view = predictions_of(seen[seen["view"] == position], fold).units("view")
            parts.append(("projection", str(position), of_view))
        parts += _by_findings(seen, views, fold)
        rows += [
            {**named(run), "fold": fold, "factor": factor, "group": group, "unit": units.unit, **score_row(scored(units))}
            for factor, group, units in parts
        ]
    for factor, units in _baselines(views, fold):
        about = {"network": BASELINES[factor], "variant": "", "seed": 0, "weights": "no image", "fold": fold}
        rows.append({**about, "factor": "all", "group": "all", "unit": "woman", **score_row(scored(units))})
    return pd.DataFrame(rows, columns=COLUMNS)


def _by_findings(seen: pd.DataFrame, views: pd.DataFrame, fold: str) -> Iterator[tuple[str, str, Units]]:
    """Views by burden (so much, against all without BAC) and by distractor (all with BAC, against those that show it)."""
    kinds = distractors(views)
    if "burden_mm2" not in views and not kinds:
        return
    known = seen[(seen["fold"] == fold) & seen["bac_view"].notna()].drop_duplicates("view_id")
    known = known.merge(
        views[["view_id", *(name for name in ("burden_mm2", *kinds) if name in views)]], on="view_id", how="left"
    )
    positive = known["bac_view"] == 1
    if "burden_mm2" in known:
        for low, high, name in BURDEN_BANDS:
            inside = (known["burden_mm2"] > low) & (known["burden_mm2"] <= high)
            if (positive & inside).any():
                yield "burden", name, predictions_of(known[~positive | inside], fold).units("view")
    for column, kind in kinds.items():
        yield "distractor", kind, predictions_of(known[positive | (known[column] > 0)], fold).units("view")
    if kinds:
        without = (known[list(kinds)].fillna(0) == 0).all(axis=1)
        yield "distractor", "none", predictions_of(known[positive | without], fold).units("view")


def false_alarm_table(
    runs: Sequence[Run],
    predictions: Mapping[Path, pd.DataFrame],
    chosen: Mapping[Path, Chosen],
    views: pd.DataFrame,
    settings: Evaluation,
    fold: str,
) -> pd.DataFrame:
    """How often each run calls a view without BAC positive, by what distracts in it, at the threshold from validation.

    A row a run and kind, "none" for views without any; a view with two kinds counts in both. Undefined where there is no
    threshold by view, or no such view.
    """
    kinds = distractors(views)
    rows = []
    for run in runs if kinds else ():
        own = predictions[run.folder]
        known = own[(own["fold"] == fold) & (own["bac_view"] == 0)].merge(views[["view_id", *kinds]], on="view_id", how="left")
        none = (known[list(kinds)].fillna(0) == 0).all(axis=1)
        groups = {kind: known[column] > 0 for column, kind in kinds.items()} | {"none": none}
        cut = chosen[run.folder].threshold("view", settings.threshold)
        for kind, inside in groups.items():
            units = predictions_of(known[inside], fold).units("view")
            drawn = resample_women(max(1, units.women), settings.resamples, np.random.default_rng(settings.seed))
            row = score_row(
                score_resampled(units, cut, drawn, metrics=("specificity",), confidence=settings.confidence)["specificity"]
            )
            row |= {"estimate": 1 - row["estimate"], "low": 1 - row["high"], "high": 1 - row["low"]}
            rows.append({**named(run), "fold": fold, "distractor": kind, **row})
    return pd.DataFrame(rows, columns=FALSE_ALARM_COLUMNS)


def age_band(age: float) -> str:
    """The band of an age in years; "not known" where it is missing."""
    return next((name for low, high, name in AGE_BANDS if low <= age < high), "not known")


def _groups(views: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Factor -> woman -> group, for each factor that tells at least two women apart."""
    first = views.sort_values("view_id").drop_duplicates("woman").set_index("woman")
    found = {}
    for column, factor in BY_WOMAN.items():
        if column not in first:
            continue
        values = first[column]
        if column == "age_years":
            groups = pd.to_numeric(values, errors="coerce").astype("float64").map(age_band)
        else:
            groups = values.fillna("").astype(str).str.strip().replace("", "not known")
        if groups.nunique() > 1:
            found[factor] = {str(woman): str(group) for woman, group in groups.items()}
    return found


def _parts(women: Units, groups: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str, Units]]:
    bands = [name for _, _, name in AGE_BANDS]
    for factor, of in groups.items():
        own = np.array([of.get(str(woman), "not known") for woman in women.woman])
        for group in sorted(set(own), key=lambda name: (name == "not known", bands.index(name) if name in bands else 0, name)):
            inside = own == group
            yield factor, group, Units("woman", women.woman[inside], women.scores[inside], women.labels[inside])


def _baselines(views: pd.DataFrame, fold: str) -> Iterator[tuple[str, Units]]:
    """Women of the fold, scored by age and by their vendor's share of BAC in training; each only where it is known of all."""
    first = views.sort_values("view_id").drop_duplicates("woman")
    first = first[first["bac_woman"].notna()]
    training, scored = first[first["fold"] == "training"], first[first["fold"] == fold]
    if "age_years" in first and len(scored):
        known = scored.assign(age=pd.to_numeric(scored["age_years"], errors="coerce")).dropna(subset=["age"])
        if len(known) and known["age"].nunique() > 1:
            yield "age", _units(known, known["age"])
    if "manufacturer" in first and first["manufacturer"].nunique() > 1 and len(scored):
        shares = training.groupby("manufacturer")["bac_woman"].mean()
        yield "vendor", _units(scored, scored["manufacturer"].map(shares).fillna(training["bac_woman"].mean()))


def _units(women: pd.DataFrame, scores: pd.Series) -> Units:
    labels = women["bac_woman"].to_numpy(dtype=np.int8)
    return Units("woman", women["woman"].to_numpy(dtype=str), scores.to_numpy(dtype=np.float64), labels)
