"""A multipart body, written to disk as it comes in: of any upload no more than one chunk is in memory."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from io import BufferedWriter
from pathlib import Path
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from tramtrack import store
from tramtrack.service.archive import kind_of, place, unpack
from tramtrack.service.jobs import Received
from tramtrack.service.limits import MIB, Limits, Refused

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELD = "files"
HEADERS_A_PART, HEADER_BYTES = 8, 4096
EXPECTED = f"multipart/form-data with one or more files in the field {FIELD!r}"


async def receive(headers: Mapping[str, str], stream: AsyncIterator[bytes], folder: Path, limits: Limits) -> list[Received]:
    """Write the files of an upload into ``folder``/exam; ``headers`` are the request's, ``stream`` its body.

    Files are named 0001.dcm, 0002.dcm, ... in the order in which they came or stand in the zip; names given by the client
    are dropped. Raises Refused, and then has left files behind in ``folder``.
    """
    boundary = _boundary(headers)
    said = headers.get("content-length", "")
    if said.isdecimal() and int(said) > limits.upload_bytes:
        raise _too_large(limits)
    parts = _Parts(folder, limits.files)
    try:
        parser = MultipartParser(boundary, parts.callbacks(), max_header_count=HEADERS_A_PART, max_header_size=HEADER_BYTES)
        received = 0
        async for chunk in stream:
            received += len(chunk)
            if received > limits.upload_bytes:
                raise _too_large(limits)
            await run_in_threadpool(parser.write, chunk)
        parser.finalize()
    except FormParserError as error:
        raise Refused(422, f"the body is not what its content type says: expected {EXPECTED}") from error
    finally:
        parts.close()
    if not parts.ended:
        raise Refused(422, f"the body breaks off: expected {EXPECTED}")
    if not parts.files:
        raise Refused(422, f"no file: expected {EXPECTED}")
    return await run_in_threadpool(_lay_out, parts.files, folder, limits)


def _boundary(headers: Mapping[str, str]) -> bytes:
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(415, f"content encoding: expected none, the body as it is; {EXPECTED}")
    kind, options = parse_options_header(headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise Refused(415, f"content type: expected {EXPECTED}")
    return options[b"boundary"]


def _too_large(limits: Limits) -> Refused:
    return Refused(413, f"the upload is too large: at most {limits.upload_bytes / MIB:,.0f} MiB are taken; send one exam alone")


def _lay_out(files: list[Path], folder: Path, limits: Limits) -> list[Received]:
    exam = folder / "exam"
    exam.mkdir()
    if len(files) == 1 and kind_of(files[0]) == "zip":
        placed = unpack(files[0], exam, limits)
        files[0].unlink()
    else:
        placed = [place(file, exam, number) for number, file in enumerate(files, start=1)]
    return [Received(name=file.name, bytes=file.stat().st_size, sha256=store.file_sha256(file)) for file in placed]


class _Parts:
    """What the parser calls: each file part goes to a file of its own, anything else is refused."""

    def __init__(self, folder: Path, most: int) -> None:
        self.files: list[Path] = []
        self.ended = False
        self._folder, self._most = folder, most
        self._stream: BufferedWriter | None = None
        self._name, self._value = bytearray(), bytearray()
        self._disposition = b""

    def callbacks(self) -> MultipartCallbacks:
        """What the parser calls as it meets each piece of a body."""
        return {
            "on_part_begin": self._part_begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def _part_begin(self) -> None:
        self._disposition = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if options.get(b"name") != FIELD.encode() or b"filename" not in options:
            raise Refused(422, f"a field that is no file, or has another name: expected {EXPECTED}")
        if len(self.files) == self._most:
            raise Refused(422, f"more than {self._most} files: at most so many are taken; one exam has four views")
        path = self._folder / f"{len(self.files) + 1}.part"
        self._stream = path.open("xb")
        self.files.append(path)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        assert self._stream is not None
        self._stream.write(memoryview(data)[start:end])

    def _part_end(self) -> None:
        assert self._stream is not None
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self.close()

    def _end(self) -> None:
        self.ended = True

    def close(self) -> None:
        """Close the file that is being written, if one is."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
