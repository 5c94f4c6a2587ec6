"""A sentence that somebody states, answered from an evaluation's own tables; it never scores a view and opens no fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from tramtrack import store
from tramtrack.errors import TramtrackError
from tramtrack.evaluation.aggregate import UNITS, Unit
from tramtrack.evaluation.answers import Answer, Question
from tramtrack.evaluation.claims import ARCHITECTURES, Claim
from tramtrack.evaluation.comparisons import compare_answers
from tramtrack.evaluation.sentences import Statement, answer, answer_architectures, contestant, parse
from tramtrack.judgement.architectures import SplitResult, architecture_claims, women_of
from tramtrack.judgement.contest import Contender, contestants, put_question, readable
from tramtrack.network.registry import file_stem
from tramtrack.protocol import Evaluation, Protocol
from tramtrack.training.record import PRETRAINED, read_predictions

KEY = ["network", "variant", "seed", "weights"]


def answer_claim(text: str, protocol: Protocol, folder: Path) -> Claim:
    """The verdict on ``text`` from the evaluation in ``folder`` (a study's results/), adjusted for all pairs there.

    Raises UsageError where the sentence cannot be read or names an unknown network, TramtrackError where it asks for the
    sealed test fold.
    """
    statement = parse(text)
    summary = store.read_json(folder / "summary.json")
    if statement.fold == "test" and not summary["unsealed"]:
        raise TramtrackError(
            f"claim {text!r}: the test fold is sealed, and a claim does not open it; ask in validation, or run "
            f"`tramtrack evaluate {folder.parent} --unseal` once every network is finished"
        )
    contenders, controls = read_contenders(folder)
    for name in (statement.network_a, statement.network_b):
        if name in controls and not any(one.name.partition("/")[0] == name for one in contenders):
            raise TramtrackError(f"claim {text!r}: {name} has random weights only and stands in no ranking")
    own = _family(contenders, (statement.network_a, statement.network_b), summary)
    names = list(dict.fromkeys(one.name for one in own))
    pair = [contestant(text, name, names) for name in (statement.network_a, statement.network_b)]
    statement = replace(statement, network_a=pair[0], network_b=pair[1])
    titles = {name: readable(name) for name in names}
    beside = bool(summary.get("beside")) and len(own) == len(contenders)
    if statement.target == ARCHITECTURES:
        made = _of_architectures(statement, names, titles, protocol.evaluation, folder, summary)
        return replace(made, family="secondary") if beside or statement.fold == "training" else made
    question, answers = _ask(own, statement, protocol.evaluation, summary)
    assert question is not None
    found = next(item for item in compare_answers(question, answers) if {item.network_a, item.network_b} == set(pair))
    made = answer(statement, found, titles, protocol.evaluation.margin)
    return replace(made, family="secondary") if beside or statement.fold == "training" else made


def _ask(
    contenders: Sequence[Contender], statement: Statement, settings: Evaluation, summary: Mapping[str, Any]
) -> tuple[Question | None, dict[str, Answer | str]]:
    aggregation = summary["aggregation"]
    return put_question(contenders, statement.metric, statement.unit, aggregation, settings, statement.fold)


def _family(contenders: Sequence[Contender], asked: Sequence[str], summary: Mapping[str, Any]) -> list[Contender]:
    """Whom a claim is adjusted for: the protocol's own variants, by the network's name, unless it names another variant."""
    beside = {name.rpartition("/")[0] for name in summary.get("beside", [])}
    if not beside or any("/" in name for name in asked):
        return list(contenders)
    return [
        replace(one, name=one.name.partition("/")[0])
        for one in contenders
        if file_stem(one.name.partition("/")[0]) + "/" + one.name.partition("/")[2] not in beside
    ]


def _of_architectures(
    statement: Statement,
    names: Sequence[str],
    titles: Mapping[str, str],
    settings: Evaluation,
    folder: Path,
    summary: Mapping[str, Any],
) -> Claim:
    """The answer from every split of the cohort, each with the thresholds and the aggregation of its own validation."""
    splits = []
    for place in (folder, *(folder.parent / "repeats" / str(k) / "results" for k in range(1, summary.get("splits", 1)))):
        of_split = store.read_json(place / "summary.json")
        asked = (statement.network_a, statement.network_b)
        own = _family(read_contenders(place)[0], asked, of_split)
        answers = _ask(own, statement, settings.model_copy(update={"resamples": 200}), of_split)[1]  # only values are needed
        values = {name: found.value for name, found in answers.items() if isinstance(found, Answer)}
        splits.append(SplitResult(values, *women_of(place.parent, statement.fold)))
    made = architecture_claims(names, splits, settings, statement.fold, titles, statement.metric, statement.unit)
    found = next(one for one in made if {one.network_a, one.network_b} == {statement.network_a, statement.network_b})
    return answer_architectures(statement, found, titles, settings.margin)


def read_contenders(folder: Path) -> tuple[list[Contender], set[str]]:
    """The contenders of an evaluation from its predictions.csv and operating_points.csv, and the networks of controls."""
    predictions = read_predictions(folder / "predictions.csv")
    points = pd.read_csv(folder / "operating_points.csv")
    keys = list(predictions[KEY].drop_duplicates().itertuples(index=False, name=None))
    names = contestants([(network, variant, weights == PRETRAINED) for network, variant, _, weights in keys])
    contenders, controls = [], set()
    for key in keys:
        network, variant, seed, weights = key
        if weights != PRETRAINED:
            controls.add(network)
            continue
        own = points[_matches(points, key)]
        thresholds: dict[Unit, float | None] = {unit: _threshold(own, unit) for unit in UNITS}
        views = predictions[_matches(predictions, key)]
        contenders.append(Contender(names[network, variant], int(seed), views, thresholds))
    return contenders, controls


def _matches(table: pd.DataFrame, key: Sequence[object]) -> pd.Series:
    chosen = pd.Series(True, index=table.index)
    for column, value in zip(KEY, key, strict=True):
        chosen &= table[column] == value
    return chosen


def _threshold(points: pd.DataFrame, unit: Unit) -> float | None:
    found = points.loc[points["unit"] == unit, "threshold"].dropna()
    return float(found.iloc[0]) if len(found) else None
