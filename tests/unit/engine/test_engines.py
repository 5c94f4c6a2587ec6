"""Engines: stages in their order, results in theirs, errors as they were raised, dead workers replaced and counted."""

from __future__ import annotations

import gc
import sys
import weakref
from types import SimpleNamespace

import psutil
import pytest

import worker_tasks
from tramtrack.engine import TRIES, Failure, Job, Task, WorkerDied
from tramtrack.engine.local import Local, sendable
from tramtrack.engine.spread import spread
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.training.loop import Diverged


class Pool:
    """Workers in this process that end in the order of ``ends`` (the oldest first where it says nothing)."""

    def __init__(self, slots: int, ends: str = "") -> None:
        self.slots, self.ends, self.begun, self.most = slots, list(ends), [], 0

    def start(self, job: Job, task: Task) -> str:
        self.begun.append(task.name)
        self.outcome = {**getattr(self, "outcome", {}), task.name: task.arguments[0]}
        return task.name

    def wait(self, running):
        self.most = max(self.most, len(running))
        name = next((name for name in self.ends if name in running), running[0])
        outcome = self.outcome[name]
        return name, outcome.pop(0) if isinstance(outcome, list) else outcome


def job(name: str, *stages: str, **outcomes: object) -> Job:
    """Tasks with names of one letter; each gives its letter in capitals, or what ``outcomes`` says."""
    return Job(name, None, [[Task(one, print, (outcomes.get(one, one.upper()),)) for one in stage] for stage in stages])


def test_a_stage_begins_when_the_one_before_is_done_and_results_keep_their_order():
    pool = Pool(2, ends="bacd")
    assert [(one.name, results) for one, results in spread(pool, [job("one", "ab", "cd"), job("two", "ef")])] == [
        ("one", ["C", "D"]),
        ("two", ["E", "F"]),
    ]
    assert pool.most == 2
    assert pool.begun.index("c") > pool.begun.index("b") and set(pool.begun) == set("abcdef")


def test_a_new_job_begins_only_where_the_old_ones_leave_room():
    taken = []

    def jobs():
        for name, tasks in (("one", "ab"), ("two", "cd"), ("three", "ef")):
            taken.append(name)
            yield job(name, tasks)

    pool = Pool(3)
    outcomes = spread(pool, jobs())
    assert next(outcomes)[0].name == "one"
    assert taken == ["one", "two"] and pool.begun == list("abcd")
    assert [one.name for one, _ in outcomes] == ["two", "three"]


def test_an_error_ends_its_job_alone_and_its_other_tasks_are_not_begun():
    boom = Failure(Diverged("the loss is nan in epoch 2, batch 1"))
    pool = Pool(1)
    outcomes = {one.name: result for one, result in spread(pool, [job("one", "abc", "d", b=boom), job("two", "e")])}
    assert outcomes == {"one": boom, "two": ["E"]}
    assert pool.begun == ["a", "b", "e"]


def test_a_dead_worker_is_replaced_at_most_so_often(capsys):
    died = Failure(WorkerDied("the worker was lost"))
    pool = Pool(1)
    jobs = [job("one", "a", a=[died] * (TRIES - 1) + ["A"]), job("two", "b", b=[died] * TRIES)]
    (_, first), (_, second) = spread(pool, jobs)
    assert first == ["A"] and pool.begun == ["a"] * TRIES + ["b"] * TRIES
    assert isinstance(second, Failure) and isinstance(second.error, WorkerDied)
    assert str(second.error) == f"the worker was lost, in each of {TRIES} tries of b"
    assert f"a: the worker was lost; begun again, try 2 of {TRIES}" in capsys.readouterr().err


def test_one_device_is_this_process_and_errors_are_its_own():
    error = Diverged("the loss is nan in epoch 1, batch 1")
    place = Task("where", worker_tasks.place_of, ("name",))
    jobs = [Job("one", "shared", [[place]]), Job("two", None, [[Task("boom", worker_tasks.fail_at, (error,))], [place]])]
    assert [outcome for _, outcome in Local(["cpu"]).run(jobs)] == [[("cpu", None, "shared", "name")], Failure(error)]


def test_an_error_that_is_kept_keeps_no_network_in_memory():
    kept = []

    class Network:
        pass

    def diverge(place, shared):
        network = Network()
        kept.append(weakref.ref(network))
        try:
            raise OSError
        except OSError as cause:
            raise Diverged("the loss is nan in epoch 1, batch 1") from cause

    ((_, outcome),) = Local(["cpu"]).run([Job("one", None, [[Task("boom", diverge)]])])
    gc.collect()
    assert isinstance(outcome.error, Diverged) and kept[0]() is None


def test_several_devices_run_a_task_each_in_processes_and_outlive_a_killed_one(tmp_path, capsys):
    before = set(psutil.Process().children(recursive=True))
    counter, error = tmp_path / "count", Diverged("the loss is nan in epoch 1, batch 1")
    jobs = [
        Job("dies once", str(counter), [[Task("mortal", worker_tasks.die_until, (1,))]]),
        Job("places", "shared", [[Task("one", worker_tasks.place_of, ("1",)), Task("two", worker_tasks.place_of, ("2",))]]),
        Job("raises", None, [[Task("boom", worker_tasks.fail_at, (error,))]]),
    ]
    outcomes = {one.name: outcome for one, outcome in Local(["cpu", "cpu:0"]).run(jobs)}
    assert outcomes["dies once"] == [2]
    assert [name for *_, name in outcomes["places"]] == ["1", "2"]
    assert {device for device, *_ in outcomes["places"]} <= {"cpu", "cpu:0"}
    assert isinstance(outcomes["raises"].error, Diverged) and str(outcomes["raises"].error) == str(error)
    assert "mortal: the worker process ended with code -9; begun again, try 2 of 3" in capsys.readouterr().err
    left = set(psutil.Process().children(recursive=True)) - before
    assert not [child for child in left if "resource_tracker" not in " ".join(child.cmdline())]


def test_an_error_that_cannot_travel_travels_as_its_words():
    class Strange(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} and {two}")

    sent = sendable(Strange(1, 2))
    assert type(sent) is TramtrackError and str(sent) == "Strange: 1 and 2"
    assert isinstance(sendable(Diverged("x")), Diverged)


def test_without_ray_its_engine_is_refused_with_the_command_that_installs_it(monkeypatch):
    from tramtrack.engine.ray import Ray

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"--engine ray needs Ray.*pip install 'tramtrack\[cluster\]'"):
        Ray()


def test_a_cluster_of_another_version_is_told_in_one_line(monkeypatch):
    from tramtrack.engine.ray import Ray

    def refuse(**_options):
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n    Python: 3.9.1\n")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False, init=refuse))
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(TramtrackError) as caught:
        Ray()
    assert str(caught.value) == (
        "no Ray cluster could be reached (RAY_ADDRESS is 10.0.0.1:6379): "
        "Version mismatch: The cluster was started with: Ray: 2.9.0 Python: 3.9.1"
    )


@pytest.mark.parametrize("slots", (1, 3))
def test_no_jobs_no_work(slots):
    assert list(spread(Pool(slots), [])) == []
