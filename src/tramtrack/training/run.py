"""Training one run into its folder, and rebuilding the network from there."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch

from tramtrack import store
from tramtrack.errors import TramtrackError
from tramtrack.network.build import build
from tramtrack.network.weights import WeightSet, load
from tramtrack.progress import progress_bar, track
from tramtrack.protocol import Protocol
from tramtrack.training.activations import TRUNK_BATCH, Activations, compute_activations
from tramtrack.training.hardware import choose_device, describe, dtype_name, resolve_dtype
from tramtrack.training.loader import batches
from tramtrack.training.loop import Examples, best_epoch, class_weights, predict, train
from tramtrack.training.record import PRETRAINED, RANDOM_WEIGHTS, Epoch, Run, RunKey, load_run, write_predictions
from tramtrack.training.resources import multiply_adds, seconds_a_view_uncached, watch_memory
from tramtrack.training.transfer import Classifier


@dataclass(frozen=True)
class Fold:
    """The views of training and validation: a table with one row a view, its prepared file and its training label.

    Columns: those of predictions.csv but logit and score, and ``file`` (Path of the prepared view) and ``label`` (0.0, 1.0).
    """

    table: pd.DataFrame

    def examples(self, fold: str) -> Examples:
        """Positions in the table and labels of one fold's views that carry a training label."""
        chosen = (self.table["fold"] == fold) & self.table["label"].notna()
        labels = torch.tensor(self.table.loc[chosen, "label"].to_numpy(dtype=np.float32))
        return Examples(torch.from_numpy(np.flatnonzero(chosen.to_numpy())), labels)


def run_identity(key: RunKey, weights: WeightSet | None, protocol: Protocol, hashes: Mapping[str, str]) -> dict[str, Any]:
    """What decides a run's result; compared on resume. ``hashes`` are those of the cohort's folds and prepared views."""
    return {
        "network": key.network,
        "variant": key.variant,
        "seed": key.seed,
        "protocol": protocol.sha256,
        "dtype": dtype_name(resolve_dtype(protocol.training.dtype, choose_device())),
        "weights": PRETRAINED if weights else RANDOM_WEIGHTS,
        "weights_source": weights.source if weights else f"Glorot initialisation, seed {key.seed}",
        "weights_sha256": weights.sha256 if weights else "",
        **hashes,
    }


def train_run(
    key: RunKey, weights: WeightSet | None, fold: Fold, protocol: Protocol, hashes: Mapping[str, str], runs: Path, cache: Path
) -> Run:
    """Train one run into its folder, or go on with it; a finished run of the same identity is returned as it is.

    Raises IdentityMismatch naming the field where the folder holds another run, Diverged where the loss is no number.
    """
    folder = key.folder(runs)
    identity = run_identity(key, weights, protocol, hashes)
    advice = "use another study folder, or remove this run's folder to train it again"
    if store.require_same_identity(folder / "run.json", identity, advice):
        return _finished(folder)
    if not store.require_same_identity(folder / "started.json", identity, advice):
        store.write_manifest(folder / "started.json", identity, {})
    class_weights(fold.examples("training").labels, protocol.training.class_weighting)  # refuses one class before any work
    if not len(fold.examples("validation")):
        raise TramtrackError(f"{folder}: no validation view has a label to train against; label some, or let them inherit")
    device = choose_device()
    dtype = resolve_dtype(protocol.training.dtype, device)
    size = (protocol.prepare.height, protocol.prepare.width)
    started = time.perf_counter()
    with watch_memory() as peak:
        generator = torch.Generator().manual_seed(key.seed)
        backbone = build(key.network, generator)
        if weights:
            load(backbone, weights)
        model = _placed(Classifier(backbone, protocol.transfer, generator), device)
        activations = _activations(model, fold, identity, cache, size, dtype, device)
        trunk_seconds = time.perf_counter() - started
        history = _train(model, activations, fold, protocol, key, folder, dtype, device)
        everything = torch.arange(len(fold.table))
        logits = predict(model, activations, everything, protocol.training.batch_size, dtype=dtype, device=device)
        step, forward = seconds_a_view_uncached(model, size, protocol.training, dtype=dtype, device=device)
    store.write_csv(folder / "history.csv", pd.DataFrame([asdict(epoch) for epoch in history]))
    write_predictions(folder / "predictions.csv", fold.table, logits)
    whole = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    weights_file = store.write_bytes(folder / "weights.safetensors", safetensors.torch.save(whole))
    training_views = len(fold.examples("training"))
    information = {
        "weights_file_sha256": store.file_sha256(weights_file),
        "weights_licence": weights.licence if weights else "",
        "weights_trained_on": weights.trained_on if weights else RANDOM_WEIGHTS,
        "parameters": model.counts(),
        "multiply_adds": multiply_adds(key.network, size),
        "best_epoch": best_epoch(history),
        "epochs": len(history),
        "training_views": training_views,
        "seconds_an_epoch_uncached": step * training_views,
        "seconds_an_epoch_cached": float(np.median([epoch.seconds for epoch in history])),
        "seconds_trunk": trunk_seconds,
        "milliseconds_a_view": 1000 * forward,
        "peak_memory_mb": peak.bytes / 2**20,
        "machine": describe(device),
        "versions": {name: version(name) for name in ("tramtrack", "torch", "numpy")},
    }
    store.write_manifest(folder / "run.json", identity, information)
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    (folder / "started.json").unlink(missing_ok=True)
    return _finished(folder)


