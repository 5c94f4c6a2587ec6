"""Pseudonyms, and what is never written down: no name, no birth date, no institution in any output of an intake."""

from __future__ import annotations

import json
import stat
import unicodedata
import warnings
from pathlib import Path
from unittest.mock import Mock

import pandas as pd
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom.datadict import tag_for_keyword

from mammogram import breast_stored, mammogram, write
from tramtrack.cohort import ingest as ingest_module
from tramtrack.cohort.audit import audit
from tramtrack.cohort.cohort import known_as, make_cohort
from tramtrack.cohort.exam import Reason
from tramtrack.cohort.inspect import Candidate, inspect_file
from tramtrack.cohort.privacy import IDENTIFYING, Secret, choose, fingerprint, identifying, own_key_file, pseudonym, read_key
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.study import Study

PERSON = {
    "PatientName": "Rossi^Maria",
    "PatientBirthDate": "19520317",
    "InstitutionName": "Ospedale Grande",
    "ReferringPhysicianName": "Bianchi^Anna",
    "PatientAge": "071Y",
    "AccessionNumber": "ACC77",
    "PatientAddress": "Via Lunga 5",
}


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker processes: what they do is tested elsewhere."""
    monkeypatch.setattr(ingest_module, "run_each", lambda task, units, **_: ((unit, task(unit)) for unit in units))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for number, woman in enumerate(("PID1234", "PID5678")):
        for copy, institution in enumerate(("Ospedale Grande", "Klinik Nord")):
            tags = {**PERSON, "InstitutionName": institution, "SOPInstanceUID": f"1.2.{number}.{copy}"}
            stored = breast_stored(seed=number * 2 + copy)
            view = "CC" if copy else "MLO"
            write(
                mammogram(stored, woman=woman, exam=f"9.9.{number}", view=view, **tags), tmp_path / "in" / f"{number}{copy}.dcm"
            )
    write(mammogram(woman="PID9999", view="ML", PatientName="Verdi^Carla"), tmp_path / "in" / "ml.dcm")
    return tmp_path / "in"


def everything_written(folder: Path) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file())


def test_no_name_birth_date_or_institution_is_in_any_output(tmp_path: Path, source: Path) -> None:
    make_cohort(source, tmp_path / "study" / "cohort")
    text = everything_written(tmp_path / "study")
    for said in ("Rossi", "Maria", "19520317", "1952", "Ospedale", "Klinik", "Bianchi", "ACC77", "Via Lunga", "Verdi"):
        assert said not in text, said
    assert "PID1234" in text  # without a key the number stays, and is said to
    listed = pd.read_csv(tmp_path / "study" / "cohort" / "identifying.csv").set_index("file")["attributes"]
    assert listed.loc[str(source / "00.dcm")] == (
        "AccessionNumber; InstitutionName; PatientAddress; PatientBirthDate; PatientID; PatientName; ReferringPhysicianName"
    )
    assert listed.loc[str(source / "ml.dcm")] == "PatientID; PatientName" and len(listed) == 5


def test_with_a_key_no_number_is_in_any_output_either_and_labels_still_find_their_women(tmp_path: Path, source: Path) -> None:
    table = tmp_path / "labels.csv"
    key = read_key(tmp_path / "secret" / "key", tmp_path / "study")
    table.write_text(f"woman,bac\nPID1234,1\n{pseudonym(key, 'W', 'PID5678')},0\nPID0000,1\n")
    cohort = make_cohort(source, tmp_path / "study" / "cohort", table, secret=Secret(key))
    text = everything_written(tmp_path / "study")
    for said in ("PID", "9.9.0", "1.2.0.1", "Ospedale", "Rossi", "ACC77", key.hex()):
        assert said not in text, said
    women = cohort.views.groupby("woman")["bac_woman"].first()
    assert women.to_dict() == {pseudonym(key, "W", "PID1234"): 1, pseudonym(key, "W", "PID5678"): 0}
    assert set(cohort.views["site"]) == {pseudonym(key, "S", "Ospedale Grande"), pseudonym(key, "S", "Klinik Nord")}
    assert set(cohort.views["age_years"]) == {71}
    again = make_cohort(source, tmp_path / "other" / "cohort", secret=Secret(key))
    assert list(again.views["woman"]) == list(cohort.views["woman"])  # the same key gives the same names
    other = make_cohort(source, tmp_path / "third" / "cohort", secret=Secret(b"k" * 32))
    assert not set(other.views["woman"]) & set(cohort.views["woman"])


def test_a_label_table_may_name_exams_as_the_hospital_does(tmp_path: Path, own: Path) -> None:
    """EMBED's clinical table does: acc_anon is the AccessionNumber of its files."""
    for number, accession in enumerate(("70", "71")):
        for view in ("CC", "MLO"):
            stored = breast_stored(seed=number * 2 + len(view))
            tags = {"AccessionNumber": accession, "StudyDate": f"2024010{number + 1}"}
            path = tmp_path / "in" / f"{number}{view}.dcm"
            write(mammogram(stored, woman="7", exam=f"1.2.840.1.5.6.{number}", view=view, **tags), path)
    (tmp_path / "embed.csv").write_text("empi_anon,acc_anon,side,calcfind\n7,70,L,V\n7,71,L,A\n7,72,L,V\n")
    study = Study(tmp_path / "study")
    cohort = study.ingest(tmp_path / "in", tmp_path / "embed.csv")
    breasts = (
        cohort.views.set_index(["acquired", "view"])["bac_breast"].astype("object").where(lambda known: known.notna(), None)
    )
    assert breasts.to_dict() == {
        ("20240101", "CC"): 1, ("20240101", "MLO"): 1, ("20240102", "CC"): None, ("20240102", "MLO"): None,
    }  # fmt: skip
    assert cohort.unmatched["kind"].tolist() == ["label row without a view"]  # of the exam that is not there
    (tmp_path / "twice.csv").write_text("woman,exam,bac\n7,70,1\n7,1.2.840.1.5.6.0,0\n")
    with pytest.raises(TramtrackError, match="lines 2 and 3: one exam stands there by two names"):
        study.ingest(tmp_path / "in", tmp_path / "twice.csv")
    (tmp_path / "findings.csv").write_text("woman,exam,side,view,burden_mm2\n7,71,L,CC,3\n")
    study.ingest(tmp_path / "in", findings=tmp_path / "findings.csv")
    (row,) = pd.read_csv(study.folder / "cohort" / "findings.csv").to_dict("records")
    assert (
        row["burden_mm2"] == 3
        and row["view_id"] == cohort.views.query("acquired == '20240102' and view == 'CC'")["view_id"].item()
    )


