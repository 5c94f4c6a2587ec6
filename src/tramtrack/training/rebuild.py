"""A finished run's network, from its folder, and its scores of any prepared views."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from tramtrack.network.build import build
from tramtrack.progress import track
from tramtrack.protocol import Protocol
from tramtrack.training.activations import TRUNK_BATCH
from tramtrack.training.hardware import choose_device, placed
from tramtrack.training.loader import batches
from tramtrack.training.record import Run, require_own_weights
from tramtrack.training.transfer import Classifier


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
