"""Training one run into its folder, and rebuilding the network from there."""

from __future__ import annotations

import hashlib
import json
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
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.network.build import build, skeleton
from tramtrack.network.registry import is_challenger, title
from tramtrack.network.weights import WeightSet, load, require_batchnorm_policy
from tramtrack.progress import announce, progress_bar, track
from tramtrack.protocol import Protocol, Transfer
from tramtrack.training.activations import TRUNK_BATCH, compute_activations
from tramtrack.training.adapt import adapt_batchnorms
from tramtrack.training.augment import Draw, draw
from tramtrack.training.hardware import choose_device, describe, dtype_name, placed, resolve_dtype
from tramtrack.training.loader import batches
from tramtrack.training.loop import Examples, best_epoch, class_weights, predict, read_history, train
from tramtrack.training.record import (
    PRETRAINED,
    RANDOM_WEIGHTS,
    Epoch,
    Keep,
    Run,
    RunKey,
    finished_run,
    require_own_weights,
    write_predictions,
)
from tramtrack.training.resources import multiply_adds, seconds_a_view_uncached, watch_memory
from tramtrack.training.states import Counted, Kept, Recomputed, States, parts_an_epoch
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


def run_identity(
    key: RunKey, weights: WeightSet | None, protocol: Protocol, hashes: Mapping[str, str], keeps: bool, dtype: torch.dtype
) -> dict[str, Any]:
    """What decides a run's result; compared on resume. ``hashes`` are those of the cohort's folds and prepared views.

    Whether activations are kept changes a result by rounding only, unless views are varied: then it decides which variants
    there are.
    """
    variants = protocol.augmentation.variants
    return {
        "network": key.network,
        "variant": key.variant,
        "seed": key.seed,
        "protocol": protocol.sha256,
        "dtype": dtype_name(dtype),
        "weights": PRETRAINED if weights else RANDOM_WEIGHTS,
        "weights_source": weights.source if weights else f"{_initialisation(key.network)}, seed {key.seed}",
        "weights_sha256": weights.sha256 if weights else "",
        "variants": (f"{variants} kept" if keeps else "fresh every epoch") if variants else "none",
        **hashes,
    }


@dataclass(frozen=True)
class _Start:
    """A run before any work: what decides its result, whether activations are kept, and where it computes in which dtype."""

    identity: dict[str, Any]
    keeps: bool
    dtype: torch.dtype
    device: torch.device


def _start(
    key: RunKey, weights: WeightSet | None, protocol: Protocol, hashes: Mapping[str, str], keep: Keep, wanted: str
) -> _Start:
    device = choose_device(wanted)
    dtype = resolve_dtype(protocol.training.dtype, device)
    keeps = keeps_activations(key.network, protocol.transfer, keep)
    return _Start(run_identity(key, weights, protocol, hashes, keeps, dtype), keeps, dtype, device)


def _is_finished(folder: Path, identity: Mapping[str, Any]) -> bool:
    """Whether ``folder`` holds this very run; else it is marked as begun. Raises IdentityMismatch for another run."""
    advice = "use another study folder, or remove this run's folder to train it again"
    if store.require_same_identity(folder / "run.json", identity, advice):
        return True
    if not store.require_same_identity(folder / "started.json", identity, advice):
        store.write_manifest(folder / "started.json", identity, {})
    return False


def keep_share(
    key: RunKey,
    weights: WeightSet | None,
    fold: Fold,
    protocol: Protocol,
    hashes: Mapping[str, str],
    runs: Path,
    cache: Path,
    keep: Keep = "auto",
    *,
    share: tuple[int, int],
    device: str = "auto",
) -> None:
    """Compute share (k, n) of the activations that the run of ``key`` will train on, where any are kept; see `train_run`.

    (n, n) lays their files out, which all others expect to be there. Runs of one set of weights have them in common.
    """
    start = _start(key, weights, protocol, hashes, keep, device)
    if not start.keeps or _is_finished(key.folder(runs), start.identity):
        return
    model = placed(make_classifier(key, weights, protocol), start.device)
    if protocol.transfer.batchnorm == "adapt":
        _adapt(model, fold, start.identity, protocol, cache, start.dtype, start.device)
    _states(
        model, fold, start.identity, protocol, cache,
        keeps=True, dtype=start.dtype, device=start.device, share=share, begin=share[0] == share[1],
    )  # fmt: skip


