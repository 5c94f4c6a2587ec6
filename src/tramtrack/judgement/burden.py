"""From the burden of views to what is said of it: agreement with truth, the woman's band, her percentile and her change.

Tables in, tables out; where the maps came from is the column ``source``, a run's network/variant/seed-k or another's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from tramtrack.cohort.exam import STANDARD_VIEWS
from tramtrack.evaluation.agreement import Agreement, Estimate, agree
from tramtrack.protocol import Burden, Evaluation, Protocol

SCU_NET = ("pm", "am", "sim", "tam", "tsim")
"""SCU-Net's five measures, see `tramtrack.explain.burden.Burden`."""
VIEW_COLUMNS = [
    "view_id", "woman", "exam", "side", "view", "fold", "analysed", "source", "kind", "unit", "area", "length", "share",
    "breast_area", *SCU_NET, "true_area", "true_length", "true_from", "calibrated", "note",
]  # fmt: skip
WOMAN_COLUMNS = [
    "source", "kind", "woman", "fold", "exam", "analysed", "age_years", "views", "bac_left", "bac_right", "area", "band",
    "true_area", "true_band", "reason",
]  # fmt: skip
BANDS = ("0", ">0-10", ">10-25", ">25")
BAND_LIMITS_MM2 = (0.0, 10.0, 25.0)
"""Upper ends of all bands but the last, mm2 (Eur Heart J 2026)."""
PROXY = (
    "A band from a heat map is a proxy by area: a map shows where the network looked and cannot count vessels, so it is no "
    "CSBI grade."
)
AGREEMENT_COLUMNS = [
    "source", "kind", "fold", "unit", "of", "among", "measured", "true", "rho", "rho_low", "rho_high", "bias", "bias_low",
    "bias_high", "lower", "lower_low", "lower_high", "upper", "upper_low", "upper_high", "n", "women", "reason",
]  # fmt: skip
LEAST_ERRORS = 10
"""Fewer women with calcification give no repeatability."""


def band_of(area_mm2: float) -> str:
    """The band of a woman's area in mm2 >= 0: "0", ">0-10", ">10-25" or ">25"."""
    return BANDS[int(np.searchsorted(BAND_LIMITS_MM2, area_mm2, side="left"))]


def missing_views(views: pd.DataFrame) -> dict[tuple[str, str], int]:
    """How many standard views each (woman, exam) lacks; a breast known to be absent lacks none.

    ``views`` has woman, exam, side, view and absent_breast (L, R or empty).
    """
    found = {}
    for (woman, exam), part in views.groupby(["woman", "exam"]):
        absent = set(part["absent_breast"].dropna())
        present = set(zip(part["side"], part["view"], strict=True))
        found[str(woman), str(exam)] = sum(at not in present and at[0] not in absent for at in STANDARD_VIEWS)
    return found


def by_woman(
    views: pd.DataFrame,
    settings: Burden,
    ages: pd.Series | None = None,
    missing: Mapping[tuple[str, str], int] | None = None,
) -> pd.DataFrame:
    """A row a source, woman and exam with WOMAN_COLUMNS; ``views`` is burden.csv, ``ages`` her age by (woman, exam).

    Her area is the sum or the mean over her views, presence in a breast that any of its views shows some. Where a view could
    not be measured, has no spacing, or is ``missing`` from a sum, she has no area and ``reason`` says so; her true area needs
    the truth of every view.
    """
    rows = []
    for (source, woman, exam), part in views.groupby(["source", "woman", "exam"], sort=False):
        first = part.iloc[0]
        added = part["area"].sum() if settings.woman == "sum" else part["area"].mean()
        truth = part["true_area"].sum() if settings.woman == "sum" else part["true_area"].mean()
        lacking = int(part["area"].isna().sum())
        reason = f"{lacking} of {len(part)} views not measured" if lacking else ""
        gone = missing.get((woman, exam), 0) if missing and settings.woman == "sum" else 0
        if gone:
            reason = f"{gone} standard view{'s' if gone > 1 else ''} missing from the sum"
        if (part["unit"] != "mm").any():
            reason = "no spacing: its views are measured in pixels"
        rows.append({
            "source": source, "kind": first["kind"], "woman": woman, "fold": first["fold"], "exam": exam,
            "analysed": first["analysed"], "age_years": np.nan if ages is None else ages.get((woman, exam), np.nan),
            "views": len(part), "bac_left": _present(part, "L"), "bac_right": _present(part, "R"),
            "area": np.nan if reason else added, "band": "" if reason else band_of(added),
            "true_area": np.nan if reason or part["true_area"].isna().any() else truth, "reason": reason,
        })  # fmt: skip
    table = pd.DataFrame(rows, columns=WOMAN_COLUMNS)
    bands = ["" if np.isnan(area) else band_of(area) for area in table["true_area"].astype(float)]
    return table.assign(true_band=bands)


def _present(part: pd.DataFrame, side: str) -> Any:
    """1 if a view of this breast shows some, 0 if all show none, missing where it has no measured view."""
    areas = part.loc[part["side"] == side, "area"].dropna()
    return pd.NA if areas.empty else int((areas > 0).any())


@dataclass(frozen=True)
class SquaredErrors:
    """How far a woman's area is off, on the square-root scale, mm: ``interval`` is the half-width that held a share
    ``confidence`` of the validation women, ``repeatability`` that of a change; None where ``women`` are too few."""

    interval: float | None
    repeatability: float | None
    women: int


