"""Grad-CAM++ and Grad-CAM by their papers' equations, on the logit.

Sources: Chattopadhay et al., Grad-CAM++, WACV 2018, equations 5, 10 and 19, with Y = exp(S) for the class score S (the
logit); Selvaraju et al., Grad-CAM, ICCV 2017, equations 1 and 2. For a network whose activations are ReLUs the second and
third derivatives of Y are exp(S) times the powers of dS/dA, so exp(S) cancels in alpha. The one that is left, in the weights,
is a single factor a view; it is left out of the stored map. No epsilon is added to the denominator: 0/0 is 0.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tramtrack.explain.depth import resolve_layer
from tramtrack.training.transfer import Classifier, Trunk

Combine = Callable[[Tensor, Tensor], Tensor]
"""Activations (N, K, h, w) and the gradients of the logit there to a map (N, h, w) >= 0."""


def grad_cam_plus_plus(model: Classifier, grey: Tensor, trunk: Trunk | None = None) -> tuple[Tensor, Tensor]:
    """Grad-CAM++ maps (N, h, w) on the class activation layer, and logits (N,); see `class_activation_maps`."""
    return class_activation_maps(model, grey, combine, trunk=trunk)


def class_activation_maps(
    model: Classifier,
    grey: Tensor,
    combine: Combine,
    *,
    layer: str = "cam",
    trunk: Trunk | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Maps (N, h, w) >= 0 and logits (N,), both in the head's float32, of grey views (N, 1, H, W) in one pass.

    ``dtype`` is the arithmetic of the convolutions; from the pooling on it is the head's, as where scores are made, so that the
    logits are those of the score. ``layer`` is "cam" (the class activation layer), "stride-8" or a step, see
    `resolve_layer`. ``trunk`` is the model's `Classifier.fast_trunk`, for many views. The parameters get no gradients.
    """
    model.eval()
    wide = model.head.dense1.weight.dtype
    step = resolve_layer(model.backbone, layer)
    if step != model.backbone.cam_step:
        return _at_depth(model, grey, combine, step, dtype, wide)
    with torch.no_grad(), _arithmetic(grey, dtype):
        features = model.cam_map((trunk or model.trunk)(grey)).to(wide)
    if model.averages:  # the gradient is the same in every cell: that of the average, divided among them
        pooled = model.head.pool(features).requires_grad_(True)
        logits = model.head.classify(pooled)
        (gradients,) = torch.autograd.grad(logits.sum(), pooled)
        gradients = (gradients / (features.shape[2] * features.shape[3]))[:, :, None, None]
    else:
        features.requires_grad_(True)
        logits = model.score(features)
        (gradients,) = torch.autograd.grad(logits.sum(), features)
    return combine(features.detach(), gradients), logits.detach()


def _at_depth(
    model: Classifier, grey: Tensor, combine: Combine, step: str, dtype: torch.dtype, wide: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The maps on the output of an earlier step; where several tensors leave it, on the first."""
    boundary = model.backbone.after(step)
    with torch.no_grad(), _arithmetic(grey, dtype):
        first, *others = model.backbone.trunk(model.backbone.prepare_input(grey), boundary)
    first = first.to(wide).requires_grad_(True)
    with _arithmetic(grey, dtype):
        logits = model.score(model.cam_map((first, *others), boundary))
    (gradients,) = torch.autograd.grad(logits.sum(), first)
    return combine(first.detach(), gradients), logits.detach()


def combine(features: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM++ from activations A (N, K, h, w) and gradients dS/dA: sum over k of w_k A_k, negative values cut.

    alpha = g^2 / (2 g^2 + sum over the map of A g^3), w_k = sum over the map of alpha max(g, 0). ``gradients`` has A's shape,
    or is (N, K, 1, 1) where it is the same in all cells.
    """
    squared, uniform = gradients**2, gradients.shape[2:] == (1, 1)
    if uniform:
        cubes = features.sum(dim=(2, 3), keepdim=True) * gradients**3
    else:
        cubes = (features * gradients**3).sum(dim=(2, 3), keepdim=True)
    denominator = 2 * squared + cubes
    alpha = torch.where(denominator != 0, squared / torch.where(denominator != 0, denominator, 1.0), 0.0)
    weights = (alpha * gradients.clamp(min=0)).sum(dim=(2, 3))
    return _weighted(features, weights * (features.shape[2] * features.shape[3] if uniform else 1))


def combine_by_average(features: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM from the same: w_k is the mean of the gradients over the map."""
    return _weighted(features, gradients.mean(dim=(2, 3)))


def _weighted(features: Tensor, weights: Tensor) -> Tensor:
    """Sum over k of w_k A_k, negative values cut: (N, K, h, w) and (N, K) to (N, h, w)."""
    return torch.einsum("nk,nkhw->nhw", weights, features).clamp(min=0)


def _arithmetic(grey: Tensor, dtype: torch.dtype) -> torch.autocast:
    return torch.autocast(grey.device.type, dtype, enabled=dtype.itemsize == 2)
