"""How fast the intake is: against bare decoding with the same workers, the loop that people write, and over 10,000 files.

Synthetic views at a detector's size (2560 x 1920, 12 bits) in JPEG 2000 and JPEG Lossless. Bare decoding, the look at each
file, one pass (the look and the prepared PNG, as under a stated protocol) and the loop take turns in this one run; of each
the fastest turn counts. Against bare decoding, which each worker does alone as well, the seconds of processor are compared,
since other programs on the machine do not lengthen them; against the loop, those on the clock. Options: --files of each
kind, --turns, --many for the run over small files.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])  # for the workers

from measuring import finish, processor, tramtrack, watch
from tramtrack import store
from tramtrack.cohort import privacy
from tramtrack.cohort.header import read_header
from tramtrack.cohort.inspect import Candidate, inspect_file, pixels_sha256
from tramtrack.imaging import ahead
from tramtrack.imaging.breast import find_breast
from tramtrack.imaging.burned_in import has_text
from tramtrack.imaging.pixels import PLUGINS, decode, read_dicom
from tramtrack.imaging.prepare import png_bytes, prepare_breast
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


def decode_only(file: str) -> float:
    """Bare decoding: the pixels and nothing else, by the decoder that the intake takes. Seconds of processor."""
    import pydicom
    from pydicom.pixels import pixel_array

    started = time.process_time()
    dataset = pydicom.dcmread(file)
    pixel_array(dataset, decoding_plugin=PLUGINS.get(dataset.file_meta.TransferSyntaxUID, ""))
    return time.process_time() - started


def look(file: str) -> float:
    """What the intake does with a file where no protocol is stated yet. Seconds of processor."""
    return _inspected(Candidate(file))


def one_pass(file: str) -> float:
    """What the intake does with a file under a stated protocol: the prepared PNG as well. Seconds of processor."""
    return _inspected(Candidate(file, prepare=PREPARE, ahead=str(Path(file).parent / "ahead")))


def _inspected(candidate: Candidate) -> float:
    started = time.process_time()
    if "view" not in inspect_file(candidate):
        raise SystemExit(f"{candidate.file}: expected a view")
    return time.process_time() - started


def take_over(files: Sequence[Path]) -> float:
    """Seconds that `prepare` then needs to take over what the one pass has prepared."""
    started = time.perf_counter()
    for file in files:
        target = file.with_suffix(".png")
        if ahead.take(file.parent / "ahead", store.file_sha256(file), PREPARE, 0.1, target) is None:
            raise SystemExit(f"{file}: was not prepared in the one pass")
    return time.perf_counter() - started


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


def workers(task: Callable[[str], float], files: Sequence[Path]) -> tuple[float, float]:
    """Seconds that two warm workers take over ``files`` on the clock (from the second result on), and of processor."""
    moments, busy = [], []
    for unit, result in run_each(task, [str(file) for file in files], processes=2, seconds=120.0, memory_bytes=2 << 30):
        if isinstance(result, Failure):
            raise SystemExit(f"{unit}: {result.detail}")
        moments.append(time.perf_counter())
        busy.append(result)
    after = len(files) - 2
    return (moments[-1] - moments[1]) * len(files) / after, sum(busy[2:]) * len(files) / after


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
    shown = present(stored, dataset)
    picture = shown.values
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
    prepared = prepare_breast(shown, breast, PREPARE, 0.1)
    mark("preparing")
    png_bytes(prepared.pixels)
    mark("PNG")
    return {name: moment - before for (_, before), (name, moment) in itertools.pairwise(marks)}


def many(folder: Path, numbers: Sequence[int]) -> None:
    """Print seconds, cores at work and peak memory of an ingest over so many small files, and seconds of a second one."""
    from pydicom.uid import generate_uid

    source = folder / "many"
    source.mkdir()
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from mammogram import breast_stored, mammogram, write

    stored = breast_stored()
    written = 0
    for number in numbers:
        for index in range(written, number):
            pixels = stored.copy()
            pixels[80, 10], pixels[81, 10] = divmod(index, 4000)
            write(mammogram(pixels, woman=f"W{index}", exam=str(generate_uid())), source / f"{index}.dcm")
        written = number
        command = tramtrack("ingest", source, "--study", folder / f"study-{number}")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        first = watch(command)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        busy = sum(getattr(after, kind) - getattr(before, kind) for kind in ("ru_utime", "ru_stime"))
        second = watch(command)
        print(
            f"{number} small files: {first.seconds:.1f} s ({1000 * first.seconds / number:.2f} ms a file), "
            f"{busy / first.seconds:.2f} cores at work, peak {first.peak_mib:.0f} MiB; "
            f"a second time {second.seconds:.1f} s, no file opened"
        )
        shutil.rmtree(folder / f"study-{number}")


def turns(files: list[Path], number: int) -> dict[str, float]:
    """The fastest of ``number`` turns of everything that is compared, in seconds over all ``files``."""
    best: dict[str, float] = {}
    for _ in range(number):
        took: dict[str, float] = {}
        for what, task in (("bare decoding", decode_only), ("the look", look), ("one pass", one_pass)):
            took[what], took[f"{what}, processor"] = workers(task, files)
        took["taking over"] = take_over(files)
        took["the loop"] = loop(files)
        best = {name: min(seconds, best.get(name, seconds)) for name, seconds in took.items()}
    return best


def main() -> None:
    """Print every time, ratio and share, and the one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--many", type=int, default=10_000)
    options = parser.parse_args()
    print(processor())
    over_decoding, over_loop = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for syntax, files in write_views(folder, options.files).items():
            took = turns(files, options.turns)
            bare, looked, whole = (took[f"{what}, processor"] for what in ("bare decoding", "the look", "one pass"))
            prepared = took["one pass"] + took["taking over"]
            over_decoding.append(looked / bare)
            over_loop.append(took["the loop"] / prepared)
            print(f"{syntax}: {len(files)} files, " + ", ".join(f"{what} {seconds:.2f} s" for what, seconds in took.items()))
            print(
                f"  the look is {looked / bare:.2f} times bare decoding, one pass with the prepared PNG {whole / bare:.2f} "
                f"times; the loop in one process takes {took['the loop'] / prepared:.2f} times one pass on two"
            )
            steps = shares(files[0])
            print("  " + ", ".join(f"{step} {100 * part / sum(steps.values()):.0f} %" for step, part in steps.items()))
        if options.many:
            many(folder, [options.many // 4, options.many // 2, options.many])
    met = max(over_decoding) <= MOST_OVER_DECODING and min(over_loop) >= LEAST_OVER_LOOP
    print(
        f"goals: the look at most {MOST_OVER_DECODING} times bare decoding, the loop at least {LEAST_OVER_LOOP} times one pass"
    )
    finish("intake", max(over_decoding), "times bare decoding, the slower transfer syntax", MOST_OVER_DECODING, met)


if __name__ == "__main__":
    import intake  # by its name: what workers are given must be importable

    intake.main()
