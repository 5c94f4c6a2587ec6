"""The heat maps of a study: which views, under which networks, with which outlines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pandas as pd

from tramtrack import store
from tramtrack.evaluation.aggregate import UNITS
from tramtrack.explain.atlas import Atlas, require_some, try_heatmaps
from tramtrack.explain.burden_source import Source
from tramtrack.explain.choice import Chosen, call, choose_views
from tramtrack.explain.masks import MaskError
from tramtrack.explain.measure import RANDOM, map_stride, measure_maps
from tramtrack.explain.overlay import MATCHED_PICTURE, prepared_mask, save_overlay
from tramtrack.explain.place import block_average
from tramtrack.imaging.geometry import Geometry
from tramtrack.judgement.results import names_of, test_file
from tramtrack.progress import announce
from tramtrack.protocol import Protocol
from tramtrack.training.record import PRETRAINED, Run, read_predictions

COLUMNS = ["view_id", "network", "variant", "seed", "unit", "bac", "score", "threshold", "call", "because"]


def explain_runs(
    runs: Sequence[Run],
    protocol: Protocol,
    views: pd.DataFrame,
    geometry: Mapping[str, Geometry],
    study: Path,
    device: str = "auto",
    beside: Sequence[Source] = (),
    at_16: Sequence[tuple[Run, Protocol]] = (),
) -> Path:
    """The maps of each network's first seed on the chosen test views, into heatmaps/<network>/<variant>/seed-<k>/.

    Where the pass that scored the test views has left their maps there, these are taken. A mask that does not fit its view is
    told of, and its outline left out. Takes the runs of the last evaluation whose test predictions are there. Hits, misses
    and false alarms are those of the finest unit with labels and a threshold for every network: the view, else its breast,
    else its woman. Writes views.csv: view_id, network, variant, seed, unit, bac (the unit's label), score (the view's),
    threshold, call, because. Where test views have masks, the maps of all runs are measured against them, and those of
    ``beside``, see `measure_maps`; ``at_16`` has runs of the same networks that were trained at stride 16, each with the
    protocol that it was trained under. A network that cannot have a map of the protocol's kind (no layer of that name or
    stride) is told of, and the others go on.
    Returns the folder. Raises UsageError where no network can have one.
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
    validation = list(views.loc[views["fold"] == "validation", "file"])
    test = views[views["fold"] == "test"]
    masks = masks_of(test, geometry)
    wanted = {view_id: files[view_id] for view_id in dict.fromkeys([*(view.view_id for view in chosen), *masks])}
    named: dict[str, list[tuple[Run, Atlas]]] = {}
    pictured: list[tuple[Path, Atlas]] = []
    rows: list[tuple[object, ...]] = []
    failed: dict[str, str] = {}
    for run, contestant in zip(runs, names_of(runs), strict=True) if wanted else ():
        name = _name(run)
        is_shown = shown.get(name) is run
        if not is_shown and not (masks and test_file(study / "results", run).exists()):
            continue
        place = run.key.folder(folder)
        atlas = try_heatmaps(run, protocol, wanted, validation, place, device, failed)
        if atlas is None:
            continue
        marked = contestant if run.weights == PRETRAINED else f"{contestant}{RANDOM}"
        named.setdefault(marked, []).append((run, atlas))
        if is_shown and chosen:
            verdicts = _called(chosen, scored[name], label, thresholds[name])
            rows += [(row[0], *astuple(run.key), unit, *row[1:]) for row in verdicts]
            pictured.append((place, atlas))
    require_some(named, failed, study)
    trained: dict[str, list[tuple[Run, Atlas]]] = {}
    own = {(runs[0][0].key.network, runs[0][0].weights): name for name, runs in named.items()}
    for run, its_protocol in at_16 if masks else ():
        name_of_own = own.get((run.key.network, run.weights))
        if name_of_own is not None and test_file(study / "results", run).exists():
            finer = try_heatmaps(run, its_protocol, wanted, validation, run.key.folder(folder), device, failed)
            if finer is not None:
                trained.setdefault(name_of_own, []).append((run, finer))
    _draw([view.view_id for view in chosen], pictured, wanted, masks, protocol)
    measure_maps(named, test, masks, geometry, protocol, study / "results", beside, trained)
    store.write_csv(folder / "views.csv", pd.DataFrame(rows, columns=COLUMNS))
    return folder


def masks_of(views: pd.DataFrame, geometry: Mapping[str, Geometry]) -> dict[str, np.ndarray]:
    """The boolean mask on the prepared grid of each view (view_id, mask) that has one which marks anything.

    One that does not fit its view is told of and left out.
    """
    found = {}
    for view_id, path in zip(views["view_id"], views["mask"], strict=True):
        try:
            mask = prepared_mask(Path(path), geometry[view_id]) if path else None
        except MaskError as error:
            announce(f"{error}; the view goes without its mask")
            continue
        if mask is not None and mask.any():
            found[str(view_id)] = mask
    return found


def _called(
    chosen: Sequence[Chosen], scored: pd.DataFrame, label: str, threshold: float
) -> list[tuple[str, int, float, float, str, str]]:
    """view_id, bac, score, threshold, call and because of each chosen view under one run."""
    scores = scored.set_index("view_id")
    rows = []
    for view in chosen:
        score, bac = float(scores.loc[view.view_id, "score"]), int(scores.loc[view.view_id, label])
        rows.append((view.view_id, bac, score, threshold, call(score, bac, threshold), "; ".join(view.because)))
    return rows


def _draw(
    view_ids: Sequence[str],
    pictured: Sequence[tuple[Path, Atlas]],
    files: Mapping[str, Path],
    masks: Mapping[str, np.ndarray],
    protocol: Protocol,
) -> None:
    """The display pictures into each folder, drawn anew, since a mask may have changed; of finer maps also averaged to the
    coarsest stride."""
    strides = [map_stride(atlas, protocol) for _, atlas in pictured]
    for (folder, atlas), stride in zip(pictured, strides, strict=True):
        for view_id in view_ids:
            save_overlay(folder / f"{view_id}.png", files[view_id], atlas[view_id], atlas.scale, masks.get(view_id))
            if stride < max(strides):
                averaged = block_average(atlas[view_id], round(max(strides) / stride))
                save_overlay(folder / f"{view_id}{MATCHED_PICTURE}", files[view_id], averaged, atlas.scale, masks.get(view_id))


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
