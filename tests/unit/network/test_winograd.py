"""Winograd's convolutions are the convolutions, wherever an image ends and however the tiles are dealt out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tramtrack.network import winograd
from tramtrack.network.build import build
from tramtrack.network.layers import Conv
from tramtrack.network.winograd import POINTS, WinogradConv, transforms, use_winograd


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
