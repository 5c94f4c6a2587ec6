"""The heat maps of a study: which views, under which networks, with which outlines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from tramtrack import store
from tramtrack.explain.atlas import make_heatmaps
from tramtrack.explain.choice import call, choose_views
from tramtrack.explain.overlay import prepared_mask, save_overlay
from tramtrack.imaging.geometry import Geometry
from tramtrack.protocol import Protocol
from tramtrack.training.record import Run, read_predictions


def explain_runs(
    runs: Sequence[Run], protocol: Protocol, views: pd.DataFrame, geometry: Mapping[str, Geometry], study: Path
) -> Path:
    """Grad-CAM++ of each network's first seed on the chosen test views, into heatmaps/<network>/<variant>/seed-<k>/.

    Writes views.csv: view_id, network, variant, seed, score, threshold, call (hit, miss, false alarm, correct rejection),
    because. Returns the folder. Only networks whose test predictions are there take part.
    """
    folder = study / "heatmaps"
    shown: dict[str, Run] = {}
    scored: dict[str, pd.DataFrame] = {}
    for run in runs:
        path = run.key.folder(study / "results" / "test") / "predictions.csv"
        if path.exists() and _name(run) not in shown:
            shown[_name(run)], scored[_name(run)] = run, read_predictions(path)
    points = pd.read_csv(study / "results" / "operating_points.csv")
    points = points[points["unit"] == "view"]
    thresholds = {name: float(_row(points, run)["threshold"]) for name, run in shown.items()}
    stacked = pd.concat([table.assign(network=name) for name, table in scored.items()], ignore_index=True)
    chosen = choose_views(stacked, thresholds, protocol.explain.views_of_each_kind)
    files = dict(zip(views["view_id"], views["file"], strict=True))
    masks = dict(zip(views["view_id"], views["mask"], strict=True))
    validation = list(views.loc[views["fold"] == "validation", "file"])
    wanted = {view.view_id: files[view.view_id] for view in chosen}
    outlines = {
        view_id: prepared_mask(Path(masks[view_id]), geometry[view_id]) if masks[view_id] else None for view_id in wanted
    }
    rows = []
    for name, run in shown.items():
        place = run.key.folder(folder)
        make_heatmaps(run, protocol, wanted, validation, geometry, place)
        scores = scored[name].set_index("view_id")
        for view in chosen:
            score, label = float(scores.loc[view.view_id, "score"]), int(scores.loc[view.view_id, "bac_view"])
            picture = place / f"{view.view_id}.png"
            if not picture.exists():
                save_overlay(picture, wanted[view.view_id], place / f"{view.view_id}.npz", outlines[view.view_id])
            rows.append(
                {
                    "view_id": view.view_id,
                    "network": run.key.network,
                    "variant": run.key.variant,
                    "seed": run.key.seed,
                    "bac_view": label,
                    "score": score,
                    "threshold": thresholds[name],
                    "call": call(score, label, thresholds[name]),
                    "because": "; ".join(view.because),
                }
            )
    store.write_csv(folder / "views.csv", pd.DataFrame(rows))
    return folder


def _name(run: Run) -> str:
    return run.key.network if run.weights == "pretrained" else f"{run.key.network} (random weights)"


def _row(points: pd.DataFrame, run: Run) -> pd.Series:
    key = run.key
    return points[(points["network"] == key.network) & (points["variant"] == key.variant) & (points["seed"] == key.seed)].iloc[
        0
    ]
