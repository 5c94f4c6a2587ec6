"""Runs to tables, each run by itself: thresholds and recalibration from validation, scores, curves, what calls are worth.

Everything that is chosen is chosen on validation: the aggregation (one for all networks), the threshold of each rule, the
recalibration. What it is then worth is computed for every fold, on one set of resampled women.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tramtrack.evaluation.aggregate import AGGREGATIONS, UNITS, Aggregation, Predictions, Unit, Units
from tramtrack.evaluation.calibration import (
    Recalibration,
    Reliability,
    calibration_groups,
    recalibrate,
    reliability,
)
from tramtrack.evaluation.curves import GRID, RocCurve, roc_band, roc_curve
from tramtrack.evaluation.decisions import DecisionCurve, decision_curve, predictive_scores
from tramtrack.evaluation.intervals import score_resampled
from tramtrack.evaluation.resampling import estimate, resample_women
from tramtrack.evaluation.scores import COUNT_METRICS, Score, Undefined, undefined_reason
from tramtrack.evaluation.threshold import Rule, Threshold, choose_threshold
from tramtrack.progress import track
from tramtrack.protocol import Evaluation
from tramtrack.training.record import PRETRAINED, Run

RUN_COLUMNS = ["network", "variant", "seed", "weights"]
HISTOGRAM_EDGES = np.linspace(0, 1, 21)
Table = list[dict[str, Any]]


@dataclass(frozen=True)
class Chosen:
    """What validation decided for one run: a threshold for each unit and rule, a recalibration for each unit."""

    thresholds: Mapping[tuple[Unit, Rule], Threshold | Undefined]
    recalibrations: Mapping[Unit, Recalibration | Undefined]

    def threshold(self, unit: Unit, rule: Rule) -> float | Undefined:
        """The threshold's value, or why there is none."""
        found = self.thresholds[unit, rule]
        return found.value if isinstance(found, Threshold) else found

    def probabilities(self, units: Units) -> NDArray[np.float64] | Undefined:
        """The recalibrated probabilities of units, or why there are none."""
        found = self.recalibrations[units.unit]
        return found.probabilities(units.scores) if isinstance(found, Recalibration) else found


