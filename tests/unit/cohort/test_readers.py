"""Several readers: the consensus, kappa against published figures and scikit-learn, disagreements there and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from mammogram import write_exam
from tramtrack.cohort import ingest as ingest_module
from tramtrack.cohort.cohort import make_cohort, require_same_intake
from tramtrack.cohort.labels import read_labels
from tramtrack.cohort.privacy import Secret, read_key
from tramtrack.cohort.readers import agreement, consensus
from tramtrack.errors import TramtrackError
from tramtrack.protocol import Intake, Labels


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker processes: what they do is tested elsewhere."""
    monkeypatch.setattr(ingest_module, "run_each", lambda task, units, **_: ((unit, task(unit)) for unit in units))


@pytest.mark.parametrize(
    ("labels", "majority", "adjudicated", "anyone"),
    [
        ({"a": 1, "b": 1, "c": 0}, 1, None, 1),
        ({"a": 0, "b": 0, "c": 1}, 0, None, 1),
        ({"a": 1, "b": 0}, None, None, 1),
        ({"a": 0, "b": None}, 0, 0, 0),
        ({"a": None, "b": None}, None, None, None),
        ({"a": 1, "b": 0, "adjudicated": 0}, 0, 0, 0),
        ({"a": 1, "b": 1, "adjudicated": None}, 1, 1, 1),
    ],
)
def test_consensus(labels: dict[str, int | None], majority: int | None, adjudicated: int | None, anyone: int | None) -> None:
    assert [consensus(labels, rule) for rule in ("majority", "adjudicated", "any")] == [majority, adjudicated, anyone]


def readers_of(*columns: list[int | None]) -> pd.DataFrame:
    table = pd.DataFrame({f"r{index}": pd.array(column, dtype="Int64") for index, column in enumerate(columns)})
    return table.assign(woman=[f"W{index // 2}" for index in range(len(table))])


def test_cohens_kappa_is_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    first = rng.integers(0, 2, 80)
    second = np.where(rng.random(80) < 0.8, first, 1 - first)
    row = agreement(readers_of(list(first), list(second)), "view").iloc[0]
    assert row["kappa"] == pytest.approx(cohen_kappa_score(first, second)) and row["measure"] == "Cohen"
    assert row["low"] < row["kappa"] < row["high"] and (row["items"], row["women"]) == (80, 40)
    assert row["agreement"] == pytest.approx((first == second).mean())


