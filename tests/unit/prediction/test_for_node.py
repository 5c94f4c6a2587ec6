"""Trained runs as what a node asks: what they are told, and the process in which they may hang, die and be stopped."""

from __future__ import annotations

import threading
import time
from functools import partial
from types import SimpleNamespace
from typing import ClassVar

import psutil
import pytest

import answering_tasks
from tramtrack.dicomout.write import Written
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.node.seam import NoAnswer
from tramtrack.prediction import predictor
from tramtrack.prediction.case import Sealed, SeveralExams
from tramtrack.prediction.for_node import AnsweringProcess, answerer, load
from tramtrack.prediction.worker import Unanswerable

SAID = (0.2, 0.05, "none")


class Ready:
    """A Predictor that keeps what it is asked."""

    asked: ClassVar[dict[str, object]] = {}

    def __init__(self, runs, device, processes):
        self.runs = runs

    def stated(self, prevalence, alpha):
        if alpha == 0.01:
            raise UsageError("alpha 0.01: too small")

    def predict(self, images, **said):
        Ready.asked = said
        return SimpleNamespace(save=lambda out: None, save_dicom=self.save_dicom)

    def save_dicom(self, out, kinds):
        Ready.asked["kinds"] = kinds
        return Written(left_out=dict.fromkeys(("L_CC.map.dcm", "L_MLO.map.dcm"), "no axes"))


@pytest.fixture
def ready(monkeypatch):
    monkeypatch.setattr(predictor, "Predictor", Ready)


def test_what_is_stated_reaches_each_prediction(ready, tmp_path):
    predict = load((str(tmp_path),), *SAID, "cpu", ("report",))
    assert predict(tmp_path, tmp_path / "out") == "L_CC.map.dcm, L_MLO.map.dcm left out: no axes"
    assert Ready.asked == {"prevalence": 0.2, "alpha": 0.05, "key": "none", "kinds": ("report",)}


def test_an_alpha_that_cannot_be_kept_is_refused_before_the_first_exam(ready, tmp_path):
    with pytest.raises(UsageError, match=r"alpha 0\.01"):
        load((str(tmp_path),), 0.2, 0.01, "none", "cpu")


def test_what_never_has_an_answer_is_told_from_the_nodes_own_troubles(ready, tmp_path, monkeypatch):
    """A key that vanished is tried again; images of several women, or of a sealed test fold, are an exam without an answer."""
    predict = load((str(tmp_path),), *SAID, "cpu")
    raised = [SeveralExams("two"), Sealed("of the test fold"), UsageError("--key: found none")]
    monkeypatch.setattr(Ready, "predict", lambda self, images, **said: (_ for _ in ()).throw(raised.pop(0)))
    with pytest.raises(Unanswerable, match="several under one study"):
        predict(tmp_path, tmp_path / "out")
    with pytest.raises(Unanswerable, match="of the study's test fold, which is sealed"):
        predict(tmp_path, tmp_path / "out")
    with pytest.raises(UsageError, match="--key: found none"):
        predict(tmp_path, tmp_path / "out")


@pytest.fixture
def exam(tmp_path):
    """``exam(said)``: the folder of images and the empty one for results."""
    (tmp_path / "images").mkdir()
    (tmp_path / "out").mkdir()

    def write(said):
        (tmp_path / "images" / "image").write_text(said)
        return tmp_path / "images", tmp_path / "out"

    return write


def starts(tmp_path):
    return [int(line) for line in (tmp_path / "journal").read_text().split()]


def test_headers_that_cannot_carry_results_are_an_exam_without_an_answer(ready, tmp_path, monkeypatch):
    """In words of the node's own: those of the error may quote a name."""

    def refuse(self, out, kinds):
        raise TramtrackError("DOE^JANE")

    monkeypatch.setattr(Ready, "save_dicom", refuse)
    with pytest.raises(Unanswerable, match=r"^the headers of its images cannot carry DICOM results$"):
        load((str(tmp_path),), *SAID, "cpu")(tmp_path, tmp_path / "out")


def test_an_exam_that_hangs_or_kills_costs_an_attempt_and_the_next_is_answered(exam, tmp_path, caplog):
    with AnsweringProcess(partial(answering_tasks.load, str(tmp_path / "journal")), seconds=1) as answering:
        images, out = exam("fine")
        assert answering(images, out) == [out / "a.dcm", out / "b.dcm"]
        assert answering(*exam("partly")) and f"exams/{tmp_path.name}: a map was left out" in caplog.text
        with pytest.raises(NoAnswer, match="images of several women"):
            answering(*exam("several"))
        with pytest.raises(TramtrackError, match="--key: found none") as found:
            answering(*exam("key"))
        assert not isinstance(found.value, NoAnswer), "it is tried again"
        assert len(starts(tmp_path)) == 1
        for said, message in (("hang", "the prediction took longer than 1 s"), ("die", "the process ended with code -9")):
            with pytest.raises(TramtrackError, match=message) as found:
                answering(*exam(said))
            assert not isinstance(found.value, NoAnswer)
            assert answering(*exam("fine")) == [out / "a.dcm", out / "b.dcm"]
        assert len(starts(tmp_path)) == 3
        assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "journal", "out"], "no scratch is left"
    assert not any(psutil.pid_exists(pid) for pid in starts(tmp_path))


def test_leaving_ends_a_prediction_on_its_way(exam, tmp_path):
    ends = []

    def ask(answering):
        try:
            answering(*exam("hang"))
        except TramtrackError as error:
            ends.append(str(error))

    with AnsweringProcess(partial(answering_tasks.load, str(tmp_path / "journal")), seconds=600) as answering:
        thread = threading.Thread(target=ask, args=(answering,))
        thread.start()
        time.sleep(0.3)
        left = time.monotonic()
    thread.join(5)
    assert ends == ["the node was stopped while it answered"] and time.monotonic() - left < 3
    assert not any(psutil.pid_exists(pid) for pid in starts(tmp_path))


def test_runs_that_cannot_be_loaded_are_said_at_the_start(tmp_path):
    with pytest.raises(TramtrackError, match="runs/a: not the weights that this run wrote"):
        AnsweringProcess(answering_tasks.refuse_to_load, seconds=1)
    with (
        pytest.raises(TramtrackError, match=r"none: expected the folder of a finished run"),
        answerer([tmp_path / "none"], prevalence=None, alpha=None, key="none", device="cpu", seconds=1),
    ):
        pass
