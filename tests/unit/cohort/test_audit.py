"""The audit: counts that add up to the last file, prevalence by each factor, and contact sheets."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mammogram import breast_stored, mammogram, write, write_exam
from tramtrack.cohort import audit_page
from tramtrack.cohort import ingest as ingest_module
from tramtrack.cohort.audit import audit
from tramtrack.cohort.audit_page import _chosen, _doubtful, _excluded, _Item, tile, write_audit
from tramtrack.cohort.cohort import make_cohort
from tramtrack.errors import TramtrackError
from tramtrack.study import Study


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker processes: what they do is tested elsewhere."""
    for module in (ingest_module, audit_page):
        monkeypatch.setattr(module, "run_each", lambda task, units, **_: ((unit, task(unit)) for unit in units))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    source = tmp_path / "in"
    for number in range(4):
        tags = {"Manufacturer": "A" if number < 2 else "B", "PatientAge": f"0{45 + 10 * number}Y", "PatientName": "Rossi^Maria"}
        extra = {"ImagerPixelSpacing": [0.07, 0.07], "KVP": 28 + number} if number else {}
        write_exam(source, woman=f"W{number}", exam=str(number), seed=number, **tags, **extra)
    write(mammogram(breast_stored(seed=90)[:110], woman="W0", exam="9", StudyDate="20250101"), source / "later.dcm")
    write(mammogram(breast_stored(seed=91), woman="W1", view="ML"), source / "ml.dcm")
    (source / "notes.txt").write_text("x")
    (tmp_path / "labels.csv").write_text("woman,bac\nW0,1\nW1,1\nW2,0\n")
    make_cohort(source, tmp_path / "study" / "cohort", tmp_path / "labels.csv")
    return tmp_path / "study"


def test_counts_add_up_to_the_last_file(study: Path) -> None:
    found = audit(study / "cohort")
    assert found["problems"] == []
    steps = {step["step"]: step for step in found["steps"]}
    assert steps["files seen"]["count"] == 19
    assert steps["files seen"]["parts"] == {"not an image file": 1, "not a standard view": 1, "views": 17}
    assert steps["views"]["parts"] == {"of the analysed exam": 16, "of her other exams": 1}
    assert steps["women"]["parts"] == {"with BAC": 2, "without": 1, "not known": 1}
    assert found["labels"]["woman"] == {"with BAC": 2, "without": 1, "not known": 1}


def test_kappas_are_numbers_and_what_has_none_is_null(tmp_path: Path) -> None:
    write_exam(tmp_path / "in", woman="W1", exam="1", seed=1)
    write_exam(tmp_path / "in", woman="W2", exam="2", seed=2)
    (tmp_path / "labels.csv").write_text("woman,bac_a,bac_b,bac_c\nW1,1,1,1\nW2,0,0,1\n")
    make_cohort(tmp_path / "in", tmp_path / "study" / "cohort", tmp_path / "labels.csv")
    told = json.loads(write_audit(tmp_path / "study").with_suffix(".json").read_text())["readers"]
    of_women = {row["readers"]: (row["kappa"], row["low"]) for row in told if row["unit"] == "woman"}
    assert of_women["a, b"][0] == 1.0 and of_women["a, c"] == (0.0, None)


def test_what_does_not_add_up_is_said(study: Path) -> None:
    path = study / "cohort" / "exclusions.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    assert audit(study / "cohort")["problems"] == ["files seen: 19, but its parts add up to 18"]


def test_prevalence_by_each_factor(study: Path) -> None:
    by = audit(study / "cohort")["by"]
    vendors = {
        row["value"]: (row["views"], row["women"], row["with_bac"], row["without"], row["prevalence"]) for row in by["vendor"]
    }
    assert vendors == {"A": (8, 2, 2, 0, 1.0), "B": (8, 2, 0, 1, 0.0)}
    assert {row["value"]: row["women"] for row in by["age"]} == {"40-49": 1, "50-59": 1, "60-69": 1, "70 on": 1}
    assert {row["value"]: row["views"] for row in by["spacing"]} == {"0.070 mm": 12, "no spacing": 4}
    assert "density" not in by and "site" not in by  # no file states it
    assert audit(study / "cohort")["numbers"]["kvp"] == {"stated": 12, "of": 16, "quartiles": [29.0, 29.0, 30.0, 31.0, 31.0]}


def test_the_page_is_one_file_with_contact_sheets_and_without_names(study: Path) -> None:
    page = write_audit(study)
    text = page.read_text()
    assert json.loads(page.with_suffix(".json").read_text())["identifying"]["PatientName"] == 16
    assert json.loads(page.with_suffix(".json").read_text())["unmatched"] == {"view without a label row": 4}
    assert "each in unmatched.csv: 4 view without a label row." in text
    assert "<td>women</td>" in text and "womans" not in text
    assert "Rossi" not in text and "http" not in text.replace("http-equiv", "")
    assert "PatientName</td><td>16" in text and "as --key none asked" in text
    assert "Doubtful crops" in text and "1 views; 1 are shown." in text  # the one cut at the lower edge
    assert "2 files; 1 are shown, 1 show no picture." in text
    for picture in re.findall(r"base64,([^\"]+)", text):
        assert Image.open(io.BytesIO(base64.b64decode(picture))).size[0] == 6 * 208


