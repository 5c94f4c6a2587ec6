"""Sentences that somebody states, "vgg16 > mobilenetv2 on f1 in test by woman", and what the comparison says to them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from tramtrack.errors import UsageError
from tramtrack.evaluation.aggregate import UNITS, Unit
from tramtrack.evaluation.claims import ARCHITECTURES, TARGET, Claim, Verdict, claim_on, within
from tramtrack.evaluation.comparisons import Comparison, Untested
from tramtrack.evaluation.scores import METRIC_NAMES, METRICS, SMALLER_IS_BETTER, Metric

FORM = "NETWORK > NETWORK on METRIC in FOLD by UNIT as TARGET (> above, < below, = equivalent; TARGET models or architectures)"
TARGETS = {"models": TARGET, "architectures": ARCHITECTURES}
FOLDS = ("test", "validation", "training")
_PARTS = re.compile(
    r"(?P<a>[^\s<>=]+)\s*(?P<sign>[<>=])\s*(?P<b>[^\s<>=]+)"
    r"(?:\s+on\s+(?P<metric>\S+)|\s+in\s+(?P<fold>\S+)|\s+by\s+(?P<unit>\S+)|\s+as\s+(?P<target>\S+))*"
)


@dataclass(frozen=True)
class Statement:
    """What is claimed: that network a is above (>), below (<) or equivalent to (=) network b on one metric, fold and unit.

    ``target``: these trained models, or these architectures under this protocol.
    """

    network_a: str
    network_b: str
    sign: Literal["<", ">", "="]
    metric: Metric
    fold: str
    unit: Unit
    target: str = TARGET


def parse(text: str) -> Statement:
    """Read a sentence; ``on``, ``in``, ``by`` and ``as`` may stand in any order and default to auc_roc, test, woman and models.

    Raises UsageError saying what was expected, with the nearest word where a word is not known.
    """
    found = _PARTS.fullmatch(text.strip().lower())
    if found is None:
        raise UsageError(f"claim {text!r}: expected {FORM}")
    metric = _known(text, "metric", (found["metric"] or "auc_roc").replace("-", "_"), METRICS)
    fold = _known(text, "fold", found["fold"] or "test", FOLDS)
    unit = _known(text, "unit", found["unit"] or "woman", UNITS)
    if metric in SMALLER_IS_BETTER:
        raise UsageError(f"claim {text!r}: {METRIC_NAMES[metric]} is better when it is smaller; claim on another metric")
    if found["a"] == found["b"]:
        raise UsageError(f"claim {text!r}: expected two different networks")
    target = TARGETS[_known(text, "target", found["target"] or "models", tuple(TARGETS))]
    return Statement(found["a"], found["b"], found["sign"], metric, fold, unit, target)  # type: ignore[arg-type]


def contestant(text: str, name: str, names: Iterable[str]) -> str:
    """The contestant that ``name`` means: itself, or the network's only variant. Raises UsageError with what there is."""
    known = list(names)
    if name in known:
        return name
    variants = [one for one in known if one.startswith(f"{name}/")]
    if len(variants) == 1:
        return variants[0]
    if variants:
        raise UsageError(f"claim {text!r}: {name} has several variants; name one of {', '.join(variants)}")
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"those are {', '.join(known) or 'none'}"
    raise UsageError(f"claim {text!r}: {name} is not among the evaluated networks; {hint}")


def answer(
    statement: Statement, comparison: Comparison | Untested, names: Mapping[str, str], margin: float | None = None
) -> Claim:
    """The verdict on a statement, with the comparison of its two networks (in either order) that carries it.

    "supported" and "contradicted": the pair is separated in that or in the other direction. A statement of equivalence is
    supported as "equivalent within the margin", and contradicted where the interval lies outside the margin altogether.
    """
    made = claim_on(comparison, statement.fold, names, margin)
    verdict = _verdict(statement, comparison, made, margin)
    return _stated(statement, made, verdict, names)


def answer_architectures(statement: Statement, made: Claim, names: Mapping[str, str], margin: float) -> Claim:
    """The verdict on a statement about architectures, from the claim that repeated splits carry on the same two."""
    low, high = made.low, made.high
    if made.verdict == "cannot be tested" or low is None or high is None:
        return _stated(statement, made, "cannot be tested", names)
    verdict: Verdict = "unresolved"
    if statement.sign == "=":
        verdict = "equivalent within the margin" if -margin < low and high < margin else "unresolved"
        verdict = "contradicted" if made.verdict == "supported" and low > margin else verdict
    elif made.verdict == "supported":
        upper = statement.network_a if statement.sign == ">" else statement.network_b
        verdict = "supported" if made.network_a == upper else "contradicted"
    elif made.verdict == "equivalent within the margin":
        verdict = made.verdict
    return _stated(statement, made, verdict, names)


def _stated(statement: Statement, made: Claim, verdict: Verdict, names: Mapping[str, str]) -> Claim:
    words = {">": "is above", "<": "is below", "=": "is equivalent to"}[statement.sign]
    a, b = (names.get(name, name) for name in (statement.network_a, statement.network_b))
    stated = f"{a} {words} {b} on {METRIC_NAMES[statement.metric]} by {statement.unit} in {statement.fold}"
    return replace(made, sentence=f"{stated}: {verdict}. {made.sentence}", verdict=verdict)


def _verdict(statement: Statement, comparison: Comparison | Untested, made: Claim, margin: float | None) -> Verdict:
    if isinstance(comparison, Untested) or not comparison.testable:
        return "cannot be tested"
    if statement.sign == "=":
        if within(comparison, margin):
            return "equivalent within the margin"
        outside = margin is not None and (comparison.simultaneous_low > margin or comparison.simultaneous_high < -margin)
        return "contradicted" if outside and comparison.separated else "unresolved"
    if not comparison.separated:
        return made.verdict
    upper = statement.network_a if statement.sign == ">" else statement.network_b
    return "supported" if made.network_a == upper else "contradicted"


def _known(text: str, what: str, word: str, words: tuple[str, ...]) -> str:
    if word in words:
        return word
    near = difflib.get_close_matches(word, words, n=1)
    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(words)}"
    raise UsageError(f"claim {text!r}: {what} {word} is not known; {hint}")
