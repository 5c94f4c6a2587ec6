"""What both contract tests share: the recipe of the golden weights, and a network that carries them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from tramtrack.network.backbone import Backbone
from tramtrack.network.build import skeleton
from tramtrack.network.weight_set import WeightSet, load

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def recipe() -> ModuleType:
    """recipe.py, the same file that the Keras process reads."""
    spec = importlib.util.spec_from_file_location("golden_recipe", HERE / "recipe.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def with_recipe_weights(recipe: ModuleType, network: str) -> Backbone:
    """The network in float64 with the recipe's weights."""
    backbone = skeleton(network).to_empty(device="cpu").double()
    layers = backbone.keras_layers()
    made = recipe.weights(network, [(layer.name, layer.keras_class, layer.variables) for layer in layers])
    tensors = {
        f"{layer.name}/{variable}": made[f"{place}/{variable}"]
        for place, layer in enumerate(layers)
        for variable, _ in layer.variables
    }
    return load(backbone, WeightSet(network, tensors, "recipe", "", "", ""))


@pytest.fixture
def golden_network(recipe: ModuleType):
    """A function from a name to that network with the recipe's weights."""
    return lambda network: with_recipe_weights(recipe, network)


def maps(backbone: Backbone, x: torch.Tensor) -> dict[str, np.ndarray]:
    """The output, the last convolution's activation as Keras names it, and the class activation map, each (N, H, W, C)."""
    kept: dict[str, torch.Tensor] = {}
    convolution = backbone.keras_modules()[backbone.facts.last_conv]
    cam = backbone.steps[backbone.cam_step]
    hooks = [
        convolution.register_forward_hook(lambda _module, _inputs, output: kept.update(last_conv=output.clone())),
        cam.register_forward_hook(lambda _module, _inputs, output: kept.update(cam=output[0].clone())),
    ]
    with torch.no_grad():
        kept["output"] = backbone(x)
    for hook in hooks:
        hook.remove()
    if backbone.facts.last_conv == backbone.facts.cam_layer:  # in the VGGs the ReLU is part of Keras's layer
        kept["last_conv"] = kept["last_conv"].relu()
    return {name: value.permute(0, 2, 3, 1).numpy() for name, value in kept.items()}


@pytest.fixture
def feature_maps():
    """``maps`` as a fixture."""
    return maps
