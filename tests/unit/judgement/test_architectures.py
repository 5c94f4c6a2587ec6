"""Claims about architectures: only from several splits, adjusted for all pairs, and each says what it is about."""

from __future__ import annotations

import pytest

from tramtrack.evaluation.claims import ARCHITECTURES
from tramtrack.judgement.architectures import SplitResult, architecture_claims
from tramtrack.protocol import Evaluation

NAMES = {"vgg16": "VGG16", "xception": "Xception", "mobilenet": "MobileNet"}


def claims(values: dict[str, list[float]], margin: float = 0.05):
    splits = [SplitResult(dict(zip(values, row, strict=True)), 20, 80) for row in zip(*values.values(), strict=True)]
    made = architecture_claims(list(values), splits, Evaluation(margin=margin), "test", NAMES)
    assert {one.target for one in made} == {ARCHITECTURES}
    return {(one.network_a, one.network_b): one for one in made}


def test_one_split_cannot_test_an_architecture():
    for splits in ([], [SplitResult({"vgg16": 0.9, "xception": 0.5}, 20, 80)]):
        (made,) = architecture_claims(["vgg16", "xception"], splits, Evaluation(), "test", NAMES)
        assert made.verdict == "cannot be tested" and made.target == ARCHITECTURES
        assert "repeated splits" in made.sentence and made.difference is None


def test_a_steady_difference_is_supported_a_wavering_one_is_not():
    steady = [0.90, 0.91, 0.89, 0.90, 0.92, 0.90, 0.91, 0.89, 0.90, 0.91]
    found = claims({"xception": [v - 0.2 for v in steady[::-1]], "vgg16": steady, "mobilenet": [0.5, 0.98] * 5})
    above = found["vgg16", "xception"]
    assert above.verdict == "supported" and above.difference == pytest.approx(0.2) and above.low > 0
    assert "over 10 splits" in above.sentence and "VGG16 is above Xception" in above.sentence
    assert found["vgg16", "mobilenet"].verdict == "unresolved"
    (alone,) = claims({"xception": [v - 0.2 for v in steady[::-1]], "vgg16": steady}).values()
    assert alone.high - alone.low < above.high - above.low, "one pair needs no adjustment for three"


def test_a_small_difference_is_equivalent_within_the_margin_alone():
    values = {"vgg16": [0.90, 0.91, 0.89, 0.90], "xception": [0.901, 0.909, 0.891, 0.899]}
    assert next(iter(claims(values).values())).verdict == "equivalent within the margin"
    assert next(iter(claims(values, margin=0.001).values())).verdict == "unresolved"


def test_a_network_that_a_split_lacks_cannot_be_tested():
    splits = [SplitResult({"vgg16": 0.9, "xception": 0.8}, 20, 80), SplitResult({"vgg16": 0.8}, 20, 80)]
    (made,) = architecture_claims(["vgg16", "xception"], splits, Evaluation(), "test", NAMES)
    assert made.verdict == "cannot be tested" and "Xception has no result in some of the 2 splits" in made.sentence
    twice = [SplitResult({"vgg16": 0.9, "xception": 0.8}, 20, 80)] * 3
    (made,) = architecture_claims(["vgg16", "xception"], twice, Evaluation(), "test", NAMES)
    assert made.verdict == "cannot be tested" and "the same in every split" in made.sentence
