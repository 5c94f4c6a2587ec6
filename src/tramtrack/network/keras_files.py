"""Read weights out of Keras files without Keras: legacy ``.h5``, Keras 3 ``.weights.h5`` and ``.keras``. Nothing is executed.

What each layout says about a layer:

* legacy ``.h5`` (Keras 2, and ``model.save("x.h5")`` of Keras 3): its name and its variables' names;
* ``.weights.h5``: only its class and how many of that class came before (``conv2d_10`` comes after ``conv2d_2``); newer
  Keras adds names as attributes;
* ``.keras``: a zip of the former with a ``config.json`` that gives every layer's name.

Layers are therefore matched by name where the file has one, and what is left by order, with every shape checked.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from tramtrack.errors import TramtrackError
from tramtrack.network.backbone import KerasLayer

_CLASSES = {
    "conv2d": "Conv2D",
    "depthwise_conv2d": "DepthwiseConv2D",
    "separable_conv2d": "SeparableConv2D",
    "batch_normalization": "BatchNormalization",
}
_CONVOLUTIONAL_CLASSIFIER = "conv_preds"
"""MobileNet's classifier is a convolution; the other networks' are dense layers, which are told by their shapes."""

_VARIABLE_ORDER = (
    "depthwise_kernel",
    "pointwise_kernel",
    "kernel",
    "bias",
    "gamma",
    "beta",
    "moving_mean",
    "moving_variance",
)


@dataclass(frozen=True)
class _FileLayer:
    """A layer as the file has it: name and Keras class where known, else empty, and its variables in Keras's order."""

    name: str
    keras_class: str
    variables: tuple[h5py.Dataset, ...]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(variable.shape for variable in self.variables)


@dataclass(frozen=True)
class _Model:
    """The layers of one model in the file; a model nested in another stands by itself."""

    name: str
    layers: tuple[_FileLayer, ...]


def read_keras(content: Path | bytes, layers: Sequence[KerasLayer], source: str, nested: str = "") -> dict[str, np.ndarray]:
    """The weights of ``layers`` as ``{"<layer>/<variable>": array}`` in Keras layout, from any of the three layouts.

    ``content`` is the file or its bytes, ``source`` names it in errors, ``nested`` is the model's name inside the file where
    it is known. A classifier on top is left unread. Raises TramtrackError naming the layer that is missing or has another
    shape, or if this is no Keras file.
    """
    stream: BinaryIO = io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")
    with stream:
        try:
            if zipfile.is_zipfile(stream):
                with zipfile.ZipFile(stream) as archive:
                    config = json.loads(archive.read("config.json"))
                    weights: BinaryIO = io.BytesIO(archive.read("model.weights.h5"))
            else:
                config, weights = None, stream
            weights.seek(0)
            with h5py.File(weights, "r") as file:
                return _match(layers, list(_models(file, config)), source, nested)
        except TramtrackError:
            raise
        except Exception as error:  # a file that is not what it seems makes h5py, zipfile and json raise all kinds
            raise TramtrackError(
                f"{source}: expected Keras weights (.h5, .weights.h5 or .keras), found something else ({error}); "
                "fetch the file again or name another"
            ) from error


def _models(file: h5py.File, config: dict[str, Any] | None) -> Iterator[_Model]:
    root = file.get("model_weights", file)
    if _attribute(root, "layer_names"):
        yield from _legacy_models(root)
    else:
        yield from _keras3_models(file, config)


def _legacy_models(root: h5py.Group) -> Iterator[_Model]:
    """One group a layer; a nested model is a group whose weight names run over several layers."""
    flat = []
    for group_name in _attribute(root, "layer_names"):
        group = root[group_name]
        found: dict[str, list[tuple[str, h5py.Dataset]]] = {}
        for path in _attribute(group, "weight_names"):
            *parents, variable = path.split("/")
            found.setdefault(parents[-1] if parents else group_name, []).append((variable, group[path]))
        inner = tuple(_FileLayer(name, "", _ordered(variables)) for name, variables in found.items())
        if len(inner) == 1:
            flat.append(replace(inner[0], name=group_name))
        elif inner:
            yield _Model(group_name, inner)
    yield _Model("", tuple(flat))


def _keras3_models(group: h5py.Group, config: dict[str, Any] | None, name: str = "") -> Iterator[_Model]:
    """One group a layer, named by class and count; ``layers`` inside a layer means a nested model."""
    if "layers" not in group:
        return
    names = _names_by_group(config)
    inner = []
    children = sorted(group["layers"], key=lambda child: (_class_of(child), _count_of(child)))
    for child in children:
        layer = group["layers"][child]
        variables = layer.get("vars", layer)
        label, inner_config = names.get(child, ("", None))
        label = label or _text(variables.attrs.get("name", layer.attrs.get("name", "")))
        yield from _keras3_models(layer, inner_config, label)
        datasets = tuple(variables[key] for key in sorted((key for key in variables if key.isdigit()), key=int))
        if datasets:
            inner.append(_FileLayer(label, _CLASSES.get(_class_of(child), "other"), datasets))
    yield _Model(name, tuple(inner))


