"""A network as an ordered list of named steps that can be cut between any two of them.

A step maps a tuple of tensors to a tuple of tensors, so a residual or a dense connection may cross the cut as a second
tensor. ``trunk`` runs the steps before a boundary, ``tail`` those from it on, and ``forward`` is one after the other: what
lies before the boundary can be computed once and kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tramtrack.errors import UsageError
from tramtrack.network.layers import BatchNorm, Conv, SeparableConv
from tramtrack.network.registry import NETWORKS, Convention, NetworkFacts

State = tuple[Tensor, ...]

END = "end"
"""The boundary behind the last step: the whole base lies before it."""

_CAFFE_MEAN = (103.939, 116.779, 123.68)  # blue, green, red
_TORCH_MEAN = (0.485, 0.456, 0.406)
_TORCH_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class KerasLayer:
    """A layer with weights as Keras sees it: its name, its class, and its variables with their shapes, in Keras's order."""

    name: str
    keras_class: str
    variables: tuple[tuple[str, tuple[int, ...]], ...]


class Backbone(nn.Module):
    """The convolutional base of a network, without classifier.

    ``boundary`` names the step that holds the base's last convolution (and its normalisation and activation, if they follow
    at once), ``last_block`` the step with which the last block of Keras's names begins, ``cam_step`` the step whose output is
    the class activation map. ``signed_map`` says whether that map has negative values; no map of the eleven has.
    """

    signed_map = False

    def __init__(
        self,
        name: str,
        steps: Sequence[tuple[str, nn.Module]],
        *,
        boundary: str,
        last_block: str,
        cam_step: str,
        facts: NetworkFacts | None = None,
    ) -> None:
        super().__init__()
        self.facts: NetworkFacts = facts or NETWORKS[name]
        self.steps = nn.ModuleDict(dict(steps))
        self.boundary = boundary
        self.last_block = last_block
        self.cam_step = cam_step
        for step in (boundary, last_block, cam_step):
            self.index(step)

    @property
    def name(self) -> str:
        """The network's name in the registry."""
        return self.facts.name

    @property
    def step_names(self) -> tuple[str, ...]:
        """The names of the steps, first to last."""
        return tuple(self.steps)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in the network's own input convention to its last feature map (N, C, h, w)."""
        return self.tail((x,), self.step_names[0])

    def trunk(self, x: Tensor, boundary: str | None = None) -> State:
        """Every tensor that enters step ``boundary`` (the network's own boundary if None), from an input (N, 3, H, W)."""
        return self._run((x,), 0, self.index(boundary or self.boundary))

    def tail(self, state: State, boundary: str | None = None, until: str | None = None) -> Tensor:
        """From the tensors that enter step ``boundary`` to the output of step ``until`` inclusive (the last step if None).

        ``tail(trunk(x, b), b)`` is ``forward(x)``, bit for bit on the same batch. A boundary right behind ``until`` gives the
        first tensor as it is.
        """
        first = self.index(boundary or self.boundary)
        last = len(self.steps) - 1 if until is None else self.index(until)
        if last < first - 1:
            raise UsageError(f"{self.name}: step {until} comes before the boundary {boundary or self.boundary}")
        return self._run(state, first, last + 1)[0]

    def cam_map(self, state: State, boundary: str | None = None) -> Tensor:
        """The class activation map's features (N, feature_channels, h, w), from the tensors that enter ``boundary``."""
        return self.tail(state, boundary, until=self.cam_step)

    def finish(self, cam_map: Tensor) -> Tensor:
        """The last feature map from the class activation map: the steps behind ``cam_step`` (only the VGGs have any)."""
        return self._run((cam_map,), self.index(self.cam_step) + 1, len(self.steps))[0]

    def after(self, step: str) -> str:
        """The boundary right behind ``step``: the next step's name, or END."""
        following = self.index(step) + 1
        return END if following == len(self.steps) else self.step_names[following]

    def prepare_input(self, grey: Tensor) -> Tensor:
        """16-bit grey (N, 1, H, W), values 0 to 65535, to (N, 3, H, W) in the network's convention, dtype and device.

        A value v enters as v / 257 on the 0 to 255 scale, so that 257 x equals the 8-bit x exactly; all three colour
        channels get it. The conventions are those of Keras ``preprocess_input``.
        """
        if grey.ndim != 4 or grey.shape[1] != 1:
            raise ValueError(f"{self.name}: expected grey images of shape (N, 1, H, W), received {tuple(grey.shape)}")
        parameter = next(self.parameters())
        exact = torch.float64 if parameter.dtype == torch.float64 else torch.float32
        scaled = grey.to(device=parameter.device, dtype=exact) / 257
        coloured = self._coloured(scaled)
        return coloured.to(dtype=parameter.dtype, memory_format=torch.channels_last)

    def _coloured(self, scaled: Tensor) -> Tensor:
        """Grey (N, 1, H, W) on the 0 to 255 scale to the network's input (N, 3, H, W)."""
        return to_convention(scaled, self.facts.input_convention)

    def last_conv(self) -> nn.Module:
        """The base's last convolution, which the study trains; its BatchNorm is not part of it."""
        return self.keras_modules()[self.facts.last_conv]

    def keras_modules(self) -> dict[str, nn.Module]:
        """Every layer with weights by its Keras name, in the order of Keras's ``model.layers``."""
        return dict(_leaves(self.steps))

    def keras_layers(self) -> tuple[KerasLayer, ...]:
        """Every layer with weights as Keras sees it, in the order of Keras's ``model.layers``."""
        return tuple(_describe(name, module) for name, module in _leaves(self.steps))

    def index(self, step: str) -> int:
        """The place of ``step`` among the steps; that of END is their number. Raises UsageError."""
        try:
            return (*self.step_names, END).index(step)
        except ValueError:
            raise UsageError(f"{self.name}: no step {step}; the steps are {', '.join(self.step_names)}") from None

    def _run(self, state: State, first: int, stop: int) -> State:
        for name in self.step_names[first:stop]:
            state = self.steps[name](*state)
        return state


