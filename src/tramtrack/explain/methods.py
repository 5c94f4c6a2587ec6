"""Heat maps of any kind under one interface: a method, a layer, grey views in, maps and logits out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from tramtrack.errors import UsageError
from tramtrack.explain.attribution import integrated_gradients, occlusion
from tramtrack.explain.depth import resolve_layer
from tramtrack.explain.gradcam import Combine, class_activation_maps, combine, combine_by_average
from tramtrack.training.transfer import Classifier, Trunk

Method = Literal["grad-cam++", "grad-cam", "integrated-gradients", "occlusion"]
METHODS: tuple[Method, ...] = get_args(Method)

_ON_A_LAYER: dict[str, Combine] = {"grad-cam++": combine, "grad-cam": combine_by_average}
_ON_THE_IMAGE: dict[str, Callable[[Classifier, Tensor], Tensor]] = {
    "integrated-gradients": integrated_gradients,
    "occlusion": occlusion,
}


@dataclass(frozen=True)
class Explainer:
    """A method on a layer: "cam", "stride-<n>" or a step (see `resolve_layer`); methods on the image itself know none.

    Raises UsageError for a method that is not known, and for a layer where the method has none.
    """

    method: Method = "grad-cam++"
    layer: str = "cam"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"method {self.method}: expected one of {', '.join(METHODS)}")
        if not re.fullmatch(r"\w[\w.-]*", self.layer):
            raise UsageError(f"layer {self.layer!r}: expected cam, stride-<pixels>, or the name of a step")
        if self.method in _ON_THE_IMAGE and self.layer != "cam":
            raise UsageError(f"method {self.method}: it explains the image itself and has no layer, received {self.layer}")

    @property
    def is_cheap(self) -> bool:
        """Whether a map comes with the pass that scores a view: a class activation map on the layer before the head."""
        return self.method in _ON_A_LAYER and self.layer == "cam"

    def name_of_layer(self, model: Classifier) -> str:
        """The layer's name as it is read: Keras's for the class activation layer, the step's for others, "input" for none."""
        if self.method in _ON_THE_IMAGE:
            return "input"
        return model.backbone.facts.cam_layer if self.layer == "cam" else resolve_layer(model.backbone, self.layer)

    def maps(
        self, model: Classifier, grey: Tensor, trunk: Trunk | None = None, dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor]:
        """Maps (N, h, w) float32 >= 0 and logits (N,) of grey views (N, 1, H, W), values 0 to 65535.

        What speaks against BAC is cut from every map. ``trunk`` (see `Classifier.fast_trunk`) and ``dtype`` hold for maps on
        a layer; those on the image are computed in float32.
        """
        if self.method in _ON_A_LAYER:
            return class_activation_maps(model, grey, _ON_A_LAYER[self.method], layer=self.layer, trunk=trunk, dtype=dtype)
        model.eval()
        with torch.no_grad():
            logits = model(model.trunk(grey))
        return _ON_THE_IMAGE[self.method](model, grey).clamp(min=0)[:, 0], logits
