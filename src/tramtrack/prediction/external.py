"""Runs on a site's own labelled exams: the full evaluation for the site, and the numbers that it may send back.

In ``<study>/external/<hash of the weights>/``: prepared views, each run's predictions.csv, and tables as in results/, whose
fold is called external. Nothing of the runs is chosen anew: thresholds, recalibration and aggregation are those that they
came with.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from tramtrack import store
from tramtrack.cohort.cohort import analysed_views, load_cohort, require_same_intake
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.evaluation.aggregate import UNITS, Units
from tramtrack.evaluation.intervals import standard_error
from tramtrack.evaluation.resampling import resample_women, resampled
from tramtrack.evaluation.scores import COUNT_METRICS, Undefined, confusion
from tramtrack.imaging.gallery import prepare_views
from tramtrack.judgement.results import name_of
from tramtrack.judgement.scoring import COLUMNS, Tables, predictions_of, score_units
from tramtrack.judgement.subgroups import BASELINES, subgroup_table
from tramtrack.prediction.panel import Panel
from tramtrack.prediction.site_file import FEWEST, LONGEST_NAME, Figure, SiteNumbers, UnitFigures, suppressed
from tramtrack.protocol import Prepare
from tramtrack.training.rebuild import predict_views
from tramtrack.training.record import Run, read_predictions, write_predictions

FOLD = "external"


def external_folder(panel: Panel, study: Path) -> Path:
    """Where the validation of these runs on a study's women is kept."""
    weights = " ".join(run.information["weights_file_sha256"] for run in panel.runs)
    return study / FOLD / store.text_sha256(weights)[:12]


def validate(
    panel: Panel, study: Path, site: str, device: str = "auto", processes: int = 2
) -> tuple[SiteNumbers, pd.DataFrame]:
    """Score every labelled woman of ``study`` (ingested, with labels; no split is needed) and write the evaluation.

    Views and predictions that are there already are kept, so it goes on where it stopped. Returns what the site may send back
    under the name ``site``, and scores.csv. Raises UsageError for a name that the file cannot have, TramtrackError where no
    woman has a label, the cohort was ingested under other settings than the runs', or women or images of it took part in the
    runs' study.
    """
    if not 0 < len(site) <= LONGEST_NAME:
        raise UsageError(f"--site: expected a name of 1 to {LONGEST_NAME} characters, received {len(site)}")
    views = _views(panel, study)
    folder = external_folder(panel, study)
    prepared = _prepared(views, folder / "prepared", panel.protocols[0].prepare, processes)
    table = _scored(panel, views, folder, prepared, device)
    predictions = predictions_of(table, FOLD)
    settings, tables = panel.protocol.evaluation, Tables()
    together = {
        "network": " + ".join(dict.fromkeys(run.key.network for run in panel.runs)),
        "variant": " + ".join(dict.fromkeys(run.key.variant for run in panel.runs)),
        "seed": " + ".join(str(run.key.seed) for run in panel.runs),
        "weights": " + ".join(dict.fromkeys(run.weights for run in panel.runs)),
    }
    where = {**together, "fold": FOLD}
    units = {unit: predictions.units(unit, panel.aggregation) for unit in UNITS}
    for of_unit in units.values():
        draws = resample_women(max(1, of_unit.women), settings.resamples, np.random.default_rng(settings.seed))
        score_units(tables, where, of_unit, panel.chosen, draws, settings)
    for name in COLUMNS:
        if name != "operating_points":
            store.write_csv(folder / f"{name}.csv", tables.table(name))
    store.write_csv(folder / "subgroups.csv", subgroups(Run(folder, together, {}), table, views, panel))
    scores = tables.table("scores")
    makers = views.drop_duplicates("woman")["manufacturer"].replace("", "not named").value_counts()
    numbers = SiteNumbers(
        tramtrack=version("tramtrack"),
        site=site,
        weights=tuple(run.information["weights_file_sha256"] for run in panel.runs),
        protocol=panel.protocol.sha256,
        synthetic=bool((views["synthetic"] == "yes").any()),
        units={unit: _figures(panel, units[unit], scores[scores["unit"] == unit]) for unit in UNITS},
        vendors=suppressed({str(name): int(count) for name, count in makers.items()}),
    )
    return numbers, scores


def subgroups(together: Run, table: pd.DataFrame, views: pd.DataFrame, panel: Panel) -> pd.DataFrame:
    """AUC-ROC of the runs ``together``, whose scores ``table`` has, by age, vendor, density and projection, beside age alone.

    What vendor alone would reach is left out: how often women of a vendor have BAC, only a training fold could tell.
    """
    found = subgroup_table(
        [together],
        {together.folder: table},
        views.assign(fold=FOLD),
        panel.aggregation,
        panel.protocol.evaluation,
        FOLD,
    )
    return found[found["network"] != BASELINES["vendor"]]


