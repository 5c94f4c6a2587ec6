"""Association of burden with outcomes: the estimates are a hand-written fit's, few events are refused, tables are named."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from scipy import special

from tramtrack.cohort.privacy import NO_SECRET, Secret, pseudonym
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.judgement.association import associate, measured_women, read_outcomes, women_of
from tramtrack.protocol import Burden, Protocol


def women(count: int = 200) -> pd.DataFrame:
    """Women with areas of 0 to 60 mm2 and ages of 45 to 74."""
    rng = np.random.default_rng(9108)
    area = np.where(rng.random(count) < 0.5, 0.0, rng.gamma(1.5, 12, count))
    ages = rng.integers(45, 75, count).astype(float)
    names = [f"w{number}" for number in range(count)]
    return pd.DataFrame({"woman": names, "source": "s", "area": area, "age_years": ages})


def outcome_of(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    rng = np.random.default_rng(9109)
    linear = 0.04 * table["area"] + 0.05 * (table["age_years"] - 60)
    values = linear + rng.normal(0, 1, len(table)) if kind == "number" else rng.random(len(table)) < special.expit(linear - 0.5)
    return pd.DataFrame({kind: values.to_numpy(dtype=float)}, index=table["woman"])


def design_of(table: pd.DataFrame) -> np.ndarray:
    return np.column_stack((np.ones(len(table)), table["area"] / 10, table["age_years"] / 10))


def test_the_odds_ratio_is_that_of_newtons_method_with_walds_interval():
    table = women()
    outcome = outcome_of(table, "event")
    found = associate(table, outcome, Protocol()).set_index("term")
    x, y, beta = design_of(table), outcome["event"].to_numpy(), np.zeros(3)
    for _ in range(30):
        p = special.expit(x @ beta)
        information = x.T @ (x * (p * (1 - p))[:, None])
        beta += np.linalg.solve(information, x.T @ (y - p))
    error = np.sqrt(np.diag(np.linalg.inv(information)))
    for place, term in ((1, "burden, per 10 mm2"), (2, "age, per 10 years")):
        row = found.loc[term]
        bounds = np.exp(beta[place] + np.array([0, -1, 1]) * 1.959964 * error[place])
        assert (row["estimate"], row["low"], row["high"]) == pytest.approx(tuple(bounds), rel=1e-5)
        assert (row["model"], row["measure"]) == ("logistic", "odds ratio")
        assert (row["n"], row["events"], row["left_out"]) == (200, int(y.sum()), 0)
    assert found.loc["burden, per 10 mm2", "low"] > 1


def test_a_number_gives_the_difference_of_least_squares():
    table = women()
    outcome = outcome_of(table, "number")
    row = associate(table, outcome, Protocol()).iloc[0]
    beta = np.linalg.lstsq(design_of(table), outcome["number"].to_numpy(), rcond=None)[0]
    assert (row["model"], row["measure"]) == ("linear", "difference") and pd.isna(row["events"])
    assert row["estimate"] == pytest.approx(beta[1]) and row["low"] < beta[1] < row["high"]


def test_who_lacks_area_age_or_outcome_is_left_out_and_counted():
    table = women()
    outcome = outcome_of(table, "event").iloc[:-10]
    table.loc[0, "area"], table.loc[1, "age_years"] = np.nan, np.nan
    row = associate(table, outcome, Protocol()).iloc[0]
    assert (row["n"], row["left_out"]) == (188, 12)


def test_an_outcome_may_have_the_name_of_a_column_of_the_burden_table():
    table = women()
    values = outcome_of(table, "event")
    for name in ("area", "source"):
        found = associate(table, values.set_axis([name], axis=1), Protocol())
        pd.testing.assert_frame_equal(found, associate(table, values, Protocol()).assign(outcome=name))


@pytest.mark.parametrize("events", (0, 19, 181, 200))
def test_too_few_events_or_women_without_are_refused_with_the_counts(events):
    table = women()
    values = (np.arange(200) < events).astype(float)
    found = associate(table, pd.DataFrame({"event": values}, index=table["woman"]), Protocol())
    assert found["estimate"].isna().all()
    assert (found["reason"] == f"{events} events and {200 - events} women without; 20 of each are needed").all()
    assert found["events"].tolist() == [events, events]


def test_the_protocol_says_how_many_are_needed_and_few_women_have_no_line():
    table = women(30)
    protocol = Protocol(burden=Burden(events_per_coefficient=20))
    found = associate(table, outcome_of(table, "number"), protocol)
    assert (found["reason"] == "30 women; 40 are needed").all()
    assert associate(table, outcome_of(table, "number"), Protocol())["estimate"].notna().all()


def test_what_cannot_be_fitted_has_a_reason():
    table = women()
    told = associate(
        table, pd.DataFrame({"event": (table["area"] > 5).astype(float).to_numpy()}, index=table["woman"]), Protocol()
    )
    assert (told["reason"] == "no fit: burden and age tell the outcome apart without error").all()
    alike = associate(table.assign(area=3.0), outcome_of(table, "event"), Protocol())
    assert (alike["reason"] == "all women have the same burden").all()


def test_without_statsmodels_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "statsmodels.api", None)
    with pytest.raises(TramtrackError, match=r'pip install "\.\[associate\]" in the folder of tramtrack'):
        associate(women(), outcome_of(women(), "event"), Protocol())


def test_outcomes_are_brought_to_women_by_patient_id_or_by_pseudonym(tmp_path):
    path = tmp_path / "outcomes.csv"
    path.write_text("woman,event,score\n123,1,2.5\n456,,3\n789,0,1\n")
    key = bytes(range(32))
    names = [pseudonym(key, "W", number) for number in ("123", "456")]
    found = read_outcomes(path, frozenset(names), Secret(key))
    assert sorted(found.index) == sorted(names) and found.loc[names[0]].tolist() == [1, 2.5]
    assert np.isnan(found.loc[names[1], "event"])
    assert len(read_outcomes(path, frozenset({"123", "x"}), NO_SECRET)) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,event\na,1\n", "expected the column woman and a column an outcome, found name, event"),
        ("woman\na\n", "expected the column woman and a column an outcome"),
        ("woman,event\na,yes\n", "line 2: column event: expected a number or nothing, received 'yes'"),
        ("woman,event\na,1\na,0\n", "line 3: expected one row for each woman; a stood there already"),
        ("woman,event\nb,1\n", "none of its 1 women is one whose burden was measured"),
    ],
)
def test_a_table_of_outcomes_that_cannot_be_read_is_named(text, says, tmp_path):
    path = tmp_path / "outcomes.csv"
    path.write_text(text)
    with pytest.raises(TramtrackError) as caught:
        read_outcomes(path, frozenset({"a"}), NO_SECRET)
    assert says in str(caught.value) and "outcomes.csv" in str(caught.value)


def test_the_source_must_be_one_that_was_measured(tmp_path):
    path = tmp_path / "study" / "results" / "women_burden.csv"
    with pytest.raises(TramtrackError, match="no burden yet; run `tramtrack burden"):
        measured_women(path)
    path.parent.mkdir(parents=True)
    rows = [("s", "a", "yes", 4.0, 60), ("s", "a", "no", 2.0, 57), ("t", "a", "yes", 5.0, 60)]
    pd.DataFrame(rows, columns=["source", "woman", "analysed", "area", "age_years"]).to_csv(path, index=False)
    measured = measured_women(path)
    assert women_of(measured, "s", "t")["area"].tolist() == [4]
    assert women_of(measured, None, "t")["area"].tolist() == [5]
    with pytest.raises(UsageError, match="--source u: expected one of s, t"):
        women_of(measured, "u", "t")
    with pytest.raises(UsageError, match=r"no burden of u, the best run on validation, .* name another by --source: s, t"):
        women_of(measured, None, "u")
