"""What it costs in accuracy that burden is read off a classifier's heat map, and not off a segmentation trained on masks.

Tables in, tables out. Each source of heat maps is held against the segmentation on the same views and on the same women.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tramtrack.evaluation.comparisons import holm
from tramtrack.evaluation.paired_agreement import Paired, compare_errors, compare_ranks
from tramtrack.protocol import Evaluation

SEGMENTATION = "segmentation"
"""The name of the segmentation among the sources of burden."""
MEASURES = ("absolute_error", "rho")
COLUMNS = [
    "source", "fold", "of", "unit", "measure", "heat_map", "segmentation", "difference", "low", "high", "p", "p_holm",
    "separated", "n", "women", "reason",
]  # fmt: skip


def cost_table(views: pd.DataFrame, women: pd.DataFrame, settings: Evaluation) -> pd.DataFrame:
    """Each heat map's agreement with the truth less the segmentation's, a row a source, fold, unit of ``of`` and measure.

    ``views`` is burden.csv and ``women`` has a row a source, woman and exam, see `tramtrack.judgement.burden.by_woman`. The
    measures are absolute_error, the mean |area - true area| in the unit's square, and rho, Spearman's correlation; ``of`` is
    the view or the woman. Only units that both sources measured and whose truth is known count, of the analysed exams.
    ``p_holm`` is Holm's over the sources; ``reason`` says why there is no interval. Empty without a segmentation.
    """
    rows: list[dict[str, Any]] = []
    for of, table, key in (("view", views, ["view_id"]), ("woman", women.assign(unit="mm"), ["woman", "exam"])):
        known = table[(table["analysed"] == "yes") & table["area"].notna() & table["true_area"].notna()]
        against = known[known["source"] == SEGMENTATION].set_index(key)
        for (fold, unit), part in known[known["kind"] == "heat map"].groupby(["fold", "unit"], sort=False):
            for measure in MEASURES:
                about = {"fold": fold, "of": of, "unit": unit, "measure": measure}
                rows += _family(about, part, key, against, settings)
    return pd.DataFrame(rows, columns=COLUMNS)


def _family(
    about: dict[str, Any], part: pd.DataFrame, key: list[str], against: pd.DataFrame, settings: Evaluation
) -> list[dict[str, Any]]:
    """The rows of all sources under one fold, unit and measure, with Holm's correction over them."""
    found = []
    for source, own in part.groupby("source", sort=False):
        both = own.set_index(key).join(against["area"].rename("area_segmented"), how="inner").reset_index()
        if both.empty:
            continue
        result = _compared(about["measure"], both, settings)
        difference = result.difference
        found.append({
            "source": source, **about, "heat_map": result.one, "segmentation": result.other, "difference": difference.value,
            "low": difference.low, "high": difference.high, "p": result.p, "n": result.units, "women": result.women,
            "reason": difference.reason,
        })  # fmt: skip
    adjusted = holm([1.0 if row["p"] is None else row["p"] for row in found])
    return [
        {**row, "p_holm": float(p), "separated": row["p"] is not None and bool(p <= 1 - settings.confidence)}
        for row, p in zip(found, adjusted, strict=True)
    ]


def _compared(measure: str, both: pd.DataFrame, settings: Evaluation) -> Paired:
    """Areas of heat map and segmentation compared by ``measure`` against the true ones, on the same units."""
    one, other, true = (both[name].to_numpy(dtype=float) for name in ("area", "area_segmented", "true_area"))
    woman = both["woman"].to_numpy().astype(str)
    if measure == "rho":
        return compare_ranks(one, other, true, woman, confidence=settings.confidence)
    generator = np.random.default_rng(settings.seed)
    return compare_errors(
        one, other, true, woman, generator=generator, resamples=settings.resamples, confidence=settings.confidence
    )


def sentence(row: dict[Any, Any], name: str) -> str:
    """What can be said of one row, ``name`` being the heat map's: the difference, or that it cannot be told."""
    amounts = f"{_number(row, row['heat_map'])} against {_number(row, row['segmentation'])}"
    what = "mean error" if row["measure"] == "absolute_error" else "correlation with the truth"
    start = f"{name}, {what} by {row['of']}: {amounts}"
    if row["reason"]:
        return f"{start}; the difference cannot be told: {row['reason']}."
    worse = (row["difference"] > 0) == (row["measure"] == "absolute_error")
    interval = f"difference {_number(row, row['difference'])} ({_number(row, row['low'])} to {_number(row, row['high'])})"
    verdict = f"the heat map is {'less' if worse else 'more'} accurate" if row["separated"] else "cannot be separated"
    return f"{start}; {interval}: {verdict}."


def _number(row: dict[Any, Any], value: Any) -> str:
    """An amount with its unit, or a correlation; "none" where there is none."""
    if value is None or not np.isfinite(value):
        return "none"
    return f"{value:.2f}" if row["measure"] == "rho" else f"{value:.1f} {'mm²' if row['unit'] == 'mm' else 'pixels'}"