def _names_by_group(config: dict[str, Any] | None) -> dict[str, tuple[str, dict[str, Any]]]:
    """What each group of a ``.keras`` file is called: classes are counted in the order of the configuration's layers."""
    names: dict[str, tuple[str, dict[str, Any]]] = {}
    counts: dict[str, int] = {}
    for layer in (config or {}).get("config", {}).get("layers", []):
        kind = _snake_case(layer["class_name"])
        count = counts.get(kind, 0)
        counts[kind] = count + 1
        names[f"{kind}_{count}" if count else kind] = (layer["config"].get("name", ""), layer)
    return names


def _match(layers: Sequence[KerasLayer], models: list[_Model], source: str, nested: str) -> dict[str, np.ndarray]:
    """Pair the wanted layers with the file's, in that model of the file which fits best, and read them."""
    wanted = {layer.name for layer in layers}

    def fit(model: _Model) -> tuple[bool, int, int]:
        named = sum(layer.name in wanted for layer in model.layers)
        return bool(nested) and model.name == nested, named, -abs(len(model.layers) - len(layers))

    model = max(models, key=fit, default=_Model("", ()))
    if not model.layers:
        raise TramtrackError(f"{source}: expected the weights of {len(layers)} layers, found none")
    by_name = {layer.name: layer for layer in model.layers if layer.name in wanted}
    pairs = {layer.name: by_name[layer.name] for layer in layers if layer.name in by_name}
    rest = [layer for layer in model.layers if layer.name not in {*by_name, _CONVOLUTIONAL_CLASSIFIER}]
    unnamed = [layer for layer in layers if layer.name not in by_name]
    pairs |= _match_by_order(unnamed, rest, source)
    used = {id(layer) for layer in pairs.values()}
    for extra in rest:  # VGG19 has every layer of VGG16, and more: not the same network
        if id(extra) not in used and len(extra.shapes[0]) == 4:
            raise TramtrackError(f"{source}: layer {extra.name}: not one of the network's; these are another network's weights")
    tensors = {}
    for layer in layers:
        shapes = tuple(shape for _, shape in layer.variables)
        if pairs[layer.name].shapes != shapes:
            raise TramtrackError(
                f"{source}: layer {layer.name}: expected variables of shape {shapes}, received {pairs[layer.name].shapes}; "
                "these are the weights of another network"
            )
        for (variable, _), dataset in zip(layer.variables, pairs[layer.name].variables, strict=True):
            tensors[f"{layer.name}/{variable}"] = np.asarray(dataset)
    return tensors


def _match_by_order(wanted: list[KerasLayer], found: list[_FileLayer], source: str) -> dict[str, _FileLayer]:
    """Pair what has no name in common by order: within a class where the file knows it, else over all convolutional layers."""
    pairs: dict[str, _FileLayer] = {}
    known = all(layer.keras_class for layer in found)
    for kind in sorted({layer.keras_class for layer in wanted}) if known else [""]:
        targets = [layer for layer in wanted if layer.keras_class == kind or not known]
        sizes = {len(shape) for layer in targets for _, shape in layer.variables[:1]}
        candidates = [layer for layer in found if (layer.keras_class == kind or not known) and len(layer.shapes[0]) in sizes]
        if len(candidates) > len(targets):
            extra = candidates[len(targets)].name or f"{kind} number {len(targets) + 1}"
            raise TramtrackError(
                f"{source}: layer {extra}: not one of the network's; expected {len(targets)} further {kind or 'convolutional'} "
                f"layers, found {len(candidates)}; these are another network's weights"
            )
        if len(candidates) < len(targets):
            missing = targets[len(candidates)].name
            raise TramtrackError(
                f"{source}: layer {missing}: missing; expected {len(targets)} further {kind or 'convolutional'} layers, "
                f"found {len(candidates)}; these are the weights of another network, or the file is incomplete"
            )
        pairs |= {target.name: layer for target, layer in zip(targets, candidates, strict=True)}
    return pairs


def _ordered(variables: list[tuple[str, h5py.Dataset]]) -> tuple[h5py.Dataset, ...]:
    """Variables in Keras's own order by their names where all are known (``kernel:0``), else as the file has them."""
    plain = [(re.sub(r"(:0)$", "", name), dataset) for name, dataset in variables]
    if all(name in _VARIABLE_ORDER for name, _ in plain):
        plain.sort(key=lambda variable: _VARIABLE_ORDER.index(variable[0]))
    return tuple(dataset for _, dataset in plain)


def _attribute(group: h5py.Group, name: str) -> list[str]:
    """A list of texts from an attribute that Keras may have cut into ``name0``, ``name1``, …."""
    if name in group.attrs:
        return [_text(value) for value in group.attrs[name]]
    texts: list[str] = []
    part = 0
    while f"{name}{part}" in group.attrs:
        texts += [_text(value) for value in group.attrs[f"{name}{part}"]]
        part += 1
    return texts


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _class_of(group_name: str) -> str:
    return re.sub(r"_\d+$", "", group_name)


def _count_of(group_name: str) -> int:
    count = re.search(r"_(\d+)$", group_name)
    return int(count.group(1)) if count else 0


def _snake_case(class_name: str) -> str:
    spaced = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", class_name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", spaced).lower()
