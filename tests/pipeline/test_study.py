"""The whole path on a tiny synthetic cohort: from DICOM to the report, killed and resumed, sealed and unsealed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy

from tramtrack import sealing
from tramtrack.network.build import build
from tramtrack.study import Study

RUN = ("--networks", "vgg16", "--weights", "random")
SAME_BYTES = (
    "runs/vgg16/last-conv+random-weights/seed-0/predictions.csv",
    "runs/vgg16/last-conv+random-weights/seed-0/weights.safetensors",
    "results/predictions.csv",
    "results/scores.csv",
    "results/operating_points.csv",
)


@pytest.fixture(scope="module")
def finished(ingested, tiny_protocol, command, tmp_path_factory):
    """A study run to its end without interruption."""
    study = tmp_path_factory.mktemp("finished") / "study"
    shutil.copytree(ingested, study)
    done = command("run", study, "--protocol", tiny_protocol, *RUN)
    assert done.returncode == 0, done.stderr
    return study, done


def test_the_path_ends_in_a_report_and_a_table(finished):
    study, done = finished
    assert "random weights" in done.stdout
    assert (study / "report" / "index.html").stat().st_size > 10_000
    scores = pd.read_csv(study / "results" / "scores.csv")
    assert set(scores["fold"]) == {"training", "validation", "test"}
    assert set(scores["unit"]) == {"view", "breast", "woman"}
    known = scores.dropna(subset=["estimate"])
    assert len(known)
    assert (known["low"] <= known["estimate"]).all() and (known["estimate"] <= known["high"]).all()
    assert (known["low"] < known["high"]).all()


def test_files_and_women_add_up(finished, tiny_cohort):
    study, _ = finished
    views = pd.read_csv(study / "cohort" / "views.csv")
    excluded = pd.read_csv(study / "cohort" / "exclusions.csv")
    assert len(views) + len(excluded) == len(list((tiny_cohort / "dicom").rglob("*.dcm")))
    folds = pd.read_csv(study / "cohort" / "folds.csv")
    assert sorted(folds["woman"]) == sorted(views["woman"].unique())
    assert (views["synthetic"] == "yes").all()


def test_random_weights_are_never_ranked(finished):
    study, _ = finished
    assert set(pd.read_csv(study / "results" / "scores.csv")["weights"]) == {"random weights"}
    claims = pd.read_csv(study / "results" / "claims.csv")
    assert list(claims["verdict"]) == ["cannot be tested"]
    assert "random weights" in claims["sentence"][0]
    assert pd.read_csv(study / "results" / "comparisons.csv").empty


def test_a_second_run_does_nothing_again(finished, command):
    study, first = finished
    before = {path: path.stat().st_mtime_ns for path in (study / "runs").rglob("*") if path.name != "left_out.json"}
    again = command("run", study, *RUN)
    assert again.returncode == 0
    assert again.stdout == first.stdout
    assert before == {path: path.stat().st_mtime_ns for path in (study / "runs").rglob("*") if path.name != "left_out.json"}
    assert len(sealing.looks(study / "results" / "unsealed.jsonl")) == 1


@pytest.mark.parametrize(
    "moment",
    [
        "prepared/prepared.jsonl",
        "cache/vgg16/done.jsonl",
        "runs/*/*/*/checkpoint.safetensors",
        "results/test/*/*/*/predictions.csv",
    ],
)
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(moment, finished, ingested, tiny_protocol, command, tmp_path):
    whole, _ = finished
    study = tmp_path / "study"
    shutil.copytree(ingested, study)
    words = [sys.executable, "-m", "tramtrack.cli", "run", str(study), "--protocol", str(tiny_protocol), *RUN]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 200
    while not any(path.stat().st_size for path in study.glob(moment)):
        assert process.poll() is None, "the run ended before the moment to kill it"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (study / "report" / "index.html").exists()
    done = command("run", study, "--protocol", tiny_protocol, *RUN)
    assert done.returncode == 0, done.stderr
    for name in SAME_BYTES:
        assert (study / name).read_bytes() == (whole / name).read_bytes(), name


def test_ctrl_c_is_one_line_and_loses_nothing(ingested, tiny_protocol, command, tmp_path):
    study = tmp_path / "study"
    shutil.copytree(ingested, study)
    words = [sys.executable, "-m", "tramtrack.cli", "run", str(study), "--protocol", str(tiny_protocol), *RUN]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not list(study.glob("prepared/*.png")):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.strip().splitlines() == [
        "tramtrack: interrupted; what is finished is kept, and the same command goes on from there"
    ]
    kept = len(list(study.glob("prepared/*.png")))
    assert kept and command("run", study, "--protocol", tiny_protocol, *RUN).returncode == 0


def test_the_test_fold_stays_sealed_until_it_is_opened(finished, ingested, tiny_protocol, tmp_path):
    opened, _ = finished
    shutil.copytree(ingested, tmp_path / "study")
    study = Study(tmp_path / "study", tiny_protocol)
    study.prepare()
    (run,) = study.train("vgg16", weights="random")
    assert set(run.predictions()["fold"]) == {"training", "validation"}
    sealed = study.evaluate()
    assert not sealed.unsealed
    assert set(sealed.scores["fold"]) == {"training", "validation"}
    folds = study.folds()
    women_in_test = set(folds.loc[folds["fold"] == "test", "woman"])
    for path in [*study.folder.glob("results/*.csv"), *study.folder.glob("runs/**/*.csv")]:
        table = pd.read_csv(path)
        assert "woman" not in table or not women_in_test & set(table["woman"]), path
    assert sealing.looks(study.folder / "results" / "unsealed.jsonl") == []
    assert not (study.folder / "results" / "test").exists()
    look = sealing.looks(opened / "results" / "unsealed.jsonl")[0]["look"]
    assert look["protocol"] == study.protocol.sha256
    assert [run["network"] for run in look["runs"]] == ["vgg16"]
    assert set(look["thresholds"][0]) >= {"view", "breast", "woman"}


def test_a_network_that_is_not_finished_keeps_the_test_fold_sealed(finished, command, tmp_path):
    whole, _ = finished
    study = tmp_path / "study"
    shutil.copytree(whole, study)
    (study / "runs/vgg16/last-conv+random-weights/seed-0/run.json").unlink()
    looks = (study / "results" / "unsealed.jsonl").read_bytes()
    done = command("evaluate", study, "--networks", "vgg16", "--unseal")
    assert done.returncode == 1
    assert "not finished yet: vgg16" in done.stderr
    assert (study / "results" / "unsealed.jsonl").read_bytes() == looks


def test_another_protocol_is_refused_and_the_field_is_named(finished, command, tmp_path, tiny_protocol):
    study, _ = finished
    other = tmp_path / "other.toml"
    other.write_text(tiny_protocol.read_text().replace("epochs = 3", "epochs = 5"))
    done = command("run", study, "--protocol", other, *RUN)
    assert done.returncode == 1
    assert "training.epochs: 3 against 5" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_labels_that_changed_after_the_split_are_refused(finished, tiny_cohort, command, tmp_path):
    whole, _ = finished
    study = tmp_path / "study"
    shutil.copytree(whole, study)
    table = pd.read_csv(tiny_cohort / "labels.csv", dtype=str, keep_default_na=False)
    table.loc[table["bac"] == "1", "bac"] = ""
    labels = tmp_path / "labels.csv"
    table.assign(mask="").to_csv(labels, index=False)
    assert command("ingest", tiny_cohort / "dicom", "--labels", labels, "--study", study).returncode == 0
    done = command("run", study, *RUN)
    assert done.returncode == 1
    assert "labels: on disk" in done.stderr and "have changed since the split" in done.stderr


def test_changed_weights_are_not_trusted(finished, command, tmp_path):
    whole, _ = finished
    study = tmp_path / "study"
    shutil.copytree(whole, study)
    shutil.rmtree(study / "results")
    weights = study / "runs/vgg16/last-conv+random-weights/seed-0/weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    done = command("run", study, *RUN)
    assert done.returncode == 1
    assert "not the weights that this run wrote" in done.stderr


def test_status_tells_how_far_each_stage_is(finished, ingested, command):
    study, _ = finished
    rows = {row["stage"]: row for row in json.loads(command("status", study, "--json").stdout)}
    assert rows["train"]["state"] == "done"
    assert "1 look" in rows["evaluate"]["detail"]
    fresh = {row["stage"]: row for row in json.loads(command("status", ingested, "--json").stdout)}
    assert (fresh["ingest"]["state"], fresh["split"]["state"]) == ("done", "to do")
    assert "sealed" in fresh["evaluate"]["detail"]


def test_a_diverging_network_is_left_out_with_its_epoch(ingested, tiny_protocol, tmp_path, command):
    study = tmp_path / "study"
    shutil.copytree(ingested, study)
    hot = tmp_path / "hot.toml"
    text = tiny_protocol.read_text().replace("[training]", '[training]\noptimiser = "sgd"\nlearning_rate = 1e30')
    hot.write_text(text)
    done = command("run", study, "--protocol", hot, *RUN)
    assert done.returncode == 1
    assert "no network could be trained" in done.stderr and "in epoch 1" in done.stderr


def test_best_looks_at_validation_only(finished):
    study = Study(finished[0])
    with pytest.raises(Exception, match="no pretrained run"):
        study.best()


def test_the_look_is_logged_before_it_is_taken(tmp_path):
    log = tmp_path / "unsealed.jsonl"
    assert sealing.log_look(log, {"runs": ["a"]}) == 1
    assert sealing.log_look(log, {"runs": ["a"]}) == 1
    assert sealing.log_look(log, {"runs": ["a", "b"]}) == 2
    assert [entry["look"] for entry in sealing.looks(log)] == [{"runs": ["a"]}, {"runs": ["a", "b"]}]


def test_a_network_whose_weights_cannot_be_had_is_left_out_and_the_others_go_on(
    ingested, tiny_protocol, command, tmp_path, monkeypatch
):
    """Two networks, of which one has a weights file in the local folder, on a machine that reaches nothing."""
    study, folder = tmp_path / "study", tmp_path / "weights"
    shutil.copytree(ingested, study)
    folder.mkdir()
    backbone = build("mobilenetv2")
    tensors = {
        f"{layer.name}/{variable}": np.full(shape, 0.5 if variable != "kernel" else 0.01, np.float32)
        for layer in backbone.keras_layers()
        for variable, shape in layer.variables
    }
    safetensors.numpy.save_file(tensors, folder / "mobilenetv2.safetensors")
    for name, value in {
        "TRAMTRACK_CACHE": str(tmp_path / "cache"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path / "nothing"),
        "https_proxy": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    done = command("run", study, "--protocol", tiny_protocol, "--networks", "vgg16,mobilenetv2", "--weights-dir", folder)
    assert done.returncode == 0, done.stderr
    left_out = json.loads((study / "runs" / "left_out.json").read_text())
    assert set(left_out) == {"vgg16"}
    assert "no pretrained weights could be had" in left_out["vgg16"] and "--weights-dir" in left_out["vgg16"]
    assert set(pd.read_csv(study / "results" / "scores.csv")["network"]) == {"mobilenetv2"}
    report = (study / "report" / "index.html").read_text()
    assert "no pretrained weights could be had" in report and "local file mobilenetv2.safetensors" in report
    status = json.loads(command("status", study, "--json").stdout)
    assert any(row["state"] == "left out" and "vgg16" in row["detail"] for row in status)
