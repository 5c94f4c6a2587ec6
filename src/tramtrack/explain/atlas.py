"""Heat maps of the chosen views under one network: raw values, and the one scale on which all of them are shown."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from tramtrack import store
from tramtrack.explain.gradcam import grad_cam_plus_plus
from tramtrack.imaging.geometry import Geometry
from tramtrack.progress import track
from tramtrack.protocol import Protocol
from tramtrack.training.hardware import choose_device
from tramtrack.training.loader import batches
from tramtrack.training.record import Run
from tramtrack.training.run import rebuild
from tramtrack.training.transfer import Classifier, Trunk

SCALE_PERCENTILE = 99.5
SCALE_VIEWS = 12
BATCH = 4


def make_heatmaps(
    run: Run,
    protocol: Protocol,
    views: Mapping[str, Path],
    validation: Sequence[Path],
    geometry: Mapping[str, Geometry],
    folder: Path,
    wanted: str = "auto",
) -> float:
    """Write <view_id>.npz (raw map, scale, geometry) for each of ``views`` (view_id to prepared file) into ``folder``.

    The display scale is the 99.5th percentile of this network's maps on up to 12 validation views, evenly spaced: a faint
    map looks faint. Returns it. Views whose file is there already are not computed again. ``wanted`` is the device, see
    `choose_device`.
    """
    manifest = folder / "manifest.json"
    identity = {"weights": run.information["weights_file_sha256"], "method": protocol.explain.method}
    known = store.require_same_identity(manifest, identity, "remove this folder to make the heat maps anew")
    if not known:
        shutil.rmtree(folder, ignore_errors=True)  # maps without a manifest are of nobody knows which run
    todo = {view_id: file for view_id, file in views.items() if not (folder / f"{view_id}.npz").exists()}
    if known and not todo:
        return float(store.read_json(manifest)["information"]["scale"])
    device = choose_device(wanted)
    model = rebuild(run, protocol, device)
    trunk = model.fast_trunk(device, torch.float32)
    layer = model.backbone.facts.cam_layer
    if known:
        scale = float(store.read_json(manifest)["information"]["scale"])
    else:
        scale = _display_scale(model, trunk, validation, device, run.key.network)
        store.write_manifest(manifest, identity, {"scale": scale, "layer": layer})
    names = list(todo)
    passes = track(batches(list(todo.values()), BATCH, device), f"{run.key.network}: heat maps", -(-len(todo) // BATCH))
    for number, grey in enumerate(passes):
        maps, logits = grad_cam_plus_plus(model, grey, trunk)
        for offset, (values, logit) in enumerate(zip(maps.cpu(), logits.cpu(), strict=True)):
            view_id = names[number * BATCH + offset]
            _write(folder / f"{view_id}.npz", values, float(logit), scale, geometry[view_id], layer)
    return scale


def _display_scale(model: Classifier, trunk: Trunk, validation: Sequence[Path], device: torch.device, network: str) -> float:
    """The 99.5th percentile of the maps on evenly spaced validation views."""
    chosen = [validation[index] for index in np.unique(np.linspace(0, len(validation) - 1, SCALE_VIEWS).round().astype(int))]
    passes = track(batches(chosen, BATCH, device), f"{network}: scale of heat maps", -(-len(chosen) // BATCH))
    maps = [grad_cam_plus_plus(model, grey, trunk)[0].cpu().numpy() for grey in passes]
    return float(np.percentile(np.concatenate(maps), SCALE_PERCENTILE))


def _write(path: Path, values: torch.Tensor, logit: float, scale: float, geometry: Geometry, layer: str) -> None:
    stream = io.BytesIO()
    box = np.array([geometry.top, geometry.left, geometry.bottom, geometry.right])
    np.savez_compressed(
        stream,
        map=values.numpy().astype(np.float32),
        logit=np.float32(logit),
        scale=np.float32(scale),
        layer=np.array(layer),
        original_crop=box,
        flipped=np.array(geometry.flipped),
    )
    store.write_bytes(path, stream.getvalue())
