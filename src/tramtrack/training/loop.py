"""The training loop: the trained tail over what enters it, an epoch at a time, from the first line to the last."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from tramtrack import store
from tramtrack.errors import TramtrackError
from tramtrack.protocol import Training
from tramtrack.training.record import Epoch
from tramtrack.training.states import States
from tramtrack.training.transfer import Classifier


class Trained(Protocol):
    """A network as a checkpoint sees it."""

    def trained(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """The parameters that training changes, by name, in a fixed order."""
        ...

    def changing(self) -> Mapping[str, Tensor]:
        """Everything that training changes, by name."""
        ...


class Diverged(TramtrackError):
    """The loss is no longer a number; this run stops, others go on."""


@dataclass(frozen=True)
class Examples:
    """Views as the loop sees them: positions in the activations (n,) int64, and labels (n,) float32, 0 or 1."""

    positions: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.positions)


def train(
    model: Classifier,
    states: States,
    training: Examples,
    validation: Examples,
    settings: Training,
    *,
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
    checkpoint: Path,
) -> list[Epoch]:
    """Train the tail of ``model`` in place and return its history; goes on from ``checkpoint`` where there is one.

    Every random draw of an epoch comes from (seed, epoch) alone, so a run that was killed gives the same weights as one
    that was not. Raises Diverged naming epoch, batch and seed.
    """
    weight_of = class_weights(training.labels, settings.class_weighting)
    optimiser = make_optimiser(model, settings)
    history, best = load_checkpoint(checkpoint, model, optimiser)
    for epoch in range(len(history) + 1, settings.epochs + 1):
        if settings.patience and history and epoch - 1 - best_epoch(history) >= settings.patience:
            break
        started = time.perf_counter()
        order = torch.randperm(len(training), generator=torch.Generator().manual_seed(draw(seed, epoch, 0)))
        total = 0.0
        model.train()
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(draw(seed, epoch, 1))  # dropout draws from the global generator, which is put back
            steps = [chosen.split(states.at_once) for chosen in order.split(settings.batch_size)]
            coming = states.stream([training.positions[part] for step in steps for part in step], epoch)
            for number, step in enumerate(steps, start=1):
                optimiser.zero_grad(set_to_none=True)
                views = sum(map(len, step))
                for part in step:  # gradients add up over the parts of a step
                    state = next(coming)
                    with torch.autocast(device.type, dtype, enabled=dtype.itemsize == 2):
                        logits = model(state)
                    loss = weighted_loss(logits, training.labels[part].to(device), weight_of)
                    if not torch.isfinite(loss):
                        where = f"in epoch {epoch}, batch {number} of seed {seed}"
                        raise Diverged(f"the loss is {loss.item()} {where}; try a lower learning rate")
                    (loss * (len(part) / views)).backward()
                    total += loss.item() * len(part)
                optimiser.step()
        seconds = time.perf_counter() - started
        logits_now = predict(model, states, validation.positions, dtype=dtype, device=device)
        validation_loss = float(weighted_loss(torch.from_numpy(logits_now), validation.labels, weight_of))
        if not math.isfinite(validation_loss):
            where = f"after epoch {epoch} of seed {seed}"
            raise Diverged(f"the validation loss is {validation_loss} {where}; try a lower learning rate")
        history.append(Epoch(epoch, total / len(training), validation_loss, seconds))
        if settings.keep == "last" or best_epoch(history) == epoch:
            best = {name: tensor.clone() for name, tensor in model.changing().items()}
        save_checkpoint(checkpoint, model, optimiser, best, history)
    with torch.no_grad():
        for name, tensor in model.changing().items():
            tensor.copy_(best[name])
    model.eval()
    return history


def predict(model: Classifier, states: States, positions: Tensor, *, dtype: torch.dtype, device: torch.device) -> np.ndarray:
    """Logits of the views at ``positions`` (n,), float32 (n,), in inference mode."""
    model.eval()
    logits = []
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype.itemsize == 2):
        for state in states.stream(positions.split(states.at_once), None):
            logits.append(model(state).float().cpu())
    return torch.cat(logits).numpy() if logits else np.zeros(0, dtype=np.float32)


def class_weights(labels: Tensor, weighting: str) -> tuple[float, float]:
    """Weights of a negative and of a positive view: equal sums for both classes, or 1 and 1."""
    positives, count = int(labels.sum()), len(labels)
    if positives in (0, count):
        which = "with" if positives else "without"
        raise TramtrackError(f"all {count} training views are {which} BAC; training needs both classes")
    if weighting == "none":
        return 1.0, 1.0
    return count / (2 * (count - positives)), count / (2 * positives)


def weighted_loss(logits: Tensor, labels: Tensor, weights: tuple[float, float]) -> Tensor:
    """Mean binary cross-entropy of logits (n,) with one weight a class."""
    each = torch.where(labels > 0.5, weights[1], weights[0]).to(logits.device)
    return torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), labels.to(logits.device), weight=each)


def make_optimiser(model: Classifier, settings: Training) -> torch.optim.Optimizer:
    """AdamW, or SGD with momentum 0.9; what is trained of the base steps at its own rate, new layers at theirs."""
    groups: list[dict[str, Any]] = [
        {"params": [parameter for _, parameter in members], "lr": rate}
        for rate, members in parameters_by_rate(model, settings).items()
    ]
    if settings.optimiser == "adam":
        return torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    return torch.optim.SGD(groups, momentum=0.9, weight_decay=settings.weight_decay)


def parameters_by_rate(model: Classifier, settings: Training) -> dict[float, list[tuple[str, torch.nn.Parameter]]]:
    """The trained parameters by name under their learning rate, in a fixed order: the base first."""
    rates: dict[float, list[tuple[str, torch.nn.Parameter]]] = {}
    for name, parameter in sorted(model.trained(), key=lambda item: not item[0].startswith("backbone.")):
        of_base = settings.convolution_learning_rate * model.learning_rate_share(name) if name.startswith("backbone.") else None
        rates.setdefault(settings.learning_rate if of_base is None else of_base, []).append((name, parameter))
    return rates


def best_epoch(history: list[Epoch]) -> int:
    """The first epoch of lowest validation loss."""
    return min(history, key=lambda epoch: epoch.validation_loss).epoch


def draw(seed: int, epoch: int, purpose: int) -> int:
    """A seed of its own for each run, epoch and purpose (0: order of the views, 1: dropout)."""
    return int(np.random.SeedSequence((seed, epoch, purpose)).generate_state(1, np.uint64)[0] >> 1)


def save_checkpoint(
    path: Path, model: Trained, optimiser: torch.optim.Optimizer, best: dict[str, Tensor], history: list[Epoch]
) -> None:
    """Weights now, weights at their best, the optimiser's state and the history, in one safetensors file, atomically."""
    names = _in_optimiser_order(model, optimiser)
    tensors = {f"now.{name}": tensor.cpu() for name, tensor in model.changing().items()}
    tensors |= {f"best.{name}": tensor.cpu() for name, tensor in best.items()}
    for number, values in optimiser.state_dict()["state"].items():
        for key, value in values.items():
            if value is not None:
                tensors[f"optimiser.{key}.{names[number]}"] = torch.as_tensor(value).cpu()
    metadata = {"history": json.dumps([asdict(epoch) for epoch in history])}
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    store.write_bytes(path, safetensors.torch.save(contiguous, metadata))


