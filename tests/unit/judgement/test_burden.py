"""The woman's burden: bands, the confusion matrix, interval, percentile and change, each with a reason where there is none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from tramtrack.judgement.burden import (
    SCU_NET,
    VIEW_COLUMNS,
    agreement_table,
    around,
    band_of,
    band_table,
    by_woman,
    missing_views,
    squared_errors,
)
from tramtrack.judgement.burden_women import women_table
from tramtrack.phantom.burden import AREA_BANDS_MM2
from tramtrack.protocol import Burden, Evaluation, Protocol


@dataclass(frozen=True)
class Errors:
    squared_error: float | None = None
    repeatability: float | None = None


def table(rows: list[dict]) -> pd.DataFrame:
    """burden.csv of these rows; what they do not say is the same for all."""
    common = dict.fromkeys(("length", "share", "breast_area", *SCU_NET, "true_length"), 0.0) | {
        "exam": "e", "side": "L", "view": "CC", "fold": "test", "analysed": "yes", "source": "s", "kind": "heat map",
        "unit": "mm", "true_area": np.nan, "true_from": "", "calibrated": "validation", "note": "",
    }  # fmt: skip
    full = [{**common, "view_id": str(number), **row} for number, row in enumerate(rows)]
    return pd.DataFrame(full, columns=VIEW_COLUMNS)


def test_bands_take_their_upper_ends_and_are_the_phantoms():
    areas = (0, 1e-9, 10, 10.001, 25, 25.001, 1e4)
    assert [band_of(area) for area in areas] == ["0", ">0-10", ">0-10", ">10-25", ">10-25", ">25", ">25"]
    assert AREA_BANDS_MM2 == (0.0, 10.0, 25.0)


def test_a_womans_area_is_the_sum_or_the_mean_and_presence_is_by_breast():
    views = table([
        {"woman": "a", "side": "L", "area": 6.0, "true_area": 3.0}, {"woman": "a", "side": "L", "area": 0.0, "true_area": 0.0},
        {"woman": "a", "side": "R", "area": 0.0, "true_area": 0.0}, {"woman": "b", "side": "R", "area": 30.0},
    ])  # fmt: skip
    ages = pd.Series({("a", "e"): 61.0, ("b", "e"): 70.0})
    both = by_woman(views, Burden(), ages).set_index("woman")
    assert (both.loc["a", "area"], both.loc["a", "band"], both.loc["a", "true_band"]) == (6, ">0-10", ">0-10")
    assert (both.loc["a", "bac_left"], both.loc["a", "bac_right"], both.loc["a", "age_years"]) == (1, 0, 61)
    assert pd.isna(both.loc["b", "bac_left"]) and both.loc["b", "true_band"] == "" and both.loc["b", "band"] == ">25"
    assert by_woman(views, Burden(woman="mean")).set_index("woman").loc["a", "area"] == 2


def test_a_woman_with_a_view_in_pixels_or_not_measured_has_no_area():
    views = table([
        {"woman": "a", "area": 6.0, "unit": "pixels"}, {"woman": "b", "area": np.nan}, {"woman": "b", "area": 1.0},
    ])  # fmt: skip
    found = by_woman(views, Burden()).set_index("woman")
    assert found["area"].isna().all() and (found["band"] == "").all()
    assert found.loc["a", "reason"].startswith("no spacing") and found.loc["b", "reason"] == "1 of 2 views not measured"


def test_a_sum_over_fewer_than_the_standard_views_is_no_area():
    places = [("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO")]
    known = pd.DataFrame(
        [("a", "e", *at, "") for at in places]
        + [("b", "e", *at, "") for at in places[:3]]
        + [("c", "e", *at, "R") for at in places[:2]],
        columns=["woman", "exam", "side", "view", "absent_breast"],
    )
    missing = missing_views(known)
    assert missing == {("a", "e"): 0, ("b", "e"): 1, ("c", "e"): 0}  # c has no right breast
    views = table([{"woman": woman, "area": 2.0, "true_area": 2.0} for woman in known["woman"]])
    found = by_woman(views, Burden(), None, missing).set_index("woman")
    assert found["area"].isna().to_dict() == found["true_area"].isna().to_dict() == {"a": False, "b": True, "c": False}
    assert found.loc["b", "reason"] == "1 standard view missing from the sum"
    assert by_woman(views, Burden(woman="mean"), None, missing).set_index("woman").loc["b", "area"] == 2


def test_the_confusion_matrix_counts_each_woman_with_a_known_truth_once():
    views = table([
        {"woman": "a", "area": 0.0, "true_area": 0.0}, {"woman": "b", "area": 5.0, "true_area": 0.0},
        {"woman": "c", "area": 11.0, "true_area": 30.0}, {"woman": "d", "area": 11.0},
        {"woman": "c", "exam": "old", "analysed": "no", "area": 1.0, "true_area": 1.0},
    ])  # fmt: skip
    found = band_table(by_woman(views, Burden())).set_index("true_band")[["0", ">0-10", ">10-25", ">25"]]
    assert found.loc["0"].tolist() == [1, 1, 0, 0] and found.loc[">25"].tolist() == [0, 0, 1, 0]
    assert found.to_numpy().sum() == 3


def test_agreement_is_by_source_fold_and_unit_with_a_correlation_alone_where_amounts_differ_in_kind():
    rng = np.random.default_rng(9107)
    rows = []
    for number in range(40):
        area = float(rng.gamma(2, 4)) if number % 2 else 0.0
        measured = {"area": area + rng.random(), "length": 3 * area + rng.random()}
        rows.append({"woman": f"w{number // 2}", **measured, "true_area": area, "true_length": 3 * area})
    views = table([*rows, {"woman": "u", "area": 3.0, "true_area": np.nan, "true_length": np.nan}])
    found = agreement_table(views, by_woman(views, Burden()), Evaluation(resamples=200))
    assert list(found["of"]) == ["view"] * 6 + ["woman"] * 2 and set(found["n"]) == {40, 20}
    rows_of = found.set_index(["of", "measured", "true", "among"])
    assert rows_of.loc[("view", "area", "area", "all"), "rho"] > 0.9
    assert rows_of.loc[("view", "area", "area", "with BAC"), "n"] == 20
    crossed = rows_of.loc[("view", "area", "length", "all")]
    assert np.isnan(crossed["bias"]) and crossed["rho_low"] < crossed["rho"]
    known = found.dropna(subset=["lower"])
    assert (known["lower"] < known["bias"]).all() and (known["bias"] < known["upper"]).all()


def test_errors_are_of_validation_women_who_have_some_on_the_square_root_scale():
    of = {"fold": "validation"}
    rows = [{"woman": f"n{k}", **of, "area": 0.0, "true_area": 0.0} for k in range(30)]
    rows += [{"woman": f"p{k}", **of, "area": float(k**2), "true_area": float((k - 1) ** 2)} for k in range(1, 10)]
    few = squared_errors(table(rows), Protocol())
    assert (few.interval, few.repeatability, few.women) == (None, None, 9)
    rows += [{"woman": f"q{k}", **of, "area": float(k**2), "true_area": float((k + 1) ** 2)} for k in range(10)]
    rows += [{"woman": "t", "area": 0.0, "true_area": 900.0}]
    found = squared_errors(table(rows), Protocol())
    errors = np.array([1.0] * 9 + [-1.0] * 10)
    assert found.women == 19 and found.interval == pytest.approx(1)
    assert found.repeatability == pytest.approx(1.959964 * np.sqrt(2) * errors.std(ddof=1))
    assert around(16, 1) == (9, 25) and around(0.25, 1) == (0, 2.25)


def cohort(women: int) -> pd.DataFrame:
    """Women of 60 with 0, 1, 2, ... mm2, and one of 80."""
    rows = [{"woman": f"w{k}", "area": float(k)} for k in range(women)] + [{"woman": "old", "area": 3.0}]
    ages = {(row["woman"], "e"): 80.0 if row["woman"] == "old" else 60.0 for row in rows}
    return by_woman(table(rows), Burden(), pd.Series(ages))


def test_the_percentile_is_among_women_of_her_age_and_refused_under_the_stated_number():
    dates = pd.Series(dtype=str)
    found = women_table(cohort(30), {"s": Errors(1.0)}, dates, Burden()).set_index("woman")
    assert found.loc["w0", "percentile"] == pytest.approx(100 / 60) and found.loc["w29", "percentile"] == pytest.approx(
        100 - 100 / 60
    )
    assert found.loc["w9", "low"] == pytest.approx(4) and found.loc["w9", "high"] == pytest.approx(16)
    assert np.isnan(found.loc["old", "percentile"])
    assert found.loc["old", "percentile_reason"] == "1 women within 5 years of her age; 30 are needed"
    fewer = women_table(cohort(29), {"s": Errors()}, dates, Burden())
    assert fewer["percentile"].isna().all() and fewer["low"].isna().all()


@pytest.mark.parametrize(
    ("prior", "now", "verdict"),
    [
        (9.0, 16.0, "within repeatability"),
        (9.0, 26.0, "more"),
        (9.0, 0.5, "less"),
        (0.0, 3.9, "within repeatability"),
    ],
)
def test_a_change_is_held_against_what_error_alone_may_do(prior, now, verdict):
    views = table([
        {"woman": "a", "exam": "2015", "analysed": "no", "area": 99.0}, {"woman": "a", "exam": "2018", "area": prior},
        {"woman": "a", "exam": "2021", "analysed": "no", "area": now},
    ])  # fmt: skip
    dates = pd.Series({("a", name): f"{name}0101" for name in ("2015", "2018", "2021")})
    women = by_woman(views, Burden())
    found = women_table(women, {"s": Errors(1.0, 2.0)}, dates, Burden()).set_index("exam")
    assert len(found) == 3 and pd.isna(found.loc["2015", "prior_exam"])
    latest = found.loc["2021"]
    assert (latest["prior_exam"], latest["change"], latest["verdict"]) == ("2018", now - prior, verdict)
    assert (latest["unchanged_low"], latest["unchanged_high"]) == around(prior, 2.0)
    unknown = women_table(women, {"s": Errors(1.0)}, dates, Burden()).set_index("exam")
    assert unknown.loc["2021", "verdict"] == "no repeatability known" and pd.isna(unknown.loc["2021", "unchanged_low"])
