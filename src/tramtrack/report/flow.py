"""Where every file, exam and woman of a cohort went, in counts that add up."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from tramtrack.cohort.privacy import telling_paths
from tramtrack.cohort.split import CALIBRATION, DROPPED, FOLDS, UNLABELLED
from tramtrack.report.reading import Material

PUBLISHED_PREVALENCE = 194 / 1493
"""Share of women with BAC in the published study: 194 of 1,493 (Mobini et al., Eur Radiol Exp 2024;8:80, abstract)."""
ENRICHED_FROM = 1.5 * PUBLISHED_PREVALENCE
"""From this share of women on a cohort is called enriched: half as many again as in the study. Ours."""
LISTED_AT_MOST = 40


@dataclass(frozen=True)
class FoldCount:
    """The women of one fold, or of one way out of the folds, and their views; ``with_bac`` and ``without_bac`` are known."""

    name: str
    women: int
    with_bac: int
    without_bac: int
    views: int
    views_with_bac: int
    takes_part: bool

    @property
    def prevalence(self) -> float | None:
        """Share of women with BAC among those of known label, in [0, 1]; None where nobody's is known."""
        labelled = self.with_bac + self.without_bac
        return self.with_bac / labelled if labelled else None

    @property
    def enriched(self) -> bool:
        """Whether BAC is much more frequent than in the published study; training is so by design and is not called it."""
        return self.name in ("validation", "test") and self.prevalence is not None and self.prevalence >= ENRICHED_FROM


@dataclass(frozen=True)
class Level:
    """How many views, breasts or women have a known label."""

    unit: str
    with_bac: int
    without_bac: int
    unknown: int


@dataclass(frozen=True)
class Flow:
    """A cohort's way from files to folds. ``problems`` names every count that does not add up; it should be empty."""

    files: int
    excluded: int
    reasons: dict[str, int]
    excluded_files: list[dict[str, str]]
    views: int
    exams: int
    women: int
    later_exams: int
    later_views: int
    analysed_views: int
    folds: list[FoldCount]
    levels: list[Level]
    masks: int
    inherited: int
    unmatched: list[tuple[str, list[str], int]]
    warnings: list[tuple[str, list[str], int]]
    problems: list[str]

    def fold(self, name: str) -> FoldCount:
        """The counts of one fold."""
        return next(fold for fold in self.folds if fold.name == name)


def count_flow(material: Material) -> Flow:
    """Count a study's cohort. The analysed views are those of the one exam of each woman that the protocol names."""
    cohort, analysed = material.cohort, material.analysed
    views = cohort.views
    folds = [_fold_count(material, name) for name in (*FOLDS, CALIBRATION, DROPPED, UNLABELLED)]
    folds = [fold for fold in folds if fold.name in FOLDS or fold.women]
    exams = cohort.exams
    analysed_exams = len(analysed[["woman", "exam"]].drop_duplicates())
    training = analysed[analysed["fold"] == "training"]
    inherits = material.protocol.labels.views_without_label == "inherit"
    warned = material.folder / "cohort" / "warnings.csv"
    return Flow(
        files=material.files_seen,
        excluded=len(cohort.exclusions),
        reasons=cohort.exclusions.by_reason(),
        excluded_files=_excluded_files(material),
        views=len(views),
        exams=exams,
        women=cohort.women,
        later_exams=exams - analysed_exams,
        later_views=len(views) - len(analysed),
        analysed_views=len(analysed),
        folds=folds,
        levels=_levels(analysed),
        masks=int((analysed["mask"] != "").sum()),
        inherited=int((training["bac_view"].isna() & training["bac_woman"].notna()).sum()) if inherits else 0,
        unmatched=_listed(cohort.unmatched),
        warnings=_listed(pd.read_csv(warned, dtype=str, keep_default_na=False)) if warned.exists() else [],
        problems=_problems(material, folds),
    )


def _listed(table: pd.DataFrame) -> list[tuple[str, list[str], int]]:
    """Of each kind in a table of kind and what: the first of them, and how many there are."""
    kinds = [(str(kind), [str(what) for what in group["what"]]) for kind, group in table.groupby("kind", sort=False)]
    return [(kind, what[:LISTED_AT_MOST], len(what)) for kind, what in kinds]


def _excluded_files(material: Material) -> list[dict[str, str]]:
    """The first excluded files; a path that repeats a patient's name or number stays in exclusions.csv.

    A detail that speaks of another file names its view, or the end of its path.
    """
    cohort, telling = material.cohort, telling_paths(material.folder / "cohort")
    names = {item.file: _short(item.file) for item in cohort.exclusions if item.file not in telling}
    names |= {
        item.file: f"exclusions.csv, line {line}" for line, item in enumerate(cohort.exclusions, 2) if item.file in telling
    }
    views = dict(zip(cohort.views["file"], cohort.views["view_id"], strict=True))
    others = sorted((names | views).items(), key=lambda other: -len(other[0]))
    listed = []
    for item in list(cohort.exclusions)[:LISTED_AT_MOST]:
        detail = item.detail
        for file, name in others:
            detail = detail.replace(file, name)
        listed.append({"file": names[item.file], "reason": str(item.reason), "detail": detail})
    return listed


def _fold_count(material: Material, name: str) -> FoldCount:
    women = material.folds[material.folds["fold"] == name]
    views = material.analysed[material.analysed["fold"] == name]
    return FoldCount(
        name=name,
        women=len(women),
        with_bac=int((women["bac_woman"] == 1).sum()),
        without_bac=int((women["bac_woman"] == 0).sum()),
        views=len(views),
        views_with_bac=int((views["bac_view"] == 1).sum()),
        takes_part=name in (*FOLDS, CALIBRATION),
    )


def _levels(analysed: pd.DataFrame) -> list[Level]:
    tables = {
        "view": analysed["bac_view"],
        "breast": analysed.drop_duplicates(["woman", "side"])["bac_breast"],
        "woman": analysed.drop_duplicates("woman")["bac_woman"],
    }
    return [
        Level(unit, int((labels == 1).sum()), int((labels == 0).sum()), int(labels.isna().sum()))
        for unit, labels in tables.items()
    ]


def _problems(material: Material, folds: list[FoldCount]) -> list[str]:
    cohort = material.cohort
    pairs = [
        ("files seen", material.files_seen, "views and excluded files", len(cohort.views) + len(cohort.exclusions)),
        ("women", cohort.women, "women in the folds or left out of them", sum(fold.women for fold in folds)),
        ("analysed views", len(material.analysed), "views in the folds or left out", sum(fold.views for fold in folds)),
    ]
    return [f"{what}: {left}, but {other}: {right}" for what, left, other, right in pairs if left != right]


def _short(file: str) -> str:
    """The end of a path, enough to find the file by, without the folders that lead to it."""
    return "/".join(file.replace("\\", "/").split("/")[-2:])
