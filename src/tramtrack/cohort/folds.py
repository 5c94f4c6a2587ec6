"""folds.csv: the women dealt once, with what would leak refused and what favours a fold warned of; and read back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from tramtrack import store
from tramtrack.cohort.split import require_no_copies, require_no_leak, split_women
from tramtrack.cohort.warnings import LookAlike, warning_table
from tramtrack.errors import TramtrackError
from tramtrack.protocol import Split


def deal(
    folder: Path,
    views: pd.DataFrame,
    analysed: pd.DataFrame,
    settings: Split,
    look_alikes: Callable[[], Sequence[LookAlike]],
) -> pd.DataFrame:
    """Deal the women of the ``analysed`` views to folds, once; writes folds.csv, warnings.csv and split.json into ``folder``.

    Leaks are looked for in all ``views`` of the cohort: an exam of hers that is not analysed may be another woman's first.
    ``look_alikes`` finds those of ``views``; it is called only where women are dealt.
    Folds that were dealt are kept, and returned. Raises Leak, IdentityMismatch where the cohort, its labels or the settings
    have changed since, and TramtrackError where folds.csv was changed by hand.
    """
    identity = {
        "split": settings.model_dump(mode="json", exclude={"repeats"} | (set() if settings.calibration else {"calibration"})),
        "views": store.file_sha256(folder / "views.csv"),
        "labels": store.file_sha256(folder / "labels.csv"),
    }
    advice = "the cohort or its labels have changed since the split; use another study folder for them"
    if not store.require_same_identity(folder / "split.json", identity, advice):
        folds = split_women(analysed, settings)
        require_no_leak(views, folds)
        alike = look_alikes()
        require_no_copies(alike, folds)
        store.write_csv(folder / "warnings.csv", warning_table(views, analysed, alike))
        store.write_csv(folder / "folds.csv", folds)
        counts = folds["fold"].value_counts().to_dict()
        dealt = store.file_sha256(folder / "folds.csv")
        store.write_manifest(folder / "split.json", identity, {"folds_sha256": dealt, **counts})
    dealt = store.read_json(folder / "split.json")["information"]["folds_sha256"]
    if store.file_sha256(folder / "folds.csv") != dealt:
        raise TramtrackError(f"{folder / 'folds.csv'}: changed since the women were dealt; restore it, or begin a new study")
    folds = read_folds(folder)
    require_no_leak(views, folds)
    return folds


def read_folds(folder: Path) -> pd.DataFrame:
    """folds.csv of a cohort's folder: woman, fold, bac_woman (Int64), detail."""
    types = {"woman": str, "bac_woman": "Int64"}  # a woman may be called NA: only an empty label is missing
    return pd.read_csv(folder / "folds.csv", dtype=types, keep_default_na=False, na_values={"bac_woman": [""]})
