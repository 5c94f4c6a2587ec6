"""Zips from strangers: what is unpacked, and every trick that is refused before a byte of it is written."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from service_tasks import said
from tramtrack.service.archive import kind_of, unpack
from tramtrack.service.limits import MIB, Limits, Refused

LIMITS = Limits(upload_bytes=MIB, unpacked_bytes=4 * MIB, files=6, ratio=100)


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these names and contents."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return stream.getvalue()


def entry(name: str, form: int = 0, **fields: int) -> zipfile.ZipInfo:
    """An entry's header with a file type of Unix."""
    made = zipfile.ZipInfo(name)
    made.create_system, made.external_attr = 3, form << 16
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def patched(content: bytes, signature: bytes, offset: int, value: bytes) -> bytes:
    """A zip with the bytes at ``offset`` of its last header of that signature replaced."""
    at = content.rfind(signature) + offset
    return content[:at] + value + content[at + len(value) :]


def unpacked(content: bytes, folder: Path, limits: Limits = LIMITS) -> list[Path]:
    """What of a zip reaches the disk."""
    archive, exam = folder / "upload.zip", folder / "exam"
    archive.write_bytes(content)
    exam.mkdir()
    return unpack(archive, exam, limits)


def test_files_are_named_by_number_and_not_by_their_names(tmp_path):
    content = zipped(
        ("disc/", b""),
        ("disc/DOE^JANE.dcm", said("one")),
        ("disc\\two", said("two")),
        ("Thumbs.db", b"x"),
        ("a.png", b"\x89PNG\r"),
    )
    found = unpacked(content, tmp_path)
    assert [path.name for path in found] == ["0001.dcm", "0002.dcm", "0003.dcm", "0004.png"]
    assert [path.read_bytes() for path in found[:2]] == [said("one"), said("two")]
    assert sorted(path.name for path in (tmp_path / "exam").iterdir()) == [path.name for path in found]


