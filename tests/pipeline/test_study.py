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
import pydicom
import pytest
import safetensors.numpy
from PIL import Image

from tramtrack import sealing
from tramtrack.engine import Failure, WorkerDied
from tramtrack.errors import TramtrackError
from tramtrack.network.build import build
from tramtrack.study import Study

ON_TWO_THREADS = {**os.environ, "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
RUN = ("--networks", "vgg16", "--weights", "random")
QUICK = ("--networks", "mobilenetv2", "--weights", "random")
SAME_BYTES = (
    "runs/vgg16/last-conv+random-weights/seed-0/predictions.csv",
    "runs/vgg16/last-conv+random-weights/seed-0/weights.safetensors",
    "results/predictions.csv",
    "results/scores.csv",
    "results/operating_points.csv",
)


@pytest.fixture(scope="module")
def finished(ingested, tiny_protocol, command_apart, tmp_path_factory):
    """A study run to its end without interruption."""
    study = tmp_path_factory.mktemp("finished") / "study"
    shutil.copytree(ingested, study)
    done = command_apart("run", study, "--protocol", tiny_protocol, *RUN)
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


def test_the_pass_that_scores_the_test_views_leaves_their_maps_which_are_measured(finished):
    study, _ = finished
    place = "vgg16/last-conv+random-weights/seed-0"
    scored = pd.read_csv(study / "results" / "test" / place / "predictions.csv").set_index("view_id")
    with np.load(study / "heatmaps" / place / "maps.npz") as kept:
        assert list(kept["view_id"]) == list(scored.index)
        assert kept["map"].shape == (len(scored), 4, 3) and kept["map"].min() >= 0
        assert np.array_equal(kept["logit"], scored["logit"].to_numpy(dtype=np.float32))
    measured = pd.read_csv(study / "results" / "localisation_views.csv")
    assert set(measured["map"]) == {"vgg16 (random weights)", "centre blob", "vessel filter"} and set(
        measured["view_id"]
    ) <= set(scored.index)
    assert (measured["unit"] == "mm").all()
    assert "How well the maps lie on the calcifications" in (study / "report" / "index.html").read_text()


def test_a_single_view_is_drawn_at_its_originals_size_and_a_sealed_one_is_refused(finished, command, tmp_path):
    study, _ = finished
    folds = pd.read_csv(study / "cohort" / "folds.csv", dtype=str).set_index("woman")["fold"]
    views = pd.read_csv(study / "cohort" / "views.csv", dtype=str)
    of_fold = {fold: views[views["woman"].map(folds) == fold].iloc[0] for fold in ("test", "validation")}
    names = [name for fold in of_fold.values() for name in ("--view", fold["view_id"])]
    done = command("explain", study, *names, "--method", "grad-cam", "--layer", "stride-8", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [(row["view_id"], row["layer"], row["stride"]) for row in rows] == [
        (fold["view_id"], "block4_conv3", 8) for fold in of_fold.values()
    ]
    for row, fold in zip(rows, of_fold.values(), strict=True):
        with Image.open(study / "heatmaps" / "views" / row["view_id"] / row["picture"]) as picture:
            assert picture.size == (int(fold["columns"]), int(fold["rows"]))
    scored = pd.read_csv(study / "results" / "predictions.csv", dtype={"view_id": str}).set_index("view_id")["score"]
    assert all(abs(row["score"] - scored[row["view_id"]]) < 1e-3 for row in rows)
    unknown = command("explain", study, "--view", "nobody")
    assert unknown.returncode == 2 and "view nobody: not in the folds" in unknown.stderr
    method = command("explain", study, "--view", rows[0]["view_id"], "--method", "smoothgrad")
    assert method.returncode == 2 and "expected one of grad-cam++" in method.stderr
    sealed = tmp_path / "sealed"
    shutil.copytree(study, sealed)
    shutil.rmtree(sealed / "results")
    refused = command("explain", sealed, "--view", of_fold["test"]["view_id"])
    assert refused.returncode == 2 and "the test fold is sealed" in refused.stderr


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


def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(finished, ingested, tiny_protocol, command_apart, tmp_path):
    """One study, killed in one stage after the other; each start goes on from where the last was killed."""
    whole, _ = finished
    study = tmp_path / "study"
    shutil.copytree(ingested, study)
    words = [sys.executable, "-m", "tramtrack.cli", "run", str(study), "--protocol", str(tiny_protocol), *RUN]
    for moment in (
        "prepared/prepared.jsonl",
        "cache/vgg16/seed-0/activations/done.jsonl",
        "runs/*/*/*/checkpoint.safetensors",
        "results/test/*/*/*/predictions.csv",
    ):
        assert not list(study.glob(moment)), f"an earlier start came as far as {moment}"
        process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=ON_TWO_THREADS
        )
        deadline = time.monotonic() + 200
        while not any(path.stat().st_size for path in study.glob(moment)):
            assert process.poll() is None, f"the run ended before {moment} was there"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (study / "report" / "index.html").exists()
    done = command_apart("run", study, "--protocol", tiny_protocol, *RUN)
    assert done.returncode == 0, done.stderr
    for name in SAME_BYTES:
        assert (study / name).read_bytes() == (whole / name).read_bytes(), name


def test_ctrl_c_is_one_line_and_loses_nothing(ingested, tiny_protocol, command, tmp_path):
    study = tmp_path / "study"
    shutil.copytree(ingested, study)
    words = [sys.executable, "-m", "tramtrack.cli", "run", str(study), "--protocol", str(tiny_protocol), *QUICK]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env=ON_TWO_THREADS
    )
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
    assert kept and command("run", study, "--protocol", tiny_protocol, *QUICK).returncode == 0


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
    before = (study / "cohort" / "labels.csv").read_bytes()
    done = command("ingest", tiny_cohort / "dicom", "--labels", labels, "--study", study)
    assert done.returncode == 1
    assert "this study is split already, and labels.csv would change" in done.stderr
    assert (study / "cohort" / "labels.csv").read_bytes() == before
    (study / "cohort" / "labels.csv").write_bytes(before.replace(b",1,1,1,", b",0,0,0,"))
    for verb in (("run", study, *RUN), ("evaluate", study), ("report", study)):
        done = command(*verb)
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
    done = command("run", study, "--protocol", hot, *QUICK)
    assert done.returncode == 1
    assert "no network could be trained" in done.stderr and "in epoch 1" in done.stderr


