"""Numbers as they are read: decimals, signs, intervals, and why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from tramtrack.evaluation.scores import in_decimals
from tramtrack.report.reading import known


@dataclass(frozen=True)
class Cell:
    """A score as it is read: estimate and bounds in decimals, and as numbers for the drawing; or why there is none."""

    text: str
    low: str = ""
    high: str = ""
    numbers: tuple[float, float, float] | None = None
    reason: str = ""


def number(value: Any, decimals: int) -> str:
    """A number with a fixed count of decimals and commas between thousands; an en dash where there is none."""
    return f"{float(value):,.{decimals}f}" if known(value) else "–"


def whole(value: Any) -> str:
    """A whole number with commas between thousands; an en dash where there is none."""
    return number(value, 0)


def signed(value: Any, decimals: int = 3) -> str:
    """A difference with a real minus sign, never minus zero; empty where there is none."""
    if not known(value):
        return ""
    text = f"{float(value):.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def p_value(value: Any) -> str:
    """A p with three decimals, never 0.000; empty where there is none."""
    if not known(value):
        return ""
    return "< 0.001" if float(value) < 0.001 else f"{float(value):.3f}"


def percent(value: float | None) -> str:
    """A share in [0, 1] as a percentage with one decimal."""
    return "–" if value is None else f"{100 * value:.1f}\u00a0%"


def cell(row: dict[Any, Any]) -> Cell:
    """A row of scores.csv as a Cell; "Undefined" with its reason where there is no estimate."""
    if not known(row["estimate"]):
        return Cell("Undefined", reason="" if pd.isna(row["reason"]) else str(row["reason"]))
    numbers = (float(row["low"]), float(row["estimate"]), float(row["high"]))
    low, estimate, high = in_decimals(*numbers)
    return Cell(estimate, low, high, numbers)
