"""Prepared views from disk to the device, a batch ahead of the network."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tramtrack.imaging.prepare import read_prepared


def batches(paths: Sequence[Path], size: int, device: torch.device, first: int = 0) -> Iterator[Tensor]:
    """Batches ``first``, ``first + 1``, ... of at most ``size`` views: float32 (n, 1, H, W), grey values 0 to 65535.

    The next batch is read while the network works on this one; on CUDA it is pinned and copied without waiting.
    """
    parts = [paths[start : start + size] for start in range(first * size, len(paths), size)]
    with ThreadPoolExecutor(max_workers=1) as reader:
        upcoming = deque(reader.submit(_read, part, device) for part in parts[:1])
        for following in [*parts[1:], None][: len(parts)]:
            batch = upcoming.popleft().result()
            if following is not None:
                upcoming.append(reader.submit(_read, following, device))
            yield batch.to(device, non_blocking=True).to(torch.float32)


def _read(paths: Sequence[Path], device: torch.device) -> Tensor:
    stack = np.stack([read_prepared(path) for path in paths])[:, None].astype(np.int32)
    batch = torch.from_numpy(stack)
    return batch.pin_memory() if device.type == "cuda" else batch
