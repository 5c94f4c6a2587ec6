"""The split, whatever the cohort: every woman in one fold, shares kept within one woman, negatives alone are dropped."""

from __future__ import annotations

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from tramtrack.cohort.split import DROPPED, FOLDS, UNLABELLED, require_no_leak, split_women
from tramtrack.errors import TramtrackError
from tramtrack.protocol import Split


@settings(deadline=None, max_examples=100)
@given(
    labels=st.lists(st.sampled_from([0, 0, 1, None]), min_size=1, max_size=80),
    views_each=st.integers(1, 8),
    shares=st.sampled_from([(0.7, 0.15, 0.15), (0.5, 0.2, 0.3), (0.34, 0.33, 0.33)]),
    prevalence=st.sampled_from([0.0, 0.1, 0.33, 0.6, 1.0]),
    unit=st.sampled_from(["women", "views"]),
    seed=st.integers(0, 5),
)
def test_split(labels: list, views_each: int, shares: tuple, prevalence: float, unit: str, seed: int) -> None:
    rows = [
        {"woman": f"W{number}", "bac_view": label, "bac_woman": label, "file": f"{number}-{view}"}
        for number, label in enumerate(labels)
        for view in range(1 + (number + views_each) % 8)
    ]
    views = pd.DataFrame(rows).astype({"bac_view": "Int64", "bac_woman": "Int64"})
    views = views.assign(sha256=views["file"], pixels_sha256=views["file"])
    chosen = Split(
        training=shares[0],
        validation=shares[1],
        test=shares[2],
        seed=seed,
        training_prevalence=prevalence,
        training_prevalence_of=unit,  # type: ignore[arg-type]
    )
    try:
        folds = split_women(views, chosen)
    except TramtrackError as error:
        assert "fold would have no woman" in str(error)
        assert min(labels.count(0), labels.count(1)) < 1 / min(shares) + 1
        return
    assert sorted(folds["woman"]) == sorted(f"W{number}" for number in range(len(labels)))
    assert set(folds["fold"]) <= {*FOLDS, DROPPED, UNLABELLED}
    assert (folds["bac_woman"][folds["fold"] == DROPPED] == 0).all()
    assert folds["bac_woman"][folds["fold"] == UNLABELLED].isna().all()
    assert folds["bac_woman"][folds["fold"] != UNLABELLED].notna().all()
    dealt = folds.assign(fold=folds["fold"].replace(DROPPED, "training"))
    for label in (0, 1):
        for fold, share in zip(FOLDS, shares, strict=True):
            count = int(((dealt["fold"] == fold) & (dealt["bac_woman"] == label)).sum())
            assert abs(count - share * labels.count(label)) <= 1
            assert ((folds["fold"] == fold) & (folds["bac_woman"] == label)).any()
    require_no_leak(views, folds)
    if (folds["fold"] == DROPPED).any():
        training = folds[folds["fold"] == "training"]
        if unit == "views":
            training = views[views["woman"].isin(training["woman"])]
        assert (training["bac_woman"] == 1).mean() <= prevalence
