"""Worker processes: results, each kind of failure, and nothing left behind."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tramtrack import workers
from tramtrack.errors import TramtrackError
from tramtrack.workers import KEEPS_MEMORY, Crew, Failure, run_each
from worker_tasks import act, pages_handed_out


def children() -> set[int]:
    """Process ids of this process's children, but multiprocessing's own resource tracker."""
    found = psutil.Process().children(recursive=True)
    return {child.pid for child in found if "resource_tracker" not in " ".join(child.cmdline())}


def test_each_unit_gives_its_result_or_its_failure() -> None:
    before = children()
    units = [
        "double:1",
        "raise:boom",
        "exit:7",
        "double:2",
        "kill",
        "unpicklable",
        "allocate:4096",
        "hang",
        "double:3",
        "threads",
    ]
    outcomes = dict(run_each(act, units, processes=2, seconds=2.0, memory_bytes=1 << 30))
    assert set(outcomes) == set(units)
    assert [outcomes[f"double:{n}"] for n in (1, 2, 3)] == [2, 4, 6]
    assert outcomes["raise:boom"] == Failure("error", "ValueError: boom")
    assert outcomes["exit:7"] == Failure("died", "the process ended with code 7")
    assert outcomes["kill"] == Failure("died", "the process ended with code -9")
    assert outcomes["unpicklable"].kind in ("died", "error")
    assert outcomes["allocate:4096"] == Failure("memory", "needed more than 1024 MiB")
    assert outcomes["hang"] == Failure("time", "took longer than 2 s")
    assert outcomes["threads"] == "1"
    assert children() == before


def test_a_crew_keeps_its_workers_between_calls_but_no_dead_or_busy_one() -> None:
    before, crew = children(), Crew()
    crew.start(act, 1, 1 << 30)
    (started,) = children() - before
    calls = [dict(run_each(act, ["pid"], processes=2, memory_bytes=1 << 30, crew=crew))["pid"] for _ in range(2)]
    assert calls == [started, started]
    assert dict(run_each(act, ["exit:3"], memory_bytes=1 << 30, crew=crew))["exit:3"].kind == "died"
    assert started not in children(), "a dead one is replaced"
    results = run_each(act, ["sleep:1", "hang"], processes=2, memory_bytes=1 << 30, crew=crew)
    assert next(results) == ("sleep:1", "slept")
    results.close()  # type: ignore[attr-defined]
    assert len(children() - before) == 1, "of two workers the busy one is not kept"
    assert dict(run_each(act, ["double:4"], memory_bytes=1 << 30, crew=crew)) == {"double:4": 8}
    (idle,) = children() - before
    psutil.Process(idle).kill()
    while psutil.Process(idle).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert dict(run_each(act, ["double:5"], memory_bytes=1 << 30, crew=crew)) == {"double:5": 10}
    assert len(children() - before) == 1
    crew.close()
    assert children() == before


def test_no_process_is_left_when_the_caller_stops_early() -> None:
    before = children()
    results = run_each(act, ["double:1", "hang", "hang "], processes=2, seconds=60.0)
    assert next(results) == ("double:1", 2)
    assert children() - before
    results.close()  # type: ignore[attr-defined]
    assert children() == before


def test_a_slow_caller_does_not_make_finished_units_late() -> None:
    outcomes = {}
    for unit, outcome in run_each(act, ["double:1", "sleep:0.3"], processes=2, seconds=1.5):
        outcomes[unit] = outcome
        time.sleep(2.0)  # longer than the limit of the unit that is being worked on meanwhile
    assert outcomes == {"double:1": 2, "sleep:0.3": "slept"}


def test_no_units_start_no_process() -> None:
    assert list(run_each(act, [])) == []


def test_a_worker_that_cannot_start_is_an_error_and_not_a_verdict_on_the_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "START_SECONDS", 0.0)
    with pytest.raises(TramtrackError, match="a worker process could not start"):
        list(run_each(act, ["double:1"]))


def test_environment_and_main_module_are_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    main = sys.modules["__main__"]
    assert list(run_each(act, ["threads"])) == [("threads", "1")]
    assert os.environ["OMP_NUM_THREADS"] == "3" and "OPENBLAS_NUM_THREADS" not in os.environ
    assert sys.modules["__main__"] is main


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library, which is not told")
def test_a_worker_keeps_the_memory_of_one_unit_for_the_next() -> None:
    pages = (20 << 20) // resource.getpagesize()
    ((_, handed_out),) = run_each(pages_handed_out, [20])
    assert handed_out < pages / 10
    assert not set(KEEPS_MEMORY) & set(os.environ)


def test_a_plain_script_needs_no_main_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from worker_tasks import act\n"
        "from tramtrack.workers import run_each\n"
        "print(list(run_each(act, ['double:21'])))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[('double:21', 42)]"), done.stderr
