"""A zip from a stranger, unpacked under limits. No name in it ever reaches the disk, a log or an answer.

What is refused, before anything is unpacked: more entries, bytes or a higher ratio than allowed, entries that overlap, links
and devices, names that are absolute, lead upwards or hold control characters, names that come twice, encryption, methods
other than stored and deflated, Zip64. While it is unpacked: an archive inside it, and bytes that are not what was declared.
Format: APPNOTE.TXT 6.3.10, sections 4.3.16 (end of central directory) and 4.3.15 (Zip64 locator).
"""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from tramtrack.service.limits import MIB, Limits, Refused

END = struct.Struct("<4s4H2LH")
"""Signature, disk, disk of the directory, entries on this disk, entries, the directory's bytes and offset, comment's length."""
LONGEST_COMMENT = 0xFFFF
ZIP64_LOCATOR, ZIP64_LOCATOR_BYTES = b"PK\x06\x07", 20
LOCAL_HEADER_BYTES = 30
DIRECTORY_BYTES_AN_ENTRY = 2048
LONGEST_NAME, LONGEST_PART = 1024, 255
SMALL = MIB
"""Bytes up to which a ratio says nothing: a few kilobytes of zeros are no bomb."""
ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
ARCHIVES = {
    **dict.fromkeys(ZIP_STARTS, "zip"),
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
    b"\x28\xb5\x2f\xfd": "zstandard",
}
PICTURES = {b"\x89PNG": ".png", b"II*\x00": ".tif", b"MM\x00*": ".tif"}
HEAD_BYTES = 512
UNFIT = 415
"""The status where what is inside a file is refused: of that the description of the service can say nothing."""


def kind_of(path: Path) -> str:
    """What a file's first bytes say: the name of a kind of archive, or ".dcm", ".png", ".tif" for what the intake may read.

    A DICOM file is known by its prefix (PS3.10 section 7.1), whatever stands in the 128 bytes before; what is nothing known
    counts as ".dcm", and the intake says why it is none.
    """
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    if head[128:132] == b"DICM":
        return ".dcm"
    for start, kind in ARCHIVES.items():
        if head.startswith(start):
            return kind
    if head[257:262] == b"ustar":
        return "tar"
    return next((suffix for start, suffix in PICTURES.items() if head.startswith(start)), ".dcm")


def place(file: Path, folder: Path, number: int) -> Path:
    """Move a received file into an exam's folder under its number; an archive is refused."""
    kind = kind_of(file)
    if not kind.startswith("."):
        raise Refused(UNFIT, f"file {number} is an archive ({kind}): expected DICOM files, or one zip of them alone")
    return file.rename(folder / f"{number:04}{kind}")


def unpack(archive: Path, folder: Path, limits: Limits) -> list[Path]:
    """Unpack a zip's files into ``folder`` as 0001.dcm, 0002.dcm, ... in the order of its directory; returns their paths.

    Raises Refused, and then has left files behind in ``folder``.
    """
    _require_small_directory(archive, limits)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
            _require_sound(entries, archive.stat().st_size, limits)
            files = [(number, entry) for number, entry in enumerate(entries, start=1) if not entry.is_dir()]
            return [
                place(_extract(opened, entry, folder / "part", number), folder, count)
                for count, (number, entry) in enumerate(files, start=1)
            ]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, struct.error) as error:
        raise Refused(UNFIT, f"the zip is broken ({type(error).__name__}): make it again and upload it again") from error


def _require_small_directory(archive: Path, limits: Limits) -> None:
    """The directory is read as a whole by zipfile, so its size is looked at first."""
    with archive.open("rb") as stream:
        size = stream.seek(0, 2)
        start = max(0, size - END.size - LONGEST_COMMENT - ZIP64_LOCATOR_BYTES)
        stream.seek(start)
        tail = stream.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < END.size:
        raise Refused(UNFIT, "the zip breaks off or is none: it has no end of directory; upload it again, whole")
    if tail[max(0, at - ZIP64_LOCATOR_BYTES) :].startswith(ZIP64_LOCATOR):
        raise Refused(UNFIT, "the zip is a Zip64: expected a plain one, which holds up to 65,535 files and 4 GiB")
    _, disk, first, here, count, directory, _, _ = END.unpack_from(tail, at)
    if disk or first or here != count:
        raise Refused(UNFIT, "the zip is one part of several: expected a whole one")
    if count > limits.files or directory > DIRECTORY_BYTES_AN_ENTRY * limits.files:
        raise Refused(UNFIT, f"the zip has {count} entries: at most {limits.files} are taken; one exam has four views")


def _require_sound(entries: Sequence[zipfile.ZipInfo], size: int, limits: Limits) -> None:
    if len(entries) > limits.files:
        raise Refused(UNFIT, f"the zip has {len(entries)} entries: at most {limits.files} are taken; one exam has four views")
    if all(entry.is_dir() for entry in entries):
        raise Refused(UNFIT, "the zip holds no file: expected the DICOM files of one exam")
    names: set[str] = set()
    for number, entry in enumerate(entries, start=1):
        problem = _problem(entry, limits.ratio)
        if not problem and entry.orig_filename in names:
            problem = "its name came before"
        names.add(entry.orig_filename)
        if problem:
            raise Refused(UNFIT, f"entry {number} of the zip is refused: {problem}")
    unpacked = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if unpacked > limits.unpacked_bytes:
        raise Refused(413, f"the zip unpacks to {unpacked / MIB:,.0f} MiB: at most {limits.unpacked_bytes / MIB:,.0f} MiB")
    if unpacked > max(SMALL, limits.ratio * packed):
        raise Refused(UNFIT, f"the zip unpacks to {unpacked / max(packed, 1):,.0f} times its size: at most {limits.ratio}")
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    ends = [entry.header_offset + LOCAL_HEADER_BYTES + entry.compress_size for entry in ordered]
    starts = [*(entry.header_offset for entry in ordered[1:]), size]
    if ordered[0].header_offset < 0 or any(end > start for end, start in zip(ends, starts, strict=True)):
        raise Refused(UNFIT, "the zip's entries overlap, or lie outside it: expected each with bytes of its own")


def _problem(entry: zipfile.ZipInfo, ratio: int) -> str:
    """Why an entry is not unpacked, or nothing."""
    form = stat.S_IFMT(entry.external_attr >> 16)
    if form not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "it is a link or a device, expected files and folders"
    if entry.flag_bits & 1:
        return "it is encrypted, expected a zip without a password"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "it is packed by another method than deflate, expected a plain zip"
    if entry.file_size > max(SMALL, ratio * entry.compress_size):
        return f"it unpacks to more than {ratio} times its size"
    return _problem_of_name(entry.orig_filename)


def _problem_of_name(name: str) -> str:
    parts = name.replace("\\", "/").split("/")
    if not name.isprintable():
        return "its name holds control characters"
    if not name or len(name) > LONGEST_NAME or max(map(len, parts)) > LONGEST_PART:
        return f"its name is empty or longer than {LONGEST_NAME} characters"
    if not parts[0] or re.match("[A-Za-z]:", name):
        return "its path is absolute, expected one below the zip's top"
    if ".." in parts:
        return "its path leads upwards (..), expected one below the zip's top"
    return ""


def _extract(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, number: int) -> Path:
    """Write one entry; zipfile stops at the declared size and compares the checksum."""
    written = 0
    with opened.open(entry) as source, path.open("wb") as target:
        while piece := source.read(MIB):
            written += len(piece)
            target.write(piece)
    if written != entry.file_size:
        raise Refused(UNFIT, f"entry {number} of the zip is refused: {written} bytes instead of {entry.file_size}")
    return path
