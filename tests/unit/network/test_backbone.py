"""Properties that every network shares: cut anywhere, nothing changes; the input convention; random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tramtrack.errors import UsageError
from tramtrack.network.build import build
from tramtrack.network.layers import Relu

LIGHT = ("vgg16", "xception", "mobilenet", "mobilenetv2", "resnet50v2", "densenet121")


@pytest.fixture(scope="module", params=LIGHT)
def backbone(request):
    return build(request.param)


def images(height: int = 75, width: int = 89, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, 65536, (2, 1, height, width), generator=torch.Generator().manual_seed(seed))


def test_a_cut_at_any_step_changes_nothing(backbone):
    x = backbone.prepare_input(images())
    with torch.inference_mode():
        whole = backbone(x)
        for boundary in backbone.step_names:
            state = backbone.trunk(x, boundary)
            kept = [tensor.clone() for tensor in state]
            assert torch.equal(backbone.tail(state, boundary), whole), boundary
            assert all(torch.equal(a, b) for a, b in zip(kept, state, strict=True)), f"{boundary}: the state was overwritten"


def test_the_boundary_step_trains_only_the_last_convolution(backbone):
    names = {name for name, _ in backbone.steps[backbone.boundary].named_parameters()}
    convolution = {name for name in names if backbone.facts.last_conv in name.split(".")}
    assert convolution
    assert all("bn" in name.lower() for name in names - convolution)
    state = backbone.trunk(backbone.prepare_input(images()))
    assert len(state) == (2 if backbone.facts.family in ("ResNetV2", "DenseNet") else 1)


def test_the_cam_map_and_what_follows_it_make_the_output(backbone):
    x = backbone.prepare_input(images())
    with torch.inference_mode():
        state = backbone.trunk(x)
        cam_map = backbone.cam_map(state)
        assert cam_map.shape[1] == backbone.facts.feature_channels
        assert torch.equal(backbone.finish(cam_map), backbone(x))
    assert cam_map.min() >= 0, "the map is taken after the activation"


def test_the_tail_trains_on_what_the_trunk_gave(backbone):
    with torch.no_grad():
        state = backbone.trunk(backbone.prepare_input(images()))
    backbone.requires_grad_(False)
    trained = list(backbone.last_conv().parameters())
    for parameter in trained:
        parameter.requires_grad_(True)
    backbone.tail(state).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in trained)
    backbone.requires_grad_(True).zero_grad()


def test_gradients_are_the_same_with_and_without_the_cut(backbone):
    network = build(backbone.name).double()
    x = network.prepare_input(images())
    gradients = []
    for cut in (False, True):
        network.zero_grad()
        features = network.tail(tuple(t.detach() for t in network.trunk(x))) if cut else network(x)
        features.square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in network.last_conv().parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("name", LIGHT)
def test_sixteen_bit_grey_enters_as_eight_bit_does(name):
    backbone = build(name)
    eight = torch.arange(256).view(1, 1, 16, 16)
    prepared = backbone.prepare_input(eight * 257)
    assert prepared.shape == (1, 3, 16, 16)
    grey = eight.float().expand(-1, 3, -1, -1)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    expected = {
        "caffe": grey - torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1),
        "tf": grey / 127.5 - 1,
        "torch": (grey / 255 - mean) / std,
    }[backbone.facts.input_convention]
    assert torch.equal(prepared, expected)


def test_sixteen_bit_steps_are_not_lost():
    backbone = build("vgg16")
    grey = torch.from_numpy(np.array([[[[30000, 30001]]]], dtype=np.uint16))
    left, right = backbone.prepare_input(grey)[0, 0, 0]
    assert right - left == pytest.approx(1 / 257, rel=1e-2)


def test_a_wrong_input_shape_is_named():
    with pytest.raises(ValueError, match=r"expected grey images of shape \(N, 1, H, W\), received \(1, 3, 8, 8\)"):
        build("vgg16").prepare_input(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("name", ["vgg16", "mobilenetv2"])
def test_bfloat16_stays_close(name):
    backbone = build(name)
    x = backbone.prepare_input(images(96, 64))
    with torch.inference_mode():
        exact = backbone(x)
        rough = backbone.to(torch.bfloat16)(x.to(torch.bfloat16)).float()
    assert rough.shape == exact.shape
    correlation = torch.corrcoef(torch.stack([exact.flatten(), rough.flatten()]))[0, 1]
    assert correlation > 0.99


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", LIGHT)
def test_cuda_answers_as_the_cpu_does(name):
    backbone = build(name).double()
    with torch.inference_mode():
        here = backbone(backbone.prepare_input(images()))
        there = backbone.cuda()(backbone.prepare_input(images())).cpu()
    assert (here - there).abs().max() <= 1e-9 * here.abs().max()


def test_random_weights_come_from_the_generator_alone():
    before = torch.random.get_rng_state()
    first = build("mobilenetv2", torch.Generator().manual_seed(3)).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    again = build("mobilenetv2", torch.Generator().manual_seed(3)).state_dict()
    other = build("mobilenetv2", torch.Generator().manual_seed(4)).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["steps.Conv1.Conv1.weight"], other["steps.Conv1.Conv1.weight"])


def test_random_kernels_follow_glorots_rule():
    modules = build("mobilenetv2").keras_modules()
    for name, fans in {"Conv1": 9 * 3 + 9 * 32, "block_10_depthwise": 9 * 384 + 9, "Conv_1": 320 + 1280}.items():
        limit = (6 / fans) ** 0.5
        largest = float(modules[name].weight.detach().abs().max())
        assert 0.95 * limit < largest <= limit, name


def test_an_unknown_step_is_named():
    with pytest.raises(UsageError, match="no step block9; the steps are block1_conv1"):
        build("vgg16").trunk(torch.zeros(1, 3, 32, 32), "block9")
    with pytest.raises(UsageError, match="comes before the boundary"):
        build("vgg16").tail((torch.zeros(1, 512, 4, 4),), "block5_conv3", until="block1_conv1")


def test_relu_overwrites_only_where_no_gradient_is_asked_for():
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    y = x * 1
    Relu()(y).sum().backward()
    assert x.grad.tolist() == [0, 1]
    assert y.tolist() == [-1, 2]
    plain = torch.tensor([-1.0, 7.0])
    assert Relu(6.0)(plain).data_ptr() == plain.data_ptr()
    assert plain.tolist() == [0, 6]