def to_convention(scaled: Tensor, convention: Convention) -> Tensor:
    """Grey (N, 1, H, W) on the 0 to 255 scale to three channels (N, 3, H, W) in a Keras input convention.

    ``caffe``: blue, green, red, each minus ImageNet's mean; ``tf``: -1 to 1; ``torch``: 0 to 1, then ImageNet's mean and
    standard deviation.
    """

    def channels(values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values, dtype=scaled.dtype, device=scaled.device).view(1, 3, 1, 1)

    if convention == "caffe":
        return scaled - channels(_CAFFE_MEAN)
    if convention == "torch":
        return (scaled / 255 - channels(_TORCH_MEAN)) / channels(_TORCH_STD)
    return (scaled / 127.5 - 1).expand(-1, 3, -1, -1)


def _leaves(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d | BatchNorm | SeparableConv):
            yield name, child
        else:
            yield from _leaves(child)


def _describe(name: str, module: nn.Module) -> KerasLayer:
    if isinstance(module, BatchNorm):
        shape = (module.num_features,)
        variables = tuple((variable, shape) for variable in ("gamma", "beta", "moving_mean", "moving_variance"))
        return KerasLayer(name, "BatchNormalization", variables)
    if isinstance(module, SeparableConv):
        inputs, outputs = module.pointwise.in_channels, module.pointwise.out_channels
        shapes = (("depthwise_kernel", (3, 3, inputs, 1)), ("pointwise_kernel", (1, 1, inputs, outputs)))
        return KerasLayer(name, "SeparableConv2D", shapes)
    assert isinstance(module, Conv)
    rows, columns = module.kernel_size
    if module.depthwise:
        return KerasLayer(name, "DepthwiseConv2D", (("kernel", (rows, columns, module.in_channels, 1)),))
    kernel = (("kernel", (rows, columns, module.in_channels, module.out_channels)),)
    bias = (("bias", (module.out_channels,)),) if module.bias is not None else ()
    return KerasLayer(name, "Conv2D", kernel + bias)
