"""The burden of a study: every run's heat maps as sources, and the tables that all sources are joined in.

Writes results/burden.csv (a row a view and source), burden_agreement.csv, burden_bands.csv and women_burden.csv. What was made
of one source is kept in results/burden/<source>/, so that an interrupted command goes on at the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tramtrack import store
from tramtrack.errors import TramtrackError
from tramtrack.explain.atlas import Atlas, make_heatmaps
from tramtrack.explain.burden import Calibration, load_calibration
from tramtrack.explain.burden_source import Source, measure_source, read_measured
from tramtrack.explain.burden_truth import truths
from tramtrack.imaging.gallery import load_geometry, prepare_views
from tramtrack.imaging.geometry import Geometry
from tramtrack.judgement.burden import agreement_table, band_table, by_woman, missing_views
from tramtrack.judgement.burden_cost import cost_table
from tramtrack.judgement.burden_women import women_table
from tramtrack.judgement.results import name_of
from tramtrack.progress import announce
from tramtrack.protocol import Prepare, Protocol
from tramtrack.training.record import Run

MEASURED = ("validation", "test")
"""Folds whose burden is measured: no network was trained on their views."""
VIEWS_AT_ONCE = 256
"""Views whose maps are made and kept together; what a kill loses at most."""


@dataclass(frozen=True)
class BurdenTables:
    """The tables of results/: ``views`` is burden.csv, ``agreement`` burden_agreement.csv, ``bands`` burden_bands.csv,
    ``women`` women_burden.csv, ``cost`` burden_cost.csv; docs/reference/files.md has their columns. ``unmeasured``: sources
    without numbers, and why."""

    views: pd.DataFrame
    agreement: pd.DataFrame
    bands: pd.DataFrame
    women: pd.DataFrame
    cost: pd.DataFrame
    unmeasured: Mapping[str, str]

    def __repr__(self) -> str:
        sources = ", ".join(self.views["source"].unique())
        return f"BurdenTables({len(self.views)} rows of {self.views['view_id'].nunique()} views; {sources})"


def burden_views(
    views: pd.DataFrame, others: pd.DataFrame, geometry: Mapping[str, Geometry], unsealed: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The views whose burden is measured, and the truth of each, see `truths`; the same for every source.

    ``views`` are those of the study's folds, ``others`` those of the same women's other exams (with fold and file). Test views
    are among them once the fold is unsealed.
    """
    folds = MEASURED if unsealed else MEASURED[:1]
    both = pd.concat((views.assign(analysed="yes"), others.assign(analysed="no")), ignore_index=True)
    chosen = both[both["fold"].isin(folds)].reset_index(drop=True)
    return chosen, truths(chosen, geometry)


def prepare_others(views: pd.DataFrame, folder: Path, settings: Prepare) -> tuple[pd.DataFrame, dict[str, Geometry]]:
    """The ``views`` of exams that are not analysed with their prepared files in ``folder``, and their Geometry.

    Where one cannot be prepared it is told of, and all are left out: nothing else depends on them.
    """
    if views.empty:
        return views, {}
    listed = store.text_sha256("\n".join(views["view_id"] + " " + views["sha256"]))
    identity = {"prepare": settings.model_dump(mode="json"), "views": listed}
    try:
        prepare_views([{str(key): row[key] for key in row} for row in views.to_dict("records")], folder, settings, identity)
    except TramtrackError as error:
        announce(f"{error}; the burden of women goes without their other exams")
        return views.iloc[:0], {}
    files = [folder / f"{view_id}.png" for view_id in views["view_id"]]
    return views.assign(original=views["file"], file=files), load_geometry(folder)


