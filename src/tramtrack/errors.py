"""The errors that a user can do something about; each message says what was expected, what came, where, and what to do."""

from __future__ import annotations


class TramtrackError(Exception):
    """Something in the data or on the disk stopped the work; the command line prints it as one line and exits with 1."""

    exit_code = 1


class UsageError(TramtrackError):
    """The question itself was wrong (an unknown name, key or value); the command line exits with 2."""

    exit_code = 2
