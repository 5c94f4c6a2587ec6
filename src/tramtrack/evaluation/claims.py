"""Sentences that a comparison can carry: who is above whom, or that it cannot be told; never a ranking in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tramtrack.errors import UsageError
from tramtrack.evaluation.aggregate import Unit
from tramtrack.evaluation.comparisons import Comparison, Untested
from tramtrack.evaluation.scores import METRIC_NAMES, Metric

Verdict = Literal["supported", "contradicted", "equivalent within the margin", "unresolved", "cannot be tested"]
TARGET = "these trained models"
"""What one split can speak of."""
ARCHITECTURES = "these architectures under this protocol"
"""What only several splits can speak of: whether it would come out so again, trained anew on as many other women."""
NAMED_AT_MOST = 6  # separated pairs that the verdict on all networks lists by name


@dataclass(frozen=True)
class Claim:
    """A sentence with the test that carries it.

    ``target`` is what the sentence is about, ``family`` "primary" for the AUC-ROC by woman and "secondary" for all else.
    ``difference`` is network a minus network b in [-1, 1], ``low`` to ``high`` its simultaneous interval over all pairs,
    ``p_holm`` its adjusted p; all four are None where nothing was tested. In a supported claim network a is the upper
    one. "equivalent within the margin": the simultaneous interval lies between minus and plus ``margin``, which the
    protocol set beforehand. "contradicted" is said only of a sentence that somebody asked for. A network that stands in no
    ranking has a claim of its own, with an empty ``network_b``. ``fold`` is the fold that was scored.
    """

    sentence: str
    network_a: str
    network_b: str
    metric: Metric
    unit: Unit
    fold: str
    difference: float | None
    low: float | None
    high: float | None
    p_holm: float | None
    verdict: Verdict
    margin: float | None = None
    family: Literal["primary", "secondary"] = "primary"
    target: str = TARGET


def claims(
    comparisons: Sequence[Comparison | Untested],
    *,
    fold: str,
    metric: Metric = "auc_roc",
    unit: Unit = "woman",
    unranked: Mapping[str, str] | None = None,
    names: Mapping[str, str] | None = None,
    margin: float | None = None,
) -> list[Claim]:
    """One claim a pair, in the order of ``comparisons``, then one for each network in ``unranked`` (network -> reason).

    ``metric`` and ``unit`` are those of the comparisons. ``names`` gives the networks' names as they are to be read.
    ``margin`` is how far two networks may differ and still count as equivalent; None makes no such claim.
    Raises UsageError where a comparison is of another metric or unit, or involves an unranked network: that one must be
    left out of `compare`, because it would count in the adjustment.
    """
    _require_one_question(comparisons, metric, unit, unranked or {})
    made = [claim_on(comparison, fold, names or {}, margin) for comparison in comparisons]
    for network, reason in (unranked or {}).items():
        sentence = f"{(names or {}).get(network, network)} stands in no ranking: {reason}."
        family = family_of(metric, unit)
        made.append(Claim(sentence, network, "", metric, unit, fold, None, None, None, None, "cannot be tested", family=family))
    return made


def overall(
    comparisons: Sequence[Comparison | Untested],
    *,
    fold: str,
    metric: Metric = "auc_roc",
    unit: Unit = "woman",
    unranked: Mapping[str, str] | None = None,
    names: Mapping[str, str] | None = None,
) -> str:
    """The verdict on all networks together, in one or two sentences; arguments as in `claims`."""
    _require_one_question(comparisons, metric, unit, unranked or {})
    called = names or {}
    networks = list(dict.fromkeys(name for pair in comparisons for name in (pair.network_a, pair.network_b)))
    where = f"on {METRIC_NAMES[metric]} by {unit} in {fold}"
    out = ""
    if unranked:
        listed = "; ".join(f"{called.get(name, name)}: {reason}" for name, reason in unranked.items())
        out = f" Not ranked: {listed}."
    if not comparisons:
        return f"Nothing is compared {where}: fewer than two networks can stand in a ranking.{out}"
    tested = [comparison for comparison in comparisons if isinstance(comparison, Comparison)]
    testable = [comparison for comparison in tested if comparison.testable]
    if not testable:
        reason = f", {_too_little(tested[0])}" if tested else f": {_titled(_untested(comparisons), called)}"
        return f"The {len(networks)} networks cannot be compared {where}{reason}.{out}"
    separated = [comparison for comparison in tested if comparison.separated]
    basis = _basis(testable[0])
    if not separated:
        widest = max(testable, key=lambda comparison: abs(comparison.difference))
        return (
            f"The {len(networks)} networks cannot be separated {where} ({basis}). The largest gap is "
            f"{called.get(widest.network_a, widest.network_a)} minus {called.get(widest.network_b, widest.network_b)}: "
            f"{_numbers(widest)}.{out}"
        )
    pairs = [_upper_and_lower(comparison) for comparison in separated]
    for network in networks:
        if sum(upper == network for upper, _ in pairs) == len(networks) - 1:
            return f"{called.get(network, network)} is above every other network {where} ({basis}).{out}"
    shown = "; ".join(f"{called.get(a, a)} is above {called.get(b, b)}" for a, b in pairs[:NAMED_AT_MOST])
    more = f"; and {len(pairs) - NAMED_AT_MOST} more" if len(pairs) > NAMED_AT_MOST else ""
    rest = "" if len(pairs) == len(comparisons) else " The other pairs cannot be separated."
    verb = "pair is" if len(comparisons) == 1 else "pairs is" if len(pairs) == 1 else "pairs are"
    return f"{len(pairs)} of {len(comparisons)} {verb} separated {where} ({basis}): {shown}{more}.{rest}{out}"


def claim_on(comparison: Comparison | Untested, fold: str, names: Mapping[str, str], margin: float | None = None) -> Claim:
    """The sentence that one comparison carries; arguments as in `claims`."""
    a, b = comparison.network_a, comparison.network_b
    metric, unit = comparison.metric, comparison.unit
    family = family_of(metric, unit)
    where = f"on {METRIC_NAMES[metric]} by {unit} in {fold}"
    pair = f"{names.get(a, a)} and {names.get(b, b)}"
    if isinstance(comparison, Untested):
        sentence = f"{pair}: cannot be tested {where} ({_titled(comparison.reason, names)})."
        return Claim(sentence, a, b, metric, unit, fold, None, None, None, None, "cannot be tested", margin, family)
    difference, low, high = comparison.difference, comparison.simultaneous_low, comparison.simultaneous_high
    evidence = f"{_numbers(comparison)}; {_basis(comparison)}"
    verdict: Verdict = "unresolved"
    if not comparison.testable:
        verdict = "cannot be tested"
        bare = f"difference {difference:.3f}; {_basis(comparison)}"  # an interval would say more than the test can
        sentence = f"{pair}: cannot be tested {where}, {_too_little(comparison)} ({bare})."
    elif comparison.separated:
        verdict = "supported"
        if difference < 0:
            a, b = b, a
            difference, low, high = -difference, -high, -low
        sentence = (
            f"{names.get(a, a)} is above {names.get(b, b)} {where} "
            f"({_numbers(comparison, reverse=comparison.difference < 0)}; {_basis(comparison)})."
        )
        if within(comparison, margin):
            sentence = sentence[:-1] + f"; by less than the margin of {margin:g}."
    elif within(comparison, margin):
        verdict = "equivalent within the margin"
        sentence = f"{pair} differ by less than {margin:g}, the margin set beforehand, {where} ({evidence})."
    else:
        sentence = f"{pair}: cannot be separated {where} ({evidence})."
    return Claim(sentence, a, b, metric, unit, fold, difference, low, high, comparison.p_holm, verdict, margin, family)


def within(comparison: Comparison, margin: float | None) -> bool:
    """Whether the simultaneous interval lies inside -margin to margin."""
    return margin is not None and -margin < comparison.simultaneous_low and comparison.simultaneous_high < margin


def family_of(metric: Metric, unit: Unit) -> Literal["primary", "secondary"]:
    """ "primary" for the one comparison fixed beforehand, AUC-ROC by woman."""
    return "primary" if (metric, unit) == ("auc_roc", "woman") else "secondary"


def _upper_and_lower(comparison: Comparison) -> tuple[str, str]:
    names = comparison.network_a, comparison.network_b
    return names if comparison.difference > 0 else names[::-1]


def _numbers(comparison: Comparison, reverse: bool = False) -> str:
    difference, low, high = comparison.difference, comparison.simultaneous_low, comparison.simultaneous_high
    if reverse:
        difference, low, high = -difference, -high, -low
    together = f" for all {comparison.pairs} pairs at once" if comparison.pairs > 1 else ""
    p = "< 0.001" if comparison.p_holm < 0.001 else f"{comparison.p_holm:.3f}"
    return (
        f"difference {difference:.3f}, {100 * comparison.confidence:g} % interval{together} {low:.3f} to {high:.3f}, Holm p {p}"
    )


def _basis(comparison: Comparison) -> str:
    """How many units and women the sentence rests on."""
    if comparison.unit == "woman":
        text = f"{comparison.positives} of {comparison.women} women with BAC"
    else:
        text = f"{comparison.positives} {comparison.unit}s with BAC, {comparison.women} women"
    if comparison.dropped_women:
        dropped = f"{comparison.dropped_women} {'woman' if comparison.dropped_women == 1 else 'women'}"
        text += f"; {dropped} left out, for whom a network has no score"
    return text


def _titled(reason: str, names: Mapping[str, str]) -> str:
    """A reason of the form "network: why; network: why" with the networks' names as they are read."""
    parts = [part.partition(": ") for part in reason.split("; ")]
    return "; ".join(f"{names.get(name, name)}{sign}{why}" for name, sign, why in parts)


def _too_little(comparison: Comparison) -> str:
    pairs = f"{comparison.pairs} pair{'s' if comparison.pairs > 1 else ''}"
    return (
        f"since with {pairs}, {comparison.women} women ({comparison.positives} positive) and {comparison.resamples} usable "
        f"resamples no difference could reach an adjusted p of {1 - comparison.confidence:.2g}"
    )


def _untested(comparisons: Sequence[Comparison | Untested]) -> str:
    reasons = [comparison.reason for comparison in comparisons if isinstance(comparison, Untested)]
    return "; ".join(dict.fromkeys(part for reason in reasons for part in reason.split("; ")))


def _require_one_question(
    comparisons: Sequence[Comparison | Untested], metric: Metric, unit: Unit, unranked: Mapping[str, str]
) -> None:
    for comparison in comparisons:
        if (comparison.metric, comparison.unit) != (metric, unit):
            raise UsageError(
                f"claims on {metric} by {unit}: received a comparison on {comparison.metric} by {comparison.unit}; "
                "make the claims of each metric and unit apart"
            )
        for name in (comparison.network_a, comparison.network_b):
            if name in unranked:
                raise UsageError(f"{name} stands in no ranking ({unranked[name]}): leave it out of the comparison")
