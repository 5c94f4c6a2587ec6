"""Our own backward passes against torch's in float64: every stride, padding and kernel, and no digit lost on a large image."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tramtrack.network import gradients
from tramtrack.network.batchnorm import BatchNormalised
from tramtrack.network.gradients import conv2d, weight_gradient
from tramtrack.network.layers import BatchNorm, Conv


def image(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype).to(memory_format=torch.channels_last)


def distance(found, exact):
    return float(((found - exact).abs().max() / exact.abs().max()).detach())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("kernel", "padding"), [(3, (1, 1)), (3, (0, 0)), (3, (1, 0)), (7, (3, 3))])
@pytest.mark.parametrize("size", [(16, 12), (15, 11), (64, 48)])
def test_the_kernels_gradient_is_that_of_torch(kernel, padding, stride, size):
    x, weight = image(2, 5, *size, dtype=torch.float64), image(4, 5, kernel, kernel, dtype=torch.float64).requires_grad_(True)
    y = F.conv2d(x, weight, None, stride, padding)
    dy = image(*y.shape, dtype=torch.float64, seed=1)
    (exact,) = torch.autograd.grad(y, weight, dy)
    found = weight_gradient(x, dy, (kernel, kernel), (stride, stride), padding)
    assert distance(found, exact) < 1e-12


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("padding", ["same", "end", "valid", 1])
def test_a_layer_gives_the_gradients_of_torch(padding, bias, monkeypatch):
    layer = Conv(gradients.FEWEST_INPUTS, 8, 3, stride=2, padding=padding, bias=bias)
    x = image(2, gradients.FEWEST_INPUTS, 16, 11).requires_grad_(True)
    used = []
    monkeypatch.setattr(
        gradients.Convolved, "apply", lambda *given, whole=gradients.Convolved.apply: used.append(1) or whole(*given)
    )
    y = layer(x)
    dy = image(*y.shape, seed=1)
    found = torch.autograd.grad(y, [x, *layer.parameters()], dy)
    layer.double()
    exact = x.detach().double().requires_grad_(True)
    expected = torch.autograd.grad(layer(exact), [exact, *layer.parameters()], dy.double())
    assert used == [1], "in float32, and there alone"
    assert max(distance(a, b) for a, b in zip(found, expected, strict=True)) < 1e-5


def test_only_what_asks_for_a_gradient_gets_one():
    x, weight, bias = image(1, 32, 8, 8), image(4, 32, 3, 3).requires_grad_(True), torch.zeros(4)
    y = conv2d(x, weight, bias, (1, 1), (1, 1), 1)
    assert torch.autograd.grad(y.sum(), weight)[0].shape == weight.shape
    x.requires_grad_(True)
    y = conv2d(x, weight.detach(), bias, (1, 1), (1, 1), 1)
    assert torch.autograd.grad(y.sum(), x)[0].shape == x.shape


def test_batch_normalisation_and_its_gradients_are_those_of_torch_whatever_the_bands(monkeypatch):
    x, dy = (image(2, 3, 8, 5, dtype=torch.float64, seed=shift) + shift for shift in (4, 0))
    given = [x, torch.tensor([0.5, 1.0, 2.0]).double(), torch.tensor([0.0, 1.0, -1.0]).double()]
    given = [tensor.requires_grad_(True) for tensor in given]
    y = F.batch_norm(given[0], None, None, *given[1:], True, 0.0, 1e-3)
    expected = [y, *torch.autograd.grad(y, given, dy)]
    for at_once in (1, 7 * 3 * 8, 1 << 20):
        monkeypatch.setattr("tramtrack.network.batchnorm.BYTES_AT_ONCE", at_once)
        found, mean, variance = BatchNormalised.apply(*given, 1e-3)
        found = [found, *torch.autograd.grad(found, given, dy)]
        assert max(distance(a, b) for a, b in zip(found, expected, strict=True)) < 1e-12
        assert torch.allclose(mean, x.mean((0, 2, 3))) and torch.allclose(variance, x.var((0, 2, 3), correction=0))


def test_statistics_of_a_large_image_lose_no_digits():
    x, dy = (3 * image(1, 8, 512, 256, seed=shift) + shift for shift in (50, 0))
    norm = BatchNorm(8, epsilon=1e-3).train()
    given = x.detach().requires_grad_(True)
    y = norm(given)
    assert y.is_contiguous(memory_format=torch.channels_last)
    found = [y, *torch.autograd.grad(y, [given, norm.weight, norm.bias], dy)]
    exact = [tensor.detach().double().requires_grad_(True) for tensor in (x, norm.weight, norm.bias)]
    y = F.batch_norm(exact[0], None, None, *exact[1:], True, 0.0, 1e-3)
    expected = [y, *torch.autograd.grad(y, exact, dy.double())]
    assert max(distance(a, b) for a, b in zip(found, expected, strict=True)) < 1e-5


def test_batch_normalisation_takes_images_of_half_the_precision():
    norm, x = BatchNorm(4, epsilon=1e-3).train(), image(2, 4, 8, 8).bfloat16().requires_grad_(True)
    y = norm(x)
    (dx,) = torch.autograd.grad(y.float().square().sum(), x)
    assert y.dtype == dx.dtype == torch.bfloat16
    assert torch.allclose(norm.running_mean, 0.01 * x.detach().float().mean((0, 2, 3)), atol=1e-6)
