"""Networks of timm as challengers: the numbers are timm's, every policy trains what it says, and weights are refused by name.

Runs in an environment with timm and torchvision: `make peers` makes it.
"""

from __future__ import annotations

import importlib.util
import json
import time

import numpy as np
import pytest
import safetensors.numpy
import torch

from tramtrack.errors import TramtrackError, UsageError
from tramtrack.network.build import network_facts, skeleton
from tramtrack.network.challenger import challenger
from tramtrack.network.weight_files import read_local
from tramtrack.network.weight_set import load
from tramtrack.network.weights import WeightsUnavailable, obtain
from tramtrack.protocol import Protocol, Transfer
from tramtrack.training.adapt import adapt_batchnorms
from tramtrack.training.policies import EQUAL_WEIGHTS
from tramtrack.training.resources import multiply_adds
from tramtrack.training.setup import keeps_activations
from tramtrack.training.transfer import Classifier

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed here"),
]

SIZES = {
    "test_convnext": 13,
    "resnet10t": 7,
    "test_efficientnet": 7,
    "test_nfnet": 9,
    "densenet121": 8,
    "mambaout_femto": 22,
    "hrnet_w18_small": 1,
}
"""Models of seven kinds (of one the map is (N, h, w, C), of one nothing can be cut) and how many steps each has."""


def classifier(network: str, **transfer: object) -> Classifier:
    generator = torch.Generator().manual_seed(3)
    settings = Transfer(widths=(8, 4), **transfer)  # type: ignore[arg-type]
    return Classifier(challenger(f"timm:{network}", generator), settings, generator).eval()


