"""What benchmarks/synthetic_to_real.py counts: places, changes of a pair, claims, and labels shuffled by woman."""

from __future__ import annotations

import math
import statistics
import sys
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

from paired_changes import (
    ARTERY_FILLED,
    AS_IT_IS,
    BAC_INSERTED,
    BAND_FILLED,
    TUBE_INSERTED,
    Answer,
    answer,
    shuffled_by_woman,
    verdict,
)

OTHERS = [f"view {number}" for number in range(12)]


def scores(of_positive: float = 3.0, artery: float = -2.0, bands: tuple[float, ...] = (-0.5, 0.1), raised: int = 10,
           tube: int = 9) -> pd.DataFrame:  # fmt: skip
    """Twelve views with logits 0 to 1.1 and the one with BAC between them, then their changed twins."""
    rows = [(view, 0, AS_IT_IS, place / 10) for place, view in enumerate(OTHERS)]
    rows.insert(5, ("positive", 1, AS_IT_IS, of_positive))
    rows.append(("positive", 1, ARTERY_FILLED, of_positive + artery))
    rows += [("positive", 1, BAND_FILLED, of_positive + change) for change in bands]
    for change, count, most in ((BAC_INSERTED, raised, 0.25), (TUBE_INSERTED, tube, 0.3)):
        rows += [(view, 0, change, place / 10 + (most if place < count else -0.25)) for place, view in enumerate(OTHERS)]
    return pd.DataFrame(rows, columns=["view", "label", "change", "logit"])


def broken(found: Answer) -> list[int]:
    """Which claims do not hold, by their place."""
    return [place for place, holds in enumerate(found.claims().values()) if not holds]


@pytest.mark.parametrize(("logit", "place"), [(1.2, 1), (1.1, 2), (0.55, 7), (-1.0, 13)])
def test_a_place_counts_ties_against_the_view_with_bac(logit: float, place: int) -> None:
    assert answer(scores(of_positive=logit)).place == place


def test_a_change_is_the_twins_score_less_that_of_its_own_view() -> None:
    found = answer(scores().sample(frac=1, random_state=3))  # whatever the order of the rows
    assert found.changes[ARTERY_FILLED] == pytest.approx([-2.0])
    assert sorted(found.changes[BAND_FILLED]) == pytest.approx([-0.5, 0.1])
    assert (found.raised(BAC_INSERTED), found.raised(TUBE_INSERTED)) == (10, 9)
    assert found.raised_more() == 1  # of the ten that BAC raises, the tube raises nine by more
    in_order = answer(scores()).changes[BAC_INSERTED]
    assert in_order == pytest.approx([0.25] * 10 + [-0.25] * 2)


def test_a_change_has_the_size_of_its_median_among_the_scores_of_views_without_bac() -> None:
    found = answer(scores(of_positive=50.0))
    spread = statistics.stdev(place / 10 for place in range(12))
    assert found.size(BAC_INSERTED) == pytest.approx(0.25 / spread)
    assert found.size(ARTERY_FILLED) == pytest.approx(-2.0 / spread)
    halved = scores(of_positive=50.0)
    halved["logit"] /= 2
    assert answer(halved).size(BAC_INSERTED) == pytest.approx(found.size(BAC_INSERTED)), "a scale of the answers is no size"
    same = scores(of_positive=50.0)
    same.loc[same["change"] == AS_IT_IS, "logit"] = 0.5
    assert math.isnan(answer(same).size(BAC_INSERTED)), "no spread, no size, and no traceback after hours of training"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, []),
        ({"of_positive": 1.1}, [0]),
        ({"artery": 0.0, "bands": (0.2,)}, [1]),
        ({"bands": (-0.1, -2.0)}, [2]),
        ({"raised": 9}, [3]),
        ({"tube": 10}, [4]),
    ],
)
def test_each_claim_fails_alone(changed: dict[str, float], expected: list[int]) -> None:
    assert broken(answer(scores(**changed))) == expected


def test_a_claim_that_a_control_bears_out_is_called_no_evidence() -> None:
    first, *_, tube = answer(scores()).claims()
    assert [verdict(first, holds, 5, control=False) for holds in (5, 4)] == ["", ": NOT MET"]
    assert [verdict(first, holds, 5, control=True) for holds in (2, 3)] == ["", ": alone, this claim is no evidence"]
    assert verdict(tube, 5, 5, control=True) == "", "whatever sees nothing bears this one out"


def test_a_view_that_does_not_change_is_not_raised() -> None:
    table = scores()
    before = table.loc[table["change"] == AS_IT_IS].set_index("view")["logit"]
    tubes = table["change"] == TUBE_INSERTED
    table.loc[tubes, "logit"] = before.loc[table.loc[tubes, "view"]].to_numpy()
    assert answer(table).raised(TUBE_INSERTED) == 0


def labels(women: int = 40) -> pd.DataFrame:
    """Each woman's four labels spell her number in binary, so that it can be told whose they are."""
    rows = [
        (f"W{woman:02}", f"E{woman:02}", side, view, woman >> bit & 1, f"{woman}.png")
        for woman in range(women)
        for bit, (side, view) in enumerate((s, v) for s in "LR" for v in ("CC", "MLO"))
    ]
    return pd.DataFrame(rows, columns=["woman", "exam", "side", "view", "bac", "mask"])


def patterns(table: pd.DataFrame) -> pd.Series:
    """Each woman's labels, in order of side and view."""
    return table.sort_values(["side", "view"]).groupby("woman")["bac"].agg(tuple)


def test_labels_are_shuffled_by_whole_women() -> None:
    before = labels()
    after = shuffled_by_woman(before, 9160)
    assert list(after.columns) == ["woman", "exam", "side", "view", "bac"]
    assert after[["woman", "exam", "side", "view"]].equals(before[["woman", "exam", "side", "view"]])
    assert sorted(patterns(after)) == sorted(patterns(before))  # the same women's labels, each once
    assert (patterns(after) != patterns(before)).mean() > 0.5
    assert after.equals(shuffled_by_woman(before, 9160)) and not after.equals(shuffled_by_woman(before, 9161))


def test_labels_of_women_with_other_views_are_not_shuffled() -> None:
    with pytest.raises(ValueError, match="the same views of every woman"):
        shuffled_by_woman(labels().drop(index=5), 9160)
