"""Runs for the tests of heat maps: a small network with random weights, in the files that a finished run has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tramtrack import store
from tramtrack.network.build import build
from tramtrack.protocol import Protocol
from tramtrack.training.record import Run
from tramtrack.training.transfer import Classifier


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Run]:
    """Writes a MobileNet, or another network, into <folder>/seed-<seed> and gives its Run."""

    def write(folder: Path, seed: int, protocol: Protocol, dtype: str = "float32", network: str = "mobilenet") -> Run:
        generator = torch.Generator().manual_seed(seed)
        model = Classifier(build(network, generator), protocol.transfer, generator)
        state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        path = store.write_bytes(folder / f"seed-{seed}" / "weights.safetensors", safetensors.torch.save(state))
        identity = {"network": network, "variant": "last-conv", "seed": seed, "weights": "pretrained", "dtype": dtype}
        return Run(path.parent, identity, {"weights_file_sha256": store.file_sha256(path)})

    return write
