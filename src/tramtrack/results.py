"""From finished runs to tables: thresholds from validation, scores with intervals, comparisons, claims, resources."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tramtrack import sealing, store
from tramtrack.evaluation.aggregate import UNITS, Predictions, Unit, Units
from tramtrack.evaluation.claims import Claim, claims, overall
from tramtrack.evaluation.comparisons import Comparison, Untested, compare, groups
from tramtrack.evaluation.curves import RocCurve, roc_curve
from tramtrack.evaluation.intervals import score_all
from tramtrack.evaluation.scores import Undefined, estimate, undefined_reason
from tramtrack.evaluation.threshold import Threshold, choose_threshold
from tramtrack.network.registry import title
from tramtrack.protocol import Evaluation, Protocol
from tramtrack.training.record import PRETRAINED, Run

SEALED_FOLDS = ("training", "validation")
RUN_COLUMNS = ["network", "variant", "seed", "weights"]


@dataclass(frozen=True)
class Claims:
    """claims.csv as ``table``, and the verdict on all networks; printing it shows the sentences."""

    table: pd.DataFrame
    verdict: str

    def __repr__(self) -> str:
        return "\n".join([self.verdict, *(f"- {sentence}" for sentence in self.table["sentence"])])


@dataclass(frozen=True)
class Results:
    """The tables of an evaluation, as written below results/; printing it shows the scores by woman.

    ``runs`` maps each evaluated run (<network>/<variant>/seed-<k>) to the hash of its weights file. ``comparisons`` and
    ``claims`` are of the test fold once it is unsealed, of the validation fold before.
    """

    folder: Path
    scores: pd.DataFrame
    comparisons: pd.DataFrame
    claims: pd.DataFrame
    verdict: str
    unsealed: bool
    runs: dict[str, str]

    def carried(self) -> Claims:
        """The sentences that the comparisons carry."""
        return Claims(self.claims, self.verdict)

    def table(self, unit: str = "woman", fold: str | None = None) -> pd.DataFrame:
        """One row a run: each metric as "estimate (low to high)", or why it is undefined."""
        fold = fold or ("test" if self.unsealed else "validation")
        chosen = self.scores[(self.scores["unit"] == unit) & (self.scores["fold"] == fold)]
        rows = []
        for keys, group in chosen.groupby(RUN_COLUMNS, sort=False):
            cells = {row["metric"]: score_text(row) for row in group.to_dict("records")}
            rows.append({**dict(zip(RUN_COLUMNS, keys, strict=True)), **cells})
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        return f"{self.table().to_string(index=False)}\n{self.verdict}"


def score_text(row: Mapping[str, Any]) -> str:
    """A row of scores.csv as it is read: "0.81 (0.70 to 0.89)", or "undefined: reason"."""
    if not _is_number(row["estimate"]):
        return f"undefined: {row['reason']}"
    return f"{row['estimate']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


def evaluate(
    runs: Sequence[Run],
    protocol: Protocol,
    folder: Path,
    *,
    score_test: Callable[[Run, Path], pd.DataFrame] | None = None,
    left_out: Mapping[str, str] | None = None,
    synthetic: bool = False,
) -> Results:
    """Score finished runs and write the tables into ``folder``.

    ``score_test`` (None keeps the test fold sealed) gives a run's test predictions and keeps them at the path; the look is
    logged before it is called. ``left_out`` names networks that could not take part, with the reason.
    """
    settings = protocol.evaluation
    sealed = {run.folder: run.predictions() for run in runs}
    thresholds = {
        run.folder: {
            unit: choose_threshold(_units(sealed[run.folder], "validation", unit, settings), settings.threshold)
            for unit in UNITS
        }
        for run in runs
    }
    predictions = sealed
    if score_test is not None:
        sealing.log_look(folder / "unsealed.jsonl", _look(runs, protocol, thresholds))
        predictions = {
            run.folder: pd.concat((sealed[run.folder], score_test(run, test_file(folder, run))), ignore_index=True)
            for run in runs
        }
    (folder / "summary.json").unlink(missing_ok=True)  # it comes back last: without it nothing here counts as evaluated
    store.write_csv(folder / "predictions.csv", _stack(runs, predictions))
    store.write_csv(folder / "operating_points.csv", _operating_points(runs, thresholds))
    scores, curves = _score(runs, predictions, thresholds, settings)
    store.write_csv(folder / "scores.csv", scores)
    store.write_csv(folder / "roc.csv", curves)
    fold = "test" if score_test is not None else "validation"
    compared, made, verdict = _compare(runs, predictions, settings, fold, left_out or {})
    store.write_csv(folder / "comparisons.csv", compared)
    store.write_csv(folder / "claims.csv", made)
    store.write_csv(folder / "resources.csv", resources(runs))
    store.write_json(
        folder / "summary.json",
        {
            "fold": fold,
            "unsealed": score_test is not None,
            "synthetic": synthetic,
            "verdict": verdict,
            "groups": [list(group) for group in _groups(compared)],
            "left_out": dict(left_out or {}),
            "protocol": protocol.sha256,
            "runs": hashes_of(runs),
        },
    )
    return Results(folder, scores, compared, made, verdict, score_test is not None, hashes_of(runs))


def load_results(folder: Path) -> Results | None:
    """The tables of an earlier evaluation, or None."""
    if not (folder / "summary.json").exists():
        return None
    summary = store.read_json(folder / "summary.json")
    scores, compared, made = (pd.read_csv(folder / f"{name}.csv") for name in ("scores", "comparisons", "claims"))
    return Results(folder, scores, compared, made, summary["verdict"], summary["unsealed"], summary["runs"])


def resources(runs: Sequence[Run]) -> pd.DataFrame:
    """What each network cost, one row a run, from the registry and from what the run measured."""
    rows = []
    for run in runs:
        known, measured = run.facts, run.information
        rows.append(
            {
                **_named(run),
                "depth": (known and known.depth) or None,
                "weight_layers": (known and known.weight_layers) or None,
                "parameters": measured["parameters"]["base"],
                "trained_in_base": measured["parameters"]["base_trained"],
                "head": measured["parameters"]["head"],
                "multiply_adds": measured["multiply_adds"],
                "seconds_an_epoch_uncached": measured["seconds_an_epoch_uncached"],
                "seconds_an_epoch_cached": measured["seconds_an_epoch_cached"],
                "milliseconds_a_view": measured["milliseconds_a_view"],
                "peak_memory_mb": measured["peak_memory_mb"],
                "epochs": measured["epochs"],
                "best_epoch": measured["best_epoch"],
                "dtype": run.identity["dtype"],
            }
        )
    return pd.DataFrame(rows)


def _named(run: Run) -> dict[str, Any]:
    return {**asdict(run.key), "weights": run.weights}


def name_of(run: Run) -> str:
    """<network>/<variant>/seed-<k>, as below runs/."""
    return run.key.folder(Path()).as_posix()


def hashes_of(runs: Sequence[Run]) -> dict[str, str]:
    """The hash of each run's weights file, by its name."""
    return {name_of(run): str(run.information["weights_file_sha256"]) for run in runs}


