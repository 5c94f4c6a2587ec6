"""Multipart bodies: written to disk as they come, refused as soon as they are too much, broken ones named."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from service_tasks import said
from tramtrack.service.limits import MIB, Limits, Refused
from tramtrack.service.upload import receive

LIMITS = Limits(upload_bytes=64 * MIB, unpacked_bytes=64 * MIB, files=3)
HEADERS = {"content-type": "multipart/form-data; boundary=edge"}


def part(content: bytes, disposition: str = 'form-data; name="files"; filename="DOE.dcm"', more: str = "") -> bytes:
    """One part of a body."""
    return f"--edge\r\nContent-Disposition: {disposition}\r\n{more}\r\n".encode() + content + b"\r\n"


END = b"--edge--\r\n"


def received(chunks: Iterable[bytes], folder: Path, limits: Limits = LIMITS, **headers: str):
    """What of a body that comes in these chunks is kept."""

    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return asyncio.run(receive({**HEADERS, **headers}, stream(), folder, limits))


def test_files_are_kept_in_their_order_however_the_body_is_cut(tmp_path):
    body = part(said("one")) + part(said("two")) + END
    for size in (1, 7, len(body)):
        folder = tmp_path / str(size)
        folder.mkdir()
        files = received((body[at : at + size] for at in range(0, len(body), size)), folder)
        assert [file.name for file in files] == ["0001.dcm", "0002.dcm"]
        assert [(folder / "exam" / file.name).read_bytes() for file in files] == [said("one"), said("two")]
        assert sorted(path.name for path in folder.iterdir()) == ["exam"]


def test_a_large_upload_is_never_in_memory(tmp_path):
    piece = bytes(MIB)
    chunks = (chunk for chunk in (part(b"")[:-2], *([piece] * 48), b"\r\n" + END))
    tracemalloc.start()
    (file,) = received(chunks, tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert file.bytes == 48 * MIB and peak < 6 * MIB


@pytest.mark.parametrize(
    ("body", "headers", "status", "says"),
    [
        (part(b"x") + END, {"content-type": "application/zip"}, 415, "content type: expected multipart"),
        (part(b"x") + END, {"content-type": "multipart/form-data"}, 415, "content type: expected multipart"),
        (part(b"x") + END, {"content-encoding": "gzip"}, 415, "content encoding: expected none"),
        (b"no multipart at all", {}, 422, "the body is not what its content type says"),
        (b"", {}, 422, "the body breaks off"),
        (part(b"x"), {}, 422, "the body breaks off"),
        (END, {}, 422, "no file"),
        (part(b"x", 'form-data; name="other"; filename="a"') + END, {}, 422, "a field that is no file, or has another name"),
        (part(b"x", 'form-data; name="files"') + END, {}, 422, "a field that is no file, or has another name"),
        (part(b"x", "attachment") + END, {}, 422, "a field that is no file, or has another name"),
        (part(b"x", more="X: " + "y" * 5000 + "\r\n") + END, {}, 422, "the body is not what"),
        (part(b"x", more="X: y\r\n" * 20) + END, {}, 422, "the body is not what"),
        (part(b"x") * 4 + END, {}, 422, "more than 3 files"),
        (part(said("x")) + part(b"PK\x03\x04") + END, {}, 415, "file 2 is an archive (zip)"),
        (b"", {"content-length": str(65 * MIB)}, 413, "the upload is too large: at most 64 MiB"),
    ],
)
def test_bodies_that_are_refused(tmp_path, body, headers, status, says):
    with pytest.raises(Refused) as refusal:
        received([body] if body else [], tmp_path, **headers)
    assert refusal.value.status == status and str(refusal.value).startswith(says), str(refusal.value)


def test_a_body_that_is_longer_than_it_said_is_cut_off(tmp_path):
    taken = []

    def endless() -> Iterable[bytes]:
        yield part(b"")[:-2]
        while True:
            taken.append(1)
            yield bytes(MIB)

    with pytest.raises(Refused, match="too large"):
        received(endless(), tmp_path, **{"content-length": "100"})
    assert len(taken) == 64
