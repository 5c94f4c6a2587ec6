from __future__ import annotations

import numpy as np
import pytest

from tramtrack.evaluation.answers import Answer, ask
from tramtrack.evaluation.scores import Undefined
from tramtrack.evaluation.standings import on_the_front, rank_correlations, standings

WOMEN = np.arange(200)
LABELS = WOMEN % 4 == 0


def answers(strengths: dict[str, float], seeds: int = 1, noise: float = 1.0) -> dict[str, Answer | str]:
    generator = np.random.default_rng(5)
    common = generator.normal(size=200)
    scores = {
        name: np.stack([strength * LABELS + common + noise * generator.normal(size=200) for _ in range(seeds)])
        for name, strength in strengths.items()
    }
    return ask(scores, LABELS, WOMEN, unit="woman", generator=np.random.default_rng(0), resamples=400)[1]


def test_shares_of_being_best_add_up_to_one():
    found = standings(answers({"a": 2.5, "b": 1.0, "c": 1.0}))
    assert sum(one.best for one in found) == pytest.approx(1)
    assert found[0].best > 0.95
    twins = answers({"a": 1.0})
    twins["b"] = twins["a"]
    assert [one.best for one in standings(twins)] == [0.5, 0.5]


def test_seed_and_sampling_spread_stand_apart():
    many = standings(answers({"a": 1.5}, seeds=6))[0]
    asked = answers({"a": 1.5}, seeds=6)["a"]
    assert many.seed_sd == pytest.approx(np.std(asked.seeds, ddof=1))
    one_model = standings(answers({"a": 1.5}))[0]
    assert one_model.seed_sd is None and one_model.note == "1 seed; 5 are needed to tell"
    assert many.note == "" and many.sampling_sd == pytest.approx(one_model.sampling_sd, rel=0.3)
    still = standings(answers({"a": 1.5}, seeds=6, noise=0.0))[0]
    assert still.seed_sd == pytest.approx(0, abs=1e-12) and still.sampling_sd > 0.02


def test_no_answer_has_no_standing():
    assert standings({"a": "it has no scores"}) == []


def test_rank_correlation_of_a_cost_that_orders_the_networks():
    asked = answers({"a": 1.9, "b": 1.6, "c": 1.3, "d": 1.0})
    (found,) = rank_correlations(asked, {"depth": {"a": 16.0, "b": 50.0, "c": 100.0, "d": 700.0}})
    assert found.rho == -1.0 and found.low == -1.0 and found.high > -1.0
    assert found.networks == 4


def test_what_cannot_be_correlated_says_why():
    asked = answers({"a": 3.0, "b": 2.0, "c": 1.0})
    few, same = rank_correlations(asked, {"depth": {"a": 1.0, "b": 2.0}, "stride": dict.fromkeys("abc", 32.0)})
    assert few == Undefined("depth", "fewer than three networks", 2, 0, 0)
    assert same.reason == "all networks cost the same"
    still = answers({"a": 30.0, "b": 30.0, "c": 30.0})
    assert rank_correlations(still, {"depth": {"a": 1.0, "b": 2.0, "c": 3.0}})[0].reason == "all networks do equally well"


def test_the_front_is_of_those_that_nobody_beats_at_their_cost():
    asked = answers({"cheap": 2.0, "dear": 3.5, "poor": 0.0})
    shares = on_the_front(asked, {"cheap": 1.0, "dear": 10.0, "poor": 5.0})
    assert shares["cheap"] == 1.0 and shares["poor"] == 0.0 and shares["dear"] > 0.9
    twins = {"a": asked["cheap"], "b": asked["cheap"]}
    assert on_the_front(twins, {"a": 1.0, "b": 2.0}) == {"a": 1.0, "b": 0.0}
    assert on_the_front({}, {}) == {}
