"""Weighted sums of answers: a difference is the comparison's, a share of a gap is Fieller's, and neither has no width."""

from __future__ import annotations

import numpy as np
import pytest

from tramtrack.evaluation.answers import Answer, Question, ask
from tramtrack.evaluation.comparisons import Comparison, compare_answers
from tramtrack.evaluation.contrasts import Share, contrast_all, share_left
from tramtrack.evaluation.scores import Undefined

WOMEN = 120


def asked(**strengths: float):
    generator = np.random.default_rng(9110)
    labels = np.arange(WOMEN) % 3 == 0
    common = generator.normal(size=WOMEN)
    scores = {name: strength * labels + common + generator.normal(size=WOMEN) for name, strength in strengths.items()}
    women = [f"w{n:03}" for n in range(WOMEN)]
    return ask(scores, labels, women, unit="woman", generator=np.random.default_rng(9111), resamples=1000)


def test_a_difference_is_the_comparison_of_the_two():
    question, answers = asked(a=2.0, b=0.5)
    (compared,) = compare_answers(question, answers)
    (contrast,) = contrast_all([{"a": 1.0, "b": -1.0}], answers, question)
    assert isinstance(compared, Comparison)
    assert contrast.estimate == pytest.approx(compared.difference)
    assert (contrast.low, contrast.high) == pytest.approx((compared.low, compared.high))
    assert (contrast.p, contrast.separated) == (pytest.approx(compared.p), compared.separated)


def test_a_family_is_adjusted_for_all_its_contrasts():
    question, answers = asked(a=2.0, b=0.5, c=0.6, d=0.4)
    first = {"a": 1.0, "b": -1.0}
    (alone,) = contrast_all([first], answers, question)
    among = contrast_all([first, {"c": 1.0, "d": -1.0}, {"a": 0.5, "c": 0.5, "b": -1.0}], answers, question)
    assert among[0].simultaneous_high - among[0].simultaneous_low > alone.simultaneous_high - alone.simultaneous_low
    assert among[0].p == alone.p and among[0].p_holm == pytest.approx(min(1.0, 3 * alone.p))
    assert among[2].estimate == pytest.approx((answers["a"].value + answers["c"].value) / 2 - answers["b"].value)


def test_identical_answers_differ_by_nothing_and_their_interval_has_a_width():
    question, answers = asked(a=1.0)
    twin = {"a": answers["a"], "b": answers["a"]}
    (contrast,) = contrast_all([{"a": 1.0, "b": -1.0}], twin, question)
    assert (contrast.estimate, contrast.p, contrast.separated) == (0.0, 1.0, False)
    assert contrast.low < 0 < contrast.high


def test_bounds_stay_where_a_difference_of_shares_can_lie():
    answers, question = made(0.39, 0.1, 0.4)
    (gap,) = contrast_all([{"a": 1.0, "b": -1.0}], answers, question)
    assert gap.high == 1.0 and gap.low > -1.0


def made(gap: float, rest: float, spread: float) -> tuple[dict[str, Answer], Question]:
    """Four answers of which two pairs differ by ``gap`` and by ``rest`` with independent spreads."""
    question, answers = asked(a=1.0)
    generator = np.random.default_rng(9112)
    found = {}
    for name, value in {"a": 0.6 + gap, "b": 0.6, "c": 0.6 + rest, "d": 0.6}.items():
        drawn = value + (spread * generator.normal(size=1000) if name in "ac" else np.zeros(1000))
        own = answers["a"]
        found[name] = Answer(name, value, drawn, np.array([value]), drawn[None], own.scores, own.sample)
    return found, question


def test_the_share_that_is_left_is_the_set_that_fieller_does_not_reject():
    answers, question = made(0.20, 0.08, 0.02)
    found = share_left({"a": 1.0, "b": -1.0}, {"c": 1.0, "d": -1.0}, answers, question, 3)
    assert isinstance(found, Share) and found.estimate == pytest.approx(0.4)
    from scipy import stats

    quantile = stats.t.ppf(1 - 0.05 / 6, min(answers["a"].sample.women) - 1)
    shares = np.linspace(-1, 2, 3001)
    spread = np.array([np.std(answers["c"].values - share * answers["a"].values, ddof=1) for share in shares])
    kept = shares[np.abs(0.08 - shares * 0.20) <= quantile * spread]
    assert (found.low, found.high) == pytest.approx((kept[0], kept[-1]), abs=2e-3)


def test_of_a_gap_that_is_not_there_no_share_is_left():
    answers, question = made(0.02, 0.01, 0.05)
    found = share_left({"a": 1.0, "b": -1.0}, {"c": 1.0, "d": -1.0}, answers, question, 1)
    assert isinstance(found, Undefined) and "not told from 0" in found.reason
    answers, question = made(0.2, 0.1, 0.0)
    found = share_left({"a": 1.0, "b": -1.0}, {"c": 1.0, "d": -1.0}, answers, question, 1)
    assert isinstance(found, Undefined) and "the same in every resample" in found.reason
