"""What tests of the intake share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tramtrack.cohort import ingest as ingest_module
from tramtrack.workers import Failure


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were looked at, in this process and not in workers."""
    names: list[str] = []

    def run_here(task, units, **_):  # type: ignore[no-untyped-def]
        for unit in units:
            names.append(Path(unit.file).name)
            try:
                yield unit, task(unit)
            except Exception as error:
                yield unit, Failure("error", f"{type(error).__name__}: {error}")

    monkeypatch.setattr(ingest_module, "run_each", run_here)
    return names
