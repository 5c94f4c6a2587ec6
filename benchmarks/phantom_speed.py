"""Views a second that the generator writes on two processes, compression included, and whether memory grows with the cohort.

Two matrices: 1536 x 768 at 0.15 mm (goal: 4 views a second) and 2400 x 1800 at 0.1 mm (goal: 1). The time is the command's own,
its start included. Memory: the peak of the process tree for a cohort and for one four times as large (goal: within 10 %).
Options: --women (of the large cohort), --seed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from measuring import finish, processor, tramtrack, watch

GOALS = {"0.15": 4.0, "0.1": 1.0}
"""Views a second by detector."""

GROWTH = 1.10


def main() -> None:
    """Time both matrices, then compare the memory of two sizes; print all and the one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--women", type=int, default=32)
    parser.add_argument("--seed", default="9500")
    chosen = parser.parse_args()
    print(processor())
    speeds, peaks = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for detector in GOALS:
            women = chosen.women if detector == "0.15" else max(4, chosen.women // 4)
            for count in (women // 4, women) if detector == "0.15" else (women,):
                out = Path(folder) / f"{detector}-{count}"
                words = ("--women", str(count), "--seed", chosen.seed, "--detector", detector, "--processes", "2")
                watched = watch(tramtrack("phantom", "cohort", out, *words))
                speeds[detector] = 4 * count / watched.seconds
                peaks[detector, count] = watched.peak_mib
                print(
                    f"{detector} mm, {count} women, seed {chosen.seed}: {4 * count} views in {watched.seconds:.1f} s, "
                    f"{speeds[detector]:.2f} views/s, peak {watched.peak_mib:.0f} MiB"
                )
    growth = peaks["0.15", chosen.women] / peaks["0.15", chosen.women // 4]
    print(f"memory of {chosen.women} women over that of {chosen.women // 4}: {growth:.3f}")
    met = growth <= GROWTH and all(speeds[detector] >= goal for detector, goal in GOALS.items())
    finish("phantom_speed", speeds["0.15"], "views/s at 1536 x 768", GOALS["0.15"], met)


if __name__ == "__main__":
    main()
