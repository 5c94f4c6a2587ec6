from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tramtrack.errors import UsageError
from tramtrack.evaluation.claims import claims, overall
from tramtrack.evaluation.comparisons import Comparison, Untested

BASE = Comparison(
    "vgg16", "xception", "auc_roc", "woman", 0.82, 0.79, 0.03, -0.05, 0.11, -0.07, 0.13, 0.4, 0.74, False, "bootstrap",
    women=42, positives=12, dropped_women=0, pairs=3, resamples=2000, smallest_p=1 / 2001, confidence=0.95,
)  # fmt: skip
ABOVE = dataclasses.replace(BASE, difference=-0.2, simultaneous_low=-0.3, simultaneous_high=-0.1, p_holm=0.0004, separated=True)
NAMES = {"vgg16": "VGG16", "xception": "Xception"}


def test_what_cannot_be_separated_is_no_ranking():
    (claim,) = claims([BASE], fold="test", names=NAMES)
    assert claim.verdict == "unresolved"
    assert claim.sentence == (
        "VGG16 and Xception: cannot be separated on AUC-ROC by woman in test (difference 0.030, 95 % interval for all 3 "
        "pairs at once -0.070 to 0.130, Holm p 0.740; 12 of 42 women with BAC)."
    )
    assert (claim.difference, claim.low, claim.high, claim.p_holm) == (0.03, -0.07, 0.13, 0.74)
    assert "above" not in claim.sentence


def test_a_separated_pair_names_the_upper_one_first():
    (claim,) = claims([ABOVE], fold="test", names=NAMES)
    assert (claim.verdict, claim.network_a, claim.network_b) == ("supported", "xception", "vgg16")
    assert (claim.difference, claim.low, claim.high) == (0.2, 0.1, 0.3)
    assert claim.sentence.startswith("Xception is above VGG16 on AUC-ROC by woman in test (difference 0.200, ")
    assert "0.100 to 0.300, Holm p < 0.001" in claim.sentence


def test_too_little_to_test_is_said():
    (claim,) = claims([dataclasses.replace(BASE, smallest_p=0.25, resamples=500)], fold="test")
    assert claim.verdict == "cannot be tested"
    assert "with 3 pairs, 42 women (12 positive) and 500 usable resamples no difference could reach" in claim.sentence
    (untested,) = claims([Untested("a", "b", "auc_roc", "woman", "b: no positive woman", 3, 0, 0)], fold="test")
    assert untested.sentence == "a and b: cannot be tested on AUC-ROC by woman in test (b: no positive woman)."
    assert (untested.difference, untested.p_holm) == (None, None)


def test_unranked_networks_are_listed_with_their_reason():
    made = claims([BASE], fold="test", unranked={"mobilenetv2": "random weights"})
    assert [claim.network_a for claim in made] == ["vgg16", "mobilenetv2"]
    assert made[1].sentence == "mobilenetv2 stands in no ranking: random weights."
    assert made[1].verdict == "cannot be tested"
    with pytest.raises(UsageError, match=r"vgg16 stands in no ranking \(random weights\)"):
        claims([BASE], fold="test", unranked={"vgg16": "random weights"})


def test_one_question_at_a_time():
    with pytest.raises(UsageError, match="claims on f1 by woman: received a comparison on auc_roc by woman"):
        claims([BASE], fold="test", metric="f1")


def test_dropped_women_and_other_units_stand_in_the_sentence():
    by_view = dataclasses.replace(BASE, unit="view", positives=31, dropped_women=2, pairs=1)
    (claim,) = claims([by_view], fold="test", unit="view")
    assert "95 % interval -0.070" in claim.sentence
    assert "31 views with BAC, 42 women; 2 women left out, for whom a network has no score" in claim.sentence


def third(comparison: Comparison, a: str, b: str, **changed) -> Comparison:
    return dataclasses.replace(comparison, network_a=a, network_b=b, **changed)


def test_the_verdict_on_all():
    pairs = [BASE, third(BASE, "vgg16", "c", difference=-0.04), third(BASE, "xception", "c")]
    assert overall(pairs, fold="test", names=NAMES) == (
        "The 3 networks cannot be separated on AUC-ROC by woman in test (12 of 42 women with BAC). The largest gap is "
        "VGG16 minus c: difference -0.040, 95 % interval for all 3 pairs at once -0.070 to 0.130, Holm p 0.740."
    )
    one = [ABOVE, third(BASE, "vgg16", "c"), third(BASE, "xception", "c")]
    assert overall(one, fold="test", names=NAMES) == (
        "1 of 3 pairs is separated on AUC-ROC by woman in test (12 of 42 women with BAC): Xception is above VGG16. The "
        "other pairs cannot be separated."
    )
    best = [ABOVE, third(BASE, "vgg16", "c"), third(ABOVE, "c", "xception")]
    assert overall(best, fold="test").startswith("xception is above every other network on AUC-ROC by woman in test")


def test_the_verdict_when_nothing_can_be_said():
    assert overall([], fold="test", unranked={"vgg16": "random weights"}) == (
        "Nothing is compared on AUC-ROC by woman in test: fewer than two networks can stand in a ranking. "
        "Not ranked: vgg16: random weights."
    )
    untested = [Untested("a", "b", "auc_roc", "woman", "a: no positive woman; b: no positive woman", 3, 0, 0)]
    assert overall(untested, fold="test") == (
        "The 2 networks cannot be compared on AUC-ROC by woman in test: a: no positive woman; b: no positive woman."
    )
    assert "no difference could reach" in overall([dataclasses.replace(BASE, smallest_p=0.25)], fold="test")


def test_no_sentence_ranks_by_accident():
    generator = np.random.default_rng(0)
    for difference in generator.uniform(-0.5, 0.5, 20):
        (claim,) = claims([dataclasses.replace(BASE, difference=float(difference))], fold="test")
        assert "cannot be separated" in claim.sentence
