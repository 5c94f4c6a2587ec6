"""Worker processes with a limit on time and on memory for each unit, so that one bad file costs one file.

The standard pools wait for ever on a unit that hangs and break as a whole when a process is killed. Here a unit that
outlasts its time, outgrows its memory or kills its process comes back as a Failure, and the work goes on in a new process.

A worker never imports the caller's main module, so a plain script may call what runs workers without a
``if __name__ == "__main__"`` guard.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Literal, TypeVar

from tramtrack.errors import TramtrackError

START_SECONDS = 120.0
"""A worker that has not imported its task after this long will never do so."""

KEPT_BYTES = 1 << 30
KEEPS_MEMORY = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(KEPT_BYTES))
"""What tells glibc to keep what a unit frees for the next one. Given back and asked for anew, as large blocks otherwise are,
each page of every image is handed out and cleared again: a good part of a decoder's time. Other C libraries ignore it."""

Unit = TypeVar("Unit")


@dataclass(frozen=True)
class Failure:
    """A unit that gave no result: it outlasted its time, outgrew its memory, killed its process, or raised."""

    kind: Literal["time", "memory", "died", "error"]
    detail: str


@dataclass
class _Worker(Generic[Unit]):
    process: Any
    pipe: Connection
    deadline: float
    started: bool = False
    unit: Unit | None = None


class Crew:
    """Workers that stay between calls of `run_each`, so that a task's modules are imported once and not at every call.

    Whoever makes one ends it by `close`; with the process that made them they end anyway.
    """

    def __init__(self) -> None:
        self._idle: dict[tuple[Callable[..., Any], int], list[_Worker[Any]]] = {}

    def start(self, task: Callable[[Unit], Any], processes: int, memory_bytes: int = 3 << 30) -> None:
        """Start workers for ``task`` ahead of the first call; it does not wait for them."""
        self._idle.setdefault((task, memory_bytes), []).extend(_start(task, memory_bytes) for _ in range(processes))

    def take(self, task: Callable[[Unit], Any], memory_bytes: int) -> _Worker[Unit]:
        """A worker that is idle and alive, else a new one."""
        idle = self._idle.get((task, memory_bytes), [])
        while idle:
            worker: _Worker[Unit] = idle.pop()
            if worker.process.is_alive():
                worker.deadline = time.monotonic() + START_SECONDS
                return worker
            _stop(worker)
        return _start(task, memory_bytes)

    def give(self, worker: _Worker[Unit], task: Callable[[Unit], Any], memory_bytes: int) -> None:
        """Keep a worker that has nothing to do; end any other."""
        if worker.unit is None and worker.process.is_alive():
            self._idle.setdefault((task, memory_bytes), []).append(worker)
        else:
            _stop(worker)

    def close(self) -> None:
        """End all workers that are kept."""
        for idle in self._idle.values():
            while idle:
                _stop(idle.pop())


def run_each(
    task: Callable[[Unit], Any],
    units: Sequence[Unit],
    *,
    processes: int = 2,
    seconds: float = 60.0,
    memory_bytes: int = 3 << 30,
    crew: Crew | None = None,
) -> Iterator[tuple[Unit, Any | Failure]]:
    """Yield (unit, result or Failure) for each unit as it finishes, in no fixed order.

    ``task`` and the units must be importable and picklable by a spawned process; nothing pickled touches the disk.
    ``memory_bytes`` bounds each process's address space, ``seconds`` one unit's wall time. With a ``crew`` its workers are
    taken, and those that are whole at the end are given back to it.
    """
    waiting = list(reversed(units))
    here = crew or Crew()
    workers = [here.take(task, memory_bytes) for _ in range(min(processes, len(units)))]
    try:
        while waiting or any(worker.unit is not None for worker in workers):
            for worker in workers:
                if worker.started and worker.unit is None and waiting:
                    _hand_over(worker, waiting.pop(), seconds)
            active = [worker for worker in workers if worker.unit is not None or (waiting and not worker.started)]
            first_deadline = min(worker.deadline for worker in active)
            wait([worker.pipe for worker in active], timeout=max(0.0, first_deadline - time.monotonic()))
            for worker in active:
                # Asked anew for each worker: while another's result was looked at, this one may have finished.
                if worker.pipe.poll():
                    outcome = _receive(worker)
                elif time.monotonic() >= worker.deadline:
                    outcome = Failure("time", f"took longer than {seconds:g} s")
                else:
                    continue
                if not worker.started:
                    _require_started(worker, outcome)
                    continue
                unit, worker.unit = worker.unit, None
                if isinstance(outcome, Failure) and outcome.kind != "error":
                    _stop(worker)
                    workers[workers.index(worker)] = _start(task, memory_bytes)
                assert unit is not None
                yield unit, outcome
    finally:
        for worker in workers:
            here.give(worker, task, memory_bytes)
        if crew is None:
            here.close()


def _start(task: Callable[[Unit], Any], memory_bytes: int) -> _Worker[Unit]:
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = start_process(_serve, (task, there, memory_bytes), threads=1, environment=KEEPS_MEMORY)
    there.close()
    return _Worker(process, here, time.monotonic() + START_SECONDS)


def start_process(
    target: Callable[..., None],
    arguments: tuple[Any, ...],
    threads: int | None = None,
    environment: Mapping[str, str] | None = None,
    daemon: bool = True,
) -> Any:
    """Start a spawned process that never runs the caller's main module and leaves Ctrl-C to its parent; returns it.

    ``threads`` is what its numerical libraries are told to use, ``environment`` what its variables are beside the caller's;
    None leaves them as they are. Only one that is no ``daemon`` may start processes itself; its caller must end it.
    """
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments, daemon=daemon)
    given = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)) if threads else {}
    given |= environment or {}
    told = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")  # what a spawned process would otherwise run again
    resource_tracker.ensure_running()  # which would unblock the signal again, were it not running yet
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited: Ctrl-C is for the parent alone
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        sys.modules["__main__"] = main
        for name, value in told.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    return process


def _hand_over(worker: _Worker[Unit], unit: Unit, seconds: float) -> None:
    worker.unit = unit
    worker.deadline = time.monotonic() + seconds
    # A process that died while it waited has closed its pipe: receiving says so.
    with contextlib.suppress(ConnectionError):
        worker.pipe.send(unit)


def _receive(worker: _Worker[Unit]) -> Any | Failure:
    try:
        return worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(5)
        return Failure("died", f"the process ended with code {worker.process.exitcode}")


def _require_started(worker: _Worker[Unit], outcome: Any) -> None:
    if isinstance(outcome, Failure):
        reason = outcome.detail if outcome.kind == "died" else f"not ready after {START_SECONDS:g} s"
        raise TramtrackError(f"a worker process could not start ({reason}); free memory or use fewer processes, and run again")
    worker.started = True


def _stop(worker: _Worker[Unit]) -> None:
    worker.process.kill()
    worker.process.join()
    worker.pipe.close()


def _serve(task: Callable[[Unit], Any], pipe: Connection, memory_bytes: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = memory_bytes if most == resource.RLIM_INFINITY else min(memory_bytes, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        pipe.send("started")
    except BrokenPipeError:  # nobody waits for it any more
        return
    while True:
        try:
            unit = pipe.recv()
        except EOFError:
            return
        try:
            outcome = task(unit)
        except MemoryError:
            outcome = Failure("memory", f"needed more than {memory_bytes >> 20} MiB")
        except Exception as error:
            outcome = Failure("error", f"{type(error).__name__}: {error}")
        try:
            pipe.send(outcome)
        except ConnectionError:  # the parent is gone
            return
