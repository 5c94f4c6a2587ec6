"""Trained runs as what a node asks: what they are told once, and for each exam."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import pytest

from tramtrack.errors import UsageError
from tramtrack.node.seam import NoAnswer
from tramtrack.prediction import answerer as module
from tramtrack.prediction.case import SeveralExams

SAID = {"prevalence": 0.2, "alpha": 0.05, "key": "none"}


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
        return SimpleNamespace(save=lambda out: None, save_dicom=lambda out: SimpleNamespace(files=(out / "a.dcm",)))


@pytest.fixture(autouse=True)
def ready(monkeypatch):
    monkeypatch.setattr(module, "Predictor", Ready)


def test_what_is_stated_reaches_each_prediction(tmp_path):
    answer = module.answerer([tmp_path], device="cpu", **SAID)
    assert answer(tmp_path, tmp_path / "out") == (tmp_path / "out" / "a.dcm",)
    assert Ready.asked == SAID


def test_an_alpha_that_cannot_be_kept_is_refused_before_the_first_exam(tmp_path):
    with pytest.raises(UsageError, match=r"alpha 0\.01"):
        module.answerer([tmp_path], device="cpu", **{**SAID, "alpha": 0.01})


def test_only_several_exams_are_called_those_of_several_women(tmp_path, monkeypatch):
    """A key that vanished is the node's own trouble, tried again; images of several women are an exam that has no answer."""
    answer = module.answerer([tmp_path], device="cpu", **SAID)
    for raised, expected in ((SeveralExams("two"), NoAnswer), (UsageError("--key: found none"), UsageError)):
        monkeypatch.setattr(Ready, "predict", lambda self, images, raised=raised, **said: (_ for _ in ()).throw(raised))
        with pytest.raises(expected) as found:
            answer(tmp_path, tmp_path / "out")
        assert ("several under one study" in str(found.value)) == (expected is NoAnswer)
