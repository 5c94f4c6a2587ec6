"""An image file in, the same kind of file with a tube in it out, beside its exact mask and its truth.

A DICOM file stays the image object that it was, losslessly coded, a new SOP Instance UID in a new series of the same study;
SyntheticData (0008,001C) says YES, Derivation Description (0008,2111) what was done and in which domain, and Source Image
Sequence (0008,2112) from which image. Everything else in the header, whom it names included, stays as it was. A PNG or TIFF
becomes a 16-bit PNG. The same input, settings and seed give the same bytes; another insertion is never written over.
"""

from __future__ import annotations

import io
import uuid
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGLSLossless

from tramtrack.cohort.header import spacing_mm
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.imaging.breast import NoBreast
from tramtrack.imaging.pixels import PICTURE_SUFFIXES, PixelError, decode, picture_of, read_dicom, read_stored
from tramtrack.imaging.prepare import png_bytes
from tramtrack.imaging.presentation import present
from tramtrack.phantom.grey_domain import GreyDomain, dicom_domain, picture_domain, stored_limits
from tramtrack.phantom.insertion import Inserted, Insertion, insert
from tramtrack.phantom.settings import require_folder
from tramtrack.phantom.vessel_paths import NoVessel, Survey, VesselPath, find_path, read_path, survey
from tramtrack.store import IdentityMismatch, file_sha256, read_json, write_bytes, write_json

STALE = ("IconImageSequence", "DigitalSignaturesSequence", "MACParametersSequence")
"""Attributes that describe the pixels of before."""

ASKED = ("source_sha256", "severity", "diameter_px", "path")
"""What tells two insertions of one name, kind and seed apart in their truth."""


@dataclass(frozen=True)
class Opened:
    """An image file with what an insertion needs of it.

    ``stored`` (rows, columns): stored values; those of an 8-bit picture times 257. ``picture`` float32 in [0, 1], dense bright.
    ``dataset``: the DICOM header, or None. ``spacing_mm``: or None where the file has none.
    """

    file: Path
    stored: NDArray[Any]
    picture: NDArray[np.float32]
    dataset: Dataset | None
    spacing_mm: float | None

    def domain(self, interior: NDArray[np.bool_]) -> GreyDomain:
        """What its stored values mean; ``interior`` (rows, columns) bool: the breast's interior. Raises PixelError."""
        if not interior.any():
            raise PixelError("unreadable", "expected a breast whose rim and muscle leave some of it, found none left")
        if self.dataset is None:
            return picture_domain(self.stored, interior, (0, 65535))
        return dicom_domain(self.stored, interior, self.dataset)


@dataclass(frozen=True)
class InsertedFile:
    """Where the image, its mask (8-bit PNG, 255 where calcium is visible) and its truth lie, and what the truth says."""

    image: Path
    mask: Path
    truth_file: Path
    truth: dict[str, Any]

    def __str__(self) -> str:
        faint = " of which no calcium is visible" if self.truth["mineral_px3"] and not self.truth["bac"] else ""
        what = f"{self.truth['kind']}{faint}, {self.truth['domain_label']}, {self.truth['length_px']:.0f} pixels long"
        return f"{self.image}: {what}; mask and truth beside it"


