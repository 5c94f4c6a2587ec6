"""What a header says a file is: which attribute is believed first, and every reason to refuse."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset

from mammogram import mammogram
from tramtrack.cohort.exam import Position, Reason, Side
from tramtrack.cohort.header import Header, Refusal, age_years, read_header, spacing_mm


def code(value: str, scheme: str = "SCT", modifiers: tuple[str, ...] = ()) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "a view"
    if modifiers:
        item.ViewModifierCodeSequence = []
        for meaning in modifiers:
            modifier = Dataset()
            modifier.CodeMeaning = meaning
            item.ViewModifierCodeSequence.append(modifier)
    return item


def accepted(**options: Any) -> Header:
    found = read_header(mammogram(**options))
    assert isinstance(found, Header), found
    return found


def refused(**options: Any) -> Refusal:
    found = read_header(mammogram(**options))
    assert isinstance(found, Refusal), found
    return found


@pytest.mark.parametrize(
    ("item", "position"),
    [
        (code("399162004"), Position.CC),
        (code("399368009"), Position.MLO),
        (code("R-10242", "SNM3"), Position.CC),
        (code("R-10226", "SRT"), Position.MLO),
    ],
)
def test_the_view_code_comes_before_view_position(item: Dataset, position: Position) -> None:
    other = "MLO" if position == Position.CC else "CC"
    found = accepted(view=other, ViewCodeSequence=[item])
    assert (found.position, found.view_source) == (position, "ViewCodeSequence")


def test_view_position_comes_before_patient_orientation() -> None:
    found = accepted(view="MLO", PatientOrientation=["CC", ""])
    assert (found.position, found.view_source) == (Position.MLO, "ViewPosition")
    film = accepted(view=None, PatientOrientation="CC")
    assert (film.position, film.view_source) == (Position.CC, "PatientOrientation")
    both = accepted(view=None, PatientOrientation=["A", "MLO"])
    assert both.position == Position.MLO


def test_the_side_comes_from_image_laterality_then_laterality() -> None:
    assert accepted(side="R", Laterality="L").side == Side.R
    assert (accepted(side=None, Laterality="R").side, accepted(side=None, Laterality="R").side_source) == (Side.R, "Laterality")


def test_cbis_names() -> None:
    whole = accepted(side=None, woman="Calc-Test_P_00646_LEFT_CC")
    assert (whole.woman, whole.side, whole.side_source, whole.exam) == ("P_00646", Side.L, "PatientID", "cbis-20240102")
    assert refused(woman="Calc-Test_P_00646_LEFT_CC_1").reason == Reason.DERIVED_CROP
    assert refused(SeriesDescription="ROI mask images").reason == Reason.DERIVED_CROP


@pytest.mark.parametrize(
    ("options", "reason", "detail"),
    [
        ({"side": None}, Reason.UNKNOWN_SIDE, "neither"),
        ({"side": "B"}, Reason.UNKNOWN_SIDE, "ImageLaterality B"),
        ({"view": None}, Reason.UNKNOWN_POSITION, "no view code"),
        ({"view": "ML"}, Reason.UNKNOWN_POSITION, "ViewPosition ML"),
        ({"ViewCodeSequence": [code("399260004")]}, Reason.UNKNOWN_POSITION, "view code 399260004"),
        ({"ViewCodeSequence": [code("399162004", modifiers=("magnification",))]}, Reason.UNKNOWN_POSITION, "magnification"),
        ({"woman": ""}, Reason.NO_WOMAN, "PatientID is empty"),
        ({"woman": "  "}, Reason.NO_WOMAN, "PatientID is empty"),
        ({"PresentationIntentType": "FOR PROCESSING"}, Reason.FOR_PROCESSING, "raw detector data"),
        (
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2.1", "PresentationIntentType": None},
            Reason.FOR_PROCESSING,
            "raw detector data",
        ),
        ({"NumberOfFrames": 4}, Reason.MULTI_FRAME, "4 frames"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.13.1.3"}, Reason.MULTI_FRAME, "tomosynthesis"),
        ({"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, Reason.NOT_MAMMOGRAPHY, "modality is CT, expected MG"),
        ({"Modality": None, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, Reason.NOT_MAMMOGRAPHY, "modality is absent"),
    ],
)
def test_refusals(options: dict, reason: Reason, detail: str) -> None:
    found = refused(**options)
    assert found.reason == reason and detail in found.detail


def test_spacing_is_in_the_breasts_plane() -> None:
    assert spacing_mm(mammogram()) is None
    assert spacing_mm(mammogram(PixelSpacing=[0.1, 0.1])) == 0.1
    both = mammogram(ImagerPixelSpacing=[0.07, 0.07], PixelSpacing=[0.1, 0.1])
    assert spacing_mm(both) == 0.07
    both.EstimatedRadiographicMagnificationFactor = 1.4
    assert spacing_mm(both) == pytest.approx(0.05)


def test_age_in_years_and_nothing_finer() -> None:
    assert age_years(mammogram(PatientAge="061Y")) == 61
    assert age_years(mammogram(PatientAge="011M")) is None
    assert age_years(mammogram(PatientBirthDate="19600101")) is None
