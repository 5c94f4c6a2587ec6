"""The exams on disk: their images, what state each is in, which results were sent. One SQLite file, and a folder an exam.

Everything that counts is a row in ``queue.sqlite`` (write-ahead log, flushed at each commit), and a row is written only after
the file that it speaks of is whole on disk. So after a kill at any moment the rows say how far each exam is, and what has no
row is done again.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tramtrack.cohort.exam import STANDARD_VIEWS
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.node.rows import (
    DONE,
    FAILED,
    IN_DOUBT,
    RECEIVING,
    REFUSED,
    SCHEMA,
    SENDING,
    SENT,
    STATES,
    TO_SEND,
    Exam,
    Image,
    Result,
    Trouble,
)
from tramtrack.store import text_sha256


class Queue:
    """The queue in ``folder``; threads may share one, and other processes may look on."""

    def __init__(self, folder: Path, *, must_exist: bool = False) -> None:
        self.folder = folder
        path = folder / "queue.sqlite"
        if must_exist and not path.is_file():
            raise UsageError(
                f"{folder}: expected the folder of a queue (with queue.sqlite), found none; `tramtrack listen` makes it"
            )
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("incoming", "exams"):
            (folder / name).mkdir(exist_ok=True, mode=0o700)  # the folder itself may have been there, and open to others
        self.changed = threading.Condition()
        self._lock = threading.RLock()
        path.touch(mode=0o600)
        try:
            self._rows = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
            self._rows.row_factory = sqlite3.Row
            self._rows.execute("PRAGMA journal_mode = WAL")
            self._rows.execute("PRAGMA synchronous = FULL")
            self._rows.executescript(SCHEMA)
        except sqlite3.DatabaseError as error:
            raise TramtrackError(f"{path}: cannot be read as a queue ({error}); restore it or name another folder") from error

    def close(self) -> None:
        """Close the file; nothing is left to write."""
        with self._lock:
            self._rows.close()

    def wake(self) -> None:
        """Tell whoever waits for `changed` to look again."""
        with self.changed:
            self.changed.notify_all()

    # Images

    def place_of(self, image: Image) -> Path:
        """Where an image's file belongs, below the queue's folder: names made of hashes, whatever the UIDs hold."""
        return Path("exams", text_sha256(image.study)[:24], "images", f"{text_sha256(image.sop)[:24]}.dcm")

    def sha256_of(self, sop: str) -> str | None:
        """The hash under which an image was taken before, or None."""
        row = self._one("SELECT sha256 FROM images WHERE sop = ?", sop)
        return None if row is None else str(row["sha256"])

    def images_of(self, study: str) -> int:
        """How many images of a study were taken."""
        row = self._one("SELECT count(*) AS n FROM images JOIN exams ON exam = exams.id WHERE study = ?", study)
        return int(row["n"])

    def expect(self, image: Image) -> None:
        """An image's file is about to be put at its place, which a start after a kill looks at."""
        with self._transaction() as rows:
            rows.execute("INSERT OR IGNORE INTO arriving VALUES (?)", (str(self.place_of(image)),))

    def add(self, image: Image, name: str, quiet: float, settle: float) -> tuple[Exam, list[str]]:
        """Record an image whose file lies at its place, and when its exam is to be answered: ``settle`` seconds from now if
        it is complete, else ``quiet``. Returns the exam and the standard views that it lacks. An image that is known changes
        nothing."""
        now = time.time()
        with self._transaction() as rows:
            rows.execute(
                "INSERT OR IGNORE INTO exams VALUES (NULL, ?, ?, ?, ?, 0, 0, ?, 0, '', ?, ?, ?, ?, 1)",
                (image.study, name, str(self.place_of(image).parents[1]), RECEIVING, now + quiet, now, now, now, quiet),
            )
            exam = self._exam(rows, "study = ?", image.study)
            added = rows.execute(
                "INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?, ?, ?, 1)",
                (image.sop, exam.id, str(self.place_of(image)), image.sha256, image.view, image.absent),
            ).rowcount
            rows.execute("DELETE FROM arriving WHERE file = ?", (str(self.place_of(image)),))
            found = rows.execute("SELECT view, absent FROM images WHERE exam = ? AND here = 1", (exam.id,)).fetchall()
            present, absent = {row["view"] for row in found}, {row["absent"] for row in found}
            missing = [f"{s} {v}" for s, v in STANDARD_VIEWS if f"{s} {v}" not in present and s not in absent]
            if added:
                # One that is being sent goes on being sent, and is answered anew afterwards.
                state = SENDING if exam.state == SENDING else RECEIVING
                wait = quiet if missing else settle
                due = exam.due_at if state == SENDING else now + wait
                rows.execute(
                    "UPDATE exams SET revision = revision + 1, last_at = ?, changed_at = ?, state = ?, due_at = ?, wait = ?,"
                    " files = 1, attempts = CASE WHEN ? THEN attempts ELSE 0 END, reason = CASE WHEN ? THEN reason ELSE '' END"
                    " WHERE id = ?",
                    (now, now, state, due, wait, state == SENDING, state == SENDING, exam.id),
                )
            exam = self._exam(rows, "id = ?", exam.id)
        self.wake()
        return exam, missing

    def unrecorded(self) -> list[Path]:
        """Image files that a kill left without their row, and no half images and half answers any more: those are removed.

        What is looked at are images that were arriving and exams without an answer, however many the queue has held.
        """
        for part in (self.folder / "incoming").iterdir():
            part.unlink()
        with self._lock:
            unanswered = self._rows.execute("SELECT folder FROM exams WHERE state = ? AND files = 1", (RECEIVING,)).fetchall()
        for row in unanswered:
            for part in (self.folder / row["folder"]).glob("results-*.part"):
                shutil.rmtree(part)
        with self._lock:
            arriving = [row["file"] for row in self._rows.execute("SELECT file FROM arriving").fetchall()]
        here = [file for file in arriving if (self.folder / file).is_file()]
        with self._transaction() as rows:
            rows.executemany("DELETE FROM arriving WHERE file = ?", [(file,) for file in arriving if file not in here])
        return [self.folder / file for file in here]

    # Answers

    def next_to_answer(self, most: int) -> Exam | None:
        """The exam whose turn it is; that it was begun is recorded, so one that kills the node ``most`` times is set aside."""
        now = time.time()
        with self._transaction() as rows:
            while (exam := self._due(rows, RECEIVING, now)) is not None:
                if exam.attempts < most:
                    rows.execute("UPDATE exams SET attempts = attempts + 1 WHERE id = ?", (exam.id,))
                    return self._exam(rows, "id = ?", exam.id)
                reason = exam.reason or f"the node ended {exam.attempts} times while it answered this exam"
                self._move(rows, exam, FAILED, reason)
        return None

    def answered(self, exam: Exam, results: Sequence[Result]) -> bool:
        """Record what answers an exam, to be sent now. False, and nothing recorded, where an image came in the meantime.

        A result whose SOP Instance UID was sent before stays sent.
        """
        with self._transaction() as rows:
            if self._exam(rows, "id = ?", exam.id).revision != exam.revision:
                rows.execute("UPDATE exams SET attempts = 0 WHERE id = ?", (exam.id,))
                return False
            for result in results:
                what = (result.study, result.series, result.sop_class, result.syntax, result.file)
                rows.execute(
                    "INSERT OR IGNORE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?, '', NULL)",
                    (result.sop, exam.id, *what, TO_SEND),
                )
            rows.execute("UPDATE exams SET answered = revision WHERE id = ?", (exam.id,))
            self._move(rows, exam, SENDING)
        self.wake()
        return True

    def refuse(self, exam: Exam, reason: str) -> None:
        """There is no answer to these images; a further image opens the exam again."""
        with self._transaction() as rows:
            if self._exam(rows, "id = ?", exam.id).revision == exam.revision:
                self._move(rows, exam, REFUSED, reason)

    def put_off(self, exam: Exam, reason: str, delay: float) -> None:
        """Try an exam's next step again after ``delay`` seconds."""
        with self._transaction() as rows:
            rows.execute("UPDATE exams SET due_at = ?, reason = ? WHERE id = ?", (time.time() + delay, reason, exam.id))

    # Sending

    def next_to_send(self) -> Exam | None:
        """The exam that has waited longest for its results to be sent."""
        with self._transaction() as rows:
            return self._due(rows, SENDING, time.time())

    def unsent(self, exam: Exam) -> list[Result]:
        """The results of an exam that are not recorded as sent."""
        with self._lock:
            found = self._rows.execute(
                "SELECT sop, study, series, sop_class, syntax, file, state, reason FROM results"
                " WHERE exam = ? AND state <> ? ORDER BY rowid",
                (exam.id, SENT),
            ).fetchall()
        return [Result(**dict(row)) for row in found]

    def mark(self, result: Result, state: str, reason: str = "") -> None:
        """Record how far a result is; on disk when this returns."""
        sent_at = time.time() if state == SENT else None
        with self._transaction() as rows:
            rows.execute(
                "UPDATE results SET state = ?, reason = ?, sent_at = ? WHERE sop = ?", (state, reason, sent_at, result.sop)
            )

    def sent(self, exam: Exam) -> None:
        """Every result is recorded as sent; an image that came in the meantime opens the exam again."""
        with self._transaction() as rows:
            now = self._exam(rows, "id = ?", exam.id)
            self._move(rows, exam, DONE if now.answered == now.revision else RECEIVING)
            rows.execute("UPDATE exams SET due_at = ? WHERE id = ? AND state = ?", (now.last_at + now.wait, exam.id, RECEIVING))

    def attempt(self, exam: Exam, reason: str, delay: float) -> None:
        """A result was not taken: the exam's sending is tried again after ``delay`` seconds."""
        with self._transaction() as rows:
            rows.execute(
                "UPDATE exams SET attempts = attempts + 1, due_at = ?, reason = ? WHERE id = ?",
                (time.time() + delay, reason, exam.id),
            )

    def leave_doubts(self, seconds: float) -> int:
        """After a start: exams with a send in doubt wait so long, for the receiver to end what it had begun. How many."""
        with self._transaction() as rows:
            return rows.execute(
                "UPDATE exams SET due_at = max(due_at, ?) WHERE state = ? AND id IN (SELECT exam FROM results WHERE state = ?)",
                (time.time() + seconds, SENDING, IN_DOUBT),
            ).rowcount

    # Troubles, and what a person sees and does

    def trouble(self, what: str, reason: str, retries: Any) -> Trouble:
        """Record that ``what`` failed once more, and when it is tried again by ``retries``."""
        now = time.time()
        with self._transaction() as rows:
            row = rows.execute("SELECT since, attempts FROM troubles WHERE what = ?", (what,)).fetchone()
            since, attempts = (now, 1) if row is None else (row["since"], row["attempts"] + 1)
            found = Trouble(what, since, attempts, now + retries.delay(attempts), reason)
            rows.execute(
                "INSERT OR REPLACE INTO troubles VALUES (?, ?, ?, ?, ?)", (what, since, attempts, found.next_at, reason)
            )
        return found

    def over(self, what: str) -> bool:
        """``what`` works again. Whether it was in trouble."""
        with self._lock:
            if self._rows.execute("SELECT 1 FROM troubles WHERE what = ?", (what,)).fetchone() is None:
                return False
        with self._transaction() as rows:
            return rows.execute("DELETE FROM troubles WHERE what = ?", (what,)).rowcount > 0

    def troubles(self) -> list[Trouble]:
        """Everything that is in trouble now."""
        with self._lock:
            found = self._rows.execute("SELECT * FROM troubles ORDER BY what").fetchall()
        return [Trouble(**dict(row)) for row in found]

    def counts(self) -> dict[str, int]:
        """Exams in each state, images taken, results waiting and sent."""
        with self._lock:
            exams = dict(self._rows.execute("SELECT state, count(*) FROM exams GROUP BY state").fetchall())
            results = dict(self._rows.execute("SELECT state = 'sent', count(*) FROM results GROUP BY 1").fetchall())
            (images,) = self._rows.execute("SELECT count(*) FROM images").fetchone()
        waiting, sent = results.get(0, 0), results.get(1, 0)
        return {
            **{state: exams.get(state, 0) for state in STATES},
            "images": images,
            "results waiting": waiting,
            "results sent": sent,
        }

    def exams(self, *, finished: bool) -> list[dict[str, Any]]:
        """The exams, oldest first, each with its views and results counted; ``finished``: those that are done as well."""
        with self._lock:
            found = self._rows.execute(
                "SELECT exams.*, (SELECT count(*) FROM images WHERE exam = exams.id) AS images,"
                " (SELECT count(DISTINCT view) FROM images WHERE exam = exams.id AND view <> '') AS views,"
                " (SELECT count(*) FROM results WHERE exam = exams.id) AS results,"
                " (SELECT count(*) FROM results WHERE exam = exams.id AND state = 'sent') AS sent"
                " FROM exams WHERE ? OR state <> ? ORDER BY first_at",
                (finished, DONE),
            ).fetchall()
        return [dict(row) for row in found]

    def retry(self, name: str | None) -> int:
        """Try at once, and as if for the first time, what waits after a failure or was set aside: one exam, or all (None).

        How many exams. Raises UsageError for a name that is not in the queue.
        """
        with self._transaction() as rows:
            if name is not None and rows.execute("SELECT 1 FROM exams WHERE name = ?", (name,)).fetchone() is None:
                raise UsageError(f"{name}: no exam of this name in {self.folder}; `tramtrack queue {self.folder}` lists them")
            rows.execute("UPDATE troubles SET next_at = 0")
            return rows.execute(
                "UPDATE exams SET due_at = 0, attempts = 0, state = CASE WHEN state = ? THEN ? ELSE state END"
                " WHERE (? IS NULL OR name = ?) AND (state = ? OR (state IN (?, ?) AND reason <> ''))",
                (FAILED, RECEIVING, name, name, FAILED, RECEIVING, SENDING),
            ).rowcount

    def remove_old(self, before: float) -> int:
        """Remove the files of exams that were done or refused before that time; the rows stay, and tell what was sent."""
        with self._lock:
            old = self._rows.execute(
                "SELECT id, folder FROM exams WHERE files = 1 AND state IN (?, ?) AND changed_at < ?", (DONE, REFUSED, before)
            ).fetchall()
        for row in old:
            with self._transaction() as rows:  # an image that arrives at this moment waits
                here = self._exam(rows, "id = ?", row["id"])
                if here.state in (DONE, REFUSED) and here.changed_at < before:
                    shutil.rmtree(self.folder / row["folder"], ignore_errors=True)
                    rows.execute("UPDATE exams SET files = 0 WHERE id = ?", (row["id"],))
                    rows.execute("UPDATE images SET here = 0 WHERE exam = ?", (row["id"],))
        return len(old)

    # Inside

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._rows.execute("BEGIN IMMEDIATE")
            try:
                yield self._rows
                self._rows.execute("COMMIT")
            except BaseException:
                if self._rows.in_transaction:  # a full disk may have ended it
                    self._rows.execute("ROLLBACK")
                raise

    def _one(self, question: str, *values: object) -> Any:
        with self._lock:
            return self._rows.execute(question, values).fetchone()

    @staticmethod
    def _exam(rows: sqlite3.Connection, where: str, value: object) -> Exam:
        return Exam(**dict(rows.execute(f"SELECT * FROM exams WHERE {where}", (value,)).fetchone()))

    @staticmethod
    def _due(rows: sqlite3.Connection, state: str, now: float) -> Exam | None:
        row = rows.execute(
            "SELECT * FROM exams WHERE state = ? AND due_at <= ? ORDER BY due_at LIMIT 1", (state, now)
        ).fetchone()
        return None if row is None else Exam(**dict(row))

    @staticmethod
    def _move(rows: sqlite3.Connection, exam: Exam, state: str, reason: str = "") -> None:
        rows.execute(
            "UPDATE exams SET state = ?, reason = ?, attempts = 0, due_at = ?, changed_at = ? WHERE id = ?",
            (state, reason, time.time(), time.time(), exam.id),
        )
