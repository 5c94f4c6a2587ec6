"""Single views under every network: the map on the original image at full resolution, the score, and how well it lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tramtrack import store
from tramtrack.cohort.split import CALIBRATION
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.explain.atlas import Atlas, explainer_of, require_some, try_heatmaps
from tramtrack.explain.localisation import MEASURES, breast_of, localise, make_target
from tramtrack.explain.masks import read_mask
from tramtrack.explain.measure import map_stride, tolerance_of
from tramtrack.explain.overlay import save_original_overlay
from tramtrack.explain.place import block_average, to_prepared
from tramtrack.explain.stage import masks_of
from tramtrack.imaging.geometry import Geometry
from tramtrack.imaging.prepare import read_prepared
from tramtrack.judgement.results import names_of, test_file
from tramtrack.network.registry import file_stem
from tramtrack.progress import track
from tramtrack.protocol import Protocol
from tramtrack.training.record import Run

KEY = ["network", "variant", "seed", "method", "layer", "stride"]
COLUMNS = ["view_id", "fold", *KEY, "score", "scale", "empty", *MEASURES, "picture"]


def explain_views(
    runs: Sequence[Run],
    protocol: Protocol,
    views: pd.DataFrame,
    geometry: Mapping[str, Geometry],
    study: Path,
    view_ids: Sequence[str],
    device: str = "auto",
) -> pd.DataFrame:
    """The first seed's map of each view under each network, into heatmaps/views/<view_id>/: pictures and maps.csv.

    ``protocol.explain`` says which kind of map. A finer map is also shown averaged to the coarsest stride among the networks.
    Columns: view_id, fold (a score in training or validation says little), network, variant, seed, method, layer, stride,
    score, scale (the value shown brightest), empty (1 for a map of zeros), the measures where the view has a mask, picture.
    A network that cannot have a map of this kind is told of, and the others go on. Raises UsageError for a view that is not
    there or whose fold is sealed and where no network can have a map, and TramtrackError where a view could not be shown,
    after all others are.
    """
    chosen = _chosen(views, view_ids, runs, study)
    first: dict[str, Run] = {}
    for run, name in zip(runs, names_of(runs), strict=True):
        first.setdefault(name, run)
    if not first:
        raise TramtrackError(f"{study}: no finished run to explain; run `tramtrack run {study}`")
    validation = list(views.loc[views["fold"] == "validation", "file"])
    files = dict(zip(chosen["view_id"], chosen["file"], strict=True))
    failed: dict[str, str] = {}
    tried = {
        name: try_heatmaps(run, protocol, files, validation, _place(run, protocol, study), device, failed)
        for name, run in first.items()
    }
    atlases = {name: atlas for name, atlas in tried.items() if atlas is not None}
    require_some(atlases, failed, study)
    mapped = {name: first[name] for name in atlases}
    masks, tables, failures = masks_of(chosen, geometry), [], []
    for row in track(chosen.to_dict("records"), "Drawing heat maps"):
        folder = study / "heatmaps" / "views" / row["view_id"]
        try:
            drawn = list(_of_view(row, mapped, atlases, masks.get(row["view_id"]), geometry[row["view_id"]], protocol, folder))
        except TramtrackError as error:
            failures.append(f"{row['view_id']}: {error}")
            continue
        tables.append(pd.DataFrame(drawn, columns=COLUMNS))
        _add_to(folder / "maps.csv", tables[-1])
    if failures:
        raise TramtrackError(
            f"{len(failures)} of {len(chosen)} views could not be shown, the others are in {study / 'heatmaps' / 'views'}; "
            f"first: {failures[0]}"
        )
    return pd.concat(tables, ignore_index=True)


def _add_to(path: Path, table: pd.DataFrame) -> None:
    """Put the rows of ``table`` into a maps.csv beside those of other methods and layers that are there already."""
    if path.exists():
        before = pd.read_csv(path, keep_default_na=False, na_values={key: [""] for key in ("empty", *MEASURES)})
        same = before.set_index(KEY).index.isin(table.set_index(KEY).index)
        table = pd.concat((before[~same].reindex(columns=COLUMNS), table), ignore_index=True)
    store.write_csv(path, table)


def _chosen(views: pd.DataFrame, view_ids: Sequence[str], runs: Sequence[Run], study: Path) -> pd.DataFrame:
    known = views.set_index("view_id", drop=False)
    for view_id in view_ids:
        if view_id not in known.index:
            raise UsageError(f"view {view_id}: not in the folds of {study}; cohort/views.csv lists the views")
        if known.loc[view_id, "fold"] == CALIBRATION:
            raise UsageError(f"view {view_id}: kept for calibration, and nothing else is made from it")
        unsealed = all(test_file(study / "results", run).exists() for run in runs)
        if known.loc[view_id, "fold"] == "test" and not unsealed:
            raise UsageError(f"view {view_id}: the test fold is sealed; `tramtrack evaluate {study} --unseal` opens it")
    return known.loc[list(dict.fromkeys(view_ids))].reset_index(drop=True)


def _place(run: Run, protocol: Protocol, study: Path) -> Path:
    """Where the maps of this kind are kept: those of the study's own protocol lie in the run's folder itself."""
    folder = run.key.folder(study / "heatmaps")
    own = Protocol.load(study / "protocol.toml").explain
    wanted = protocol.explain
    return folder if (own.method, own.layer) == (wanted.method, wanted.layer) else folder / f"{wanted.method}-{wanted.layer}"


def _of_view(
    row: Mapping[Any, Any],
    runs: Mapping[str, Run],
    atlases: Mapping[str, Atlas],
    mask: np.ndarray | None,
    geometry: Geometry,
    protocol: Protocol,
    folder: Path,
) -> Iterator[dict[str, Any]]:
    """A row a network and stride, with its picture."""
    prepared = read_prepared(Path(row["file"]))
    target = make_target(mask, breast_of(prepared), tolerance_of(geometry, protocol)[0]) if mask is not None else None
    original_mask = read_mask(Path(row["mask"]), geometry) if mask is not None else None
    explainer = explainer_of(protocol)
    coarsest = max(map_stride(atlas, protocol) for atlas in atlases.values())
    for name, run in runs.items():
        atlas = atlases[name]
        native, stride = atlas[row["view_id"]], map_stride(atlases[name], protocol)
        logit = float(atlas.scores([row["view_id"]])[0])
        for at in dict.fromkeys((stride, coarsest)):
            values = native if at == stride else block_average(native, round(coarsest / stride))
            picture = folder / f"{file_stem(name.replace('/', '-'))}-{explainer.method}-{explainer.layer}-{at}.png"
            save_original_overlay(picture, Path(row["original"]), values, atlas.scale, geometry, original_mask)
            of_run = {"network": run.key.network, "variant": run.key.variant, "seed": run.key.seed}
            about = {"view_id": row["view_id"], "fold": row["fold"], **of_run}
            shown = {
                "method": explainer.method,
                "layer": atlas.layer,
                "stride": at,
                "scale": atlas.scale,
                "empty": int(not values.any()),
                "picture": picture.name,
            }
            found = localise(to_prepared(values, *prepared.shape), target) if target is not None else {}
            yield {**about, **shown, "score": 1 / (1 + np.exp(-logit)), **found}