def test_keys_are_private_and_lie_outside_the_study(tmp_path: Path) -> None:
    study = tmp_path / "study"
    key = read_key(tmp_path / "k", study)
    assert len(key) == 32 and read_key(tmp_path / "k", study) == key
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="must lie outside the study's folder"):
        read_key(study / "deep" / "k", study)
    study.mkdir()
    (tmp_path / "link").symlink_to(study)
    with pytest.raises(UsageError, match="outside"):
        read_key(tmp_path / "link" / "k", study)
    (tmp_path / "bad").write_text("password")
    with pytest.raises(TramtrackError, match="expected a key of 64 hex digits"):
        read_key(tmp_path / "bad", study)


def test_what_still_identifies_is_named_and_what_was_removed_is_not() -> None:
    clean = mammogram(woman="A1", PatientIdentityRemoved="YES", PatientName="", PatientBirthDate="", InstitutionName="REMOVED")
    assert identifying(clean, "/data/x.dcm") == []
    nested = mammogram(woman="PAT77", PatientIdentityRemoved="YES")
    nested.RequestAttributesSequence = [mammogram(woman="x", RequestingPhysician="Neri^Ugo")]
    nested.add_new((0x0009, 0x0010), "LO", "VENDOR")
    assert identifying(nested, "/data/pat77/x.dcm") == ["RequestingPhysician", "file path", "private attributes"]
    deep = mammogram(PatientIdentityRemoved="YES")
    deep.ReferencedStudySequence = [mammogram(woman="x", AccessionNumber="A1", InstitutionName="")]
    deep.ReferencedStudySequence[0].add_new((0x0009, 0x0010), "LO", "VENDOR")
    assert identifying(deep, "/data/x.dcm") == ["AccessionNumber", "private attributes"]
    assert all(tag_for_keyword(name) for name in IDENTIFYING)
    named = mammogram(woman="1", PatientName="Rossi^Maria", PatientIdentityRemoved="YES")
    assert identifying(named, "/archive/ROSSI_MARIA/1.dcm") == ["PatientName", "file path"]


