"""The heat maps of a study: which views, under which networks, with which outlines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pandas as pd

from tramtrack import store
from tramtrack.evaluation.aggregate import UNITS
from tramtrack.explain.atlas import make_heatmaps
from tramtrack.explain.choice import call, choose_views
from tramtrack.explain.masks import MaskError
from tramtrack.explain.overlay import prepared_mask, save_overlay
from tramtrack.imaging.geometry import Geometry
from tramtrack.progress import announce
from tramtrack.protocol import Protocol
from tramtrack.training.record import Run, read_predictions

COLUMNS = ["view_id", "network", "variant", "seed", "unit", "bac", "score", "threshold", "call", "because"]


def explain_runs(
    runs: Sequence[Run],
    protocol: Protocol,
    views: pd.DataFrame,
    geometry: Mapping[str, Geometry],
    study: Path,
    device: str = "auto",
) -> Path:
    """The maps of each network's first seed on the chosen test views, into heatmaps/<network>/<variant>/seed-<k>/.

    Where the pass that scored the test views has left their maps there, these are taken. A mask that does not fit its view is
    told of, and its outline left out. Takes the runs of the last evaluation whose test predictions are there. Hits, misses
    and false alarms are those of the finest unit with labels and a threshold for every network: the view, else its breast,
    else its woman. Writes views.csv: view_id, network, variant, seed, unit, bac (the unit's label), score (the view's),
    threshold, call, because. Returns the folder.
    """
    folder = study / "heatmaps"
    points = pd.read_csv(study / "results" / "operating_points.csv")
    shown: dict[str, Run] = {}
    scored: dict[str, pd.DataFrame] = {}
    for run in runs:
        path = run.key.folder(study / "results" / "test") / "predictions.csv"
        if path.exists() and _name(run) not in shown and len(_rows(points, run)):
            shown[_name(run)], scored[_name(run)] = run, read_predictions(path)
    unit, thresholds = _finest_unit(points, shown)
    label = f"bac_{unit}"
    stacked = [table.assign(network=name, bac=table[label]) for name, table in scored.items()]
    chosen = choose_views(pd.concat(stacked), thresholds, protocol.explain.views_of_each_kind) if thresholds else []
    files = dict(zip(views["view_id"], views["file"], strict=True))
    masks = dict(zip(views["view_id"], views["mask"], strict=True))
    validation = list(views.loc[views["fold"] == "validation", "file"])
    wanted = {view.view_id: files[view.view_id] for view in chosen}
    outlines = {view_id: outline_of(masks[view_id], geometry[view_id]) for view_id in wanted}
    rows = []
    for name, run in shown.items() if chosen else ():
        place = run.key.folder(folder)
        atlas = make_heatmaps(run, protocol, wanted, validation, place, device)
        scores = scored[name].set_index("view_id")
        for view in chosen:
            score, bac = float(scores.loc[view.view_id, "score"]), int(scores.loc[view.view_id, label])
            picture = place / f"{view.view_id}.png"
            if not picture.exists():
                save_overlay(picture, wanted[view.view_id], atlas[view.view_id], atlas.scale, outlines[view.view_id])
            verdict, why = call(score, bac, thresholds[name]), "; ".join(view.because)
            rows.append((view.view_id, *astuple(run.key), unit, bac, score, thresholds[name], verdict, why))
    store.write_csv(folder / "views.csv", pd.DataFrame(rows, columns=COLUMNS))
    return folder


def outline_of(mask: str, geometry: Geometry) -> np.ndarray | None:
    """The mask on the prepared grid, bool (rows, columns); None where there is none, or it does not fit, which is said."""
    try:
        return prepared_mask(Path(mask), geometry) if mask else None
    except MaskError as error:
        announce(f"{error}; the view goes without its mask")
        return None


def _finest_unit(points: pd.DataFrame, shown: Mapping[str, Run]) -> tuple[str, dict[str, float]]:
    """The finest unit at which every shown network has a threshold, and those thresholds; no thresholds where none has."""
    for unit in UNITS:
        found = {name: _rows(points[points["unit"] == unit], run)["threshold"].dropna() for name, run in shown.items()}
        if found and all(len(values) for values in found.values()):
            return unit, {name: float(values.iloc[0]) for name, values in found.items()}
    return "view", {}


def _name(run: Run) -> str:
    return run.key.network if run.weights == "pretrained" else f"{run.key.network} (random weights)"


def _rows(points: pd.DataFrame, run: Run) -> pd.DataFrame:
    key = run.key
    return points[(points["network"] == key.network) & (points["variant"] == key.variant) & (points["seed"] == key.seed)]
