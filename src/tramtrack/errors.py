"""The errors that a user can do something about; each message says what was expected, what came, where, and what to do."""

from __future__ import annotations

import errno
import re

_NO_MEMORY = re.compile(r"out of memory|can't allocate memory|ALLOC_FAILED", re.IGNORECASE)


class TramtrackError(Exception):
    """Something in the data or on the disk stopped the work; the command line prints it as one line and exits with 1."""

    exit_code = 1


class UsageError(TramtrackError):
    """The question itself was wrong (an unknown name, key or value); the command line exits with 2."""

    exit_code = 2


class OutOfMemory(TramtrackError):
    """There was no room in memory, of the machine or of a GPU, for what was to be computed; this run stops, others go on."""


def out_of_memory(error: BaseException) -> str | None:
    """What an error says of memory that could not be had, in a few words; None for an error of another kind.

    Python raises MemoryError, torch OutOfMemoryError on a GPU and on a CPU a plain RuntimeError, which its words alone tell;
    for the map of a file the system says ENOMEM.
    """
    text = str(error)
    by_words = isinstance(error, RuntimeError) and _NO_MEMORY.search(text)
    by_number = isinstance(error, OSError) and error.errno == errno.ENOMEM
    if not (isinstance(error, MemoryError) or by_words or by_number):
        return None
    asked = re.search(r"allocate ([\d.]+ \w+)", text)
    return f"{asked[1]} more were asked for" if asked else text.strip().partition("\n")[0] or "no more was to be had"


def gpu_failure(error: BaseException) -> str | None:
    """What CUDA says where a GPU or its driver failed under torch, as when this build has no code for it; None for others."""
    first = str(error).partition("\n")[0]
    return first if isinstance(error, RuntimeError) and first.startswith(("CUDA error", "cuDNN error")) else None
