"""What the loop trains on: the tensors that enter the tail, read back where they are kept, else computed when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tramtrack.protocol import Augmentation
from tramtrack.training.activations import Activations
from tramtrack.training.augment import Draw, draw, vary
from tramtrack.training.loader import stream
from tramtrack.training.transfer import Classifier, State, Trunk


class States(Protocol):
    """Where the loop gets the tail's input from. ``at_once`` is how many views it asks for together at most."""

    at_once: int

    def stream(self, parts: Sequence[Tensor], epoch: int | None) -> Iterator[State]:
        """For each part (positions of views, (n,) int64) what crosses into the tail.

        ``epoch`` (from 1) is that of training, whose views are varied if the protocol says so; None gives them as they are.
        """
        ...


class Kept:
    """Activations that were computed once. With variants, an epoch takes one of each view at random.

    ``rows`` (variants, views) int64 says which of the kept tensors is which variant of a view; views that are not trained on
    have -1 there.
    """

    def __init__(
        self, activations: Activations, device: torch.device, at_once: int, *, rows: Tensor | None = None, seed: int = 0
    ) -> None:
        self._activations, self._device, self._rows, self._seed = activations, device, rows, seed
        self.at_once = at_once

    def stream(self, parts: Sequence[Tensor], epoch: int | None) -> Iterator[State]:
        """See `States.stream`."""
        for positions in parts:
            yield self._activations.batch(self._chosen(positions, epoch), self._device)

    def _chosen(self, positions: Tensor, epoch: int | None) -> Tensor:
        if epoch is None or self._rows is None:
            return positions
        count, views = self._rows.shape
        which = np.random.default_rng(np.random.SeedSequence((self._seed, epoch, 2))).integers(0, count, views)
        rows = self._rows[torch.from_numpy(which)[positions], positions]
        if (rows < 0).any():
            raise ValueError("a view was asked for in an epoch that has no kept variant of it")
        return rows


class Recomputed:
    """The trunk, run anew for each batch: for policies under which it changes, or where the disk has no room.

    Each epoch draws a variant of each view of its own. A trunk that is trained passes gradients on, and then ``views`` views
    are asked for together; a frozen one takes ``views`` at a time of a whole batch. Views that are only scored go through
    the same folded trunk as those of the test fold.
    """

    def __init__(
        self,
        model: Classifier,
        files: Sequence[Path],
        positions: Sequence[str],
        augmentation: Augmentation,
        *,
        dtype: torch.dtype,
        device: torch.device,
        batch: int,
        views: int,
        seed: int,
    ) -> None:
        self._model, self._files, self._positions, self._augmentation = model, files, positions, augmentation
        self._dtype, self._device, self._seed = dtype, device, seed
        self._changes = bool(model.trunk_changes)
        self._frozen = None if self._changes else model.fast_trunk(device, dtype)
        self._views = min(views, batch)
        self.at_once = self._views if self._changes else batch

    def stream(self, parts: Sequence[Tensor], epoch: int | None) -> Iterator[State]:
        """See `States.stream`."""
        trains = self._changes and epoch is not None
        trunk = self._model.trunk if trains else self._frozen or self._model.fast_trunk(self._device, self._dtype)
        paths = [[self._files[place] for place in part.tolist()] for part in parts]
        half = self._dtype.itemsize == 2
        for part, grey in zip(parts, stream(paths, self._device), strict=True):
            varied = vary(grey, [self._draw(place, epoch) for place in part.tolist()])
            with torch.set_grad_enabled(trains), torch.autocast(self._device.type, self._dtype, enabled=half):
                state = in_pieces(trunk, varied, self._views)
            yield state

    def _draw(self, place: int, epoch: int | None) -> Draw | None:
        if epoch is None or not self._augmentation.variants:
            return None
        return draw(self._augmentation, (self._seed, epoch, 3, place), self._positions[place])


def in_pieces(trunk: Trunk, grey: Tensor, views: int) -> State:
    """What ``trunk`` makes of grey views (N, 1, H, W), ``views`` of them in memory at a time."""
    pieces = [trunk(piece) for piece in grey.split(views)]
    return pieces[0] if len(pieces) == 1 else tuple(torch.cat(crossing) for crossing in zip(*pieces, strict=True))


class Counted:
    """Other states, with ``advance`` called with each part that is handed out: for a bar that moves within an epoch."""

    def __init__(self, states: States, advance: Callable[[], None]) -> None:
        self._states, self._advance = states, advance
        self.at_once = states.at_once

    def stream(self, parts: Sequence[Tensor], epoch: int | None) -> Iterator[State]:
        """See `States.stream`."""
        for state in self._states.stream(parts, epoch):
            self._advance()
            yield state


def parts_an_epoch(training: int, validation: int, batch: int, at_once: int) -> int:
    """How many parts the loop asks for in an epoch: those of each step of ``batch`` training views, then of validation."""
    steps, rest = divmod(training, batch)
    return steps * -(-batch // at_once) - (-rest // at_once) - (-validation // at_once)
