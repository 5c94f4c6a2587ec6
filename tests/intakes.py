"""What an intake is given and what it made of it, for tests."""

from __future__ import annotations

from pathlib import Path

from mammogram import breast_stored, mammogram, write
from tramtrack.cohort.exam import Reason
from tramtrack.cohort.settle import Intake


def reasons(intake: Intake) -> dict[str, Reason]:
    return {Path(item.file).name: item.reason for item in intake.exclusions}


def shown(*tags: dict[str, str], folder: Path) -> None:
    """One view for each set of tags, all of woman W and exam 1, L CC, each with pixels of its own."""
    for number, extra in enumerate(tags):
        write(mammogram(breast_stored(seed=200 + number), woman="W", exam="1", **extra), folder / f"{number}.dcm")
