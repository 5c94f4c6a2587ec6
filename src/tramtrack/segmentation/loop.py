"""Training the U-Net an epoch at a time, from the first line to the last; and its probabilities of whole views."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tramtrack.protocol import Segmentation
from tramtrack.segmentation.known import Known
from tramtrack.segmentation.patches import cut
from tramtrack.segmentation.unet import SMOOTH, Unet, dice_and_cross_entropy
from tramtrack.training.loader import stream
from tramtrack.training.loop import Diverged, best_epoch, draw, load_checkpoint, save_checkpoint
from tramtrack.training.record import Epoch

CPU = torch.device("cpu")
PATCHES = 4
"""The purpose of the draws that place patches; `tramtrack.training.loop.draw` has those of other purposes."""


def train(
    model: Unet,
    training: Known,
    validation: Known,
    settings: Segmentation,
    *,
    dtype: torch.dtype,
    device: torch.device,
    checkpoint: Path,
    advance: Callable[[], None] = lambda: None,
) -> list[Epoch]:
    """Train ``model`` in place to its best epoch and return its history; goes on from ``checkpoint`` where there is one.

    Every draw of an epoch comes from (seed, epoch) alone, so that a run that was killed gives the same weights as one that was
    not. ``advance`` is called after each step and each validation view. Raises Diverged naming the epoch.
    """
    criterion = dice_and_cross_entropy()
    optimiser = torch.optim.Adam([parameter for _, parameter in model.trained()], lr=settings.learning_rate)
    history, best = load_checkpoint(checkpoint, model, optimiser)
    for epoch in range(len(history) + 1, settings.epochs + 1):
        if settings.patience and history and epoch - 1 - best_epoch(history) >= settings.patience:
            break
        started = time.perf_counter()
        total = 0.0
        model.train()
        for grey, marked in _steps(training, settings, epoch):
            optimiser.zero_grad(set_to_none=True)
            with torch.autocast(device.type, dtype, enabled=dtype.itemsize == 2):
                logits = model(grey.to(device))
            loss = criterion(logits, marked.to(device))
            if not torch.isfinite(loss):
                raise Diverged(f"U-Net: the loss is {loss.item()} in epoch {epoch}; try a lower segmentation.learning_rate")
            loss.backward()
            optimiser.step()
            total += loss.item() * len(grey)
            advance()
        seconds = time.perf_counter() - started
        validation_loss = loss_of_fold(model, validation, dtype, device, advance)
        if not math.isfinite(validation_loss):
            raise Diverged(
                f"U-Net: the validation loss is {validation_loss} after epoch {epoch}; try a lower segmentation.learning_rate"
            )
        history.append(Epoch(epoch, total / len(training), validation_loss, seconds))
        if best_epoch(history) == epoch:
            best = {name: tensor.clone() for name, tensor in model.changing().items()}
        save_checkpoint(checkpoint, model, optimiser, best, history)
    model.load_state_dict(best)
    return history


def steps_an_epoch(training: Known, validation: Known, settings: Segmentation) -> int:
    """How often `train` calls ``advance`` in an epoch."""
    return -(-len(training) // settings.batch_size) + len(validation)


def probabilities(model: Unet, files: Sequence[Path], dtype: torch.dtype, device: torch.device) -> Iterator[np.ndarray]:
    """The probability of BAC in each pixel of prepared views, (rows, columns) float32; one view a pass, so they repeat to the
    bit."""
    for logits in _logits(model, files, dtype, device):
        yield torch.sigmoid(logits)[0, 0].cpu().numpy()


def loss_of_fold(
    model: Unet,
    known: Known,
    dtype: torch.dtype,
    device: torch.device,
    advance: Callable[[], None] = lambda: None,
) -> float:
    """The training loss of whole views, as if they were one batch: 1 - soft Dice over all their pixels, plus the mean
    cross-entropy."""
    both, either, entropy, pixels = 0.0, 0.0, 0.0, 0
    for number, logits in enumerate(_logits(model, known.files, dtype, device)):
        marked = torch.from_numpy(known.mask(number)).to(device, torch.float32)[None, None]
        chance = torch.sigmoid(logits)
        both += float((chance * marked).sum(dtype=torch.float64))
        either += float(chance.sum(dtype=torch.float64) + marked.sum(dtype=torch.float64))
        found = torch.nn.functional.binary_cross_entropy_with_logits(logits, marked, reduction="none")
        entropy += float(found.sum(dtype=torch.float64))
        pixels += marked.numel()
        advance()
    return 1 - (2 * both + SMOOTH) / (either + SMOOTH) + entropy / pixels


def _logits(model: Unet, files: Sequence[Path], dtype: torch.dtype, device: torch.device) -> Iterator[Tensor]:
    """Logits (1, 1, rows, columns) float32 of each view, in inference mode."""
    model.eval()
    for grey in stream([[file] for file in files], device):
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype.itemsize == 2):
            yield model(grey)


def _steps(training: Known, settings: Segmentation, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The steps of an epoch: patches and their marked pixels, both float32 (n, 1, h, w), one patch of each view."""
    seed = settings.seed
    order = torch.randperm(len(training), generator=torch.Generator().manual_seed(draw(seed, epoch, 0)))
    parts, files = order.split(settings.batch_size), training.files
    for part, whole in zip(parts, stream([[files[place] for place in part.tolist()] for part in parts], CPU), strict=True):
        cuts = []
        for place, grey in zip(part.tolist(), whole[:, 0].numpy(), strict=True):
            generator = np.random.default_rng(np.random.SeedSequence((seed, epoch, PATCHES, place)))
            cuts.append(cut(grey, training.mask(place), settings.patch, settings.on_bac, generator))
        grey, marked = (np.stack(items)[:, None].astype(np.float32) for items in zip(*cuts, strict=True))
        yield torch.from_numpy(grey), torch.from_numpy(marked)