def _views(panel: Panel, study: Path) -> pd.DataFrame:
    """The views of the analysed exam of every woman whose label is known."""
    cohort = load_cohort(study / "cohort")
    if not cohort.labelled:
        raise TramtrackError(f"{study}: the cohort has no labels to validate by; run `tramtrack ingest` with --labels")
    require_same_intake(study / "cohort", panel.protocol.intake)
    views = analysed_views(cohort.views, panel.protocol.intake)
    known = set(views.loc[views["bac_woman"].notna(), "woman"])
    views = views[views["woman"].isin(known)].reset_index(drop=True)
    known_women, known_pixels = (set(named) | panel.seen.tested for named in (panel.seen.women, panel.seen.pixels))
    seen = views["woman"].isin(known_women) | views["pixels_sha256"].isin(known_pixels)
    if seen.any():
        women = views.loc[seen, "woman"].nunique()
        raise TramtrackError(f"{study}: {women} of its women took part in the runs' own study; expected exams of another site")
    if views.empty:
        raise TramtrackError(f"{study}: of no woman is it known whether she has BAC")
    return views


def _prepared(views: pd.DataFrame, folder: Path, settings: Prepare, processes: int) -> pd.DataFrame:
    shown = store.text_sha256("\n".join(views["view_id"] + " " + views["sha256"]))
    identity = {"prepare": settings.model_dump(mode="json"), "views": shown}
    return prepare_views(views.to_dict("records"), folder, settings, identity, processes)


def _scored(panel: Panel, views: pd.DataFrame, folder: Path, prepared: pd.DataFrame, device: str) -> pd.DataFrame:
    """The views with the mean of the runs' scores."""
    files = [folder / "prepared" / f"{view_id}.png" for view_id in views["view_id"]]
    shown = store.text_sha256("\n".join(prepared["sha256"]))
    labels = store.text_sha256(store.csv_text(views[["view_id", "bac_view", "bac_breast", "bac_woman"]]))
    advice = "remove this folder to validate anew"
    tables = []
    for run, protocol in zip(panel.runs, panel.protocols, strict=True):
        path = folder / "runs" / name_of(run) / "predictions.csv"
        identity = {"weights": run.information["weights_file_sha256"], "prepared": shown, "labels": labels}
        if not store.require_same_identity(path.parent / "manifest.json", identity, advice):
            what = f"{run.key.network}: seed {run.key.seed}, views of this site"
            write_predictions(path, views.assign(fold=FOLD), predict_views(run, protocol, files, what, device))
            store.write_manifest(path.parent / "manifest.json", identity, {"views": len(views)})
        tables.append(read_predictions(path))
    return tables[0].assign(score=sum(table["score"] for table in tables) / len(tables))


def _figures(panel: Panel, units: Units, scores: pd.DataFrame) -> UnitFigures:
    """The metrics of one unit; what rests on few women is left out, with every metric that would give it away."""
    settings = panel.protocol.evaluation
    cut = panel.chosen.threshold(units.unit, settings.threshold)
    threshold = None if isinstance(cut, Undefined) else cut
    positives = int(units.labels.sum())
    negatives = len(units) - positives
    few = min(_women(units, units.labels), _women(units, ~units.labels)) < FEWEST
    hidden = set(scores["metric"]) if few else set()
    cells: dict[str, int | None] = dict.fromkeys(("true_positives", "false_negatives", "false_positives", "true_negatives"))
    if threshold is not None and not few:
        hit, false, missed, right = confusion(units.labels, units.scores, threshold).sum(axis=0).tolist()
        called = units.scores >= threshold
        behind = {
            "true_positives": _women(units, units.labels & called),
            "false_negatives": _women(units, units.labels & ~called),
            "false_positives": _women(units, ~units.labels & called),
            "true_negatives": _women(units, ~units.labels & ~called),
        }
        with_bac = suppressed({"true_positives": hit, "false_negatives": missed}, behind)
        without = suppressed({"false_positives": false, "true_negatives": right}, behind)
        cells |= with_bac | without
        hidden |= {"sensitivity"} if None in with_bac.values() else set()
        hidden |= {"specificity"} if None in without.values() else set()
        hidden |= set(COUNT_METRICS) - {"sensitivity", "specificity"} if None in cells.values() else set()
    return UnitFigures(
        positives=None if few else positives,
        negatives=None if few else negatives,
        women=None if few else units.women,
        **cells,
        threshold=threshold,
        figures={str(row["metric"]): _figure(row, hidden) for row in scores.to_dict("records")},
        auc_error=None if few else _auc_error(panel, units),
    )


def _women(units: Units, chosen: np.ndarray) -> int:
    """How many women the chosen units are of: eight views may be of two women."""
    return len(np.unique(units.woman[chosen]))


def _figure(row: dict[object, object], hidden: set[str]) -> Figure:
    if row["metric"] in hidden:
        return Figure(estimate=None, low=None, high=None, reason=f"left out: it rests on fewer than {FEWEST} women")
    if row["reason"]:
        return Figure(estimate=None, low=None, high=None, reason=str(row["reason"]))
    return Figure.model_validate({**{name: row[name] for name in ("estimate", "low", "high")}, "reason": ""})


def _auc_error(panel: Panel, units: Units) -> float:
    settings = panel.protocol.evaluation
    woman = np.unique(units.woman, return_inverse=True)[1]
    draws = resample_women(units.women, settings.resamples, np.random.default_rng(settings.seed))
    values = resampled("auc_roc", units.labels, units.scores, woman, draws)
    return standard_error(values[np.isfinite(values)])