def test_random_weights_are_never_the_best(finished):
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
    tested = command("trust", study, "--permuted", "--weights-dir", folder)
    assert tested.returncode == 0, tested.stderr
    table = pd.read_csv(study / "results" / "trust.csv")
    assert {"flip", "removal", "insertion", "permuted labels", "randomisation"} == set(table["test"])
    assert set(table["verdict"]) <= {"pass", "fail", "unresolved", "information"}
    assert (study / "trust" / "runs" / "mobilenetv2" / "last-conv+permuted-labels" / "seed-0" / "run.json").exists()
    status = json.loads(command("status", study, "--json").stdout)
    assert not any("permuted" in row["detail"] for row in status)
    assert any(row["state"] == "left out" and "vgg16" in row["detail"] for row in status)


def test_a_source_without_views_keeps_the_cohort_that_is_there(ingested, command, tmp_path):
    study, junk = tmp_path / "study", tmp_path / "junk"
    shutil.copytree(ingested, study)
    junk.mkdir()
    (junk / "note.txt").write_text("nothing")
    before = (study / "cohort" / "views.csv").read_bytes()
    assert command("ingest", junk, "--study", study).returncode == 1
    assert (study / "cohort" / "views.csv").read_bytes() == before


def pictures_of(cohort, folder):
    """A cohort's images as 16-bit PNG, which tell nothing but their pixels, and the table that says whose they are."""
    folder.mkdir()
    table = pd.read_csv(cohort / "labels.csv", dtype=str)[["woman", "exam", "side", "view"]]
    table["file"] = [f"{row.woman}-{row.side}-{row.view}.png" for row in table.itertuples()]
    for row in table.itertuples():
        pixels = pydicom.dcmread(cohort / "dicom" / row.woman / f"{row.side}{row.view}.dcm").pixel_array
        Image.fromarray(pixels << 4).save(folder / row.file)
    table.to_csv(folder / "views.csv", index=False)
    return folder / "views.csv"


