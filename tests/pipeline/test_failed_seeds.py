"""A network of which one seed fails is left out whole and named with the reason; everything else goes on."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
import torch

from tramtrack.training import run as room

BOTH = ("--networks", "mobilenetv2,mobilenet", "--weights", "random")
REASON = "the loss is nan in epoch 1, batch 1 of seed 1; try a lower learning rate"


@pytest.fixture
def poisoned(monkeypatch):
    """``poisoned(predicate)``: runs whose folder it holds for begin with a weight that is no number, and so diverge."""
    real = room.train

    def poison(holds):
        def train(model, *arguments, checkpoint, **more):
            if holds(checkpoint.parent.as_posix()):
                model.head.dense1.bias.data.fill_(float("nan"))
            return real(model, *arguments, checkpoint=checkpoint, **more)

        monkeypatch.setattr(room, "train", train)

    return poison


@pytest.fixture
def study(ingested, tiny_protocol, tmp_path):
    """The tiny study under a protocol of two seeds and one epoch."""
    shutil.copytree(ingested, tmp_path / "study")
    quick = tiny_protocol.read_text().replace("epochs = 3", "epochs = 1\nseeds = [0, 1]")
    (tmp_path / "two.toml").write_text(quick)
    return tmp_path / "study"


def read(path):
    return json.loads(path.read_text())


def test_a_failed_later_seed_leaves_its_network_out_whole(study, command, poisoned):
    """In one split MobileNetV2's second seed fails, in the other every network's."""
    poisoned(lambda run: run.endswith("seed-1") and ("mobilenetv2" in run or "repeats" in run))
    done = command("run", study, "--protocol", study.parent / "two.toml", *BOTH, "--repeats", 2)
    assert done.returncode == 0, done.stderr
    assert (study / "runs/mobilenetv2/last-conv+random-weights/seed-0/run.json").exists()
    assert (
        read(study / "runs" / "left_out.json")
        == read(study / "results" / "summary.json")["left_out"]
        == {"mobilenetv2": REASON}
    )
    assert read(study / "repeats/1/runs/left_out.json") == {"mobilenetv2": REASON, "mobilenet": REASON}
    runs = read(study / "results" / "summary.json")["runs"]
    assert sorted(runs) == [f"mobilenet/last-conv+random-weights/seed-{seed}" for seed in (0, 1)]
    assert set(pd.read_csv(study / "results" / "scores.csv")["network"]) == {"mobilenet"}
    assert read(study / "results" / "summary.json")["splits"] == 2
    assert REASON in (study / "report" / "index.html").read_text()
    rows = json.loads(command("status", study, "--json").stdout)
    status = [row["detail"] for row in rows if row["state"] == "left out"]
    assert status == [f"mobilenetv2: {REASON}", f"repeats/1 mobilenetv2: {REASON}", f"repeats/1 mobilenet: {REASON}"]
    later = command("evaluate", study)
    assert later.returncode == 0, later.stderr


def test_training_goes_on_with_the_other_networks_and_says_at_the_end_which_failed(study, command, poisoned):
    poisoned(lambda run: run.endswith("mobilenetv2/last-conv+random-weights/seed-1"))
    words = ("train", study, "--protocol", study.parent / "two.toml", *BOTH)
    done = command(*words)
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if "tramtrack:" in line] == [
        f"tramtrack: not trained: MobileNetV2: {REASON}"
    ]
    trained = sorted(path.parent.relative_to(study / "runs").parts[0] for path in study.glob("runs/*/*/*/run.json"))
    assert trained == ["mobilenet", "mobilenet", "mobilenetv2"] and done.stdout.count("best 1") == 2
    assert read(study / "runs" / "left_out.json") == {"mobilenetv2": REASON}
    assert command(*words[:-1], "none").returncode == 2  # a command that is refused forgets nothing
    assert read(study / "runs" / "left_out.json") == {"mobilenetv2": REASON}
    poisoned(lambda run: False)
    assert command(*words).returncode == 0 and read(study / "runs" / "left_out.json") == {}


def test_a_network_for_which_there_is_no_memory_is_left_out_and_the_others_are_trained(study, command, monkeypatch):
    real = room.train

    def train(*arguments, checkpoint, **more):
        if "mobilenetv2" in checkpoint.as_posix():
            torch.empty(1 << 50)
        return real(*arguments, checkpoint=checkpoint, **more)

    monkeypatch.setattr(room, "train", train)
    done = command("train", study, "--protocol", study.parent / "two.toml", *BOTH)
    assert done.returncode == 1
    why = "there is no memory for seed 0 on the device cpu (4503599627370496 bytes more were asked for); free some, "
    (line,) = [line for line in done.stderr.splitlines() if "tramtrack:" in line]
    assert line.startswith(f"tramtrack: not trained: MobileNetV2: {why}") and "Traceback" not in done.stderr
    assert read(study / "runs" / "left_out.json")["mobilenetv2"].startswith(why)
    assert {path.parents[2].name for path in study.glob("runs/*/*/*/run.json")} == {"mobilenet"}
    assert not (study / "cache" / "mobilenetv2").exists()
