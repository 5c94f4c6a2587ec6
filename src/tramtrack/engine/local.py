"""This machine: the tasks one after the other in this process, or one a device in worker processes."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

from tramtrack.engine import Failure, Job, Place, Task, WorkerDied
from tramtrack.engine.spread import spread
from tramtrack.errors import TramtrackError
from tramtrack.workers import start_process


class Local:
    """``devices`` is where tasks run: with one of them in this process, with several a task a device, in worker processes."""

    is_cluster = False

    def __init__(self, devices: Sequence[str]) -> None:
        self.devices = tuple(devices)

    @property
    def slots(self) -> int:
        """One task a device."""
        return len(self.devices)

    def on_cpus(self) -> Local:
        """This machine's process alone."""
        return Local(["cpu"])

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, list[Any] | Failure]]:
        """See `Engine.run`."""
        if len(self.devices) == 1:
            yield from _in_this_process(Place(self.devices[0]), jobs)
            return
        pool = _Processes(self.devices)
        try:
            yield from spread(pool, jobs)
        finally:
            pool.close()


def _in_this_process(place: Place, jobs: Iterable[Job]) -> Iterator[tuple[Job, list[Any] | Failure]]:
    for job in jobs:
        outcome: list[Any] | Failure = []
        try:
            for stage in job.stages:
                outcome = [task.function(place, job.shared, *task.arguments) for task in stage]
        except TramtrackError as error:  # its words are all: frames would hold a network in memory as long as it is kept
            error.__cause__ = error.__context__ = None
            outcome = Failure(error.with_traceback(None))
        except Exception as error:
            outcome = Failure(error)
        yield job, outcome


class _Processes:
    """A fresh process for each task, on a device that is free; a task is long, a process starts in seconds."""

    def __init__(self, devices: Sequence[str]) -> None:
        self.slots = len(devices)
        self._free = list(reversed(devices))
        self._running: dict[Connection, tuple[Any, str]] = {}

    def start(self, job: Job, task: Task) -> Connection:
        """See `Pool.start`; the handle is the pipe that the process answers through."""
        device = self._free.pop()
        here, there = Pipe()
        process = start_process(_serve, (task, Place(device), job.shared, there))
        there.close()
        self._running[here] = process, device
        return here

    def wait(self, running: Sequence[Connection]) -> tuple[Connection, Any | Failure]:
        """See `Pool.wait`; a dead process has closed its pipe."""
        pipe: Connection = wait(running)[0]  # type: ignore[assignment]
        process, device = self._running[pipe]
        try:
            outcome = pipe.recv()
        except (EOFError, OSError):
            process.join(5)
            outcome = Failure(WorkerDied(f"the worker process ended with code {process.exitcode}"))
        self._stop(pipe)
        self._free.append(device)
        return pipe, outcome

    def close(self) -> None:
        """End what still runs."""
        for pipe in list(self._running):
            self._stop(pipe)

    def _stop(self, pipe: Connection) -> None:
        process, _ = self._running.pop(pipe)
        process.kill()
        process.join()
        pipe.close()


def _serve(task: Task, place: Place, shared: Any, pipe: Connection) -> None:
    try:
        outcome = task.function(place, shared, *task.arguments)
    except Exception as error:
        outcome = Failure(sendable(error))
    pipe.send(outcome)


def sendable(error: Exception) -> Exception:
    """The error as it is where another process can read it, else its words."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return TramtrackError(f"{type(error).__name__}: {error}")
    return error
