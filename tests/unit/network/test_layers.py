"""The layers that differ from torch's own, against what TensorFlow's rules say."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from tramtrack.network.layers import BatchNorm, Conv, MaxPoolSame, same_padding


@pytest.mark.parametrize(("size", "before", "after"), [(8, 0, 1), (9, 1, 1)])
def test_a_stride_2_convolution_pads_by_parity(size, before, after):
    assert same_padding(size, 3, 2) == (before, after)


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)])
@pytest.mark.parametrize("size", [5, 8, 13, 14])
def test_same_padding_gives_the_ceiling(kernel, stride, size):
    assert (size + sum(same_padding(size, kernel, stride)) - kernel) // stride + 1 == math.ceil(size / stride)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize(("height", "width"), [(8, 10), (9, 11), (8, 11), (9, 10)])
@pytest.mark.parametrize("padding", ["same", "end"])
def test_a_padded_kernel_gives_what_a_padded_image_does(groups, height, width, padding):
    draw = torch.Generator().manual_seed(0)
    convolution = Conv(4, 8, 3, stride=2, padding=padding, bias=True, groups=groups).double()
    for parameter in convolution.parameters():
        parameter.data.normal_(generator=draw)
    x = torch.randn(2, 4, height, width, dtype=torch.float64, generator=draw)
    rows, columns = ((0, 1), (0, 1)) if padding == "end" else (same_padding(height, 3, 2), same_padding(width, 3, 2))
    padded = F.pad(x, (*columns, *rows))
    expected = F.conv2d(padded, convolution.weight, convolution.bias, stride=2, groups=groups)
    assert torch.allclose(convolution(x), expected, rtol=0, atol=1e-12)
    theirs = torch.autograd.grad(expected.square().sum(), convolution.weight)[0]
    ours = torch.autograd.grad(convolution(x).square().sum(), convolution.weight)[0]
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-10)


def test_end_padding_does_not_look_at_the_size():
    convolution = Conv(1, 1, 3, stride=2, padding="end")
    torch.nn.init.ones_(convolution.weight)
    x = torch.arange(25.0).view(1, 1, 5, 5)
    expected = F.conv2d(F.pad(x, (0, 1, 0, 1)), convolution.weight, stride=2)
    assert torch.equal(convolution(x), expected)
    assert expected.shape[-1] == 2


@pytest.mark.parametrize("height", [8, 9])
@pytest.mark.parametrize("width", [10, 11])
def test_the_pools_border_never_wins(height, width):
    x = -1 - torch.rand(1, 2, height, width, generator=torch.Generator().manual_seed(0))
    rows, columns = height % 2, width % 2
    padded = F.pad(x, (columns, 1, rows, 1), value=-math.inf)
    pooled = MaxPoolSame()(x)
    assert torch.equal(pooled, F.max_pool2d(padded, 3, 2))
    assert pooled.shape[2:] == (math.ceil(height / 2), math.ceil(width / 2))
    assert pooled.max() < 0


def test_moving_statistics_take_the_biased_variance():
    norm = BatchNorm(3, epsilon=1e-3, momentum=0.01).double().train()
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3 + 1
    y = norm(x)
    variance, mean = x.var((0, 2, 3), unbiased=False), x.mean((0, 2, 3))
    assert torch.allclose(norm.running_var, 0.99 + 0.01 * variance, rtol=1e-12, atol=0)
    assert torch.allclose(norm.running_mean, 0.01 * mean, rtol=1e-12, atol=0)
    expected = (x - mean.view(1, -1, 1, 1)) / (variance.view(1, -1, 1, 1) + 1e-3).sqrt()
    assert torch.allclose(y, expected, rtol=1e-10, atol=1e-12)


def test_gradients_flow_through_batch_statistics():
    norm = BatchNorm(3, epsilon=1e-3).double().train()
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(norm, (x,))


def test_inference_leaves_the_statistics_alone():
    norm = BatchNorm(2, epsilon=1e-3).eval()
    before = norm.running_mean.clone(), norm.running_var.clone()
    norm(torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(norm.running_mean, before[0])
    assert torch.equal(norm.running_var, before[1])
