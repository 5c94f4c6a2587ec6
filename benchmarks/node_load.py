"""Exams of small views through the node, which is killed (kill -9) again and again: what is lost, what arrives twice, how long.

A modality sends exam after exam and sends again what was not confirmed; an archive counts every instance that it is sent. Both
run here, the node in a process of its own, which is killed at moments drawn from --seed and started again at once. The answer
is two small DICOM files, so that the node is measured; with --run a trained run answers. Options: --exams, --kills (the mean
seconds between two; 0: none), --seed, --run.

Goal: 1,000 exams in at most 540 s, nothing lost, nothing twice, and the last quarter of them at most 1.3 times as much of the
node's processor time as the first.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from measuring import finish, processor
from node_peers import Pacs, answer, exam, send, settings, start
from tramtrack.node.queue import Queue
from tramtrack.node.settings import Limits

GOAL_SECONDS, GOAL_RATIO = 540.0, 1.3
LIMITS = Limits(images_a_minute=1_000_000, free_bytes=1)


def trained(run: str, images: Path, out: Path) -> Any:
    """A trained run's answer, loaded at a process's first exam."""
    from tramtrack.prediction.for_node import answerer

    if run not in LOADED:
        LOADED[run] = answerer([Path(run)], prevalence=None, alpha=None, key="none", device="cpu", seconds=300)
    return LOADED[run](images, out)


LOADED: dict[str, Any] = {}


class Killed:
    """A node that is killed at drawn moments; ``seconds`` is the processor time of all its lives."""

    def __init__(self, chosen: Any, answerer: Any, every: float, seed: int) -> None:
        self.chosen, self.answerer, self.every = chosen, answerer, every
        self.generator = np.random.default_rng(seed)
        self.port, self.kills, self.before, self.stopping = 0, 0, 0.0, threading.Event()
        self.now: psutil.Process | None = None
        self.thread = threading.Thread(target=self._live)

    def seconds(self) -> float:
        """Of processor, until now."""
        try:
            return self.before + (sum(self.now.cpu_times()[:4]) if self.now else 0.0)
        except psutil.NoSuchProcess:
            return self.before

    def _live(self) -> None:
        while not self.stopping.is_set():
            process, self.port = start(self.chosen, answerer=self.answerer, daemon=self.answerer is answer)
            self.now = psutil.Process(process.pid)
            self.stopping.wait(self.generator.exponential(self.every) if self.every else None)
            self.before, self.now = self.seconds(), None
            process.kill()
            process.join()
            self.kills += not self.stopping.is_set()


def send_all(node: Killed, number: int, confirmed: dict[str, float]) -> int:
    """Send every exam until each image is confirmed; when each was. How many were sent without a word, and sent again."""
    again = 0
    for index in range(number):
        waiting = exam(index)
        while waiting:
            statuses = send(node.port, waiting) if node.port else []
            unheard = [image for place, image in enumerate(waiting) if statuses[place : place + 1] != [0]]
            again += len(unheard) if statuses else 0
            if unheard:
                time.sleep(0.05)
            waiting = unheard
        confirmed[str(exam(index, views=1)[0].StudyInstanceUID)] = time.perf_counter()
    return again


def main() -> None:
    """Print counts, percentiles, the processor time of each quarter, and the one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exams", type=int, default=1000)
    parser.add_argument("--kills", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=9100)
    parser.add_argument("--run", default="")
    options = parser.parse_args()
    if options.exams < 20:
        parser.error("--exams: expected at least 20, so that quarters can be compared")
    confirmed: dict[str, float] = {}
    arrived: dict[str, float] = {}
    spent: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory() as name, Pacs().running() as pacs:

        def stored() -> None:
            # Each answer is several instances of one study; the exam has arrived with the last.
            arrived[next(reversed(pacs.study_of.values()))] = time.perf_counter()
            spent.append((len(arrived), node.seconds()))

        pacs.on_store = stored
        chosen = settings(Path(name) / "queue", pacs, limits=LIMITS, status_port=None, doubt_seconds=1)
        node = Killed(chosen, partial(trained, options.run) if options.run else answer, options.kills, options.seed)
        watching = Queue(chosen.queue)
        started = time.perf_counter()
        node.thread.start()
        again = send_all(node, options.exams, confirmed)
        sent = time.perf_counter() - started
        while (left := watching.counts())["receiving"] + left["sending"] and time.perf_counter() - started < 3 * GOAL_SECONDS:
            time.sleep(0.2)
        seconds = time.perf_counter() - started
        node.stopping.set()
        node.thread.join()
        counts = watching.counts()
    if not arrived:
        raise SystemExit(f"no result arrived; in the queue: {counts}")
    lost = options.exams - len(arrived)
    twice = sum(times - 1 for times in pacs.stored.values())
    waits = np.array([arrived[study] - confirmed[study] for study in arrived])
    marks = [next(cpu for count, cpu in spent if count >= share * len(arrived)) for share in (0.001, 0.25, 0.5, 0.75, 1)]
    quarters = np.diff(marks) * 4000 / max(len(arrived), 1)
    print(f"{processor()}; {options.exams} exams, {4 * options.exams} images, seed {options.seed}")
    print(f"{node.kills} kills; {again} images sent again; the archive was asked {pacs.asked} times for a result in doubt")
    print(f"exams lost {lost}, results sent twice {twice}; in the queue: {counts}")
    rate = options.exams / seconds
    print(f"all images confirmed after {sent:.1f} s, all results arrived after {seconds:.1f} s ({rate:.2f} exams a second)")
    percentiles = ", ".join(f"p{p} {np.percentile(waits, p):.2f}" for p in (50, 90, 95, 99, 100))
    print(f"from an exam's last image to its last result, s: {percentiles}")
    print("the node's processor time, ms an exam, by quarter: " + ", ".join(f"{value:.0f}" for value in quarters))
    ratio = float(quarters[-1] / quarters[0])
    print(f"the last quarter took {ratio:.2f} times the first (goal: at most {GOAL_RATIO})")
    figure = 1000 * seconds / options.exams
    met = figure <= GOAL_SECONDS and not lost and not twice and ratio <= GOAL_RATIO
    finish("node_load", figure, "s a thousand exams", GOAL_SECONDS, met)


if __name__ == "__main__":
    import node_load  # by its name: what the node is given must be importable

    node_load.main()
