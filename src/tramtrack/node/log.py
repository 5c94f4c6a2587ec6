"""The node's log: one line an event on standard error, with exams by their pseudonyms. pynetdicom's own lines are not in it."""

from __future__ import annotations

import logging


def to_standard_error() -> None:
    """Write what the node does from now on."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("tramtrack.node")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