def validation_auc(run: Run, settings: Evaluation) -> float | None:
    """AUC-ROC by woman on the validation fold, or None where it is undefined."""
    units = _units(run.predictions(), "validation", "woman", settings)
    if undefined_reason("auc_roc", units.labels, units.scores) is not None:
        return None
    return estimate("auc_roc", units.labels, units.scores)


def test_file(folder: Path, run: Run) -> Path:
    """Where an evaluation in ``folder`` keeps a run's test scores."""
    return run.key.folder(folder / "test") / "predictions.csv"


def _units(table: pd.DataFrame, fold: str, unit: Unit, settings: Evaluation) -> Units:
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
    ).units(unit, settings.aggregation)


def _look(runs: Sequence[Run], protocol: Protocol, thresholds: Mapping[Path, Mapping[Unit, Any]]) -> dict[str, Any]:
    return {
        "protocol": protocol.sha256,
        "runs": [_named(run) for run in runs],
        "thresholds": [
            {**_named(run), **{unit: getattr(found, "value", None) for unit, found in thresholds[run.folder].items()}}
            for run in runs
        ],
    }


def _stack(runs: Sequence[Run], predictions: Mapping[Path, pd.DataFrame]) -> pd.DataFrame:
    tables = [pd.DataFrame([_named(run)]).merge(predictions[run.folder], how="cross") for run in runs]
    return pd.concat(tables, ignore_index=True)


