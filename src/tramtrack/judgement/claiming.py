"""A sentence that somebody states, answered from an evaluation's own tables; it never scores a view and opens no fold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tramtrack import store
from tramtrack.errors import TramtrackError
from tramtrack.evaluation.aggregate import UNITS, Unit
from tramtrack.evaluation.claims import Claim
from tramtrack.evaluation.comparisons import compare_answers
from tramtrack.evaluation.sentences import answer, contestant, parse
from tramtrack.judgement.contest import Contender, contestants, put_question, readable
from tramtrack.protocol import Protocol
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
    names = list(dict.fromkeys(one.name for one in contenders))
    pair = [contestant(text, name, names) for name in (statement.network_a, statement.network_b)]
    question, answers = put_question(
        contenders, statement.metric, statement.unit, summary["aggregation"], protocol.evaluation, statement.fold
    )
    assert question is not None
    found = next(item for item in compare_answers(question, answers) if {item.network_a, item.network_b} == set(pair))
    stated = statement.__class__(pair[0], pair[1], statement.sign, statement.metric, statement.fold, statement.unit)
    return answer(stated, found, {name: readable(name) for name in names}, protocol.evaluation.margin)


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