def train_run(
    key: RunKey,
    weights: WeightSet | None,
    fold: Fold,
    protocol: Protocol,
    hashes: Mapping[str, str],
    runs: Path,
    cache: Path,
    keep: Keep = "auto",
    *,
    device: str = "auto",
    begin: bool = True,
) -> Run:
    """Train one run into its folder, or go on with it; a finished run of the same identity is returned as it is.

    ``keep`` says whether activations are kept in ``cache``: "on", "off", or "auto" (where the policy allows it); with
    ``begin`` false, `keep_share` has laid them out. ``device``: see `choose_device`. Raises IdentityMismatch naming the field
    where the folder holds another run, UsageError where activations cannot be kept but are asked for or the device is not
    there, Diverged where the loss is no number.
    """
    folder = key.folder(runs)
    start = _start(key, weights, protocol, hashes, keep, device)
    identity, dtype, on = start.identity, start.dtype, start.device
    if _is_finished(folder, identity):
        return finished_run(folder)
    class_weights(fold.examples("training").labels, protocol.training.class_weighting)  # refuses one class before any work
    if not len(fold.examples("validation")):
        raise TramtrackError(f"{folder}: no validation view has a label to train against; label some, or let them inherit")
    size = (protocol.prepare.height, protocol.prepare.width)
    model = placed(make_classifier(key, weights, protocol), on)
    if keep == "auto" and model.trunk_changes:
        announce(f"{title(key.network)}: no activations are kept, because {model.trunk_changes}")
    counts = model.counts()
    announce(
        f"{title(key.network)}, {key.variant}, seed {key.seed}: trains {counts['base_trained']:,} of {counts['base']:,} "
        f"weights of the base, and {counts['head']:,} of the new layers"
    )
    started = time.perf_counter()
    with watch_memory() as peak:
        if protocol.transfer.batchnorm == "adapt":
            _adapt(model, fold, identity, protocol, cache, dtype, on)
        states = _states(model, fold, identity, protocol, cache, keeps=start.keeps, dtype=dtype, device=on, begin=begin)
        trunk_seconds = time.perf_counter() - started
        # before training, so that a machine on which a step finds no room says so before hours are spent
        step, forward = seconds_a_view_uncached(model, size, protocol.training, dtype=dtype, device=on)
        history = _train(model, states, fold, protocol, key, folder, dtype, on)
        logits = predict(model, states, torch.arange(len(fold.table)), dtype=dtype, device=on)
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
        "activations": "kept" if start.keeps else "computed anew in every epoch",
        "seconds_an_epoch_uncached": step * training_views,
        "seconds_an_epoch_cached": float(np.median([epoch.seconds for epoch in history])) if start.keeps else None,
        "seconds_trunk": trunk_seconds,
        "milliseconds_a_view": 1000 * forward,
        "peak_memory_mb": peak.bytes / 2**20,
        "machine": describe(on),
    }
    information = {**_described(key, weights, model, protocol), **measured}
    store.write_manifest(folder / "run.json", identity, information)
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    (folder / "started.json").unlink(missing_ok=True)
    return finished_run(folder)


def _initialisation(network: str) -> str:
    return "timm's initialisation" if is_challenger(network) else "Glorot initialisation"


