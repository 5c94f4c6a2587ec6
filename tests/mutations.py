"""Broken files for the intake: seeded mutations of good ones, and files that are built to do harm."""

from __future__ import annotations

import io
import resource
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from mammogram import breast_stored, mammogram
from tramtrack.cohort.inspect import Candidate, inspect_file

PIXEL_DATA = b"\xe0\x7f\x10\x00"


def to_bytes(dataset: pydicom.Dataset) -> bytes:
    """A dataset as the bytes of its file."""
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def good_files(real: list[Path]) -> list[bytes]:
    """Whole files to break: a synthetic view in five transfer syntaxes and 8 and 16 bits, and the given real ones."""
    files = []
    for bits in (8, 16):
        for syntax in (ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless):
            tags = {"WindowCenter": 100, "WindowWidth": 200, "ImagerPixelSpacing": [0.07, 0.07], "SOPInstanceUID": "1.2.3.4"}
            dataset = mammogram(bits=bits, **tags)
            if syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
                dataset.compress(syntax, generate_instance_uid=False)
            else:
                dataset.file_meta.TransferSyntaxUID = syntax
            files.append(to_bytes(dataset))
    return files + [path.read_bytes() for path in real]


def good_pictures() -> list[tuple[str, bytes]]:
    """(suffix, content) of whole PNG and TIFF files to break, of 8 and 16 bits, plain and compressed."""
    files = []
    ways: tuple[tuple[str, str, dict[str, str]], ...] = (
        (".png", "PNG", {}), (".tif", "TIFF", {}), (".tiff", "TIFF", {"compression": "tiff_lzw"}),
    )  # fmt: skip
    for bits in (8, 16):
        for suffix, file_format, options in ways:
            stream = io.BytesIO()
            Image.fromarray(breast_stored(bits)).save(stream, file_format, **options)
            files.append((suffix, stream.getvalue()))
    return files


def mutated(rng: np.random.Generator, whole: bytes) -> bytes:
    """One good file broken in one of nine ways, mostly in its header, where a byte means most."""
    content = bytearray(whole)
    size = len(content)
    header = max(200, content.find(PIXEL_DATA) + 64) if PIXEL_DATA in content else min(400, size)
    reach = header if rng.random() < 0.7 else size
    place = int(rng.integers(0, max(1, min(reach, size) - 8)))
    way = int(rng.integers(9))
    if way == 0:
        for index in rng.integers(0, min(reach, size), int(rng.integers(1, 40))):
            content[index] ^= 1 << int(rng.integers(8))
    elif way == 1:
        del content[place:]
    elif way == 2:
        length, other = int(rng.integers(1, 400)), int(rng.integers(0, size))
        content[place : place + length], content[other : other + length] = (
            content[other : other + length],
            content[place : place + length],
        )
    elif way == 3:
        content[place:place] = content[place : place + int(rng.integers(1, 2000))] * int(rng.integers(1, 5))
    elif way == 4:
        del content[place : place + int(rng.integers(1, 200))]
    elif way == 5:
        content[place : place + 4] = struct.pack("<I", int(rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFFE, 0x10000])))
    elif way == 6:
        content[place : place + 16] = rng.bytes(16)
    elif way == 7:
        _absurd_number(rng, content)
    else:
        vr = content.find(bytes(rng.choice([b"US", b"DS", b"CS", b"SQ", b"UI", b"LO", b"IS"])), 132)
        content[max(vr, 0) : max(vr, 0) + 2] = bytes(rng.choice([b"SQ", b"UN", b"OB", b"FD", b"AT", b"\0\0", b"DS"]))
    return bytes(content)


def _absurd_number(rng: np.random.Generator, content: bytearray) -> None:
    """Rows, Columns, bits, samples or frames that no image has."""
    tags = [(0x28, 0x10), (0x28, 0x11), (0x28, 0x100), (0x28, 0x101), (0x28, 0x102), (0x28, 0x103), (0x28, 0x02)]
    for tag in rng.permutation(len(tags))[:2]:
        found = content.find(struct.pack("<HH", *tags[tag]) + b"US\x02\x00")
        if found > 0:
            content[found + 8 : found + 10] = struct.pack("<H", int(rng.choice([0, 1, 3, 255, 32768, 65535])))


