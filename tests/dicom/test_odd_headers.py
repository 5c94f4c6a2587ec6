"""DICOM results for headers as they are in hospitals: odd, malformed, in other scripts. What can be carried is."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from answers import RUN, answer
from small_results import KINDS, SCALE, complaints, exam, hot_at
from tramtrack.dicomout.write import ViewResult, write_results
from tramtrack.errors import TramtrackError
from tramtrack.imaging.presentation import Picture
from tramtrack.prediction.answer import BURNED_IN


@pytest.mark.parametrize(
    ("tags", "flags", "burned"),
    [({"BurnedInAnnotation": "YES"}, (), "YES"), ({}, (), None), ({}, (f"L CC: {BURNED_IN}",), "YES")],
)
def test_burned_in_is_told_truthfully(tmp_path: Path, tags: dict[str, str], flags: tuple[str, ...], burned: str | None) -> None:
    files = exam(tmp_path / "exam", PatientOrientation=["A", "R"], PhotometricInterpretation="MONOCHROME1", **tags)
    made = answer({("L", "CC"): 0.8}, flags=flags)
    write_results(tmp_path, made, {("L", "CC"): ViewResult(files["L", "CC"], hot_at(80, 40, (160, 120)), SCALE)}, "grad-cam++")
    assert pydicom.dcmread(tmp_path / "L_CC.sc.dcm").get("BurnedInAnnotation") == burned
    assert pydicom.dcmread(tmp_path / "L_CC.pr.dcm").PresentationLUTShape == "INVERSE"
    files = exam(tmp_path / "exam", PatientOrientation=["A", "R"], PresentationLUTShape="INVERSE", **tags)
    view = ViewResult(files["L", "CC"], hot_at(80, 40, (160, 120)), SCALE)
    write_results(tmp_path, made, {("L", "CC"): view}, "grad-cam++", kinds=("state",))
    assert pydicom.dcmread(tmp_path / "L_CC.pr.dcm").PresentationLUTShape == "INVERSE"


@pytest.mark.filterwarnings("error:.*only a single component")  # highdicom, with the name
def test_what_a_header_lacks_or_says_wrongly_is_left_empty(tmp_path: Path) -> None:
    odd = {"PatientName": "OnlyOne", "PatientOrientation": "CC"}  # as collections of film have it
    wrong = {
        **odd,
        "PatientSex": "W",
        "StudyDate": "2024.01.02",
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": 10,
    }
    view = ViewResult(exam(tmp_path / "exam", **wrong)["L", "CC"], hot_at(80, 40, (160, 120)), SCALE)
    done = write_results(tmp_path, answer({("L", "CC"): 0.8}), {("L", "CC"): view}, "grad-cam")
    assert list(done.left_out) == ["L_CC.map.dcm"] and "PatientOrientation" in done.left_out["L_CC.map.dcm"]
    report, picture = pydicom.dcmread(tmp_path / "bac.sr.dcm"), pydicom.dcmread(tmp_path / "L_CC.sc.dcm")
    assert not report.PatientSex and not report.StudyDate and report.PatientID == "W1"
    assert not picture.PatientOrientation and not any(line.startswith("Error") for line in complaints(tmp_path / "L_CC.sc.dcm"))
    assert picture.LossyImageCompression == "01"


def table(entries: np.ndarray, bits: int, **more: Any) -> Dataset:
    """An item of a sequence of tables."""
    made = Dataset()
    made.LUTDescriptor = [len(entries), 0, bits]
    made.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    for name, value in more.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_state_shows_the_grey_values_that_its_image_asks_for(tmp_path: Path, syntax: str) -> None:
    """A VOI LUT of 12 bits beside a window, as many mammographs write both; and a modality LUT, whose values stay."""
    curve, modality = np.arange(4096) ** 2 // 4095, np.linspace(65535, 0, 4096)
    both = {"VOILUTSequence": [table(curve, 12)], "WindowCenter": [2048, 900], "WindowWidth": [4096, 300]}
    tags = {**both, "ModalityLUTSequence": [table(modality, 16, ModalityLUTType="US")], "PatientOrientation": ["A", "R"]}
    source = pydicom.dcmread(exam(tmp_path / "exam", **tags)["L", "CC"])
    source.file_meta.TransferSyntaxUID = syntax
    file = tmp_path / "one.dcm"
    pydicom.dcmwrite(file, source, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    view = ViewResult(file, hot_at(80, 40, (160, 120)), SCALE)
    assert not write_results(tmp_path, answer({("L", "CC"): 0.8}), {("L", "CC"): view}, "grad-cam++").left_out
    state = pydicom.dcmread(tmp_path / "L_CC.pr.dcm")
    (shown,) = state.SoftcopyVOILUTSequence
    assert "WindowCenter" not in shown and list(shown.VOILUTSequence[0].LUTDescriptor) == [4096, 0, 16]
    found = np.frombuffer(shown.VOILUTSequence[0].LUTData, "<u2")
    assert np.array_equal(found, np.rint(curve * (65535 / 4095)))
    assert np.array_equal(np.frombuffer(state.ModalityLUTSequence[0].LUTData, "<u2"), modality.astype("<u2"))
    assert not [line for line in complaints(tmp_path / "L_CC.pr.dcm") if line.startswith("Error")]


@pytest.mark.parametrize(
    ("tags", "windows"),
    [
        ({"WindowCenter": [2000, 1000], "WindowWidth": [4000, 500], "WindowCenterWidthExplanation": "NORMAL"}, [4000, 500]),
        ({"WindowCenter": 2000}, None),
        ({"VOILUTSequence": [], "WindowCenter": 2000, "WindowWidth": 900}, [900]),
    ],
)
def test_an_odd_window_costs_no_result(tmp_path: Path, tags: dict[str, Any], windows: list[float] | None) -> None:
    file = exam(tmp_path / "exam", PatientOrientation=["A", "R"], **tags)["L", "CC"]
    view = ViewResult(file, hot_at(80, 40, (160, 120)), SCALE)
    assert not write_results(tmp_path, answer({("L", "CC"): 0.8}), {("L", "CC"): view}, "grad-cam++").left_out
    state = pydicom.dcmread(tmp_path / "L_CC.pr.dcm")
    shown = [item.WindowWidth for item in state.get("SoftcopyVOILUTSequence", [])]
    assert np.ravel(shown).tolist() == (windows or [])
    assert not [line for line in complaints(tmp_path / "L_CC.pr.dcm") if line.startswith("Error")]


def test_what_is_malformed_is_not_inherited(tmp_path: Path) -> None:
    """Each of these ended in an error of dciodvfy or in no result at all; numbers by which archives file stay as they are."""
    wrong = {
        "PatientAge": "55", "StudyDescription": "d" * 80, "ReferringPhysicianName": ["A^B", "C^D"], "ContentDate": "2024-01-02",
        "ContentTime": "10:10", "ReferencedStudySequence": [], "EthnicGroup": "e" * 30, "PatientWeight": "7045",
        "KVP": "2855",
    }  # fmt: skip
    with warnings.catch_warnings(action="ignore"):
        file = exam(tmp_path / "exam", PatientOrientation=["A", "R"], AccessionNumber="A" * 20, **wrong)["L", "CC"]
        file.write_bytes(file.read_bytes().replace(b"7045", b"70,5").replace(b"2855", b"28,5"))
    view = ViewResult(file, hot_at(80, 40, (160, 120)), SCALE)
    with warnings.catch_warnings(action="error"):
        done = write_results(tmp_path, answer({("L", "CC"): 0.8}), {("L", "CC"): view}, "grad-cam++")
    assert len(done.files) == 5
    for result in done.files:
        said = [line for line in complaints(result) if line.startswith("Error")]
        assert all("Accession" in line or "invalid data values" in line for line in said) and said, said
        with warnings.catch_warnings(action="ignore"):
            dataset = pydicom.dcmread(result)
        assert dataset.AccessionNumber == "A" * 20 and dataset.ReferringPhysicianName == ""
        assert not set(wrong) - {"ReferringPhysicianName", "ContentDate", "ContentTime"} & set(dataset.dir())


def test_what_one_header_cannot_carry_costs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here a function of a window that the standard does not know; the report, which all rests on, is never left out. The
    words of an error are not repeated: they may quote a name."""
    tags = {"WindowCenter": 2000, "WindowWidth": 900, "VOILUTFunction": "CUBIC", "PatientOrientation": ["A", "R"]}
    file = exam(tmp_path / "exam", **tags)["L", "CC"]
    monkeypatch.setattr("tramtrack.dicomout.overlay.read_picture", lambda file: Picture(np.zeros((160, 120), np.float32), ()))
    view = ViewResult(file, hot_at(80, 40, (160, 120)), SCALE)
    done = write_results(tmp_path, answer({("L", "CC"): 0.8}), {("L", "CC"): view}, "grad-cam++")
    assert list(done.left_out) == ["L_CC.pr.dcm"]
    assert re.fullmatch(r"a header cannot carry it \(ValueError in \w+\.py, line \d+\)", done.left_out["L_CC.pr.dcm"])
    assert [path.name for path in done.files] == ["L_CC.sc.dcm", "L_CC.map.dcm", "bac.sr.dcm", "bac.cad.dcm"]

    def refuse(*arguments: object) -> None:
        raise ValueError("DOE^JANE is no name")

    monkeypatch.setattr("tramtrack.dicomout.write.measurement_report", refuse)
    said = rf"LCC.dcm: a header cannot carry DICOM results \(ValueError in {Path(__file__).name}, line \d+\)"
    with pytest.raises(TramtrackError, match=said):
        write_results(tmp_path, answer({("L", "CC"): 0.8}), {("L", "CC"): view}, "grad-cam++")


