"""The sealed test fold: who opened it, when, with which networks and thresholds.

Nothing in the toolkit scores a test view but `results.evaluate` with ``unseal``, and that writes down the look before it
takes it. A second look with other networks is allowed, logged, and said in the report.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tramtrack import store


def log_look(path: Path, look: Mapping[str, Any]) -> int:
    """Write down a look at the test fold before it is taken; returns its number, 1 for the first.

    ``look`` is what decides the result (protocol hash, runs, thresholds). The same look again, after an interruption, is
    not a new one.
    """
    journal = store.Journal(path)
    entries = journal.entries()
    for number, entry in enumerate(entries, start=1):
        if entry["look"] == dict(look):
            return number
    with journal.appending() as append:
        append({"time": datetime.now(UTC).isoformat(timespec="seconds"), "look": dict(look)})
    return len(entries) + 1


def looks(path: Path) -> list[dict[str, Any]]:
    """All looks at the test fold so far, oldest first: {"time": ..., "look": ...}."""
    return store.Journal(path).entries()