def some_ages_of(cohort, folder):
    """A cohort's DICOM images with ages that are known in no view of the first woman, and not in all of the others."""
    shutil.copytree(cohort / "dicom", folder)
    files = sorted(folder.glob("*/*.dcm"))
    for file in {*files[:4], *files[::3]}:
        dataset = pydicom.dcmread(file)
        dataset.PatientAge = ""
        dataset.save_as(file)
    return folder


@pytest.mark.parametrize("level", (("woman",), ("woman", "side")))
def test_labels_coarser_than_views_and_unknown_ages_go_all_the_way_to_heat_maps(
    level, tiny_cohort, tiny_protocol, command, tmp_path
):
    table = pd.read_csv(tiny_cohort / "labels.csv", dtype={"bac": int})
    coarse = table.groupby(list(level))["bac"].max().reset_index()
    coarse.to_csv(tmp_path / "labels.csv", index=False)
    study = tmp_path / "study"
    source = (
        pictures_of(tiny_cohort, tmp_path / "png") if level == ("woman",) else some_ages_of(tiny_cohort, tmp_path / "dicom")
    )
    assert command("ingest", source, "--labels", tmp_path / "labels.csv", "--study", study).returncode == 0
    done = command("run", study, "--protocol", tiny_protocol, *QUICK)
    assert done.returncode == 0, done.stderr
    shown = pd.read_csv(study / "heatmaps" / "views.csv")
    assert len(shown) and set(shown["unit"]) == {"woman" if level == ("woman",) else "breast"}
    assert "whether in this view is not known" in (study / "report" / "index.html").read_text()


def test_a_later_run_with_another_network_is_another_look(finished, tiny_protocol, command, tmp_path):
    whole, _ = finished
    study = tmp_path / "study"
    shutil.copytree(whole, study)
    done = command("run", study, *QUICK)
    assert done.returncode == 0, done.stderr
    assert set(pd.read_csv(study / "results" / "scores.csv")["network"]) == {"mobilenetv2"}
    assert set(pd.read_csv(study / "heatmaps" / "views.csv")["network"]) == {"mobilenetv2"}
    assert len(sealing.looks(study / "results" / "unsealed.jsonl")) == 2
    assert "The test fold was looked at 2 times" in (study / "report" / "index.html").read_text()


def test_results_of_a_run_that_is_gone_or_trained_again_are_not_reported(finished, command, tmp_path):
    whole, _ = finished
    study = tmp_path / "study"
    shutil.copytree(whole, study)
    shutil.rmtree(study / "runs" / "vgg16")
    done = command("report", study)
    assert done.returncode == 1
    assert "vgg16/last-conv+random-weights/seed-0 that is gone or was trained again" in done.stderr


def test_the_test_fold_is_not_opened_before_every_seed_is_done(ingested, tiny_protocol, command, tmp_path):
    study, two = tmp_path / "study", tmp_path / "two.toml"
    shutil.copytree(ingested, study)
    two.write_text(tiny_protocol.read_text().replace("[training]", "[training]\nseeds = [0, 1]"))
    assert command("train", study, "--protocol", two, *QUICK).returncode == 0
    shutil.rmtree(study / "runs/mobilenetv2/last-conv+random-weights/seed-1")
    done = command("evaluate", study, "--networks", "mobilenetv2", "--unseal")
    assert done.returncode == 1
    assert "not finished yet: mobilenetv2 seed 1" in done.stderr
    assert not (study / "results" / "unsealed.jsonl").exists()


