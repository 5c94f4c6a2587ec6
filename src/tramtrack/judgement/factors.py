"""Why a network won: what each crossed factor does within a network, and how much of a gap between two is left without it.

Everything here is on the AUC-ROC by woman, secondary, paired on the same women and resamples, and about these trained models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal

import pandas as pd

from tramtrack.evaluation.aggregate import Aggregation
from tramtrack.evaluation.answers import Answer, Question
from tramtrack.evaluation.claims import TARGET
from tramtrack.evaluation.contrasts import Contrast, Share, Weights, contrast_all, share_left
from tramtrack.judgement.contest import Contender, put_question
from tramtrack.network.registry import NetworkFacts, title
from tramtrack.protocol import Protocol
from tramtrack.training.variants import Levels, crossed, followed, in_words, variants

Outcome = Literal[
    "raises the AUC", "lowers the AUC", "unresolved", "changes nothing", "a part is left",
    "it shrinks, perhaps to nothing", "some is left, perhaps all", "the data cannot say", "it grows", "it is reversed",
    "cannot be tested",
]  # fmt: skip
COLUMNS = [
    "kind", "network_a", "network_b", "setting", "averaged_over", "variant_a", "variant_b", "difference", "low", "high",
    "simultaneous_low", "simultaneous_high", "p", "p_holm", "gap", "change", "change_low", "change_high", "change_p_holm",
    "share", "share_low", "share_high", "verdict", "sentence", "reason", "target", "fold", "women", "positives",
]  # fmt: skip


@dataclass(frozen=True)
class Crossing:
    """What was crossed, and by which name each network's variants are among the answers.

    ``names`` maps (network, setting) to the contestant that has these levels, or stands for it; ``reasons`` says why the
    others have none, and ``same`` why another setting's run stands for this one.
    """

    own: Levels
    settings: dict[str, Levels]
    factors: dict[str, tuple[str, ...]]
    names: dict[tuple[str, str], str]
    reasons: dict[tuple[str, str], str]
    same: dict[tuple[str, str], str]


def cross(
    protocol: Protocol,
    networks: Mapping[str, NetworkFacts | None],
    answers: Mapping[str, Answer | str],
    left_out: Mapping[str, str],
) -> Crossing:
    """Which contestant of ``answers`` (called network/variant) has which levels. ``left_out``: why a variant has no run."""
    own, *_ = listed = variants(protocol)
    factors = crossed(protocol)
    settings = {in_words(variant.levels, own.levels): variant.levels for variant in listed}
    by_levels = {tuple(variant.levels.items()): variant.name() for variant in listed}
    names: dict[tuple[str, str], str] = {}
    reasons: dict[tuple[str, str], str] = {}
    same: dict[tuple[str, str], str] = {}
    for network, facts in networks.items():
        for setting, levels in settings.items():
            kept, same[network, setting] = followed(facts, levels, factors)
            name = f"{network}/{by_levels[tuple(kept.items())]}"
            answer = answers.get(name)
            if isinstance(answer, Answer):
                names[network, setting] = name
            else:
                absent = left_out.get(name, "it has no finished run").partition(". ")[0]
                reasons[network, setting] = f"{title(network)}, {setting}: {answer or absent}"
    return Crossing(own.levels, settings, factors, names, reasons, same)


def factor_table(
    contenders: Sequence[Contender],
    protocol: Protocol,
    networks: Mapping[str, NetworkFacts | None],
    aggregation: Aggregation,
    fold: str,
    left_out: Mapping[str, str],
) -> pd.DataFrame:
    """factors.csv; empty where nothing is crossed. ``contenders`` are called network/variant, all variants of all networks."""
    if not crossed(protocol) or not contenders:
        return pd.DataFrame(columns=COLUMNS)
    question, answers = put_question(contenders, "auc_roc", "woman", aggregation, protocol.evaluation, fold)
    assert question is not None
    known = {name: answer for name, answer in answers.items() if isinstance(answer, Answer)}
    crossing = cross(protocol, networks, answers, left_out)
    rows = [*_within(crossing, list(networks), known, question), *_between(crossing, list(networks), known, question)]
    counts = question.counts()
    about = {"target": TARGET, "fold": fold, "women": counts["women"], "positives": counts["positives"]}
    return pd.DataFrame([{**row, **about} for row in rows], columns=COLUMNS)


def _within(
    crossing: Crossing, networks: Sequence[str], answers: Mapping[str, Answer], question: Question
) -> list[dict[str, Any]]:
    """What each setting does to a network, against its run under the protocol's own, then each level over all others."""
    rows: list[dict[str, Any]] = []
    wanted: list[Weights] = []
    for network in networks:
        for row, weights, reason in (*_settings(crossing, network), *_main_effects(crossing, network)):
            rows.append({"kind": "within", "network_a": network, "network_b": "", **row})
            if weights:
                rows[-1]["contrast"] = len(wanted)
                wanted.append(weights)
            else:
                rows[-1] |= {"verdict": "cannot be tested" if reason in crossing.reasons.values() else "changes nothing"}
                rows[-1] |= {
                    "reason": reason,
                    "sentence": f"{title(network)}, {row['setting']}: {rows[-1]['verdict']} ({reason}).",
                }
    found = contrast_all(wanted, answers, question)
    for row in rows:
        if (number := row.pop("contrast", None)) is not None:
            one = found[number]
            verdict: Outcome = "unresolved"
            if one.separated:
                verdict = "raises the AUC" if one.estimate > 0 else "lowers the AUC"
            over = (
                f", in the mean over {row['averaged_over']} combinations of the other factors"
                if row["averaged_over"] > 1
                else ""
            )
            row |= {**_numbers(one), "verdict": verdict, "reason": ""}
            row["sentence"] = (
                f"{title(row['network_a'])}: {row['setting']} against the protocol's own{over}: {_spoken(one)}; {verdict}."
            )
    return rows


