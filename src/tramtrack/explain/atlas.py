"""Heat maps of views under one network, kept in one file: raw values, logits, and the one scale on which all are shown.

A class activation map needs nothing but what the pass that scores a view holds anyway, so both come from the same pass.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tramtrack import store
from tramtrack.errors import UsageError
from tramtrack.explain.methods import Explainer
from tramtrack.judgement.results import name_of
from tramtrack.progress import announce, track
from tramtrack.protocol import Protocol
from tramtrack.training.activations import TRUNK_BATCH
from tramtrack.training.hardware import choose_device
from tramtrack.training.loader import batches
from tramtrack.training.rebuild import rebuild
from tramtrack.training.record import Run
from tramtrack.training.transfer import Classifier, Trunk

SCALE_PERCENTILE = 99.5
SCALE_VIEWS = 12


@dataclass(frozen=True)
class Atlas:
    """The maps of views under one run.

    ``view_ids`` (n,), ``maps`` (n, h, w) float32 >= 0 on the cells of ``layer``, ``logits`` (n,) float32 from the same pass;
    ``scale`` is the value that is shown brightest.
    """

    view_ids: tuple[str, ...]
    maps: np.ndarray
    logits: np.ndarray
    scale: float
    layer: str

    def __getitem__(self, view_id: str) -> np.ndarray:
        """The map (h, w) of a view."""
        values: np.ndarray = self.maps[self.view_ids.index(view_id)]
        return values

    def scores(self, view_ids: Sequence[str]) -> np.ndarray:
        """The logits (n,) of these views, in this order."""
        place = {view_id: number for number, view_id in enumerate(self.view_ids)}
        return np.array([self.logits[place[view_id]] for view_id in view_ids], dtype=np.float32)


def explainer_of(protocol: Protocol) -> Explainer:
    """The method and layer that a protocol asks for."""
    return Explainer(protocol.explain.method, protocol.explain.layer)


def make_heatmaps(
    run: Run,
    protocol: Protocol,
    views: Mapping[str, Path],
    validation: Sequence[Path],
    folder: Path,
    wanted: str = "auto",
    what: str = "heat maps",
) -> Atlas:
    """The maps of ``views`` (view_id to prepared file), and maybe of others, from ``folder``/maps.npz; made where they lack.

    The display scale is the 99.5th percentile of this network's maps on up to 12 validation views, evenly spaced: a faint
    map looks faint. Views are passed in the dtype of the run, in batches cut at fixed places, so that the logits repeat to
    the bit. ``wanted`` is the device, see `choose_device`; ``what`` is said beside the progress bar.
    """
    explainer = explainer_of(protocol)
    known = is_kept(run, protocol, folder)
    if not known:
        (folder / "maps.npz").unlink(missing_ok=True)  # maps without a manifest are of nobody knows which run
    kept = read_atlas(folder) if known else None
    todo = [view_id for view_id in views if kept is None or view_id not in kept.view_ids]
    if kept is not None and not todo:
        return kept
    device, dtype = choose_device(wanted), getattr(torch, run.identity["dtype"])
    model = rebuild(run, protocol, device)
    trunk = model.fast_trunk(device, dtype)
    scale = kept.scale if kept else display_scale(explainer, model, trunk, validation, dtype, device, run.key.network)
    files = [views[view_id] for view_id in todo]
    maps, logits = _pass(explainer, model, trunk, files, dtype, device, f"{run.key.network}: seed {run.key.seed}, {what}")
    if kept is not None:
        maps, logits = np.concatenate((kept.maps, maps)), np.concatenate((kept.logits, logits))
        todo = [*kept.view_ids, *todo]
    atlas = Atlas(tuple(todo), maps, logits, scale, explainer.name_of_layer(model))
    _write(atlas, folder, _identity(run, protocol))
    return atlas


def try_heatmaps(
    run: Run,
    protocol: Protocol,
    views: Mapping[str, Path],
    validation: Sequence[Path],
    folder: Path,
    wanted: str,
    failed: dict[str, str],
) -> Atlas | None:
    """`make_heatmaps`, or None for a network that cannot have a map of this kind: that is told, and put into ``failed``."""
    try:
        return make_heatmaps(run, protocol, views, validation, folder, wanted)
    except UsageError as error:
        announce(f"{error}; the other networks go on")
        failed[name_of(run)] = str(error)
        return None


def require_some(made: Collection[Any], failed: Mapping[str, str], study: Path) -> None:
    """Raise UsageError, with the reasons, where no network had a map of this kind (``made`` is empty) and some ``failed``."""
    if failed and not made:
        raise UsageError(f"{study}: no network can have a heat map. {'; '.join(dict.fromkeys(failed.values()))}")


def is_kept(run: Run, protocol: Protocol, folder: Path) -> bool:
    """Whether ``folder`` holds maps of this very run. Raises IdentityMismatch where they are another's."""
    advice = "remove this folder to make the heat maps anew"
    return store.require_same_identity(folder / "manifest.json", _identity(run, protocol), advice)


