"""What is frozen stays frozen, and what is trained is what the study trains."""

from __future__ import annotations

import pytest
import torch

from tramtrack.network.registry import NETWORKS
from tramtrack.protocol import Transfer
from tramtrack.training.transfer import Head

CPU = torch.device("cpu")
FAMILIES = ("vgg16", "xception", "mobilenetv2", "resnet50v2", "densenet121")


@pytest.mark.parametrize("network", FAMILIES)
def test_the_trained_part_of_the_base_is_its_last_convolution(network, make_classifier):
    counts = make_classifier(network).counts()
    assert counts["base_trained"] == NETWORKS[network].last_conv_parameters
    assert counts["base"] == NETWORKS[network].parameters


@pytest.mark.parametrize("network", FAMILIES)
def test_tail_of_trunk_is_the_whole_network(network, make_classifier, grey):
    model = make_classifier(network).eval()
    with torch.inference_mode():
        whole = model.head(model.backbone(model.backbone.prepare_input(grey)))
        assert torch.equal(model(model.trunk(grey)), whole)


def test_batchnorm_keeps_its_statistics_in_training_mode(make_classifier, grey):
    model = make_classifier("mobilenetv2").train()
    assert model.head.training and not model.backbone.training
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model(model.trunk(grey))
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


def test_pooling_is_what_its_name_says():
    features = torch.arange(24.0).reshape(1, 2, 3, 4)
    pooled = {
        how: Head(2, Transfer(pooling=how, widths=(4, 2)), torch.Generator().manual_seed(0)).pool(features)
        for how in ("average", "maximum", "both")
    }
    assert pooled["average"].tolist() == [[5.5, 17.5]]
    assert pooled["maximum"].tolist() == [[11.0, 23.0]]
    assert pooled["both"].tolist() == [[5.5, 17.5, 11.0, 23.0]]


def test_the_head_computes_in_float32_under_autocast(make_classifier, grey):
    model = make_classifier()
    with torch.autocast("cpu", torch.bfloat16):
        assert model(model.trunk(grey)).dtype == torch.float32
