"""A folded network answers as the plain one does, and its tail is still the one to train."""

from __future__ import annotations

import pytest
import torch

from tramtrack.network.backbone import Backbone
from tramtrack.network.build import build
from tramtrack.network.folding import fold_batchnorm
from tramtrack.network.layers import BatchNorm

NORMS_LEFT = {"vgg16": 0, "xception": 1, "mobilenet": 1, "mobilenetv2": 1, "resnet50v2": 17, "densenet121": 62}
"""The boundary's own, and those that stand before an activation and a convolution."""


def with_statistics(name: str) -> Backbone:
    backbone = build(name)
    draw = torch.Generator().manual_seed(5)
    for module in backbone.modules():
        if isinstance(module, BatchNorm):
            for tensor, low, high in (
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.2, 0.2),
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 1.5),
            ):
                tensor.uniform_(low, high, generator=draw)
    return backbone


@pytest.mark.parametrize("name", NORMS_LEFT)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_folding_changes_nothing_but_rounding(name, dtype, tolerance):
    backbone = with_statistics(name).to(dtype)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    folded = fold_batchnorm(backbone)
    grey = torch.randint(0, 65536, (2, 1, 75, 96), generator=torch.Generator().manual_seed(1))
    x = backbone.prepare_input(grey)
    with torch.inference_mode():
        for plain, other in zip(backbone.trunk(x), folded.trunk(x), strict=True):
            assert (plain - other).abs().max() <= tolerance * plain.abs().max()
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())


@pytest.mark.parametrize("name", NORMS_LEFT)
def test_only_the_trunk_is_folded(name):
    backbone = with_statistics(name)
    folded = fold_batchnorm(backbone)
    assert sum(isinstance(module, BatchNorm) for module in folded.modules()) == NORMS_LEFT[name]
    first = backbone.step_names.index(backbone.boundary)
    for step in backbone.step_names[first:]:
        theirs = folded.steps[step].state_dict()
        assert all(torch.equal(value, theirs[key]) for key, value in backbone.steps[step].state_dict().items())
