"""The woman's table: her burden with an interval, her percentile for age in this cohort, and her change from a prior exam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import pandas as pd

from tramtrack.judgement.burden import WOMAN_COLUMNS, around
from tramtrack.protocol import Burden

COLUMNS = [
    *WOMAN_COLUMNS[:-1], "low", "high", "percentile", "percentile_women", "percentile_reason", "prior_exam", "prior_acquired",
    "prior_area", "change", "unchanged_low", "unchanged_high", "verdict", "reason",
]  # fmt: skip


class Errors(Protocol):
    """What a calibration says of the error of a woman's area, on the square-root scale, mm."""

    @property
    def squared_error(self) -> float | None:
        """Half-width of its interval, or None."""

    @property
    def repeatability(self) -> float | None:
        """Half-width within which a change may be nothing but error, or None."""


def women_table(women: pd.DataFrame, errors: Mapping[str, Errors], acquired: pd.Series, settings: Burden) -> pd.DataFrame:
    """A row a source, woman and exam with COLUMNS; ``women`` is that of `by_woman`.

    ``low`` to ``high`` is the interval of her area in mm2. Her percentile is the share of the cohort's women (each by her
    analysed exam) within ``percentile_years`` of her age who have less, half of those who have as much counted in; with fewer
    than ``percentile_women`` of them there is none. ``change`` is her area less that of the exam before, which lies between
    ``unchanged_low`` and ``unchanged_high`` where it may be measurement error alone: ``verdict`` is then "within
    repeatability", else "more" or "less". ``acquired``: dates by (woman, exam).
    """
    rows = []
    for source, of_source in women.groupby("source", sort=False):
        found = errors[str(source)]
        analysed = of_source[of_source["analysed"]]
        cohort = analysed[analysed["area"].notna() & analysed["age_years"].notna()]
        by_name = dict(list(of_source.groupby("woman", sort=False)))
        for row in of_source.to_dict("records"):
            rows.append({
                **row, **_interval(row, found), **_percentile(row, cohort, settings),
                **_change(row, by_name[row["woman"]], found, acquired),
            })  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _interval(row: Mapping[Any, Any], errors: Errors) -> dict[str, float]:
    if np.isnan(row["area"]) or errors.squared_error is None:
        return {}
    low, high = around(row["area"], errors.squared_error)
    return {"low": low, "high": high}


def _percentile(row: Mapping[Any, Any], cohort: pd.DataFrame, settings: Burden) -> dict[str, Any]:
    if np.isnan(row["area"]) or np.isnan(row["age_years"]):
        return {"percentile_reason": "age not known" if np.isnan(row["age_years"]) else "no area"}
    near = cohort.loc[(cohort["age_years"] - row["age_years"]).abs() <= settings.percentile_years, "area"]
    if len(near) < settings.percentile_women:
        reason = (
            f"{len(near)} women within {settings.percentile_years} years of her age; {settings.percentile_women} are needed"
        )
        return {"percentile_women": len(near), "percentile_reason": reason}
    share = float((near < row["area"]).mean() + (near == row["area"]).mean() / 2)
    return {"percentile": 100 * share, "percentile_women": len(near), "percentile_reason": ""}


def _change(row: Mapping[Any, Any], exams: pd.DataFrame, errors: Errors, acquired: pd.Series) -> dict[str, Any]:
    """Against the latest exam before this one; nothing where there is none, or its date is not known."""
    own = _date(acquired, row["woman"], row["exam"])
    before = [
        (date, other)
        for other in exams[exams["area"].notna()].to_dict("records")
        if (date := _date(acquired, other["woman"], other["exam"])) and own and date < own
    ]
    if not before or np.isnan(row["area"]):
        return {}
    date, prior = max(before, key=lambda pair: pair[0])
    known = {
        "prior_exam": prior["exam"],
        "prior_acquired": date,
        "prior_area": prior["area"],
        "change": row["area"] - prior["area"],
    }
    if errors.repeatability is None:
        return {**known, "verdict": "no repeatability known"}
    low, high = around(prior["area"], errors.repeatability)
    verdict = "less" if row["area"] < low else "more" if row["area"] > high else "within repeatability"
    return {**known, "unchanged_low": low, "unchanged_high": high, "verdict": verdict}


def _date(acquired: pd.Series, woman: str, exam: str) -> str:
    found = acquired.get((woman, exam), "")
    return str(found) if found and not pd.isna(found) else ""