def _identity(run: Run, protocol: Protocol) -> dict[str, str]:
    settings = protocol.explain
    return {"weights": run.information["weights_file_sha256"], "method": settings.method, "layer": settings.layer}


def read_atlas(folder: Path) -> Atlas:
    """The maps in ``folder`` (no pickle is read)."""
    information = store.read_json(folder / "manifest.json")["information"]
    with np.load(folder / "maps.npz", allow_pickle=False) as content:
        view_ids = tuple(str(view_id) for view_id in content["view_id"])
        return Atlas(view_ids, content["map"], content["logit"], float(information["scale"]), str(information["layer"]))


def cells_of(folder: Path) -> tuple[int, int]:
    """Rows and columns of the maps in ``folder``, from the head of their file."""
    with zipfile.ZipFile(folder / "maps.npz") as content, content.open("map.npy") as stream:
        np.lib.format.read_magic(stream)
        _, rows, columns = np.lib.format.read_array_header_1_0(stream)[0]
    return rows, columns


def _pass(
    explainer: Explainer,
    model: Classifier,
    trunk: Trunk,
    files: Sequence[Path],
    dtype: torch.dtype,
    device: torch.device,
    what: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Maps (n, h, w) and logits (n,), float32, of prepared files."""
    maps, logits = [], []
    for grey in track(batches(files, TRUNK_BATCH, device), what, -(-len(files) // TRUNK_BATCH)):
        values, scores = explainer.maps(model, grey, trunk, dtype)
        maps.append(values.float().cpu().numpy())
        logits.append(scores.float().cpu().numpy())
    if not maps:
        return np.zeros((0, 1, 1), dtype=np.float32), np.zeros(0, dtype=np.float32)
    return np.concatenate(maps), np.concatenate(logits)


def display_scale(
    explainer: Explainer,
    model: Classifier,
    trunk: Trunk,
    validation: Sequence[Path],
    dtype: torch.dtype,
    device: torch.device,
    network: str,
) -> float:
    """The 99.5th percentile of the maps on evenly spaced validation views."""
    chosen = [validation[index] for index in np.unique(np.linspace(0, len(validation) - 1, SCALE_VIEWS).round().astype(int))]
    maps, _ = _pass(explainer, model, trunk, chosen, dtype, device, f"{network}: scale of heat maps")
    return float(np.percentile(maps, SCALE_PERCENTILE))


def _write(atlas: Atlas, folder: Path, identity: Mapping[str, Any]) -> None:
    stream = io.BytesIO()
    np.savez_compressed(stream, view_id=np.array(atlas.view_ids, dtype=np.str_), map=atlas.maps, logit=atlas.logits)
    store.write_bytes(folder / "maps.npz", stream.getvalue())
    store.write_manifest(folder / "manifest.json", identity, {"scale": atlas.scale, "layer": atlas.layer})
