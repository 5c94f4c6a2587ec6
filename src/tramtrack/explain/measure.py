"""The localisation of a study: every map of a test view with a mask, native and at equal stride, beside two baselines.

results/localisation_views.csv has a row a view and map, localisation.csv the means with intervals, localisation_pairs.csv which
maps can be told apart, localisation.json what they were made of and what can be said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tramtrack import store
from tramtrack.explain.atlas import Atlas
from tramtrack.explain.burden_source import Source
from tramtrack.explain.localisation import (
    MEASURES,
    PRIMARY,
    Target,
    breast_of,
    centre_blob,
    localise,
    make_target,
    vessel_filter,
)
from tramtrack.explain.place import block_average, to_prepared
from tramtrack.explain.ranking import (
    MATCHED,
    NATIVE,
    TRAINED,
    compare_maps,
    geometry_sentences,
    score_maps,
    sentences,
)
from tramtrack.imaging.geometry import Geometry
from tramtrack.imaging.prepare import read_prepared
from tramtrack.progress import track
from tramtrack.protocol import Protocol
from tramtrack.training.record import RANDOM_WEIGHTS, Run

TRAINED_STRIDE = 16
BASELINES = ("centre blob", "vessel filter")
RANDOM = f" ({RANDOM_WEIGHTS})"
"""How the name of a control ends, whose maps are measured and never ranked."""
TABLES = ("localisation.json", "localisation.csv", "localisation_pairs.csv", "localisation_views.csv")
VIEW_COLUMNS = [
    "view_id", "woman", "map", "kind", "network", "variant", "seed", "stride", "tolerance", "unit",
    *MEASURES, "empty", "chance",
]  # fmt: skip


def measure_maps(
    named: Mapping[str, Sequence[tuple[Run, Atlas]]],
    views: pd.DataFrame,
    masks: Mapping[str, np.ndarray],
    geometry: Mapping[str, Geometry],
    protocol: Protocol,
    folder: Path,
    beside: Sequence[Source] = (),
    trained: Mapping[str, Sequence[tuple[Run, Atlas]]] | None = None,
) -> dict[str, Any] | None:
    """Measure the maps of each contestant's runs and write the tables into ``folder`` (results/); None without masks.

    A control's name ends with RANDOM: it is measured, and compared with nothing. So are the maps of ``beside``, on the prepared
    grid, by networks that were told where to look. ``trained`` has, by the contestants' names, runs that were trained at
    stride 16; with them a contestant that has no such run, and that stride by itself, is measured as it is.

    ``views`` has view_id, woman and file (prepared); ``masks`` the boolean mask on the prepared grid of each view that has one.
    Tables made from the same maps, masks and settings are kept; others, and all where no view has a mask any more, are removed.
    Returns what localisation.json says.
    """
    rows = [row for row in views.to_dict("records") if row["view_id"] in masks]
    if not rows or not named:
        _remove(folder)
        return None
    strides = {name: map_stride(runs[0][1], protocol) for name, runs in named.items()}
    at_16 = _at_16(named, strides, trained or {})
    identity = _identity(named, at_16, masks, protocol, beside)
    manifest = folder / "localisation.json"
    if store.read_identity(manifest) == {"schema": store.SCHEMA_VERSION, **identity}:
        return dict(store.read_json(manifest)["information"])
    _remove(folder)
    measured = []
    for row in track(rows, "Measuring heat maps"):
        place = geometry[row["view_id"]]
        prepared = read_prepared(Path(row["file"]))
        breast = breast_of(prepared)
        tolerance, unit = tolerance_of(place, protocol)
        target = make_target(masks[row["view_id"]], breast, tolerance)
        if target is None:
            continue
        about = {"view_id": row["view_id"], "woman": row["woman"], "tolerance": tolerance, "unit": unit}
        entries = list(_of_view(row["view_id"], named, at_16, strides, prepared, target, place))
        averaged = {NATIVE: 1, MATCHED: max(strides.values()), TRAINED: TRAINED_STRIDE}
        kinds = {entry["kind"]: averaged[entry["kind"]] for entry in entries}
        for source in beside:
            entries += _of_source(source, row["view_id"], kinds, prepared, target)
        measured += [{**about, **entry} for entry in entries]
    if not measured:
        return None
    table = pd.DataFrame(measured, columns=VIEW_COLUMNS)
    ranked = [name for name in named if not name.endswith(RANDOM)]
    pairs = compare_maps(table, [*ranked, *BASELINES], protocol.evaluation)
    of_networks = pairs[pairs["map_a"].isin(ranked) & pairs["map_b"].isin(ranked)]
    stated = {"mm": f"{protocol.explain.tolerance_mm:g} mm", "pixels": f"{protocol.explain.tolerance_pixels:g} pixels"}
    information = {
        "tolerance": " or ".join(stated[unit] for unit in sorted(table["unit"].unique())),
        "views": int(table["view_id"].nunique()),
        "women": int(table["woman"].nunique()),
        "strides": strides,
        "beside": [source.name for source in beside],
        "variants": _variants(table),
        "primary": PRIMARY,
        "sentences": [
            *geometry_sentences(of_networks, PRIMARY, {name: strides[name] for name in ranked}),
            *sentences(of_networks, PRIMARY),
        ],
    }
    store.write_csv(folder / "localisation_views.csv", table)
    store.write_csv(folder / "localisation.csv", score_maps(table, protocol.evaluation))
    store.write_csv(folder / "localisation_pairs.csv", pairs)
    store.write_manifest(manifest, identity, information)
    return information


def _remove(folder: Path) -> None:
    """Remove the tables of an earlier measurement, the manifest that vouches for them first."""
    for name in TABLES:
        (folder / name).unlink(missing_ok=True)


def _at_16(
    named: Mapping[str, Sequence[tuple[Run, Atlas]]],
    strides: Mapping[str, int],
    trained: Mapping[str, Sequence[tuple[Run, Atlas]]],
) -> dict[str, Sequence[tuple[Run, Atlas]]]:
    """The runs that stand for each contestant at stride 16; none where nobody was trained so."""
    if not trained:
        return {}
    own = {name: runs for name, runs in named.items() if strides[name] == TRAINED_STRIDE}
    return {name: trained.get(name) or own[name] for name in named if name in trained or name in own}


def _of_view(
    view_id: str,
    named: Mapping[str, Sequence[tuple[Run, Atlas]]],
    at_16: Mapping[str, Sequence[tuple[Run, Atlas]]],
    strides: Mapping[str, int],
    prepared: np.ndarray,
    target: Target,
    geometry: Geometry,
) -> Iterator[dict[str, Any]]:
    """The rows of one view: every run's map native, at the coarsest stride and at stride 16, and the baselines."""
    chance = float(target.near.sum() / target.breast.sum())
    coarsest = max(strides.values())
    kinds = [NATIVE, *([MATCHED] if len(set(strides.values())) > 1 else []), *([TRAINED] if at_16 else [])]
    for name, runs in named.items():
        for run, atlas in runs:
            values = atlas[view_id]
            about = _about(name, run) | {"chance": chance, "empty": int(not values.any())}
            native = localise(to_prepared(values, *prepared.shape), target)
            yield {**about, "kind": NATIVE, "stride": strides[name], **native}
            if MATCHED in kinds:
                found = native
                if strides[name] < coarsest:
                    averaged = block_average(values, round(coarsest / strides[name]))
                    found = localise(to_prepared(averaged, *prepared.shape), target)
                yield {**about, "kind": MATCHED, "stride": coarsest, **found}
    for name, runs in at_16.items():
        for run, atlas in runs:
            values = atlas[view_id]
            found = localise(to_prepared(values, *prepared.shape), target)
            about = _about(name, run) | {"chance": chance, "empty": int(not values.any())}
            yield {**about, "kind": TRAINED, "stride": TRAINED_STRIDE, **found}
    baselines = (centre_blob(target.breast), vessel_filter(prepared, target.breast, geometry.prepared_spacing_mm))
    for name, values in zip(BASELINES, baselines, strict=True):
        found = localise(values, target)
        for kind in kinds:
            yield {"map": name, "kind": kind, **found, "empty": int(not values.any()), "chance": chance}


