"""What a row of the queue says: of an exam, an image, a result, and of what is in trouble.

An exam is ``receiving`` until it is complete or quiet and was answered, ``sending`` until every result is recorded as sent,
then ``done``. ``refused``: there is no answer to such images. ``failed``: set aside after too many attempts.
``arriving`` names the file of an image from before it is at its place until the image has its row.
A result is ``to send``, ``in doubt`` from just before it leaves until the receiver's word is recorded, and ``sent``.
"""

from __future__ import annotations

from dataclasses import dataclass

RECEIVING, SENDING, DONE, REFUSED, FAILED = "receiving", "sending", "done", "refused", "failed"
STATES = (RECEIVING, SENDING, DONE, REFUSED, FAILED)
TO_SEND, IN_DOUBT, SENT = "to send", "in doubt", "sent"

SCHEMA = """
CREATE TABLE IF NOT EXISTS exams (
  id INTEGER PRIMARY KEY, study TEXT UNIQUE NOT NULL, name TEXT NOT NULL, folder TEXT NOT NULL, state TEXT NOT NULL,
  revision INTEGER NOT NULL, answered INTEGER NOT NULL, due_at REAL NOT NULL, attempts INTEGER NOT NULL,
  reason TEXT NOT NULL, first_at REAL NOT NULL, last_at REAL NOT NULL, changed_at REAL NOT NULL, wait REAL NOT NULL,
  files INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS due ON exams (state, due_at);
CREATE INDEX IF NOT EXISTS old ON exams (files, state, changed_at);
CREATE TABLE IF NOT EXISTS images (
  sop TEXT PRIMARY KEY, exam INTEGER NOT NULL, file TEXT NOT NULL, sha256 TEXT NOT NULL, view TEXT NOT NULL,
  absent TEXT NOT NULL, here INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS of_exam ON images (exam);
CREATE TABLE IF NOT EXISTS arriving (file TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS results (
  sop TEXT PRIMARY KEY, exam INTEGER NOT NULL, study TEXT NOT NULL, series TEXT NOT NULL, sop_class TEXT NOT NULL,
  syntax TEXT NOT NULL, file TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, sent_at REAL);
CREATE INDEX IF NOT EXISTS results_of_exam ON results (exam, state);
CREATE TABLE IF NOT EXISTS troubles (
  what TEXT PRIMARY KEY, since REAL NOT NULL, attempts INTEGER NOT NULL, next_at REAL NOT NULL, reason TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Image:
    """A received image: its UIDs, the SHA-256 of what was sent, and the standard view it shows ("L CC"), else "".

    ``absent`` is the breast (L or R) that its header calls removed, else "".
    """

    sop: str
    study: str
    sha256: str
    view: str
    absent: str


@dataclass(frozen=True)
class Exam:
    """A row of the queue; times are seconds since 1970. ``revision`` counts its images, ``answered`` is the last answered.

    ``wait`` is how long after its last image an exam is answered, ``files`` 1 while its files are kept.
    """

    id: int
    study: str
    name: str
    folder: str
    state: str
    revision: int
    answered: int
    due_at: float
    attempts: int
    reason: str
    first_at: float
    last_at: float
    changed_at: float
    wait: float
    files: int


@dataclass(frozen=True)
class Result:
    """A DICOM file that answers an exam; ``file`` is its path below the queue's folder."""

    sop: str
    study: str
    series: str
    sop_class: str
    syntax: str
    file: str
    state: str = TO_SEND
    reason: str = ""


@dataclass(frozen=True)
class Trouble:
    """What keeps the node as a whole from going on (the destination, the disk), since when, and when it tries again."""

    what: str
    since: float
    attempts: int
    next_at: float
    reason: str
