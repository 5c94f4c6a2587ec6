"""Dealing women to folds: seeded, stratified, leak-free, and with the study's surplus of negatives taken out of training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from tramtrack import store
from tramtrack.cohort.warnings import LEAKING, UNIQUE_EXAM, LookAlike
from tramtrack.errors import TramtrackError
from tramtrack.protocol import Split

FOLDS = ("training", "validation", "test")
CALIBRATION = "calibration"
"""The fold, where there is one, that nothing but conformal calls is made from: no figure of a study speaks of it."""
DROPPED = "dropped"
UNLABELLED = "unlabelled"


class Leak(TramtrackError):
    """The same woman, file or image stands in two folds."""


def require_unsplit(folder: Path, name: str, table: pd.DataFrame) -> None:
    """Refuse to replace a table of a cohort whose women are dealt to folds already by a different one."""
    path = folder / name
    if (folder / "split.json").exists() and path.exists() and path.read_text(encoding="utf-8") != store.csv_text(table):
        raise TramtrackError(
            f"{folder}: this study is split already, and {name} would change; what is there is kept: use another study "
            "folder for other exams or labels, or for what this version of tramtrack reads otherwise"
        )


def split_women(views: pd.DataFrame, settings: Split) -> pd.DataFrame:
    """Deal each woman to one fold.

    ``views`` has the columns woman, bac_view and bac_woman (Int64). Returns one row a woman, in order of name: woman, fold
    (training, validation, calibration where it has a share, test, dropped, unlabelled), bac_woman, detail. Women are
    shuffled within each class and cut at the shares, so every fold has the cohort's prevalence to within one woman; a woman
    whose label is not known is in no fold. Raises TramtrackError where a fold would have one class only.
    """
    women = views.groupby("woman", sort=True)["bac_woman"].first()
    rng = np.random.default_rng(settings.seed)
    folds: dict[str, tuple[str, str]] = {}
    shares = {
        "training": settings.training,
        "validation": settings.validation,
        CALIBRATION: settings.calibration,
        "test": settings.test,
    }
    shares = {fold: share for fold, share in shares.items() if share}
    for label in (1, 0):
        names = [str(woman) for woman, value in women.items() if not pd.isna(value) and value == label]
        shuffled = [names[index] for index in rng.permutation(len(names))]
        cuts = [0, *np.rint(np.cumsum(list(shares.values())[:-1]) * len(shuffled)).astype(int).tolist(), len(shuffled)]
        for fold, (start, end) in zip(shares, pairwise(cuts), strict=True):
            part = shuffled[start:end]
            folds.update(dict.fromkeys(part, (fold, "")))
            if not part:
                unknown = int(women.isna().sum())
                raise TramtrackError(
                    f"the {fold} fold would have no woman {'with' if label else 'without'} BAC: the cohort has "
                    f"{len(names)} such women of {len(women)}{f', {unknown} of them not known' if unknown else ''}; label more "
                    "of them (a woman is negative once all her standard views are, or her own row says so) or change the shares"
                )
    if settings.training_prevalence > 0:
        folds.update(_drop_negatives(views, folds, settings, rng))
    rows = []
    for woman, label in women.items():
        fold, detail = folds.get(str(woman), (UNLABELLED, "it is not known whether this woman has BAC"))
        rows.append({"woman": str(woman), "fold": fold, "bac_woman": label, "detail": detail})
    table = pd.DataFrame(rows)
    table["bac_woman"] = table["bac_woman"].astype("Int64")
    return table


def _drop_negatives(
    views: pd.DataFrame, folds: dict[str, tuple[str, str]], settings: Split, rng: np.random.Generator
) -> dict[str, tuple[str, str]]:
    """Negative training women to leave out, drawn at random, until positives make up the stated share (as the study did).

    Stated for views, the share is that of views whose own label is known. One negative woman always stays.
    """
    wanted = settings.training_prevalence
    training = views[views["woman"].map(lambda woman: folds.get(str(woman), ("", ""))[0] == FOLDS[0])]
    labels = training.groupby("woman", sort=True)["bac_woman"].first()
    negatives = [str(woman) for woman in labels.index[labels == 0]]
    sizes = training.groupby("woman")["bac_view"].count()
    if settings.training_prevalence_of == "women":
        positives, total = int((labels == 1).sum()), len(labels)
        weight = dict.fromkeys(negatives, 1)
    else:
        positive_views = training[training["bac_view"] == 1]
        without = sorted(set(labels.index[labels == 1]) - set(positive_views["woman"]))
        if without:
            raise TramtrackError(
                f"the training prevalence is stated for views, but of woman {without[0]} (with BAC) it is not known which "
                'views show it; state it for women (training_prevalence_of = "women"), or label the views'
            )
        positives, total = len(positive_views), int(training["bac_view"].notna().sum())
        weight = {woman: int(sizes[woman]) for woman in negatives}
    dropped: dict[str, tuple[str, str]] = {}
    for index in rng.permutation(len(negatives)):
        woman = negatives[index]
        if len(dropped) == len(negatives) - 1 or positives / (total - weight[woman]) > wanted:
            break
        total -= weight[woman]
        dropped[woman] = (DROPPED, f"negative training woman left out for a training prevalence of {wanted:g}")
    return dropped


def require_no_leak(views: pd.DataFrame, folds: pd.DataFrame) -> None:
    """Raise Leak where a woman, an exam, an SOP instance, a file or an image stands in two folds or under two women.

    ``views`` has woman, exam, file, sha256, pixels_sha256 and, where known, sop_instance_uid; ``folds`` has woman and fold. An
    exam counts where its name is a UID or a pseudonym: names in tables may be alike for two women.
    """
    twice = folds["woman"][folds["woman"].duplicated()]
    if len(twice):
        raise Leak(f"woman {twice.iloc[0]} stands in two rows of the folds; a woman is in exactly one")
    fold_of = dict(zip(folds["woman"], folds["fold"], strict=True))
    rows = [row for row in views.to_dict("records") if fold_of.get(row["woman"]) in (*FOLDS, CALIBRATION)]
    for column, what in LEAKING.items():
        seen: dict[str, dict[str, str]] = {}
        for row in rows:
            value = str(row.get(column, "") or "")
            if not value or (column == "exam" and not UNIQUE_EXAM.fullmatch(value)):
                continue
            other = seen.setdefault(value, row)
            if other["woman"] != row["woman"]:
                folds_of = sorted({fold_of[other["woman"]], fold_of[row["woman"]]})
                where = "in two folds" if len(folds_of) > 1 else f"under two women of the {folds_of[0]} fold"
                raise Leak(
                    f"the same {what} stands {where}: {other['file']} ({other['woman']}, {fold_of[other['woman']]}) and "
                    f"{row['file']} ({row['woman']}, {fold_of[row['woman']]}); "
                    f"give both the same woman, or take one out, and ingest again"
                )


def require_no_copies(alike: Sequence[LookAlike], folds: pd.DataFrame) -> None:
    """Raise Leak where registration confirmed that views of two women, both in a fold, are one exposure."""
    taking_part = set(folds["woman"][folds["fold"].isin((*FOLDS, CALIBRATION))])
    for one in alike:
        if one.confirmed and taking_part.issuperset(one.women):
            raise Leak(
                f"{one.first} and {one.second} are one exposure under two women, {' and '.join(one.women)} (hashes differ in "
                f"{one.bits} of 256 bits, registered texture {one.texture:.2f}); give both the same woman, or take one out, "
                "and ingest again"
            )
