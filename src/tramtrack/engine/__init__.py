"""Where the units of a study run: one after the other in this process, one a GPU, or spread over a cluster.

A unit is a call that reads files and writes files, so it may run anywhere where the study's folder is at hand. Units of one
network belong together: its activations are computed before its seeds train, and removed after the last of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tramtrack.errors import TramtrackError

TRIES = 3
"""How often a task is begun before the death of its worker ends the job."""


class WorkerDied(TramtrackError):
    """The process or the machine that ran a task died, at each of its tries."""


@dataclass(frozen=True)
class Place:
    """What a task may use: a device ("cpu", "cuda:1"), and threads (None: as many as torch takes by itself)."""

    device: str
    threads: int | None = None


@dataclass(frozen=True)
class Task:
    """One call, ``function(place, job.shared, *arguments)``; function, arguments and result must be picklable."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, eq=False)
class Job:
    """Tasks in stages, none of them empty: those of a stage run in any order, the next stage begins when all are done.

    ``shared`` is what every task of the job is given; it goes to each machine once.
    """

    name: str
    shared: Any
    stages: Sequence[Sequence[Task]]


@dataclass(frozen=True)
class Failure:
    """A job that ended early: a task raised ``error`` (WorkerDied where it was never heard of again)."""

    error: Exception


class Engine(Protocol):
    """Runs jobs. ``slots``: tasks that run at the same time. ``is_cluster``: whether on other machines than this one."""

    is_cluster: bool

    @property
    def slots(self) -> int:
        """How many tasks run at the same time."""
        ...

    def on_cpus(self) -> Engine:
        """The same engine for tasks that need no GPU."""
        ...

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, list[Any] | Failure]]:
        """Yield each job as it ends, with the results of its last stage in the order of its tasks, or its Failure.

        A job is taken from ``jobs`` when there is room to begin it. A task whose worker dies is begun again, TRIES times in
        all.
        """
        ...