@pytest.mark.parametrize(
    ("character_set", "name", "told"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", "ISO_IR 192"),
        (["ISO 2022 IR 6", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", "ISO_IR 192"),
        ("GB18030", "Wang^XiaoDong=王^小东", "ISO_IR 192"),
        ("ISO_IR 100", "Müller^Jörg", "ISO_IR 100"),
        ("", "Doe^Jane", None),
    ],
)
def test_a_name_keeps_its_letters(tmp_path: Path, character_set: Any, name: str, told: str | None) -> None:
    """Of whatever alphabet, as the source has it; highdicom takes neither an empty first value nor Korean or Chinese sets."""
    tags = {"PatientName": name, "ReferringPhysicianName": name, "PatientOrientation": ["A", "R"]}
    file = exam(tmp_path / "exam", SpecificCharacterSet=character_set, **tags)["L", "CC"]
    assert str(pydicom.dcmread(file).PatientName) == name
    heatmap = hot_at(80, 40, (160, 120))
    view = ViewResult(file, heatmap, SCALE, {RUN: heatmap > 0.7})
    done = write_results(tmp_path, answer({("L", "CC"): 0.8}), {("L", "CC"): view}, "grad-cam++")
    assert len(done.files) == len(KINDS) and not done.left_out
    for result in map(pydicom.dcmread, done.files):
        assert (str(result.PatientName), str(result.ReferringPhysicianName)) == (name, name)
        assert result.get("SpecificCharacterSet") == told
    assert not [line for line in complaints(tmp_path / "bac.sr.dcm") if line.startswith("Error")]
