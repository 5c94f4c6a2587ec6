"""Tasks that worker processes run in tests: one that works, and one for each way to fail."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path
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


def pages_handed_out(mebibytes: int) -> int:
    """Pages that a second block of the same size is handed anew, once a first one is given back."""
    before = 0
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        len(b"x" * (mebibytes << 20))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def place_of(place: Any, shared: Any, name: str) -> Any:
    """An engine's task: what it was given."""
    return place.device, place.threads, shared, name


def fail_at(place: Any, shared: Any, error: Exception) -> None:
    """An engine's task that raises."""
    raise error


def die_until(place: Any, counter: str, tries: int) -> int:
    """An engine's task whose process is killed at its first ``tries`` tries; counted in a file."""
    path = Path(counter)
    with path.open("ab") as stream:
        stream.write(b"x")
    if path.stat().st_size <= tries:
        os.kill(os.getpid(), signal.SIGKILL)
    return path.stat().st_size
