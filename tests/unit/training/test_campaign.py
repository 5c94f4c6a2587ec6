"""What is found out before any work, and what is left of networks that are left out."""

from __future__ import annotations

import pytest
import safetensors.numpy

from keras_layouts import random_tensors
from tramtrack.engine.local import Local
from tramtrack.errors import TramtrackError
from tramtrack.network import downloads, places
from tramtrack.network.downloads import SourceFailed
from tramtrack.network.weights import WeightsUnavailable
from tramtrack.protocol import Protocol
from tramtrack.study import Study
from tramtrack.training import campaign
from tramtrack.training.campaign import plan_variants, plan_weights, train_variants

OWN = Protocol()


@pytest.fixture(autouse=True)
def nothing_to_fetch(monkeypatch, tmp_path):
    """Weights lie in ``tmp_path / "weights"`` or nowhere."""
    monkeypatch.delenv(places.WEIGHTS_DIR, raising=False)
    monkeypatch.setenv(places.CACHE, str(tmp_path / "cache"))

    def nothing(*_arguments):
        raise SourceFailed("no connection")

    monkeypatch.setattr(downloads, "download", nothing)
    monkeypatch.setattr(downloads, "wheel_member", nothing)
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
        plan_weights(wanted, "pretrained", folder)
    assert plan_weights(wanted, "random", folder) == (wanted, {})
    put(folder, "mobilenetv2")
    assert plan_weights(wanted, "pretrained", folder) == (wanted, {})


def test_a_network_without_weights_leaves_no_activations_behind(tmp_path):
    """An earlier command was interrupted; by now the weights are gone."""
    kept = [tmp_path / "study" / "cache" / network for network in ("mobilenet", "mobilenetv2", "xception")]
    for folder in kept:
        (folder / "activations").mkdir(parents=True)
    wanted, _ = plan_variants(["mobilenet", "mobilenetv2"], OWN, "auto")
    given = (wanted, "pretrained", tmp_path / "weights", "auto", Local(["cpu"]), campaign.variants, tmp_path / "study")
    outcomes = dict(train_variants(*given))
    assert [*outcomes] == ["mobilenet", "mobilenetv2"]
    assert all(isinstance(outcome, WeightsUnavailable) for outcome in outcomes.values())
    assert [folder.exists() for folder in kept] == [False, False, True]


def test_nor_does_one_that_is_left_out_before_any_work(tmp_path):
    text = '[transfer]\nbatchnorm = "adapt"\n'
    (tmp_path / "adapt.toml").write_text(text)
    kept = tmp_path / "study" / "cache" / "mobilenetv2"
    (kept / "activations").mkdir(parents=True)
    with pytest.raises(WeightsUnavailable):
        Study(tmp_path / "study", tmp_path / "adapt.toml").train("mobilenetv2", weights_dir=tmp_path / "weights")
    assert not kept.exists()
