"""MONAI's and pytorch-grad-cam's Grad-CAM++: each is the paper's equations with exactly the deviations listed here switched on.

Runs in the torchvision environment: `make peers` makes it. `docs/explanation/heatmaps.md` says what the deviations do.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradcam_equations import by_the_equations
from tramtrack.explain.gradcam import combine, combine_by_average
from tramtrack.explain.methods import Explainer
from tramtrack.network.build import build
from tramtrack.protocol import Transfer
from tramtrack.training.transfer import Classifier

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(
        not (importlib.util.find_spec("monai") and importlib.util.find_spec("pytorch_grad_cam")),
        reason="MONAI and pytorch-grad-cam are not installed here",
    ),
]

MONAI = {"epsilon": 1e-7}
"""And exp(S): its weights hold the factor that we leave out. Its last ReLU is the paper's."""
PYTORCH_GRAD_CAM = {"sum_of_activations": True, "epsilon": 1e-6, "rectified": False}
NETWORKS = ("vgg16", "mobilenetv2", "densenet121")


class Plain(nn.Module):
    """The classifier as these libraries want it: an image in, (N, 1) out, and a module whose output is the map's layer."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model
        self.layer = nn.Identity()

    def forward(self, grey: Tensor) -> Tensor:
        return self.model.score(self.layer(self.model.cam_map(self.model.trunk(grey))))[:, None]


def made(network: str) -> tuple[Plain, Tensor, np.ndarray, np.ndarray, float]:
    """The model, one view, activations and gradients (K, h, w) on the map's layer, and the logit; all in float64.

    The head's last layer is scaled until the largest gradient is 0.001, where the epsilons neither swamp everything nor vanish,
    and its bias shifts the logit by 2.
    """
    generator = torch.Generator().manual_seed(4)
    model = Classifier(build(network, generator), Transfer(widths=(16, 8)), generator).eval().double()
    grey = torch.rand((1, 1, 96, 64), generator=generator).double() * 65535
    features = model.cam_map(model.trunk(grey)).detach().requires_grad_(True)
    (gradients,) = torch.autograd.grad(model.score(features).sum(), features)
    with torch.no_grad():
        model.head.output.weight *= 0.001 / float(gradients.abs().max())
        model.head.output.bias += 2
    logit = model.score(features)
    (gradients,) = torch.autograd.grad(logit.sum(), features)
    return Plain(model), grey, features.detach()[0].numpy(), gradients[0].numpy(), float(logit.detach())


def differs(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference as a share of the largest value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("network", NETWORKS)
def test_monai_adds_an_epsilon_and_keeps_exp_of_the_score(network):
    from monai.visualize import GradCAMpp

    plain, grey, features, gradients, logit = made(network)
    theirs = GradCAMpp(plain, target_layers="layer").compute_map(grey, class_idx=0)[0, 0].detach().numpy()
    paper = by_the_equations(features, gradients)
    switched = by_the_equations(features, gradients, exp_of_score=float(np.exp(logit)), **MONAI)
    assert differs(theirs, switched) < 1e-5
    ours, _ = Explainer().maps(plain.model, grey)
    assert differs(ours[0].numpy(), paper) < 1e-10
    for off in ({}, MONAI, {"exp_of_score": float(np.exp(logit))}):  # each switch is needed
        assert differs(theirs, by_the_equations(features, gradients, **off)) > 1e-5


@pytest.mark.parametrize("network", NETWORKS)
def test_pytorch_grad_cam_has_another_denominator_an_epsilon_and_no_last_relu(network):
    from pytorch_grad_cam import GradCAMPlusPlus
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    plain, grey, features, gradients, _ = made(network)
    with GradCAMPlusPlus(plain, [plain.layer]) as cam:
        plain.model.train(False)
        output = cam.activations_and_grads(grey)
        output[:, 0].sum().backward()
        theirs = cam.get_cam_image(
            grey, plain.layer, [ClassifierOutputTarget(0)],
            cam.activations_and_grads.activations[0].numpy(), cam.activations_and_grads.gradients[0].numpy(),
        )[0]  # fmt: skip
    switched = by_the_equations(features, gradients, **PYTORCH_GRAD_CAM)
    assert differs(theirs, switched) < 1e-5
    for name in ("epsilon", *(["sum_of_activations"] if network == "vgg16" else [])):  # elsewhere g is the same in all cells
        off = {key: value for key, value in PYTORCH_GRAD_CAM.items() if key != name}
        assert differs(theirs, by_the_equations(features, gradients, **off)) > 1e-5, name


def test_the_last_relu_is_what_pytorch_grad_cam_leaves_to_its_caller():
    """With an activation that is negative its map is so too; the paper's equation 19 cuts it."""
    from pytorch_grad_cam import GradCAMPlusPlus

    rng = np.random.default_rng(5)
    features, gradients = rng.normal(size=(1, 3, 4, 4)), np.abs(rng.normal(size=(1, 3, 4, 4)))
    cam = GradCAMPlusPlus(nn.Sequential(nn.Conv2d(1, 1, 1)), [nn.Identity()])
    theirs = cam.get_cam_image(torch.zeros(1, 1, 4, 4), nn.Identity(), [], features, gradients)[0]
    assert theirs.min() < 0
    assert differs(theirs, by_the_equations(features[0], gradients[0], **PYTORCH_GRAD_CAM)) < 1e-5
    assert combine(torch.from_numpy(features), torch.from_numpy(gradients)).min() == 0


@pytest.mark.parametrize("network", ("vgg16", "mobilenetv2"))
def test_grad_cam_is_theirs(network):
    from monai.visualize import GradCAM as MonaiGradCAM

    plain, grey, features, gradients, _ = made(network)
    theirs = MonaiGradCAM(plain, target_layers="layer").compute_map(grey, class_idx=0)[0, 0].detach().numpy()
    ours = combine_by_average(torch.from_numpy(features)[None], torch.from_numpy(gradients)[None])[0].numpy()
    assert differs(ours, theirs) < 1e-10


def test_a_challengers_map_is_the_equations_as_well():
    generator = torch.Generator().manual_seed(4)
    model = Classifier(build("timm:resnet10t", generator), Transfer(widths=(8, 4)), generator).eval().double()
    grey = torch.rand((1, 1, 96, 64), generator=generator).double() * 65535
    features = model.cam_map(model.trunk(grey)).detach().requires_grad_(True)
    (gradients,) = torch.autograd.grad(model.score(features).sum(), features)
    maps, _ = Explainer().maps(model, grey)
    assert differs(maps[0].numpy(), by_the_equations(features.detach()[0].numpy(), gradients[0].numpy())) < 1e-10
    assert Explainer("grad-cam++", "stride-8").maps(model, grey)[0].shape == (1, 12, 8)
