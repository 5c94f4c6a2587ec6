"""Each network against a few numbers that Keras Applications gave for the same weights; no TensorFlow needed.

The numbers are written by ``make peers`` (keras_reference.py golden), rounded far within the tolerance here.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tramtrack.network.registry import NETWORKS

GOLDEN = Path(__file__).parent / "golden"


def assert_summary(found: dict[str, object], expected: dict[str, object], tolerance: float, what: str) -> None:
    scale = float(expected["largest"])  # type: ignore[arg-type]
    assert found["shape"] == expected["shape"], what
    for key in ("values", "mean", "largest"):
        difference = np.abs(np.asarray(found[key]) - np.asarray(expected[key])).max()
        assert difference <= tolerance * scale, f"{what} {key}: differs by {difference / scale:.1e} of its scale"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_answers_as_keras_does(name, recipe, golden_network, feature_maps):
    golden = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    assert len(golden["cases"]) == 4
    for case in golden["cases"]:
        if case["training"]:
            continue
        backbone = golden_network(name).eval()
        for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
            backbone = backbone.to(dtype)
            grey = torch.from_numpy(recipe.grey(f"{name}/golden", 2, *case["size"]))[:, None]
            x = backbone.prepare_input(grey)
            found = {"input": x.permute(0, 2, 3, 1).numpy(), **feature_maps(backbone, x)}
            for what, feature_map in found.items():
                label = f"{name} {case['size']} {dtype} {what}"
                assert_summary(recipe.summary(feature_map), case[what], tolerance, label)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_answers_as_keras_does_in_training_mode(name, recipe, golden_network, feature_maps):
    golden = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    case = next(case for case in golden["cases"] if case["training"])
    backbone = golden_network(name).train()
    grey = torch.from_numpy(recipe.grey(f"{name}/golden", 2, *case["size"]))[:, None]
    for what, feature_map in feature_maps(backbone, backbone.prepare_input(grey)).items():
        assert_summary(recipe.summary(feature_map), case[what], 1e-9, f"{name} training {what}")


def test_golden_numbers_are_the_same_but_for_their_last_digit(recipe):
    summary = recipe.summary(np.linspace(-3.0, 2.0, 60).reshape(1, 4, 5, 3))
    case = {"size": [4, 5], "training": False, "output": summary}
    assert summary["largest"] == 3.0
    assert summary["values"][1] == -2.3220338983  # ten decimals: eleven digits of the largest magnitude

    def moved(difference: float) -> dict[str, object]:
        return {**case, "output": {**summary, "values": [summary["values"][0] + difference, *summary["values"][1:]]}}

    assert recipe.same_cases([case], [moved(1e-10)])
    assert not recipe.same_cases([case], [moved(3e-10)])
    assert not recipe.same_cases([case], [{**case, "output": {**summary, "shape": [1, 5, 4, 3]}}])
    assert not recipe.same_cases([case], [case, case])
    assert not recipe.same_cases([case], [{**case, "training": True}])
