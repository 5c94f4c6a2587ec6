"""Training: what is trainable, what is kept, the loop, and what a run leaves on disk.

Intel's MKL, in which torch multiplies matrices on many CPUs, promises the same bits from run to run only in its mode for
reproducibility and with a fixed number of threads (oneMKL developer guide, "Reproducibility Conditions"); by default it may
schedule and reduce in the order in which threads happen to finish. It reads both settings at its first product.
"""

from __future__ import annotations

import os

os.environ.setdefault("MKL_CBWR", "AUTO")
os.environ.setdefault("MKL_DYNAMIC", "FALSE")
