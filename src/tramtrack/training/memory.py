"""Memory that is not there: one run's failure, told in one line, and nothing of the run left in memory for the next one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from tramtrack.errors import OutOfMemory, out_of_memory

Result = TypeVar("Result")


def within_memory(call: Callable[[], Result], what: str, device: str) -> Result:
    """What ``call`` gives. Raises OutOfMemory naming ``what`` and ``device`` where memory could not be had for it.

    The error of torch or Python is gone by then, and with it the frames that hold the network and its tensors.
    """
    try:
        return call()
    except (MemoryError, RuntimeError, OSError) as error:
        said = out_of_memory(error)
        if said is None:
            raise
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()  # in one piece for whatever comes next
    raise OutOfMemory(
        f"there is no memory for {what} on the device {device} ({said}); free some, name another device (--device), or begin a "
        "study whose protocol has a smaller training.batch_size, training.views_at_once or input size"
    )