def read_history(path: Path) -> list[Epoch]:
    """The epochs that a checkpoint has behind it; none where there is none. Raises TramtrackError where it is damaged."""
    if not path.exists():
        return []
    try:
        with safetensors.safe_open(path, "pt") as opened:
            return [Epoch(**row) for row in json.loads(opened.metadata()["history"])]
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise TramtrackError(
            f"{path}: expected a checkpoint of this run, found something else ({error}); remove it to train from the start"
        ) from error


def load_checkpoint(path: Path, model: Trained, optimiser: torch.optim.Optimizer) -> tuple[list[Epoch], dict[str, Tensor]]:
    """Put a checkpoint back into model and optimiser; returns its history and best weights, empty where there is none."""
    history = read_history(path)
    if not history:
        return [], {}
    tensors = safetensors.torch.load_file(path)
    with torch.no_grad():
        for name, tensor in model.changing().items():
            tensor.copy_(tensors[f"now.{name}"])
    parameters = dict(model.trained())
    state: dict[int, dict[str, Tensor]] = {}
    for number, name in enumerate(_in_optimiser_order(model, optimiser)):
        found = {
            key.split(".", 2)[1]: value
            for key, value in tensors.items()
            if key.startswith("optimiser.") and key.split(".", 2)[2] == name
        }
        device = parameters[name].device
        state[number] = {key: value if key == "step" else value.to(device) for key, value in found.items()}
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    return history, {name: tensors[f"best.{name}"].to(tensor.device) for name, tensor in model.changing().items()}


def _in_optimiser_order(model: Trained, optimiser: torch.optim.Optimizer) -> list[str]:
    """The names of the optimiser's parameters in the order in which it numbers them."""
    names = {id(parameter): name for name, parameter in model.trained()}
    return [names[id(parameter)] for group in optimiser.param_groups for parameter in group["params"]]