@pytest.mark.parametrize(
    ("name", "folder", "tells"),
    [
        ("Wang^Xiaodong=王^小明", "王小明", True),
        ("Wang^Xiaodong=王^小明", "小明", True),
        ("Wang^Xiaodong=王^小明", "王府", False),
        ("Müller^Eva", unicodedata.normalize("NFD", "MÜLLER"), True),
        ("Li^An", "italian", False),
    ],
)
def test_a_name_is_found_in_a_path_in_any_script(name: str, folder: str, tells: bool) -> None:
    named = mammogram(woman="1", PatientName=name, PatientIdentityRemoved="YES", SpecificCharacterSet="ISO_IR 192")
    assert ("file path" in identifying(named, f"/archive/{folder}/1.dcm")) is tells


def test_what_a_picture_says_beside_its_pixels_is_named(tmp_path: Path, own: Path) -> None:
    pixels = [Image.fromarray(breast_stored(16, seed=number)) for number in range(4)]
    other = "pid5678-of-a-study"
    (tmp_path / other).mkdir()
    write(mammogram(breast_stored(seed=9), woman="", side=None, view=None), tmp_path / other / "view.dcm")
    (tmp_path / other / "broken.png").write_bytes(b"no picture")
    said = PngInfo()
    said.add_text("Comment", "Rossi Maria")
    pixels[0].save(tmp_path / "said.png", pnginfo=said)
    pixels[1].save(tmp_path / "plain.png", dpi=(300, 300))
    pixels[2].save(tmp_path / "said.tif", tiffinfo={270: "Rossi Maria", 315: ""}, compression="tiff_lzw")
    pixels[3].save(tmp_path / "pid1234.tif")
    rows = ["said.png,L,CC", "plain.png,L,MLO", "said.tif,R,CC", "pid1234.tif,R,MLO"]
    table = "\n".join(["file,side,view,woman,exam", *(f"{row},PID1234,1" for row in rows)])
    table += f"\n{other}/view.dcm,L,CC,PID5678,1\n{other}/broken.png,L,MLO,PID5678,1\n{other}/none.png,R,MLO,PID5678,1\n"
    (tmp_path / "views.csv").write_text(table)
    study = Study(tmp_path / "study")
    assert len(study.ingest(tmp_path / "views.csv").views) == 5
    listed = pd.read_csv(study.folder / "cohort" / "identifying.csv")
    assert {Path(row.file).name: row.attributes for row in listed.itertuples()} == {
        "said.png": "text beside the pixels", "said.tif": "ImageDescription", "pid1234.tif": "file path",
        "view.dcm": "file path", "broken.png": "file path", "none.png": "file path",
    }  # fmt: skip
    assert "Rossi" not in everything_written(study.folder)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAMTRACK_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config" / "key"


def test_unless_asked_otherwise_no_number_is_in_any_output_and_labels_find_their_women(
    tmp_path: Path, source: Path, own: Path
) -> None:
    (tmp_path / "labels.csv").write_text("woman,bac\nPID1234,1\nPID5678,0\nPID0000,1\n")
    study = Study(tmp_path / "study")
    cohort = study.ingest(source, tmp_path / "labels.csv")
    assert own_key_file() == own and stat.S_IMODE(own.stat().st_mode) == 0o600 and list(own.parent.iterdir()) == [own]
    key = read_key(own, study.folder)
    text = everything_written(study.folder)
    for said in ("PID", "9.9.0", "1.2.0.1", "Ospedale", "Rossi", key.hex()):
        assert said not in text, said
    women = cohort.views.groupby("woman")["bac_woman"].first()
    assert women.to_dict() == {pseudonym(key, "W", "PID1234"): 1, pseudonym(key, "W", "PID5678"): 0}
    found = audit(study.folder / "cohort")
    assert (found["pseudonyms"], found["key"]) == (True, fingerprint(key))