def test_fleiss_kappa_of_a_worked_example() -> None:
    """Three readers, five items: P is (1 + 1 + 1/3 + 1/3 + 1) / 5, the share of positives 7/15."""
    table = readers_of([1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [1, 0, 0, 0, 0])
    table["r2"] = pd.array([1, 1, 0, 0, 0], dtype="Int64")
    row = agreement(table, "woman").set_index("measure").loc["Fleiss"]
    observed, positives = (1 + 1 + 1 / 3 + 1 / 3 + 1) / 5, 8 / 15
    chance = positives**2 + (1 - positives) ** 2
    assert row["kappa"] == pytest.approx((observed - chance) / (1 - chance))


def test_intervals_resample_women_and_not_items() -> None:
    rng = np.random.default_rng(2)
    first = rng.integers(0, 2, 40)
    second = np.where(rng.random(40) < 0.75, first, 1 - first)
    alone = readers_of(list(first), list(second)).assign(woman=[f"W{index}" for index in range(40)])
    copied = pd.concat([alone] * 6)  # six views of each woman that say the same bear no more information
    one, six = agreement(alone, "view").iloc[0], agreement(copied, "view").iloc[0]
    assert six["high"] - six["low"] == pytest.approx(one["high"] - one["low"], rel=1e-6)


def test_uncertain_items_do_not_count_and_constant_readers_have_no_kappa() -> None:
    row = agreement(readers_of([1, 1, None], [1, 1, 0]), "view").iloc[0]
    assert row["items"] == 2 and pd.isna(row["kappa"]) and row["reason"] == "all readers give every item the same label"
    assert agreement(readers_of([None], [1]), "view").iloc[0]["reason"] == "no item is known to all of them"


TABLE = "woman,side,view,bac_anna,bac_ugo,bac_rita\nA,L,CC,1,1,1\nA,L,MLO,1,0,0\nB,L,CC,0,uncertain,1\nB,L,MLO,0,0,0\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_exam(tmp_path / "in", woman="A", exam="1", seed=1)
    write_exam(tmp_path / "in", woman="B", exam="2", seed=2)
    return tmp_path / "in"


def views_of(tmp_path: Path, source: Path, name: str, text: str = TABLE, **options: object) -> pd.Series:
    (tmp_path / "labels.csv").write_text(text)
    views = make_cohort(source, tmp_path / name / "cohort", tmp_path / "labels.csv", **options).views  # type: ignore[arg-type]
    return views.set_index(["woman", "side", "view"])["bac_view"]


def test_readers_as_columns_and_as_rows_give_the_same_cohort(tmp_path: Path, source: Path) -> None:
    columns = views_of(tmp_path, source, "columns")
    assert columns[("A", "L", "CC")] == 1 and columns[("A", "L", "MLO")] == 0 and pd.isna(columns[("B", "L", "CC")])
    rows = ["woman,side,view,reader,bac"]
    for line in TABLE.splitlines()[1:]:
        *key, anna, ugo, rita = line.split(",")
        rows += [",".join([*key, name, value]) for name, value in (("anna", anna), ("ugo", ugo), ("rita", rita))]
    assert views_of(tmp_path, source, "rows", "\n".join(rows)).equals(columns)
    for name in ("readers.csv", "disagreements.csv"):
        assert (tmp_path / "rows" / "cohort" / name).read_bytes() == (tmp_path / "columns" / "cohort" / name).read_bytes()
    found = pd.read_csv(tmp_path / "rows" / "cohort" / "readers.csv")
    assert found.groupby("unit")["measure"].agg(list).to_dict() == {
        unit: ["Cohen", "Cohen", "Cohen", "Fleiss"] for unit in ("view", "breast", "woman")
    }
    assert found.set_index(["unit", "readers"]).loc[("view", "anna, ugo"), "items"] == 3


def test_disagreements_are_listed_filled_in_and_come_back(tmp_path: Path, source: Path) -> None:
    views_of(tmp_path, source, "study")
    path = tmp_path / "study" / "cohort" / "disagreements.csv"
    listed = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert listed[["woman", "view", "bac_anna", "bac_ugo", "bac_adjudicated"]].to_numpy().tolist() == [
        ["A", "MLO", "1", "0", ""],
        ["B", "CC", "0", "", ""],
    ]
    listed["bac_adjudicated"] = ["1", "uncertain"]
    listed.to_csv(tmp_path / "settled.csv", index=False)
    settled = views_of(tmp_path, source, "study", adjudication=tmp_path / "settled.csv")
    assert settled[("A", "L", "MLO")] == 1 and pd.isna(settled[("B", "L", "CC")])
    kept = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert kept.to_csv() == listed.to_csv()  # the answers stay with what they settle
    kept.assign(comment="seen twice").to_csv(path, index=False)
    kept = pd.read_csv(path, dtype=str, keep_default_na=False)
    again = views_of(tmp_path, source, "study", adjudication=path)  # filled in where it lies, and given back from there
    assert again.equals(settled) and pd.read_csv(path, dtype=str, keep_default_na=False).equals(kept)
    labels = (tmp_path / "study" / "cohort" / "labels.csv").read_bytes()
    with pytest.raises(TramtrackError, match="2 of its answers in bac_adjudicated would be lost"):
        views_of(tmp_path, source, "study")
    assert pd.read_csv(path, dtype=str, keep_default_na=False).equals(kept)
    assert (tmp_path / "study" / "cohort" / "labels.csv").read_bytes() == labels
    path.write_text("woman,seen\nA,yes\n")  # left without the column: there is no answer in it
    assert views_of(tmp_path, source, "study")[("A", "L", "MLO")] == 0
    path.write_text("")
    with pytest.raises(TramtrackError, match="expected a table of disagreements, found an empty file"):
        views_of(tmp_path, source, "study")
    with pytest.raises(TramtrackError, match="expected the column bac_adjudicated"):
        read_labels(tmp_path / "labels.csv", adjudication=tmp_path / "labels.csv")


def test_an_answer_stays_though_the_readers_agree_by_now(tmp_path: Path, source: Path) -> None:
    views_of(tmp_path, source, "study")
    path = tmp_path / "study" / "cohort" / "disagreements.csv"
    pd.read_csv(path, dtype=str).assign(bac_adjudicated=["1", "uncertain"]).to_csv(path, index=False)
    settled = views_of(tmp_path, source, "study", adjudication=path)
    agreeing = TABLE.replace("MLO,1,0,0", "MLO,0,0,0").replace("CC,0,uncertain,1", "CC,0,0,0")
    assert views_of(tmp_path, source, "study", agreeing, adjudication=path).equals(settled)
    assert pd.read_csv(path, dtype=str)["bac_adjudicated"].tolist() == ["1", "uncertain"]
    before = path.read_bytes()
    views_of(tmp_path, source, "study", "woman,bac\nA,1\n", adjudication=path)  # one reader's table removes no answers
    assert path.read_bytes() == before and not path.with_name("readers.csv").exists()


def test_a_row_is_named_by_its_line_in_its_own_table(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("woman,bac_anna,bac_ugo\nA,1,1\nB,0,0\nC,1,0\n")
    (tmp_path / "settled.csv").write_text("woman,exam,side,view,bac_adjudicated\nC,,,,1\nD,,,,0\n")
    table = read_labels(tmp_path / "labels.csv", adjudication=tmp_path / "settled.csv")
    assert [str(row) for row in table.rows] == [
        "line 2: woman A",
        "line 3: woman B",
        "line 4: woman C",
        "line 3 of settled.csv: woman D",
    ]


def test_disagreements_come_back_under_pseudonyms(tmp_path: Path, source: Path) -> None:
    secret = Secret(read_key(tmp_path / "key", tmp_path / "study"))
    views_of(tmp_path, source, "study", secret=secret)
    path = tmp_path / "study" / "cohort" / "disagreements.csv"
    listed = pd.read_csv(path, dtype=str).assign(bac_adjudicated="1")
    assert listed["woman"].str.startswith("W-").all()
    listed.to_csv(tmp_path / "settled.csv", index=False)
    labels = views_of(tmp_path, source, "study", secret=secret, adjudication=tmp_path / "settled.csv")
    assert (labels.dropna() == 1).sum() == 3 and pd.read_csv(path)["bac_adjudicated"].tolist() == [1, 1]


def test_readers_who_never_differ_have_a_kappa_and_no_interval_without_width() -> None:
    (row,) = agreement(readers_of([1, 0, 1, 0], [1, 0, 1, 0]), "view").to_dict("records")
    assert row["kappa"] == 1 and row["low"] is None and row["high"] is None
    assert row["reason"] == "no interval: 2 women, whose readers agree alike"


def test_an_adjudicator_who_is_uncertain_leaves_it_unknown_and_a_silent_one_does_not(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("woman,bac_a,bac_b,bac_c,bac_adjudicated\nA,1,1,0,uncertain\nB,1,1,0,\nC,1,1,0,0\n")
    assert [row.label for row in read_labels(tmp_path / "a.csv").rows] == [None, 1, 0]


def test_the_rule_of_the_protocol_is_kept_and_another_one_is_refused(tmp_path: Path, source: Path) -> None:
    anyone = views_of(tmp_path, source, "study", labelling=Labels(consensus="any"))
    assert anyone[("A", "L", "MLO")] == 1 and anyone[("B", "L", "CC")] == 1
    with pytest.raises(TramtrackError, match="consensus: any against majority"):
        require_same_intake(tmp_path / "study" / "cohort", Intake(), Labels())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("woman,bac_a,bac\nA,1,1\n", "readers stand in columns"),
        ("woman,reader,bac\nA,x,1\nA,x,0\n", "woman A stands by x in lines 2, 3"),
        ("woman,bac_view,bac_woman\nA,1,1\n", "line 2: a reader cannot be called view, as a column is"),
        ("woman,reader,bac\nA,exam,1\n", "line 2: a reader cannot be called exam"),
        ("woman,bac_a\nA,perhaps\n", "line 2: expected 1, 0, yes, no, positive, negative or nothing in bac_a"),
    ],
)
def test_tables_of_readers_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(TramtrackError, match=message):
        read_labels(tmp_path / "labels.csv")


CBIS = "patient_id,left or right breast,image view,abnormality id,abnormality type,calc type\n"


def test_cbis_case_descriptions(tmp_path: Path) -> None:
    rows = "P_1,LEFT,CC,1,calcification,PLEOMORPHIC\nP_1,LEFT,CC,2,calcification,VASCULAR-COARSE\n"
    rows += "P_2,RIGHT,MLO,1,calcification,ROUND\n"
    (tmp_path / "cbis.csv").write_text(CBIS + rows)
    unknown = read_labels(tmp_path / "cbis.csv").rows
    assert [(row.key, row.label) for row in unknown] == [(("P_1", "", "L", "CC"), 1), (("P_2", "", "R", "MLO"), None)]
    assert [row.label for row in read_labels(tmp_path / "cbis.csv", Labels(unmarked="negative")).rows] == [1, 0]
    (tmp_path / "cbis.csv").write_text(CBIS + "P_1,UP,CC,1,calcification,ROUND\n")
    with pytest.raises(TramtrackError, match=r"line 2: expected a side .* received 'UP'"):
        read_labels(tmp_path / "cbis.csv")


def test_the_real_cbis_tables_have_67_vascular_images_of_21_women(shared: Path) -> None:
    rows = [
        row
        for part in ("train", "test")
        for row in read_labels(shared / "data" / "cbis_ddsm_labels" / f"calc_case_description_{part}_set.csv").rows
    ]
    vascular = [row for row in rows if row.label == 1]
    assert {row.label for row in rows} == {1, None}
    assert (len(vascular), len({row.woman for row in vascular})) == (67, 21)
    assert len({(row.woman, row.side) for row in vascular}) == 34


def test_embeds_findings(tmp_path: Path) -> None:
    text = 'empi_anon,acc_anon,side,calcfind,extra\n7,70,L,V,x\n7,70,R,A,x\n8,80,B,"A,V",x\n9,90,,V,x\n'
    (tmp_path / "embed.csv").write_text(text)
    rows = {row.key: row.label for row in read_labels(tmp_path / "embed.csv").rows}
    assert rows == {
        ("7", "70", "L", ""): 1,
        ("7", "70", "R", ""): None,
        ("8", "80", "L", ""): 1,
        ("8", "80", "R", ""): 1,
        ("9", "90", "", ""): 1,
    }


def test_a_vascular_finding_without_a_side_is_the_exams_and_calls_no_breast_negative(tmp_path: Path) -> None:
    text = "empi_anon,acc_anon,side,calcfind\n7,70,,V\n7,70,L,A\n7,70,R,\n7,71,L,A\n7,71,,A\n"
    (tmp_path / "embed.csv").write_text(text)
    rows = {row.key: row.label for row in read_labels(tmp_path / "embed.csv", Labels(unmarked="negative")).rows}
    assert rows == {
        ("7", "70", "", ""): 1,
        ("7", "70", "L", ""): None,
        ("7", "70", "R", ""): None,
        ("7", "71", "L", ""): 0,
    }
