"""Winograd's convolutions are the convolutions, wherever an image ends and however the tiles are dealt out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tramtrack.network import winograd
from tramtrack.network.build import build
from tramtrack.network.layers import Conv
from tramtrack.network.winograd import POINTS, TrainedConv, Winograd, WinogradConv, train_by_winograd, transforms, use_winograd


def convolution(inputs=5, outputs=7, bias=True, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    layer = Conv(inputs, outputs, 3, bias=bias).to(dtype)
    for parameter in layer.parameters():
        parameter.data.uniform_(-1, 1, generator=generator)
    return layer


def image(*shape, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=dtype)


def test_the_transforms_filter_a_signal():
    tile, kernel, window = transforms(POINTS)
    signal, weights = image(6), image(3)
    direct = torch.stack([(signal[start : start + 3] * weights).sum() for start in range(4)])
    assert torch.allclose(tile @ ((kernel @ weights) * (window @ signal)), direct, rtol=0, atol=1e-14)


@pytest.mark.parametrize("size", [(8, 12), (9, 7), (3, 2), (1, 1), (16, 5)])
@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_equal_to_the_direct_convolution_at_any_size(size, bias):
    layer, x = convolution(bias=bias), image(3, 5, *size)
    found = WinogradConv(layer)(x.to(memory_format=torch.channels_last))
    assert torch.allclose(found, layer(x), rtol=0, atol=1e-12)
    assert found.permute(0, 2, 3, 1).stride(3) == 1  # the layout of the direct convolution


@pytest.mark.parametrize("tiles", [1, 3, 8, 24, 1000])
@torch.no_grad()
def test_the_same_whatever_is_held_at_once(tiles, monkeypatch):
    """12 rows and 10 columns are 3 x 3 tiles a view: less than a row at once, whole rows, whole views, all views."""
    layer, x = convolution(), image(4, 5, 12, 10)
    monkeypatch.setattr(winograd, "BYTES_AT_ONCE", tiles * 36 * 7 * 8)
    assert torch.allclose(WinogradConv(layer)(x), layer(x), rtol=0, atol=1e-12)


@torch.no_grad()
def test_float32_rounds_no_worse_than_the_contract_with_keras():
    layer, x = convolution(256, 256, dtype=torch.float32), image(1, 256, 24, 20, dtype=torch.float32)
    exact = layer.double()(x.double())
    found = WinogradConv(layer.float())(x)
    assert found.dtype == torch.float32
    assert float((found - exact).abs().max()) < 1e-5 * float(exact.abs().max())


@pytest.mark.parametrize(
    "layer", [Conv(4, 4, 3, stride=2), Conv(4, 4, 1), Conv(4, 4, 3, groups=4), Conv(4, 4, 3, padding=0)], ids=str
)
def test_another_convolution_is_refused(layer):
    with pytest.raises(ValueError, match="expected a 3x3 convolution with stride 1"):
        WinogradConv(layer)


def test_only_wide_convolutions_of_the_trunk_change():
    vgg = use_winograd(build("vgg16"))
    changed = [name for name, module in vgg.named_modules() if isinstance(module, WinogradConv)]
    assert changed == [
        f"steps.block{block}_conv{number}.block{block}_conv{number}"
        for block, number in ((3, 1), (3, 2), (3, 3), (4, 1), (4, 2), (4, 3), (5, 1), (5, 2))
    ]
    assert isinstance(vgg.keras_modules()["block5_conv3"], nn.Conv2d)
    mobile = use_winograd(build("mobilenetv2"))
    assert not any(isinstance(module, WinogradConv) for module in mobile.modules())


@pytest.mark.parametrize("size", [(8, 12), (9, 7), (3, 2), (1, 1)])
def test_the_gradients_are_those_of_the_direct_convolution(size):
    layer, x, dy = convolution(bias=False), image(3, 5, *size).requires_grad_(True), image(3, 7, *size)
    wanted = torch.autograd.grad(layer(x), (x, layer.weight), dy)
    found = torch.autograd.grad(Winograd.apply(x, layer.weight), (x, layer.weight), dy)
    for direct, quick in zip(wanted, found, strict=True):
        assert torch.allclose(direct, quick, rtol=0, atol=1e-11)


def test_a_gradient_that_is_zero_stays_zero():
    """One lit pixel of the input under one of the output: of a kernel's nine weights one moves, whatever is rounded."""
    weight = torch.zeros(256, 256, 3, 3, requires_grad=True)
    x, dy = torch.zeros(1, 256, 8, 8), torch.zeros(1, 256, 8, 8)
    x[0, :, 3, 4], dy[0, :, 3, 4] = image(256, dtype=torch.float32), image(256, dtype=torch.float32)
    (gradient,) = torch.autograd.grad(Winograd.apply(x, weight), weight, dy)
    assert (gradient != 0).sum() == 256 * 256 and (gradient[:, :, 1, 1] != 0).all()


def test_what_needs_no_gradient_gets_none():
    layer, x = convolution(), image(1, 5, 8, 8)
    y = Winograd.apply(x, layer.weight)
    assert torch.autograd.grad(y.sum(), layer.weight)[0].shape == layer.weight.shape
    frozen = layer.weight.detach()
    x.requires_grad_(True)
    assert torch.autograd.grad(Winograd.apply(x, frozen).sum(), x)[0].shape == x.shape


def test_a_trained_convolution_keeps_its_parameters_and_rounds_like_a_direct_one():
    layer, x = convolution(256, 256, dtype=torch.float32), image(2, 256, 16, 8, dtype=torch.float32)
    trained = TrainedConv(layer)
    assert dict(trained.named_parameters()).keys() == {"weight", "bias"} and trained.weight is layer.weight
    trained(x).square().sum().backward()
    found = {name: parameter.grad.clone() for name, parameter in layer.named_parameters()}
    layer.zero_grad()
    layer.double()
    exact = layer(x.double())
    exact.square().sum().backward()
    with torch.no_grad():
        assert float((trained.float()(x) - exact).abs().max()) < 1e-5 * float(exact.abs().max())
    for name, parameter in layer.named_parameters():
        assert float((found[name] - parameter.grad).abs().max()) < 1e-5 * float(parameter.grad.abs().max())


def test_where_it_is_no_gain_torch_convolves(monkeypatch):
    def refuse(*given):
        raise AssertionError("Winograd was used")

    monkeypatch.setattr(winograd.Winograd, "apply", refuse)
    trained, x = TrainedConv(convolution(dtype=torch.float32)), image(1, 5, 8, 8, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert trained(x).dtype == torch.bfloat16
    trained.double()(x.double())
    with pytest.raises(AssertionError, match="Winograd was used"):
        trained.float()(x)


def test_only_wide_convolutions_behind_the_boundary_are_trained_by_winograd():
    def changed(name, boundary):
        network = train_by_winograd(build(name), boundary)
        return [layer for layer, module in network.keras_modules().items() if isinstance(module, TrainedConv)]

    assert changed("vgg16", "block5_conv2") == ["block5_conv2", "block5_conv3"]
    assert changed("densenet121", build("densenet121").boundary) == []
