"""MONAI's basic U-Net: a grey view in, a logit a pixel out; and the loss that it is trained by.

Sources: Ronneberger, Fischer and Brox, U-Net, MICCAI 2015; Cardoso et al., MONAI, arXiv 2211.02701, Apache-2.0; soft Dice of
Milletari, Navab and Ahmadi, V-Net, 3DV 2016. Needs the extra `explain`.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Sequence
from types import ModuleType

import torch
from torch import Tensor, nn

from tramtrack.errors import UsageError

SMOOTH = 1e-5
"""What stands in numerator and denominator of the soft Dice, so that nothing marked and nothing found is no loss."""


class Unet(nn.Module):
    """The network, its first weights drawn by ``seed``; ``channels`` are its features at each resolution, five of them.

    Before any training it says ``share`` in (0, 1), the marked share of all pixels, everywhere: the many pixels without BAC
    then do not rule the first steps (Lin et al., Focal loss, ICCV 2017, section 4.1). Raises UsageError where MONAI is missing.
    """

    def __init__(self, channels: Sequence[int], seed: int, share: float = 0.5) -> None:
        super().__init__()
        nets = require_monai("monai.networks.nets")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = nets.BasicUNet(2, 1, 1, features=(*channels, channels[0]), norm="batch")
        with torch.no_grad():
            self.net.final_conv.bias.fill_(math.log(share / (1 - share)))

    def forward(self, grey: Tensor) -> Tensor:
        """Grey views (N, 1, H, W), values 0 to 65535, to logits (N, 1, H, W) float32."""
        logits: Tensor = self.net(grey / 65535)
        return logits.float()

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters, all of them, by name."""
        return self.named_parameters()

    def changing(self) -> dict[str, Tensor]:
        """Parameters and statistics of BatchNorms by name."""
        return {name: tensor.detach() for name, tensor in self.state_dict().items()}


def dice_and_cross_entropy() -> nn.Module:
    """MONAI's loss of logits and marked pixels (N, 1, H, W) float: 1 - soft Dice over the batch, plus mean cross-entropy."""
    losses = require_monai("monai.losses")
    loss: nn.Module = losses.DiceCELoss(sigmoid=True, batch=True, smooth_nr=SMOOTH, smooth_dr=SMOOTH)
    return loss


def require_monai(module: str) -> ModuleType:
    """A module of MONAI. Raises UsageError with the line that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f'segmentation needs MONAI ({error}); pip install ".[explain]" in the folder of tramtrack') from error
