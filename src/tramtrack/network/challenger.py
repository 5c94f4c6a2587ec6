"""Any convolutional network of timm as a backbone: what its ``forward_features`` computes, under the rules of the eleven.

Needs the extra ``timm``. timm: Wightman, PyTorch Image Models, https://doi.org/10.5281/zenodo.4414861, Apache-2.0.
"""

from __future__ import annotations

import difflib
import importlib
from contextlib import suppress
from functools import cache, partial
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn

from tramtrack.errors import UsageError
from tramtrack.network.backbone import Backbone, KerasLayer
from tramtrack.network.cutting import Call, Part, Run, cut, trace
from tramtrack.network.layers import AnyBatchNorm
from tramtrack.network.registry import CHALLENGER, NetworkFacts, known_name, title

INSTALL = 'pip install ".[timm]" in the folder of tramtrack, into an environment of its own'
PROBE, OTHER_PROBE = (1, 3, 128, 96), (2, 3, 96, 160)
"""Inputs (N, C, H, W) on which a model of timm is watched, and on which its parts are compared with it."""
_SHORTCUTS = {"downsample", "shortcut"}


class Challenger(Backbone):
    """A network of timm. Steps, layers and variables have timm's names; a dot in a step's name is an underscore.

    ``not_read`` are the names of timm's weights that ``forward_features`` has no use for, such as the classifier's.
    """

    input_mean: Tensor  # (1, 3, 1, 1) float32, on the 0 to 1 scale
    input_std: Tensor

    def __init__(
        self, name: str, parts: list[Part], facts: NetworkFacts, config: Any, *, signed_map: bool, not_read: frozenset[str]
    ) -> None:
        steps = [(part.origins[0].replace(".", "_") or "whole", part) for part in parts]
        blocks = [step for step, part in steps if sum(p.ndim > 1 for p in part.parameters()) > 1]
        conv = next((s for s, part in steps if facts.last_conv in dict(part.original_modules())), steps[-1][0])
        last = blocks[-1] if blocks else steps[-1][0]
        super().__init__(name, steps, boundary=conv, last_block=last, cam_step=steps[-1][0], facts=facts)
        self.signed_map = signed_map
        self.not_read = not_read
        for kind in ("mean", "std"):
            values = torch.tensor(getattr(config, kind), dtype=torch.float32).view(1, 3, 1, 1)
            self.register_buffer(f"input_{kind}", values)

    def last_conv(self) -> nn.Module:
        """The last convolution on the way to the map; one of a shortcut does not count. Raises UsageError if there is none."""
        if not self.facts.last_conv:
            raise UsageError(
                f"{self.facts.title}: it has no last convolution to train, since none is in its last block on the way to the "
                "map; use the policy head, last-block, equal-adapter or full"
            )
        return self.keras_modules()[self.facts.last_conv]

    def keras_modules(self) -> dict[str, nn.Module]:
        """Every module that has weights of its own, by timm's name."""
        parts = [part for part in self.steps.values() if isinstance(part, Part)]
        return {name: module for part in parts for name, module in part.original_modules() if _variables(module)}

    def keras_layers(self) -> tuple[KerasLayer, ...]:
        """Every module that has weights of its own, with their shapes in torch's layout."""
        return tuple(
            KerasLayer(name, "timm", tuple((variable, tuple(tensor.shape)) for variable, tensor in _variables(module).items()))
            for name, module in self.keras_modules().items()
        )

    def is_read(self, key: str) -> bool:
        """Whether the weight that timm calls ``key`` could be one of these, and not the classifier's or a constant."""
        return not key.endswith("num_batches_tracked") and not any(
            key == other or key.startswith(f"{other}.") for other in self.not_read
        )

    def _coloured(self, scaled: Tensor) -> Tensor:
        return (scaled / 255 - self.input_mean.to(scaled.dtype)) / self.input_std.to(scaled.dtype)


