"""The U-Net: its loss, and a training that a kill does not change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tramtrack.segmentation import loop
from tramtrack.segmentation.known import find_known
from tramtrack.segmentation.run import train_unet
from tramtrack.store import IdentityMismatch
from tramtrack.training.loop import Diverged

pytest.importorskip("monai", reason='the U-Net is MONAI\'s; pip install ".[explain]"')

from tramtrack.segmentation.unet import Unet, dice_and_cross_entropy

CPU, SIZE = torch.device("cpu"), (64, 48)


@pytest.fixture
def folds(views, geometry):
    return [find_known(views[views["fold"] == fold], geometry, SIZE, "masks") for fold in ("training", "validation")]


def changed(protocol, **settings):
    return protocol.model_copy(update={"segmentation": protocol.segmentation.model_copy(update=settings)})


def test_the_loss_of_a_fold_is_that_of_its_views_in_one_batch(folds):
    validation = folds[1]
    model = Unet((4, 4, 8, 8, 8), 3).eval()
    grey = torch.cat(list(loop.stream([validation.files], CPU)))
    masks = torch.from_numpy(np.stack([validation.mask(number) for number in range(len(validation))]))[:, None].float()
    with torch.no_grad():
        expected = float(dice_and_cross_entropy()(model(grey), masks))
    assert loop.loss_of_fold(model, validation, torch.float32, CPU) == pytest.approx(expected, abs=1e-6)


def test_an_untrained_network_says_the_marked_share(folds):
    share = folds[0].share
    assert share == pytest.approx(np.mean([folds[0].mask(number) for number in range(6)]))
    silent = Unet((4, 4, 8, 8, 8), 3, share)
    torch.nn.init.zeros_(silent.net.final_conv.weight)
    found = next(loop.probabilities(silent, folds[0].files[:1], torch.float32, CPU))
    assert found.shape == SIZE and np.allclose(found, share)


def test_a_killed_training_ends_in_the_same_bytes(folds, protocol, tmp_path, dies_after):
    short = changed(protocol, epochs=4)
    whole = train_unet(*folds, short, {}, tmp_path / "whole")
    for epoch in (1, 3, 4):
        folder = tmp_path / str(epoch)
        with dies_after(epoch):
            train_unet(*folds, short, {}, folder)
        assert not (folder / "run.json").exists()
        again = train_unet(*folds, short, {}, folder)
        names = ["weights.safetensors", *(f"maps/v{number}.npz" for number in range(6, 12))]
        for name in names:
            assert (folder / name).read_bytes() == (whole.folder / name).read_bytes(), name
        assert again.information["threshold"] == whole.information["threshold"]
        assert not (folder / "checkpoint.safetensors").exists() and not (folder / "started.json").exists()


def test_another_seed_gives_other_weights_and_global_seeds_are_left_alone(folds, protocol, tmp_path):
    before = torch.get_rng_state()
    short = changed(protocol, epochs=1)
    one = train_unet(*folds, short, {}, tmp_path / "one")
    other = train_unet(*folds, changed(short, seed=1), {}, tmp_path / "other")
    assert one.information["weights_file_sha256"] != other.information["weights_file_sha256"]
    assert torch.equal(before, torch.get_rng_state())


def test_a_finished_training_is_kept_and_one_on_other_masks_refused(folds, protocol, tmp_path, views, geometry):
    short = changed(protocol, epochs=1)
    run = train_unet(*folds, short, {"folds": "a"}, tmp_path / "run")
    (run.folder / "history.csv").write_text("as it was")
    assert train_unet(*folds, short, {"folds": "a"}, tmp_path / "run").identity == run.identity
    assert (run.folder / "history.csv").read_text() == "as it was"
    fewer = find_known(views.iloc[1:6], geometry, SIZE, "masks")
    with pytest.raises(IdentityMismatch, match=r"masks: on disk .*; remove this folder to segment anew"):
        train_unet(fewer, folds[1], short, {"folds": "a"}, tmp_path / "run")
    with pytest.raises(IdentityMismatch, match="folds: on disk 'a', now 'b'"):
        train_unet(*folds, short, {"folds": "b"}, tmp_path / "run")


def test_patience_ends_a_training_that_gains_nothing(folds, protocol, tmp_path):
    still = changed(protocol, epochs=9, patience=2, learning_rate=1e-12)
    run = train_unet(*folds, still, {}, tmp_path / "run")
    best = run.information["best_epoch"]
    losses = [epoch.validation_loss for epoch in run.history()]
    assert losses.index(min(losses)) + 1 == best
    assert run.information["epochs"] == min(9, best + 2)


def test_a_loss_that_is_no_number_is_said(folds, protocol, tmp_path):
    with pytest.raises(Diverged, match=r"U-Net: the .*loss is .*; try a lower segmentation\.learning_rate"):
        train_unet(*folds, changed(protocol, learning_rate=1e30), {}, tmp_path / "run")
