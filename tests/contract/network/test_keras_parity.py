"""Each network against keras.applications itself, whole feature maps, with weights that Keras drew and saved.

Needs the python of an environment with keras and tensorflow-cpu in TRAMTRACK_PEERS_PYTHON; that process never imports torch.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from tramtrack.errors import TramtrackError
from tramtrack.network.build import skeleton
from tramtrack.network.layers import BatchNorm
from tramtrack.network.registry import NETWORKS
from tramtrack.network.weight_files import read_local
from tramtrack.network.weight_set import WeightSet, load

PYTHON = os.environ.get("TRAMTRACK_PEERS_PYTHON", "")
REFERENCE = Path(__file__).parent / "keras_reference.py"

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not PYTHON, reason="TRAMTRACK_PEERS_PYTHON names no python with keras and tensorflow-cpu"),
]


def run_keras(*arguments: str) -> str:
    done = subprocess.run([PYTHON, str(REFERENCE), *arguments], capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module", params=NETWORKS)
def reference(request, tmp_path_factory) -> tuple[str, Path]:
    """A network's name and the folder in which Keras left its weights and answers."""
    folder = tmp_path_factory.mktemp(request.param)
    run_keras("parity", request.param, str(folder))
    return request.param, folder


def read_saved(name: str, path: Path) -> WeightSet:
    return read_local(NETWORKS[name], path)


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_every_layer_stands_where_keras_has_it():
    theirs = json.loads(run_keras("layers").splitlines()[-1])
    for name in NETWORKS:
        ours = [(layer.keras_class, [list(v) for v in layer.variables]) for layer in skeleton(name).keras_layers()]
        assert json.loads(json.dumps(ours)) == [[kind, variables] for _, kind, variables in theirs[name]], name
        named = zip(skeleton(name).keras_layers(), theirs[name], strict=True)
        assert all(layer.name == other[0] or "_shortcut_" in layer.name for layer, other in named), name


def test_the_three_layouts_hold_the_same_weights(reference):
    name, folder = reference
    sets = [read_saved(name, folder / file) for file in ("saved.weights.h5", "saved.keras", "saved.h5")]
    for other in sets[1:]:
        assert other.tensors.keys() == sets[0].tensors.keys()
        assert all(np.array_equal(other.tensors[key], array) for key, array in sets[0].tensors.items())


@pytest.mark.parametrize("size", ["224x224", "512x256", "333x251"])
@pytest.mark.parametrize(
    ("dtype", "mode", "tolerance"),
    [
        ("float64", "inference", 1e-9),
        ("float64", "training", 1e-9),
        ("float32", "inference", 1e-5),
        ("float32", "training", 1e-3),
    ],
)
def test_maps_agree(reference, feature_maps, size, dtype, mode, tolerance):
    name, folder = reference
    expected = np.load(folder / f"{dtype}-{size}-{mode}.npz")
    backbone = skeleton(name).to_empty(device="cpu").to(getattr(torch, dtype)).to(memory_format=torch.channels_last)
    load(backbone, read_saved(name, folder / "saved.weights.h5")).train(mode == "training")
    x = torch.from_numpy(expected["x"]).permute(0, 3, 1, 2)
    for what, found in feature_maps(backbone, x).items():
        error = relative_error(found, expected[what])
        assert error <= tolerance, f"{name} {size} {dtype} {mode} {what}: {error:.1e} of its scale"


def test_moving_statistics_move_as_in_keras(reference):
    name, folder = reference
    moved = np.load(folder / "moving.npz")
    x = torch.from_numpy(np.load(folder / "float64-224x224-training.npz")["x"]).permute(0, 3, 1, 2)
    backbone = load(skeleton(name).to_empty(device="cpu").double(), read_saved(name, folder / "saved.weights.h5")).train()
    with torch.no_grad():
        backbone(x)
    norms = [module for module in backbone.keras_modules().values() if isinstance(module, BatchNorm)]
    assert len(moved.files) == 2 * len(norms)
    for place, norm in enumerate(norms):
        assert relative_error(norm.running_mean.numpy(), moved[f"{place}/mean"]) <= 1e-9
        assert relative_error(norm.running_var.numpy(), moved[f"{place}/variance"]) <= 1e-9


def test_saved_files_are_refused_for_another_network(reference):
    name, folder = reference
    other = "vgg19" if name != "vgg19" else "vgg16"
    for file in ("saved.weights.h5", "saved.keras", "saved.h5"):
        with pytest.raises(TramtrackError, match="layer "):
            read_saved(other, folder / file)
