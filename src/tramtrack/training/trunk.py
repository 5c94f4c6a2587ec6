"""What a run's tail trains on: the trunk's activations, kept on disk for all seeds or computed anew in every epoch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from tramtrack import store
from tramtrack.training.activations import compute_activations
from tramtrack.training.adapt import adapt_batchnorms
from tramtrack.training.augment import Draw, draw
from tramtrack.training.setup import Setup
from tramtrack.training.states import Kept, Recomputed, States
from tramtrack.training.transfer import Classifier


def tail_input(model: Classifier, setup: Setup, cache: Path, *, share: tuple[int, int] = (0, 1), begin: bool = True) -> States:
    """Where the loop gets the tail's input from: kept activations of the views and of their variants, or the trunk itself.

    ``share`` and ``begin``: see `compute_activations`.
    """
    table, settings, varied = setup.fold.table, setup.protocol.training, setup.protocol.augmentation
    files, sides, seed = list(table["file"]), list(table["view"]), setup.key.seed
    dtype, device = setup.dtype, setup.device
    if not setup.keeps:
        batch, views = settings.batch_size, settings.views_at_once
        return Recomputed(model, files, sides, varied, dtype=dtype, device=device, batch=batch, views=views, seed=seed)
    training = setup.fold.examples("training").positions
    rows = torch.full((varied.variants, len(files)), -1)
    draws: list[Draw | None] = [None] * len(files)
    for variant in range(varied.variants):
        rows[variant, training] = len(draws) + torch.arange(len(training))
        draws += [draw(varied, (varied.seed, variant, place), sides[place]) for place in training.tolist()]
    statistics = [tensor.cpu().numpy().tobytes() for name, tensor in model.named_buffers() if "running_" in name]
    ends = model.backbone.prepare_input(torch.tensor([0.0, 65535.0]).view(1, 1, 1, 2))  # what black and white come to
    depends_on = {
        **_depends_on(model, setup),
        "convention": [f"{value:.5g}" for value in ends.flatten().tolist()],
        "statistics": hashlib.sha256(b"".join(statistics)).hexdigest(),
        "varied_views": store.text_sha256(json.dumps(training.tolist())) if varied.variants else "none",
        "view_ids": store.text_sha256("\n".join(table["view_id"])),
        "augmentation": varied.model_dump(mode="json") if varied.variants else "none",
    }
    activations = compute_activations(
        model,
        [*files, *(files[place] for _ in range(varied.variants) for place in training.tolist())],
        cache / "activations",
        depends_on,
        draws=draws,
        size=setup.size,
        dtype=dtype,
        device=device,
        what=f"{setup.key.network}: activations",
        share=share,
        begin=begin,
    )
    return Kept(activations, device, settings.batch_size, rows=rows if varied.variants else None, seed=seed)


def adapt_base(model: Classifier, setup: Setup, cache: Path) -> None:
    """Under the policy ``adapt``, the base's BatchNorms adapted to the training fold, once for all seeds; else nothing."""
    if setup.protocol.transfer.batchnorm != "adapt":
        return
    table = setup.fold.table
    training = table[table["fold"] == "training"]
    depends_on = {**_depends_on(model, setup), "views": list(training["view_id"])}
    kept = cache / f"batchnorm-{store.text_sha256(json.dumps(depends_on))[:16]}.safetensors"
    names = [name for name, _ in model.named_buffers() if name.endswith(("running_mean", "running_var"))]
    state = model.state_dict()
    if not kept.exists():
        what = f"{setup.key.network}: BatchNorm statistics"
        adapt_batchnorms(model, list(training["file"]), dtype=setup.dtype, device=setup.device, what=what)
        store.write_bytes(kept, safetensors.torch.save({name: state[name].cpu().contiguous() for name in names}))
    for name, tensor in safetensors.torch.load_file(kept).items():
        state[name].copy_(tensor)


def _depends_on(model: Classifier, setup: Setup) -> dict[str, Any]:
    """What the trunk's activations of an image depend on, but for the statistics of adapted BatchNorms."""
    identity, transfer = setup.identity, setup.protocol.transfer
    return {
        "network": identity["network"],
        "weights": identity["weights_sha256"] or identity["weights_source"],
        "boundary": model.boundary,
        "stride": transfer.stride,
        "batchnorm": transfer.batchnorm,
        "prepared": identity["prepared"],
        "size": list(setup.size),
        "dtype": identity["dtype"],
    }