def _operating_points(runs: Sequence[Run], thresholds: Mapping[Path, Mapping[Unit, Threshold | Undefined]]) -> pd.DataFrame:
    rows = []
    for run in runs:
        for unit, found in thresholds[run.folder].items():
            known = isinstance(found, Threshold)
            rows.append(
                {
                    **_named(run),
                    "unit": unit,
                    "fold": "validation",
                    "rule": found.rule if isinstance(found, Threshold) else "",
                    "threshold": found.value if isinstance(found, Threshold) else math.nan,
                    "reason": "" if known else getattr(found, "reason", ""),
                }
            )
    return pd.DataFrame(rows)


def _score(
    runs: Sequence[Run],
    predictions: Mapping[Path, pd.DataFrame],
    thresholds: Mapping[Path, Mapping[Unit, Threshold | Undefined]],
    settings: Evaluation,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """scores.csv (a row for each run, fold, unit and metric) and roc.csv (the corners of each curve)."""
    rows: list[dict[str, Any]] = []
    corners: list[pd.DataFrame] = []
    for run in runs:
        table = predictions[run.folder]
        for fold in table["fold"].unique():
            for unit in UNITS:
                units = _units(table, fold, unit, settings)
                cut = thresholds[run.folder][unit]
                where = {**_named(run), "fold": fold, "unit": unit}
                found = score_all(
                    units,
                    cut.value if isinstance(cut, Threshold) else cut,
                    generator=np.random.default_rng(settings.seed),
                    resamples=settings.resamples,
                    confidence=settings.confidence,
                )
                rows.extend({**where, **_score_row(score)} for score in found.values())
                curve = roc_curve(units)
                if isinstance(curve, RocCurve):
                    corners.append(pd.DataFrame({**where, "fpr": curve.fpr, "tpr": curve.tpr, "threshold": curve.thresholds}))
    columns = [*RUN_COLUMNS, "fold", "unit", "fpr", "tpr", "threshold"]
    return pd.DataFrame(rows), pd.concat(corners, ignore_index=True) if corners else pd.DataFrame(columns=columns)


def _score_row(score: Any) -> dict[str, Any]:
    row = {"metric": score.metric, "estimate": math.nan, "low": math.nan, "high": math.nan, "method": "", "reason": ""}
    row.update({key: value for key, value in asdict(score).items() if key in (*row, "n", "positives", "women")})
    return row


def _compare(
    runs: Sequence[Run], predictions: Mapping[Path, pd.DataFrame], settings: Evaluation, fold: str, left_out: Mapping[str, str]
) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """The primary comparison, AUC-ROC by woman: a network's seeds together, on the same women for all networks."""
    scores: dict[str, list[np.ndarray]] = {}
    unranked = {name: reason.partition(". ")[0] for name, reason in left_out.items()}
    reference: Units | None = None
    for run in runs:
        if run.weights != PRETRAINED:
            unranked[run.key.network] = "random weights; never ranked beside pretrained ones"
            continue
        units = _units(predictions[run.folder], fold, "woman", settings)
        reference = reference or units
        scores.setdefault(run.key.network, []).append(units.scores)
    ranked = {name: reason for name, reason in unranked.items() if name not in scores}
    names = {name: title(name) for name in (*scores, *ranked)}
    compared: list[Comparison | Untested] = []
    if reference is not None:
        compared = compare(
            {name: np.stack(values) for name, values in scores.items()},
            reference.labels,
            reference.woman,
            unit="woman",
            generator=np.random.default_rng(settings.seed),
            resamples=settings.resamples,
            confidence=settings.confidence,
        )
    made = claims(compared, fold=fold, unranked=ranked, names=names)
    verdict = overall(compared, fold=fold, unranked=ranked, names=names)
    columns = list(dict.fromkeys(field.name for kind in (Comparison, Untested) for field in fields(kind)))
    table = pd.DataFrame([asdict(item) for item in compared], columns=columns)
    return (
        table.assign(fold=fold),
        pd.DataFrame([asdict(claim) for claim in made], columns=[f.name for f in fields(Claim)]),
        verdict,
    )


def _groups(table: pd.DataFrame) -> list[tuple[str, ...]]:
    """Groups of networks that cannot be separated, from comparisons.csv as it stands."""
    rows = [
        Comparison(**{field.name: row[field.name] for field in fields(Comparison)})
        for row in table.to_dict("records")
        if not pd.isna(row["difference"])
    ]
    return groups(rows)


def _is_number(value: Any) -> bool:
    return value is not None and not math.isnan(float(value))
