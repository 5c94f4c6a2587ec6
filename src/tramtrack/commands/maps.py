"""The verbs of heat maps: ``tramtrack explain`` and ``trust``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tramtrack.commands.blind import make_page, take_ratings
from tramtrack.commands.opening import open_study
from tramtrack.commands.options import AsJson, StudyDevice, StudyFolder, WeightsDir
from tramtrack.console import print_json, say, short, table
from tramtrack.errors import UsageError

if TYPE_CHECKING:
    from tramtrack.study import Study


def explain(
    study: StudyFolder,
    view: Annotated[
        list[str] | None,
        typer.Option("--view", help="A view_id, also several times. Default: hits, misses, false alarms."),
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", help="With --view: grad-cam++, grad-cam, integrated-gradients, occlusion.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option("--layer", help="With --view: cam, stride-8 (the last step of that stride), or a step.")
    ] = None,
    blind: Annotated[
        bool, typer.Option("--blind", help="One page for readers to rate the maps on, networks hidden; see --ratings.")
    ] = False,
    views: Annotated[int, typer.Option("--views", min=1, max=500, help="With --blind: up to how many views are shown.")] = 12,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="With --blind: of the shuffling; default: drawn, and kept in the key.")
    ] = None,
    ratings: Annotated[
        list[Path] | None, typer.Option("--ratings", help="A reader's CSV from the blind page; once for each file.")
    ] = None,
    device: StudyDevice = "auto",
    as_json: AsJson = False,
) -> None:
    """Heat maps, the same views under every network: hits, misses and false alarms, or the views that are named.

    A view that is named is drawn on its original image at full resolution, with its score and, where it has a mask, how well
    the map lies on it. --blind makes the page of a blind reading, --ratings takes what its readers rated.
    """
    if (bool(view or method or layer), blind, bool(ratings)).count(True) > 1:
        raise UsageError("explain: expected one of --view (with --method, --layer), --blind and --ratings, received several")
    if blind:
        make_page(open_study(study, device=device), views, seed, as_json)
        return
    if ratings:
        take_ratings(open_study(study), ratings, as_json)
        return
    if not view:
        if method or layer:
            raise UsageError("--method and --layer: expected with --view; the protocol's explain section holds for the study")
        opened = open_study(study, device=device)
        folder = opened.explain()
        shown = _shown(folder)
        said = f"heat maps of {shown} views are in {folder}" if shown else f"{study}: no view is shown. {_why(opened)}"
        print_json({"folder": str(folder), "views": shown}) if as_json else say(said)
        return
    rows = json.loads(open_study(study, device=device).explain_views(view, method, layer).to_json(orient="records"))
    if as_json:
        print_json(rows)
        return
    names = [name for name in rows[0] if name not in ("seed", "scale", "empty")]
    texts = [{name: short(row[name]) for name in names if any(other[name] is not None for other in rows)} for row in rows]
    table(texts, f"Maps, drawn in {study / 'heatmaps' / 'views'}")
    for row in rows:
        if row["empty"]:
            say(f"{row['view_id']}: the heat map of {row['network']} at stride {row['stride']} is empty: all its values are 0")


def _shown(folder: Path) -> int:
    """How many views are shown in the folder of heat maps."""
    import pandas as pd

    return int(pd.read_csv(folder / "views.csv", dtype=str)["view_id"].nunique())


def _why(study: Study) -> str:
    """Why a study has no hits, misses and false alarms to show."""
    if study.last_evaluation().unsealed:
        return "There is no unit for which every network has a threshold; results/operating_points.csv says why"
    return (
        "Hits, misses and false alarms are of the test fold, which is sealed; `tramtrack evaluate --unseal` opens it, and "
        "--view draws views of training and validation"
    )


def trust(
    study: StudyFolder,
    permuted: Annotated[
        bool, typer.Option("--permuted", help="Also train each network once on permuted labels, and compare its maps.")
    ] = False,
    weights_dir: WeightsDir = None,
    device: StudyDevice = "auto",
    as_json: AsJson = False,
) -> None:
    """Whether heat maps can be trusted: random weights, permuted labels, seeds, mirror images, less calcification."""
    rows = json.loads(open_study(study, device=device).trust(permuted, weights_dir).to_json(orient="records"))
    if as_json:
        print_json(rows)
        return
    judged = [row for row in rows if row["verdict"] != "information"]
    names = ("map", "test", "stage", "estimate", "low", "high", "bound", "limit", "verdict")
    table([{name: short(row[name]) for name in names} for row in judged], "Rank correlations, against the protocol's limits")