def _described(key: RunKey, weights: WeightSet | None, model: Classifier, protocol: Protocol) -> dict[str, Any]:
    """What run.json says of a run's weights, network and versions, whatever was measured."""
    size = (protocol.prepare.height, protocol.prepare.width)
    described: dict[str, Any] = {
        "weights_licence": weights.licence if weights else "",
        "weights_trained_on": weights.trained_on if weights else RANDOM_WEIGHTS,
        "parameters": model.counts(),
        "multiply_adds": multiply_adds(key.network, size, protocol.transfer.stride),
        "versions": {name: version(name) for name in ("tramtrack", "torch", "numpy")},
    }
    if is_challenger(key.network):
        described["challenger"] = asdict(model.backbone.facts)
        described["versions"]["timm"] = version("timm")
    return described


def make_classifier(key: RunKey, weights: WeightSet | None, protocol: Protocol) -> Classifier:
    """The network as a run begins with it, on the CPU: pretrained or drawn by the run's seed, with a new head."""
    require_batchnorm_policy(weights, protocol.transfer.batchnorm)
    generator = torch.Generator().manual_seed(key.seed)
    backbone = build(key.network, generator)
    if weights:
        load(backbone, weights)
    return Classifier(backbone, protocol.transfer, generator)


def keeps_activations(network: str, transfer: Transfer, keep: Keep) -> bool:
    """Whether the activations of ``network`` are kept under a policy; asked before any work.

    Raises UsageError where they are asked for and cannot be, and where the network is not known or cannot follow the policy.
    """
    changes = Classifier(skeleton(network), transfer, torch.Generator()).trunk_changes
    if keep == "on" and changes:
        raise UsageError(f"--cache on: activations cannot be kept, because {changes}; use --cache off or auto")
    return keep != "off" and not changes


def _depends_on(model: Classifier, identity: Mapping[str, Any], protocol: Protocol) -> dict[str, Any]:
    """What the trunk's activations of an image depend on, but for the statistics of adapted BatchNorms."""
    return {
        "network": identity["network"],
        "weights": identity["weights_sha256"] or identity["weights_source"],
        "boundary": model.boundary,
        "stride": protocol.transfer.stride,
        "batchnorm": protocol.transfer.batchnorm,
        "prepared": identity["prepared"],
        "size": [protocol.prepare.height, protocol.prepare.width],
        "dtype": identity["dtype"],
    }


def _adapt(
    model: Classifier,
    fold: Fold,
    identity: Mapping[str, Any],
    protocol: Protocol,
    cache: Path,
    dtype: torch.dtype,
    device: torch.device,
) -> None:
    """The base's BatchNorms adapted to the training fold, once for all seeds."""
    training = fold.table[fold.table["fold"] == "training"]
    depends_on = {**_depends_on(model, identity, protocol), "views": list(training["view_id"])}
    kept = cache / f"batchnorm-{store.text_sha256(json.dumps(depends_on))[:16]}.safetensors"
    names = [name for name, _ in model.named_buffers() if name.endswith(("running_mean", "running_var"))]
    state = model.state_dict()
    if not kept.exists():
        what = f"{identity['network']}: BatchNorm statistics"
        adapt_batchnorms(model, list(training["file"]), dtype=dtype, device=device, what=what)
        store.write_bytes(kept, safetensors.torch.save({name: state[name].cpu().contiguous() for name in names}))
    for name, tensor in safetensors.torch.load_file(kept).items():
        state[name].copy_(tensor)


