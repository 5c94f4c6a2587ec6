"""Tasks that worker processes run in tests: one that works, and one for each way to fail."""

from __future__ import annotations

import os
import signal
import time
from typing import Any


def act(what: str) -> Any:
    """Do what the unit's name says."""
    name, _, value = what.partition(":")
    if name == "double":
        return 2 * int(value)
    if name == "raise":
        raise ValueError(value)
    if name == "exit":
        os._exit(int(value))
    if name == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "sleep":
        time.sleep(float(value))
        return "slept"
    if name == "hang":
        while True:
            time.sleep(60)
    if name == "allocate":
        return len(bytearray(int(value) << 20))
    if name == "pid":
        return os.getpid()
    if name == "unpicklable":
        return lambda: None
    if name == "threads":
        return os.environ.get("OMP_NUM_THREADS")
    raise AssertionError(what)