def squared_errors(views: pd.DataFrame, protocol: Protocol) -> SquaredErrors:
    """The errors of women in validation who have any calcification, measured or true, each measured without her part.

    Square roots, because the error of an area grows with it (as for coronary calcium: Hokanson et al., AJR 2004;182:1327). The
    interval is split-conformal: the k-th smallest error of n, with k = ceil((n + 1) confidence); the repeatability is
    z sqrt(2) SD, within which two measurements of the same amount lie (Bland and Altman, BMJ 1996;313:744).
    """
    women = by_woman(views[(views["fold"] == "validation") & (views["analysed"] == "yes")], protocol.burden)
    women = women[women["true_area"].notna() & ((women["true_area"] > 0) | (women["area"] > 0))]
    errors = np.sqrt(women["area"].to_numpy(dtype=float)) - np.sqrt(women["true_area"].to_numpy(dtype=float))
    confidence, count = protocol.evaluation.confidence, len(errors)
    place = int(np.ceil((count + 1) * confidence))
    interval = float(np.sort(np.abs(errors))[place - 1]) if place <= count else None
    repeatability = None
    if count >= LEAST_ERRORS:
        repeatability = float(special.ndtri(0.5 + confidence / 2) * np.sqrt(2) * errors.std(ddof=1))
    return SquaredErrors(interval, repeatability, count)


def around(area: float, half_width: float) -> tuple[float, float]:
    """The interval around an area in mm2 >= 0, from its half-width on the square-root scale."""
    root = float(np.sqrt(area))
    return max(0.0, root - half_width) ** 2, (root + half_width) ** 2


def agreement_table(views: pd.DataFrame, women: pd.DataFrame, settings: Evaluation) -> pd.DataFrame:
    """The agreement of each source with the truth, a row a fold, unit and pair of amounts; AGREEMENT_COLUMNS.

    Of views: area against area, length against length, and area against length, which has a correlation only (the figure of the
    predecessor study: rho .88 on 112 views). Of women: area against area. ``among`` is "all" or "with BAC": those that truly
    have some, since among all of them telling none from some already makes a correlation.
    """
    rows: list[dict[str, Any]] = []
    keys_of_views = ("source", "kind", "fold", "unit")
    own = views[views["analysed"] == "yes"]
    for keys, part in own.groupby(list(keys_of_views), sort=False):
        about = dict(zip(keys_of_views, keys, strict=True))
        for measured, true in (("area", "true_area"), ("length", "true_length"), ("area", "true_length")):
            rows += _agreements(part, about, "view", measured, true, settings)
    for keys, part in women[women["analysed"] == "yes"].groupby(["source", "kind", "fold"], sort=False):
        about = dict(zip(("source", "kind", "fold"), keys, strict=True)) | {"unit": "mm"}
        rows += _agreements(part, about, "woman", "area", "true_area", settings)
    return pd.DataFrame(rows, columns=AGREEMENT_COLUMNS)


def _agreements(
    part: pd.DataFrame, about: dict[str, Any], unit: str, measured: str, true: str, settings: Evaluation
) -> list[dict[str, Any]]:
    """Among all units with a known truth, and among those that have some; none where no truth is known."""
    known = part[part[measured].notna() & part[true].notna()]
    found = []
    for among, chosen in (("all", known), ("with BAC", known[known[true] > 0])):
        if known.empty:
            continue
        result = agree(
            chosen[measured].to_numpy(dtype=float), chosen[true].to_numpy(dtype=float), chosen["woman"].to_numpy().astype(str),
            generator=np.random.default_rng(settings.seed), resamples=settings.resamples, confidence=settings.confidence,
        )  # fmt: skip
        named = {"of": unit, "among": among, "measured": measured, "true": true.removeprefix("true_")}
        found.append({**about, **named, **_cells(result, measured == true.removeprefix("true_"))})
    return found


def _cells(result: Agreement, alike: bool) -> dict[str, Any]:
    """The agreement as columns; limits only where both amounts are of one kind."""

    def cells(name: str, estimate: Estimate) -> dict[str, Any]:
        return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}

    found = cells("rho", result.rank)
    reasons = [result.rank.reason]
    if alike:
        found |= cells("bias", result.bias) | cells("lower", result.lower) | cells("upper", result.upper)
        reasons += [result.bias.reason]
    reason = "; ".join(dict.fromkeys(filter(None, reasons)))
    return found | {"n": result.units, "women": result.women, "reason": reason}


def band_table(women: pd.DataFrame) -> pd.DataFrame:
    """The confusion matrix of the bands: a row a source, fold and true band, with the women counted in each measured one."""
    known = women[(women["analysed"] == "yes") & women["true_area"].notna() & women["area"].notna()]
    rows = []
    for keys, part in known.groupby(["source", "kind", "fold"], sort=False):
        about = dict(zip(("source", "kind", "fold"), keys, strict=True))
        for true in BANDS:
            counts = part.loc[part["true_band"] == true, "band"].value_counts()
            rows.append({**about, "true_band": true, **{band: int(counts.get(band, 0)) for band in BANDS}})
    return pd.DataFrame(rows, columns=["source", "kind", "fold", "true_band", *BANDS])
