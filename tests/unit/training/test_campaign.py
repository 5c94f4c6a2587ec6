"""What is found out before any work, and what is left of networks that are left out."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest
import safetensors.numpy

from keras_layouts import random_tensors
from tramtrack import store, study_runs
from tramtrack.engine import Failure
from tramtrack.engine.local import Local
from tramtrack.errors import TramtrackError
from tramtrack.network import downloads
from tramtrack.network.weights import WeightsUnavailable
from tramtrack.protocol import Protocol
from tramtrack.study import Study
from tramtrack.training import activations
from tramtrack.training.campaign import train_variants
from tramtrack.training.ledger import leave_out
from tramtrack.training.loop import Diverged
from tramtrack.training.record import RunKey
from tramtrack.training.setup import Fold
from tramtrack.training.variants import variants
from tramtrack.training.wanted import plan_variants, plan_weights, require_room_for_each

OWN = Protocol()


@pytest.fixture(autouse=True)
def weights_folder(no_sources, tmp_path):
    """Weights lie in ``tmp_path / "weights"`` or nowhere."""
    (tmp_path / "weights").mkdir()


def put(folder, network, lacking=""):
    tensors = random_tensors(network)
    tensors.pop(lacking, None)
    safetensors.numpy.save_file(tensors, folder / f"{network}.safetensors")


def test_a_broken_weights_file_is_refused_before_any_work_and_what_is_not_here_is_not_fetched(tmp_path, monkeypatch):
    folder = tmp_path / "weights"
    put(folder, "mobilenetv2", lacking="Conv_1/kernel")
    wanted, _ = plan_variants(["mobilenet", "mobilenetv2"], OWN, "auto")
    monkeypatch.setattr(downloads, "download", lambda *_: pytest.fail("fetched before its turn"))
    with pytest.raises(TramtrackError, match=r"mobilenetv2\.safetensors: layer Conv_1: kernel missing"):
        plan_weights(wanted, "pretrained", folder, tmp_path)
    assert plan_weights(wanted, "random", folder, tmp_path) == (wanted, {})
    put(folder, "mobilenetv2")
    assert plan_weights(wanted, "pretrained", folder, tmp_path) == (wanted, {})


def of_views(count):
    """So many prepared views, a third of them to train on."""
    fold = ["training", "validation", "validation"] * (count // 3 + 1)
    return lambda variant: (Fold(pd.DataFrame({"fold": fold[:count], "label": 1.0})), {})


@pytest.mark.parametrize(
    ("changed", "gigabytes"),
    [
        ({"dtype": "bfloat16"}, "28.2"),
        ({"dtype": "float32"}, "56.4"),
        ({"variants": 2}, "47.0"),  # twice 1,991 views more; auto on a cluster: the shorter dtype
    ],
)
def test_a_disk_that_would_not_hold_the_largest_networks_activations_is_told_before_any_training(
    changed, gigabytes, monkeypatch, tmp_path
):
    """VGG16 at 1536x768 on the 5,972 views of the study; a network that needs less stands before it."""
    monkeypatch.setattr(activations.shutil, "disk_usage", lambda folder: SimpleNamespace(free=20e9))
    text = "".join(
        f"[{section}]\n{key} = {changed[key]!r}\n"
        for section, key in (("training", "dtype"), ("augmentation", "variants"))
        if key in changed
    )
    protocol = Protocol.from_toml(text, "mine")
    wanted, _ = plan_variants(["mobilenetv2", "vgg16"], protocol, "auto")
    asked = (of_views(5972), tmp_path, None)
    with pytest.raises(TramtrackError, match=rf"activations of VGG16 need {gigabytes} GB, the disk has 20\.0 GB .*--cache off"):
        require_room_for_each(wanted, "pretrained", "auto", *asked)
    require_room_for_each(wanted, "pretrained", "off", *asked)
    require_room_for_each(wanted[:1], "pretrained", "auto", *asked)
    run = RunKey("vgg16", "last-conv", 0).folder(tmp_path / "runs") / "run.json"
    run.parent.mkdir(parents=True)
    run.touch()
    require_room_for_each(wanted, "pretrained", "auto", *asked)
    with pytest.raises(TramtrackError, match="VGG16"):
        require_room_for_each(wanted, "random", "auto", *asked)
    left = tmp_path / "cache" / "vgg16" / "activations" / "crossing-0.bin"
    left.parent.mkdir(parents=True)
    with left.open("wb") as stream:
        stream.truncate(60 * 10**9)  # nothing of it is on the disk
    require_room_for_each(wanted, "random", "auto", *asked)


def test_a_network_without_weights_leaves_no_activations_behind(tmp_path):
    """An earlier command was interrupted; by now the weights are gone."""
    kept = [tmp_path / "study" / "cache" / network for network in ("mobilenet", "mobilenetv2", "xception")]
    for folder in kept:
        (folder / "activations").mkdir(parents=True)
    wanted, _ = plan_variants(["mobilenet", "mobilenetv2"], OWN, "auto")
    given = (wanted, "pretrained", tmp_path / "weights", "auto", Local(["cpu"]), variants, tmp_path / "study")
    outcomes = dict(train_variants(*given))
    assert [*outcomes] == ["mobilenet", "mobilenetv2"]
    assert all(isinstance(outcome, WeightsUnavailable) for outcome in outcomes.values())
    assert [folder.exists() for folder in kept] == [False, False, True]


@pytest.mark.parametrize("batchnorm", ("frozen", "adapt"))
def test_where_weights_are_gone_what_is_finished_stays_and_only_the_rest_is_left_out(batchnorm, tmp_path):
    text = f'[transfer]\nbatchnorm = "{batchnorm}"\n[factors]\npolicy = ["head"]\n'
    protocol, study, weights = Protocol.from_toml(text, "two"), tmp_path / "study", tmp_path / "weights"
    wanted, _ = plan_variants(["mobilenetv2"], protocol, "auto")
    own, other = wanted

    def outcomes():
        kept, out = plan_weights(wanted, "pretrained", weights, study)
        given = (kept, "pretrained", weights, "auto", Local(["cpu"]), variants, study)
        return {**out, **dict(train_variants(*given))}

    assert [*outcomes()] == ["mobilenetv2"]
    key = RunKey("mobilenetv2", own.variant.name(), 0)
    identity = {"network": key.network, "variant": key.variant, "seed": key.seed, "weights": "pretrained"}
    store.write_json(key.folder(study / "runs") / "run.json", {"identity": identity, "information": {}})
    found = outcomes()
    assert found.keys() == {"mobilenetv2", other.name} and isinstance(found[other.name], WeightsUnavailable)
    assert [run.key for run in found["mobilenetv2"]] == [key]


def test_nor_does_one_that_is_left_out_before_any_work(tmp_path):
    text = '[transfer]\nbatchnorm = "adapt"\n'
    (tmp_path / "adapt.toml").write_text(text)
    kept = tmp_path / "study" / "cache" / "mobilenetv2"
    (kept / "activations").mkdir(parents=True)
    with pytest.raises(WeightsUnavailable):
        Study(tmp_path / "study", tmp_path / "adapt.toml").train("mobilenetv2", weights_dir=tmp_path / "weights")
    assert not kept.exists()


def test_a_study_that_is_finished_needs_no_weights_to_be_run_again(tmp_path, monkeypatch):
    study, why = Study(tmp_path / "study"), {"vgg16": "no pretrained weights could be had"}

    def left_out(*_arguments):
        leave_out(study.folder, why)
        return why

    monkeypatch.setattr(study_runs, "train_all", left_out)
    for verb in ("evaluate", "explain", "report"):
        monkeypatch.setattr(Study, verb, lambda *_, **__: "done")
    with pytest.raises(TramtrackError, match=r"no network could be trained\. no pretrained weights could be had"):
        study.run(["vgg16"])
    identity = {"network": "vgg16", "variant": "last-conv", "seed": 0, "weights": "pretrained"}
    run = RunKey("vgg16", "last-conv", 0).folder(study.folder / "runs") / "run.json"
    store.write_json(run, {"identity": identity, "information": {}})
    assert study.run(["vgg16"]) == "done"


def test_a_cluster_that_is_without_machines_for_a_while_lays_activations_out_before_seeds_train(tmp_path):
    put(tmp_path / "weights", "mobilenetv2")
    begun = []

    class Waiting:
        is_cluster, slots = True, 0

        def run(self, jobs):
            begun.extend(jobs)
            return iter([])

    wanted, _ = plan_variants(["mobilenetv2"], OWN, "auto")
    views = of_views(3)
    list(train_variants(wanted, "pretrained", tmp_path / "weights", "auto", Waiting(), views, tmp_path / "study"))
    (job,) = begun
    assert [task.name for stage in job.stages for task in stage] == [
        "mobilenetv2: room for activations",
        "mobilenetv2: activations, share 1",
        "mobilenetv2: seed 0",
    ]


def test_where_several_tasks_run_at_once_each_variant_has_activations_of_its_own_and_they_go_with_it(tmp_path):
    put(tmp_path / "weights", "mobilenetv2")
    study, error = tmp_path / "study", Diverged("the loss is nan in epoch 1, batch 1 of seed 0")
    there = {}

    class Two:
        is_cluster, slots = False, 2

        def run(self, jobs):
            begun = list(jobs)
            for job in begun:
                job.shared.cache.mkdir(parents=True)
            for job, outcome in zip(begun, (Failure(error), ["a run"]), strict=True):
                there[job.shared.variant] = [other.shared.cache.exists() for other in begun]
                yield job, outcome

    wanted, _ = plan_variants(["mobilenetv2"], Protocol.from_toml('[factors]\npolicy = ["head"]\n', "two"), "auto")
    given = (wanted, "pretrained", tmp_path / "weights", "auto", Two(), of_views(3), study)
    assert dict(train_variants(*given)) == {"mobilenetv2/last-conv": error, "mobilenetv2/head": ["a run"]}
    assert there == {"last-conv": [True, True], "head": [False, True]}
    assert not (study / "cache" / "mobilenetv2").exists()
