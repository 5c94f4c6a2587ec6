"""A whole run: what it leaves as it was, and what its kept activations depend on."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch

from tramtrack.errors import UsageError
from tramtrack.network.backbone import Backbone
from tramtrack.network.weight_set import WeightSet
from tramtrack.protocol import Protocol
from tramtrack.training import run as room
from tramtrack.training import trunk
from tramtrack.training.adapt import adapt_batchnorms
from tramtrack.training.record import PRETRAINED, RunKey, variant_name
from tramtrack.training.run import train_run
from tramtrack.training.setup import Fold, keeps_activations, make_classifier, set_up

CPU = torch.device("cpu")
HASHES = {"folds": "f", "prepared": "p"}
TEXT = """
[prepare]
height = 64
width = 32
[transfer]
widths = [32, 16]
{transfer}
[training]
epochs = 2
batch_size = 4
dtype = "{dtype}"
[augmentation]
variants = {variants}
rotation = {rotation}
"""


def protocol(transfer="", dtype="float32", variants=0, rotation=5.0):
    return Protocol.from_toml(TEXT.format(transfer=transfer, dtype=dtype, variants=variants, rotation=rotation), "tiny")


def train(settings, views, folder, key, keep="auto"):
    return train_run(set_up(key, None, Fold(views), settings, HASHES, keep), folder / "runs", folder / "cache")


@pytest.mark.parametrize("dtype", ("float32", "bfloat16"))
@pytest.mark.parametrize(("transfer", "keep"), [("", "auto"), ('policy = "last-block"', "off")])
def test_what_is_frozen_is_in_the_weights_file_as_it_was(transfer, keep, dtype, views, tmp_path):
    settings = protocol(transfer, dtype, variants=1)
    key = RunKey("mobilenetv2", variant_name(settings.transfer, PRETRAINED), 3)
    begun = make_classifier(key, None, settings)
    run = train(settings, views, tmp_path, key, keep)
    kept = safetensors.torch.load_file(run.folder / "weights.safetensors")
    trained = {name for name, _ in begun.trained()}
    assert run.identity["dtype"] == dtype and set(kept) == set(begun.state_dict())
    for name, tensor in begun.state_dict().items():
        assert torch.equal(kept[name], tensor) == (name not in trained), name
    assert run.information["parameters"]["base_trained"] < run.information["parameters"]["base"]
    assert (tmp_path / "cache").exists() == (keep == "auto")


def depends_on(settings, views, monkeypatch, tmp_path, network="mobilenetv2", prepared="p", shift=0.0, weights=None):
    """What the kept activations of a run are known by."""
    seen = {}

    def note(model, files, folder, identity, **more):
        seen.update(identity, files=len(files))
        raise StopIteration

    monkeypatch.setattr(trunk, "compute_activations", note)
    key = RunKey(network, "v", 0)
    model = make_classifier(key, None, settings)
    for norm in model.batchnorms():
        norm.running_mean += shift
    setup = set_up(key, weights, Fold(views), settings, {**HASHES, "prepared": prepared}, device="cpu")
    with pytest.raises(StopIteration):
        trunk.tail_input(model, setup, tmp_path)
    return seen


def test_kept_activations_are_known_by_all_that_they_depend_on(views, monkeypatch, tmp_path):
    def known(settings=None, table=views, **more):
        return depends_on(settings or protocol(), table, monkeypatch, tmp_path, **more)

    fewer = views.assign(fold=["validation", *views["fold"][1:]])
    others = [
        known(network="vgg16"),
        known(prepared="q"),
        known(shift=0.5),
        known(protocol('policy = "last-block"')),
        known(protocol("stride = 16")),
        known(protocol('batchnorm = "adapt"')),
        known(protocol(variants=1)),
        known(protocol(variants=1, rotation=4.0)),
        known(protocol(variants=1), table=fewer),
        known(table=views.iloc[::-1].reset_index(drop=True)),
        *(known(weights=WeightSet("mobilenetv2", {}, "one source", digest, "", "")) for digest in ("1f", "2f")),
    ]
    first = known()
    assert first == known() == known(protocol(rotation=4.0))
    assert known(protocol('policy = "equal-slice"')) == first, "the same trunk serves both policies"
    everything = [first, *others]
    assert all(one != other for place, one in enumerate(everything) for other in everything[:place])
    assert (first["files"], others[6]["files"]) == (8, 12)
    monkeypatch.setattr(Backbone, "_coloured", lambda self, scaled: (scaled / 255).expand(-1, 3, -1, -1))
    assert known() != first, "another input convention"


def test_batchnorms_are_adapted_to_the_training_fold_alone(views, tmp_path):
    settings = protocol('batchnorm = "adapt"')
    key = RunKey("mobilenetv2", "v", 0)
    setup = set_up(key, None, Fold(views), settings, HASHES, device="cpu")

    def statistics(adapt):
        model = make_classifier(key, None, settings)
        adapt(model)
        return torch.cat([norm.running_mean for norm in model.batchnorms()])

    def over(files):
        return lambda model: adapt_batchnorms(model, list(files), dtype=torch.float32, device=CPU, what="test")

    adapted = statistics(lambda model: trunk.adapt_base(model, setup, tmp_path))
    assert torch.equal(adapted, statistics(over(views["file"][views["fold"] == "training"])))
    assert not torch.equal(adapted, statistics(over(views["file"])))


def test_a_finished_run_leaves_nothing_of_how_it_came_to_be(views, tmp_path):
    key = RunKey("mobilenetv2", "last-conv", 0)
    folder = key.folder(tmp_path / "runs")
    folder.mkdir(parents=True)
    (folder / ".checkpoint.safetensors.123-0f.part").write_bytes(b"cut off by a kill")
    train(protocol(), views, tmp_path, key)
    names = ["history.csv", "predictions.csv", "run.json", "weights.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == names


def test_a_run_that_is_finished_is_not_built_again(views, tmp_path, monkeypatch):
    settings = protocol()
    key = RunKey("mobilenetv2", "last-conv", 0)
    first = train(settings, views, tmp_path, key)
    monkeypatch.setattr(room, "make_classifier", None)
    again = train(settings, views, tmp_path, key)
    assert again.information == first.information


def test_what_a_run_costs_is_measured_before_it_trains(views, tmp_path, monkeypatch):
    """A measurement that fails, for want of memory say, loses no training."""

    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(room, "seconds_a_view_uncached", fail)
    monkeypatch.setattr(room, "train", lambda *_, **__: pytest.fail("trained before"))
    with pytest.raises(MemoryError):
        train(protocol(), views, tmp_path, RunKey("mobilenetv2", "last-conv", 0))


@pytest.mark.parametrize(
    ("transfer", "keep", "why"),
    [
        ('policy = "full"', "auto", "policy full trains from the first layer on"),
        ('policy = "full"', "off", "policy full trains from the first layer on"),
        ("", "off", None),
    ],
)
def test_why_activations_cannot_be_kept_is_said_before_any_work(transfer, keep, why, views, tmp_path, monkeypatch, capsys):
    def stop(*_, **__):
        raise StopIteration

    monkeypatch.setattr(room, "tail_input", stop)
    with pytest.raises(StopIteration):
        train(protocol(transfer), views, tmp_path, RunKey("mobilenetv2", "v", 0), keep)
    said = capsys.readouterr().err
    assert f"no activations are kept, because {why}" in said if why else "activations" not in said


def test_what_cannot_be_kept_is_told_without_weights():
    full = protocol('policy = "full"').transfer
    assert not keeps_activations("resnet152v2", full, "auto") and keeps_activations("resnet152v2", protocol().transfer, "auto")
    assert not keeps_activations("vgg16", protocol().transfer, "off")
    with pytest.raises(UsageError, match="--cache on: activations cannot be kept, because policy full"):
        keeps_activations("vgg16", full, "on")
