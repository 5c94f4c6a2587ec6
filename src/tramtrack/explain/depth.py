"""On which layer of a network a map is made: the class activation layer, the last one of a resolution, or a named step."""

from __future__ import annotations

import re

import torch

from tramtrack.errors import UsageError
from tramtrack.network.backbone import Backbone

PROBE = 128
"""Pixels of the black square on which strides are counted."""


@torch.no_grad()
def depths(backbone: Backbone) -> dict[str, int]:
    """The input pixels to a cell behind each step up to the class activation layer, first to last."""
    parameter = next(backbone.parameters())
    state: tuple[torch.Tensor, ...] = (parameter.new_zeros((1, 3, PROBE, PROBE)),)
    found = {}
    for step in _steps(backbone):
        state = backbone.steps[step](*state)
        found[step] = round(PROBE / state[0].shape[2])
    return found


def resolve_layer(backbone: Backbone, layer: str) -> str:
    """The step that ``layer`` means: "cam", "stride-<n>" (the last step whose output has that stride), or a step's own name.

    Raises UsageError with what there is.
    """
    if layer == "cam":
        return backbone.cam_step
    if layer in _steps(backbone):
        return layer
    if not re.fullmatch(r"stride-\d+", layer):
        raise UsageError(
            f"{backbone.facts.title}: layer {layer}: expected cam, stride-<pixels>, or one of its steps "
            f"{', '.join(_steps(backbone))}"
        )
    strides, wanted = depths(backbone), int(layer.removeprefix("stride-"))
    found = [step for step, stride in strides.items() if stride == wanted]
    if not found:
        known = ", ".join(str(stride) for stride in sorted(set(strides.values())))
        raise UsageError(f"{backbone.facts.title}: no layer has stride {wanted}; its layers have {known}")
    return found[-1]


def _steps(backbone: Backbone) -> tuple[str, ...]:
    return backbone.step_names[: backbone.index(backbone.cam_step) + 1]
