"""Each transfer policy trains what it says, nothing else, and can be cut where it says."""

from __future__ import annotations

import pytest
import torch

from tramtrack.network.build import build, skeleton
from tramtrack.network.registry import NETWORKS
from tramtrack.network.stride import refine
from tramtrack.protocol import Training, Transfer
from tramtrack.sections import Policy
from tramtrack.training import census
from tramtrack.training.loop import make_optimiser, train
from tramtrack.training.policies import EQUAL_WEIGHTS, Adapter, SlicedConv
from tramtrack.training.transfer import Classifier

CPU = torch.device("cpu")
POLICIES = Policy.__args__  # type: ignore[attr-defined]
FAMILIES = ("vgg16", "xception", "mobilenet", "mobilenetv2", "resnet50v2", "densenet121")


def counted(network: str, **transfer: object) -> dict[str, int]:
    settings = Transfer(widths=(8, 4), **transfer)  # type: ignore[arg-type]
    return Classifier(skeleton(network), settings, torch.Generator()).counts()


@pytest.mark.parametrize("network", NETWORKS)
def test_the_equal_policies_train_the_same_number_everywhere(network):
    for policy in ("equal-slice", "equal-adapter"):
        trained = counted(network, policy=policy)["base_trained"]
        assert abs(trained - EQUAL_WEIGHTS) <= 0.01 * EQUAL_WEIGHTS, policy


@pytest.mark.parametrize(
    ("family", "channels"),
    [("VGG", 8), ("Xception", 24), ("ResNetV2", 72), ("mobilenet", 36), ("mobilenetv2", 115), ("DenseNet", 32)],
)
def test_a_slice_has_the_channels_that_make_that_number(family, channels):
    networks = [name for name, facts in NETWORKS.items() if family in (name, facts.family)]
    assert networks
    for network in networks:
        model = Classifier(skeleton(network), Transfer(widths=(8, 4), policy="equal-slice"), torch.Generator())
        (sliced,) = (module for module in model.backbone.modules() if isinstance(module, SlicedConv))
        assert len(sliced.channels) == len(sliced.trained_weight) == channels, network


@pytest.mark.parametrize("network", NETWORKS)
def test_the_others_train_from_nothing_to_everything(network):
    facts = NETWORKS[network]
    counts = [counted(network, policy=policy)["base_trained"] for policy in ("head", "last-conv", "last-block", "full")]
    assert counts[0] == 0
    assert counts[1] == facts.last_conv_parameters
    assert counts[1] < counts[2] < counts[3]
    statistics_and_scales = counted(network, policy="full", batchnorm="train")["base_trained"] - counts[3]
    assert (statistics_and_scales > 0) == (facts.batchnorm_layers > 0)
    assert counted(network, policy="full")["base"] == facts.parameters


def test_the_table_of_policies_counts_them(monkeypatch):
    monkeypatch.setattr(census, "NETWORKS", {"mobilenetv2": NETWORKS["mobilenetv2"]})
    (row,) = census.count_trained(Transfer(widths=(8, 4)))
    assert {name: row[name] for name in ("network", "base", "head", "last-conv", "equal-slice")} == {
        "network": "mobilenetv2", "base": 2_257_984, "head": 0, "last-conv": 409_600, "equal-slice": 36_800,
    }  # fmt: skip
    assert row["new layers"] == 1280 * 8 + 8 + 8 * 4 + 4 + 4 + 1


@pytest.mark.parametrize("stride", (32, 16))
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("network", FAMILIES)
def test_tail_of_trunk_is_the_whole_network(network, policy, stride, make_classifier, grey):
    model = make_classifier(network, policy=policy, stride=stride).eval()
    views = grey[:2]
    with torch.inference_mode():
        features = model.backbone(model.backbone.prepare_input(views))
        if policy == "equal-adapter":  # it starts as nothing
            assert torch.equal(model.adapter(features), features)
        assert torch.equal(model(model.trunk(views)), model.head(features))
        cam_map = model.cam_map(model.trunk(views))
    cell = 16 if network == "vgg16" or stride == 16 else 32
    assert cam_map.shape == (2, NETWORKS[network].feature_channels, 64 // cell, 32 // cell)


@pytest.mark.parametrize("network", [name for name in NETWORKS if name not in FAMILIES])
def test_a_deeper_network_of_a_family_splits_at_every_boundary_too(network, grey):
    backbone, settings = build(network).eval(), [Transfer(widths=(8, 4), policy=policy) for policy in POLICIES]
    boundaries = {Classifier(skeleton(network), one, torch.Generator()).boundary for one in settings}
    assert len(boundaries) >= 4
    for stride in (32, 16):
        cut = refine(backbone) if stride == 16 else backbone
        with torch.inference_mode():
            views = cut.prepare_input(grey[:1])
            features = cut(views)
            for boundary in boundaries:
                assert torch.equal(cut.tail(cut.trunk(views, boundary), boundary), features), (stride, boundary)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("network", ("vgg16", "mobilenetv2"))
def test_everything_frozen_is_bit_identical_after_training(network, policy, make_classifier, states_of, examples, tmp_path):
    model = make_classifier(network, policy=policy)
    trained = {name for name, _ in model.trained()}
    assert len(trained) > 5
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train(
        model, states_of(model), *examples, Training(epochs=2, batch_size=4, convolution_learning_rate=1e-2),
        seed=0, dtype=torch.float32, device=CPU, checkpoint=tmp_path / "c",
    )  # fmt: skip
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name not in trained), name


def test_a_slice_is_evenly_spaced_and_its_neighbours_stay(make_classifier, grey):
    model = make_classifier("mobilenetv2", policy="equal-slice")
    state = [tensor.detach() for tensor in model.trunk(grey[:2])]
    sliced = model.backbone.last_conv()
    before = model.backbone.tail(tuple(state), model.boundary).detach()
    assert len(sliced.channels) == 115 and sliced.channels[0] == 0 and sliced.channels[-1] == 1279
    with torch.no_grad():
        sliced.trained_weight += 1
    moved = (model.backbone.tail(tuple(state), model.boundary).detach() != before).any(dim=0).any(dim=1).any(dim=1)
    assert set(moved.nonzero().flatten().tolist()) <= set(sliced.channels.tolist()) and moved.any()


def test_an_adapter_reaches_some_channels_and_keeps_the_map_positive():
    adapter = Adapter(1280, torch.Generator().manual_seed(0))
    x = torch.rand((1, 1280, 2, 2), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        adapter.up.weight.fill_(-1.0)
        y = adapter(x)
    assert y.min() >= 0
    untouched = sorted(set(range(1280)) - set(adapter.reached.tolist()))
    assert len(adapter.reached) == 1178 and torch.equal(y[:, untouched], x[:, untouched])


def test_full_steps_less_the_earlier_the_layer(make_classifier):
    model = make_classifier("vgg16", policy="full", earliest_share=0.01)
    settings = Training(convolution_learning_rate=1e-3, learning_rate=1e-2)
    rates = {
        id(parameter): group["lr"] for group in make_optimiser(model, settings).param_groups for parameter in group["params"]
    }
    by_name = {name: rates[id(parameter)] for name, parameter in model.trained()}
    first, last = "backbone.steps.block1_conv1.block1_conv1.weight", "backbone.steps.block5_conv3.block5_conv3.weight"
    assert by_name[first] == pytest.approx(1e-5)
    assert 1e-5 < by_name["backbone.steps.block3_conv1.block3_conv1.weight"] < by_name[last] < 1e-3
    assert by_name["head.dense1.weight"] == 1e-2
    assert len(by_name) == len(rates)