def _settings(crossing: Crossing, network: str) -> Iterator[tuple[dict[str, Any], Weights, str]]:
    """(Row, contrast, reason why there is none) of each setting but the protocol's own."""
    reference, *others = crossing.settings
    for setting in others:
        row = {"setting": setting, "averaged_over": 1}
        missing = [crossing.reasons[key] for key in ((network, reference), (network, setting)) if key in crossing.reasons]
        if missing:
            yield row, {}, missing[0]
            continue
        base, name = crossing.names[network, reference], crossing.names[network, setting]
        row |= {"variant_a": _variant(name), "variant_b": _variant(base)}
        yield row, {} if name == base else {name: 1.0, base: -1.0}, crossing.same[network, setting]


def _main_effects(crossing: Crossing, network: str) -> Iterator[tuple[dict[str, Any], Weights, str]]:
    """Each level of each factor against the first, in the mean over the other factors' combinations."""
    for factor, levels in crossing.factors.items() if len(crossing.factors) > 1 else ():
        for level in levels[1:]:
            pairs: dict[tuple[str, str], None] = {}  # each once: a run may stand for several settings
            for setting, chosen in crossing.settings.items():
                base = in_words({**chosen, factor: levels[0]}, crossing.own)
                here, there = crossing.names.get((network, setting)), crossing.names.get((network, base))
                if chosen[factor] == level and here and there and here != there:
                    pairs[here, there] = None
            if len(pairs) > 1:
                weights = {name: sign / len(pairs) for pair in pairs for name, sign in zip(pair, (1.0, -1.0), strict=True)}
                yield {"setting": f"{factor} {level}", "averaged_over": len(pairs)}, weights, ""


def _between(
    crossing: Crossing, networks: Sequence[str], answers: Mapping[str, Answer], question: Question
) -> list[dict[str, Any]]:
    """The gap of each pair under the protocol's own setting and under each other one, and what part of it is left there."""
    reference, *others = crossing.settings
    gaps: list[Weights] = []
    changes: list[Weights] = []
    rows: list[dict[str, Any]] = []
    for a, b in combinations(networks, 2):
        for setting in (reference, *others):
            keys = [(a, reference), (b, reference), (a, setting), (b, setting)]
            row: dict[str, Any] = {"kind": "between", "network_a": a, "network_b": b, "setting": setting, "averaged_over": 1}
            rows.append(row)
            missing = [crossing.reasons[key] for key in keys if key in crossing.reasons]
            if missing:
                row |= {"verdict": "cannot be tested", "reason": missing[0]}
                continue
            base_a, base_b, own_a, own_b = (crossing.names[key] for key in keys)
            row |= {"variant_a": _variant(own_a), "variant_b": _variant(own_b), "number": len(gaps)}
            before, after = {base_a: 1.0, base_b: -1.0}, {own_a: 1.0, own_b: -1.0}
            gaps.append(after)
            if setting == reference:
                row |= {"verdict": "", "reason": ""}
            elif before == after:
                whys = [f"{title(name)}: {crossing.same[name, setting]}" for name in (a, b)]
                row |= {"verdict": "changes nothing", "reason": "; ".join(whys)}
            else:
                row |= {"before": before, "after": after, "changed": len(changes)}
                changes.append(_difference(before, after))
    found, moved = contrast_all(gaps, answers, question), contrast_all(changes, answers, question)
    own_gap: dict[tuple[str, str], Contrast] = {}
    for row in rows:
        number, changed = row.pop("number", None), row.pop("changed", None)
        before, after = row.pop("before", None), row.pop("after", None)
        if number is not None:
            row |= _numbers(found[number])
            gap = own_gap.setdefault((row["network_a"], row["network_b"]), found[number])  # the reference comes first
            row["gap"] = gap.estimate
            if changed is not None:
                row |= _left(
                    row, gap, found[number], moved[changed], share_left(before, after, answers, question, len(changes))
                )
        row.setdefault("sentence", _between_sentence(row))
    return rows


