"""Which of the evaluated networks differ: a network is a network and a variant, with its seeds together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tramtrack.evaluation.aggregate import UNITS, Aggregation, Predictions, Unit, Units
from tramtrack.evaluation.answers import Answer, Question, ask
from tramtrack.evaluation.claims import Claim, claims, family_of, overall
from tramtrack.evaluation.clustered import mcnemar
from tramtrack.evaluation.comparisons import Comparison, Untested, compare_answers, groups, holm
from tramtrack.evaluation.intervals import interval, standard_error
from tramtrack.evaluation.scores import COUNT_METRICS, METRICS, SMALLER_IS_BETTER, Metric, Undefined
from tramtrack.evaluation.standings import on_the_front, rank_correlations, standings
from tramtrack.network.registry import title
from tramtrack.protocol import Evaluation

COSTS = {
    "depth": "documented depth",
    "weight_layers": "layers with weights",
    "parameters": "parameters",
    "multiply_adds": "multiply-adds a view",
    "seconds_an_epoch_uncached": "seconds an epoch, nothing kept",
    "seconds_an_epoch_cached": "seconds an epoch, frozen part kept",
}
"""Columns of resources.csv against which the primary metric is set."""
MOST_NETWORKS = 100
"""Up to so many contestants every secondary comparison is made, of more the primary one alone; any two can be asked for."""
STANDING_COLUMNS = ["contestant", "value", "best", "sampling_sd", "seed_sd", "seeds", "note"]
MCNEMAR_COLUMNS = [
    "network_a", "network_b", "seed", "unit", "rate", "only_a", "only_b", "units", "women", "difference", "p", "p_holm",
    "reason",
]  # fmt: skip
COST_COLUMNS = ["cost", "rho", "low", "high", "networks", "reason"]
FRONT_COLUMNS = ["contestant", "cost", "amount", "least", "most", "value", "low", "high", "on_front"]


@dataclass(frozen=True)
class Contender:
    """One seed of a contestant that may stand in a ranking: its predictions of all views, and its thresholds by unit."""

    name: str
    seed: int
    predictions: pd.DataFrame
    thresholds: Mapping[Unit, float | None]


@dataclass(frozen=True)
class Contest:
    """The tables of a comparison, the verdict on all, and the groups in which no pair is separated."""

    comparisons: pd.DataFrame
    claims: pd.DataFrame
    standings: pd.DataFrame
    mcnemar: pd.DataFrame
    cost_correlations: pd.DataFrame
    cost_front: pd.DataFrame
    verdict: str
    groups: list[tuple[str, ...]]


def hold_contest(
    contenders: Sequence[Contender],
    aggregation: Aggregation,
    settings: Evaluation,
    fold: str,
    unranked: Mapping[str, str],
    costs: pd.DataFrame,
) -> Contest:
    """Compare all contenders on ``fold``: AUC-ROC by woman is primary, everything else secondary.

    ``unranked`` names those that stand in no ranking, with the reason; ``costs`` is resources.csv with the column
    "contestant".
    """
    names = {name: readable(name) for name in (*dict.fromkeys(one.name for one in contenders), *unranked)}
    question, answers = put_question(contenders, "auc_roc", "woman", aggregation, settings, fold)
    compared = compare_answers(question, answers) if question else []
    made = claims(compared, fold=fold, unranked=unranked, names=names, margin=settings.margin)
    verdict = overall(compared, fold=fold, unranked=unranked, names=names)
    known = [item for item in compared if isinstance(item, Comparison)]
    correlations, front = _against_cost(answers, costs, known, settings)
    return Contest(
        comparisons=_comparison_table([*compared, *_secondary(contenders, aggregation, settings, fold)], fold),
        claims=pd.DataFrame([asdict(claim) for claim in made], columns=[field.name for field in fields(Claim)]),
        standings=_standing_table(answers),
        mcnemar=_mcnemar_table(contenders, aggregation, fold),
        cost_correlations=correlations,
        cost_front=front,
        verdict=verdict,
        groups=groups(known),
    )


def put_question(
    contenders: Sequence[Contender], metric: Metric, unit: Unit, aggregation: Aggregation, settings: Evaluation, fold: str
) -> tuple[Question | None, dict[str, Answer | str]]:
    """What each contestant answers on one metric and unit; no question where nobody contends.

    A network that lacks predictions of some units is compared on the women that all have; without a threshold it has no
    answer, and that is the reason.
    """
    if not contenders:
        return None, {}
    by_seed = list(zip(contenders, aligned_units(contenders, fold, unit, aggregation), strict=True))
    reference = by_seed[0][1]
    scores: dict[str, list[np.ndarray]] = {}
    cuts: dict[str, list[float]] = {}
    without: dict[str, str] = {}
    for one, units in by_seed:
        cut = one.thresholds[unit]
        if metric in COUNT_METRICS and cut is None:
            without[one.name] = f"no threshold by {unit} on validation"
        scores.setdefault(one.name, []).append(units.scores)
        cuts.setdefault(one.name, []).append(float("nan") if cut is None else cut)
    question, answers = ask(
        {name: np.stack(values) for name, values in scores.items()},
        reference.labels,
        reference.woman,
        unit=unit,
        metric=metric,
        thresholds=cuts,
        unranked=without,
        generator=np.random.default_rng(settings.seed),
        resamples=settings.resamples,
        confidence=settings.confidence,
    )
    return question, {name: without.get(name) or answers[name] for name in scores}


def contestants(runs: Sequence[tuple[str, str, bool]]) -> dict[tuple[str, str], str]:
    """The name of each (network, variant, pretrained): the network's, and "network/variant" where it stands in several.

    Random weights do not count as a variant beside pretrained ones: they stand in no comparison.
    """
    variants: dict[tuple[str, bool], list[str]] = {}
    for network, variant, pretrained in runs:
        known = variants.setdefault((network, pretrained), [])
        if variant not in known:
            known.append(variant)
    return {
        (network, variant): network if len(found) == 1 else f"{network}/{variant}"
        for (network, _), found in variants.items()
        for variant in found
    }


def readable(name: str) -> str:
    """A contestant's name as it is read: the network's title, and its variant in brackets where there are several."""
    network, _, variant = name.partition("/")
    return f"{title(network)} ({variant})" if variant else title(network)


def aligned_units(contenders: Sequence[Contender], fold: str, unit: Unit, aggregation: Aggregation) -> list[Units]:
    """The same units in the same order for each contender, over all views that any has; NaN where one has no prediction."""
    tables = [one.predictions[one.predictions["fold"] == fold] for one in contenders]
    views = pd.concat(tables).drop_duplicates("view_id").sort_values("view_id")
    known = {name: views[f"bac_{name}"].fillna(-1).to_numpy(dtype=np.int8) for name in UNITS}
    found = []
    for table in tables:
        scores = table.drop_duplicates("view_id").set_index("view_id")["score"].reindex(views["view_id"])
        predictions = Predictions(
            woman=views["woman"].to_numpy(dtype=str),
            side=views["side"].to_numpy(dtype=str),
            view=views["view_id"].to_numpy(dtype=str),  # orders the views; a repeated view stays apart from its twin
            score=scores.to_numpy(dtype=np.float64),
            label_view=known["view"],
            label_breast=known["breast"],
            label_woman=known["woman"],
        )
        found.append(predictions.units(unit, aggregation))
    return found


def _secondary(
    contenders: Sequence[Contender], aggregation: Aggregation, settings: Evaluation, fold: str
) -> list[Comparison | Untested]:
    """All pairs on every other metric by woman that is better when it is larger, and on the AUC-ROC by view."""
    asked: list[tuple[Metric, Unit]] = [(metric, "woman") for metric in METRICS if metric not in SMALLER_IS_BETTER]
    asked = [*asked[1:], ("auc_roc", "view")]
    names = len({one.name for one in contenders})
    if names > MOST_NETWORKS:
        reason = (
            f"{names} networks make {names * (names - 1) // 2:,} pairs; secondary comparisons end at {MOST_NETWORKS} networks"
        )
        return [Untested("", "", metric, unit, reason, 0, 0, 0) for metric, unit in asked]
    found: list[Comparison | Untested] = []
    for metric, unit in asked:
        question, answers = put_question(contenders, metric, unit, aggregation, settings, fold)
        found += compare_answers(question, answers) if question else []
    return found


def _comparison_table(compared: Sequence[Comparison | Untested], fold: str) -> pd.DataFrame:
    columns = list(dict.fromkeys(field.name for kind in (Comparison, Untested) for field in fields(kind)))
    table = pd.DataFrame([asdict(item) for item in compared], columns=columns)
    families = [family_of(item.metric, item.unit) for item in compared]
    return table.assign(fold=fold, family=families)


def _standing_table(answers: Mapping[str, Answer | str]) -> pd.DataFrame:
    rows = [dict(zip(STANDING_COLUMNS, asdict(one).values(), strict=True)) for one in standings(answers)]
    return pd.DataFrame(rows, columns=STANDING_COLUMNS)


def _mcnemar_table(contenders: Sequence[Contender], aggregation: Aggregation, fold: str) -> pd.DataFrame:
    """Exact McNemar tests of the calls of equal seeds: sensitivity and specificity, by woman and by view.

    p is adjusted after Holm over all pairs of one seed, unit and rate.
    """
    rows: list[dict[str, Any]] = []
    units: tuple[Unit, ...] = ("woman", "view")
    for unit in units if 0 < len({one.name for one in contenders}) <= MOST_NETWORKS else ():
        calls = dict(
            zip(
                ((one.name, one.seed) for one in contenders),
                zip(contenders, aligned_units(contenders, fold, unit, aggregation), strict=True),
                strict=True,
            )
        )
        every = [units for _, units in calls.values()]
        lacking = np.any([~np.isfinite(units.scores) for units in every], axis=0)
        common = ~np.isin(every[0].woman, every[0].woman[lacking])  # women of whom every network has every score
        for seed in dict.fromkeys(one.seed for one in contenders):
            names = [name for name, own in calls if own == seed]
            for rate, label in (("sensitivity", True), ("specificity", False)):
                family = [_mcnemar_row(calls[a, seed], calls[b, seed], label, common) for a, b in combinations(names, 2)]
                tested = [number for number, row in enumerate(family) if not row["reason"]]
                adjusted = holm([family[number]["p"] for number in tested])
                for number, p in zip(tested, adjusted, strict=True):
                    family[number]["p_holm"] = float(p)
                rows += [{**row, "seed": seed, "unit": unit, "rate": rate} for row in family]
    return pd.DataFrame(rows, columns=MCNEMAR_COLUMNS)


def _mcnemar_row(
    one: tuple[Contender, Units], other: tuple[Contender, Units], label: bool, common: NDArray[np.bool_]
) -> dict[str, Any]:
    (a, mine), (b, theirs) = one, other
    row: dict[str, Any] = {"network_a": a.name, "network_b": b.name, "reason": ""}
    cuts = a.thresholds[mine.unit], b.thresholds[mine.unit]
    kept = (mine.labels == label) & common
    if cuts[0] is None or cuts[1] is None:
        return {**row, "reason": f"no threshold by {mine.unit} on validation"}
    if not kept.any():
        return {**row, "reason": f"no {'positive' if label else 'negative'} {mine.unit}"}
    right_a, right_b = ((units.scores[kept] >= cut) == label for units, cut in ((mine, cuts[0]), (theirs, cuts[1])))
    found = mcnemar(right_a, right_b, np.unique(mine.woman, return_inverse=True)[1][kept])
    return {**row, **asdict(found)}


def _against_cost(
    answers: Mapping[str, Answer | str], costs: pd.DataFrame, compared: Sequence[Comparison], settings: Evaluation
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rank correlations of each cost with the primary metric, and each contestant's place before the front of each cost."""
    amounts = {
        cost: {str(name): float(group[cost].median()) for name, group in costs.groupby("contestant", sort=False)}
        for cost in COSTS
    }
    correlations = []
    for found in rank_correlations(answers, amounts, settings.confidence):
        row = (
            {"cost": found.metric, "networks": found.n, "reason": found.reason}
            if isinstance(found, Undefined)
            else asdict(found)
        )
        correlations.append({"reason": "", **row})
    rows = []
    for cost, amount in amounts.items():
        shares = on_the_front(answers, amount)
        for name, share in shares.items():
            own = costs[costs["contestant"] == name]
            low, high = (own.get(f"{cost}_{end}", own[cost]) for end in ("least", "most"))
            answer = answers[name]
            assert isinstance(answer, Answer)
            error = standard_error(answer.values[np.isfinite(answer.values)])
            spread = interval("auc_roc", answer.value, answer.sample, error, settings.confidence)
            rows.append(
                dict(
                    zip(
                        FRONT_COLUMNS,
                        (name, cost, amount[name], low.min(), high.max(), answer.value, *spread, share),
                        strict=True,
                    )
                )
            )
    return pd.DataFrame(correlations, columns=COST_COLUMNS), pd.DataFrame(rows, columns=FRONT_COLUMNS)
