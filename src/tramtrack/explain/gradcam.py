"""Grad-CAM++ by its paper's equations, on the logit.

Source: Chattopadhay et al., Grad-CAM++, WACV 2018, equations 5, 10 and 19, with Y = exp(S) for the class score S (the
logit). For a network whose activations are ReLUs the second and third derivatives of Y are exp(S) times the powers of dS/dA,
so exp(S) cancels in alpha. The one that is left, in the weights, is a single factor a view; it is left out of the stored map.
No epsilon is added to the denominator: 0/0 is 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tramtrack.training.transfer import Classifier, Trunk


def grad_cam_plus_plus(model: Classifier, grey: Tensor, trunk: Trunk | None = None) -> tuple[Tensor, Tensor]:
    """Maps (N, h, w) >= 0 on the network's class activation layer, and logits (N,), for grey views (N, 1, H, W).

    Computed in float32 whatever dtype the run was trained in. The parameters get no gradients. ``trunk`` is the model's
    `Classifier.fast_trunk` in float32, for many views; else its plain trunk runs.
    """
    model.eval()
    with torch.no_grad():
        features = model.cam_map((trunk or model.trunk)(grey))
    features = features.float().requires_grad_(True)
    logits = model.score(features)
    (gradients,) = torch.autograd.grad(logits.sum(), features)
    return combine(features.detach(), gradients), logits.detach()


def combine(features: Tensor, gradients: Tensor) -> Tensor:
    """The map from activations A and gradients dS/dA, both (N, K, h, w): sum over k of w_k A_k, negative values cut.

    alpha = g^2 / (2 g^2 + sum over the map of A g^3), w_k = sum over the map of alpha max(g, 0).
    """
    squared = gradients**2
    denominator = 2 * squared + (features * gradients**3).sum(dim=(2, 3), keepdim=True)
    alpha = torch.where(denominator != 0, squared / torch.where(denominator != 0, denominator, 1.0), 0.0)
    weights = (alpha * gradients.clamp(min=0)).sum(dim=(2, 3), keepdim=True)
    return (weights * features).sum(dim=1).clamp(min=0)