def measure_runs(
    runs: Sequence[Run],
    protocol: Protocol,
    views: pd.DataFrame,
    geometry: Mapping[str, Geometry],
    truth: pd.DataFrame,
    study: Path,
    device: str = "auto",
) -> dict[str, str]:
    """Measure the heat maps of each run, see `measure_source`; returns why there are no numbers of a run, by its name.

    Maps that lack are made into heatmaps/<run>/, where those of the test views lie already.
    """
    analysed = views[views["analysed"] == "yes"]
    validation = [Path(file) for file in analysed.loc[analysed["fold"] == "validation", "file"]]
    files = {str(row["view_id"]): Path(row["file"]) for row in views.to_dict("records")}
    failed = {}
    for run in runs:
        folder = run.key.folder(study / "heatmaps")
        try:
            for start in range(0, len(files), VIEWS_AT_ONCE):
                part = dict(list(files.items())[start : start + VIEWS_AT_ONCE])
                atlas = make_heatmaps(run, protocol, part, validation, folder, device, "heat maps for burden")
            measure_source(source_of(run, atlas, protocol), views, geometry, truth, protocol, study / "results")
        except TramtrackError as error:
            announce(f"{error}; the other networks go on")
            failed[name_of(run)] = str(error)
    return failed


def source_of(run: Run, atlas: Atlas, protocol: Protocol) -> Source:
    """A run's heat maps as a source of burden; the display scale stands for a probability of 1."""
    place = {view_id: number for number, view_id in enumerate(atlas.view_ids)}
    settings = protocol.explain
    return Source(
        name=name_of(run),
        kind="heat map",
        identity={
            "weights": str(run.information["weights_file_sha256"]),
            "method": settings.method,
            "layer": settings.layer,
            "scale": atlas.scale,
        },
        map_of=lambda view_id: atlas.maps[place[view_id]],
        strongest=atlas.scale,
        score_of=lambda view_id: float(1 / (1 + np.exp(-np.float64(atlas.logits[place[view_id]])))),
    )


def write_burden(
    results: Path, protocol: Protocol, views: pd.DataFrame, unmeasured: Mapping[str, str] | None = None
) -> BurdenTables:
    """Join what was measured of every source in ``results``/burden/ into the five tables, and write them.

    ``views`` are those of `burden_views`. Sources that were measured on other views are left out, and told of. Raises
    TramtrackError where no source is left.
    """
    tables, calibrations, left_out = [], {}, dict(unmeasured or {})
    for path in sorted((results / "burden").glob("**/views.csv")):
        name = path.parent.relative_to(results / "burden").as_posix()
        calibration = load_calibration(results, name)
        table = read_measured(path)
        if name in left_out or calibration is None:
            continue
        if set(table["view_id"]) != set(views["view_id"]):
            left_out[name] = "measured on other views than the study has now; measure it again"
            continue
        tables.append(table)
        calibrations[name] = calibration
    if not tables:
        why = "; ".join(dict.fromkeys(left_out.values())) or "no source of maps was measured"
        raise TramtrackError(f"{results.parent}: no burden. {why}")
    joined = pd.concat(tables, ignore_index=True)
    return _write(results, protocol, joined, views, calibrations, left_out)


def _write(
    results: Path,
    protocol: Protocol,
    joined: pd.DataFrame,
    views: pd.DataFrame,
    calibrations: Mapping[str, Calibration],
    left_out: Mapping[str, str],
) -> BurdenTables:
    about = views.drop_duplicates(["woman", "exam"]).set_index(["woman", "exam"])
    women = by_woman(joined, protocol.burden, about["age_years"].astype("float64"), missing_views(views))
    found = BurdenTables(
        joined,
        agreement_table(joined, women, protocol.evaluation),
        band_table(women),
        women_table(women, calibrations, about["acquired"], protocol.burden),
        cost_table(joined, women, protocol.evaluation),
        left_out,
    )
    store.write_csv(results / "burden.csv", found.views)
    store.write_csv(results / "burden_agreement.csv", found.agreement)
    store.write_csv(results / "burden_bands.csv", found.bands)
    store.write_csv(results / "women_burden.csv", found.women)
    store.write_csv(results / "burden_cost.csv", found.cost)
    return found
