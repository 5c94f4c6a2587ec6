"""The page's table of which arteries keep two lines is what the benchmark prints."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

import double_line

ROOT = Path(__file__).parents[3]


def test_a_row_of_the_pages_table_is_what_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(double_line, "DIAMETERS_MM", (1.0,))
    monkeypatch.setattr(sys, "argv", ["double_line"])
    double_line.main()
    printed = capsys.readouterr().out.splitlines()
    shown = (ROOT / "docs/explanation/phantom.md").read_text().splitlines()
    assert all(line.rstrip() in shown for line in printed[:3]), printed
    assert printed[2].startswith(" 1.00 mm") and '"met": true' in printed[3]