@dataclass
class Tables:
    """The rows of each table of results/, by the file's name without its ending."""

    rows: dict[str, Table] = field(default_factory=dict)

    def add(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows to the table ``name``."""
        self.rows.setdefault(name, []).extend(dict(row) for row in rows)

    def table(self, name: str) -> pd.DataFrame:
        """One table; with its columns also where it has no row."""
        columns = COLUMNS[name]
        return pd.DataFrame(self.rows.get(name, []), columns=[*RUN_COLUMNS, *columns])


COLUMNS = {
    "operating_points": ["unit", "fold", "rule", "threshold", "reason"],
    "scores": [
        "fold", "unit", "metric", "estimate", "low", "high", "method", "reason", "n", "positives", "women", "chance",
    ],
    "rules": [
        "fold", "unit", "rule", "threshold", "metric", "estimate", "low", "high", "method", "reason", "n", "positives", "women",
    ],
    "roc": ["fold", "unit", "fpr", "tpr", "threshold"],
    "roc_band": ["fold", "fpr", "tpr", "low", "high"],
    "histogram": ["fold", "unit", "lower", "upper", "positives", "negatives"],
    "calibration": [
        "fold", "unit", "recalibration_intercept", "recalibration_slope", "validation_prevalence", "intercept",
        "intercept_low", "intercept_high", "slope", "slope_low", "slope_high", "reason", "n", "positives", "women",
    ],
    "calibration_curve": ["fold", "unit", "probability", "observed", "low", "high"],
    "calibration_groups": ["fold", "unit", "predicted", "observed", "low", "high", "n", "positives"],
    "decision_curve": ["fold", "prevalence", "stated", "chance", "net_benefit", "low", "high", "all_called"],
    "predictive_values": [
        "fold", "prevalence", "metric", "estimate", "low", "high", "method", "reason", "n", "positives", "women",
    ],
}  # fmt: skip
"""The columns of each table beside RUN_COLUMNS."""


def named(run: Run) -> dict[str, Any]:
    """Network, variant, seed and weights of a run."""
    return {**asdict(run.key), "weights": run.weights}


def resolve_aggregation(runs: Sequence[Run], settings: Evaluation) -> tuple[Aggregation, pd.DataFrame]:
    """The aggregation of the protocol, or the one with the highest mean AUC-ROC by woman on validation, and the means.

    The pretrained runs decide, all runs where none is pretrained; of equals the first in the order of AGGREGATIONS. Where
    validation gives no AUC (one class), it is the maximum, and the table says why.
    """
    deciding = [run for run in runs if run.weights == PRETRAINED] or list(runs)
    rows: list[dict[str, Any]] = []
    for name in AGGREGATIONS:
        aucs, reasons = [], []
        for run in deciding:
            units = units_of(run.predictions(), "validation", "woman", name)
            reason = undefined_reason("auc_roc", units.labels, units.scores, unit="woman")
            if reason is None:
                aucs.append(estimate("auc_roc", units.labels, units.scores))
            else:
                reasons.append(reason)
        mean = math.nan if reasons or not aucs else float(np.mean(aucs))
        rows.append({"aggregation": name, "auc_roc": mean, "runs": len(deciding), "reason": reasons[0] if reasons else ""})
    best = max(rows, key=lambda row: -1.0 if math.isnan(row["auc_roc"]) else round(row["auc_roc"], 12))["aggregation"]
    chosen: Aggregation = best if settings.aggregation == "validation" else settings.aggregation
    by = "validation" if settings.aggregation == "validation" else "protocol"
    return chosen, pd.DataFrame([{**row, "chosen_by": by if row["aggregation"] == chosen else ""} for row in rows])


def choose(validation: Mapping[Unit, Units], settings: Evaluation) -> Chosen:
    """Every threshold and recalibration, from the validation units of one run."""
    rules: tuple[Rule, ...] = get_args(Rule)
    return Chosen(
        {
            (unit, rule): choose_threshold(units, rule, settings.threshold_rate)
            for unit, units in validation.items()
            for rule in rules
        },
        {unit: recalibrate(units) for unit, units in validation.items()},
    )


def units_of(table: pd.DataFrame, fold: str, unit: Unit, aggregation: Aggregation) -> Units:
    """The units of one fold in a predictions table."""
    return predictions_of(table, fold).units(unit, aggregation)


def predictions_of(table: pd.DataFrame, fold: str) -> Predictions:
    """The views of one fold in a predictions table."""
    chosen = table[table["fold"] == fold]
    known = {name: chosen[f"bac_{name}"].fillna(-1).to_numpy(dtype=np.int8) for name in UNITS}
    return Predictions(
        woman=chosen["woman"].to_numpy(dtype=str),
        side=chosen["side"].to_numpy(dtype=str),
        view=chosen["view"].to_numpy(dtype=str),
        score=chosen["score"].to_numpy(dtype=np.float64),
        label_view=known["view"],
        label_breast=known["breast"],
        label_woman=known["woman"],
    )


def choose_all(runs: Sequence[Run], aggregation: Aggregation, settings: Evaluation) -> dict[Path, Chosen]:
    """What validation decides for each run, by the run's folder."""
    found = {}
    for run in runs:
        validation = predictions_of(run.predictions(), "validation")
        found[run.folder] = choose({unit: validation.units(unit, aggregation) for unit in UNITS}, settings)
    return found


def score_runs(
    runs: Sequence[Run],
    predictions: Mapping[Path, pd.DataFrame],
    chosen: Mapping[Path, Chosen],
    aggregation: Aggregation,
    settings: Evaluation,
) -> Tables:
    """Every table that speaks of one run at a time; see COLUMNS."""

    @cache
    def draw(women: int) -> NDArray[np.int32]:
        return resample_women(max(1, women), settings.resamples, np.random.default_rng(settings.seed))

    tables = Tables()
    for run in track(runs, "intervals of each run's scores"):
        decided = chosen[run.folder]
        tables.add("operating_points", _operating_points(run, decided, settings))
        for fold in predictions[run.folder]["fold"].unique():
            views = predictions_of(predictions[run.folder], fold)
            for unit in UNITS:
                units = views.units(unit, aggregation)
                score_units(tables, {**named(run), "fold": fold}, units, decided, draw(units.women), settings)
    return tables


def score_units(
    tables: Tables, where: dict[str, Any], units: Units, decided: Chosen, weights: NDArray[np.int32], settings: Evaluation
) -> None:
    """Add every row about the units of one run and fold."""
    here = {**where, "unit": units.unit}
    likely = decided.probabilities(units)
    cut = decided.threshold(units.unit, settings.threshold)
    options: dict[str, Any] = {"probabilities": likely, "confidence": settings.confidence}
    scores = score_resampled(units, cut, weights, **options)
    tables.add("scores", ({**here, **score_row(score), "chance": getattr(score, "chance", None)} for score in scores.values()))
    for rule in get_args(Rule):
        cut = decided.threshold(units.unit, rule)
        value = {"rule": rule, "threshold": math.nan if isinstance(cut, Undefined) else cut}
        found = score_resampled(units, cut, weights, metrics=COUNT_METRICS, confidence=settings.confidence)
        tables.add("rules", ({**here, **value, **score_row(score)} for score in found.values()))
    curve = roc_curve(units)
    if isinstance(curve, RocCurve):
        corners = zip(curve.fpr, curve.tpr, curve.thresholds, strict=True)
        tables.add("roc", ({**here, "fpr": x, "tpr": y, "threshold": z} for x, y, z in corners))
    tables.add("histogram", _histogram(here, units))
    _calibrate(tables, here, units, decided.recalibrations[units.unit], weights, settings)
    if units.unit == "woman":
        band = roc_band(units, weights, settings.confidence)
        if not isinstance(band, Undefined):
            points = zip(GRID, *band, strict=True)
            tables.add("roc_band", ({**where, **dict(zip(COLUMNS["roc_band"][1:], point, strict=True))} for point in points))
        _decide(tables, where, units, decided, weights, settings)


def _calibrate(
    tables: Tables,
    here: dict[str, Any],
    units: Units,
    fitted: Recalibration | Undefined,
    weights: NDArray[np.int32],
    settings: Evaluation,
) -> None:
    if isinstance(fitted, Undefined):
        tables.add("calibration", [{**here, "reason": f"no recalibration: {fitted.reason} in validation", **units.counts()}])
        return
    row = {
        **here,
        "recalibration_intercept": fitted.intercept,
        "recalibration_slope": fitted.slope,
        "validation_prevalence": fitted.prevalence,
        **units.counts(),
    }
    likely = fitted.probabilities(units.scores)
    found = reliability(units, likely, weights, settings.confidence)
    if isinstance(found, Reliability):
        row |= dict(zip(("intercept_low", "intercept_high"), found.intercept_interval, strict=True))
        row |= dict(zip(("slope_low", "slope_high"), found.slope_interval, strict=True))
        row |= {"intercept": found.intercept, "slope": found.slope, "reason": ""}
        points = zip(found.grid, found.curve, *found.band, strict=True)
        names = ("probability", "observed", "low", "high")
        tables.add("calibration_curve", ({**here, **dict(zip(names, point, strict=True))} for point in points))
    else:
        row["reason"] = found.reason
    tables.add("calibration", [row])
    groups = calibration_groups(units, likely, weights, settings.confidence)
    tables.add("calibration_groups", ({**here, **asdict(group)} for group in groups))


def _decide(
    tables: Tables, where: dict[str, Any], units: Units, decided: Chosen, weights: NDArray[np.int32], settings: Evaluation
) -> None:
    """Decision curves and predictive values of women, at their own prevalence and at the stated one."""
    fitted = decided.recalibrations["woman"]
    for stated in (None, settings.prevalence):
        curve = (
            decision_curve(units, fitted, weights, stated, settings.confidence) if isinstance(fitted, Recalibration) else None
        )
        if isinstance(curve, DecisionCurve):
            named_points = {"chance": curve.chances, "net_benefit": curve.net_benefit, "low": curve.low, "high": curve.high}
            points = pd.DataFrame({**named_points, "all_called": curve.all_called}).to_dict("records")
            about = {**where, "prevalence": curve.prevalence, "stated": "yes" if stated else "no"}
            tables.add("decision_curve", ({**about, **{str(k): v for k, v in point.items()}} for point in points))
    cut = decided.threshold("woman", settings.threshold)
    found = predictive_scores(units, cut, weights, settings.prevalence, settings.confidence)
    tables.add(
        "predictive_values", ({**where, "prevalence": settings.prevalence, **score_row(score)} for score in found.values())
    )


def _operating_points(run: Run, decided: Chosen, settings: Evaluation) -> Table:
    """A row a unit: the threshold by the protocol's rule."""
    rows = []
    for unit in UNITS:
        found = decided.thresholds[unit, settings.threshold]
        value = found.value if isinstance(found, Threshold) else math.nan
        rule = found.rule if isinstance(found, Threshold) else ""
        reason = found.reason if isinstance(found, Undefined) else ""
        rows.append({**named(run), "unit": unit, "fold": "validation", "rule": rule, "threshold": value, "reason": reason})
    return rows


def _histogram(here: dict[str, Any], units: Units) -> Table:
    """How many positives and negatives score in each twentieth of [0, 1]; none where a score is not finite."""
    if not np.isfinite(units.scores).all():
        return []
    positives = np.histogram(units.scores[units.labels], HISTOGRAM_EDGES)[0]
    negatives = np.histogram(units.scores[~units.labels], HISTOGRAM_EDGES)[0]
    bins = zip(HISTOGRAM_EDGES[:-1], HISTOGRAM_EDGES[1:], positives, negatives, strict=True)
    return [{**here, "lower": a, "upper": b, "positives": int(p), "negatives": int(n)} for a, b, p, n in bins]


def score_row(score: Score | Undefined) -> dict[str, Any]:
    """A Score or Undefined as a row: metric, estimate, low, high, method, reason, n, positives, women."""
    row = {"metric": score.metric, "estimate": math.nan, "low": math.nan, "high": math.nan, "method": "", "reason": ""}
    row.update({key: value for key, value in asdict(score).items() if key in (*row, "n", "positives", "women")})
    return row
