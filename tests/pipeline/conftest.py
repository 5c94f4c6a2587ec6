"""A tiny synthetic cohort and a command line, for tests that walk the whole pipe."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest
from filelock import FileLock

from tramtrack.cli import main
from tramtrack.phantom.cohort import write_cohort
from tramtrack.phantom.settings import PhantomSettings

TINY_PROTOCOL = """
name = "tiny"

[split]
training = 0.4
validation = 0.3
test = 0.3
training_prevalence = 0.6

[prepare]
height = 64
width = 48

[transfer]
widths = [16, 8]

[training]
epochs = 3
patience = 0
batch_size = 8

[evaluation]
resamples = 200

[explain]
views_of_each_kind = 1
"""

TWO_THREADS = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
"""Equality to the byte is promised for one number of threads (docs/explanation/pipe.md); two, so that an order can differ."""


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that ``make`` fills, by the first of the processes that run the tests; the others wait for it and share it."""
    top = factory.getbasetemp()
    top = top.parent if os.environ.get("PYTEST_XDIST_WORKER") else top
    folder, done = top / name, top / f"{name}.made"
    with FileLock(top / f"{name}.lock"):
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def tiny_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 synthetic women, half with BAC, at 1 mm pixels: dicom/, masks/, labels.csv. Not to be written into."""
    settings = PhantomSettings(rows=256, columns=192, pitch_mm=1.0)

    def make(folder: Path) -> None:
        write_cohort(folder / "cohort", women=20, prevalence=0.5, seed=7, workers=1, settings=settings)

    return made_once(tmp_path_factory, "tiny", make) / "cohort"


@pytest.fixture(scope="session")
def tiny_protocol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A protocol that trains in seconds."""
    path = tmp_path_factory.mktemp("protocol") / "tiny.toml"
    path.write_text(TINY_PROTOCOL)
    return path


@pytest.fixture(scope="session")
def ingested(tiny_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study folder with the tiny cohort ingested; copy it before writing into it."""

    def make(folder: Path) -> None:
        done = command("ingest", tiny_cohort / "dicom", "--labels", tiny_cohort / "labels.csv", "--study", folder / "study")
        assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "ingested", make) / "study"


@pytest.fixture(scope="session")
def random_run(ingested: Path, tiny_protocol: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The only run of its study: MobileNetV2 from random weights. Not to be written into."""

    def make(folder: Path) -> None:
        study = folder / "study"
        shutil.copytree(ingested, study)
        train = ("train", "--networks", "mobilenetv2", "--weights", "random")
        for verb, *more in (("split",), ("prepare", "--processes", 1), train):
            done = command(verb, study, "--protocol", tiny_protocol, *more)
            assert done.returncode == 0, done.stderr

    (run,) = made_once(tmp_path_factory, "random-run", make).glob("study/runs/mobilenetv2/*/seed-0")
    return run


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """What ``tramtrack`` does with these words, in this process, where everything is imported: exit code, output and errors."""
    words = ["tramtrack", *map(str, arguments)]
    output, errors, on_interrupt = io.StringIO(), io.StringIO(), signal.getsignal(signal.SIGINT)
    with (
        patch.object(sys, "argv", words),
        patch.dict(os.environ, {"COLUMNS": "160"}),
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            signal.signal(signal.SIGINT, on_interrupt)
    return subprocess.CompletedProcess(words, code, output.getvalue(), errors.getvalue())


def command_apart(*arguments: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own, on two threads: where bytes are compared."""
    words = [sys.executable, "-m", "tramtrack.cli", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "160", **TWO_THREADS}
    return subprocess.run(words, capture_output=True, text=True, timeout=timeout, env=environment, check=False)


@pytest.fixture(scope="session", name="command")
def command_fixture() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command line as a function."""
    return command


@pytest.fixture(scope="session", name="command_apart")
def command_apart_fixture() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command line as a function that starts a process."""
    return command_apart
