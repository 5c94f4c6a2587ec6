"""Prepared views from disk to the device, a batch ahead of the network."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tramtrack.imaging.prepare import read_prepared


def batches(paths: Sequence[Path], size: int, device: torch.device, first: int = 0) -> Iterator[Tensor]:
    """Batches ``first``, ``first + 1``, ... of at most ``size`` views, as `stream` gives them."""
    return stream([paths[start : start + size] for start in range(first * size, len(paths), size)], device)


def stream(parts: Iterable[Sequence[Path]], device: torch.device) -> Iterator[Tensor]:
    """Each of ``parts`` as float32 (n, 1, H, W) on ``device``, grey values 0 to 65535.

    The next part is read while the network works on this one; on CUDA it is pinned and copied without waiting.
    """
    upcoming: deque[Future[Tensor]] = deque()
    with ThreadPoolExecutor(max_workers=1) as reader:
        for part in parts:
            upcoming.append(reader.submit(_read, part, device))
            if len(upcoming) > 1:
                yield _placed(upcoming.popleft(), device)
        while upcoming:
            yield _placed(upcoming.popleft(), device)


def _placed(read: Future[Tensor], device: torch.device) -> Tensor:
    return read.result().to(device, non_blocking=True).to(torch.float32)


def _read(paths: Sequence[Path], device: torch.device) -> Tensor:
    stack = np.stack([read_prepared(path) for path in paths])[:, None].astype(np.int32)
    batch = torch.from_numpy(stack)
    return batch.pin_memory() if device.type == "cuda" else batch
