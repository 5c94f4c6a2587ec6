"""A Ray cluster: as many tasks at once as it has room for; a task whose worker or machine dies is begun elsewhere.

Needs the extra ``cluster``. The study's folder must lie where every machine of the cluster finds it under the same path, and
tramtrack must be installed there. Without an address (RAY_ADDRESS) and without a cluster on this machine, one is started
here for as long as the command runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from tramtrack.engine import Failure, Job, Place, Task, WorkerDied
from tramtrack.engine.local import sendable
from tramtrack.engine.spread import spread
from tramtrack.errors import TramtrackError, UsageError

CPUS_PER_RUN = 2
"""The same on every cluster, because the number of threads is part of what makes two runs equal to the bit."""


class Ray:
    """Each task asks for ``cpus`` CPUs (it runs on as many threads) and ``gpus`` GPUs (shares of one are allowed).

    ``gpus`` None is one GPU where ``device`` is "auto" and the cluster has one, or where it is "cuda"; else none. Raises
    UsageError where Ray is not installed or no machine of the cluster has what a task asks for.
    """

    is_cluster = True

    def __init__(self, device: str = "auto", cpus: int = CPUS_PER_RUN, gpus: float | None = None) -> None:
        self._ray = connect()
        machines = self._machines()
        if device.startswith("cuda:"):
            raise UsageError(f"--device {device}: with --engine ray, Ray says which GPU a run gets; use auto, cpu or cuda")
        if device == "cpu" and gpus:
            raise UsageError(f"--gpus-per-run {gpus:g}: not with --device cpu; leave one of the two out")
        if gpus is None:
            has_gpu = any(machine.get("GPU", 0) >= 1 for machine in machines)
            gpus = 1.0 if device == "cuda" or (device == "auto" and has_gpu) else 0.0
        self._cpus, self._gpus = cpus, gpus
        if not self.slots:
            there = "; ".join(f"{machine.get('CPU', 0):g} CPUs and {machine.get('GPU', 0):g} GPUs" for machine in machines)
            raise UsageError(
                f"no machine of the cluster has the {cpus} CPUs and {gpus:g} GPUs that each run asks for (they have: {there}); "
                "ask for less with --cpus-per-run and --gpus-per-run"
            )

    @property
    def slots(self) -> int:
        """Tasks that the machines now in the cluster can hold together."""
        return sum(
            min(int(machine.get("CPU", 0) // self._cpus), int(machine.get("GPU", 0) / self._gpus) if self._gpus else 1 << 30)
            for machine in self._machines()
        )

    def on_cpus(self) -> Ray:
        """The same cluster for tasks that need no GPU."""
        return Ray("cpu", self._cpus)

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, list[Any] | Failure]]:
        """See `Engine.run`."""
        pool = _Cluster(self)
        try:
            yield from spread(pool, jobs)
        finally:
            pool.close()

    def _machines(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]


class _Cluster:
    """The cluster as `spread` sees it."""

    def __init__(self, engine: Ray) -> None:
        self._engine, self._ray = engine, engine._ray
        self._place = Place("cuda" if engine._gpus else "cpu", engine._cpus)
        self._running: set[Any] = set()
        self._shared: WeakKeyDictionary[Job, Any] = WeakKeyDictionary()

    @property
    def slots(self) -> int:
        """See `Pool.slots`; never 0: where machines are lost for a while, Ray holds a task until one is there again."""
        return max(1, self._engine.slots)

    def start(self, job: Job, task: Task) -> Any:
        """See `Pool.start`; what the job's tasks share lies in Ray's store once, as long as the job."""
        if job not in self._shared:
            self._shared[job] = self._ray.put(job.shared)
        wanted = {"num_cpus": self._engine._cpus, "num_gpus": self._engine._gpus, "max_retries": 0}
        remote = self._ray.remote(_execute).options(name=task.name, scheduling_strategy="SPREAD", **wanted)
        handle = remote.remote(task, self._place, self._shared[job])
        self._running.add(handle)
        return handle

    def wait(self, running: Sequence[Any]) -> tuple[Any, Any | Failure]:
        """See `Pool.wait`."""
        (handle,), _ = self._ray.wait(list(running), num_returns=1)
        self._running.discard(handle)
        try:
            return handle, self._ray.get(handle)
        except self._ray.exceptions.RayTaskError as error:  # before the task itself began: it could not be unpacked
            return handle, Failure(TramtrackError(f"a worker could not begin: {str(error).strip().splitlines()[-1]}"))
        except self._ray.exceptions.RayError as error:
            first = str(error).strip().splitlines()[0].rstrip(".")
            return handle, Failure(WorkerDied(f"the worker was lost ({type(error).__name__}: {first})"))

    def close(self) -> None:
        """End what still runs."""
        for handle in self._running:
            self._ray.cancel(handle, force=True)


def connect() -> Any:
    """The module ``ray``, connected to its cluster. Raises UsageError where it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anyone from a hospital's machine
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray needs Ray, which is not installed: pip install 'tramtrack[cluster]'") from error
    if not ray.is_initialized():
        try:
            ray.init(include_dashboard=False, logging_level="ERROR")
        except (ConnectionError, ValueError, RuntimeError) as error:  # the last for another version of Ray or Python there
            address = os.environ.get("RAY_ADDRESS", "not set")
            words = " ".join(str(error).split())
            raise TramtrackError(f"no Ray cluster could be reached (RAY_ADDRESS is {address}): {words}") from error
    return ray


def _execute(task: Task, place: Place, shared: Any) -> Any | Failure:
    try:
        return task.function(place, shared, *task.arguments)
    except Exception as error:
        return Failure(sendable(error))
