"""The node's log: one line an event on standard error, with exams by their pseudonyms.

What libraries write or warn of is not in it: pydicom's warnings quote the value that they are about, and so a name.
"""

from __future__ import annotations

import logging
import os


def to_standard_error() -> None:
    """Write what the node does from now on."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("tramtrack.node")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
    logging.captureWarnings(True)
    unheard = logging.getLogger("py.warnings")
    unheard.handlers, unheard.propagate = [logging.NullHandler()], False
    os.environ["PYTHONWARNINGS"] = "ignore"  # for the processes that look at the images
