"""Synthetic mammograms for tests: a half ellipse of texture on black, as arrays and as DICOM files that can be bent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from scipy import ndimage

PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"


def breast_picture(rows: int = 160, columns: int = 120, seed: int = 0, chest_wall: str = "left") -> np.ndarray:
    """A picture (rows, columns), float32 in [0, 1]: a breast on the left edge (or the right), exactly 0 around it."""
    y, x = np.mgrid[:rows, :columns]
    inside = ((y - rows / 2) / (rows * 0.4)) ** 2 + (x / (columns * 0.6)) ** 2 < 1
    texture = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(rows, columns)), 2) * 0.5
    values = np.where(inside, np.clip(0.5 + texture, 0.15, 1.0), 0.0).astype(np.float32)
    return values if chest_wall == "left" else np.ascontiguousarray(values[:, ::-1])


def breast_stored(bits: int = 12, **options: Any) -> np.ndarray:
    """The same as stored values, uint16 (uint8 for 8 bits), 0 to 2**bits - 1."""
    return np.rint(breast_picture(**options) * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)


def mammogram(
    stored: np.ndarray | None = None,
    *,
    woman: str = "W1",
    exam: str = "1.2.3",
    side: str | None = "L",
    view: str | None = "CC",
    bits: int = 12,
    **tags: Any,
) -> Dataset:
    """A DICOM mammogram For Presentation with the given stored values; ``tags`` are set last, None deletes one."""
    stored = breast_stored(bits) if stored is None else stored
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = PRESENTATION
    dataset.SOPInstanceUID = generate_uid()
    dataset.Modality = "MG"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.PatientID = woman
    dataset.StudyInstanceUID = exam
    dataset.StudyDate = "20240102"
    if side:
        dataset.ImageLaterality = side
    if view:
        dataset.ViewPosition = view
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated = stored.dtype.itemsize * 8
    dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PixelData = stored.tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    return dataset


def write(dataset: Dataset, path: Path) -> Path:
    """Write a dataset as a DICOM file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_exam(folder: Path, woman: str = "W1", exam: str = "1.2.3", seed: int = 0, **tags: Any) -> list[Path]:
    """Four views of one woman, each with pixels of its own."""
    files = []
    for number, (side, view) in enumerate((("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO"))):
        stored = breast_stored(seed=seed * 4 + number, chest_wall="left" if side == "L" else "right")
        dataset = mammogram(stored, woman=woman, exam=exam, side=side, view=view, **tags)
        files.append(write(dataset, folder / f"{woman}_{side}{view}.dcm"))
    return files
