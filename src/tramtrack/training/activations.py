"""What the frozen trunk makes of each view, computed once and kept on disk while a network's runs need it.

With everything before the last convolution frozen, an epoch would repeat the same forward pass for the same views. Here
each tensor that crosses into the trained tail is written to one memory-mapped file, channels last; batches are always cut
at the same places, so an interrupted pass goes on at the next batch and gives the same bits.
"""

from __future__ import annotations

import math
import mmap
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tramtrack import store
from tramtrack.errors import TramtrackError
from tramtrack.network.registry import title
from tramtrack.progress import announce, track
from tramtrack.training.augment import Draw, vary
from tramtrack.training.hardware import dtype_name
from tramtrack.training.loader import batches
from tramtrack.training.transfer import Classifier, State

TRUNK_BATCH = 8
"""Views a forward pass; fixed, because it is part of what makes two passes equal to the bit."""


class Activations:
    """The crossing tensors of a list of views, read back by position.

    ``mapped`` are the memory maps that hold them, if files do: what was read of those does not stay in this process's memory.
    """

    def __init__(self, tensors: Sequence[Tensor], mapped: Sequence[mmap.mmap] = ()) -> None:
        self._tensors = tuple(tensors)
        self._mapped = tuple(mapped)

    def __len__(self) -> int:
        return int(self._tensors[0].shape[0])

    def batch(self, positions: Tensor, device: torch.device) -> State:
        """The tensors at ``positions`` (n,), each (n, C, h, w) in channels_last on ``device``."""
        gathered = [tensor[positions].permute(0, 3, 1, 2) for tensor in self._tensors]
        _let_go(self._mapped)
        if device.type == "cuda":
            return tuple(tensor.pin_memory().to(device, non_blocking=True) for tensor in gathered)
        return tuple(gathered)


def bytes_a_view(model: Classifier, size: tuple[int, int], dtype: torch.dtype) -> int:
    """What the activations of one view take on the disk; ``model`` may be without weights, on torch's meta device."""
    shapes = crossing_shapes(model, size, next(model.parameters()).device)
    return sum(math.prod(shape) for shape in shapes) * dtype.itemsize


def crossing_shapes(model: Classifier, size: tuple[int, int], device: torch.device) -> list[tuple[int, int, int]]:
    """(h, w, C) of each tensor that crosses for an input of ``size`` (height, width)."""
    with torch.inference_mode():
        state = model.trunk(torch.zeros((1, 1, *size), device=device))
    return [(tensor.shape[2], tensor.shape[3], tensor.shape[1]) for tensor in state]


