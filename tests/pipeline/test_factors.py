"""Variants and repeated splits through the whole pipe: folders of their own, a test fold sealed until all is done."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy

from tramtrack import sealing
from tramtrack.errors import TramtrackError
from tramtrack.network.build import build
from tramtrack.study import Study
from tramtrack.training import run as room

BESIDE = ("--factors", "size=48x32", "--repeats", "2")


def drawn_weights(folder, gamma=0.9, beta=0.1, mean=0.05, network="mobilenetv2"):
    """A folder with a network's weights file, drawn at random: it counts as pretrained, and no download is needed."""
    generator = np.random.default_rng(9140)
    fixed = {"gamma": gamma, "beta": beta, "moving_mean": mean, "moving_variance": 1.0}
    tensors = {
        f"{layer.name}/{variable}": np.full(shape, fixed[variable], np.float32)
        if variable in fixed
        else (generator.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1]))).astype(np.float32)
        for layer in build(network).keras_layers()
        for variable, shape in layer.variables
    }
    safetensors.numpy.save_file(tensors, folder / f"{network}.safetensors")
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return drawn_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    """Weights whose BatchNorm was folded into the convolutions, as far as can be seen: the identity is left."""
    return drawn_weights(tmp_path_factory.mktemp("folded"), gamma=1.0, mean=0.0)


@pytest.fixture(scope="module")
def finished(ingested, tiny_protocol, weights, command, tmp_path_factory):
    """A study of one network in two variants and two splits, run to its end."""
    study = tmp_path_factory.mktemp("crossed") / "study"
    shutil.copytree(ingested, study)
    quick = study.parent / "quick.toml"
    quick.write_text(tiny_protocol.read_text().replace("epochs = 3", "epochs = 1"))
    words = ("--protocol", quick, "--networks", "mobilenetv2", "--weights-dir", weights, *BESIDE)
    done = command("run", study, *words)
    assert done.returncode == 0, done.stderr
    return study, done


def test_every_variant_of_every_split_has_a_folder_of_its_own(finished):
    study, _ = finished
    expected = {"last-conv", "last-conv+size-48x32"}
    for folder in (study, study / "repeats" / "1"):
        assert {path.parents[1].name for path in folder.glob("runs/*/*/seed-0/run.json")} == expected
        assert (folder / "prepared" / "48x32" / "geometry.csv").exists() and not (folder / "cache" / "mobilenetv2").exists()
    first, second = (pd.read_csv(folder / "cohort" / "folds.csv") for folder in (study, study / "repeats" / "1"))
    assert list(first["woman"]) == list(second["woman"]) and list(first["fold"]) != list(second["fold"])


def test_views_that_both_splits_have_are_prepared_once(finished):
    study, _ = finished
    mine, theirs = (
        {path.name: path for path in (folder / "prepared").glob("*.png")} for folder in (study, study / "repeats/1")
    )
    both = set(mine) & set(theirs)
    assert both and all(mine[name].samefile(theirs[name]) for name in both)


def test_the_comparison_is_of_the_protocols_own_variant_and_the_others_stand_beside(finished):
    study, _ = finished
    assert set(pd.read_csv(study / "results" / "subgroups.csv")["variant"].dropna()) == {"last-conv"}
    assert pd.read_csv(study / "results" / "scores.csv")["variant"].nunique() == 2
    factors = pd.read_csv(study / "results" / "factors.csv")
    assert list(factors["setting"]) == ["size 48x32"] and list(factors["kind"]) == ["within"]
    page = (study / "report" / "index.html").read_text()
    assert 'id="within"' in page and "size 48x32" in page
    assert set(pd.read_csv(study / "heatmaps" / "views.csv")["variant"]) <= {"last-conv"}


def test_a_later_command_keeps_the_factors_and_trains_nothing_again(finished, weights):
    study, _ = finished
    kept = {path: path.stat().st_mtime_ns for path in study.rglob("weights.safetensors")}
    assert len(kept) == 4
    later = Study(study)
    assert later.protocol.split.repeats == 2 and later.protocol.factors.size == ("48x32",)
    assert [run.key.variant for run in later.train("mobilenetv2", weights_dir=weights)] == ["last-conv", "last-conv+size-48x32"]
    assert kept == {path: path.stat().st_mtime_ns for path in study.rglob("weights.safetensors")}
    assert later.evaluate().unsealed and len(sealing.looks(study / "results" / "unsealed.jsonl")) == 1
    rows = {row["stage"]: row for row in later.status()}
    assert (rows["repeat 1"]["state"], rows["repeat 1"]["detail"]) == ("done", "2 runs finished, evaluated")


@pytest.mark.parametrize("lost", ["runs/mobilenetv2/last-conv+size-48x32", "repeats/1/runs/mobilenetv2/last-conv"])
def test_no_test_fold_is_opened_before_every_variant_of_every_split_is_done(lost, finished, tmp_path):
    whole, _ = finished
    study = tmp_path / "study"
    shutil.copytree(whole, study)
    shutil.rmtree(study / lost)
    for folder in (study, study / "repeats" / "1"):
        shutil.rmtree(folder / "results")
    with pytest.raises(TramtrackError, match="not finished yet: mobilenetv2"):
        Study(study).evaluate(unseal=True)
    assert not list(study.rglob("unsealed.jsonl")) and not list(study.rglob("results/test"))


