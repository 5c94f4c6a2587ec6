"""A pretrained base with a new head, frozen and opened as the protocol says."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from tramtrack.network.backbone import Backbone
from tramtrack.network.folding import fold_batchnorm
from tramtrack.network.layers import AnyBatchNorm
from tramtrack.network.stride import refine
from tramtrack.network.winograd import train_by_winograd, use_winograd
from tramtrack.protocol import Transfer
from tramtrack.training.policies import open_base

State = tuple[Tensor, ...]
"""The tensors that cross from the frozen trunk into the trained tail, each (N, C, h, w)."""

Trunk = Callable[[Tensor], State]
"""16-bit grey values (N, 1, H, W) to what crosses into the tail."""

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""What a BatchNorm in training mode moves; ours count no batches, a challenger's do."""


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
        return self.classify(self.pool(features.to(self.dense1.weight.dtype)))

    def classify(self, pooled: Tensor) -> Tensor:
        """Logits (N,) of pooled features (N, C), or (N, 2C) where both poolings are asked for."""
        hidden = self.dropout(torch.relu(self.dense1(pooled)))
        hidden = self.dropout(torch.relu(self.dense2(hidden)))
        logits: Tensor = self.output(hidden).squeeze(1)
        return logits


class Classifier(nn.Module):
    """A backbone cut where training begins, and the head behind it.

    ``trunk`` gives what crosses the cut, ``forward`` takes it to logits. Where the trunk does not change in training
    (``trunk_changes``) it runs once a view, and ``forward`` is what an epoch runs.
    """

    def __init__(self, backbone: Backbone, settings: Transfer, generator: torch.Generator) -> None:
        super().__init__()
        self.settings = settings
        self.base_weights = sum(parameter.numel() for parameter in backbone.parameters()) + sum(
            buffer.numel() for name, buffer in backbone.named_buffers() if "running" in name
        )
        self.backbone = refine(backbone) if settings.stride == 16 else backbone
        self.boundary, self.adapter = open_base(self.backbone, settings.policy, generator)
        train_by_winograd(self.backbone, self.boundary)
        self.head = Head(backbone.facts.feature_channels, settings, generator)
        if settings.batchnorm == "train":
            for norm in self.batchnorms():
                norm.requires_grad_(True)

    def batchnorms(self) -> list[AnyBatchNorm]:
        """The BatchNorms of the base, first to last."""
        return [module for module in self.backbone.modules() if isinstance(module, AnyBatchNorm)]

    @property
    def trunk_changes(self) -> str:
        """Why the trunk's output cannot be kept while this policy trains; empty where it can."""
        if self.settings.policy == "full":
            return "policy full trains from the first layer on, so that nothing lies before it"
        if self.boundary == self.backbone.step_names[0]:
            return (
                f"policy {self.settings.policy} trains in the first step of {self.backbone.facts.title}, before which nothing "
                "lies: it cannot be cut where that training begins"
            )
        before = self.backbone.step_names[: self.backbone.index(self.boundary)]
        moving = any(isinstance(module, AnyBatchNorm) for name in before for module in self.backbone.steps[name].modules())
        if self.settings.batchnorm == "train" and moving:
            return "batchnorm train changes the BatchNorms of the trunk at every step"
        return ""

    def train(self, mode: bool = True) -> Classifier:
        """Training mode for the head and the adapter; the base's BatchNorms keep their statistics unless they are trained."""
        super().train(mode)
        self.backbone.eval()
        if self.settings.batchnorm == "train":
            for norm in self.batchnorms():
                norm.train(mode)
        return self

    def trunk(self, grey: Tensor) -> State:
        """16-bit grey values (N, 1, H, W) to the tensors that cross into the tail."""
        return self.backbone.trunk(self.backbone.prepare_input(grey), self.boundary)

    def fast_trunk(self, device: torch.device, dtype: torch.dtype) -> Trunk:
        """The trunk for many views on ``device`` in ``dtype``, without gradients; equal to `trunk` to rounding.

        Frozen BatchNorms are folded into their convolutions; in float32 on a CPU, wide 3x3 convolutions are Winograd's.
        Later changes of the weights do not reach it.
        """
        fast = fold_batchnorm(self.backbone, self.boundary)
        if device.type == "cpu" and dtype == torch.float32:
            use_winograd(fast, self.boundary)
        return lambda grey: fast.trunk(fast.prepare_input(grey), self.boundary)

    @property
    def averages(self) -> bool:
        """Whether the head sees nothing of the class activation map but its average, so that all cells weigh alike."""
        return self.settings.pooling == "average" and self.backbone.cam_step == self.backbone.step_names[-1]

    def cam_map(self, state: State, boundary: str | None = None) -> Tensor:
        """What crosses the cut or enters ``boundary`` to the class activation map's features (N, feature_channels, h, w), which
        are not negative unless the backbone says that its map is signed."""
        features = self.backbone.cam_map(state, boundary or self.boundary)
        return features if self.adapter is None else self.adapter(features)

    def score(self, cam_map: Tensor) -> Tensor:
        """The class activation map's features to logits (N,), in float32 from the pooling on."""
        features = self.backbone.finish(cam_map)
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.head(features)
        return logits

    def forward(self, state: State) -> Tensor:
        """What crosses the cut to logits (N,)."""
        return self.score(self.cam_map(state))

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters that training changes, by name, in a fixed order."""
        return ((name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad)

    def changing(self) -> dict[str, Tensor]:
        """Everything that training changes, by name: the trained parameters, and the statistics of trained BatchNorms."""
        moving = self.named_buffers() if self.settings.batchnorm == "train" else ()
        statistics = {name: buffer for name, buffer in moving if name.endswith(STATISTICS)}
        return {**{name: parameter.detach() for name, parameter in self.trained()}, **statistics}

    def learning_rate_share(self, name: str) -> float:
        """The share of the convolution's learning rate that a parameter of the base gets: 1, or less the earlier its step.

        Under policy ``full`` it falls geometrically with the step's place, from 1 at the last to ``earliest_share`` at the
        first.
        """
        steps = self.backbone.step_names
        if self.settings.policy != "full" or len(steps) == 1:
            return 1.0
        place = steps.index(name.split(".")[2])  # backbone.steps.<step>.…
        return float(self.settings.earliest_share ** ((len(steps) - 1 - place) / (len(steps) - 1)))

    def counts(self) -> dict[str, int]:
        """Numbers of weights: of the base, of what is trained in it (an adapter counts as trained base), of the head."""
        return {
            "base": self.base_weights,
            "base_trained": sum(p.numel() for name, p in self.trained() if not name.startswith("head.")),
            "head": sum(parameter.numel() for parameter in self.head.parameters()),
        }
