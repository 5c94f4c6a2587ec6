"""Progress bars with an estimate of the time left, silent where nobody watches, and what is said before long work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

Item = TypeVar("Item")


@contextmanager
def progress_bar(what: str, total: int | None, done: int = 0) -> Iterator[Callable[[], None]]:
    """A function to call after each unit of ``total``; ``done`` units were finished by an earlier run.

    On a terminal a bar with the time left is drawn; elsewhere (a log file, a test) nothing is.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total, completed=done)
        yield lambda: bar.advance(task)


@contextmanager
def byte_bar(what: str, total: int | None, done: int = 0) -> Iterator[Callable[[int], None]]:
    """A function to call with the bytes there so far, of ``total``; ``done`` came earlier. Drawn on a terminal only."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total, completed=done)
        yield lambda there: bar.update(task, completed=there)


def track(items: Iterable[Item], what: str, total: int | None = None, done: int = 0) -> Iterator[Item]:
    """Yield ``items`` under a progress bar; ``total`` counts all units of the work (default: as many as there are items)."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress_bar(what, total, done) as advance:
        for item in items:
            yield item
            advance()


def announce(text: str) -> None:
    """A line on standard error: what a long stage is about to do or to take."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)