def test_a_table_gives_no_name_away_either(tmp_path: Path, source: Path, own: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("woman,exam,side,view,file\nBIANCHI,visit77,L,CC,in/00.dcm\nBIANCHI,visit77,L,MLO,in/01.dcm\n")
    cohort = Study(tmp_path / "study").ingest(table)
    text = everything_written(tmp_path / "study")
    assert cohort.women == 1 and "BIANCHI" not in text and "visit77" not in text


def test_exams_of_one_name_are_one_only_where_the_name_is_a_uid(tmp_path: Path, own: Path) -> None:
    uid = "1.2.840.113619.2.55.3"
    for number, (woman, exam) in enumerate((("A", "exam"), ("B", "exam"), ("C", uid), ("D", uid))):
        write(mammogram(breast_stored(seed=300 + number), woman=woman, exam=exam), tmp_path / "in" / f"{number}.dcm")
    (tmp_path / "labels.csv").write_text(f"woman,exam,side,view,bac\nA,exam,L,CC,1\nB,exam,L,CC,0\nC,{uid},L,CC,0\n")
    views = Study(tmp_path / "study").ingest(tmp_path / "in", tmp_path / "labels.csv").views.set_index("file")
    exams = [views.loc[str(tmp_path / "in" / f"{number}.dcm"), "exam"] for number in range(4)]
    assert exams[0] != exams[1] and exams[2] == exams[3]
    assert sorted(views["bac_view"].dropna()) == [0, 0, 1]


def test_synthetic_women_keep_their_names_and_real_ones_beside_them_do_not(tmp_path: Path, source: Path, own: Path) -> None:
    write(mammogram(breast_stored(seed=90), woman="S0001", exam="8.8", SyntheticData="YES"), source / "s.dcm")
    (tmp_path / "labels.csv").write_text("woman,exam,bac\nS0001,8.8,1\nPID1234,9.9.0,0\n")
    cohort = Study(tmp_path / "study").ingest(source, tmp_path / "labels.csv")
    women = cohort.views.groupby("woman")["bac_woman"].first()
    assert women["S0001"] == 1 and len(women) == 3 and sum(woman.startswith("W-") for woman in women.index) == 2
    named = Study(tmp_path / "named").ingest(source, key=tmp_path / "k")
    assert all(woman.startswith("W-") for woman in named.views["woman"])


def test_a_study_goes_on_under_the_names_that_it_was_begun_with(tmp_path: Path, source: Path, own: Path) -> None:
    plain, study = Study(tmp_path / "plain"), Study(tmp_path / "study")
    first = plain.ingest(source, key="none")
    assert set(first.views["woman"]) == {"PID1234", "PID5678"} and not own.exists()
    assert set(plain.ingest(source).views["woman"]) == {"PID1234", "PID5678"} and known_as(plain.folder / "cohort") == ""
    assert audit(plain.folder / "cohort")["pseudonyms"] is False
    study.ingest(source, key=tmp_path / "k")
    with pytest.raises(TramtrackError, match=r"its women are named under the key .* give theirs by --key"):
        study.ingest(source)
    study.ingest(source, key=tmp_path / "k")


def test_no_other_key_and_no_plain_names_come_into_a_study(tmp_path: Path, source: Path, own: Path) -> None:
    plain, study = Study(tmp_path / "plain"), Study(tmp_path / "study")
    plain.ingest(source, key="none")
    study.ingest(source, key=tmp_path / "k")
    read_key(tmp_path / "other", study.folder)
    before = {path: path.read_bytes() for path in study.folder.rglob("*") if path.is_file()}
    for asked, says in (
        ("none", r"named under the key .*; use another study folder for --key none"),
        (tmp_path / "other", r"named under the key .*, the one in .*other is .*; give theirs by --key"),
        (tmp_path / "not-there", r"not-there: expected the key .*, under which .* are named, found none"),
    ):
        with pytest.raises(TramtrackError, match=says):
            study.ingest(source, key=asked)
    with pytest.raises(TramtrackError, match=r"keep the names of their files \(--key none\); use another study folder"):
        plain.ingest(source, key=tmp_path / "not-there")
    assert before == {path: path.read_bytes() for path in study.folder.rglob("*") if path.is_file()}
    assert not (tmp_path / "not-there").exists() and not own.exists()


def test_an_intake_under_plain_names_that_did_not_end_leaves_none_beside_the_pseudonyms(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(tmp_path / "study")
    with monkeypatch.context() as stopped, pytest.raises(KeyboardInterrupt):
        stopped.setattr(ingest_module, "settle", Mock(side_effect=KeyboardInterrupt))
        study.ingest(source, key="none")
    assert "PID1234" in everything_written(study.folder)
    study.ingest(source, key=tmp_path / "k")
    assert "PID1234" not in everything_written(study.folder)


def test_where_no_key_can_be_kept_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRAMTRACK_CONFIG", str(tmp_path / "file" / "deeper"))
    with pytest.raises(TramtrackError, match=r"cannot be kept here .* --key none"):
        choose(None, tmp_path / "study", None)


def test_of_two_that_make_a_key_at_a_time_both_get_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    link = Path.hardlink_to

    def late(self: Path, target: Path) -> None:
        link(self, target)
        raise FileExistsError  # as if the other had been first

    monkeypatch.setattr(Path, "hardlink_to", late)
    assert read_key(path, tmp_path / "study") == read_key(path, tmp_path / "study")
    assert list(tmp_path.iterdir()) == [path]


def test_a_malformed_header_does_not_give_a_name_away_in_its_reason(tmp_path: Path) -> None:
    path = write(mammogram(woman="PID1", PatientName="Rossi^Maria"), tmp_path / "in" / "a.dcm")
    content = path.read_bytes()
    at = content.index(b"PN\x0c\x00Rossi^Maria ")
    path.write_bytes(content[:at] + b"US\x0b\x00Rossi^Maria" + content[at + 16 :])  # a number of eleven bytes
    outcome = inspect_file(Candidate(str(path)))
    assert outcome["exclusion"]["reason"] == Reason.UNREADABLE
    assert "malformed (BytesLengthException)" in outcome["exclusion"]["detail"] and "Rossi" not in str(outcome)


def test_no_warning_of_a_librarys_quotes_a_value_and_dates_are_dates(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        odd = {"AcquisitionDate": "ROSSI", "AcquisitionTime": "MARIA", "PatientAge": "ROSSI", "PatientName": "Rossi\\Maria"}
        path = write(mammogram(woman="Rossi" * 20, **odd), tmp_path / "a.dcm")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        outcome = inspect_file(Candidate(str(path), secret=Secret(bytes(32))))
    assert not said and outcome["view"]["acquired"] == "20240102"
    assert not any(name in json.dumps(outcome).lower() for name in ("rossi", "maria"))


@pytest.mark.parametrize(
    ("tags", "acquired"),
    [
        ({"AcquisitionDate": "20240105", "AcquisitionTime": "101500.25"}, "20240105101500.25"),
        ({"AcquisitionDateTime": "20240106101500.5+0100"}, "20240106101500.5"),
        ({"AcquisitionDateTime": "20240106", "AcquisitionDate": "20240105", "ContentTime": "10:15:00"}, "20240105101500"),
        ({"StudyDate": "", "AcquisitionTime": "101500"}, ""),
        ({"StudyDate": "2024.01.02"}, "20240102"),
    ],
)
def test_when_a_view_was_acquired(tmp_path: Path, tags: dict[str, str], acquired: str) -> None:
    path = write(mammogram(**tags), tmp_path / "a.dcm")
    assert inspect_file(Candidate(str(path)))["view"]["acquired"] == acquired
