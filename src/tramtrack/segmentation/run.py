"""Training the U-Net into its folder, and its maps of views from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
import torch

from tramtrack import store
from tramtrack.progress import announce, progress_bar, track
from tramtrack.protocol import Protocol
from tramtrack.segmentation.known import Known
from tramtrack.segmentation.loop import probabilities, steps_an_epoch, train
from tramtrack.segmentation.maps import Maps
from tramtrack.segmentation.scores import choose_threshold
from tramtrack.segmentation.unet import Unet
from tramtrack.training.hardware import choose_device, describe, dtype_name, placed, resolve_dtype
from tramtrack.training.loop import best_epoch, read_history
from tramtrack.training.record import Run, finished_run, require_own_weights
from tramtrack.training.resources import watch_memory

NETWORK, WEIGHTS, FOLDER = "U-Net", "trained on masks", "segmentation"
ADVICE = "remove this folder to segment anew"


def maps_of(folder: Path) -> Maps:
    """The maps of the run in ``folder``."""
    return Maps(folder / "maps")


def train_unet(
    training: Known, validation: Known, protocol: Protocol, hashes: Mapping[str, str], folder: Path, wanted: str = "auto"
) -> Run:
    """Train the U-Net into ``folder``, or go on with it; a finished run of the same identity is returned as it is.

    ``hashes`` are those of the cohort's folds and prepared views; ``wanted`` is the device, see `choose_device`. With the
    weights come the maps of the ``validation`` views, and in run.json the threshold that they choose. Raises IdentityMismatch
    naming the field where the folder holds another run, Diverged where the loss is no number.
    """
    settings, device = protocol.segmentation, choose_device(wanted)
    dtype = resolve_dtype(protocol.training.dtype, device)
    identity = _identity(training, validation, protocol, hashes, dtype)
    if store.require_same_identity(folder / "run.json", identity, ADVICE):
        return finished_run(folder)
    if not store.require_same_identity(folder / "started.json", identity, ADVICE):
        store.write_manifest(folder / "started.json", identity, {})
    model = placed(Unet(settings.channels, settings.seed, min(training.share, 0.5)), device)
    weights = sum(parameter.numel() for _, parameter in model.trained())
    with_bac = int(training.marked.sum())
    announce(f"{NETWORK}: trains {weights:,} weights on {len(training)} training views, {with_bac} of them with BAC")
    checkpoint, steps = folder / "checkpoint.safetensors", steps_an_epoch(training, validation, settings)
    what, done = f"{NETWORK}: {settings.epochs} epochs", len(read_history(checkpoint))
    with watch_memory() as peak, progress_bar(what, settings.epochs * steps, done * steps) as advance:
        history = train(
            model, training, validation, settings, dtype=dtype, device=device, checkpoint=checkpoint, advance=advance
        )
    store.write_csv(folder / "history.csv", pd.DataFrame([asdict(epoch) for epoch in history]))
    whole = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    weights_file = store.write_bytes(folder / "weights.safetensors", safetensors.torch.save(whole))
    maps = maps_of(folder)
    maps.clear()
    _write_maps(model, dict(zip(validation.table["view_id"], validation.files, strict=True)), maps, dtype, device)
    threshold, pooled = choose_threshold(maps, validation)
    information = {
        "weights_file_sha256": store.file_sha256(weights_file),
        "threshold": threshold,
        "validation_dice": pooled,
        "best_epoch": best_epoch(history),
        "epochs": len(history),
        "training_views": len(training),
        "training_views_with_bac": with_bac,
        "validation_views": len(validation),
        "validation_views_with_bac": int(validation.marked.sum()),
        "parameters": weights,
        "peak_memory_mb": peak.bytes / 2**20,
        "machine": describe(device),
        "versions": {name: version(name) for name in ("tramtrack", "torch", "numpy", "monai")},
    }
    store.write_manifest(folder / "run.json", identity, information)
    checkpoint.unlink(missing_ok=True)
    (folder / "started.json").unlink(missing_ok=True)
    return finished_run(folder)


def segment_views(run: Run, protocol: Protocol, files: Mapping[str, Path], wanted: str = "auto") -> Maps:
    """The maps of the run with those of ``files`` (view_id to prepared file) among them; made where they lack.

    Raises TramtrackError where the run's weights were changed.
    """
    maps = maps_of(run.folder)
    todo = {view_id: file for view_id, file in files.items() if view_id not in maps}
    if todo:
        path, device = require_own_weights(run), choose_device(wanted)
        model = Unet(protocol.segmentation.channels, protocol.segmentation.seed)
        model.load_state_dict(safetensors.torch.load_file(path))
        _write_maps(placed(model, device), todo, maps, getattr(torch, run.identity["dtype"]), device)
    return maps


def _write_maps(model: Unet, files: Mapping[str, Path], maps: Maps, dtype: torch.dtype, device: torch.device) -> None:
    found = probabilities(model, list(files.values()), dtype, device)
    for view_id, values in zip(files, track(found, f"{NETWORK}: maps of views", len(files)), strict=True):
        maps.write(view_id, values)


def _identity(
    training: Known, validation: Known, protocol: Protocol, hashes: Mapping[str, str], dtype: torch.dtype
) -> dict[str, Any]:
    """What decides the weights; compared on resume. The masks are those of training and of validation views."""
    return {
        "network": NETWORK,
        "variant": "segmentation",
        "seed": protocol.segmentation.seed,
        "settings": protocol.segmentation.model_dump(mode="json"),
        "dtype": dtype_name(dtype),
        "weights": WEIGHTS,
        "masks": store.text_sha256(training.sha256 + validation.sha256),
        **hashes,
    }
