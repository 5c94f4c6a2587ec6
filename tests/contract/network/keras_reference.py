"""What Keras Applications answers, written to files. Runs in the peers' environment; never imports torch or tramtrack.

python keras_reference.py parity NETWORK FOLDER    weights in three layouts and full maps, for test_keras_parity.py
python keras_reference.py golden FOLDER            a few numbers a network, for test_golden.py
python keras_reference.py layers                   every layer with weights, as JSON
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras
import numpy as np
import recipe
import tensorflow

APPLICATIONS = {
    "xception": ("Xception", "xception", "block14_sepconv2", "block14_sepconv2_act"),
    "vgg16": ("VGG16", "vgg16", "block5_conv3", "block5_conv3"),
    "vgg19": ("VGG19", "vgg19", "block5_conv4", "block5_conv4"),
    "resnet50v2": ("ResNet50V2", "resnet_v2", "conv5_block3_3_conv", "post_relu"),
    "resnet101v2": ("ResNet101V2", "resnet_v2", "conv5_block3_3_conv", "post_relu"),
    "resnet152v2": ("ResNet152V2", "resnet_v2", "conv5_block3_3_conv", "post_relu"),
    "mobilenet": ("MobileNet", "mobilenet", "conv_pw_13", "conv_pw_13_relu"),
    "mobilenetv2": ("MobileNetV2", "mobilenet_v2", "Conv_1", "out_relu"),
    "densenet121": ("DenseNet121", "densenet", "conv5_block16_2_conv", "relu"),
    "densenet169": ("DenseNet169", "densenet", "conv5_block32_2_conv", "relu"),
    "densenet201": ("DenseNet201", "densenet", "conv5_block32_2_conv", "relu"),
}


def application(network: str, size: tuple[int, int], dtype: str) -> Any:
    """The base without classifier, random weights, built for one concrete input size."""
    keras.backend.clear_session()
    keras.config.set_floatx(dtype)
    builder = getattr(keras.applications, APPLICATIONS[network][0])
    return builder(weights=None, include_top=False, input_shape=(*size, 3))


def layers_with_weights(model: Any) -> list[Any]:
    return [layer for layer in model.layers if layer.weights]


def layout(model: Any) -> list[recipe.Layer]:
    return [
        (layer.name, type(layer).__name__, tuple((weight.name, tuple(weight.shape)) for weight in layer.weights))
        for layer in layers_with_weights(model)
    ]


def maps(network: str, model: Any, x: np.ndarray, *, training: bool) -> dict[str, np.ndarray]:
    """The output, the last convolution's activation and the class activation map, each (N, H, W, C)."""
    _, _, last_conv, cam = APPLICATIONS[network]
    probe = keras.Model(model.input, [model.output, model.get_layer(last_conv).output, model.get_layer(cam).output])
    output, convolution, cam_map = probe(x, training=training)
    return {"output": np.array(output), "last_conv": np.array(convolution), "cam": np.array(cam_map)}


def preprocessed(network: str, grey: np.ndarray, dtype: str) -> np.ndarray:
    """16-bit grey (N, H, W) through the network's own preprocess_input, as v / 257 on three channels."""
    module = getattr(keras.applications, APPLICATIONS[network][1])
    colour = np.repeat((grey / 257)[..., None], 3, axis=-1)
    return np.array(module.preprocess_input(colour.astype(dtype)))


def parity(network: str, folder: Path) -> None:
    keras.utils.set_random_seed(2024)
    source = application(network, (224, 224), "float32")
    generator = np.random.default_rng(7)
    for layer in layers_with_weights(source):
        if type(layer).__name__ == "BatchNormalization":
            channels = layer.gamma.shape
            layer.gamma.assign(generator.uniform(0.5, 1.5, channels))
            layer.beta.assign(generator.normal(0, 0.1, channels))
            layer.moving_mean.assign(generator.normal(0, 0.1, channels))
            layer.moving_variance.assign(generator.uniform(0.5, 1.5, channels))
    source.save_weights(folder / "saved.weights.h5")
    source.save(folder / "saved.keras")
    source.save(folder / "saved.h5")
    values = source.get_weights()
    for dtype in ("float64", "float32"):
        for size in recipe.PARITY_SIZES:
            model = application(network, size, dtype)
            model.set_weights(values)
            x = preprocessed(network, recipe.grey(f"{network}/parity", 2, *size), dtype)
            for training in (False, True):
                found = maps(network, model, x, training=training)
                mode = "training" if training else "inference"
                np.savez(folder / f"{dtype}-{size[0]}x{size[1]}-{mode}.npz", x=x, **found)
            if dtype == "float64" and size == recipe.PARITY_SIZES[0]:
                norms = [layer for layer in layers_with_weights(model) if type(layer).__name__ == "BatchNormalization"]
                moved = {f"{place}/mean": np.array(norm.moving_mean) for place, norm in enumerate(norms)}
                moved |= {f"{place}/variance": np.array(norm.moving_variance) for place, norm in enumerate(norms)}
                np.savez(folder / "moving.npz", **moved)


def golden(folder: Path, networks: list[str]) -> None:
    """Write the golden numbers; a file that says the same but for a last digit, which may vary by machine, is left alone."""
    for network in networks:
        cases = []
        for size in recipe.GOLDEN_SIZES:
            model = application(network, size, "float64")
            values = recipe.weights(network, layout(model))
            x = preprocessed(network, recipe.grey(f"{network}/golden", 2, *size), "float64")
            for training in (False, True):
                model.set_weights(list(values.values()))
                found = maps(network, model, x, training=training)
                summaries = {name: recipe.summary(value) for name, value in found.items()}
                cases.append({"size": list(size), "training": training, "input": recipe.summary(x), **summaries})
        made_with = f"keras {keras.__version__}, tensorflow {tensorflow.__version__}, float64"
        path, found = folder / f"{network}.json", {"network": network, "made_with": made_with, "cases": cases}
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        same = {**kept, "cases": []} == {**found, "cases": []} and recipe.same_cases(kept["cases"], cases)
        if not same:
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(network, "as it was" if same else "written", flush=True)


def main(arguments: list[str]) -> None:
    if arguments[0] == "parity":
        parity(arguments[1], Path(arguments[2]))
    elif arguments[0] == "golden":
        golden(Path(arguments[1]), arguments[2:] or list(APPLICATIONS))
    else:
        print(json.dumps({name: layout(application(name, (224, 224), "float32")) for name in APPLICATIONS}))


if __name__ == "__main__":
    main(sys.argv[1:])
