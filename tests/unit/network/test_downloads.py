"""Downloads against a local HTTP server: whole, broken off and taken up again, wrong hash, 404, nobody there."""

from __future__ import annotations

import hashlib
import resource
import signal
import socket
import subprocess
import sys
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from tramtrack.network import downloads
from tramtrack.network.downloads import BrokeOff, SourceFailed, WrongHash, download, read_member, wheel_member
from tramtrack.network.registry import WheelSource

CONTENT = bytes(range(256)) * 4000
FOUR_CHUNKS = 4 << 16
DOWNLOAD = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background of a shell was born to ignore it
from pathlib import Path
from tramtrack.network.downloads import download
download(sys.argv[1], Path(sys.argv[2]))
"""
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


@pytest.fixture
def bars(monkeypatch):
    """The bars that were drawn: what, total, and the positions from the first on."""
    drawn = []

    @contextmanager
    def draw(what, total, done=0):
        bar = SimpleNamespace(what=what, total=total, positions=[done])
        drawn.append(bar)
        yield bar.positions.append

    monkeypatch.setattr(downloads, "byte_bar", draw)
    return drawn


@pytest.fixture(autouse=True)
def served(server):
    server.content = CONTENT


def break_off(server, target, expected_hash: str = "") -> None:
    """A first try that stops after four chunks; the server is whole again afterwards."""
    server.break_after = FOUR_CHUNKS
    with pytest.raises(BrokeOff, match="broke off after 262,144 of 1,024,000 bytes"):
        download(f"{server.url}/file", target, expected_hash)
    server.break_after = None


def leftovers(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_download_arrives_under_its_name(server, tmp_path):
    path = download(f"{server.url}/file", tmp_path / "weights.h5", MD5)
    assert path.read_bytes() == CONTENT
    assert leftovers(tmp_path) == ["weights.h5"]


def test_a_broken_download_is_taken_up_where_it_stopped(server, tmp_path):
    server.break_after = 300_000
    with pytest.raises(SourceFailed, match="broke off"):
        download(f"{server.url}/file", tmp_path / "weights.h5", MD5)
    assert leftovers(tmp_path) == [".weights.h5.part"]
    server.break_after = None
    assert download(f"{server.url}/file", tmp_path / "weights.h5", MD5).read_bytes() == CONTENT
    start = int(server.ranges[-1].removeprefix("bytes=").rstrip("-"))
    assert 0 < start <= 300_000
    assert leftovers(tmp_path) == ["weights.h5"]


def test_a_disk_that_takes_no_more_is_told_with_the_file_and_what_came_is_gone_on_from(server, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (FOUR_CHUNKS + 100, hard)
    )  # a file that would grow larger is refused by the system
    try:
        with pytest.raises(OSError, match=r"File too large: '.*\.weights\.h5\.part'"):
            download(f"{server.url}/file", tmp_path / "weights.h5", MD5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert download(f"{server.url}/file", tmp_path / "weights.h5", MD5).read_bytes() == CONTENT
    assert int(server.ranges[-1].removeprefix("bytes=").rstrip("-")) >= FOUR_CHUNKS


def test_a_broken_download_without_hash_starts_anew(server, tmp_path):
    server.break_after = 300_000
    with pytest.raises(SourceFailed, match="broke off"):
        download(f"{server.url}/file", tmp_path / "weights.h5")
    server.break_after = None
    assert download(f"{server.url}/file", tmp_path / "weights.h5").read_bytes() == CONTENT
    assert server.ranges[-1] is None


def test_without_a_hash_the_same_strong_etag_lets_a_download_go_on(server, tmp_path, bars):
    server.etag = '"first"'
    break_off(server, tmp_path / "weights.h5")
    assert leftovers(tmp_path) == [".weights.h5.etag", ".weights.h5.part"]
    assert download(f"{server.url}/file", tmp_path / "weights.h5").read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={FOUR_CHUNKS}-"
    assert server.conditions[-1] == '"first"'
    assert leftovers(tmp_path) == ["weights.h5"]
    assert [(bar.what, bar.total, bar.positions[0], bar.positions[-1]) for bar in bars] == [
        ("fetching weights.h5", len(CONTENT), 0, FOUR_CHUNKS),
        ("fetching weights.h5", len(CONTENT), FOUR_CHUNKS, len(CONTENT)),
    ]


@pytest.mark.parametrize("ignores_if_range", [False, True])
def test_a_file_that_changed_in_between_is_fetched_anew_and_never_mixed(server, tmp_path, ignores_if_range):
    server.etag, server.ignores_if_range = '"first"', ignores_if_range
    break_off(server, tmp_path / "weights.h5")
    server.content, server.etag = CONTENT[::-1], '"second"'
    assert download(f"{server.url}/file", tmp_path / "weights.h5").read_bytes() == CONTENT[::-1]
    assert leftovers(tmp_path) == ["weights.h5"]


def test_a_weak_etag_proves_nothing(server, tmp_path):
    server.etag = 'W/"first"'
    break_off(server, tmp_path / "weights.h5")
    server.content = CONTENT[::-1]
    assert download(f"{server.url}/file", tmp_path / "weights.h5").read_bytes() == CONTENT[::-1]
    assert server.ranges == [None, None]


def test_another_range_than_the_one_asked_for_is_not_taken(server, tmp_path):
    server.etag = '"first"'
    break_off(server, tmp_path / "weights.h5")
    server.shift = 10
    download(f"{server.url}/file", tmp_path / "weights.h5")
    assert server.ranges == [None, f"bytes={FOUR_CHUNKS}-", None]


def test_a_line_that_falls_silent_broke_off(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "READ_SECONDS", 0.2)
    server.break_after, server.stall = FOUR_CHUNKS, 0.6
    with pytest.raises(BrokeOff, match=r"no answer within 0 s\); what came is kept, and the same command goes on"):
        download(f"{server.url}/file", tmp_path / "weights.h5", MD5)
    server.break_after, server.stall = None, 0.0
    assert download(f"{server.url}/file", tmp_path / "weights.h5", MD5).read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={FOUR_CHUNKS}-"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_download_that_was_killed_or_interrupted_goes_on(server, tmp_path, end):
    server.etag, server.break_after, server.stall = '"first"', FOUR_CHUNKS, 30.0
    words = [sys.executable, "-c", DOWNLOAD, f"{server.url}/file", tmp_path / "weights.h5"]
    started = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    partial = tmp_path / ".weights.h5.part"
    deadline = time.monotonic() + 60
    while not (partial.exists() and partial.stat().st_size == FOUR_CHUNKS):
        assert started.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    started.send_signal(end)
    assert started.wait(timeout=30) != 0
    server.break_after, server.stall = None, 0.0
    assert download(f"{server.url}/file", tmp_path / "weights.h5").read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={FOUR_CHUNKS}-"]
    assert leftovers(tmp_path) == ["weights.h5"]


def test_an_answer_without_a_single_byte_is_a_failed_source_and_no_break(server, tmp_path):
    server.break_after = 0
    with pytest.raises(SourceFailed, match="the server answered, and sent nothing") as failure:
        download(f"{server.url}/file", tmp_path / "weights.h5", MD5)
    assert not isinstance(failure.value, BrokeOff)


def test_a_certificate_that_is_not_accepted_is_told_from_no_network(server, tmp_path):
    with pytest.raises(SourceFailed, match=r"certificate was not accepted; .* REQUESTS_CA_BUNDLE"):
        download(f"{server.url.replace('http:', 'https:')}/file", tmp_path / "weights.h5", MD5)


def test_a_part_that_is_already_whole_is_only_checked(server, tmp_path):
    (tmp_path / ".weights.h5.part").write_bytes(CONTENT)
    assert download(f"{server.url}/file", tmp_path / "weights.h5", MD5).read_bytes() == CONTENT


def test_a_wrong_hash_is_refused_and_leaves_nothing(server, tmp_path):
    with pytest.raises(WrongHash, match=r"/file: wrong hash: expected md5 0000, received [0-9a-f]{32}"):
        download(f"{server.url}/file", tmp_path / "weights.h5", "md5:0000")
    assert leftovers(tmp_path) == []


def test_404_says_so(server, tmp_path):
    with pytest.raises(SourceFailed, match="the server answered 404"):
        download(f"{server.url}/elsewhere", tmp_path / "weights.h5", MD5)
    assert leftovers(tmp_path) == []


def test_nobody_there(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(SourceFailed, match="no connection"):
        download(f"http://127.0.0.1:{port}/file", tmp_path / "weights.h5", MD5)


def make_wheel(path, member: str, content: bytes) -> WheelSource:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return WheelSource("some-package", "1.0", digest, path.stat().st_size, "some/weights.h5", "h5", "", "MIT", "photos", "")


def test_one_member_is_read_out_of_a_wheel(tmp_path):
    path = tmp_path / "some_package-1.0-py3-none-any.whl"
    wheel = make_wheel(path, "some/weights.h5", CONTENT)
    assert read_member(path, wheel) == CONTENT
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(WrongHash, match=r"some_package-1\.0-py3-none-any\.whl: wrong hash: expected sha256"):
        read_member(path, wheel)


def test_a_wheel_without_the_member_is_refused(tmp_path):
    path = tmp_path / "some_package-1.0-py3-none-any.whl"
    with pytest.raises(SourceFailed, match=r"expected a wheel with some/weights\.h5"):
        read_member(path, make_wheel(path, "other/file", CONTENT))


def test_a_wheel_is_downloaded_by_pip_and_never_installed(tmp_path, monkeypatch, bars):
    made = tmp_path / "made.whl"
    wheel = make_wheel(made, "some/weights.h5", CONTENT)
    commands = []

    def pip(command, *, env, **_):
        commands.append(command)
        folder = command[command.index("--dest") + 1]
        Path(env["TMPDIR"], "pip-unpack").mkdir()
        Path(env["TMPDIR"], "pip-unpack", "half.whl").write_bytes(CONTENT[:1000])
        time.sleep(0.5)
        made.rename(f"{folder}/some_package-1.0-py3-none-any.whl")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(downloads.subprocess, "run", pip)
    assert wheel_member(wheel) == CONTENT
    bar = bars[0]
    assert (bar.what, bar.total) == ("fetching some-package 1.0", wheel.size)
    assert bar.positions[:2] == [0, 1000]
    assert commands[0][2:4] == ["pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "some-package==1.0"} <= set(commands[0])


@pytest.mark.parametrize(
    ("said", "reason"),
    [("WARNING: x\nERROR: No matching distribution\nx\n", "No matching distribution"), ("No module named pip\n", "No module")],
)
def test_pips_reason_is_passed_on(tmp_path, monkeypatch, said, reason):
    answer = subprocess.CompletedProcess([], 1, "", said)
    monkeypatch.setattr(downloads.subprocess, "run", lambda *_, **__: answer)
    wheel = make_wheel(tmp_path / "a.whl", "some/weights.h5", CONTENT)
    with pytest.raises(SourceFailed, match=rf"wheel some-package==1\.0: .*{reason}"):
        wheel_member(wheel)
