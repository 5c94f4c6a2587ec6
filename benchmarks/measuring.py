"""What the benchmarks share: a command whose whole process tree is watched, and the one JSON line at the end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Watched:
    """Wall seconds and the peak of the resident memory summed over the process tree, in MiB."""

    seconds: float
    peak_mib: float


def watch(words: Sequence[str | Path], interval: float = 0.1) -> Watched:
    """Run a command to its end, its output passed through, and watch it. Exits where the command fails."""
    started, peak = time.perf_counter(), 0.0
    process = psutil.Popen([str(word) for word in words], stdout=sys.stderr)
    while True:
        peak = max(peak, _tree_mib(process))
        try:
            code = process.wait(interval)
            break
        except psutil.TimeoutExpired:
            continue
    if code:
        raise SystemExit(f"{' '.join(map(str, words))}: exit code {code}")
    return Watched(time.perf_counter() - started, peak)


def tramtrack(*arguments: str | Path) -> list[str | Path]:
    """The command line of this environment with these arguments."""
    return [sys.executable, "-m", "tramtrack.cli", *arguments]


def finish(name: str, figure: float, unit: str, goal: float, met: bool) -> None:
    """The line that every benchmark ends with."""
    print(json.dumps({"name": name, "figure": round(figure, 4), "unit": unit, "goal": goal, "met": met}))


def processor() -> str:
    """What the figures were measured on, in a few words."""
    listing = subprocess.run(["lscpu"], capture_output=True, text=True, check=False).stdout
    model = next((line.split(":", 1)[1].strip() for line in listing.splitlines() if line.startswith("Model name")), "?")
    return f"{psutil.cpu_count()} cores, {model}"


def _tree_mib(process: psutil.Process) -> float:
    total = 0
    try:
        members = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    for member in members:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20