def import_timm() -> ModuleType:
    """timm. Raises UsageError with the install command where it, or torchvision beside this torch, does not import."""
    try:
        return importlib.import_module("timm")
    except Exception as error:  # beside another build of torch, torchvision raises a RuntimeError
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"networks called {CHALLENGER}<model> need timm, and torchvision of the same build as torch ({reason}); {INSTALL}"
        ) from error


def challenger(name: str, generator: torch.Generator | None = None) -> Challenger:
    """The network ``name``, timm:<model>, in float32 on the CPU, in inference mode, with the random weights that timm draws.

    timm draws from torch's global generator, which is seeded from ``generator`` (a fresh one if None) and put back. Raises
    UsageError for a name that timm does not know, and with the reason for a model without a map (N, C, h, w) or of one size.
    """
    timm = import_timm()
    model_name = known_name(name).removeprefix(CHALLENGER)
    config = _config(timm, model_name)
    seed = int(torch.randint(2**62, (), generator=generator or torch.Generator().manual_seed(0)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = timm.create_model(model_name, pretrained=False, num_classes=0, global_pool="").eval()
        except Exception as error:
            raise UsageError(f"{title(name)}: timm does not make it without its classifier ({_first(error)})") from error
    x, other = (torch.randn(shape, generator=torch.Generator().manual_seed(1)) for shape in (PROBE, OTHER_PROBE))
    calls, y = _watched(name, model, x)
    parts = cut(model, model.forward_features, x, other) or [_whole(model, calls, other)]
    if getattr(model, "output_fmt", "NCHW") == "NHWC":
        parts[-1].channels_last = True
        y = y.permute(0, 3, 1, 2)
    if y.ndim != 4:
        raise UsageError(
            f"{title(name)}: refused: expected a map (N, C, h, w) from timm's forward_features, received {tuple(y.shape)}; "
            "there is nothing to pool and to show as a heat map"
        )
    found = _facts(name, config, parts, calls, y)
    wanted = {
        ".".join(filter(None, (module_name, variable)))
        for part in parts
        for module_name, module in part.original_modules()
        for variable in _variables(module)
    }
    heads = [config.classifier] if isinstance(config.classifier, str) else list(config.classifier or ())
    not_read = frozenset({*heads, *(set(model.state_dict()) - wanted)})
    backbone = Challenger(name, parts, found, config, signed_map=bool(y.min() < 0), not_read=not_read)
    for parameter in backbone.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return backbone.eval()


@cache
def challenger_facts(name: str) -> NetworkFacts:
    """What timm says of the network ``name``, and what is seen of it once it is made. Raises as ``challenger`` does."""
    return challenger(name).facts


def _config(timm: ModuleType, model_name: str) -> Any:
    """timm's pretrained_cfg. Raises UsageError, with the nearest name, where timm does not know the model or its tag."""
    base, _, tag = model_name.partition(".")
    config = None
    with suppress(RuntimeError):  # an unknown name or tag
        config = timm.get_pretrained_cfg(model_name, allow_unregistered=False)
    if config is None:
        known = timm.list_models(f"{base}.*", pretrained=True) if timm.is_model(base) else timm.list_models()
        near = difflib.get_close_matches(model_name, known, n=1) or ([known[0]] if known and tag else [])
        hint = f"did you mean {CHALLENGER}{near[0]}?" if near else "timm.list_models() lists the names"
        raise UsageError(f"network {CHALLENGER}{model_name}: not known to timm {timm.__version__}; {hint}")
    if config.input_size[0] != 3:
        raise UsageError(f"{model_name} (timm): refused: expected three input channels, it has {config.input_size[0]}")
    return config


def _watched(name: str, model: nn.Module, x: Tensor) -> tuple[dict[str, Call], Tensor]:
    try:
        return trace(model, cast(Run, model.forward_features), x)
    except Exception as error:
        size = "x".join(map(str, PROBE[2:]))
        raise UsageError(
            f"{title(name)}: refused: in timm it does not run at {size} pixels, so it takes no image of any size "
            f"({_first(error)})"
        ) from error


def _whole(model: nn.Module, calls: dict[str, Call], x: Tensor) -> Part:
    """The model as one part, without the modules that its ``forward_features`` never calls, if it does without them."""
    features = partial(cast(Run, model.forward_features), x)
    with torch.no_grad():
        expected = features()
        for child, module in list(model.named_children()):
            if not any(called == child or called.startswith(f"{child}.") for called in calls):
                setattr(model, child, nn.Identity())
                if not torch.equal(features(), expected):
                    setattr(model, child, module)
    return Part({"": model}, "forward_features")


def _facts(name: str, config: Any, parts: list[Part], calls: dict[str, Call], y: Tensor) -> NetworkFacts:
    inside = {module_name: module for part in parts for module_name, module in part.original_modules()}
    last_conv = _last_conv(parts, calls, y)
    convolution = inside.get(last_conv)
    cam_layer = next((called for called in reversed(calls) if called in inside), parts[-1].origins[-1])
    statistics = sum(b.numel() for m in inside.values() for key, b in m.named_buffers(recurse=False) if "running_" in key)
    papers = ", ".join(filter(None, [config.paper_name, *([config.paper_ids] if isinstance(config.paper_ids, str) else [])]))
    return NetworkFacts(
        name=name,
        title=title(name),
        family="timm",
        depth=0,
        weight_layers=0,
        parameters=sum(p.numel() for part in parts for p in part.parameters()) + statistics,
        batchnorm_layers=sum(isinstance(module, AnyBatchNorm) for module in inside.values()),
        input_convention="timm",
        last_conv=last_conv,
        last_conv_parameters=sum(p.numel() for p in convolution.parameters()) if convolution else 0,
        last_conv_channels=convolution.out_channels if isinstance(convolution, nn.Conv2d) else 0,
        cam_layer=cam_layer,
        feature_channels=y.shape[1],
        stride=PROBE[2] // y.shape[2],
        official_url=_address(config),
        official_hash="",
        official_licence=config.license or "not stated",
        citation=papers or "not stated",
        tag=f"{config.architecture}.{config.tag}" if config.tag else "",
    )


def _last_conv(parts: list[Part], calls: dict[str, Call], y: Tensor) -> str:
    """The last convolution that was called in the last parts, with an output as fine as the map ``y`` or finer.

    Convolutions of attention see one cell only, and those of shortcuts run last though they stand beside the others. Empty
    where the parts that hold the last block, or the only convolutions behind it, have none.
    """
    several = [i for i, part in enumerate(parts) if sum(p.ndim > 1 for p in part.parameters()) > 1]
    behind = parts[several[-1] :] if several else parts[-1:]
    inside = {name: module for part in behind for name, module in part.original_modules()}
    rows = y.shape[2]
    found = ""
    for name, call in calls.items():
        is_conv = isinstance(inside.get(name), nn.Conv2d) and not _SHORTCUTS & set(name.split("."))
        if is_conv and call.times == 1 and call.left is not None and call.left.shape[2] >= rows:
            found = name
    return found


def _address(config: Any) -> str:
    """Where timm's weights lie as safetensors, or nothing where it only has a pickle."""
    file = config.hf_hub_filename or "model.safetensors"
    if not config.hf_hub_id or not file.endswith(".safetensors"):
        return ""
    return str(importlib.import_module("huggingface_hub").hf_hub_url(config.hf_hub_id, file))


def _variables(module: nn.Module) -> dict[str, Tensor]:
    """A module's own weights, and the statistics of a BatchNorm."""
    statistics = {key: buffer for key, buffer in module.named_buffers(recurse=False) if key.startswith("running_")}
    return {**dict(module.named_parameters(recurse=False)), **statistics}


def _first(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