def test_a_variant_that_folded_weights_cannot_follow_leaves_no_cache_behind(ingested, tiny_protocol, folded, command, tmp_path):
    study, quick = tmp_path / "study", tmp_path / "quick.toml"
    shutil.copytree(ingested, study)
    quick.write_text(tiny_protocol.read_text().replace("epochs = 3", "epochs = 1"))
    words = ("--protocol", quick, "--networks", "mobilenetv2", "--weights-dir", folded, "--factors", "batchnorm=adapt")
    done = command("train", study, *words)
    assert done.returncode == 0, done.stderr
    assert [run.key.variant for run in Study(study).runs()] == ["last-conv"]
    assert not (study / "cache" / "mobilenetv2").exists()
    left_out = json.loads((study / "runs" / "left_out.json").read_text())
    (name,) = left_out
    assert name == "mobilenetv2/last-conv+batchnorm-adapt"
    assert left_out[name].startswith("BatchNorm policy adapt is refused for the weights from")


@pytest.mark.parametrize("verb", ("train", "run"))
def test_a_policy_that_folded_weights_cannot_follow_is_refused_before_any_work(
    verb, ingested, tiny_protocol, folded, command, tmp_path
):
    study, mine = tmp_path / "study", tmp_path / "mine.toml"
    shutil.copytree(ingested, study)
    mine.write_text(tiny_protocol.read_text().replace("[transfer]\n", '[transfer]\nbatchnorm = "adapt"\n'))
    done = command(verb, study, "--protocol", mine, "--networks", "mobilenetv2", "--weights-dir", folded)
    assert done.returncode == (2 if verb == "train" else 1)
    assert "BatchNorm policy adapt is refused" in done.stderr and "use the policy frozen" in done.stderr
    assert not (study / "prepared").exists() and not (study / "cohort" / "folds.csv").exists()


def test_a_variant_that_fails_leaves_the_networks_other_variants_in(ingested, tiny_protocol, command, tmp_path, monkeypatch):
    """MobileNetV2 diverges under the protocol's own policy; its head alone is trained, and so is all of MobileNet."""
    study, quick, real = tmp_path / "study", tmp_path / "quick.toml", room.train
    shutil.copytree(ingested, study)
    quick.write_text(tiny_protocol.read_text().replace("epochs = 3", "epochs = 1"))
    for network in ("mobilenetv2", "mobilenet"):
        drawn_weights(tmp_path, network=network)

    def train(model, *arguments, checkpoint, **more):
        if "mobilenetv2/last-conv" in checkpoint.as_posix():
            model.head.dense1.bias.data.fill_(float("nan"))
        return real(model, *arguments, checkpoint=checkpoint, **more)

    monkeypatch.setattr(room, "train", train)
    words = ("--networks", "mobilenetv2,mobilenet", "--weights-dir", tmp_path, "--factors", "policy=head")
    done = command("run", study, "--protocol", quick, *words)
    assert done.returncode == 0, done.stderr
    why = "the loss is nan in epoch 1, batch 1 of seed 0; try a lower learning rate"
    summary = json.loads((study / "results" / "summary.json").read_text())
    assert summary["left_out"] == {"mobilenetv2/last-conv": why}
    done_with = {name.rpartition("/")[0] for name in summary["runs"]}
    assert done_with == {"mobilenet/last-conv", "mobilenet/head", "mobilenetv2/head"}
    assert list(pd.read_csv(study / "results" / "standings.csv")["contestant"]) == ["mobilenet"]
    factors = pd.read_csv(study / "results" / "factors.csv").set_index(["kind", "network_a"])
    assert factors.loc[("within", "mobilenetv2"), "verdict"] == "cannot be tested"
    assert why in factors.loc[("within", "mobilenetv2"), "reason"]
    assert factors.loc[("within", "mobilenet"), "verdict"] != "cannot be tested"
    assert why in (study / "report" / "index.html").read_text()


def test_a_claim_on_architectures_rests_on_every_split(finished):
    study, _ = finished
    summary = json.loads((study / "results" / "summary.json").read_text())
    assert summary["splits"] == 2 and len(summary["beside"]) == 1
    asked = "mobilenetv2/last-conv > mobilenetv2/last-conv+size-48x32 as architectures"
    found = Study(study).claim(asked)
    assert found.target == "these architectures under this protocol" and found.verdict != "cannot be tested"
    values = [
        pd.read_csv(folder / "results" / "scores.csv")
        .query("fold == 'test' and unit == 'woman' and metric == 'auc_roc'")
        .set_index("variant")["estimate"]
        for folder in (study, study / "repeats" / "1")
    ]
    mean = np.mean([own["last-conv"] - own["last-conv+size-48x32"] for own in values])
    sign = 1 if found.network_a == "mobilenetv2/last-conv" else -1
    assert found.difference == pytest.approx(sign * mean)


def test_a_blind_page_is_made_and_its_ratings_are_taken(finished, command, tmp_path):
    study, _ = finished
    made = command("explain", study, "--blind", "--views", 3, "--json")
    assert made.returncode == 0, made.stderr
    key = json.loads((study / "blind" / "key.json").read_text())
    assert key["identity"]["fold"] == "test" and set(key["information"]["networks"]) == {"mobilenetv2"}
    again = command("explain", study, "--blind")
    assert again.returncode == 1 and "views: on disk 3, now 12" in again.stderr
    rows = [f"{key['information']['page']},Anna,{one['item']},localises,partly" for one in key["information"]["items"]]
    file = tmp_path / "anna.csv"
    file.write_text("\n".join(["page,reader,item,question,rating", *rows]) + "\n")
    taken = command("explain", study, "--ratings", file)
    assert taken.returncode == 0 and "No pair of maps was judged" in taken.stdout
    assert list(pd.read_csv(study / "results" / "blind_localises.csv")["estimate"]) == [0.5]
    file.write_text(file.read_text().replace("partly", "perhaps"))
    refused = command("explain", study, "--ratings", file)
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    assert "line 2: rating 'perhaps': expected yes, partly, no" in refused.stderr
    both = command("explain", study, "--blind", "--ratings", file)
    assert both.returncode == 2 and "expected one of --view" in both.stderr
