"""BatchNorm statistics estimated anew on the training fold, after which they stay frozen (policy ``adapt``).

Source: Li et al., Adaptive batch normalization for practical domain adaptation, Pattern Recognition 2018;80:109
(arXiv 1603.04779): the weights stay, the means and variances become those of the images at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Module

from tramtrack.network.layers import BatchNorm
from tramtrack.progress import track
from tramtrack.training.loader import batches
from tramtrack.training.transfer import Classifier

BATCH = 8
"""Views a forward pass; fixed, because each batch is normalised by its own statistics on the way."""


@torch.no_grad()
def adapt_batchnorms(model: Classifier, files: Sequence[Path], *, dtype: torch.dtype, device: torch.device, what: str) -> None:
    """Give every BatchNorm of the base the mean and the variance of its inputs over ``files`` (prepared views), in place.

    One pass in which each layer normalises by its batch; the statistics of the batches are pooled by the law of total
    variance, in float64. A challenger's BatchNorms give a batch's unbiased variance; it is made the biased one first.
    """
    norms = model.batchnorms()
    if not norms:
        return
    kept = [norm.momentum for norm in norms]
    sums: list[tuple[Tensor, Tensor]] = [(torch.zeros_like(n.running_mean, dtype=torch.float64),) * 2 for n in norms]  # type: ignore[arg-type]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0  # the moving statistics are then the batch's
    counts = [0] * len(norms)  # of the values that a channel's statistics are taken over
    hooks = [norm.register_forward_pre_hook(_counter(counts, place)) for place, norm in enumerate(norms)]
    for grey in track(batches(files, BATCH, device), what, -(-len(files) // BATCH)):
        with torch.autocast(device.type, dtype, enabled=dtype.itemsize == 2):
            model.backbone(model.backbone.prepare_input(grey))
        for place, norm in enumerate(norms):
            assert norm.running_mean is not None and norm.running_var is not None
            mean, variance = norm.running_mean.double(), norm.running_var.double()
            if not isinstance(norm, BatchNorm):
                variance = variance * (counts[place] - 1) / counts[place]
            first, second = sums[place]
            sums[place] = (first + len(grey) * mean, second + len(grey) * (variance + mean**2))
    for norm, momentum, (first, second) in zip(norms, kept, sums, strict=True):
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.copy_(first / len(files))
        norm.running_var.copy_(second / len(files) - (first / len(files)) ** 2)
        norm.momentum = momentum
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.zero_()
        norm.eval()
    for hook in hooks:
        hook.remove()


def _counter(counts: list[int], place: int) -> Callable[[Module, tuple[Tensor, ...]], None]:
    def note(_norm: Module, arguments: tuple[Tensor, ...]) -> None:
        counts[place] = arguments[0].numel() // arguments[0].shape[1]

    return note