ONE, LONG = zipped(("a", b"x")), zipped(("a", b"x" * 500))
STORED = zipped(("a", b"mammogram"), method=zipfile.ZIP_STORED)
BIG = zipped(("a", bytes(2 * MIB)))
OVERLAPPING = patched(
    zipped(("a", b"x" * 50), ("b", b"x" * 50), method=zipfile.ZIP_STORED), b"PK\x01\x02", 42, struct.pack("<L", 0)
)
REFUSED = {
    "absolute": (zipped(("/etc/passwd", b"x")), 415, "entry 1 of the zip is refused: its path is absolute"),
    "drive": (zipped(("C:\\a", b"x")), 415, "its path is absolute"),
    "share": (zipped(("\\\\host\\a", b"x")), 415, "its path is absolute"),
    "upwards": (zipped(("a", b"x"), ("b/../../c", b"x")), 415, "entry 2 of the zip is refused: its path leads upwards"),
    "upwards backslash": (zipped(("b\\..\\..\\c", b"x")), 415, "its path leads upwards"),
    "link": (zipped((entry("a", stat.S_IFLNK | 0o777), b"/etc/passwd")), 415, "it is a link or a device"),
    "device": (zipped((entry("a", stat.S_IFCHR), b"")), 415, "it is a link or a device"),
    "pipe": (zipped((entry("a", stat.S_IFIFO), b"")), 415, "it is a link or a device"),
    "control characters": (zipped(("a\nb", b"x")), 415, "its name holds control characters"),
    "turned text": (zipped(("a\u202eb", b"x")), 415, "its name holds control characters"),
    "long part": (zipped(("a" * 256, b"x")), 415, "its name is empty or longer"),
    "long name": (zipped(("a/" * 600 + "b", b"x")), 415, "its name is empty or longer"),
    "twice": (zipped(("aa", b"x"), ("bb", b"y")).replace(b"bb", b"aa"), 415, "its name came before"),
    "bzip2": (zipped(("a", b"x"), method=zipfile.ZIP_BZIP2), 415, "packed by another method than deflate"),
    "lzma": (zipped(("a", b"x"), method=zipfile.ZIP_LZMA), 415, "packed by another method than deflate"),
    "encrypted": (patched(ONE, b"PK\x01\x02", 8, b"\x01\x00"), 415, "it is encrypted"),
    "ratio of an entry": (BIG, 415, "it unpacks to more than 100 times its size"),
    "ratio of all": (zipped(*((f"{n}", bytes(MIB)) for n in range(3))), 415, "times its size: at most 100"),
    "size": (zipped(*((f"{n}", bytes(MIB)) for n in range(5))), 413, "the zip unpacks to 5 MiB: at most 4 MiB"),
    "entries": (zipped(*((f"{n}", b"x") for n in range(7))), 415, "the zip has 7 entries: at most 6 are taken"),
    "folders alone": (zipped(("a/", b"")), 415, "the zip holds no file"),
    "empty": (zipped(), 415, "the zip holds no file"),
    "zip in a zip": (zipped(("a", said("x")), ("b", zipped(("c", b"x")))), 415, "file 2 is an archive (zip)"),
    "gzip in a zip": (zipped(("a", b"\x1f\x8b\x08\x00")), 415, "file 1 is an archive (gzip)"),
    "tar in a zip": (zipped(("a", bytes(257) + b"ustar")), 415, "file 1 is an archive (tar)"),
    "overlap": (OVERLAPPING, 415, "the zip's entries overlap"),
    "truncated": (zipped(("a", b"x" * 500))[:-30], 415, "the zip breaks off or is none"),
    "no zip": (b"PK\x03\x04 and nothing of it", 415, "the zip breaks off or is none"),
    "a large directory": (patched(ONE, b"PK\x05\x06", 12, struct.pack("<L", 1 << 30)), 415, "the zip has 1 entries"),
    "a part of several": (patched(ONE, b"PK\x05\x06", 4, b"\x01\x00"), 415, "one part of several"),
    "no such offset": (patched(ONE, b"PK\x05\x06", 16, struct.pack("<L", 9999)), 415, "or lie outside it"),
    "another checksum": (STORED.replace(b"mammogram", b"mammogrim"), 415, "broken"),
    "declared too small": (patched(LONG, b"PK\x01\x02", 24, struct.pack("<L", 5)), 415, "the zip is broken"),
    "declared too large": (patched(LONG, b"PK\x01\x02", 24, struct.pack("<L", 900)), 415, "the zip"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_tricks_are_refused(what, tmp_path):
    content, status, says = REFUSED[what]
    with pytest.raises(Refused, match=r"\w") as refusal:
        unpacked(content, tmp_path)
    assert refusal.value.status == status and says in str(refusal.value), str(refusal.value)
    assert "etc" not in str(refusal.value) and "\n" not in str(refusal.value)
    assert {path.parent.name for path in tmp_path.rglob("*") if path.is_file()} <= {tmp_path.name, "exam"}


def test_zip64_is_refused_even_where_the_plain_record_looks_small(tmp_path):
    content = zipped(("a", b"x"))
    at = content.rfind(b"PK\x05\x06")
    locator = b"PK\x06\x07" + bytes(16)
    with pytest.raises(Refused, match="Zip64"):
        unpacked(content[:at] + locator + content[at:], tmp_path)


def test_a_bomb_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(Refused):
        unpacked(zipped(("a", said("x")), ("b", bytes(3 * MIB))), tmp_path)
    assert not list((tmp_path / "exam").iterdir())


def test_a_dicom_file_is_one_whatever_stands_before_its_prefix(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"PK\x03\x04".ljust(128, b"\0") + b"DICM")
    assert kind_of(file) == ".dcm"
    file.write_bytes(b"PK\x03\x04")
    assert kind_of(file) == "zip"
