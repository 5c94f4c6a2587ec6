"""Which task is begun next when several run at once: those of the jobs that began first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tramtrack.engine import TRIES, Failure, Job, Task, WorkerDied
from tramtrack.progress import announce


class Pool(Protocol):
    """Workers: ``slots`` says how many tasks may run at once."""

    @property
    def slots(self) -> int:
        """How many tasks may run at once."""
        ...

    def start(self, job: Job, task: Task) -> Any:
        """Begin a task; returns a handle of it."""
        ...

    def wait(self, running: Sequence[Any]) -> tuple[Any, Any | Failure]:
        """Wait until one of the running tasks ends; its handle, and its result or Failure (WorkerDied for a dead worker)."""
        ...


@dataclass(eq=False)
class _Course:
    """How far a job is: its stage, the tasks of it that wait or run, their results and how often each was begun."""

    job: Job
    stage: int = -1
    waiting: list[int] = field(default_factory=list)
    running: int = 0
    results: list[Any] = field(default_factory=list)
    tries: list[int] = field(default_factory=list)
    failure: Failure | None = None

    def __post_init__(self) -> None:
        self.go_on()

    def go_on(self) -> None:
        """Begin the next stage: all its tasks wait."""
        self.stage += 1
        count = len(self.job.stages[self.stage])
        self.waiting, self.results, self.tries = list(range(count)), [None] * count, [0] * count

    def take(self, number: int, outcome: Any | Failure) -> None:
        """Note how a task ended."""
        self.running -= 1
        if not isinstance(outcome, Failure):
            self.results[number] = outcome
        elif isinstance(outcome.error, WorkerDied) and self.tries[number] < TRIES and self.failure is None:
            name = self.job.stages[self.stage][number].name
            announce(f"{name}: {outcome.error}; begun again, try {self.tries[number] + 1} of {TRIES}")
            self.waiting.insert(0, number)
        else:
            if isinstance(outcome.error, WorkerDied):
                name = self.job.stages[self.stage][number].name
                outcome = Failure(WorkerDied(f"{outcome.error}, in each of {self.tries[number]} tries of {name}"))
            self.failure = self.failure or outcome
            self.waiting.clear()


def spread(pool: Pool, jobs: Iterable[Job]) -> Iterator[tuple[Job, list[Any] | Failure]]:
    """See `Engine.run`: as many tasks at once as the pool has slots, a new job only where the begun ones leave room."""
    coming = iter(jobs)
    begun: list[_Course] = []
    running: dict[Any, tuple[_Course, int]] = {}
    while True:
        while len(running) < pool.slots:
            course = next((course for course in begun if course.waiting), None)
            if course is None:
                job = next(coming, None)
                if job is None:
                    break
                begun.append(_Course(job))
                continue
            number = course.waiting.pop(0)
            course.tries[number] += 1
            course.running += 1
            running[pool.start(course.job, course.job.stages[course.stage][number])] = course, number
        if not running:
            return
        handle, outcome = pool.wait(list(running))
        course, number = running.pop(handle)
        course.take(number, outcome)
        if course.waiting or course.running:
            continue
        if course.failure is None and course.stage + 1 < len(course.job.stages):
            course.go_on()
            continue
        begun.remove(course)
        yield course.job, course.failure or course.results