def compute_activations(
    model: Classifier,
    views: Sequence[Path],
    folder: Path,
    identity: Mapping[str, Any],
    *,
    draws: Sequence[Draw | None] | None = None,
    size: tuple[int, int],
    dtype: torch.dtype,
    device: torch.device,
    what: str,
    share: tuple[int, int] = (0, 1),
    begin: bool = True,
) -> Activations:
    """Run the trunk over ``views`` (prepared files) into ``folder``, or go on where an earlier pass stopped.

    ``draws`` says of each view how it is varied first; the same file may stand there several times. ``identity`` says what the
    activations depend on; other activations in the folder are removed. Several processes can work at once: ``share`` (k, n)
    computes the k-th of n shares alone, (n, n) none, and with ``begin`` false the files must be laid out already. Raises
    TramtrackError where the disk has not the room, with the size that is needed.
    """
    trunk = model.fast_trunk(device, dtype)
    shapes = crossing_shapes(model, size, device)
    identity = {**identity, "views": len(views), "shapes": [list(shape) for shape in shapes], "dtype": dtype_name(dtype)}
    sizes = [math.prod(shape) * len(views) * dtype.itemsize for shape in shapes]
    files = [folder / f"crossing-{number}.bin" for number in range(len(shapes))]
    if not _are_laid_out(folder, identity, dict(zip(files, sizes, strict=True))):
        if not begin:
            raise TramtrackError(
                f"{folder}: not the activations that this run needs ({dtype_name(dtype)}); a cluster whose machines choose "
                "different arithmetic needs training.dtype in its protocol, and one study folder takes one command at a time"
            )
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        announce(f"{what} of {len(views)} views take {sum(sizes) / 1e9:.2f} GB in {folder}, removed after the last seed")
        require_room(folder, sum(sizes), title(model.backbone.name))
        for file, whole in zip(files, sizes, strict=True):
            with file.open("wb") as stream:
                _reserve(stream.fileno(), whole, folder)
        store.write_manifest(folder / "manifest.json", identity, {"bytes": sum(sizes)})  # last: a kill before it begins anew
    mapped = [_map(file) for file in files]
    tensors = [
        torch.frombuffer(pages, dtype=dtype).view(len(views), *shape) for pages, shape in zip(mapped, shapes, strict=True)
    ]
    total = math.ceil(len(views) / TRUNK_BATCH)
    first, end = batches_of(share, total, [math.prod(shape) * dtype.itemsize for shape in shapes])
    known = {entry["batch"] for path in folder.glob("done*.jsonl") for entry in store.Journal(path).entries()}
    done = next((number for number in range(first, end) if number not in known), end)
    journal = store.Journal(folder / ("done.jsonl" if share == (0, 1) else f"done-{first}.jsonl"))
    if done == end:
        return Activations(tensors, mapped)
    upto = views[: end * TRUNK_BATCH]
    with (
        journal.appending() as append,
        torch.inference_mode(),
        torch.autocast(device.type, dtype, enabled=dtype.itemsize == 2),
    ):
        for number, grey in enumerate(track(batches(upto, TRUNK_BATCH, device, done), what, end, done), start=done):
            start = number * TRUNK_BATCH
            state = trunk(vary(grey, draws[start : start + len(grey)]) if draws else grey)
            for tensor, crossing in zip(tensors, state, strict=True):
                tensor[start : start + len(grey)] = crossing.permute(0, 2, 3, 1).to("cpu", dtype)
            for pages in mapped:
                pages.flush()  # on disk before the journal says so
            _let_go(mapped)
            append({"batch": number})
    for file in files if share != (0, 1) else ():  # on shared storage, others see what has left this machine
        with file.open("r+b") as written:
            os.fsync(written.fileno())
    return Activations(tensors, mapped)


def _are_laid_out(folder: Path, identity: Mapping[str, Any], sizes: Mapping[Path, int]) -> bool:
    """Whether ``folder`` holds files for just these activations, each of its whole size in bytes."""
    if store.read_identity(folder / "manifest.json") != {"schema": store.SCHEMA_VERSION, **identity}:
        return False
    return all(file.exists() and file.stat().st_size == size for file, size in sizes.items())


def _map(file: Path) -> mmap.mmap:
    """A whole file as memory that is written through to it."""
    with file.open("r+b") as stream:
        return mmap.mmap(stream.fileno(), 0)


def _let_go(mapped: Sequence[mmap.mmap]) -> None:
    """Give the resident pages of shared maps back to the system, which keeps what was written: memory stays that of a batch.

    Where the platform has no such advice the system takes pages back when it needs them.
    """
    for pages in mapped:
        if hasattr(mmap, "MADV_DONTNEED"):
            pages.madvise(mmap.MADV_DONTNEED)


def batches_of(share: tuple[int, int], total: int, view_bytes: Sequence[int]) -> tuple[int, int]:
    """First batch and end of share (k, n) of ``total`` batches; (n, n) is empty.

    Shares begin where each file (of ``view_bytes`` a view) begins a memory page, so that no page has two writers: on a network
    file system the later one would undo the other's half.
    """
    step = math.lcm(*(mmap.PAGESIZE // math.gcd(mmap.PAGESIZE, TRUNK_BATCH * count) for count in view_bytes))
    which, of = share
    blocks = math.ceil(total / step)
    return min(total, which * blocks // of * step), min(total, (which + 1) * blocks // of * step) if which < of else total


def _reserve(descriptor: int, size: int, folder: Path) -> None:
    """Make an empty file ``size`` bytes long, and take the room now: another network's activations may want it as well."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:
            os.truncate(descriptor, size)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise TramtrackError(
            f"{folder}: no room for {size / 1e9:.1f} GB of activations ({error.strerror}); make room, or do without them "
            "(--cache off)"
        ) from error


def require_room(folder: Path, needed: int, whose: str, held: int = 0) -> None:
    """Raise TramtrackError unless the disk of ``folder`` has room for ``needed`` bytes of activations of the network ``whose``.

    ``held`` are bytes that will be given back or used again.
    """
    free = shutil.disk_usage(folder).free + held
    if needed > 0.95 * free:
        raise TramtrackError(
            f"{folder}: the activations of {whose} need {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB free; "
            "make room, use a smaller input size, or do without them (--cache off)"
        )
