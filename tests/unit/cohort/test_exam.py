"""The nouns of the intake: names that are safe and unique, and what an exam lacks."""

from __future__ import annotations

import pytest

from tramtrack.cohort.exam import STANDARD_VIEWS, Exam, Position, Side, View, safe_name


def view(side: Side, position: Position, woman: str = "W 1", exam: str = "1.2.3") -> View:
    return View(woman, exam, side, position, "file.dcm", "0")


def test_names_are_safe_for_files_and_keep_what_they_can() -> None:
    assert safe_name("P_00646") == "P-00646"
    assert safe_name("../../etc/passwd") == "etc-passwd"
    assert safe_name("..") == "unnamed"
    assert safe_name("1.2.840.10008.5.1.4.1.1.1.2") == safe_name("1.2.840.10008.5.1.4.1.1.1.2") != safe_name("1." * 20)
    assert len({safe_name(name) for name in ("Анна", "Мария", "Zoë", "Zoé")}) == 4
    assert all(safe_name(name).isascii() and len(safe_name(name)) <= 24 for name in ("Анна", "x" * 99, "a b"))
    assert view(Side.L, Position.CC).view_id == "W-1_1.2.3_L_CC"


def test_an_exam_knows_what_it_lacks() -> None:
    views = tuple(view(side, position) for side, position in STANDARD_VIEWS)
    assert Exam("W 1", "1.2.3", views).missing == ()
    assert Exam("W 1", "1.2.3", views[:3]).missing == ((Side.R, Position.MLO),)
    with pytest.raises(ValueError, match="expected at least one view, received none"):
        Exam("W 1", "1.2.3", ())
