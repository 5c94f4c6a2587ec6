"""The loop: equal to training without kept activations, the same for the same seed, and unharmed by a kill."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from tramtrack.errors import TramtrackError
from tramtrack.protocol import Training
from tramtrack.training import loop
from tramtrack.training.loop import Diverged, Examples, best_epoch, class_weights, predict, train, weighted_loss

CPU = torch.device("cpu")
SETTINGS = Training(epochs=4, batch_size=3, patience=0, learning_rate=1e-2, convolution_learning_rate=1e-3)


def run(model, states, examples, checkpoint, settings=SETTINGS, seed=5, dtype=torch.float32, **more):
    return train(model, states, *examples, settings, seed=seed, dtype=dtype, device=CPU, checkpoint=checkpoint, **more)


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.trained()}


def same(one, other):
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_kept_activations_change_nothing(make_classifier, states_of, examples, grey, tmp_path):
    """In float64, against a plain loop through the whole network with the same draws: equal to 1e-9."""
    kept = make_classifier().double()
    run(kept, states_of(kept), examples, tmp_path / "c", replace_keep("last"))
    plain = make_classifier().double()
    optimiser = loop.make_optimiser(plain, SETTINGS)
    training = examples[0]
    weight_of = class_weights(training.labels, SETTINGS.class_weighting)
    for epoch in range(1, SETTINGS.epochs + 1):
        order = torch.randperm(len(training), generator=torch.Generator().manual_seed(loop.draw(5, epoch, 0)))
        with torch.random.fork_rng():
            torch.manual_seed(loop.draw(5, epoch, 1))
            for chosen in order.split(SETTINGS.batch_size):
                plain.train()
                views = grey[training.positions[chosen]].double()
                features = plain.backbone(plain.backbone.prepare_input(views))
                loss = weighted_loss(plain.head(features), training.labels[chosen], weight_of)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    for name, tensor in weights(plain).items():
        assert torch.allclose(tensor, weights(kept)[name], rtol=0, atol=1e-9), name


def replace_keep(keep):
    return SETTINGS.model_copy(update={"keep": keep})


def test_same_seed_same_weights_other_seed_others(make_classifier, states_of, examples, tmp_path):
    trained = []
    for number, seed in enumerate((5, 5, 6)):
        model = make_classifier()
        run(model, states_of(model), examples, tmp_path / str(number), seed=seed)
        trained.append(weights(model))
    assert same(trained[0], trained[1])
    assert not same(trained[0], trained[2])


@pytest.mark.parametrize("content", (b"", b"x" * 200, safetensors.torch.save({"now.a": torch.zeros(1)})))
def test_a_damaged_checkpoint_is_named(content, make_classifier, states_of, examples, tmp_path):
    (tmp_path / "c").write_bytes(content)
    model = make_classifier()
    with pytest.raises(TramtrackError, match=r"c: expected a checkpoint of this run, found something else .*; remove it to"):
        run(model, states_of(model), examples, tmp_path / "c")


def test_global_seeds_are_left_alone(make_classifier, states_of, examples, tmp_path):
    model = make_classifier()
    before = torch.get_rng_state()
    run(model, states_of(model), examples, tmp_path / "c")
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("optimiser", ("adam", "sgd"))
@pytest.mark.parametrize("killed_after", (1, 2, 3))
def test_a_killed_run_ends_in_the_same_weights(
    optimiser, killed_after, make_classifier, states_of, examples, tmp_path, dies_after
):
    settings = SETTINGS.model_copy(update={"optimiser": optimiser})
    whole = make_classifier()
    history = run(whole, states_of(whole), examples, tmp_path / "whole", settings)

    first = make_classifier()
    with dies_after(killed_after):
        run(first, states_of(first), examples, tmp_path / "killed", settings)
    second = make_classifier(seed=99)  # everything that matters must come from the checkpoint
    second.backbone.load_state_dict(make_classifier().backbone.state_dict())
    assert len(loop.read_history(tmp_path / "killed")) == killed_after
    resumed = run(second, states_of(second), examples, tmp_path / "killed", settings)
    assert same(weights(whole), weights(second))
    assert [replace(epoch, seconds=0) for epoch in resumed] == [replace(epoch, seconds=0) for epoch in history]


def test_early_stopping_keeps_the_best_epoch(make_classifier, states_of, examples, tmp_path, monkeypatch):
    losses = iter([0.9, 0.5, 0.7, 0.8, 0.9, 0.1])
    snapshots = []
    model = make_classifier()
    real = loop.weighted_loss

    def fake(logits, labels, weights_of):
        if logits.requires_grad:
            return real(logits, labels, weights_of)
        snapshots.append(weights(model))
        return torch.tensor(next(losses))

    monkeypatch.setattr(loop, "weighted_loss", fake)
    history = run(model, states_of(model), examples, tmp_path / "c", SETTINGS.model_copy(update={"epochs": 9, "patience": 2}))
    assert [epoch.validation_loss for epoch in history] == pytest.approx([0.9, 0.5, 0.7, 0.8])
    assert best_epoch(history) == 2
    assert same(weights(model), snapshots[1]) and not same(weights(model), snapshots[3])


def test_nan_stops_the_run_and_names_epoch_and_batch(make_classifier, states_of, examples, tmp_path):
    model = make_classifier()
    states = states_of(model)
    states._activations._tensors[0][0] = math.nan
    with pytest.raises(Diverged, match=r"epoch 1, batch [123] of seed \d;"):
        run(model, states, examples, tmp_path / "c")


def test_class_weights():
    assert class_weights(torch.tensor([0.0, 0, 0, 1]), "balanced") == pytest.approx((2 / 3, 2.0))
    assert class_weights(torch.tensor([0.0, 0, 0, 1]), "none") == (1.0, 1.0)
    with pytest.raises(TramtrackError, match="all 2 training views are with BAC"):
        class_weights(torch.ones(2), "balanced")


def test_predictions_do_not_depend_on_dropout_or_mode(make_classifier, states_of, examples):
    model = make_classifier().train()
    positions = examples[0].positions
    one = predict(model, states_of(model), positions, dtype=torch.float32, device=CPU)
    assert one.shape == (len(positions),)
    assert (one == predict(model, states_of(model), positions, dtype=torch.float32, device=CPU)).all()


def test_no_views_no_predictions(make_classifier, states_of):
    model = make_classifier()
    none = Examples(torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    assert predict(model, states_of(model), none.positions, dtype=torch.float32, device=CPU).shape == (0,)
