"""Labels, whatever the table: the order of its rows changes nothing, and a positive view never makes a woman less positive."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from tramtrack.cohort.labels import Labelled, apply_labels
from tramtrack.errors import TramtrackError

PLACES = [(side, view) for side in "LR" for view in ("CC", "MLO")]
VIEWS = [("A", "1", *place) for place in PLACES] + [("A", "2", *place) for place in PLACES[:3]]
VIEWS += [("B", "1", *place) for place in PLACES] + [("C", "1", "L", "CC")]
COHORT = pd.DataFrame(VIEWS, columns=["woman", "exam", "side", "view"]).assign(view_id=["_".join(view) for view in VIEWS])

side_and_view = st.sampled_from([("", ""), ("L", ""), ("R", ""), *PLACES])
keys = st.tuples(st.sampled_from("ABCD"), st.sampled_from(["", "1", "2"]), side_and_view)
tables = st.dictionaries(keys, st.sampled_from(["0", "1", ""]), min_size=1, max_size=8)


def labelled(rows: list[tuple[tuple[str, str, tuple[str, str]], str]]) -> Labelled | None:
    """The labels, or None where the table contradicts itself."""
    lines = [",".join((woman, exam, *place, bac)) for (woman, exam, place), bac in rows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.csv"
        path.write_text("woman,exam,side,view,bac\n" + "\n".join(lines) + "\n")
        try:
            return apply_labels(COHORT, path)
        except TramtrackError as error:
            assert "is positive, but all its views are negative" in str(error)
            return None


@settings(deadline=None, max_examples=150)
@given(tables, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(table: dict, random) -> None:  # type: ignore[no-untyped-def]
    rows = list(table.items())
    shuffled = list(rows)
    random.shuffle(shuffled)
    first, second = labelled(rows), labelled(shuffled)
    assert (first is None) == (second is None)
    if first and second:
        pd.testing.assert_frame_equal(first.views, second.views)
        assert first.views_without_row == second.views_without_row


@settings(deadline=None, max_examples=150)
@given(tables, st.sampled_from(VIEWS))
def test_a_positive_view_never_makes_anyone_less_positive(table: dict, view: tuple[str, str, str, str]) -> None:
    before = labelled(list(table.items()))
    woman, exam, *place = view
    after = labelled(list({**table, (woman, exam, tuple(place)): "1"}.items()))
    if before is None or after is None:
        return
    for column in ("bac_view", "bac_breast", "bac_woman"):
        was_positive = (before.views[column] == 1).fillna(False)
        assert (after.views[column][was_positive] == 1).all()
    assert (after.views.loc[(COHORT["woman"] == woman).to_numpy(), "bac_woman"] == 1).all()


@settings(deadline=None, max_examples=150)
@given(tables)
def test_the_three_levels_agree(table: dict) -> None:
    found = labelled(list(table.items()))
    if found is None:
        return
    rows = COHORT[["woman", "exam", "side"]].join(found.views)
    for _, woman in rows.groupby("woman"):
        assert woman["bac_woman"].nunique(dropna=False) == 1
        label = woman["bac_woman"].iloc[0]
        if (woman["bac_view"] == 1).any() or (woman["bac_breast"] == 1).any():
            assert label == 1
        if not pd.isna(label) and label == 0:
            assert (woman["bac_view"] == 0).all() and (woman["bac_breast"] == 0).all()
    for _, breast in rows.groupby(["woman", "exam", "side"]):
        assert breast["bac_breast"].nunique(dropna=False) == 1
        if (breast["bac_breast"] == 0).any():
            assert (breast["bac_view"] == 0).all()
