"""Table 1: who the women of each fold are, as far as the files say."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from tramtrack.cohort.split import FOLDS
from tramtrack.report.reading import Material


@dataclass(frozen=True)
class CohortTable:
    """``rows`` begin with what is counted and have a cell for each of ``folds``."""

    folds: list[str]
    rows: list[list[str]]


def cohort_table(material: Material) -> CohortTable:
    """Women, BAC, age and vendor by fold; a row only where something of it is known."""
    women = material.analysed.sort_values("view_id").drop_duplicates("woman").set_index("woman")
    labels = material.folds.set_index("woman")["bac_woman"]
    groups = {fold: women[women["fold"] == fold] for fold in FOLDS}
    rows = [
        ["Women", *[f"{len(group):,}" for group in groups.values()]],
        ["With BAC", *[_share(int((labels.reindex(group.index) == 1).sum()), len(group)) for group in groups.values()]],
        ["Views", *[f"{int((material.analysed['fold'] == fold).sum()):,}" for fold in groups]],
    ]
    ages = {fold: pd.to_numeric(group["age_years"], errors="coerce").dropna() for fold, group in groups.items()}
    if any(len(values) for values in ages.values()):
        rows.append(["Age, median (quartiles)", *[_quartiles(values) for values in ages.values()]])
        unknown = [len(groups[fold]) - len(values) for fold, values in ages.items()]
        if any(unknown):
            rows.append(["Age not known", *[str(count) for count in unknown]])
    makers = women["manufacturer"].fillna("").astype(str).replace("", "not known")
    for maker in sorted(makers.unique()) if makers.nunique() > 1 or "not known" not in set(makers) else ():
        counts = [int((makers.reindex(group.index) == maker).sum()) for group in groups.values()]
        rows.append([f"Vendor: {maker}", *[_share(n, len(group)) for n, group in zip(counts, groups.values(), strict=True)]])
    return CohortTable([fold.capitalize() for fold in groups], rows)


def _share(count: int, of: int) -> str:
    return f"{count:,} ({100 * count / of:.1f}\u00a0%)" if of else "0"


def _quartiles(values: pd.Series) -> str:
    if values.empty:
        return "not known"
    low, middle, high = values.quantile([0.25, 0.5, 0.75])
    return f"{middle:.0f} ({low:.0f} to {high:.0f})"