def _of_source(
    source: Source, view_id: str, strides: Mapping[str, int], prepared: np.ndarray, target: Target
) -> Iterator[dict[str, Any]]:
    """The rows of one view under a source of maps on the prepared grid; ``strides`` are what each kind averages them to."""
    values = source.map_of(view_id)
    chance = float(target.near.sum() / target.breast.sum())
    for kind, stride in strides.items():
        found = localise(to_prepared(block_average(values, stride), *prepared.shape), target)
        empty = int(not values.any())
        yield {"map": source.name, "kind": kind, "stride": stride, **found, "empty": empty, "chance": chance}


def _about(name: str, run: Run) -> dict[str, Any]:
    return {"map": name, "network": run.key.network, "variant": run.key.variant, "seed": run.key.seed}


def _variants(table: pd.DataFrame) -> dict[str, dict[str, list[str]]]:
    """By kind and map the network and variant whose map it is."""
    known = table.dropna(subset=["network"]).drop_duplicates(["kind", "map"])
    found: dict[str, dict[str, list[str]]] = {}
    for row in known.to_dict("records"):
        found.setdefault(row["kind"], {})[row["map"]] = [row["network"], row["variant"]]
    return found


def map_stride(atlas: Atlas, protocol: Protocol) -> int:
    """Prepared pixels to a cell of a run's maps."""
    return max(1, round(protocol.prepare.height / atlas.maps.shape[1]))


def tolerance_of(geometry: Geometry, protocol: Protocol) -> tuple[float, str]:
    """The tolerance in prepared pixels, and the unit that it was stated in."""
    spacing = geometry.prepared_spacing_mm
    if spacing is None:
        return protocol.explain.tolerance_pixels, "pixels"
    return protocol.explain.tolerance_mm / spacing, "mm"


def _identity(
    named: Mapping[str, Sequence[tuple[Run, Atlas]]],
    at_16: Mapping[str, Sequence[tuple[Run, Atlas]]],
    masks: Mapping[str, np.ndarray],
    protocol: Protocol,
    beside: Sequence[Source],
) -> dict[str, Any]:
    """What the tables depend on."""
    drawn = hashlib.sha256()
    for view_id, mask in masks.items():
        drawn.update(view_id.encode() + np.packbits(mask).tobytes())

    def hashes(of: Mapping[str, Sequence[tuple[Run, Atlas]]]) -> dict[str, list[str]]:
        return {name: [str(run.information["weights_file_sha256"]) for run, _ in runs] for name, runs in of.items()}

    further = {"beside": {source.name: dict(source.identity) for source in beside}} if beside else {}
    return {
        **further,
        "weights": hashes(named),
        "stride_16": hashes(at_16),
        "masks": drawn.hexdigest(),
        "explain": protocol.explain.model_dump(mode="json"),
        "evaluation": protocol.evaluation.model_dump(mode="json"),
    }
