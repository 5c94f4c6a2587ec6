"""`inspect_file` for tests, except that some file names make the worker process die, hang or swell."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tramtrack.cohort.inspect import Candidate, inspect_file
from worker_tasks import act


def inspect_with_trouble(candidate: Candidate) -> dict[str, Any]:
    """Look at a file, unless its name says what goes wrong."""
    name = Path(candidate.file).name
    if name == "dies.dcm":
        os._exit(3)
    if name == "hangs.dcm":
        act("hang")
    if name == "swells.dcm":
        act("allocate:4096")
    if name == "raises.dcm":
        raise IndexError("deep inside a library")
    return inspect_file(candidate)
