"""The audit of a cohort: where every file went, what the views are, and whom the labels favour. Counts that add up."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tramtrack import store
from tramtrack.cohort.cohort import Cohort, analysed_views, load_cohort
from tramtrack.cohort.exam import STANDARD_VIEWS
from tramtrack.cohort.folds import read_folds
from tramtrack.cohort.warnings import confounders
from tramtrack.protocol import Intake

AGES = (0, 40, 50, 60, 70, 200)
EXPOSURES = (0, 50, 100, 150, 1e9)
BY = ("vendor", "model", "site", "year", "age", "density", "spacing", "exposure", "source", "kind", "views")
NOT_STATED = "not stated"


def audit(folder: Path) -> dict[str, Any]:
    """Everything that the audit tells of the cohort in ``folder``, as plain values for JSON.

    ``steps`` are counts that each follow from the one before; ``problems`` names those that do not add up and should be
    empty. ``by`` has, for each factor, one row a value: views, women, women with BAC and without, prevalence (of the known).
    Raises TramtrackError where there is no cohort.
    """
    cohort = load_cohort(folder)
    identity = store.read_identity(folder / "manifest.json") or {}
    files = int(store.read_json(folder / "manifest.json")["information"]["files"])
    analysed = analysed_views(cohort.views, Intake.model_validate(identity.get("intake", {})))
    steps = _steps(cohort, analysed, files, folder)
    problems = [
        f"{step['step']}: {step['count']}, but its parts add up to {sum(step['parts'].values())}"
        for step in steps
        if step["count"] != sum(step["parts"].values())
    ]
    named = _table(folder / "identifying.csv")
    return {
        "synthetic": cohort.synthetic,
        "pseudonyms": bool(identity.get("key")),
        "key": identity.get("key", ""),
        "steps": steps,
        "problems": problems,
        "exclusions": cohort.exclusions.by_reason(),
        "by": {factor: rows for factor, rows in _by(analysed).items() if rows},
        "numbers": _numbers(analysed),
        "unmatched": {str(kind): int(count) for kind, count in cohort.unmatched["kind"].value_counts(sort=False).items()},
        "labels": {unit: _label_counts(analysed, unit) for unit in ("view", "breast", "woman")},
        "predicting_the_label": confounders(analysed).to_dict("records"),
        "readers": _readers(folder / "readers.csv"),
        "doubtful_crops": _marked(cohort.views, "doubts"),
        "contradictions": _marked(cohort.views, "contradictions"),
        "text_in_the_image": _marked(cohort.views, "burned_in"),
        "identifying": _identifying(named),
        "files_that_identify": len(named),
        "warnings": _records(_table(folder / "warnings.csv")),
    }


def _steps(cohort: Cohort, analysed: pd.DataFrame, files: int, folder: Path) -> list[dict[str, Any]]:
    views, later = len(cohort.views), len(cohort.views) - len(analysed)
    steps = [
        {"step": "files seen", "count": files, "parts": {**cohort.exclusions.by_reason(), "views": views}},
        {"step": "views", "count": views, "parts": {"of the analysed exam": len(analysed), "of her other exams": later}},
    ]
    exams = cohort.views[["woman", "exam"]].drop_duplicates()
    sizes = cohort.views.groupby(["woman", "exam"]).size()
    lacking = set(map(tuple, _lacking(folder)))
    kinds = Counter(
        "four views" if size >= len(STANDARD_VIEWS) else "lacking a view" if key in lacking else "all views of her one breast"
        for key, size in sizes.items()
    )
    steps.append({"step": "exams", "count": len(exams), "parts": dict(kinds)})
    if (folder / "folds.csv").exists():
        folds = read_folds(folder)
        women = {str(fold): int(count) for fold, count in folds["fold"].value_counts().items()}
        steps.append({"step": "women", "count": cohort.women, "parts": women})
        fold_of = dict(zip(folds["woman"], folds["fold"], strict=True))
        in_folds = analysed["woman"].map(fold_of).value_counts()
        steps.append({"step": "analysed views", "count": len(analysed), "parts": {str(k): int(v) for k, v in in_folds.items()}})
    else:
        known = analysed.groupby("woman")["bac_woman"].first()
        parts = {"with BAC": int((known == 1).sum()), "without": int((known == 0).sum()), "not known": int(known.isna().sum())}
        steps.append({"step": "women", "count": cohort.women, "parts": parts})
    return steps


def _lacking(folder: Path) -> np.ndarray:
    """(woman, exam) of each exam that lacks a standard view of a breast that is there."""
    exams = pd.read_csv(folder / "exams.csv", dtype=str, keep_default_na=False)
    return exams.loc[exams["missing"] != "", ["woman", "exam"]].to_numpy()


def _by(views: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Label prevalence by each factor; a woman counts once at each value that one of her views has."""
    number = views.groupby("woman")["view_id"].transform("size")
    age = pd.cut(
        views["age_years"].astype("Float64"), AGES, right=False, labels=["below 40", "40-49", "50-59", "60-69", "70 on"]
    )
    exposure = pd.cut(
        views["exposure_mas"].astype("Float64"),
        EXPOSURES,
        right=False,
        labels=["below 50 mAs", "50 to 99 mAs", "100 to 149 mAs", "150 mAs on"],
    )
    spacing = views["spacing_mm"].map(lambda value: "no spacing" if pd.isna(value) else f"{value:.3f} mm")
    factors = pd.DataFrame(
        {
            "woman": views["woman"],
            "label": views["bac_woman"],
            "vendor": views["manufacturer"],
            "model": views["model"],
            "site": views["site"],
            "year": views["acquired"].str[:4],
            "age": age.astype(object),
            "density": views["density"],
            "spacing": spacing,
            "exposure": exposure.astype(object),
            "source": views["source"],
            "kind": views["kind"],
            "views": number.astype(str),
        }
    )
    return {factor: _prevalence(factors, factor) for factor in BY if factors[factor].fillna("").ne("").any()}


