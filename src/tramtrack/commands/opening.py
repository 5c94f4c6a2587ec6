"""The study that a verb is about, as its options describe it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tramtrack.errors import UsageError

if TYPE_CHECKING:
    from tramtrack.study import Study


def open_study(
    folder: Path,
    protocol: str | None = None,
    device: str = "auto",
    engine: Any = None,
    factors: list[str] | None = None,
    repeats: int | None = None,
) -> Study:
    """The study in ``folder``; ``factors`` as on the command line. Raises UsageError."""
    from tramtrack.protocol import Factors
    from tramtrack.study import Study

    crossed = Factors.from_texts(factors) if factors else None
    return Study(folder, protocol, device=device, engine=engine, factors=crossed, repeats=repeats)


def spread_study(
    folder: Path,
    protocol: str | None,
    device: str,
    engine: str,
    cpus_per_run: int | None,
    gpus_per_run: float | None,
    factors: list[str] | None,
    repeats: int | None = None,
) -> Study:
    """A study on an engine. With Ray the device is the cluster's; this machine, which only evaluates, may have another.

    Raises UsageError as `open_study` and `Ray` do, and where a run's share of a cluster is asked for without one.
    """
    if engine == "local":
        for option, value in (("--cpus-per-run", cpus_per_run), ("--gpus-per-run", gpus_per_run)):
            if value is not None:
                raise UsageError(f"{option} {value:g}: what a run asks of a cluster; it goes with --engine ray")
        return open_study(folder, protocol, device, None, factors, repeats)
    from tramtrack.engine.ray import CPUS_PER_RUN, Ray

    cluster = Ray(device, cpus_per_run or CPUS_PER_RUN, gpus_per_run)
    return open_study(folder, protocol, "cpu" if device == "cpu" else "auto", cluster, factors, repeats)