@pytest.mark.parametrize("model", SIZES)
def test_steps_give_what_forward_features_gives(model, tmp_path):
    import timm

    theirs = timm.create_model(model, pretrained=False).eval()
    path = tmp_path / f"timm-{model}.safetensors"
    safetensors.numpy.save_file({name: tensor.numpy() for name, tensor in theirs.state_dict().items()}, path)
    ours = load(challenger(f"timm:{model}"), read_local(network_facts(f"timm:{model}"), path))
    grey = torch.randint(0, 65536, (2, 1, 96, 160), generator=torch.Generator().manual_seed(1)).float()
    mean, std = (torch.tensor(theirs.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        x = ((grey / 257 / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
        features = theirs.to(memory_format=torch.channels_last).forward_features(x)
        expected = features.permute(0, 3, 1, 2) if getattr(theirs, "output_fmt", "NCHW") == "NHWC" else features
        prepared = ours.prepare_input(grey)
        assert torch.allclose(prepared, x, atol=1e-6)
        assert torch.equal(ours(x), expected)
        assert torch.equal(ours.tail(ours.trunk(x)), expected)
    assert len(ours.step_names) == SIZES[model]
    assert expected.shape[1] == ours.facts.feature_channels and 96 // expected.shape[2] == ours.facts.stride
    assert ours.signed_map == bool(expected.min() < 0)
    assert ours.facts.parameters == sum(np.prod(s) for layer in ours.keras_layers() for _, s in layer.variables)


@pytest.mark.parametrize("model", ("test_convnext", "resnet10t", "hrnet_w18_small"))
@pytest.mark.parametrize("policy", ("head", "last-conv", "last-block", "equal-adapter", "full"))
def test_policies_train_what_they_say_and_are_cut_there(model, policy):
    model_ = classifier(model, policy=policy)
    counts, facts = model_.counts(), model_.backbone.facts
    grey = torch.rand((2, 1, 64, 64), generator=torch.Generator().manual_seed(1)) * 65535
    with torch.inference_mode():
        plain = model_.backbone(model_.backbone.prepare_input(grey))
        assert torch.equal(model_(model_.trunk(grey)), model_.head(plain))  # an adapter starts as nothing
    assert counts["base"] == facts.parameters
    if policy == "head":
        assert counts["base_trained"] == 0
    elif policy == "last-conv":
        assert counts["base_trained"] == facts.last_conv_parameters > 0
    elif policy == "equal-adapter":
        assert abs(counts["base_trained"] - EQUAL_WEIGHTS) <= 0.01 * EQUAL_WEIGHTS
    else:
        assert counts["base_trained"] > facts.last_conv_parameters
    kept = policy in ("head", "equal-adapter") or (policy != "full" and model != "hrnet_w18_small")
    assert bool(model_.trunk_changes) != kept
    assert ("cannot be cut" in model_.trunk_changes) == (not kept and policy != "full")


def test_equal_slice_takes_a_plain_convolution_and_names_the_others():
    assert classifier("resnet10t", policy="equal-slice").counts()["base_trained"] == EQUAL_WEIGHTS
    refused = {
        "test_convnext": "has 64 groups",
        "test_nfnet": "is a ScaledStdConv2d of timm",
        "test_efficientnet": "16,384 weights",
    }
    for model, reason in refused.items():
        protocol = Protocol(transfer=Transfer(policy="equal-slice"))
        with pytest.raises(UsageError, match=rf"{model} \(timm\): policy equal-slice is refused.*{reason}"):
            keeps_activations(f"timm:{model}", protocol.transfer, "auto")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("timm:test_vit", r"expected a map \(N, C, h, w\).*received \(1, 49, 64\)"),
        ("timm:swin_tiny_patch4_window7_224", "does not run at 128x96 pixels"),
        ("timm:convnext_tinyy", "not known to timm .*did you mean timm:convnext_tiny"),
        ("timm:resnet10t.none", "not known to timm .*did you mean timm:resnet10t.c3_in1k"),
    ],
)
def test_a_model_without_a_map_or_a_name_is_refused_with_the_reason(name, reason):
    with pytest.raises(UsageError, match=reason):
        keeps_activations(name, Transfer(), "auto")


def test_stride_16_is_refused():
    with pytest.raises(UsageError, match=r"resnet10t \(timm\): stride 16 is refused"):
        keeps_activations("timm:resnet10t", Transfer(stride=16), "auto")


def test_random_weights_follow_the_seed_and_leave_the_global_generator_alone():
    state = torch.random.get_rng_state()
    first, again, other = (
        torch.cat([p.flatten() for p in challenger("timm:test_resnet", torch.Generator().manual_seed(s)).parameters()])
        for s in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_adapted_statistics_are_those_of_the_views(tmp_path):
    from PIL import Image

    model = classifier("test_resnet", batchnorm="adapt")
    grey = np.random.default_rng(0).integers(0, 65536, (3, 64, 48), dtype=np.uint16)
    files = [tmp_path / f"{place}.png" for place in range(3)]
    for file, values in zip(files, grey, strict=True):
        Image.fromarray(values).save(file)
    adapt_batchnorms(model, files, dtype=torch.float32, device=torch.device("cpu"), what="adapt")
    first = model.batchnorms()[0]
    convolution = model.backbone.keras_modules()["conv1.0"]
    with torch.inference_mode():
        y = convolution(model.backbone.prepare_input(torch.from_numpy(grey.astype(np.float32))[:, None]))
    assert torch.allclose(first.running_var, y.var(dim=(0, 2, 3), unbiased=False), rtol=1e-4)
    assert int(first.num_batches_tracked) == 0


def test_multiply_adds_are_counted_without_data():
    assert multiply_adds("timm:resnet10t", (64, 64)) * 4 == multiply_adds("timm:resnet10t", (128, 128))
    assert skeleton("timm:test_resnet").facts == network_facts("timm:test_resnet")


def test_weights_come_from_a_folder_with_their_hash_and_another_networks_are_refused(tmp_path):
    import timm

    state = timm.create_model("test_resnet", pretrained=False).state_dict()
    safetensors.numpy.save_file(
        {name: tensor.numpy() for name, tensor in state.items()}, tmp_path / "test_resnet.r160_in1k.safetensors"
    )
    weights = obtain("timm:test_resnet", tmp_path / "cache", tmp_path)
    assert weights.source == "local file test_resnet.r160_in1k.safetensors" and len(weights.sha256) == 64
    assert np.array_equal(weights.tensors["layer4.0.conv2/weight"], state["layer4.0.conv2.weight"].numpy())
    (tmp_path / "timm-test_convnext.safetensors").write_bytes((tmp_path / "test_resnet.r160_in1k.safetensors").read_bytes())
    with pytest.raises(TramtrackError, match=r"layer stem\.0: weight missing"):
        obtain("timm:test_convnext", tmp_path / "cache", tmp_path)
    (tmp_path / "own.h5").write_bytes(b"no matter")
    with pytest.raises(TramtrackError, match="expected safetensors with timm's names"):
        read_local(network_facts("timm:test_resnet"), tmp_path / "own.h5")


def test_without_a_network_the_weights_are_missed_within_seconds(tmp_path, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    started = time.perf_counter()
    with pytest.raises(
        WeightsUnavailable, match=r"test_resnet \(timm\): no pretrained weights could be had.*timm-test_resnet.safetensors"
    ):
        obtain("timm:test_resnet", tmp_path / "cache")
    assert time.perf_counter() - started < 30


def test_facts_are_data():
    facts = network_facts("timm:test_resnet")
    assert (facts.family, facts.official_licence, facts.tag) == ("timm", "apache-2.0", "test_resnet.r160_in1k")
    assert json.dumps(facts.__dict__)