def _prevalence(factors: pd.DataFrame, factor: str) -> list[dict[str, Any]]:
    rows = []
    values = factors[factor].fillna("").astype(str).replace("", NOT_STATED)
    for value, group in factors.groupby(values, sort=True):
        women = group.drop_duplicates("woman")["label"]
        positive, negative = int((women == 1).sum()), int((women == 0).sum())
        share = positive / (positive + negative) if positive + negative else None
        rows.append(
            {"value": str(value), "views": len(group), "women": len(women), "with_bac": positive, "without": negative,
             "prevalence": share}
        )  # fmt: skip
    return rows


def _numbers(views: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """For each number that files may carry: how many state it, and its quartiles with the ends."""
    found = {}
    for column in ("age_years", "spacing_mm", "thickness_mm", "exposure_mas", "kvp"):
        values = views[column].astype("Float64").dropna().to_numpy(dtype=float)
        quartiles = [float(value) for value in np.percentile(values, (0, 25, 50, 75, 100))] if len(values) else []
        found[column] = {"stated": len(values), "of": len(views), "quartiles": quartiles}
    return found


def _label_counts(views: pd.DataFrame, unit: str) -> dict[str, int]:
    keys = {"view": ["view_id"], "breast": ["woman", "side"], "woman": ["woman"]}[unit]
    labels = views.drop_duplicates(keys)[f"bac_{unit}"]
    return {"with BAC": int((labels == 1).sum()), "without": int((labels == 0).sum()), "not known": int(labels.isna().sum())}


def _marked(views: pd.DataFrame, column: str) -> list[dict[str, str]]:
    marked = views[views[column] != ""]
    return [{"view_id": str(row["view_id"]), "what": str(row[column])} for row in marked.to_dict("records")]


def _identifying(named: pd.DataFrame) -> dict[str, int]:
    """How many files still carry each identifying attribute, the most frequent first."""
    counts = named["attributes"].str.split("; ").explode().value_counts() if len(named) else pd.Series(dtype=int)
    return {str(attribute): int(count) for attribute, count in counts.items()}


def _table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False) if path.exists() else pd.DataFrame(columns=["attributes"])


def _readers(path: Path) -> list[dict[str, Any]]:
    """The rows of readers.csv, their numbers as numbers: what has no kappa or no interval has None."""
    if not path.exists():
        return []
    numbers = dict.fromkeys(("agreement", "kappa", "low", "high"), float)
    table = pd.read_csv(path, keep_default_na=False, na_values={name: [""] for name in numbers}, dtype=numbers)
    return _records(table.astype(dict.fromkeys(numbers, object)).where(table.notna(), None))


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