def open_image(file: Path | str) -> Opened:
    """Read a DICOM, PNG or TIFF file. Raises PixelError, or TramtrackError where it is none of these."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pydicom warns of odd values by printing them, names among them
        return _opened(Path(file))


def _opened(file: Path) -> Opened:
    if file.suffix.lower() in PICTURE_SUFFIXES:
        stored = read_stored(file)
        picture = picture_of(stored).values
        return Opened(file, stored.astype(np.uint16) * 257 if stored.dtype == np.uint8 else stored, picture, None, None)
    try:
        dataset = read_dicom(file)
    except InvalidDicomError as error:
        raise TramtrackError(f"{file}: expected a DICOM, PNG or TIFF image, found something else") from error
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        raise TramtrackError(f"{file}: expected grey values, found a colour palette")
    stored = decode(dataset, file)
    try:
        picture = present(stored, dataset).values
    except PixelError as error:
        raise PixelError(error.kind, f"{file}: {error}") from error
    return Opened(file, stored, picture, dataset, spacing_mm(dataset))


def insert_file(
    source: Path | str, out: Path | str, wanted: Insertion, path: VesselPath | Path | str | None = None
) -> InsertedFile:
    """Put a calcified artery, or its control, into an image file and write image, mask and truth into the folder ``out``.

    ``path``: where it runs, as a VesselPath or a CSV of column,row; by default a vessel is found, chosen by the seed:
    artery and control of one seed lie in the same place. ``source`` is never modified. Raises TramtrackError naming the file,
    IdentityMismatch where ``out`` has another insertion of that name and seed.
    """
    source, out = Path(source), Path(out)
    require_folder("phantom insert", out)
    if not source.is_file():
        raise UsageError(f"{source}: expected an image file, found no such file")
    opened = open_image(source)
    shape = (opened.stored.shape[0], opened.stored.shape[1])
    if isinstance(path, Path | str):
        path = read_path(Path(path), shape)
    if not isinstance(path, VesselPath | None):
        raise UsageError(f"path: expected a VesselPath (see drawn_path) or a CSV's name, received {type(path).__name__}")
    try:
        seen = survey(opened.picture)
        interior = seen.enlarged_interior(shape)
        domain = opened.domain(interior)
        if path is None:
            path = find_path(seen, np.random.default_rng(np.random.SeedSequence(wanted.seed, spawn_key=(0,))))
    except (NoBreast, NoVessel, PixelError) as error:
        raise TramtrackError(f"{source}: {error}") from error
    _require_within(seen, path, source)
    inserted = insert(opened.stored, domain, path, wanted, interior, opened.spacing_mm)
    name = f"{source.stem}_{'control' if wanted.is_control else 'bac'}_seed-{wanted.seed}"
    suffix = ".png" if opened.dataset is None else ".dcm"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # as in open_image
        content = _png(inserted) if opened.dataset is None else _dicom(opened, inserted)
    truth = {"image": f"{name}{suffix}", "source": source.name, "source_sha256": file_sha256(source), **inserted.truth}
    files = [out / f"{name}{ending}" for ending in (suffix, "_mask.png", ".json")]
    _require_none_other(files[2], truth)
    write_bytes(files[0], content)
    write_bytes(files[1], png_bytes(inserted.mask.astype(np.uint8) * 255))
    write_json(files[2], truth)
    return InsertedFile(files[0], files[1], files[2], truth)


def _require_within(seen: Survey, path: VesselPath, source: Path) -> None:
    """Raise UsageError where less than half of a path lies on the breast: its columns and rows may have been swapped."""
    within = float(seen.breast[tuple(seen.reduced(path.points).T)].mean())
    if within < 0.5:
        raise UsageError(
            f"{source}: the path: expected a path on the breast, {1 - within:.0%} of it lies beside it; "
            "give column,row in the image's own pixels"
        )


def _require_none_other(file: Path, truth: dict[str, Any]) -> None:
    """Raise IdentityMismatch where another insertion has the truth ``file``: its image or mask would be lost."""
    if file.exists():
        found = read_json(file)
        differing = [name for name in ASKED if not isinstance(found, dict) or found.get(name) != truth[name]]
        if differing:
            raise IdentityMismatch(
                f"{file}: another insertion has this name ({', '.join(differing)} differ); choose another folder or seed, "
                "or remove it"
            )


def _png(inserted: Inserted) -> bytes:
    return png_bytes(np.clip(np.rint(inserted.stored), 0, 65535).astype(np.uint16))


def _dicom(opened: Opened, inserted: Inserted) -> bytes:
    """The source's own object with the new pixels, as a file's bytes."""
    dataset = opened.dataset
    assert dataset is not None
    for name in ("SOPClassUID", "SOPInstanceUID"):
        if not dataset.get(name):
            raise TramtrackError(f"{opened.file}: expected {name}, found none; an image derived from it could not name it")
    _make_little_endian(dataset)
    limits = stored_limits(dataset)
    values = np.clip(np.rint(inserted.stored), *limits).astype(opened.stored.dtype)
    _say_what_was_done(dataset, inserted.truth)
    _put_pixels(dataset, values)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _say_what_was_done(dataset: Dataset, truth: dict[str, Any]) -> None:
    """General Image, General Reference, General Series and SOP Common modules: derived, synthetic, from which image."""
    item, purpose = Dataset(), Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
    purpose.CodeMeaning = "Source image for image processing operation"
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = Sequence([purpose])
    dataset.SourceImageSequence = Sequence([item])
    identity = "|".join(str(truth[key]) for key in ("kind", "seed", "severity", "diameter_px", "path"))
    dataset.SOPInstanceUID = _uid(str(dataset.SOPInstanceUID), identity)
    dataset.SeriesInstanceUID = _uid(str(dataset.get("SeriesInstanceUID", "")), identity)
    dataset.SyntheticData = "YES"
    dataset.DerivationDescription = (
        f"Synthetic {truth['kind']} inserted by tramtrack, seed {truth['seed']}; {truth['domain_label']}"
    )
    kind = list(dataset.get("ImageType", None) or ["ORIGINAL", "PRIMARY"])
    dataset.ImageType = ["DERIVED", *kind[1:]] if len(kind) > 1 else ["DERIVED", "PRIMARY"]
    for name in STALE:
        if name in dataset:
            delattr(dataset, name)
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.ImplementationClassUID = UID(_uid("tramtrack", "implementation"))
    meta.ImplementationVersionName = "TRAMTRACK"
    dataset.file_meta = meta


def _make_little_endian(dataset: Dataset) -> None:
    """Decode every element, so that whatever byte order it was read in, it can be written as explicit little endian."""
    was_big = dataset.original_encoding[1] is False
    for element in dataset.iterall():
        if was_big and element.VR == "OW" and element.keyword != "PixelData":
            element.value = np.frombuffer(element.value, dtype=">u2").astype("<u2").tobytes()
    dataset.set_original_encoding(False, True)


def _put_pixels(dataset: Dataset, values: NDArray[Any]) -> None:
    """Image Pixel module: grey, right-aligned; JPEG-LS Lossless, or uncompressed where the values have a sign."""
    bits = values.dtype.itemsize * 8
    if int(dataset.get("SamplesPerPixel", 1)) != 1:
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        del dataset.PlanarConfiguration
    dataset.BitsAllocated, dataset.HighBit = bits, int(dataset.BitsStored) - 1
    for name, value in (("SmallestImagePixelValue", values.min()), ("LargestImagePixelValue", values.max())):
        if name in dataset:
            dataset[name].VR = "SS" if values.dtype.kind == "i" else "US"
            dataset[name].value = int(value)
    dataset.PixelData = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
    dataset["PixelData"].VR = "OW" if bits == 16 else "OB"
    if values.dtype.kind == "u":
        dataset.compress(JPEGLSLossless, encoding_plugin="pyjpegls", generate_instance_uid=False)


def _uid(*parts: str) -> str:
    """A unique identifier that is always the same for the same ``parts``: 2.25 and a version 5 UUID (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '|'.join(parts)).int}"
