"""How long the demo takes and how much memory: the study (ingest to report), and the making of its cohort beside it.

Goal: the study in at most 300 s, and at most 4096 MiB summed over the process tree, on two cores.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from measuring import finish, processor, tramtrack, watch

WOMEN, SEED = "144", "2024"
NETWORKS = "vgg16,xception,mobilenetv2"
GOAL_SECONDS, GOAL_MIB = 300.0, 4096.0


def main() -> None:
    """Make the cohort, run the study, print both and the goal."""
    with tempfile.TemporaryDirectory() as folder:
        cohort, study = Path(folder) / "cohort", Path(folder) / "study"
        making = watch(tramtrack("phantom", "cohort", cohort, "--women", WOMEN, "--seed", SEED))
        told = ("--labels", cohort / "labels.csv", "--findings", cohort / "truth.csv")
        ingesting = watch(tramtrack("ingest", cohort / "dicom", *told, "--study", study, "--protocol", "demo"))
        running = watch(tramtrack("run", study, "--protocol", "demo", "--networks", NETWORKS))
    seconds = ingesting.seconds + running.seconds
    peak = max(ingesting.peak_mib, running.peak_mib)
    print(f"on {processor()}")
    print(f"synthetic cohort   {making.seconds:6.0f} s   {making.peak_mib:6.0f} MiB")
    print(f"ingest             {ingesting.seconds:6.0f} s   {ingesting.peak_mib:6.0f} MiB")
    print(f"run                {running.seconds:6.0f} s   {running.peak_mib:6.0f} MiB")
    print(f"study in all       {seconds:6.0f} s   {peak:6.0f} MiB   (goals {GOAL_SECONDS:.0f} s, {GOAL_MIB:.0f} MiB)")
    finish("demo", seconds, "s", GOAL_SECONDS, seconds <= GOAL_SECONDS and peak <= GOAL_MIB)


if __name__ == "__main__":
    main()
