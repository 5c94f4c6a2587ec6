"""The corrected resampled t: the worked formula, its coverage where splits share women, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tramtrack.errors import UsageError
from tramtrack.evaluation.repeated import corrected_t


def test_the_formula_by_hand():
    found = corrected_t([0.02, 0.04, 0.06], tested=15, trained=60)
    assert found is not None and found.mean == pytest.approx(0.04)
    error = np.sqrt((1 / 3 + 15 / 60) * 0.02**2)
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 2) * error)
    assert found.p == pytest.approx(2 * stats.t.sf(0.04 / error, 2))
    assert found.splits == 3


def test_it_covers_where_splits_share_their_women_and_the_plain_t_does_not():
    """Differences whose correlation between splits is that which the correction assumes: tested / (tested + trained)."""
    generator = np.random.default_rng(9120)
    tested, trained, splits, studies = 30, 70, 10, 2000
    shared = tested / (tested + trained)
    values = np.sqrt(shared) * generator.normal(size=(studies, 1)) + np.sqrt(1 - shared) * generator.normal(
        size=(studies, splits)
    )
    found = [corrected_t(row, tested, trained) for row in values]
    assert 0.935 < np.mean([one is not None and one.low <= 0 <= one.high for one in found]) < 0.965
    half = stats.t.ppf(0.975, splits - 1) * values.std(axis=1, ddof=1) / np.sqrt(splits)
    assert np.mean(np.abs(values.mean(axis=1)) <= half) < 0.75


def test_equal_differences_say_nothing_and_one_split_is_refused():
    assert corrected_t([0.1, 0.1, 0.1], 10, 40) is None
    for wrong in ([0.1], [], [0.1, float("nan")]):
        with pytest.raises(UsageError, match="two or more finite differences"):
            corrected_t(wrong, 10, 40)
