"""Why a network won, what a claim is about, and what guidelines ask: the report's sections on them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from html_page import Page
from tramtrack.report import cost_figures, probability_figures
from tramtrack.report.page import write_report


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory, study_folder: ModuleType) -> tuple[Path, str]:
    study = study_folder.fabricate(tmp_path_factory.mktemp("crossed") / "study", crossed=True)
    with pytest.MonkeyPatch.context() as patch:  # drawing takes most of a report's time, and this is about tables
        patch.setattr(probability_figures, "calibration_figures", lambda material: [])
        patch.setattr(probability_figures, "score_figures", lambda material: [])
        patch.setattr(cost_figures, "pareto_figures", lambda material: [])
        page = write_report(*study.arguments(), exported=True)
    return page.parent, page.read_text(encoding="utf-8")


def rows(html: str, table: str) -> list[list[str]]:
    """The body's rows of a table, their cells with single spaces."""
    return [[" ".join(cell.split()) for cell in row] for row in Page(html).rows[table][1:]]


def test_what_is_left_of_a_gap_is_shown_and_what_was_not_run_says_so(crossed) -> None:
    _, html = crossed
    gaps = {row[1]: row for row in rows(html, "gaps")}
    assert list(gaps) == ["the protocol's own", "stride 16", "policy equal-slice", "policy equal-slice, stride 16"]
    assert gaps["stride 16"][5] == "cannot be tested: MobileNetV2, stride 16: it has no finished run"
    assert gaps["policy equal-slice"][3] != "–" and "the data cannot say" in gaps["policy equal-slice"][5]
    within = {(row[0], row[1]): row for row in rows(html, "within")}
    assert within["VGG16", "stride 16"][4].startswith("changes nothing")
    assert "every variant" in html and len(rows(html, "variants")) == 5


def test_the_comparison_is_of_the_protocols_own_settings(crossed) -> None:
    _, html = crossed
    assert [row[0] for row in rows(html, "comparison")][:2] == ["VGG16", "MobileNetV2 then on <dogs>"]
    assert "equal-slice" not in html.split('id="factors"')[0].split("</nav>")[1]


@pytest.mark.usefixtures("few_figures")
def test_claims_about_architectures_stand_apart(crossed, study_folder: ModuleType, tmp_path: Path) -> None:
    _, html = crossed
    (claim,) = rows(html, "architectures")
    assert "3 splits of the same women" in html and claim[1] in ("supported", "unresolved") and claim[2] != "–"
    assert [row[0] for row in rows(html, "claims")] == ["VGG16 minus MobileNetV2", "VGG19", "Xception"], "architectures apart"
    plain = write_report(*study_folder.fabricate(tmp_path / "study").arguments()).read_text(encoding="utf-8")
    assert "cannot be tested: the women were split once" in plain and 'id="gaps"' not in plain
    assert "Nothing was crossed" in plain


def test_the_reporting_sheet_answers_from_the_files_and_asks_the_rest(crossed) -> None:
    folder, html = crossed
    found = {row[0]: row for row in rows(html, "sheet-table") if len(row) == 3}
    assert "sha256" not in found["Reference standard"][1] and "efefefefefef" in found["Reference standard"][1]
    assert found["Ethics approval and consent"][1] == "–" and "committee" in found["Ethics approval and consent"][2]
    assert "test 6 women, 3 with BAC" in found["Partitions"][1]
    assert "policy: last-conv, equal-slice; stride: 32, 16" in found["Robustness"][1] and "3 splits" in found["Robustness"][1]
    table = pd.read_csv(folder / "tables" / "reporting-sheet.csv", keep_default_na=False)
    assert len(table) > 30 and set(table["Topic"]) <= set(found)
    assert all(table["Answered by the run"].ne("") | table["Left to the author"].ne("")), "no topic is passed over in silence"
    assert {path.stem for path in (folder / "tables").glob("*.tex")} >= {"factors-between", "factors-within", "architectures"}
