"""The model of Bradley and Terry: its strengths maximise the likelihood, intervals are by woman, nothing infinite is told."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import optimize, special

from tramtrack.evaluation.preferences import Judgements, fit_strengths, rank_preferences

NAMES = ("a", "b", "c", "d")


def judged(strengths, women, each=3, seed=9130, tie=0.15):
    """Every pair of each woman's views, drawn by the model."""
    rng, rows = np.random.default_rng(seed), []
    for woman in range(women):
        for i in range(len(strengths)):
            for j in range(i + 1, len(strengths)):
                for _ in range(each):
                    won = float(rng.random() < special.expit(strengths[i] - strengths[j]))
                    rows.append((i, j, 0.5 if rng.random() < tie else won, f"w{woman:02}"))
    first, second, outcome, woman = zip(*rows, strict=True)
    return Judgements(NAMES[: len(strengths)], np.array(first), np.array(second), np.array(outcome), np.array(woman))


def rank(judgements, resamples=400):
    return rank_preferences(judgements, generator=np.random.default_rng(9131), resamples=resamples)


def test_strengths_maximise_the_likelihood():
    rng = np.random.default_rng(9132)
    wins = rng.integers(1, 9, (5, 4, 4)).astype(float) * (1 - np.eye(4))
    wins[1, 0, 1:] = 200.0  # nearly never lost

    def loss(free, table):
        s = np.append(free, -free.sum())
        return -(table * special.log_expit(s[:, None] - s[None, :])).sum()

    for table, strengths in zip(wins, fit_strengths(wins), strict=True):
        best = optimize.minimize(loss, np.zeros(3), (table,), tol=1e-12).x
        assert strengths[:3] == pytest.approx(best, abs=1e-4)
        assert strengths.sum() == pytest.approx(0, abs=1e-9)
    two = fit_strengths(np.array([[[0.0, 3.0], [1.0, 0.0]]]))[0]
    assert two[0] - two[1] == pytest.approx(math.log(3))


def test_a_table_without_a_finite_maximum_has_no_strengths():
    wins = np.array([[[0, 2, 1], [0, 0, 1], [0, 1, 0]], [[0, 2, 1], [1, 0, 1], [0, 1, 0]]], dtype=float)
    found = fit_strengths(wins)
    assert np.isnan(found[0]).all() and np.isfinite(found[1]).all()


def test_what_is_clearly_better_is_separated_and_a_cycle_is_not():
    ranking = rank(judged([2.0, 0.0, 0.0], women=24))
    apart = {(pair.a, pair.b): pair.separated for pair in ranking.pairs}
    assert apart == {("a", "b"): True, ("a", "c"): True, ("b", "c"): False}
    assert ranking.groups == [("a",), ("b", "c")]
    best = ranking.strengths[0]
    assert best.low < best.strength < best.high and best.share_low < best.share < best.share_high
    assert ranking.pairs[0].low > 0.5 and ranking.pairs[0].high < 1

    cycle = judged([0.0, 0.0, 0.0], women=24)
    won = np.where(cycle.first + cycle.second == 2, 0.0, 1.0)  # a beats b, b beats c, c beats a
    won[::6] = 1 - won[::6]
    ranking = rank(dataclasses.replace(cycle, outcome=won))
    assert not any(pair.separated for pair in ranking.pairs) and ranking.groups == [("a", "b", "c")]
    assert all(abs(one.strength) < 0.2 for one in ranking.strengths)


def test_what_never_lost_has_no_strength_and_the_others_keep_theirs():
    judgements = judged([0.0, 0.5, 0.0], women=16)
    won = np.where(judgements.first == 0, 1.0, judgements.outcome)
    ranking = rank(dataclasses.replace(judgements, outcome=won))
    top, *others = ranking.strengths
    assert top.strength is None and "unresolved: never lost" in top.reason and top.share == 1 and top.share_low < 1
    assert all(one.strength is not None for one in others)
    assert [(pair.a, pair.b) for pair in ranking.pairs] == [("b", "c")]
    assert ("a", "b", "c") in ranking.groups or not ranking.pairs[0].separated
    swapped = rank(dataclasses.replace(judgements, outcome=np.where(judgements.first == 0, 0.0, judgements.outcome)))
    assert "never won" in swapped.strengths[0].reason


def test_what_lost_in_one_woman_alone_is_bounded_by_nobody():
    judgements = judged([0.0, 0.5, 0.0], women=16)
    won = np.where(judgements.first == 0, 1.0, judgements.outcome)
    won[(judgements.first == 0) & (judgements.woman == "w03")] = 0.0  # a third of all resamples lack her
    top = rank(dataclasses.replace(judgements, outcome=won)).strengths[0]
    assert (
        top.strength > 1
        and top.low is None
        and top.high is None
        and top.reason == ("unresolved: women so few do not bound its strength")
    )
    pairs = rank(dataclasses.replace(judgements, outcome=won)).pairs
    assert all((pair.low, pair.high) == (0, 1) and not pair.separated and pair.p > 0.2 for pair in pairs if pair.a == "a")


def test_the_same_counts_as_half_a_win_for_each():
    judgements = judged([1.0, 0.0, 0.0], women=6)
    ranking = rank(dataclasses.replace(judgements, outcome=np.full(len(judgements.outcome), 0.5)))
    assert all(one.strength == pytest.approx(0) and one.share == 0.5 for one in ranking.strengths)
    assert all(pair.chance == 0.5 and not pair.separated for pair in ranking.pairs)


def test_few_women_carry_nothing_whatever_they_say_and_nothing_infinite_is_told():
    for women in (1, 2, 3):
        judgements = judged([3.0, 0.0, -1.0], women=women, each=20)
        ranking = rank(judgements)
        assert not any(pair.separated for pair in ranking.pairs)
        for one in ranking.strengths:
            numbers = [one.strength, one.low, one.high, one.share_low, one.share_high]
            assert all(number is None or math.isfinite(number) for number in numbers)
            assert one.low is not None or one.reason
        assert all(0 <= pair.low <= pair.chance <= pair.high <= 1 for pair in ranking.pairs)


def test_intervals_are_of_women_and_not_of_judgements():
    wide, narrow = judged([1.0, 0.0], women=12, each=10), judged([1.0, 0.0], women=12, each=10)
    apart = dataclasses.replace(narrow, woman=np.array([f"{woman}-{n}" for n, woman in enumerate(narrow.woman)]))
    by_woman = np.where(
        np.char.endswith(wide.woman, "1") | np.char.endswith(wide.woman, "5"), 0.0, 1.0
    )  # each woman says one thing
    one = rank(dataclasses.replace(wide, outcome=by_woman)).pairs[0]
    other = rank(dataclasses.replace(apart, outcome=by_woman)).pairs[0]
    assert one.chance == pytest.approx(other.chance) and one.high - one.low > 2 * (other.high - other.low)


def test_who_was_never_judged_is_told():
    judgements = dataclasses.replace(judged([1.0, 0.0, 0.0], women=8), names=NAMES)
    last = rank(judgements).strengths[-1]
    assert last.share is None and last.reason == "it was never judged"
