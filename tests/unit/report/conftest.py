"""Fabricated studies for the report's tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tramtrack.report import cost_figures, probability_figures


@pytest.fixture(scope="session")
def study_folder() -> ModuleType:
    """The module that writes a fabricated study."""
    name = "fabricated_study_folder"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / "study_folder.py")
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture
def few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the figures that a test is not about: drawing them takes most of a report's time."""
    for module, name in (
        (probability_figures, "calibration_figures"),
        (probability_figures, "score_figures"),
        (cost_figures, "pareto_figures"),
    ):
        monkeypatch.setattr(module, name, lambda material: [])
    monkeypatch.setattr(probability_figures, "decision_figure", lambda material, stated: None)