def _left(row: Mapping[str, Any], gap: Contrast, now: Contrast, moved: Contrast, share: Any) -> dict[str, Any]:
    """What is said of a gap under another setting: the change, the share that is left, the verdict and its sentence."""
    found: dict[str, Any] = {
        "change": moved.estimate,
        "change_low": moved.simultaneous_low,
        "change_high": moved.simultaneous_high,
        "change_p_holm": moved.p_holm,
        "reason": "",
    }
    if not isinstance(share, Share):
        found |= {"verdict": "the data cannot say", "reason": share.reason}
    else:
        found |= {"share": share.estimate, "share_low": share.low, "share_high": share.high, "verdict": verdict_of(share)}
    a, b = title(row["network_a"]), title(row["network_b"])
    start = f"{a} minus {b}: {gap.estimate:.3f} under the protocol's own settings; with {row['setting']} {_spoken(now)}"
    if isinstance(share, Share):
        left = f"{100 * share.estimate:.0f} % of the gap is left ({100 * share.low:.0f} to {100 * share.high:.0f} %)"
        end = f"{left}: {found['verdict']}"
    else:
        end = f"{found['verdict']}, because {share.reason}"
    return {**found, "sentence": f"{start}. {end[0].upper()}{end[1:]}."}


def verdict_of(share: Share) -> Outcome:
    """What the interval of the share that is left says; 1 is all of the gap and 0 nothing."""
    if share.low > 1:
        return "it grows"
    if share.high < 0:
        return "it is reversed"
    if share.low > 0:
        return "a part is left" if share.high < 1 else "some is left, perhaps all"
    return "it shrinks, perhaps to nothing" if share.high < 1 else "the data cannot say"


def _between_sentence(row: Mapping[str, Any]) -> str:
    a, b = title(row["network_a"]), title(row["network_b"])
    if row["verdict"] in ("cannot be tested", "changes nothing"):
        return f"{a} minus {b}, {row['setting']}: {row['verdict']} ({row['reason']})."
    span = f"{row['difference']:.3f} ({row['simultaneous_low']:.3f} to {row['simultaneous_high']:.3f})"
    return f"{a} minus {b} under {row['setting']} settings: {span}."


def _difference(before: Weights, after: Weights) -> Weights:
    names = dict.fromkeys((*before, *after))
    weights = {name: before.get(name, 0.0) - after.get(name, 0.0) for name in names}
    return {name: weight for name, weight in weights.items() if weight}


def _numbers(one: Contrast) -> dict[str, float]:
    names = ("low", "high", "simultaneous_low", "simultaneous_high", "p", "p_holm")
    return {"difference": one.estimate, **{name: getattr(one, name) for name in names}}


def _spoken(one: Contrast) -> str:
    return f"{one.estimate:.3f} ({one.simultaneous_low:.3f} to {one.simultaneous_high:.3f})"


def _variant(name: str) -> str:
    return name.partition("/")[2]


def as_variants(contenders: Sequence[Contender], variant_of: Sequence[str]) -> list[Contender]:
    """The contenders by the name network/variant, whatever they are called among themselves."""
    return [
        replace(one, name=f"{one.name.partition('/')[0]}/{variant}")
        for one, variant in zip(contenders, variant_of, strict=True)
    ]
