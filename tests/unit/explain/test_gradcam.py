"""Grad-CAM++ and Grad-CAM against their equations written out in float64, for every network, layer and dtype."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch

from gradcam_equations import by_the_equations
from tramtrack.errors import UsageError
from tramtrack.explain.depth import depths, resolve_layer
from tramtrack.explain.gradcam import combine, combine_by_average, grad_cam_plus_plus
from tramtrack.explain.methods import Explainer
from tramtrack.network.build import build
from tramtrack.network.registry import NETWORKS
from tramtrack.protocol import Transfer
from tramtrack.training.transfer import Classifier


def classifier(network: str, **transfer: object) -> tuple[Classifier, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    model = Classifier(build(network, generator), Transfer(widths=(16, 8), **transfer), generator).eval()
    return model, torch.rand((2, 1, 128, 64), generator=generator) * 65535


def reference_map(model: Classifier, grey: torch.Tensor) -> np.ndarray:
    """By the equations, with the gradient that autograd gives on the whole map."""
    features = model.cam_map(model.trunk(grey)).detach().requires_grad_(True)
    (gradients,) = torch.autograd.grad(model.score(features).sum(), features)
    return np.stack([by_the_equations(f.detach().numpy(), g.numpy()) for f, g in zip(features, gradients, strict=True)])


def test_combine_is_the_equations():
    rng = np.random.default_rng(0)
    features = np.maximum(rng.normal(size=(3, 5, 4, 6)), 0)
    gradients = rng.normal(size=features.shape)
    gradients[0, 1] = 0.0
    ours = combine(torch.from_numpy(features), torch.from_numpy(gradients)).numpy()
    for number in range(3):
        expected = by_the_equations(features[number], gradients[number])
        assert ours[number] == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_a_gradient_that_is_the_same_in_all_cells_needs_one_number_a_channel():
    rng = np.random.default_rng(1)
    features = torch.from_numpy(np.maximum(rng.normal(size=(2, 5, 4, 6)), 0))
    gradients = torch.from_numpy(rng.normal(size=(2, 5, 1, 1)))
    whole = gradients.expand_as(features).contiguous()
    assert torch.allclose(combine(features, gradients), combine(features, whole), rtol=1e-12)
    assert torch.allclose(combine_by_average(features, gradients), combine_by_average(features, whole), rtol=1e-12)


def test_no_gradient_no_map_and_no_nan():
    features = torch.rand((1, 3, 4, 4))
    assert torch.equal(combine(features, torch.zeros_like(features)), torch.zeros((1, 4, 4)))
    assert torch.equal(combine(features, torch.zeros((1, 3, 1, 1))), torch.zeros((1, 4, 4)))


@pytest.mark.parametrize("network", NETWORKS)
def test_every_networks_map_is_the_equations_on_its_logit(network):
    model, grey = classifier(network)
    model, grey = model.double(), grey[:1, :, :64].double()
    maps, logits = grad_cam_plus_plus(model, grey)
    expected = reference_map(model, grey)
    assert maps.shape == (1, 64 // model.backbone.facts.stride, 64 // model.backbone.facts.stride)
    assert expected.max() > 0
    assert np.abs(maps.numpy() - expected).max() <= 1e-10 * expected.max()
    with torch.inference_mode():
        assert torch.equal(logits, model(model.trunk(grey)))
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("pooling", ("maximum", "both"))
def test_other_poolings_have_other_gradients(pooling):
    model, grey = classifier("mobilenetv2", pooling=pooling)
    maps, _ = grad_cam_plus_plus(model.double(), grey.double())
    expected = reference_map(model, grey.double())
    assert np.abs(maps.numpy() - expected).max() <= 1e-10 * expected.max()
    assert not model.averages


@pytest.mark.parametrize("network", ("vgg16", "densenet121", "mobilenet"))
def test_in_bfloat16_the_map_is_near_and_the_logit_is_the_scores_to_the_bit(network):
    model, grey = classifier(network)
    grey = grey[:, :, :64]
    trunk = model.fast_trunk(grey.device, torch.bfloat16)
    exact, _ = Explainer().maps(model, grey)
    maps, logits = Explainer().maps(model, grey, trunk, torch.bfloat16)
    assert maps.dtype == torch.float32
    assert np.corrcoef(maps.numpy().ravel(), exact.numpy().ravel())[0, 1] > 0.97
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(logits, model(trunk(grey)).float())


@pytest.mark.parametrize("layer", ("stride-8", "stride-16", "conv4_block3", "conv5_block16_1_conv"))
def test_an_earlier_layer_has_its_own_cells_and_the_same_logit(layer):
    model, grey = classifier("densenet121")
    model, grey = model.double(), grey.double()
    step = resolve_layer(model.backbone, layer)
    stride = depths(model.backbone)[step]
    maps, logits = Explainer("grad-cam++", layer).maps(model, grey)
    assert maps.shape == (2, 128 // stride, 64 // stride)
    boundary = model.backbone.after(step)
    first, *others = (x.detach() for x in model.backbone.trunk(model.backbone.prepare_input(grey), boundary))
    first.requires_grad_(True)
    (gradients,) = torch.autograd.grad(model.score(model.cam_map((first, *others), boundary)).sum(), first)
    expected = combine(first.detach(), gradients)
    assert (maps - expected).abs().max() < 1e-10 * expected.max()
    assert torch.allclose(logits, model(model.trunk(grey)), rtol=1e-10)


def test_layers_that_are_not_there_are_refused_with_those_that_are():
    model, _ = classifier("vgg16")
    assert resolve_layer(model.backbone, "stride-8") == "block4_conv3"
    with pytest.raises(UsageError, match="no layer has stride 32; its layers have 1, 2, 4, 8, 16"):
        resolve_layer(model.backbone, "stride-32")
    with pytest.raises(UsageError, match=r"expected cam, stride-<pixels>, or one of its steps block1_conv1, .*block5_conv3$"):
        resolve_layer(model.backbone, "block5_pool")
    with pytest.raises(UsageError, match="has no layer"):
        Explainer("occlusion", "stride-8")
    with pytest.raises(UsageError, match=r"expected one of grad-cam\+\+, grad-cam, integrated-gradients, occlusion"):
        Explainer("smoothgrad")  # type: ignore[arg-type]


def test_grad_cam_weighs_by_the_mean_gradient():
    rng = np.random.default_rng(2)
    features, gradients = np.maximum(rng.normal(size=(1, 3, 4, 5)), 0), rng.normal(size=(1, 3, 4, 5))
    ours = combine_by_average(torch.from_numpy(features), torch.from_numpy(gradients)).numpy()
    expected = np.maximum(sum(gradients[0, k].mean() * features[0, k] for k in range(3)), 0)
    assert ours[0] == pytest.approx(expected)
    model, grey = classifier("mobilenetv2")
    assert Explainer("grad-cam").maps(model, grey)[0].shape == (2, 4, 2)


def test_nothing_is_left_behind_by_a_view():
    """Tensors that live after many views are those that live after a few: no graph and no activation is kept."""
    model, grey = classifier("mobilenetv2")
    trunk = model.fast_trunk(grey.device, torch.float32)

    def living(views: int) -> int:
        for _ in range(views):
            Explainer().maps(model, grey[:1], trunk)
        gc.collect()
        return sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())

    assert living(2) == living(20)


@pytest.fixture(scope="module")
def of_a_known_logit():
    """A classifier whose logit is the mean square of one patch, and a view."""
    model, grey = classifier("mobilenetv2")
    model.trunk = lambda x: (x[:, :, 100:110, 10:20],)  # type: ignore[method-assign]
    model.forward = lambda state: (state[0] ** 2).mean(dim=(1, 2, 3))  # type: ignore[method-assign]
    return model, grey / 65535


def test_integrated_gradients_are_what_each_pixel_adds(of_a_known_logit):
    pytest.importorskip("captum", reason="the extra explain is not installed here")
    model, grey = of_a_known_logit
    maps, logits = Explainer("integrated-gradients").maps(model, grey)
    expected = torch.zeros_like(maps)
    expected[:, 100:110, 10:20] = grey[:, 0, 100:110, 10:20] ** 2 / 100
    assert torch.allclose(maps, expected, atol=1e-6)
    assert torch.allclose(maps.sum(dim=(1, 2)), logits, rtol=1e-4)


def test_occlusion_finds_what_the_logit_rests_on(of_a_known_logit):
    pytest.importorskip("captum", reason="the extra explain is not installed here")
    model, grey = of_a_known_logit
    maps, logits = Explainer("occlusion").maps(model, grey)
    assert maps.shape == (2, 128, 64) and logits.shape == (2,)
    assert maps[:, 100:110, 10:20].min() > 0 == maps[:, :60].abs().max()


def test_without_captum_the_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "captum.attr", None)
    model, grey = classifier("mobilenetv2")
    with pytest.raises(UsageError, match=r'pip install "\.\[explain\]"'):
        Explainer("integrated-gradients").maps(model, grey)
