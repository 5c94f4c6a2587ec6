"""Every reason for care is said where it holds, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from answers import answer
from tramtrack.cohort.exam import STANDARD_VIEWS, Exam, View
from tramtrack.judgement.scoring import Chosen
from tramtrack.prediction.answer import BURNED_IN
from tramtrack.prediction.flags import flags_of_exam, flags_of_maps
from tramtrack.prediction.page import page
from tramtrack.prediction.panel import Panel, Seen
from tramtrack.prediction.reader import Map
from tramtrack.protocol import Protocol

SEEN = Seen(frozenset({"A"}), (0.1, 0.2), False, {}, {})


def panel(**seen: Any) -> Panel:
    protocol = Protocol()
    chosen, known = Chosen({}, {}), replace(SEEN, **seen)
    return Panel((), (protocol,), None, protocol, "maximum", chosen, {}, known, "none", None, (), (), ())


def flags(seen: dict[str, Any] | None = None, **of_view: Any) -> tuple[str, ...]:
    """The flags of an exam like those of training, but for what ``of_view`` says of its L CC view."""
    plain: dict[str, Any] = {"spacing_mm": 0.15, "manufacturer": "A"}
    views = [View("w", "e", side, position, "f", "", **plain) for side, position in STANDARD_VIEWS]
    return flags_of_exam(Exam("w", "e", (replace(views[0], **of_view), *views[1:])), panel(**(seen or {})))


def test_an_exam_like_those_of_training_has_none() -> None:
    assert flags() == ()


@pytest.mark.parametrize(
    ("of_view", "said"),
    [
        ({"spacing_mm": None}, "no spacing in the file"),
        ({"spacing_mm": 0.203}, "spacing 0.2030 mm unseen in training (0.1000 to 0.2000)"),
        ({"spacing_mm": 0.098}, "spacing 0.0980 mm unseen in training (0.1000 to 0.2000)"),
        ({"doubts": "touches two edges"}, "crop doubtful: touches two edges"),
        ({"burned_in": "seen"}, BURNED_IN),
        ({"contradictions": "ViewPosition MLO"}, "its header contradicts itself: ViewPosition MLO"),
        ({"implant": "YES"}, "implant"),
    ],
)
def test_what_is_odd_of_a_view_is_said_of_that_view(of_view: dict[str, Any], said: str) -> None:
    assert flags(**of_view) == (f"L CC: {said}",)


@pytest.mark.parametrize("of_view", [{"spacing_mm": 0.2019}, {"spacing_mm": 0.0991}, {"implant": "NO"}])
def test_what_is_hardly_odd_is_not_said(of_view: dict[str, Any]) -> None:
    assert flags(**of_view) == ()


def test_training_images_without_a_spacing_are_told_of_where_the_exam_has_one() -> None:
    found = flags({"spacings_mm": None}, spacing_mm=None)
    assert found == tuple(f"{place}: training images had no spacing" for place in ("L MLO", "R CC", "R MLO"))


def test_an_unseen_vendor_and_an_exam_that_is_not_synthetic_are_told_of() -> None:
    assert flags(manufacturer="B") == ("vendor unseen in training: B",)
    assert flags(manufacturer="") == ("vendor unseen in training: not named",)
    unnamed = {"manufacturers": frozenset()}  # pictures, as a rule
    assert flags(unnamed) == ("training images named no vendor",)
    picture = View("w", "e", *STANDARD_VIEWS[0], "f", "", spacing_mm=0.15)
    assert flags_of_exam(Exam("w", "e", (picture,)), panel(**unnamed)) == ("view missing: L MLO, R CC, R MLO",)
    assert flags({"synthetic": True}) == ("trained on synthetic mammograms alone, and this exam is not synthetic",)


def test_an_empty_heat_map_is_told_of_unless_its_view_is_called_negative() -> None:
    places = {("L", "CC"): 0.8, ("R", "CC"): 0.1, ("R", "MLO"): 0.9}
    called = answer(places).scores[:3]
    said = "its heat map is empty, so no place in the view shows why it has its score"
    assert flags_of_maps(called, [("L", "CC"), ("R", "CC")]) == (f"L CC: {said}",)
    uncalled = answer(places, threshold=None).scores[:3]
    assert flags_of_maps(uncalled, [("R", "CC")]) == (f"R CC: {said}",) and flags_of_maps(called, []) == ()


def test_the_page_names_every_empty_heat_map() -> None:
    places = {("L", "CC"): 0.8, ("R", "CC"): 0.1}
    hot = np.zeros((4, 3), np.float32)
    hot[1, 1] = 1
    maps = {("L", "CC"): Map(hot, 1.0, "grad-cam++", "relu"), ("R", "CC"): Map(np.zeros_like(hot), 1.0, "grad-cam++", "relu")}
    text = page(answer(places), dict.fromkeys(places, np.full((64, 48), 9000, np.uint16)), maps)
    assert text.count("its heat map is empty") == 1 and "R CC: 0.100, negative; its heat map is empty" in text
