"""What a header says a file is: which attribute is believed first, and every reason to refuse."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from mammogram import mammogram
from tramtrack.cohort.exam import Position, Reason, Side
from tramtrack.cohort.header import Header, absent_breast, age_years, kind_of, read_header, spacing_mm
from tramtrack.cohort.projection import MODIFIERS, VIEW_CODES, Refusal


def code(value: str, scheme: str = "SCT", modifiers: tuple[str, ...] = (), codes: tuple[str, ...] = ()) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "a view"
    if codes:
        item.ViewModifierCodeSequence = [code(modifier) for modifier in codes]
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
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.13.1.3"}, Reason.TOMOSYNTHESIS, "tomosynthesis"),
        ({"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, Reason.NOT_MAMMOGRAPHY, "modality is CT, expected MG"),
        ({"Modality": None, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, Reason.NOT_MAMMOGRAPHY, "modality is absent"),
    ],
)
def test_refusals(options: dict, reason: Reason, detail: str) -> None:
    found = refused(**options)
    assert found.reason == reason and detail in found.detail


@pytest.mark.parametrize(
    ("options", "reason", "detail"),
    [
        ({"ViewCodeSequence": [code("399162004", codes=("399163009",))]}, Reason.MAGNIFICATION, "view modifiers"),
        ({"ViewCodeSequence": [code("399368009", codes=("399161006", "399055006"))]}, Reason.SPOT_COMPRESSION, "modifiers"),
        ({"ViewCodeSequence": [code("R-10226", "SRT", codes=("R-102D5",))]}, Reason.IMPLANT_DISPLACED, "view modifiers"),
        ({"ViewCodeSequence": [code("399162004", codes=("399110001",))]}, Reason.TANGENTIAL, "view modifiers"),
        ({"ViewModifierCodeSequence": [code("399163009")]}, Reason.MAGNIFICATION, "view modifiers"),
        ({"ViewCodeSequence": [code("127457009")]}, Reason.SPECIMEN, "view code 127457009"),
        ({"EstimatedRadiographicMagnificationFactor": 1.8}, Reason.MAGNIFICATION, "magnified 1.8 times"),
        ({"PaddleDescription": "SPOT CONTACT"}, Reason.SPOT_COMPRESSION, "PaddleDescription"),
        ({"SeriesDescription": "L CC MAG"}, Reason.MAGNIFICATION, "SeriesDescription says 'MAG'"),
        ({"SeriesDescription": "RCCID", "view": None}, Reason.IMPLANT_DISPLACED, "CCID"),
        ({"SeriesDescription": "R CC ID"}, Reason.IMPLANT_DISPLACED, "CC ID"),
        ({"ProtocolName": "Breast specimen"}, Reason.SPECIMEN, "specimen"),
        ({"PartialView": "YES", "PartialViewDescription": "left lateral"}, Reason.PARTIAL_VIEW, "PartialView is YES"),
        ({"QualityControlImage": "YES"}, Reason.TEST_PATTERN, "QualityControlImage"),
        ({"StudyDescription": "ACR phantom weekly"}, Reason.TEST_PATTERN, "phantom"),
        ({"SeriesDescription": "ACR accreditation"}, Reason.TEST_PATTERN, "ACR accreditation"),
        ({"SeriesDescription": "TEST"}, Reason.TEST_PATTERN, "TEST"),
        ({"SeriesDescription": "Detector test image"}, Reason.TEST_PATTERN, "test image"),
        ({"DistanceSourceToDetector": 660, "DistanceSourceToPatient": 360}, Reason.MAGNIFICATION, "magnified 1.83 times"),
        ({"view": "TAN"}, Reason.TANGENTIAL, "ViewPosition TAN"),
        ({"Modality": "US", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.1"}, Reason.ULTRASOUND, "US"),
        ({"Modality": "XC", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.4"}, Reason.PHOTOGRAPH, "XC"),
        ({"Modality": "OT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, Reason.NOT_MAMMOGRAPHY, "OT"),
        ({"SeriesDescription": "CAD report"}, Reason.REPORT_SCREEN, "report"),
        ({"ImageType": ["DERIVED", "PRIMARY", "TOMO_PROJ", "LEFT"]}, Reason.TOMOSYNTHESIS, "tomosynthesis"),
        ({"ImageType": ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "GENERATED_2D"]}, Reason.SYNTHESISED_2D, "computed"),
        ({"SeriesDescription": "L CC C-View"}, Reason.SYNTHESISED_2D, "computed"),
        ({"ImageType": ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "NONE"]}, Reason.TOMOSYNTHESIS, "a slice"),
    ],
)
def test_what_is_not_a_standard_view_has_its_own_reason(options: dict, reason: Reason, detail: str) -> None:
    found = refused(**options)
    assert found.reason == reason and detail in found.detail


@pytest.mark.parametrize(
    "words",
    [
        "latest screening", "MAMMOGRAPHY SCREENING BILATERAL", "Right breast follow-up", "CC", "ACR C, dense", "BRCA tested",
    ],
)  # fmt: skip
def test_ordinary_words_exclude_nothing(words: str) -> None:
    accepted(SeriesDescription=words, StudyDescription=words)
    accepted(DerivationDescription="Computed from a synthetic breast")


def test_a_study_about_magnification_may_hold_plain_views() -> None:
    accepted(StudyDescription="Diagnostic mammogram, spot and mag views")
    accepted(PerformedProcedureStepDescription="Diagnostic mammogram, spot and mag views")
    assert refused(PerformedProcedureStepDescription="Phantom, weekly").reason == Reason.TEST_PATTERN


def test_a_comment_that_speaks_of_a_report_is_none() -> None:
    accepted(ImageComments="no prior report available")
    assert refused(ImageComments="spot compression").reason == Reason.SPOT_COMPRESSION
    assert refused(ImageComments="screenshot, no report").reason == Reason.REPORT_SCREEN


def test_codes_are_pydicoms() -> None:
    known = {(item.scheme_designator, item.value) for name in codes.CID4014.dir() for item in [getattr(codes.CID4014, name)]}
    assert {key for key in VIEW_CODES if key[0] == "SCT"} <= known
    modifiers = {getattr(codes.CID4015, name).value: name for name in codes.CID4015.dir()}
    said = {modifiers[value].upper(): reason.upper().replace(" ", "") for value, reason in MODIFIERS.items() if value.isdigit()}
    assert all(name == reason for name, reason in said.items()) and len(said) == 4


@pytest.mark.parametrize("modality", ["RG", "CR", "DX", "OT"])
@pytest.mark.parametrize(
    "evidence", [{"BodyPartExamined": "BREAST"}, {"StudyDescription": "Mammographie"}, {"PositionerType": "MAMMOGRAPHIC"}]
)
def test_other_modalities_are_taken_where_the_header_speaks_of_a_breast(modality: str, evidence: dict) -> None:
    other = {"Modality": modality, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1"}
    assert accepted(**other, **evidence).position == Position.CC
    assert refused(**other).reason == Reason.NOT_MAMMOGRAPHY


def test_the_side_is_found_in_its_other_places() -> None:
    region = Dataset()
    region.AnatomicRegionModifierSequence = [code("24028007")]
    assert accepted(side=None, AnatomicRegionSequence=[region]).side_source == "AnatomicRegionModifierSequence"
    combined = accepted(side=None, view="RMLO")
    assert (combined.side, combined.position, combined.side_source) == (Side.R, Position.MLO, "ViewPosition")
    described = accepted(side=None, view=None, SeriesDescription="Left CC")
    assert (described.side, described.position, described.view_source) == (Side.L, Position.CC, "SeriesDescription")
    behind = accepted(side=None, view=None, SeriesDescription="Mammo MLO RIGHT")
    assert (behind.side, behind.position) == (Side.R, Position.MLO)
    assert refused(side=None, view=None, SeriesDescription="CC lateral").reason == Reason.UNKNOWN_SIDE
    assert refused(view=None, SeriesDescription="L CC / L MLO").reason == Reason.UNKNOWN_POSITION


def test_a_side_that_is_neither_is_a_contradiction_too() -> None:
    found = accepted(side="B", Laterality="L")
    assert (found.side, found.side_source) == (Side.L, "Laterality")
    assert found.contradictions == ("ImageLaterality says B, Laterality L",)


def test_an_item_without_a_code_says_nothing_of_the_view() -> None:
    emptied = code("", "")
    emptied.CodeMeaning = ""
    accepted(ViewModifierCodeSequence=[Dataset(), emptied])
    found = accepted(view="MLO", ViewCodeSequence=[Dataset(), emptied])
    assert (found.position, found.view_source) == (Position.MLO, "ViewPosition")
    assert refused(view=None, ViewCodeSequence=[Dataset()]).detail.startswith("expected CC or MLO, found no view code")
    assert refused(view="TAN", ViewCodeSequence=[Dataset()]).reason == Reason.TANGENTIAL
    emptied.ViewModifierCodeSequence = [code("399163009")]
    assert refused(ViewCodeSequence=[emptied]).reason == Reason.MAGNIFICATION


@pytest.mark.parametrize(
    ("orientation", "side", "position"),
    [
        (["A", "R"], "L", "CC"),
        (["P", "L"], "R", "CC"),
        (["A", "FR"], "L", "MLO"),
        (["P", "FL"], "R", "MLO"),
        (["P", "HR"], "R", "MLO"),
    ],
)
def test_anatomical_orientation_gives_the_position_and_contradicts_a_side(orientation, side, position) -> None:  # type: ignore[no-untyped-def]
    found = accepted(side=side, view=None, PatientOrientation=orientation)
    assert (found.position, found.view_source, found.contradictions) == (position, "PatientOrientation", ())
    other = "R" if side == "L" else "L"
    assert accepted(side=other, view=position, PatientOrientation=orientation).contradictions == (
        f"PatientOrientation says {side}, ImageLaterality {other}",
    )


def test_contradictions_of_the_position_are_reported() -> None:
    found = accepted(view="MLO", ViewCodeSequence=[code("399162004")], SeriesDescription="L MLO")
    assert found.position == Position.CC and found.contradictions == (
        "ViewPosition says MLO, ViewCodeSequence CC",
        "SeriesDescription says MLO, ViewCodeSequence CC",
    )


def test_a_projection_that_is_neither_is_a_contradiction_too() -> None:
    found = accepted(view="XCCL", ViewCodeSequence=[code("399162004")], SeriesDescription="L ML")
    assert found.position == Position.CC and found.contradictions == (
        "ViewPosition says XCCL, ViewCodeSequence CC",
        "SeriesDescription says ML, ViewCodeSequence CC",
    )


def test_exams_without_a_uid_are_told_apart_by_their_day() -> None:
    assert accepted(exam="").exam == "20240102" and accepted(exam="", StudyDate="20250102").exam == "20250102"
    assert accepted(exam="", StudyDate="").exam == "exam"


def test_a_reason_repeats_no_free_text() -> None:
    for text in ("cropped image of Rossi", "Rossi spot"):
        assert "Rossi" not in refused(SeriesDescription=text).detail
    assert "ROSSI" not in refused(PaddleDescription="SPOT ROSSI").detail


def test_an_absent_breast_is_known_only_with_its_side() -> None:
    assert absent_breast(mammogram(AdditionalPatientHistory="s/p left mastectomy")) is Side.L
    assert absent_breast(mammogram(PatientComments="Mastectomy RT 2003")) is Side.R
    assert absent_breast(mammogram(PatientComments="No complaints. Mastectomy RT 2003")) is Side.R
    assert absent_breast(mammogram(PatientComments="left mastectomy 2015, no family history")) is Side.L
    assert absent_breast(mammogram(PatientComments="left mastectomy without reconstruction, denies pain")) is Side.L
    assert absent_breast(mammogram(PatientComments="mastectomy, left and right discussed")) is None
    assert absent_breast(mammogram(PatientComments="left lumpectomy")) is None


@pytest.mark.parametrize(
    "said",
    [
        "s/p left partial mastectomy",
        "segmental mastectomy LT 2019",
        "no left mastectomy",
        "denies mastectomy, left",
        "without left mastectomy, no pain",
        "mastectomy left: no lumpectomy: yes",
        "left mastectomy, no",
        "left mastectomy, no longer wanted",
        "left mastectomy without pain for her mother",
        "Family history: mother, left mastectomy at 50",
        "left mastectomy planned",
    ],
)
def test_a_breast_is_not_taken_for_removed_that_is_there(said: str) -> None:
    assert absent_breast(mammogram(AdditionalPatientHistory=said)) is None


def test_a_view_of_a_breast_that_a_text_calls_removed_contradicts_it() -> None:
    found = accepted(side="L", AdditionalPatientHistory="s/p left mastectomy")
    assert found.side is Side.L
    assert found.contradictions == ("a text says that L was removed, ImageLaterality L",)
    assert accepted(side="R", AdditionalPatientHistory="s/p left mastectomy").contradictions == ()


def test_kinds_of_images() -> None:
    assert kind_of(mammogram()) == "presentation"
    assert kind_of(mammogram(PresentationIntentType="FOR PROCESSING")) == "processing"
    raw = mammogram(PresentationIntentType="FOR PROCESSING")
    assert isinstance(read_header(raw, for_processing=True), Header)
    assert isinstance(read_header(mammogram(SeriesDescription="S-View"), synthesised=True), Header)
    generated = mammogram(ImageType=["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "GENERATED_2D"])
    assert isinstance(read_header(generated, synthesised=True), Header)
    slice_of_it = mammogram(ImageType=["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "NONE"])
    found = read_header(slice_of_it, synthesised=True)
    assert isinstance(found, Refusal) and found.reason is Reason.TOMOSYNTHESIS


def test_magnification_from_distances_and_spacings_that_are_none() -> None:
    distances = mammogram(ImagerPixelSpacing=[0.07, 0.07], DistanceSourceToDetector=700, DistanceSourceToPatient=660)
    assert spacing_mm(distances) == pytest.approx(0.066)
    film = mammogram(NominalScannedPixelSpacing=[0.05, 0.05], PixelSpacing=[0.2, 0.2])
    film.EstimatedRadiographicMagnificationFactor = 1.25
    assert spacing_mm(film) == pytest.approx(0.04)
    for spacing in ([0.07, 0.14], [0, 0], [-0.1, -0.1], [70, 70]):
        assert spacing_mm(mammogram(ImagerPixelSpacing=spacing)) is None


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
