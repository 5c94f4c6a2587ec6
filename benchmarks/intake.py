"""How fast the intake is: against bare decoding with the same workers, the loop that people write, and over 10,000 files.

Synthetic views at a detector's size (2560 x 1920, 12 bits) in JPEG 2000 and JPEG Lossless. All times are taken in this one run.
Options: --files of each kind, --many for the run over small files.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])  # for the workers

from measuring import finish, processor, tramtrack, watch
from tramtrack import store
from tramtrack.cohort import privacy
from tramtrack.cohort.header import read_header
from tramtrack.cohort.inspect import Candidate, inspect_file, pixels_sha256
from tramtrack.imaging.breast import find_breast
from tramtrack.imaging.burned_in import has_text
from tramtrack.imaging.pixels import decode, read_dicom
from tramtrack.imaging.prepare import png_bytes, prepare_file
from tramtrack.imaging.presentation import present
from tramtrack.imaging.similarity import perceptual_hash, thumbnail
from tramtrack.protocol import Protocol
from tramtrack.workers import Failure, run_each

MOST_OVER_DECODING = 1.5
LEAST_OVER_LOOP = 1.6
PREPARE = Protocol.load("mobini-2024").prepare


def write_views(folder: Path, number: int) -> dict[str, list[Path]]:
    """``number`` views a transfer syntax, each with pixels of its own."""
    import gdcm
    import pydicom

    from tramtrack.phantom.settings import PhantomSettings
    from tramtrack.phantom.woman import SyntheticWoman

    settings = PhantomSettings(rows=2560, columns=1920, pitch_mm=0.1, film_share=0.0)
    view = next(SyntheticWoman(np.random.SeedSequence(1), 55, False, settings).views())
    from tramtrack.phantom.dicom import ViewHeader, encode

    files: dict[str, list[Path]] = {"JPEG 2000": [], "JPEG Lossless": []}
    for index in range(number):
        pixels = np.where(view.pixels > 0, np.clip(view.pixels.astype(int) + index, 1, 4095), 0).astype(np.uint16)
        header = ViewHeader("bench", f"W{index}", 55, view.truth.side, view.truth.position, 1, 0.1, 50.0)
        plain = folder / f"{index}.dcm"
        plain.write_bytes(encode(pixels, header))
        dataset = pydicom.dcmread(plain)
        dataset.decompress(generate_instance_uid=False)
        dataset.save_as(plain)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(plain))
        reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        files["JPEG Lossless"].append(folder / f"{index}-lossless.dcm")
        writer.SetFileName(str(files["JPEG Lossless"][-1]))
        writer.Write()
        dataset.compress("1.2.840.10008.1.2.4.90", generate_instance_uid=False)
        files["JPEG 2000"].append(folder / f"{index}-2000.dcm")
        dataset.save_as(files["JPEG 2000"][-1])
        plain.unlink()
    return files


def decode_only(file: str) -> int:
    """Bare decoding: the pixels and nothing else."""
    import pydicom

    return int(pydicom.dcmread(file).pixel_array.shape[0])


def inspect_one(file: str) -> bool:
    """What the intake does with a file."""
    return "view" in inspect_file(Candidate(file))


def prepare_one(file: str) -> int:
    """What `prepare` does with a view, its PNG included."""
    content = png_bytes(prepare_file(Path(file), PREPARE, 0.1).pixels)
    store.write_bytes(Path(file).with_suffix(".png"), content)
    return store.file_sha256(Path(file).with_suffix(".png")) != ""


def loop(files: Sequence[Path]) -> float:
    """The loop that people write, in one process."""
    import cv2
    import pydicom
    from pydicom.pixels import apply_voi_lut

    started = time.perf_counter()
    for file in files:
        dataset = pydicom.dcmread(file)
        picture = apply_voi_lut(dataset.pixel_array, dataset).astype(np.float32)
        eight = cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
        _, binary = cv2.threshold(eight, 5, 255, cv2.THRESH_BINARY)
        contours, _ = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        x, y, width, height = cv2.boundingRect(max(contours, key=cv2.contourArea))
        crop = cv2.normalize(picture[y : y + height, x : x + width], None, 0, 65535, cv2.NORM_MINMAX)
        scaled = cv2.resize(crop, (PREPARE.width, PREPARE.height), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(file.with_suffix(".loop.png")), scaled.astype(np.uint16))
    return time.perf_counter() - started


def workers(task: Callable[[str], Any], files: Sequence[Path]) -> float:
    """Seconds of two warm workers: the time from the first result to the last, scaled to all files."""
    moments = []
    for unit, result in run_each(task, [str(file) for file in files], processes=2, seconds=120.0, memory_bytes=2 << 30):
        if isinstance(result, Failure):
            raise SystemExit(f"{unit}: {result.detail}")
        moments.append(time.perf_counter())
    return (moments[-1] - moments[1]) * len(files) / (len(files) - 2)


def shares(file: Path) -> dict[str, float]:
    """Seconds of each step of the intake on one file."""
    marks = [("", time.perf_counter())]

    def mark(name: str) -> None:
        marks.append((name, time.perf_counter()))

    header = read_dicom(file, stop_before_pixels=True)
    privacy.identifying(header, str(file))
    read_header(header)
    mark("header")
    dataset = read_dicom(file)
    stored = decode(dataset, file)
    mark("decoding")
    picture = present(stored, dataset).values
    mark("grey values")
    breast = find_breast(picture)
    mark("breast")
    store.file_sha256(file)
    pixels_sha256(stored)
    mark("hashes")
    has_text(picture, breast.mask)
    mark("text")
    perceptual_hash(thumbnail(picture, breast))
    mark("look-alikes")
    return {name: moment - before for (_, before), (name, moment) in itertools.pairwise(marks)}


def many(folder: Path, number: int) -> tuple[float, float, float]:
    """Seconds and peak MiB of an ingest over ``number`` small files, and seconds of a second one."""
    from pydicom.uid import generate_uid

    source = folder / f"many-{number}"
    source.mkdir()
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from mammogram import breast_stored, mammogram, write

    stored = breast_stored()
    for index in range(number):
        pixels = stored.copy()
        pixels[80, 10], pixels[81, 10] = divmod(index, 4000)
        write(mammogram(pixels, woman=f"W{index}", exam=str(generate_uid())), source / f"{index}.dcm")
    command = tramtrack("ingest", source, "--study", folder / f"study-{number}")
    first, second = watch(command), watch(command)
    return first.seconds, first.peak_mib, second.seconds


def main() -> None:
    """Print every time, ratio and share, and the one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--many", type=int, default=10_000)
    options = parser.parse_args()
    print(processor())
    over_decoding, over_loop = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for syntax, files in write_views(folder, options.files).items():
            bare, intake, prepared = (workers(task, files) for task in (decode_only, inspect_one, prepare_one))
            written = loop(files)
            over_decoding.append(intake / bare)
            over_loop.append(written / prepared)
            print(
                f"{syntax}: {len(files)} files; bare decoding {bare:.2f} s, intake {intake:.2f} s ({intake / bare:.2f} times), "
                f"prepare {prepared:.2f} s; loop in one process {written:.2f} s: {written / prepared:.2f} times prepare, "
                f"{written / (intake + prepared):.2f} times both"
            )
            steps = shares(files[0])
            print("  " + ", ".join(f"{step} {100 * took / sum(steps.values()):.0f} %" for step, took in steps.items()))
        if options.many:
            fewer, more = (many(folder, number) for number in (options.many // 4, options.many))
            print(
                f"small files: {options.many // 4} in {fewer[0]:.1f} s, {options.many} in {more[0]:.1f} s; a second time "
                f"{more[2]:.1f} s; peak {fewer[1]:.0f} and {more[1]:.0f} MiB"
            )
    met = max(over_decoding) <= MOST_OVER_DECODING and min(over_loop) >= LEAST_OVER_LOOP
    print(f"goals: at most {MOST_OVER_DECODING} times bare decoding, the loop at least {LEAST_OVER_LOOP} times prepare")
    finish("intake", max(over_decoding), "times bare decoding, the slower transfer syntax", MOST_OVER_DECODING, met)


if __name__ == "__main__":
    import intake  # by its name: what workers are given must be importable

    intake.main()