def test_a_study_writes_its_audit(study: Path) -> None:
    assert Study(study).audit() == study / "cohort" / "audit.html"
    with pytest.raises(TramtrackError, match="no cohort yet"):
        Study(study / "none").audit()


def test_a_tile_outlines_the_crop_and_needs_no_breast(tmp_path: Path) -> None:
    write(mammogram(), tmp_path / "a.dcm")
    found = tile(str(tmp_path / "a.dcm"))
    assert found is not None and (found == (255, 200, 0)).all(axis=2).sum() > 100
    write(mammogram(np.zeros((160, 120), dtype=np.uint16)), tmp_path / "b.dcm")
    assert tile(str(tmp_path / "b.dcm")) is not None and tile(str(tmp_path / "none.dcm")) is None


def test_many_tiles_are_thinned_and_it_is_said(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = study / "cohort" / "exclusions.csv"
    path.write_text(path.read_text().replace("not an image file", "not a standard view"))
    monkeypatch.setattr(audit_page, "MOST_TILES", 1)
    assert "2 files; " in (text := write_audit(study).read_text()) and "1 more of the same kinds" in text


def test_of_a_rare_kind_all_are_shown_and_of_others_evenly_spread_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_page, "MOST_TILES", 5)
    items = [_Item(str(number), "ultrasound" if number == 17 else "magnification", "") for number in range(40)]
    chosen = [item.file for item in _chosen(items)]
    assert len(chosen) == 5 and {"17", "0", "39"} <= set(chosen)
    assert _chosen([]) == [] and len(_chosen(items[:3])) == 3


def test_no_caption_repeats_a_path_that_repeats_a_name(study: Path) -> None:
    folder = study / "cohort"
    (folder / "identifying.csv").write_text(f"file,attributes\n{study.parent / 'in' / 'ml.dcm'},PatientID; file path\n")
    assert [(item.name, item.shows) for item in _excluded(folder)] == [
        ("exclusions.csv, line 2", True),
        ("exclusions.csv, line 3", False),  # notes.txt names nobody, and its folder may
    ]
    (folder / "identifying.csv").write_text(f"file,attributes\n{study.parent / 'in' / 'Rossi' / 'ml.dcm'},file path\n")
    assert [item.name for item in _excluded(folder)] == ["in/ml.dcm", "in/notes.txt"]
    assert [item.name for item in _doubtful(folder)] == ["W0_9_L_CC"]


def test_an_exam_of_the_one_breast_that_is_left_lacks_nothing(tmp_path: Path) -> None:
    for number, history in enumerate(("", "left mastectomy 2011")):
        for view in ("CC", "MLO"):
            stored = breast_stored(seed=number * 10 + len(view))
            tags = {"AdditionalPatientHistory": history, "Manufacturer": "inf", "Exposure": 60 + 60 * number}
            write(mammogram(stored, woman=f"W{number}", side="R", view=view, **tags), tmp_path / "in" / f"{number}{view}.dcm")
    make_cohort(tmp_path / "in", tmp_path / "study" / "cohort")
    found = audit(tmp_path / "study" / "cohort")
    assert {step["step"]: step["parts"] for step in found["steps"]}["exams"] == {
        "lacking a view": 1,
        "all views of her one breast": 1,
    }
    assert {row["value"]: row["views"] for row in found["by"]["exposure"]} == {"50 to 99 mAs": 2, "100 to 149 mAs": 2}
    assert "<td>inf</td>" in write_audit(tmp_path / "study").read_text()  # a name that reads like a number


def test_folds_are_counted_once_there_are_some_and_no_cohort_is_an_error(study: Path, tmp_path: Path) -> None:
    folds = pd.DataFrame({"woman": [f"W{n}" for n in range(4)], "fold": ["training", "test", "validation", "unlabelled"]})
    folds.assign(bac_woman="", detail="").to_csv(study / "cohort" / "folds.csv", index=False)
    (study / "cohort" / "warnings.csv").write_text("kind,what\npredicts the label,<vendor>: AUC 0.90\n")
    assert "&lt;vendor&gt;: AUC 0.90" in write_audit(study).read_text()
    found = audit(study / "cohort")
    assert found["problems"] == []
    assert {step["step"]: step["parts"] for step in found["steps"]}["analysed views"] == dict.fromkeys(folds["fold"], 4)
    with pytest.raises(TramtrackError, match="no cohort yet"):
        audit(tmp_path / "nothing" / "cohort")
