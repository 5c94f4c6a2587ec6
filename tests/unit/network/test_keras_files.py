"""The three Keras layouts and ONNX, made by hand as Keras and tf2onnx write them; Keras's own files: tests/contract."""

from __future__ import annotations

import io
import pickle

import h5py
import numpy as np
import onnx
import pytest

from keras_layouts import (
    layers_of,
    random_tensors,
    write_archive,
    write_keras3,
    write_legacy,
    write_nested_legacy,
    write_onnx,
)
from tramtrack.errors import TramtrackError
from tramtrack.network.keras_files import read_keras
from tramtrack.network.onnx_files import read_onnx
from tramtrack.network.registry import NETWORKS


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


def test_mobilenets_classifier_is_a_convolution_and_left_unread_too():
    tensors = random_tensors("mobilenet")
    with h5py.File(stream := io.BytesIO(write_legacy("mobilenet", tensors)), "r+") as file:
        file.attrs["layer_names"] = [*map(np.bytes_, file.attrs["layer_names"]), b"conv_preds"]
        group = file.create_group("conv_preds")
        group.attrs["weight_names"] = [b"conv_preds/kernel:0", b"conv_preds/bias:0"]
        group["conv_preds/kernel:0"] = np.zeros((1, 1, 1024, 1000), np.float32)
        group["conv_preds/bias:0"] = np.zeros(1000, np.float32)
    assert_read(stream.getvalue(), "mobilenet", tensors)


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

    with h5py.File(stream := io.BytesIO(), "w") as file:
        file.attrs["layer_names"] = 5
    for content in (pickle.dumps(Bomb()), b"", b"<html>sign in</html>", stream.getvalue()):
        with pytest.raises(TramtrackError, match="file: expected Keras weights"):
            read_keras(content, layers_of("vgg16"), "file")
    with pytest.raises(TramtrackError, match=r"file: expected an ONNX model|layer block1_conv1"):
        read_onnx(pickle.dumps(Bomb()), layers_of("vgg16"), "file")
    assert not (tmp_path / "executed").exists()


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


def test_onnx_that_keeps_its_numbers_in_another_file_is_refused_and_that_file_not_opened():
    model = onnx.load_model_from_string(write_onnx(random_tensors("vgg16")))
    kernel = next(tensor for tensor in model.graph.initializer if "block2_conv1" in tensor.name)
    kernel.data_location = onnx.TensorProto.EXTERNAL
    kernel.external_data.add(key="location", value="elsewhere.bin")
    with pytest.raises(TramtrackError, match="layer block2_conv1: kernel lies in another file"):
        read_onnx(model.SerializeToString(), layers_of("vgg16"), "file")


def test_layer_names_are_unique_in_every_network():
    for name in NETWORKS:
        names = [layer.name for layer in layers_of(name)]
        assert len(set(names)) == len(names)
