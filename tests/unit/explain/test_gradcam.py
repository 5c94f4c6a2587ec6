"""Grad-CAM++ against its equations written out in float64, one sum at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tramtrack.explain.gradcam import combine, grad_cam_plus_plus
from tramtrack.network.build import build
from tramtrack.protocol import Transfer
from tramtrack.training.transfer import Classifier


def by_the_equations(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Equations 5, 10 and 19 of Grad-CAM++ for one view, (K, h, w) each, exp(S) cancelled, 0/0 = 0."""
    channels, rows, columns = features.shape
    result = np.zeros((rows, columns))
    for k in range(channels):
        total = sum(features[k, a, b] * gradients[k, a, b] ** 3 for a in range(rows) for b in range(columns))
        weight = 0.0
        for i in range(rows):
            for j in range(columns):
                g = gradients[k, i, j]
                below = 2 * g**2 + total
                weight += (g**2 / below if below != 0 else 0.0) * max(g, 0.0)
        result += weight * features[k]
    return np.maximum(result, 0.0)


def test_combine_is_the_equations():
    rng = np.random.default_rng(0)
    features = np.maximum(rng.normal(size=(3, 5, 4, 6)), 0)
    gradients = rng.normal(size=features.shape)
    gradients[0, 1] = 0.0
    ours = combine(torch.from_numpy(features), torch.from_numpy(gradients)).numpy()
    for number in range(3):
        expected = by_the_equations(features[number], gradients[number])
        assert ours[number] == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_no_gradient_no_map_and_no_nan():
    features = torch.rand((1, 3, 4, 4))
    assert torch.equal(combine(features, torch.zeros_like(features)), torch.zeros((1, 4, 4)))


@pytest.mark.parametrize("network", ("vgg16", "mobilenetv2", "xception", "densenet121"))
def test_the_map_has_the_layers_cells_and_the_logit_is_the_models(network):
    generator = torch.Generator().manual_seed(0)
    model = Classifier(build(network, generator), Transfer(widths=(8, 4)), generator).eval()
    grey = torch.rand((2, 1, 128, 64), generator=generator) * 65535
    maps, logits = grad_cam_plus_plus(model, grey)
    stride = model.backbone.facts.stride
    assert maps.shape == (2, 128 // stride, 64 // stride)
    assert (maps >= 0).all()
    with torch.inference_mode():
        assert torch.allclose(logits, model(model.trunk(grey)), atol=1e-6)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_gradients_are_those_of_the_logit():
    """The map of a linear head on average-pooled features is known in closed form: every gradient is w / cells."""
    generator = torch.Generator().manual_seed(0)
    model = Classifier(build("mobilenetv2", generator), Transfer(widths=(8, 4)), generator).eval()
    model.head.forward = lambda features: features.mean(dim=(2, 3))[:, 0] * 3  # type: ignore[method-assign]
    grey = torch.rand((1, 1, 64, 64), generator=generator) * 65535
    maps, _ = grad_cam_plus_plus(model, grey)
    with torch.no_grad():
        features = model.cam_map(model.trunk(grey))
    gradients = torch.zeros_like(features)
    gradients[:, 0] = 3 / features[0, 0].numel()
    assert torch.allclose(maps, combine(features, gradients), atol=1e-7)
