"""Training: what is trainable, what is kept, the loop, and what a run leaves on disk.

Intel's MKL, in which torch multiplies matrices on many CPUs, promises the same bits from run to run only in its mode for
reproducibility and with a fixed number of threads (oneMKL developer guide, "Reproducibility Conditions"); by default it may
schedule and reduce in the order in which threads happen to finish. It reads both settings at its first product.

torch takes each large tensor on a CPU anew from the system, which hands it over a page at a time. Asked for huge pages
(torch's own THP_MEM_ALLOC_ENABLE, read at its first tensor; Linux where it grants them on advice), it waits for 512 times
fewer of them. docs/explanation/speed.md has the gain.
"""

from __future__ import annotations

import os

os.environ.setdefault("MKL_CBWR", "AUTO")
os.environ.setdefault("MKL_DYNAMIC", "FALSE")
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
