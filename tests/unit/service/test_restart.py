"""A server that is killed at any moment: what was accepted is predicted, what was computed is kept, nothing is left over."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import requests

import service_tasks
from service_tasks import NAME, said
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.prediction.worker import Worker, without_places
from tramtrack.service.jobs import Jobs, Received
from tramtrack.service.limits import Limits
from tramtrack.service.server import serve

SCRIPT = f"""
import sys
from functools import partial
from pathlib import Path
sys.path[:0] = [{str(Path(service_tasks.__file__).parent)!r}]
import service_tasks
from tramtrack.service.limits import Limits
from tramtrack.service.server import serve
assert "torch" not in sys.modules
folder, journal = sys.argv[1:]
serve(partial(service_tasks.load, journal), Path(folder), "127.0.0.1", 0, None, Limits(prediction_seconds=30))
"""


class Served:
    """A server in a process of its own."""

    def __init__(self, top: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, top / "jobs", top / "begun"], stderr=subprocess.PIPE, text=True
        )
        line = self.process.stderr.readline()
        assert line.startswith("serving on http://127.0.0.1:"), line
        self.address = line.split()[2].rstrip(",")

    def upload(self, what: str) -> str:
        return requests.post(f"{self.address}/jobs", files={"files": (f"{NAME}.dcm", said(what))}, timeout=10).json()["id"]

    def job(self, name: str) -> dict:
        return requests.get(f"{self.address}/jobs/{name}", timeout=10).json()

    def until(self, name: str, *states: str) -> dict:
        deadline = time.monotonic() + 20
        while (found := self.job(name))["state"] not in states:
            assert time.monotonic() < deadline, found
            time.sleep(0.02)
        return found


@pytest.fixture
def served(tmp_path):
    """A function that starts a server; none outlives a test that fails."""
    started = []

    def start() -> Served:
        started.append(Served(tmp_path))
        return started[-1]

    yield start
    for server in started:
        server.process.kill()
        server.process.wait()


def ended(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=10)
    return not alive


def test_a_killed_server_goes_on_and_a_stopped_one_leaves_nothing_running(served, tmp_path):
    first = served()
    done = first.upload("a")
    before = first.until(done, "done")
    running, waiting = first.upload("hang once"), first.upload("b")
    first.until(running, "running")
    processes = psutil.Process(first.process.pid).children(recursive=True)
    (tmp_path / "jobs" / "incoming" / "half").mkdir()
    first.process.kill()
    logged = first.process.communicate(timeout=30)[1]
    assert ended(processes), "the process that predicts outlived its server"

    second = served()
    assert second.job(done) == before
    again = second.until(running, "done")
    assert again["received"] < second.until(waiting, "done")["received"]
    assert (tmp_path / "begun").read_text().split() == [done, running, running, waiting]
    assert not list((tmp_path / "jobs" / "incoming").iterdir())
    assert [path.name for path in (tmp_path / "jobs" / "jobs" / running).glob("results*")] == ["results"]
    processes = psutil.Process(second.process.pid).children(recursive=True)
    second.process.terminate()
    logged += second.process.communicate(timeout=20)[1]
    assert second.process.returncode == 0 and ended(processes)
    assert f"job {running}: done after" in logged and NAME not in logged and "Traceback" not in logged


@pytest.fixture
def jobs(tmp_path):
    made = Jobs(tmp_path / "jobs", Limits())
    yield made
    made.close()


def accepted(jobs: Jobs, files: int = 1) -> str:
    with jobs.receiving() as folder:
        (folder / "exam").mkdir()
        for number in range(files):
            (folder / "exam" / f"{number}.dcm").write_bytes(b"x")
        return jobs.accept(folder, [Received(name="0.dcm", bytes=1, sha256="0" * 64)]).id


def reopened(jobs: Jobs, limits: Limits | None = None) -> Jobs:
    jobs.close()
    return Jobs(jobs._folder, limits or Limits())


def test_a_job_is_there_from_its_acceptance_and_ended_from_its_results(jobs):
    first, second = accepted(jobs), accepted(jobs)
    taken = jobs.take(0)
    assert taken.name == first
    (taken.results / "prediction.json").write_text("{}")  # and here the server is killed
    jobs = reopened(jobs)
    assert [job.state for job in jobs.newest(9)] == ["waiting", "waiting"] and not taken.results.exists()
    taken = jobs.take(0)
    assert taken.name == first
    (taken.results / "prediction.json").write_text("{}")
    jobs.finish(taken, "done", "", 1.0)
    taken.exam.mkdir()  # as if it was killed before the images went
    jobs = reopened(jobs)
    assert [(job.id, job.state) for job in jobs.newest(9)] == [(second, "waiting"), (first, "done")]
    assert jobs.get(first).results == ("prediction.json",) and not taken.exam.exists()
    jobs.close()


def test_jobs_go_when_their_time_is_over_and_not_before(jobs):
    old = accepted(jobs)
    jobs.finish(jobs.take(0), "failed", "why", 1.0)
    waiting = accepted(jobs)
    assert jobs.expire() == []
    jobs = reopened(jobs, Limits(keep=0.0))
    assert jobs.get(old).deleted == jobs.get(old).ended
    assert jobs.expire() == [old] and [job.id for job in jobs.newest(9)] == [waiting]
    assert not list((jobs._folder / "trash").iterdir())
    jobs.close()


def test_what_is_deleted_while_it_is_predicted_stays_deleted(jobs):
    name = accepted(jobs)
    taken = jobs.take(0)
    jobs.delete(name)
    jobs.finish(taken, "done", "", 1.0)
    assert not jobs.put_back(taken)
    assert jobs.newest(9) == [] and not list((jobs._folder / "jobs").iterdir())


def test_two_servers_do_not_share_a_folder_and_a_broken_job_is_named(jobs):
    with pytest.raises(TramtrackError, match="another server works here"):
        Jobs(jobs._folder, Limits())
    name = accepted(jobs)
    (jobs._folder / "jobs" / name / "job.json").write_text("{")
    with pytest.raises(TramtrackError, match=f"{name}: no job that can be read"):
        reopened(jobs)


def test_a_run_that_cannot_be_loaded_stops_the_start(tmp_path):
    with pytest.raises(TramtrackError, match="runs/a: not the weights that this run wrote"):
        Worker(service_tasks.refuse_to_load, lambda: False)
    with pytest.raises(TramtrackError, match="could not start: the process ended with code 3"):
        Worker(service_tasks.die_while_loading, lambda: False)
    with pytest.raises(UsageError, match=r"--host 0\.0\.0\.0: other machines can reach it, so a token is required"):
        serve(service_tasks.load, tmp_path / "jobs", "0.0.0.0", 0, None, Limits())
    assert not (tmp_path / "jobs").exists()


def test_a_message_names_no_place(tmp_path):
    exam = tmp_path / "exam"
    for message, told in (
        (f"{exam}: expected one exam, found 2", "exam: expected one exam, found 2"),
        (f"first: {exam}/0001.dcm: a crop", "first: 0001.dcm: a crop"),
        ("/srv/study/runs/vgg16/seed-0: not the weights", "seed-0: not the weights"),
        ("L/R and 1/2 stay", "L/R and 1/2 stay"),
    ):
        assert without_places(message, exam) == told
