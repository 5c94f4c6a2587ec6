"""The three BatchNorm policies: frozen, adapted to the training fold, trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tramtrack import store
from tramtrack.imaging.prepare import png_bytes
from tramtrack.protocol import Training
from tramtrack.training import loop
from tramtrack.training.adapt import adapt_batchnorms

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """11 prepared views: one whole batch and a rest."""
    folder = tmp_path_factory.mktemp("prepared")
    rng = np.random.default_rng(0)
    return [
        store.write_bytes(folder / f"{number}.png", png_bytes(rng.integers(0, 65536, (64, 32), dtype=np.uint16)))
        for number in range(11)
    ]


def test_adapted_statistics_are_those_of_the_images(make_classifier, files):
    """The first BatchNorm's input does not depend on other BatchNorms, so its statistics are known exactly."""
    model = make_classifier("mobilenetv2")
    before = [norm.running_mean.clone() for norm in model.batchnorms()]
    adapt_batchnorms(model, files, dtype=torch.float32, device=CPU, what="test")
    seen = []
    first = model.backbone.steps["Conv1"]
    first.get_submodule("bn_Conv1").register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].double()))
    from tramtrack.training.loader import batches

    with torch.no_grad():
        for grey in batches(files, 5, CPU):
            model.trunk(grey)
    pixels = torch.cat(seen).permute(1, 0, 2, 3).flatten(1)
    norm = model.batchnorms()[0]
    assert torch.allclose(norm.running_mean.double(), pixels.mean(dim=1), atol=1e-5)
    assert torch.allclose(norm.running_var.double(), pixels.var(dim=1, correction=0), rtol=1e-4)
    assert all(not torch.equal(norm.running_mean, old) for norm, old in zip(model.batchnorms(), before, strict=True))
    assert not any(norm.training for norm in model.batchnorms())
    assert {norm.momentum for norm in model.batchnorms()} == {0.001}


def test_a_network_without_batchnorm_has_nothing_to_adapt(make_classifier, files):
    model = make_classifier("vgg16", batchnorm="adapt")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapt_batchnorms(model, files, dtype=torch.float32, device=CPU, what="test")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_trained_batchnorms_move_and_come_back_from_a_checkpoint(make_classifier, grey, examples, tmp_path, dies_after):
    class Direct:
        at_once = 4

        def __init__(self, model):
            self.model = model

        def stream(self, parts, epoch):
            for part in parts:
                with torch.set_grad_enabled(epoch is not None):
                    yield self.model.trunk(grey[part])

    settings = Training(epochs=2, batch_size=8, patience=0)

    def run(model, checkpoint, **more):
        loop.train(
            model, Direct(model), *examples, settings, seed=0, dtype=torch.float32, device=CPU, checkpoint=checkpoint, **more
        )
        return model.state_dict()

    model = make_classifier("mobilenetv2", batchnorm="train")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    whole = run(model, tmp_path / "whole")
    for name in ("running_mean", "running_var", "weight"):
        place = f"backbone.steps.block_3.body.block_3_expand_BN.{name}"
        assert not torch.equal(whole[place], before[place]), name
    frozen = "backbone.steps.block_3.body.block_3_expand.weight"
    assert torch.equal(whole[frozen], before[frozen])

    with dies_after(1):
        run(make_classifier("mobilenetv2", batchnorm="train"), tmp_path / "cut")
    resumed = run(make_classifier("mobilenetv2", batchnorm="train"), tmp_path / "cut")
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items() if "num_batches" not in name)


@pytest.mark.parametrize(
    ("network", "transfer", "says"),
    [
        ("mobilenetv2", {"batchnorm": "train"}, "changes the BatchNorms of the trunk"),
        ("mobilenetv2", {"policy": "full"}, "trains from the first layer on"),
        ("vgg16", {"batchnorm": "train"}, ""),
        ("mobilenetv2", {"batchnorm": "adapt", "policy": "last-block"}, ""),
        ("mobilenetv2", {}, ""),
    ],
)
def test_which_trunks_can_be_kept(network, transfer, says, make_classifier):
    reason = make_classifier(network, **transfer).trunk_changes
    assert says in reason and bool(says) == bool(reason)