def harmful() -> dict[str, bytes]:
    """Files that are built to hang, to swell or to recurse."""
    plain = to_bytes(mammogram())
    nested = b""
    for _ in range(3000):
        nested = b"\x08\x00\x40\x11SQ\0\0" + struct.pack("<I", 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + nested
    head = plain[: plain.find(b"\x08\x00\x16\x00")]
    itself = b"\x08\x00\x40\x11SQ\0\0" + struct.pack("<I", 1 << 20) + b"\xfe\xff\x00\xe0" + struct.pack("<I", 1 << 20)
    bomb = mammogram()
    bomb.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    whole = to_bytes(bomb)
    start = 144 + struct.unpack("<I", whole[140:144])[0]
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = squeeze.compress(plain[plain.find(b"\x08\x00\x16\x00") : plain.find(PIXEL_DATA)])
    packed += squeeze.compress(PIXEL_DATA + b"OW\0\0" + struct.pack("<I", 3 << 30))
    packed += squeeze.flush(zlib.Z_FULL_FLUSH)
    block = squeeze.compress(bytes(32 << 20)) + squeeze.flush(zlib.Z_FULL_FLUSH)  # the same bytes each time
    packed += 96 * block + squeeze.flush()
    large = mammogram(Rows=60000, Columns=60000)
    wide = mammogram()
    wide.compress(JPEG2000Lossless)
    codestream = bytearray(to_bytes(wide))
    siz = codestream.find(b"\xff\x51")
    codestream[siz + 6 : siz + 14] = struct.pack(">II", 1 << 16, 1 << 16)
    png = io.BytesIO()
    Image.new("L", (20000, 20000)).save(png, "PNG")
    return {
        "nested.dcm": head + nested,
        "itself.dcm": head + itself * 50,
        "deflate-bomb.dcm": whole[:start] + packed,
        "rows.dcm": to_bytes(large),
        "codestream.dcm": bytes(codestream),
        "picture-bomb.png": png.getvalue(),
        "dicm-only.dcm": bytes(128) + b"DICM",
        "zeros.dcm": bytes(1 << 20),
    }


def write_mutations(folder: Path, number: int, seed: int, real: list[Path]) -> Iterator[Path]:
    """Write ``number`` mutated files, the same ones for the same seed, and yield their paths."""
    good = [(".dcm", content) for content in good_files(real)] + good_pictures()
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(number):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
        suffix, whole = good[int(rng.integers(len(good)))]
        path = folder / f"{index:05}{suffix}"
        path.write_bytes(mutated(rng, whole))
        yield path


def candidate(path: Path) -> Candidate:
    """The file as the intake is given it: a picture by a table that says whose it is."""
    named = {"woman": "W", "exam": "E", "side": "L", "view": "CC"} if path.suffix != ".dcm" else {}
    return Candidate(str(path), **named)


def inspect_measured(candidate: Candidate) -> dict[str, Any]:
    """`inspect_file` with its seconds and the peak of this worker's resident memory in MiB."""
    started = time.perf_counter()
    outcome = inspect_file(candidate)
    peak = _peak_mib()
    return {**outcome, "seconds": time.perf_counter() - started, "peak_mib": peak}


def small_real_file(source: Path, target: Path) -> Path:
    """A real DICOM file with its own header and a part of its own pixels, RLE: small enough to be broken thousands of times."""
    dataset = pydicom.dcmread(source)
    pixels = np.ascontiguousarray(dataset.pixel_array[::16, ::16])
    dataset.decompress()
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = pixels.tobytes()
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(target)
    return target


def _peak_mib() -> float:
    """The most memory that this process held since its program began, in MiB; getrusage would count what its parent held."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
