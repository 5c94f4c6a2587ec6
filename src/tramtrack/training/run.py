"""Training one run into its folder: it is finished when run.json is there, and goes on where it was stopped."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch

from tramtrack import store
from tramtrack.errors import TramtrackError
from tramtrack.network.registry import is_challenger, title
from tramtrack.progress import announce, progress_bar
from tramtrack.training.hardware import describe, placed
from tramtrack.training.loop import best_epoch, class_weights, predict, read_history, train
from tramtrack.training.record import RANDOM_WEIGHTS, Epoch, Run, finished_run, write_predictions
from tramtrack.training.resources import multiply_adds, seconds_a_view_uncached, watch_memory
from tramtrack.training.setup import Setup, make_classifier
from tramtrack.training.states import Counted, States, parts_an_epoch
from tramtrack.training.transfer import Classifier
from tramtrack.training.trunk import adapt_base, tail_input


def train_run(setup: Setup, runs: Path, cache: Path, *, begin: bool = True) -> Run:
    """Train one run into its folder, or go on with it; a finished run of the same identity is returned as it is.

    Activations are kept in ``cache``; with ``begin`` false, `keep_share` has laid them out. Raises IdentityMismatch naming the
    field where the folder holds another run, TramtrackError where a fold lacks what training needs, Diverged where the loss is
    no number.
    """
    key, fold, protocol = setup.key, setup.fold, setup.protocol
    folder = key.folder(runs)
    if _is_finished(folder, setup.identity):
        return finished_run(folder)
    class_weights(fold.examples("training").labels, protocol.training.class_weighting)  # refuses one class before any work
    if not len(fold.examples("validation")):
        raise TramtrackError(f"{folder}: no validation view has a label to train against; label some, or let them inherit")
    model = placed(make_classifier(key, setup.weights, protocol), setup.device)
    if model.trunk_changes:
        announce(f"{title(key.network)}: no activations are kept, because {model.trunk_changes}")
    counts = model.counts()
    announce(
        f"{title(key.network)}, {key.variant}, seed {key.seed}: trains {counts['base_trained']:,} of {counts['base']:,} "
        f"weights of the base, and {counts['head']:,} of the new layers"
    )
    started = time.perf_counter()
    with watch_memory() as peak:
        adapt_base(model, setup, cache)
        states = tail_input(model, setup, cache, begin=begin)
        trunk_seconds = time.perf_counter() - started
        # before training, so that a machine on which a step finds no room says so before hours are spent
        step, forward = seconds_a_view_uncached(model, setup.size, protocol.training, dtype=setup.dtype, device=setup.device)
        history = _train(model, states, setup, folder)
        logits = predict(model, states, torch.arange(len(fold.table)), dtype=setup.dtype, device=setup.device)
    store.write_csv(folder / "history.csv", pd.DataFrame([asdict(epoch) for epoch in history]))
    write_predictions(folder / "predictions.csv", fold.table, logits)
    whole = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    weights_file = store.write_bytes(folder / "weights.safetensors", safetensors.torch.save(whole))
    training_views = len(fold.examples("training"))
    measured = {
        "weights_file_sha256": store.file_sha256(weights_file),
        "predictions_sha256": store.file_sha256(folder / "predictions.csv"),
        "best_epoch": best_epoch(history),
        "epochs": len(history),
        "training_views": training_views,
        "activations": "kept" if setup.keeps else "computed anew in every epoch",
        "seconds_an_epoch_uncached": step * training_views,
        "seconds_an_epoch_cached": float(np.median([epoch.seconds for epoch in history])) if setup.keeps else None,
        "seconds_trunk": trunk_seconds,
        "milliseconds_a_view": 1000 * forward,
        "peak_memory_mb": peak.bytes / 2**20,
        "machine": describe(setup.device),
    }
    store.write_manifest(folder / "run.json", setup.identity, {**_described(setup, model), **measured})
    for left in (folder / "checkpoint.safetensors", folder / "started.json", *folder.glob(".*.part")):  # parts: of a kill
        left.unlink(missing_ok=True)
    return finished_run(folder)


def keep_share(setup: Setup, runs: Path, cache: Path, share: tuple[int, int]) -> None:
    """Compute share (k, n) of the activations that a run will train on, where any are kept; see `train_run`.

    (n, n) lays their files out, which all others expect to be there. Runs of one set of weights have them in common.
    """
    if not setup.keeps or _is_finished(setup.key.folder(runs), setup.identity):
        return
    model = placed(make_classifier(setup.key, setup.weights, setup.protocol), setup.device)
    adapt_base(model, setup, cache)
    tail_input(model, setup, cache, share=share, begin=share[0] == share[1])


def _is_finished(folder: Path, identity: Mapping[str, Any]) -> bool:
    """Whether ``folder`` holds this very run; else it is marked as begun. Raises IdentityMismatch for another run."""
    advice = "use another study folder, or remove this run's folder to train it again"
    if store.require_same_identity(folder / "run.json", identity, advice):
        return True
    if not store.require_same_identity(folder / "started.json", identity, advice):
        store.write_manifest(folder / "started.json", identity, {})
    return False


def _described(setup: Setup, model: Classifier) -> dict[str, Any]:
    """What run.json says of a run's weights, network and versions, whatever was measured."""
    network, weights = setup.key.network, setup.weights
    described: dict[str, Any] = {
        "weights_licence": weights.licence if weights else "",
        "weights_trained_on": weights.trained_on if weights else RANDOM_WEIGHTS,
        "parameters": model.counts(),
        "multiply_adds": multiply_adds(network, setup.size, setup.protocol.transfer.stride),
        "versions": {name: version(name) for name in ("tramtrack", "torch", "numpy")},
    }
    if is_challenger(network):
        described["challenger"] = asdict(model.backbone.facts)
        described["versions"]["timm"] = version("timm")
    return described


def _train(model: Classifier, states: States, setup: Setup, folder: Path) -> list[Epoch]:
    """The loop with its progress bar, which moves within an epoch and knows of the epochs that an earlier run finished."""
    training, validation = setup.fold.examples("training"), setup.fold.examples("validation")
    settings, seed = setup.protocol.training, setup.key.seed
    checkpoint = folder / "checkpoint.safetensors"
    parts = parts_an_epoch(len(training), len(validation), settings.batch_size, states.at_once)
    what, done = f"{setup.key.network}: seed {seed}, {settings.epochs} epochs", len(read_history(checkpoint))
    with progress_bar(what, settings.epochs * parts, done * parts) as advance:
        return train(
            model,
            Counted(states, advance),
            training,
            validation,
            settings,
            seed=seed,
            dtype=setup.dtype,
            device=setup.device,
            checkpoint=checkpoint,
        )
