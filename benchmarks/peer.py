"""Ours and Keras in one run: the Keras process, weights and head carried over to it, and the machine's matrix rate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "contract" / "network"))

import recipe

from tramtrack.network.backbone import Backbone
from tramtrack.network.build import skeleton
from tramtrack.network.weight_set import WeightSet
from tramtrack.network.weights import WeightsUnavailable, obtain
from tramtrack.training.transfer import Head

MATRIX = 2048
"""Rows and columns of the square matrices that are multiplied to measure the machine's rate."""


class Keras:
    """The process of keras_side.py: ``ask`` sends one question and waits for its answer."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """One question, one answer. Exits where the process has ended; what it said stands on standard error."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            print(json.dumps({"do": do, **arguments}, default=str), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise SystemExit(f"the Keras process ended at {do} with exit code {self._process.wait()}")
        found: dict[str, Any] = json.loads(answer)
        return found


@contextmanager
def keras() -> Iterator[Keras]:
    """Start the Keras side with the python that TRAMTRACK_PEERS_PYTHON names, and end it with the block."""
    python = os.environ.get("TRAMTRACK_PEERS_PYTHON", "")
    if not python or not Path(python).exists():
        raise SystemExit(
            f"TRAMTRACK_PEERS_PYTHON: expected the python of an environment with keras and tensorflow-cpu, received "
            f"{python or 'nothing'}; `make bench NAME=...` makes and names it"
        )
    worker = [python, str(Path(__file__).with_name("keras_side.py"))]
    process = subprocess.Popen(worker, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Keras(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def pretrained(network: str) -> WeightSet | None:
    """The network's pretrained weights, or None where no source has them; which of the two is printed."""
    try:
        found = obtain(network)
    except WeightsUnavailable:
        print(f"{network}: seeded random weights; no source has the pretrained ones here", flush=True)
        return None
    print(f"{network}: {found.source}", flush=True)
    return found


def lively(network: str) -> WeightSet:
    """Seeded random weights that keep a network's activations near 1, those of the contract tests.

    Behind thirteen depthwise layers drawn by Glorot's rule they would be denormal numbers, which processors handle slowly.
    """
    layers = skeleton(network).keras_layers()
    made = recipe.weights(network, [(layer.name, layer.keras_class, layer.variables) for layer in layers])
    tensors = {
        f"{layer.name}/{variable}": made[f"{place}/{variable}"].astype(np.float32)
        for place, layer in enumerate(layers)
        for variable, _ in layer.variables
    }
    return WeightSet(network, tensors, "seeded random weights", "", "", "")


def write_weights(backbone: Backbone, path: Path) -> None:
    """The backbone's weights as Keras takes them: one array a variable, layers in Keras's order, in an .npz file."""
    state = {name: tensor.detach().float().numpy() for name, tensor in backbone.state_dict().items()}
    arrays = {}
    modules = {id(module): name for name, module in backbone.named_modules()}
    for layer in backbone.keras_layers():
        place = modules[id(backbone.keras_modules()[layer.name])]
        for variable, shape in layer.variables:
            arrays[f"{layer.name}/{variable}"] = _keras_layout(state[f"{place}.{_TORCH[variable]}"], shape)
    np.savez(path, **arrays)


_TORCH = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "depthwise_kernel": "depthwise.weight",
    "pointwise_kernel": "pointwise.weight",
}


def _keras_layout(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(out, in, rows, columns) to (rows, columns, in, out); depthwise (channels, 1, …) to (rows, columns, channels, 1)."""
    if array.ndim == 4:
        array = array.transpose(2, 3, 0, 1) if array.shape[1] == 1 and shape[3] == 1 else array.transpose(2, 3, 1, 0)
    assert array.shape == shape
    return np.ascontiguousarray(array)


def head_arrays(head: Head) -> dict[str, np.ndarray]:
    """The head's dense layers: ``dense1.weight`` (out, in) and so on."""
    return {name: tensor.detach().numpy().copy() for name, tensor in head.state_dict().items()}


def matrix_rate(dtype: torch.dtype) -> float:
    """GFLOP/s of one product of two square matrices of this dtype, on this machine, now; two operations a multiply-add."""
    left, right = torch.ones((MATRIX, MATRIX), dtype=dtype), torch.ones((MATRIX, MATRIX), dtype=dtype)
    with torch.inference_mode():
        started = time.perf_counter()
        torch.mm(left, right)
        return 2 * MATRIX**3 / (time.perf_counter() - started) / 1e9