def _activations(
    model: Classifier,
    fold: Fold,
    identity: Mapping[str, Any],
    cache: Path,
    size: tuple[int, int],
    dtype: torch.dtype,
    device: torch.device,
) -> Activations:
    """The kept activations of this run's views; their identity is all that they depend on."""
    depends_on = {
        "network": identity["network"],
        "weights": identity["weights_sha256"] or identity["weights_source"],
        "boundary": model.boundary,
        "batchnorm": "frozen",
        "prepared": identity["prepared"],
        "views": store.text_sha256("\n".join(fold.table["view_id"])),
        "size": list(size),
    }
    what = f"{identity['network']}: activations"
    files = list(fold.table["file"])
    return compute_activations(model, files, cache, depends_on, size=size, dtype=dtype, device=device, what=what)


def _train(
    model: Classifier,
    activations: Activations,
    fold: Fold,
    protocol: Protocol,
    key: RunKey,
    folder: Path,
    dtype: torch.dtype,
    device: torch.device,
) -> list[Epoch]:
    """The loop with its progress bar: an epoch a step."""
    with progress_bar(f"{key.network}: seed {key.seed}, epochs", protocol.training.epochs) as advance:
        return train(
            model,
            activations,
            fold.examples("training"),
            fold.examples("validation"),
            protocol.training,
            seed=key.seed,
            dtype=dtype,
            device=device,
            checkpoint=folder / "checkpoint.safetensors",
            on_epoch=lambda epoch: advance(),
        )


def rebuild(run: Run, protocol: Protocol, device: torch.device) -> Classifier:
    """The trained network from a run's folder, in inference mode. Raises TramtrackError where its weights were changed."""
    generator = torch.Generator().manual_seed(0)
    model = Classifier(build(run.key.network, generator), protocol.transfer, generator)
    path = run.folder / "weights.safetensors"
    if store.file_sha256(path) != run.information["weights_file_sha256"]:
        raise TramtrackError(f"{path}: not the weights that this run wrote; remove the run's folder to train it again")
    model.load_state_dict(safetensors.torch.load_file(path))
    return _placed(model, device).eval()


def predict_views(run: Run, protocol: Protocol, files: Sequence[Path], what: str) -> np.ndarray:
    """Logits (n,) float32 of prepared views by a finished run; batches are cut at fixed places, so they repeat to the bit."""
    device = choose_device()
    model = rebuild(run, protocol, device)
    dtype = getattr(torch, run.identity["dtype"])
    trunk = model.fast_trunk(device, dtype)
    logits = []
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        for grey in track(batches(files, TRUNK_BATCH, device), what, -(-len(files) // TRUNK_BATCH)):
            logits.append(model(trunk(grey)).float().cpu().numpy())
    return np.concatenate(logits) if logits else np.zeros(0, dtype=np.float32)


def _placed(model: Classifier, device: torch.device) -> Classifier:
    model.to(device)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _finished(folder: Path) -> Run:
    run = load_run(folder)
    assert run is not None
    return run
