"""Which runs an evaluation is of: none of what is left out, and every seed of what is not."""

from __future__ import annotations

import shutil

import pytest

from tramtrack import store
from tramtrack.errors import TramtrackError
from tramtrack.protocol import Factors, Protocol
from tramtrack.training.ledger import complete_runs, is_left_out, leave_out, left_out, listed_runs

TWO = Protocol.from_toml('[training]\nseeds = [0, 1]\n[factors]\npolicy = ["full"]\n', "two")
WHY = "the loss is nan in epoch 2, batch 1 of seed 1"


@pytest.fixture
def study(tmp_path):
    store.write_text(tmp_path / "cohort" / "folds.csv", "woman,fold\n")
    return tmp_path


def finish(study, network, variant, *seeds, weights="pretrained"):
    folds = store.file_sha256(study / "cohort" / "folds.csv")
    for seed in seeds:
        identity = {"network": network, "variant": variant, "seed": seed, "weights": weights, "folds": folds}
        store.write_json(
            study / "runs" / network / variant / f"seed-{seed}" / "run.json", {"identity": identity, "information": {}}
        )


def finish_all_but_one(study):
    """Every run of two networks but the second seed of VGG16's own variant."""
    finish(study, "vgg16", "last-conv", 0)
    finish(study, "vgg16", "full", 0, 1)
    finish(study, "mobilenetv2", "last-conv", 0, 1)
    finish(study, "mobilenetv2", "full", 0, 1)


def names(runs):
    return [(run.key.network, run.key.variant, run.key.seed) for run in runs]


def test_a_variant_with_a_failed_seed_is_left_out_with_its_finished_ones(study):
    finish(study, "vgg16", "last-conv", 0, 1)
    finish(study, "vgg16", "full", 0)
    with pytest.raises(TramtrackError, match="not finished yet: vgg16/full seed 1"):
        complete_runs(study, TWO, ["vgg16"])
    leave_out(study, {"vgg16/full": WHY})
    assert left_out(study, TWO) == {"vgg16/full": WHY}
    own = [("vgg16", "last-conv", 0), ("vgg16", "last-conv", 1)]
    assert names(complete_runs(study, TWO, ["vgg16"])) == names(complete_runs(study, TWO, None)) == own
    finish(study, "vgg16", "full", 1)
    assert left_out(study, TWO) == {} and len(complete_runs(study, TWO, None)) == 4


def test_where_the_protocols_own_variant_failed_the_others_take_part(study):
    finish_all_but_one(study)
    leave_out(study, {"vgg16/last-conv": WHY})
    expected = {("vgg16", "full"), ("mobilenetv2", "last-conv"), ("mobilenetv2", "full")}
    assert {(run.key.network, run.key.variant) for run in complete_runs(study, TWO, ["vgg16", "mobilenetv2"])} == expected
    assert not is_left_out("vgg16", left_out(study, TWO), TWO)
    shutil.rmtree(study / "runs" / "vgg16" / "full" / "seed-1")
    with pytest.raises(TramtrackError, match="not finished yet: vgg16/full seed 1"):
        complete_runs(study, TWO, ["vgg16", "mobilenetv2"])
    leave_out(study, {"vgg16/last-conv": WHY, "vgg16/full": WHY})
    assert is_left_out("vgg16", left_out(study, TWO), TWO)
    assert {run.key.network for run in complete_runs(study, TWO, ["vgg16", "mobilenetv2"])} == {"mobilenetv2"}


def test_a_network_with_a_failed_seed_is_left_out_with_all_its_variants(study):
    finish_all_but_one(study)
    leave_out(study, {"vgg16": WHY})
    found = complete_runs(study, TWO, ["vgg16", "mobilenetv2"])
    assert {run.key.network for run in found} == {"mobilenetv2"} and len(found) == 4
    assert names(listed_runs(study, TWO)) == names(found)


def test_a_control_that_is_done_does_not_hide_a_failed_seed(study):
    alone = TWO.model_copy(update={"factors": Factors()})
    leave_out(study, {"vgg16": WHY})
    finish(study, "vgg16", "last-conv+random-weights", 0, 1, weights="random weights")
    assert left_out(study, alone) == {}
    finish(study, "vgg16", "last-conv", 0)
    assert left_out(study, alone) == {"vgg16": WHY}
    finish(study, "vgg16", "last-conv", 1)
    assert left_out(study, alone) == {} and len(complete_runs(study, alone, None)) == 4


def test_an_unfinished_seed_of_what_is_not_left_out_is_refused(study):
    finish(study, "mobilenetv2", "last-conv", 0)
    leave_out(study, {"vgg16": WHY})
    with pytest.raises(TramtrackError, match="not finished yet: mobilenetv2 seed 1, mobilenetv2/full seed 0"):
        complete_runs(study, TWO, ["vgg16", "mobilenetv2"])
    with pytest.raises(TramtrackError, match="not finished yet: xception"):
        complete_runs(study, TWO, ["xception"])
