"""The section on trust: every judged test with its limit and verdict, a failure as plainly as a pass."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from tramtrack import store
from tramtrack.explain.trust_stage import COLUMNS
from tramtrack.report.page import write_report


@pytest.mark.usefixtures("few_figures")
def test_what_failed_stands_in_the_report(study_folder: ModuleType, tmp_path: Path) -> None:
    made = study_folder.fabricate(tmp_path / "study")
    assert "Whether the maps can be trusted" not in write_report(*made.arguments()).read_text()
    rows = [
        ("vgg16", "flip", "top to bottom", 0.9, 0.8, 1.0, "least", 0.7, "pass", 12, 6),
        ("vgg16", "removal", "score", 0.1, -0.3, 0.5, "least", 0.5, "unresolved", 9, 5),
        ("vgg16", "randomisation", "down to block3_conv1", 0.7, 0.6, 0.8, "", None, "information", 12, 6),
        ("vgg16", "randomisation", "everything", 0.8, 0.7, 0.9, "most", 0.5, "fail", 12, 6),
    ]
    store.write_csv(made.folder / "results" / "trust.csv", pd.DataFrame(rows, columns=COLUMNS))
    assert "Whether the maps can be trusted" not in write_report(*made.arguments()).read_text()  # of nobody knows which run
    tested = sorted(store.read_json(made.folder / "results" / "summary.json")["runs"].values())[:1]
    store.write_manifest(made.folder / "results" / "trust" / "vgg16.json", {"weights": tested}, {})
    page = write_report(*made.arguments()).read_text()
    assert "of 3 tests 1 failed, 1 unresolved; 6 women" in page and "means over up to 12 validation views" in page
    assert "the share of calcification left, and the score beyond" in page
    assert "0.10 (-0.30 to 0.50)" in page and "at least 0.5" in page and "at most 0.5" in page
    assert (
        page.count("</span> fail</span>") == page.count("</span> unresolved</span>") == 1
        and page.count("</span> pass</span>") == 1
    )
    assert "down to block3_conv1" in page