def _states(
    model: Classifier,
    fold: Fold,
    identity: Mapping[str, Any],
    protocol: Protocol,
    cache: Path,
    *,
    keeps: bool,
    dtype: torch.dtype,
    device: torch.device,
    share: tuple[int, int] = (0, 1),
    begin: bool = True,
) -> States:
    """Where the loop gets the tail's input from: kept activations of the views and of their variants, or the trunk itself."""
    files, sides, varied = list(fold.table["file"]), list(fold.table["view"]), protocol.augmentation
    seed = identity["seed"]
    if not keeps:
        batch, views = protocol.training.batch_size, protocol.training.views_at_once
        return Recomputed(model, files, sides, varied, dtype=dtype, device=device, batch=batch, views=views, seed=seed)
    training = fold.examples("training").positions
    rows = torch.full((varied.variants, len(files)), -1)
    draws: list[Draw | None] = [None] * len(files)
    for variant in range(varied.variants):
        rows[variant, training] = len(draws) + torch.arange(len(training))
        draws += [draw(varied, (varied.seed, variant, place), sides[place]) for place in training.tolist()]
    statistics = [tensor.cpu().numpy().tobytes() for name, tensor in model.named_buffers() if "running_" in name]
    ends = model.backbone.prepare_input(torch.tensor([0.0, 65535.0]).view(1, 1, 1, 2))  # what black and white come to
    depends_on = {
        **_depends_on(model, identity, protocol),
        "convention": [f"{value:.5g}" for value in ends.flatten().tolist()],
        "statistics": hashlib.sha256(b"".join(statistics)).hexdigest(),
        "varied_views": store.text_sha256(json.dumps(training.tolist())) if varied.variants else "none",
        "view_ids": store.text_sha256("\n".join(fold.table["view_id"])),
        "augmentation": varied.model_dump(mode="json") if varied.variants else "none",
    }
    activations = compute_activations(
        model,
        [*files, *(files[place] for _ in range(varied.variants) for place in training.tolist())],
        cache / "activations",
        depends_on,
        draws=draws,
        size=(protocol.prepare.height, protocol.prepare.width),
        dtype=dtype,
        device=device,
        what=f"{identity['network']}: activations",
        share=share,
        begin=begin,
    )
    return Kept(activations, device, protocol.training.batch_size, rows=rows if varied.variants else None, seed=seed)


def _train(
    model: Classifier,
    states: States,
    fold: Fold,
    protocol: Protocol,
    key: RunKey,
    folder: Path,
    dtype: torch.dtype,
    device: torch.device,
) -> list[Epoch]:
    """The loop with its progress bar, which moves within an epoch and knows of the epochs that an earlier run finished."""
    training, validation, settings = fold.examples("training"), fold.examples("validation"), protocol.training
    checkpoint = folder / "checkpoint.safetensors"
    parts = parts_an_epoch(len(training), len(validation), settings.batch_size, states.at_once)
    what, done = f"{key.network}: seed {key.seed}, {settings.epochs} epochs", len(read_history(checkpoint))
    with progress_bar(what, settings.epochs * parts, done * parts) as advance:
        return train(
            model,
            Counted(states, advance),
            training,
            validation,
            settings,
            seed=key.seed,
            dtype=dtype,
            device=device,
            checkpoint=checkpoint,
        )


def rebuild(run: Run, protocol: Protocol, device: torch.device) -> Classifier:
    """The trained network from a run's folder, in inference mode. Raises TramtrackError where its weights were changed."""
    generator = torch.Generator().manual_seed(0)
    model = Classifier(build(run.key.network, generator), protocol.transfer, generator)
    model.load_state_dict(safetensors.torch.load_file(require_own_weights(run)))
    return placed(model, device).eval()


def predict_views(run: Run, protocol: Protocol, files: Sequence[Path], what: str, wanted: str = "auto") -> np.ndarray:
    """Logits (n,) float32 of prepared views by a finished run; batches are cut at fixed places, so they repeat to the bit.

    ``wanted`` is the device, see `choose_device`.
    """
    device = choose_device(wanted)
    model = rebuild(run, protocol, device)
    dtype = getattr(torch, run.identity["dtype"])
    trunk = model.fast_trunk(device, dtype)
    logits = []
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype.itemsize == 2):
        for grey in track(batches(files, TRUNK_BATCH, device), what, -(-len(files) // TRUNK_BATCH)):
            logits.append(model(trunk(grey)).float().cpu().numpy())
    return np.concatenate(logits) if logits else np.zeros(0, dtype=np.float32)
