"""The three Keras layouts and ONNX, made by hand as Keras and tf2onnx write them; Keras's own files: tests/contract."""

from __future__ import annotations

import io
import json
import pickle
import zipfile

import h5py
import numpy as np
import pytest
from onnx import helper, numpy_helper

from tramtrack.errors import TramtrackError
from tramtrack.network.build import skeleton
from tramtrack.network.keras_files import read_keras
from tramtrack.network.onnx_files import read_onnx
from tramtrack.network.registry import NETWORKS

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


def assert_read(content: bytes, name: str, tensors: dict[str, np.ndarray], nested: str = "") -> None:
    found = read_keras(content, layers_of(name), "file", nested)
    assert found.keys() == tensors.keys()
    assert all(np.array_equal(found[key], tensors[key]) for key in tensors)


@pytest.mark.parametrize("name", ["xception", "mobilenetv2", "densenet121"])
def test_every_layout_gives_back_what_was_written(name):
    tensors = random_tensors(name)
    assert_read(write_legacy(name, tensors), name, tensors)
    assert_read(write_legacy(name, tensors, top=True, suffix=""), name, tensors)
    assert_read(write_nested_legacy(name, tensors), name, tensors, nested="inner")
    assert_read(write_keras3(name, tensors), name, tensors)
    assert_read(write_keras3(name, tensors, label=True), name, tensors)
    assert_read(write_keras3(name, tensors, nested=True), name, tensors)
    assert_read(write_archive(name, write_keras3(name, tensors)), name, tensors)
    assert_read(write_archive(name, write_keras3(name, tensors, nested=True), nested=True), name, tensors, nested=name)


def test_old_names_are_matched_by_order():
    """The first Keras files have names like block1_conv1_W_1:0, and MobileNetV2's had other layer names altogether."""
    tensors = random_tensors("mobilenetv2")
    places = {layer.name: place for place, layer in enumerate(layers_of("mobilenetv2"))}
    assert_read(write_legacy("mobilenetv2", tensors, rename=lambda name: f"mobl_{places[name]}"), "mobilenetv2", tensors)


def test_the_counter_is_a_number_not_a_text():
    """conv2d_10 comes after conv2d_2: several of MobileNet's layers share a shape, so a wrong order would go unnoticed."""
    tensors = random_tensors("mobilenet")
    assert_read(write_keras3("mobilenet", tensors), "mobilenet", tensors)


def test_a_missing_layer_is_named():
    tensors = random_tensors("mobilenet")
    content = write_keras3("mobilenet", tensors, label=True)
    with h5py.File(stream := io.BytesIO(content), "r+") as file:
        del file["layers/conv2d_13"]
    with pytest.raises(TramtrackError, match=r"file: layer conv_pw_13: missing"):
        read_keras(stream.getvalue(), layers_of("mobilenet"), "file")


def test_a_wrong_shape_is_named():
    tensors = random_tensors("mobilenet")
    tensors["conv_pw_3/kernel"] = tensors["conv_pw_3/kernel"][..., :7]
    for content in (write_keras3("mobilenet", tensors), write_legacy("mobilenet", tensors)):
        with pytest.raises(
            TramtrackError, match=r"layer conv_pw_3: expected variables of shape .*128, 128.* received .*128, 7"
        ):
            read_keras(content, layers_of("mobilenet"), "file")


@pytest.mark.parametrize("write", [write_legacy, write_keras3])
def test_another_networks_file_is_refused(write):
    with pytest.raises(TramtrackError, match=r"file: layer .* (missing|expected)"):
        read_keras(write("mobilenet", random_tensors("mobilenet")), layers_of("mobilenetv2"), "file")


@pytest.mark.parametrize(("smaller", "larger"), [("vgg16", "vgg19"), ("resnet50v2", "resnet101v2")])
@pytest.mark.parametrize("write", [write_legacy, write_keras3])
def test_a_network_that_contains_another_is_not_it(smaller, larger, write):
    with pytest.raises(TramtrackError, match=r"file: layer .* (not one of the network's|missing)"):
        read_keras(write(larger, random_tensors(larger)), layers_of(smaller), "file")


def test_what_is_no_keras_file_is_refused_and_not_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("executed").touch, ())

    for content in (pickle.dumps(Bomb()), b"", b"<html>sign in</html>"):
        with pytest.raises(TramtrackError, match="file: expected Keras weights"):
            read_keras(content, layers_of("vgg16"), "file")
    with pytest.raises(TramtrackError, match=r"file: expected an ONNX model|layer block1_conv1"):
        read_onnx(pickle.dumps(Bomb()), layers_of("vgg16"), "file")
    assert not (tmp_path / "executed").exists()


def write_onnx(tensors: dict[str, np.ndarray]) -> bytes:
    initialisers = [numpy_helper.from_array(np.zeros((3, 4), np.float32), "model/dense_1/Cast/ReadVariableOp:0")]
    for key, array in tensors.items():
        layer, variable = key.split("/")
        name = f"model/{layer}_1/" + ("convolution/ReadVariableOp:0" if variable == "kernel" else "Squeeze:0")
        value = array.transpose(3, 2, 0, 1) if variable == "kernel" else array
        initialisers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    graph = helper.make_graph([], "graph", [], [], initialisers)
    return helper.make_model(graph).SerializeToString()


def test_onnx_gives_back_what_was_written():
    tensors = random_tensors("vgg16")
    found = read_onnx(write_onnx(tensors), layers_of("vgg16"), "file")
    assert found.keys() == tensors.keys()
    assert all(np.array_equal(found[key], tensors[key]) for key in tensors)
    with pytest.raises(TramtrackError, match=r"block3_conv4_1/.*: not one of the network's layers"):
        read_onnx(write_onnx(random_tensors("vgg19")), layers_of("vgg16"), "file")
    del tensors["block3_conv2/bias"]
    with pytest.raises(TramtrackError, match="layer block3_conv2: bias missing"):
        read_onnx(write_onnx(tensors), layers_of("vgg16"), "file")


def test_layer_names_are_unique_in_every_network():
    for name in NETWORKS:
        names = [layer.name for layer in layers_of(name)]
        assert len(set(names)) == len(names)
