"""Weights files made by hand as Keras and tf2onnx write them: the three Keras layouts and ONNX, as bytes."""

from __future__ import annotations

import io
import json
import zipfile

import h5py
import numpy as np
from onnx import helper, numpy_helper

from tramtrack.network.build import skeleton

GROUPS = {
    "Conv2D": "conv2d",
    "DepthwiseConv2D": "depthwise_conv2d",
    "SeparableConv2D": "separable_conv2d",
    "BatchNormalization": "batch_normalization",
}


def layers_of(name: str):
    return skeleton(name).keras_layers()


def random_tensors(name: str, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        f"{layer.name}/{variable}": generator.random(shape, dtype=np.float32)
        for layer in layers_of(name)
        for variable, shape in layer.variables
    }


def keras_name(layer_name: str) -> str:
    """What an anonymous layer may be called in a file."""
    return (
        layer_name.replace("_shortcut_conv", "").replace("block", "conv2d_") if "_shortcut_conv" in layer_name else layer_name
    )


def write_legacy(
    name: str, tensors: dict[str, np.ndarray], *, top: bool = False, suffix: str = ":0", rename=keras_name
) -> bytes:
    """As Keras 2 writes it: one group a layer, names in attributes."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        names = []
        for layer in layers_of(name):
            called = rename(layer.name)
            names.append(called)
            group = file.create_group(called)
            paths = [f"{called}/{variable}{suffix}" for variable, _ in layer.variables]
            group.attrs["weight_names"] = [path.encode() for path in paths]
            for path, (variable, _) in zip(paths, layer.variables, strict=True):
                group[path] = tensors[f"{layer.name}/{variable}"]
        if top:
            names.append("predictions")
            group = file.create_group("predictions")
            group.attrs["weight_names"] = [b"predictions/kernel:0"]
            group["predictions/kernel:0"] = np.zeros((4, 2), np.float32)
        file.attrs["layer_names"] = [called.encode() for called in names]
    return buffer.getvalue()


def write_nested_legacy(name: str, tensors: dict[str, np.ndarray]) -> bytes:
    """As Keras 3 writes a model inside a model: trained weights first, in an order that says nothing."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = [b"dense", b"inner"]
        dense = root.create_group("dense")
        dense.attrs["weight_names"] = [b"dense/kernel"]
        dense["dense/kernel"] = np.zeros((4, 2), np.float32)
        inner = root.create_group("inner")
        backwards = list(tensors)[::-1]
        moving_last = sorted(backwards, key=lambda key: "moving" in key)
        inner.attrs["weight_names"] = [key.encode() for key in moving_last]
        for key in moving_last:
            inner[key] = tensors[key]
    return buffer.getvalue()


def write_keras3(name: str, tensors: dict[str, np.ndarray], *, nested: bool = False, label: bool = False) -> bytes:
    """As Keras 3 writes ``.weights.h5``: groups are classes with a counter."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        base = "layers/functional/layers" if nested else "layers"
        if nested:
            file["layers/dense/vars/0"] = np.zeros((4, 2), np.float32)
        for layer, group in zip(layers_of(name), counted_groups(name), strict=True):
            variables = file.create_group(f"{base}/{group}/vars")
            if label:
                variables.attrs["name"] = layer.name
            for place, (variable, _) in enumerate(layer.variables):
                variables[str(place)] = tensors[f"{layer.name}/{variable}"]
    return buffer.getvalue()


def counted_groups(name: str) -> list[str]:
    counts: dict[str, int] = {}
    groups = []
    for layer in layers_of(name):
        kind = GROUPS[layer.keras_class]
        count = counts.get(kind, 0)
        groups.append(f"{kind}_{count}" if count else kind)
        counts[kind] = count + 1
    return groups


def write_archive(name: str, weights: bytes, *, nested: bool = False) -> bytes:
    """As Keras 3 writes ``.keras``: a zip of configuration and weights."""
    inner = [{"class_name": layer.keras_class, "config": {"name": layer.name}} for layer in layers_of(name)]
    config = {"config": {"layers": inner}}
    if nested:
        model = {"class_name": "Functional", "config": {"name": name, "layers": inner}}
        config = {"config": {"layers": [model, {"class_name": "Dense", "config": {"name": "dense"}}]}}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights)
    return buffer.getvalue()


def write_onnx(tensors: dict[str, np.ndarray]) -> bytes:
    """As tf2onnx writes plain convolutions, with a classifier on top."""
    initialisers = [numpy_helper.from_array(np.zeros((3, 4), np.float32), "model/dense_1/Cast/ReadVariableOp:0")]
    for key, array in tensors.items():
        layer, variable = key.split("/")
        name = f"model/{layer}_1/" + ("convolution/ReadVariableOp:0" if variable == "kernel" else "Squeeze:0")
        value = array.transpose(3, 2, 0, 1) if variable == "kernel" else array
        initialisers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    graph = helper.make_graph([], "graph", [], [], initialisers)
    return helper.make_model(graph).SerializeToString()
