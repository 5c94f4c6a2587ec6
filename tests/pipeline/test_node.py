"""`tramtrack listen` with a trained run: an exam goes in by C-STORE, its DICOM results come back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pandas as pd
import pydicom
import pytest

pytest.importorskip("pynetdicom", reason="the extra pacs is not installed")

from pydicom.uid import UID

from node_peers import Pacs, send, until


@pytest.fixture(scope="module")
def images(random_run, tiny_cohort):
    """The four views of a woman who is not of the test fold, which is sealed."""
    folds = pd.read_csv(random_run.parents[3] / "cohort" / "folds.csv", dtype=str)
    woman = folds.loc[folds["fold"] == "validation", "woman"].iloc[0]
    return [pydicom.dcmread(path) for path in sorted((tiny_cohort / "dicom" / woman).glob("*.dcm"))]


@contextmanager
def listening(run, queue, pacs):
    """The node on the command line; gives its port, and kills it at the end."""
    words = [
        "listen", run, "--queue", queue, "--from", "MODALITY@127.0.0.1", "--to", f"PACS@127.0.0.1:{pacs.port}",
        "--port", 0, "--status-port", -1, "--settle", 0, "--quiet", 1, "--device", "cpu", "--keep-free-mib", 1,
        "--results", "sr,cad,sc,pr",
    ]  # fmt: skip
    with (queue.parent / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tramtrack.cli", *map(str, words)],
            stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    try:
        line = process.stdout.readline()
        assert "TRAMTRACK listens on 127.0.0.1:" in line, (queue.parent / "log").read_text()
        yield int(line.split(";")[0].rsplit(":", 1)[1])
    finally:
        process.kill()
        process.wait(20)
        process.stdout.close()


def test_an_exam_is_answered_by_a_trained_run(random_run, images, tmp_path, command):
    queue = tmp_path / "queue"
    shown = lambda *more: json.loads(command("queue", queue, "--json", *more).stdout)  # noqa: E731
    with Pacs().running() as pacs, listening(random_run, queue, pacs) as port:
        assert send(port, images) == [0, 0, 0, 0]
        until(lambda: shown()["counts"]["done"] == 1, 60)
        for image in images[:2]:
            image.StudyInstanceUID += ".1"
            image.SOPInstanceUID += ".1"
            image.PresentationIntentType, image.SOPClassUID = "FOR PROCESSING", UID("1.2.840.10008.5.1.4.1.1.1.2.1")
        assert send(port, images[:2]) == [0, 0]
        until(lambda: shown()["counts"]["refused"] == 1, 60)
    (done, refused) = shown("--all")["exams"]
    assert refused["reason"] == "none of its images is a standard view (2 for processing)"
    assert set(pacs.stored.values()) == {1} and done["sent"] == done["results"] == len(pacs.stored)
    assert set(pacs.study_of.values()) == {done["study"]}
    classes = {UID(uid).name.removesuffix(" Storage") for uid in pacs.class_of.values()}
    assert classes >= {"Comprehensive SR", "Secondary Capture Image", "Grayscale Softcopy Presentation State"}, classes
    assert "Parametric Map" not in classes, "it was not to be sent"
    log = (tmp_path / "log").read_text()
    assert done["name"] in log and not any(str(image.PatientID) in log for image in images)