def test_folds_changed_by_hand_are_refused(finished, command, tmp_path):
    whole, _ = finished
    study = tmp_path / "study"
    shutil.copytree(whole, study)
    folds = study / "cohort" / "folds.csv"
    folds.write_text(folds.read_text().replace("training", "test", 1))
    done = command("evaluate", study)
    assert done.returncode == 1
    assert "changed since the women were dealt" in done.stderr


def test_heat_maps_of_nobody_knows_which_run_are_made_again(finished, command, tmp_path):
    whole, _ = finished
    study = tmp_path / "study"
    shutil.copytree(whole, study)
    place = study / "heatmaps/vgg16/last-conv+random-weights/seed-0"
    (place / "manifest.json").unlink()
    maps = sorted(place.glob("*.npz"))
    assert maps
    for path in maps:
        path.write_bytes(b"of another run")
    assert command("explain", study).returncode == 0
    assert all(path.read_bytes() != b"of another run" for path in maps)


def test_burden_is_calibrated_on_validation_goes_on_where_it_stopped_and_reaches_the_report(finished, command, tmp_path):
    whole, _ = finished
    study = tmp_path / "study"
    shutil.copytree(whole, study)
    source = "vgg16/last-conv+random-weights/seed-0"
    assert "no burden yet" in command("associate", study, tmp_path / "outcomes.csv", "--source", source).stderr
    done = command("burden", study, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["unmeasured"] == {} and "it is no CSBI grade" in told["note"]
    views = pd.read_csv(study / "results" / "burden.csv", dtype={"view_id": str, "woman": str})
    folds = pd.read_csv(study / "cohort" / "folds.csv", dtype=str).set_index("woman")["fold"]
    assert (views["fold"] == views["woman"].map(folds)).all() and set(views["fold"]) == {"validation", "test"}
    assert set(views["source"]) == {source} and (views["unit"] == "mm").all() and views["area"].notna().all()
    assert dict(zip(views["fold"], views["calibrated"], strict=True)) == {"validation": "cross-fitted", "test": "validation"}
    kept = json.loads((study / "results" / "burden" / source / "calibration.json").read_text())
    assert set(kept["information"]["views"]) == set(views.loc[views["fold"] == "validation", "view_id"])
    women = pd.read_csv(study / "results" / "women_burden.csv")
    assert women["percentile_reason"].str.contains("30 are needed").all()
    before = {path: path.stat().st_mtime_ns for path in (study / "heatmaps").rglob("maps.npz")}
    assert command("burden", study).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    rows = "".join(f"{woman},{number % 2}\n" for number, woman in enumerate(women["woman"]))
    (tmp_path / "outcomes.csv").write_text(f"woman,infarction\n{rows}")
    asked = command("associate", study, tmp_path / "outcomes.csv", "--source", source, "--json")
    assert asked.returncode == 0, asked.stderr
    assert all("20 of each are needed" in row["reason"] and row["estimate"] is None for row in json.loads(asked.stdout))
    assert command("report", study).returncode == 0
    page = (study / "report" / "index.html").read_text()
    assert "How much calcification the maps amount to" in page and "it is no CSBI grade" in page


def test_the_python_objects_print_what_they_are(finished):
    study = Study(finished[0])
    assert repr(study) == f"Study({str(finished[0])!r}, protocol='tiny')"
    assert repr(study.runs()[0]).startswith("Run(vgg16, last-conv+random-weights, seed 0; best epoch ")
    assert "stands in no ranking" in repr(study.compare())
    assert study.evaluate().unsealed  # the look that was taken is kept, not covered by a sealed one


@pytest.mark.parametrize(
    ("settings", "variant", "activations", "says"),
    [
        (
            'policy = "equal-slice"\nbatchnorm = "adapt"\nstride = 16\n[augmentation]\nvariants = 2',
            "equal-slice+batchnorm-adapt+stride-16+random-weights",
            "kept",
            "trains 36,800 of 2,257,984 weights of the base",
        ),
        (
            'policy = "last-block"\nbatchnorm = "train"\n[augmentation]\nvariants = 1',
            "last-block+batchnorm-train+random-weights",
            "computed anew in every epoch",
            "no activations are kept, because batchnorm train changes the BatchNorms of the trunk",
        ),
    ],
    ids=("kept", "recomputed"),
)
def test_other_policies_go_all_the_way_to_the_report(
    settings, variant, activations, says, ingested, tiny_protocol, command, tmp_path
):
    study, mine = tmp_path / "study", tmp_path / "mine.toml"
    shutil.copytree(ingested, study)
    transfer, training = settings.split("[augmentation]")
    text = tiny_protocol.read_text().replace("[transfer]\n", f"[transfer]\n{transfer}")
    mine.write_text(text.replace("[training]\n", f"[augmentation]{training}\n[training]\n"))
    done = command("run", study, "--protocol", mine, *QUICK)
    assert done.returncode == 0, done.stderr
    assert says in done.stderr
    (run,) = Study(study).runs()
    assert run.key.variant == variant and run.information["activations"] == activations
    assert list((study / "heatmaps" / "mobilenetv2" / variant).rglob("*.npz"))
    assert not (study / "cache" / "mobilenetv2").exists()
    test = pd.read_csv(study / "results" / "predictions.csv")
    assert set(test["variant"]) == {variant}


def test_activations_that_cannot_be_kept_are_refused_before_any_work(ingested, tiny_protocol, command, tmp_path):
    study, mine = tmp_path / "study", tmp_path / "mine.toml"
    shutil.copytree(ingested, study)
    mine.write_text(tiny_protocol.read_text().replace("[transfer]\n", '[transfer]\npolicy = "full"\n'))
    words = ("--protocol", mine, "--networks", "mobilenetv2", "--weights", "random", "--cache", "on")
    done = command("train", study, *words)
    assert done.returncode == 2
    assert "policy full trains from the first layer on" in done.stderr and "--cache off or auto" in done.stderr
    assert not (study / "runs").exists()


def test_a_claim_never_opens_the_sealed_test_fold(finished, command, tmp_path):
    opened, _ = finished
    study = tmp_path / "study"
    shutil.copytree(opened, study)
    shutil.rmtree(study / "results")
    assert command("evaluate", study).returncode == 0
    done = command("claim", "vgg16 > xception on f1 in test by woman", study)
    assert done.returncode == 1
    assert "the test fold is sealed, and a claim does not open it; ask in validation" in done.stderr
    assert not (study / "results" / "unsealed.jsonl").exists() and not (study / "results" / "test").exists()
    assert "test" not in set(pd.read_csv(study / "results" / "predictions.csv")["fold"])
    asked = command("claim", "vgg16 > xception on f1 in validation by woman", study)
    assert asked.returncode == 1 and "vgg16 has random weights only and stands in no ranking" in asked.stderr


class Mortal:
    """An engine whose workers always die."""

    is_cluster, slots = False, 1

    def run(self, jobs):
        yield from ((job, Failure(WorkerDied("the worker was lost, in each of 3 tries"))) for job in jobs)


def test_a_network_whose_worker_dies_again_and_again_is_left_out(finished, tmp_path):
    study = tmp_path / "study"
    shutil.copytree(finished[0], study)
    shutil.rmtree(study / "runs")
    with pytest.raises(TramtrackError, match=r"no network could be trained\. the worker was lost, in each of 3 tries"):
        Study(study, engine=Mortal()).run(["mobilenetv2"], weights="random")
    assert json.loads((study / "runs" / "left_out.json").read_text()) == {
        "mobilenetv2": "the worker was lost, in each of 3 tries"
    }
