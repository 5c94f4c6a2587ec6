"""A pretrained base with a new head, frozen and opened as the protocol says."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from tramtrack.network.backbone import Backbone
from tramtrack.network.folding import fold_batchnorm
from tramtrack.network.winograd import use_winograd
from tramtrack.protocol import Transfer

State = tuple[Tensor, ...]
"""The tensors that cross from the frozen trunk into the trained tail, each (N, C, h, w)."""


class Head(nn.Module):
    """Pooling, two fully connected layers with ReLU and dropout, and one logit: (N, C, h, w) -> (N,)."""

    def __init__(self, channels: int, settings: Transfer, generator: torch.Generator) -> None:
        super().__init__()
        self.pooling = settings.pooling
        first, second = settings.widths
        pooled = 2 * channels if settings.pooling == "both" else channels
        self.dense1 = nn.utils.skip_init(nn.Linear, pooled, first)
        self.dense2 = nn.utils.skip_init(nn.Linear, first, second)
        self.output = nn.utils.skip_init(nn.Linear, second, 1)
        self.dropout = nn.Dropout(settings.dropout)
        for layer in (self.dense1, self.dense2, self.output):
            nn.init.xavier_uniform_(layer.weight, generator=generator)  # Glorot's, as Keras's Dense layers start
            nn.init.zeros_(layer.bias)

    def pool(self, features: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C), or (N, 2C) where both poolings are asked for."""
        if self.pooling == "average":
            return features.mean(dim=(2, 3))
        if self.pooling == "maximum":
            return features.amax(dim=(2, 3))
        return torch.cat((features.mean(dim=(2, 3)), features.amax(dim=(2, 3))), dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N,), computed in float32 whatever the base's dtype."""
        pooled = self.pool(features.to(self.dense1.weight.dtype))
        hidden = self.dropout(torch.relu(self.dense1(pooled)))
        hidden = self.dropout(torch.relu(self.dense2(hidden)))
        logits: Tensor = self.output(hidden).squeeze(1)
        return logits


class Classifier(nn.Module):
    """A backbone cut where training begins, and the head behind it.

    ``trunk`` is frozen and runs once a view; ``forward`` takes what crosses the cut and is what an epoch runs.
    """

    def __init__(self, backbone: Backbone, settings: Transfer, generator: torch.Generator) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = Head(backbone.facts.feature_channels, settings, generator)
        self.boundary = backbone.boundary
        for parameter in backbone.parameters():
            parameter.requires_grad_(False)
        for parameter in backbone.last_conv_parameters():
            parameter.requires_grad_(True)

    def train(self, mode: bool = True) -> Classifier:
        """Training mode for the head alone: the base's BatchNorms keep their ImageNet statistics."""
        super().train(mode)
        self.backbone.eval()
        return self

    def trunk(self, grey: Tensor) -> State:
        """16-bit grey values (N, 1, H, W) to the tensors that cross into the tail."""
        return self.backbone.trunk(self.backbone.prepare_input(grey), self.boundary)

    def fast_trunk(self, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], State]:
        """The trunk for many views on ``device`` in ``dtype``, without gradients; equal to `trunk` to rounding.

        Frozen BatchNorms are folded into their convolutions; in float32 on a CPU, wide 3x3 convolutions are Winograd's.
        """
        fast = fold_batchnorm(self.backbone)
        if device.type == "cpu" and dtype == torch.float32:
            use_winograd(fast)
        return lambda grey: fast.trunk(fast.prepare_input(grey), self.boundary)

    def forward(self, state: State) -> Tensor:
        """What crosses the cut to logits (N,)."""
        features = self.backbone.tail(state, self.boundary)
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.head(features)
        return logits

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters that training changes, by name, in a fixed order."""
        return ((name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad)

    def counts(self) -> dict[str, int]:
        """Numbers of weights: of the base, of the base's trained part, of the head."""
        return {
            "base": sum(parameter.numel() for parameter in self.backbone.parameters())
            + sum(buffer.numel() for name, buffer in self.backbone.named_buffers() if "running" in name),
            "base_trained": sum(p.numel() for name, p in self.trained() if name.startswith("backbone.")),
            "head": sum(parameter.numel() for parameter in self.head.parameters()),
        }
