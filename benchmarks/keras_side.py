"""The Keras side of the benchmarks: a process of its own in the peers' environment; never imports torch or tramtrack.

`peer.Keras` starts it. It reads one JSON object a line on its standard input, ``{"do": NAME, ...}``, and answers each with
one JSON object a line; arrays go through .npy and .npz files. It sits idle between two questions, so that the sides of a
comparison can take turns. Keras is used as its users use it: ``predict``, ``train_on_batch`` and ``fit`` as compiled by
default, on arrays that are already in memory and preprocessed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras
import numpy as np
import tensorflow

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "contract" / "network"))

from keras_reference import APPLICATIONS, application, layers_with_weights, preprocessed

HELD: dict[str, Any] = {}
"""What one question leaves for the next: base, images (N, H, W, 3), model, labels (N,)."""


def about() -> dict[str, Any]:
    """Versions, and the threads that TensorFlow may use (0: as many as it likes)."""
    threads = tensorflow.config.threading.get_intra_op_parallelism_threads()
    return {"keras": keras.__version__, "tensorflow": tensorflow.__version__, "threads": threads}


def load(network: str, weights: str, grey: str) -> dict[str, Any]:
    """The base of ``network`` with the weights in ``weights`` (npz, layers in Keras's order) and the images of ``grey``."""
    pictures = np.load(grey)  # (N, H, W), 0 to 65535
    base = application(network, pictures.shape[1:], "float32")
    with np.load(weights) as values:
        base.set_weights([values[key] for key in values.files])
    HELD.clear()
    HELD.update(network=network, base=base, images=preprocessed(network, pictures, "float32"))
    return {"layers": len(layers_with_weights(base)), "jit": bool(base.jit_compile)}


def forward(way: str, save: str = "") -> dict[str, Any]:
    """Seconds of one forward pass over the images: ``predict``, or the model called (``call``); kept as .npy if asked."""
    base, images = HELD["base"], HELD["images"]
    started = time.perf_counter()
    found = base.predict(images, batch_size=len(images), verbose=0) if way == "predict" else np.array(base(images))
    seconds = time.perf_counter() - started
    if save:
        np.save(save, found)
    return {"seconds": seconds}


def ready_to_step(head: str, learning_rate: float) -> dict[str, Any]:
    """The base with the head of ``head`` (npz), every weight trainable, compiled with Adam; labels 0 1 0 1 ..."""
    model = with_head(HELD["base"], head)
    HELD["base"].trainable = True
    compiled(model, learning_rate, 0.0)
    HELD.update(model=model, labels=(np.arange(len(HELD["images"])) % 2).astype(np.float32))
    return {"weights": int(sum(np.prod(weight.shape) for weight in model.trainable_weights))}


def step() -> dict[str, Any]:
    """Seconds and loss of one training step on the images: Keras's compiled train_step."""
    started = time.perf_counter()
    loss = HELD["model"].train_on_batch(HELD["images"], HELD["labels"])
    return {"seconds": time.perf_counter() - started, "loss": float(np.ravel(loss)[0])}


def fit(way: str, task: str, save: str) -> dict[str, Any]:
    """The study's protocol on the loaded base, from its weights to the scores of all images in ``save`` (.npy, (N,)).

    ``task`` (npz): ``labels`` (N,), ``training`` and ``validation`` (positions), ``orders`` (epochs, training views), and the
    head's weights. ``model.fit`` trains the last convolution and the head behind the frozen base in every batch; ``features``
    computes what enters that convolution once, and fits the tail on it. Seconds are from the images in memory to the scores;
    what Keras compiles on the way is counted, as its user waits for it.
    """
    with np.load(task) as held:
        work = {key: held[key] for key in held.files}
    last = APPLICATIONS[HELD["network"]][2]
    before = HELD["base"].get_layer(last).get_weights()
    inputs, base = HELD["images"], HELD["base"]
    started = time.perf_counter()
    if way == "features":
        trunk, base = cut(base, last)
        inputs = trunk.predict(inputs, batch_size=int(work["batch_size"]), verbose=0)
    model = with_head(base, task)
    base.trainable = True
    for layer in base.layers:
        layer.trainable = layer.name == last
    compiled(model, float(work["learning_rate"]), float(work["weight_decay"]))
    training, validation, labels = work["training"], work["validation"], work["labels"]
    size = int(work["batch_size"])
    model.fit(
        in_order(inputs[training], labels[training], work),
        steps_per_epoch=-(-len(training) // size),
        epochs=len(work["orders"]),
        validation_data=(inputs[validation], labels[validation]),
        validation_batch_size=int(work["batch_size"]),
        verbose=0,
    )
    logits = model.predict(inputs, batch_size=int(work["batch_size"]), verbose=0)
    seconds = time.perf_counter() - started
    np.save(save, np.ravel(logits))
    HELD["base"].get_layer(last).set_weights(before)
    return {"seconds": seconds}


def in_order(inputs: np.ndarray, labels: np.ndarray, work: dict[str, np.ndarray]) -> Iterator[tuple[np.ndarray, ...]]:
    """Training batches with class weights, each epoch in its given order; one stream, so that reading ahead mixes nothing."""
    size, weights = int(work["batch_size"]), work["class_weights"].astype(np.float32)[labels.astype(int)]
    for order in work["orders"]:
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            yield inputs[chosen], labels[chosen], weights[chosen]


def with_head(base: Any, head: str) -> Any:
    """``base``, average pooling, two dense layers with ReLU and one logit, with the dense weights of ``head`` (npz)."""
    with np.load(head) as values:
        dense = {key: values[key] for key in values.files if key.startswith("dense") or key.startswith("output")}
    x = keras.layers.GlobalAveragePooling2D()(base.output)
    made = []
    for name, activation in (("dense1", "relu"), ("dense2", "relu"), ("output", None)):
        made.append(keras.layers.Dense(len(dense[f"{name}.bias"]), activation=activation, name=f"head_{name}"))
        x = made[-1](x)
    model = keras.Model(base.input, x)
    for layer, name in zip(made, ("dense1", "dense2", "output"), strict=True):
        layer.set_weights([dense[f"{name}.weight"].T, dense[f"{name}.bias"]])
    return model


class AdamWLikeTorch(keras.optimizers.AdamW):
    """AdamW whose epsilon is added where torch adds it: to the corrected second moment's root.

    Keras adds it to the uncorrected one, so that at step t its epsilon counts 1 / sqrt(1 - beta_2^t) times as much, 32 times at
    the first. Weights with gradients of that size then move otherwise, and nothing else differs between the two.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One variable's step."""
        step = keras.ops.cast(self.iterations + 1, variable.dtype)
        epsilon = self.epsilon
        self.epsilon = epsilon * keras.ops.sqrt(1 - keras.ops.power(keras.ops.cast(self.beta_2, variable.dtype), step))
        super().update_step(gradient, variable, learning_rate)
        self.epsilon = epsilon


def compiled(model: Any, learning_rate: float, weight_decay: float) -> None:
    """Compile as ``tramtrack`` trains: AdamW with torch's epsilon, cross-entropy on the logit."""
    optimiser = AdamWLikeTorch(learning_rate=learning_rate, weight_decay=weight_decay, epsilon=1e-8)
    model.compile(optimizer=optimiser, loss=keras.losses.BinaryCrossentropy(from_logits=True))


def cut(base: Any, last: str) -> tuple[Any, Any]:
    """``base`` up to what enters layer ``last``, and from there on (a chain of layers, as in the VGGs)."""
    layer = base.get_layer(last)
    trunk = keras.Model(base.input, layer.input)
    entry = x = keras.Input(layer.input.shape[1:])
    for following in base.layers[base.layers.index(layer) :]:
        x = following(x)
    return trunk, keras.Model(entry, x)


QUESTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "about": about,
    "load": load,
    "forward": forward,
    "ready_to_step": ready_to_step,
    "step": step,
    "fit": fit,
}


def main() -> None:
    """Answer until the input ends. What libraries print goes to standard error, so that answers stay one line each."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        question = json.loads(line)
        print(json.dumps(QUESTIONS[question.pop("do")](**question)), file=answers, flush=True)


if __name__ == "__main__":
    main()
