"""What the command line relies on: each error knows its exit code, and a wrong question is an error too."""

from __future__ import annotations

from tramtrack.cohort.split import Leak
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.imaging.breast import NoBreast
from tramtrack.imaging.pixels import PixelError
from tramtrack.store import IdentityMismatch


def test_exit_codes() -> None:
    assert TramtrackError.exit_code == 1
    assert UsageError.exit_code == 2
    assert all(issubclass(kind, TramtrackError) for kind in (UsageError, IdentityMismatch, Leak, NoBreast, PixelError))
    assert all(kind.exit_code == 1 for kind in (IdentityMismatch, Leak, NoBreast, PixelError))
