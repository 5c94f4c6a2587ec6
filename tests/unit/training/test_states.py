"""Kept or computed anew: the same training, and the same variants where there are any."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from tramtrack import store
from tramtrack.imaging.prepare import png_bytes
from tramtrack.protocol import Augmentation, Training
from tramtrack.training import loop
from tramtrack.training.activations import compute_activations
from tramtrack.training.augment import draw, vary
from tramtrack.training.loader import batches
from tramtrack.training.loop import Examples
from tramtrack.training.states import Counted, Kept, Recomputed, parts_an_epoch

CPU = torch.device("cpu")
SIZE = (64, 32)
VIEWS = 10
NONE = Augmentation()
SIDES = ["CC", "MLO"] * 5


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    rng = np.random.default_rng(3)
    images = rng.integers(0, 30000, (VIEWS, *SIZE), dtype=np.uint16)
    images[1::2, 20:40, 8:24] += 30000
    return [store.write_bytes(folder / f"{number}.png", png_bytes(image)) for number, image in enumerate(images)]


def recomputed(model, files, dtype, augmentation=NONE, batch=4, views=4):
    return Recomputed(model, files, SIDES, augmentation, dtype=dtype, device=CPU, batch=batch, views=views, seed=1)


class Plain:
    """The network as it is: no folding, no Winograd, nothing kept."""

    at_once = 3

    def __init__(self, model, files):
        self.model, self.files = model, files

    def stream(self, parts, epoch):
        for part in parts:
            grey = next(batches([self.files[place] for place in part.tolist()], len(part), CPU))
            with torch.no_grad():
                state = self.model.trunk(grey)
            yield state


def lively(model):
    """BatchNorms with statistics of their own: with the identity, deep features of random weights would all but vanish."""
    generator = torch.Generator().manual_seed(2)
    for norm in model.batchnorms():
        for tensor in (norm.running_var, norm.weight.data):
            tensor.uniform_(0.5, 1.5, generator=generator)
        for tensor in (norm.running_mean, norm.bias.data):
            tensor.uniform_(-0.2, 0.2, generator=generator)
    return model


def examples():
    labels = (torch.arange(VIEWS) % 2).float()
    return Examples(torch.arange(6), labels[:6]), Examples(torch.arange(6, VIEWS), labels[6:])


def trained(model, states, settings, dtype, folder):
    loop.train(model, states, *examples(), settings, seed=2, dtype=dtype, device=CPU, checkpoint=folder)
    return {name: tensor.double() for name, tensor in model.changing().items()}


@pytest.mark.parametrize("network", ("vgg16", "mobilenetv2", "densenet121"))
@pytest.mark.parametrize(("dtype", "epochs", "tolerance"), [(torch.float64, 5, 1e-9), (torch.float32, 3, 1e-3)])
def test_kept_recomputed_and_plain_train_alike(network, dtype, epochs, tolerance, make_classifier, files, tmp_path):
    """Two steps an epoch, ten in float64, with dropout; the trunk runs two views at a time, the tail three.

    The float32 bound is on logits: Adam gives a weight whose gradient is nearly nothing a whole step all the same.
    """
    settings = Training(epochs=epochs, batch_size=3, patience=0, keep="last")
    models = [lively(make_classifier(network)).to(dtype) for _ in range(3)]
    kept = compute_activations(models[0], files, tmp_path / "cache", {}, size=SIZE, dtype=dtype, device=CPU, what="test")
    ways = (Kept(kept, CPU, 3), recomputed(models[1], files, dtype, batch=3, views=2), Plain(models[2], files))
    weights = [
        trained(model, states, settings, dtype, tmp_path / str(n))
        for n, (model, states) in enumerate(zip(models, ways, strict=True))
    ]
    logits = [
        loop.predict(model, states, torch.arange(VIEWS), dtype=dtype, device=CPU)
        for model, states in zip(models, ways, strict=True)
    ]
    begun = lively(make_classifier(network)).to(dtype)
    before = loop.predict(begun, Plain(begun, files), torch.arange(VIEWS), dtype=dtype, device=CPU)
    change = np.abs(logits[0] - before).max()
    assert change > 0.01, "nothing was trained"
    assert all(np.abs(other - logits[0]).max() <= tolerance * change for other in logits[1:])
    if dtype == torch.float64:
        for name, tensor in weights[0].items():
            assert all(
                float((tensor - other[name]).abs().max()) <= tolerance * float(tensor.abs().max()) for other in weights[1:]
            )


def test_gradients_add_up_over_the_parts_of_a_step(make_classifier, files, tmp_path):
    """Policy full in float64, without dropout: six views at once or two at a time."""
    settings = Training(epochs=3, batch_size=6, patience=0, keep="last", convolution_learning_rate=1e-3)
    ends = []
    for views in (6, 2):
        model = lively(make_classifier("mobilenetv2", policy="full", dropout=0.0)).double()
        states = recomputed(model, files, torch.float64, batch=6, views=views)
        assert states.at_once == views
        ends.append(trained(model, states, settings, torch.float64, tmp_path / str(views)))
    for name, tensor in ends[0].items():
        assert float((tensor - ends[1][name]).abs().max()) <= 1e-9 * max(1.0, float(tensor.abs().max())), name


def test_kept_variants_are_the_drawn_ones_and_only_training_sees_them(make_classifier, files, tmp_path):
    model = make_classifier("mobilenetv2").eval()
    settings = Augmentation(variants=2)
    training = torch.arange(6)
    draws = [None] * VIEWS + [draw(settings, (0, v, p), SIDES[p]) for v in range(2) for p in range(6)]
    rows = torch.full((2, VIEWS), -1)
    for variant in range(2):
        rows[variant, :6] = VIEWS + 6 * variant + torch.arange(6)
    activations = compute_activations(
        model, [*files, *files[:6], *files[:6]], tmp_path / "cache", {},
        draws=draws, size=SIZE, dtype=torch.float32, device=CPU, what="test",
    )  # fmt: skip
    states = Kept(activations, CPU, 8, rows=rows, seed=4)
    grey = next(batches(files, VIEWS, CPU))
    seen = set()
    with torch.inference_mode():
        (plain,) = model.trunk(grey)
        variants = [model.trunk(vary(grey[:6], draws[start : start + 6]))[0] for start in (VIEWS, VIEWS + 6)]
        for epoch in range(1, 9):
            ((state,),) = states.stream([training], epoch)
            for place in range(6):
                distance = [float((state[place] - variant[place]).abs().max()) for variant in variants]
                assert min(distance) < 1e-4
                seen.add((place, int(np.argmin(distance))))
        ((untouched,),) = states.stream([torch.arange(VIEWS)], None)
    assert torch.allclose(untouched, plain, atol=1e-4)
    assert len(seen) == 12


def test_fresh_variants_differ_between_epochs_and_repeat_for_a_seed(make_classifier, files):
    model = make_classifier("mobilenetv2").eval()
    states = recomputed(model, files, torch.float32, Augmentation(variants=1))
    epochs = [next(states.stream([torch.arange(4)], epoch))[0] for epoch in (1, 2, 1, None)]
    assert not torch.equal(epochs[0], epochs[1])
    assert torch.equal(epochs[0], epochs[2])
    assert torch.equal(epochs[3], next(recomputed(model, files, torch.float32).stream([torch.arange(4)], 1))[0])


@pytest.mark.parametrize(("batch", "views"), [(4, 4), (4, 1), (3, 2)])
def test_a_bar_that_counts_parts_comes_to_its_end(batch, views, make_classifier, files, tmp_path):
    """Two epochs: kept activations a batch at a time, a trained trunk so many views at a time."""
    settings = Training(epochs=2, batch_size=batch, patience=0, keep="last")
    for policy in ("last-conv", "full"):
        model, bar = make_classifier("mobilenetv2", policy=policy), itertools.count()
        states = Counted(recomputed(model, files, torch.float32, batch=batch, views=views), bar.__next__)
        loop.train(model, states, *examples(), settings, seed=2, dtype=torch.float32, device=CPU, checkpoint=tmp_path / policy)
        assert next(bar) == 2 * parts_an_epoch(6, 4, batch, states.at_once)
