"""The registry's facts are those of the networks as they are built."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from tramtrack.errors import UsageError
from tramtrack.network.build import skeleton
from tramtrack.network.layers import BatchNorm, SeparableConv
from tramtrack.network.registry import NETWORKS, facts

ORDER = "xception vgg16 vgg19 resnet50v2 resnet101v2 resnet152v2 mobilenet mobilenetv2 densenet121 densenet169 densenet201"


def test_the_eleven_stand_in_one_fixed_order():
    assert list(NETWORKS) == ORDER.split()
    assert all(name == network.name == network.title.lower() for name, network in NETWORKS.items())


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_are_those_of_the_built_network(name):
    backbone, network = skeleton(name), NETWORKS[name]
    norms = [module for module in backbone.modules() if isinstance(module, BatchNorm)]
    statistics = sum(2 * norm.num_features for norm in norms)
    assert sum(parameter.numel() for parameter in backbone.parameters()) + statistics == network.parameters
    assert len(norms) == network.batchnorm_layers
    assert sum(parameter.numel() for parameter in backbone.last_conv().parameters()) == network.last_conv_parameters
    convolution = backbone.keras_modules()[network.last_conv]
    last = convolution.pointwise if isinstance(convolution, SeparableConv) else convolution
    assert last.out_channels == network.last_conv_channels


@pytest.mark.parametrize("name", NETWORKS)
def test_weight_layers_count_the_main_path(name):
    """Convolutions without shortcuts, and the fully connected layers of the original classifier: three in VGG, else one."""
    kinds = {"Conv2D", "DepthwiseConv2D", "SeparableConv2D"}
    path = [layer for layer in skeleton(name).keras_layers() if layer.keras_class in kinds]
    path = [layer for layer in path if "shortcut" not in layer.name and not layer.name.endswith("_0_conv")]
    classifier = 3 if NETWORKS[name].family == "VGG" else 1
    assert len(path) + classifier == NETWORKS[name].weight_layers


@pytest.mark.parametrize("name", NETWORKS)
def test_the_cam_map_has_the_stated_channels_and_stride(name):
    backbone, network = skeleton(name), NETWORKS[name]
    with torch.device("meta"):
        x = torch.empty(1, 3, 256, 128)
    cam_map = backbone.eval().cam_map(backbone.trunk(x))
    assert cam_map.shape == (1, network.feature_channels, 256 // network.stride, 128 // network.stride)


def test_the_last_convolution_is_the_last_one():
    for name, network in NETWORKS.items():
        modules = skeleton(name).keras_modules()
        convolutions = [key for key, module in modules.items() if isinstance(module, nn.Conv2d | SeparableConv)]
        assert convolutions[-1] == network.last_conv


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UsageError, match="did you mean vgg16"):
        facts("VGG-16")
    with pytest.raises(UsageError, match="the networks are xception, vgg16"):
        facts("zzz")


def test_reading_the_registry_imports_no_framework():
    code = "import sys, tramtrack.network.registry; print([m for m in ('torch', 'numpy', 'h5py', 'onnx') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
