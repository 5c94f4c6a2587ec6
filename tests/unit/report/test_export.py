"""Exported tables say what the page says, and exported figures are whole files at journal size."""

from __future__ import annotations

import csv
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from tramtrack.report.export import latex, pasted
from tramtrack.report.named_tables import named_tables
from tramtrack.report.page import write_report
from tramtrack.report.reading import read_material


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, study_folder: ModuleType) -> Path:
    study = study_folder.fabricate(tmp_path_factory.mktemp("study"))
    return write_report(*study.arguments(), exported=True).parent


def test_every_table_has_three_forms_with_the_same_cells(exported: Path) -> None:
    names = {path.stem for path in (exported / "tables").iterdir()}
    assert {"table-1", "scores-by-woman", "scores-by-view", "claims", "subgroups", "resources", "flow"} <= names
    assert {"scores-by-woman-validation", "thresholds", "rules", "calibration", "weights", "looks", "protocol"} <= names
    for name in names:
        rows = list(csv.reader((exported / "tables" / f"{name}.csv").open(encoding="utf-8")))
        page = (exported / "tables" / f"{name}.html").read_text("utf-8")
        tex = (exported / "tables" / f"{name}.tex").read_text("utf-8")
        assert page.count("<tr>") == len(rows) and tex.count(r" \\") == len(rows)
        assert page.count("<td>") == (len(rows) - 1) * len(rows[0])
        assert "Synthetic images." in page and "Synthetic images." in tex


def test_scores_are_those_of_the_page(exported: Path) -> None:
    rows = list(csv.DictReader((exported / "tables" / "scores-by-woman.csv").open(encoding="utf-8")))
    assert [row["Network"] for row in rows] == ["VGG16", "MobileNetV2", "Xception (random weights)"]
    page = (exported / "index.html").read_text("utf-8")
    estimate, span = rows[0]["AUC-ROC"].split(" ", 1)
    assert re.search(rf'<b>{estimate}</b> <span class="span">{re.escape(span)}</span>', page)


def test_no_seed_is_lost_where_several_were_trained(tmp_path: Path, study_folder: ModuleType) -> None:
    material = read_material(*study_folder.fabricate(tmp_path).arguments())
    training = material.protocol.training.model_copy(update={"seeds": (0, 1)})
    tables = {}
    for name, network in (("subgroups", "vgg16"), ("rules", "mobilenetv2")):
        table = material.tables[name]
        again = table[table["network"] == network].assign(seed=1)
        tables[name] = pd.concat([table, again], ignore_index=True)
    told = dict(
        named_tables(
            replace(
                material,
                tables={**material.tables, **tables},
                protocol=material.protocol.model_copy(update={"training": training}),
            )
        )
    )
    names = list(told["subgroups"][1].columns)[2:]
    assert [name for name in names if "alone" not in name] == [
        "VGG16, seed 0", "MobileNetV2, seed 0", "Xception, seed 0 (random weights)", "VGG16, seed 1",
    ]  # fmt: skip
    assert {"age alone", "vendor alone"} <= {name.split(" (")[0] for name in names}, "a baseline has no seed"
    assert "MobileNetV2, seed 1" in told["rules"][1]["Network"].tolist()


def test_a_baseline_of_fewer_women_says_of_how_many(tmp_path: Path, study_folder: ModuleType) -> None:
    material = read_material(*study_folder.fabricate(tmp_path).arguments())
    table = material.tables["subgroups"]
    fewer = table.mask((table["network"] == "age alone") & (table["factor"] == "all"), table.assign(n=5, positives=2))
    told = dict(named_tables(replace(material, tables={**material.tables, "subgroups": fewer})))
    assert "age alone (2 of 5 women)" in told["subgroups"][1].columns
    assert "age alone" in dict(named_tables(material))["subgroups"][1].columns


def test_a_vendor_called_na_keeps_its_name(tmp_path: Path, study_folder: ModuleType) -> None:
    made = study_folder.fabricate(tmp_path)
    path = tmp_path / "results" / "subgroups.csv"
    path.write_text(path.read_text().replace("maker 0", "NA"))
    told = dict(named_tables(read_material(*made.arguments())))["subgroups"][1].to_csv()
    assert "NA" in told and "maker 1" in told and "nan" not in told


def test_table_1_counts_the_women_of_each_fold(exported: Path) -> None:
    rows = list(csv.reader((exported / "tables" / "table-1.csv").open(encoding="utf-8")))
    assert rows[0] == ["", "Training", "Validation", "Test"]
    assert rows[1] == ["Women", "8", "6", "6"] and rows[2][3] == "3 (50.0\u00a0%)"
    assert [row[0] for row in rows if row[0].startswith(("Age", "Vendor"))][:2] == [
        "Age, median (quartiles)",
        "Vendor: maker 0",
    ]


def test_figures_are_whole_and_as_wide_as_a_column(exported: Path) -> None:
    figures = exported / "figures"
    names = {path.stem for path in figures.iterdir()}
    assert {"flow", "roc-woman", "calibration-0", "decision-own", "pareto-multiply-adds"} <= names
    for name in names:
        assert (figures / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        width = ET.parse(figures / f"{name}.svg").getroot().attrib["width"]
        assert round(float(width.removesuffix("pt")) / 72 * 25.4) in (84, 129)


@pytest.mark.usefixtures("few_figures")
def test_the_page_is_the_same_with_and_without_export(tmp_path: Path, study_folder: ModuleType) -> None:
    study = study_folder.fabricate(tmp_path)
    plain = write_report(*study.arguments())
    assert not (plain.parent / "figures").exists()
    first = plain.read_bytes()
    assert write_report(*study.arguments(), exported=True).read_bytes() == first
    once = {path.name: path.read_bytes() for path in (plain.parent / "figures").iterdir()}
    write_report(*study.arguments(), exported=True)
    assert {path.name: path.read_bytes() for path in (plain.parent / "figures").iterdir()} == once


def test_odd_characters_are_escaped() -> None:
    table = pd.DataFrame({"a_b": ["50 % & <more>", "−0.1"]})
    lines = latex(table, "x_y").splitlines()
    assert lines[1:4] == [r"\caption{x\_y}", r"\begin{tabular}{l}", r"\toprule"]
    assert lines[4:7] == [r"a\_b \\", r"\midrule", r"50 \% \& \textless{}more\textgreater{} \\"]
    assert r"$-$0.1 \\" in latex(table, "x")
    assert "&lt;more&gt;" in pasted(table, "<x>") and "<caption>&lt;x&gt;</caption>" in pasted(table, "<x>")
