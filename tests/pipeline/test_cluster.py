"""A study on a local Ray with two workers, one of which is killed: the files are those of the local engine, to the byte."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import safetensors.numpy

import worker_tasks
from keras_layouts import random_tensors
from tramtrack.engine import TRIES, Failure, Job, Task, WorkerDied
from tramtrack.errors import UsageError
from tramtrack.store import read_json
from tramtrack.study import Study

pytest.importorskip("ray", reason="needs Ray: pip install 'tramtrack[cluster]'")

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
HELPERS = Path(worker_tasks.__file__).parent
RUNS = "runs/mobilenetv2/last-conv"


@pytest.fixture(scope="module")
def ray_engine():
    """Two workers of one CPU each."""
    import ray

    from tramtrack.engine.ray import Ray

    with pytest.MonkeyPatch.context() as patch:  # what Ray's processes inherit, so that workers find the tests' tasks
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(HELPERS), os.environ.get("PYTHONPATH")])))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(num_cpus=2, num_gpus=0, include_dashboard=False, logging_level="ERROR", object_store_memory=200 << 20)
    yield Ray("cpu", cpus=1)
    ray.shutdown()


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A folder with weights of MobileNetV2, drawn at random: pretrained ones as far as a run can tell."""
    folder = tmp_path_factory.mktemp("weights")
    tensors = {key: array * 0.1 for key, array in random_tensors("mobilenetv2").items()}
    safetensors.numpy.save_file(tensors, folder / "mobilenetv2.safetensors")
    return folder


@pytest.fixture(scope="module")
def protocol(tiny_protocol, tmp_path_factory) -> Path:
    """The tiny protocol with two seeds, and epochs enough to be killed among them."""
    path = tmp_path_factory.mktemp("two") / "two.toml"
    path.write_text(tiny_protocol.read_text().replace("epochs = 3", "seeds = [0, 1]\nepochs = 15"))
    return path


def kill_in_the_middle(checkpoint: Path, killed: list[str]) -> None:
    """SIGKILL the worker that trains seed 0 as soon as it has an epoch behind it; only processes of this one are looked at."""
    deadline = time.monotonic() + 400
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    for process in psutil.Process().children(recursive=True):
        name = " ".join(process.cmdline())
        if name.startswith("ray::mobilenetv2: seed 0"):
            process.send_signal(signal.SIGKILL)
            killed.append(name)
    if (checkpoint.parent / "run.json").exists():
        killed.append("too late")


def test_a_killed_worker_changes_no_byte(ray_engine, weights, protocol, ingested, tmp_path, capfd):
    here, cluster = tmp_path / "here", tmp_path / "cluster"
    for folder in (here, cluster):
        shutil.copytree(ingested, folder)
    options = ["--protocol", protocol, "--networks", "mobilenetv2", "--weights-dir", weights]
    words = [sys.executable, "-m", "tramtrack.cli", "train", here, *options]
    done = subprocess.run(list(map(str, words)), env=ONE_THREAD, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    killed: list[str] = []
    killer = threading.Thread(target=kill_in_the_middle, args=(cluster / RUNS / "seed-0" / "checkpoint.safetensors", killed))
    killer.start()
    runs = Study(cluster, protocol, device="cpu", engine=ray_engine).train("mobilenetv2", weights_dir=weights)
    killer.join()
    assert len(killed) == 1 and "too late" not in killed, killed
    assert "seed 0: the worker was lost (WorkerCrashedError" in capfd.readouterr().err
    assert [run.key.seed for run in runs] == [0, 1]
    names = [sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) for folder in (here, cluster)]
    assert names[0] == names[1]
    assert not (cluster / "cache" / "mobilenetv2").exists()
    same = [f"{RUNS}/seed-{seed}/{name}" for seed in (0, 1) for name in ("predictions.csv", "weights.safetensors")]
    same += [name for name in names[0] if name.startswith("prepared/") and name.endswith((".png", ".csv"))]
    assert len(same) > 60
    for name in same:
        assert (here / name).read_bytes() == (cluster / name).read_bytes(), name
    identities = [read_json(folder / RUNS / "seed-1" / "run.json")["identity"] for folder in (here, cluster)]
    assert identities[0] == identities[1]
    assert read_json(cluster / RUNS / "seed-1" / "run.json")["information"]["machine"]["threads"] == "1"


def test_a_worker_that_always_dies_ends_its_job_and_an_error_comes_as_it_was(ray_engine, tmp_path):
    from tramtrack.training.loop import Diverged

    error = Diverged("the loss is nan in epoch 1, batch 1")
    jobs = [
        Job("dies", str(tmp_path / "count"), [[Task("mortal", worker_tasks.die_until, (99,))]]),
        Job("raises", None, [[Task("boom", worker_tasks.fail_at, (error,))]]),
        Job("works", "shared", [[Task("one", worker_tasks.place_of, ("1",))]]),
    ]
    outcomes = {job.name: outcome for job, outcome in ray_engine.run(jobs)}
    assert outcomes["works"] == [("cpu", 1, "shared", "1")]
    assert isinstance(outcomes["raises"], Failure) and isinstance(outcomes["raises"].error, Diverged)
    assert isinstance(outcomes["dies"].error, WorkerDied)
    assert f"in each of {TRIES} tries" in str(outcomes["dies"].error)
    assert (tmp_path / "count").stat().st_size == TRIES


def test_what_no_machine_has_is_refused(ray_engine):
    from tramtrack.engine.ray import Ray

    with pytest.raises(UsageError, match=r"no machine of the cluster has the 3 CPUs and 0 GPUs .* 2 CPUs and 0 GPUs"):
        Ray("auto", cpus=3)
    with pytest.raises(UsageError, match="the 1 CPUs and 1 GPUs"):
        Ray("cuda", cpus=1)
    with pytest.raises(UsageError, match="Ray says which GPU a run gets"):
        Ray("cuda:1", cpus=1)
    with pytest.raises(UsageError, match="not with --device cpu"):
        Ray("cpu", cpus=1, gpus=1)
