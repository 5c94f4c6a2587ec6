from __future__ import annotations

import dataclasses

import pytest

from tramtrack.errors import UsageError
from tramtrack.evaluation.comparisons import Comparison, Untested
from tramtrack.evaluation.sentences import Statement, answer, contestant, parse

BASE = Comparison(
    "vgg16", "xception", "f1", "woman", 0.82, 0.79, 0.03, -0.02, 0.08, -0.03, 0.09, 0.4, 0.74, False, "bootstrap",
    women=42, positives=12, dropped_women=0, pairs=3, resamples=2000, smallest_p=1 / 2001, confidence=0.95,
)  # fmt: skip
ABOVE = dataclasses.replace(BASE, difference=0.2, simultaneous_low=0.1, simultaneous_high=0.3, p_holm=0.001, separated=True)
ALIKE = dataclasses.replace(BASE, simultaneous_low=-0.01, simultaneous_high=0.04)


def test_a_sentence_is_read_in_any_order_of_its_parts():
    wanted = Statement("vgg16", "mobilenetv2", ">", "f1", "test", "woman")
    for text in (
        "vgg16 > mobilenetv2 on f1 in test by woman",
        "VGG16>MobileNetV2 by woman in test on F1",
        "vgg16 > mobilenetv2 on f1",
    ):
        assert parse(text) == wanted
    assert parse("vgg16/full = vgg16/last-conv on auc-roc in validation by view") == Statement(
        "vgg16/full", "vgg16/last-conv", "=", "auc_roc", "validation", "view"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("vgg16 beats xception", r"expected NETWORK > NETWORK on METRIC"),
        ("vgg16 > xception on sensitvity", r"metric sensitvity is not known; did you mean sensitivity\?"),
        ("vgg16 > xception in training-set", r"fold training-set is not known; did you mean training\?"),
        ("vgg16 > xception by patient", "unit patient is not known; expected one of view, breast, woman"),
        ("vgg16 > vgg16", "expected two different networks"),
        ("vgg16 > xception on brier", "better when it is smaller"),
    ],
)
def test_what_cannot_be_read_says_what_was_expected(text, says):
    with pytest.raises(UsageError, match=says):
        parse(text)


@pytest.mark.parametrize(
    ("sign", "comparison", "margin", "verdict"),
    [
        (">", ABOVE, None, "supported"),
        ("<", ABOVE, None, "contradicted"),
        (">", BASE, 0.05, "unresolved"),
        (">", ALIKE, 0.05, "equivalent within the margin"),
        ("=", ALIKE, 0.05, "equivalent within the margin"),
        ("=", ALIKE, None, "unresolved"),
        ("=", BASE, 0.05, "unresolved"),
        ("=", ABOVE, 0.05, "contradicted"),
        ("=", ABOVE, 0.15, "unresolved"),
        (">", dataclasses.replace(ABOVE, smallest_p=0.25), None, "cannot be tested"),
        (">", Untested("vgg16", "xception", "f1", "woman", "vgg16: no threshold", 3, 1, 0), 0.05, "cannot be tested"),
    ],
)
def test_verdicts(sign, comparison, margin, verdict):
    made = answer(Statement("vgg16", "xception", sign, "f1", "test", "woman"), comparison, {}, margin)
    assert made.verdict == verdict
    assert made.sentence.startswith(f"vgg16 is {'above' if sign == '>' else 'below' if sign == '<' else 'equivalent to'} ")
    assert f": {verdict}. " in made.sentence
    assert made.family == "secondary" and made.target == "these trained models"


def test_the_order_of_the_pair_does_not_matter():
    turned = Statement("xception", "vgg16", "<", "f1", "test", "woman")
    assert answer(turned, ABOVE, {"vgg16": "VGG16"}).verdict == "supported"
    assert answer(dataclasses.replace(turned, sign=">"), ABOVE, {}).verdict == "contradicted"


def test_a_network_means_its_only_variant():
    names = ["vgg16/full", "vgg16/last-conv", "xception"]
    assert contestant("t", "xception", names) == "xception"
    assert contestant("t", "vgg16/full", names) == "vgg16/full"
    assert contestant("t", "densenet121", ["densenet121/full"]) == "densenet121/full"
    with pytest.raises(UsageError, match="vgg16 has several variants; name one of vgg16/full, vgg16/last-conv"):
        contestant("t", "vgg16", names)
    with pytest.raises(UsageError, match=r"xceptoin is not among the evaluated networks; did you mean xception\?"):
        contestant("t", "xceptoin", names)
