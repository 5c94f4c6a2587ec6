"""Every benchmark finds what it imports: what moved in the package and not in a script is found here."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "benchmarks"
OF_PEERS = {"keras_side": "tensorflow", "gradcam": "pytorch_grad_cam"}
"""Those that run in an environment of their own, and what they need there."""

sys.path[:0] = [str(FOLDER), str(FOLDER.parent / "tests")]


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_a_benchmark_can_be_imported(name):
    if name in OF_PEERS:
        pytest.importorskip(OF_PEERS[name], reason=f"{name} runs in the environment of {OF_PEERS[name]}")
    module = importlib.import_module(name)
    assert module.__doc__
