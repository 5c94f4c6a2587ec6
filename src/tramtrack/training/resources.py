"""What a network costs: multiply-adds, weights, memory, seconds with and without kept activations."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode

from tramtrack.network.build import skeleton
from tramtrack.network.stride import refine
from tramtrack.protocol import Training
from tramtrack.training.loop import make_optimiser, weighted_loss
from tramtrack.training.states import in_pieces
from tramtrack.training.transfer import Classifier

MEASURED_BATCH = 4
"""Most views in the batches on which a network's speed is measured; a protocol's smaller batch is measured as it is."""


def multiply_adds(network: str, size: tuple[int, int], stride: int = 32) -> int:
    """Multiply-adds of one forward pass of the base at (height, width): convolutions only, counted by torch on no data.

    ``stride`` 16 counts the variant that `refine` makes.
    """
    counter = FlopCounterMode(display=False)
    base = skeleton(network).eval()
    with counter, torch.device("meta"):
        (refine(base) if stride == 16 else base)(torch.empty((1, 3, *size)))
    return int(counter.get_total_flops()) // 2


def seconds_a_view_uncached(
    model: Classifier, size: tuple[int, int], settings: Training, *, dtype: torch.dtype, device: torch.device, batches: int = 2
) -> tuple[float, float]:
    """Seconds a view of a training step without kept activations (the study's setting), and of a forward pass alone.

    The best of a few batches of random grey values after one to warm up; the model's weights are left as they were. No more
    views are in memory together than training holds: ``settings.views_at_once``, as in `Recomputed`.
    """
    before = {name: tensor.clone() for name, tensor in model.changing().items()}
    most = min(MEASURED_BATCH, settings.batch_size)
    at_once = min(settings.views_at_once, most)
    views = most // at_once * at_once  # in parts of one size
    grey = torch.randint(0, 65536, (views, 1, *size), generator=torch.Generator().manual_seed(0)).float().to(device)
    labels = (torch.arange(views) % 2).float()
    optimiser = make_optimiser(model, settings)
    steps, forwards = [], []
    changes = bool(model.trunk_changes)
    trunk = model.trunk if changes else model.fast_trunk(device, dtype)
    model.train()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for _ in range(batches + 1):
            started = time.perf_counter()
            optimiser.zero_grad(set_to_none=True)
            for part, truth in zip(*(each.split(at_once if changes else views) for each in (grey, labels)), strict=True):
                with torch.autocast(device.type, dtype, enabled=dtype.itemsize == 2):
                    with torch.set_grad_enabled(changes):
                        state = in_pieces(trunk, part, at_once)
                    logits = model(state)
                if not changes:
                    _wait(device)
                    forwards.append(time.perf_counter() - started)
                (weighted_loss(logits, truth, (1.0, 1.0)) * (len(part) / views)).backward()
            optimiser.step()
            _wait(device)
            steps.append(time.perf_counter() - started)
    optimiser.zero_grad(set_to_none=True)
    with torch.no_grad():
        for name, tensor in model.changing().items():
            tensor.copy_(before[name])
    model.eval()
    if changes:  # predictions are made through the folded trunk, whatever training runs
        trunk = model.fast_trunk(device, dtype)
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype.itemsize == 2):
            for _ in range(batches + 1):
                started = time.perf_counter()
                for part in grey.split(at_once):
                    model(trunk(part))
                _wait(device)
                forwards.append(time.perf_counter() - started)
    return min(steps[1:]) / views, min(forwards[1:]) / views


@dataclass
class Peak:
    """The most memory that this process and its children held together while watched, in bytes."""

    bytes: int = 0


@contextmanager
def watch_memory(interval: float = 0.2) -> Iterator[Peak]:
    """Sample the resident memory of the process tree until the block ends."""
    peak, over = Peak(), threading.Event()

    def sample() -> None:
        while not over.is_set():
            peak.bytes = max(peak.bytes, tree_memory())
            over.wait(interval)

    watcher = threading.Thread(target=sample, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


def tree_memory() -> int:
    """Resident memory of this process and all its children, summed, in bytes; shared pages count in each."""
    total = 0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
