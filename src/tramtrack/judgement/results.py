"""From finished runs to tables: thresholds from validation, scores with intervals, comparisons, claims, resources."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tramtrack import sealing, store
from tramtrack.evaluation.aggregate import UNITS, Aggregation
from tramtrack.evaluation.resampling import estimate
from tramtrack.evaluation.scores import Undefined, undefined_reason, with_interval
from tramtrack.judgement.architectures import SplitResult, architecture_claims, women_of
from tramtrack.judgement.contest import MOST_NETWORKS, Contender, Contest, contestants, hold_contest, readable
from tramtrack.judgement.factors import as_variants, factor_table
from tramtrack.judgement.scoring import (
    COLUMNS,
    RUN_COLUMNS,
    Chosen,
    choose_all,
    named,
    resolve_aggregation,
    score_runs,
    units_of,
)
from tramtrack.judgement.subgroups import COLUMNS as SUBGROUP_COLUMNS
from tramtrack.judgement.subgroups import FALSE_ALARM_COLUMNS, false_alarm_table, subgroup_table
from tramtrack.protocol import Evaluation, Protocol
from tramtrack.training.record import PRETRAINED, Run
from tramtrack.training.variants import crossed, variants, without_weights

SEALED_FOLDS = ("training", "validation")


@dataclass(frozen=True)
class Claims:
    """claims.csv as ``table``, and the verdict on all networks; printing it shows the sentences."""

    table: pd.DataFrame
    verdict: str

    def __repr__(self) -> str:
        return "\n".join([self.verdict, *(f"- {sentence}" for sentence in self.table["sentence"])])


@dataclass(frozen=True)
class Results:
    """The tables of an evaluation, as written below results/; printing it shows the scores by woman.

    ``runs`` maps each evaluated run (<network>/<variant>/seed-<k>) to the hash of its weights file. ``comparisons`` and
    ``claims`` are of the test fold once it is unsealed, of the validation fold before.
    """

    folder: Path
    scores: pd.DataFrame
    comparisons: pd.DataFrame
    claims: pd.DataFrame
    verdict: str
    unsealed: bool
    runs: dict[str, str]

    def carried(self) -> Claims:
        """The sentences that the comparisons carry."""
        return Claims(self.claims, self.verdict)

    def table(self, unit: str = "woman", fold: str | None = None) -> pd.DataFrame:
        """One row a run: each metric as "estimate (low to high)", or why it is undefined."""
        fold = fold or ("test" if self.unsealed else "validation")
        chosen = self.scores[(self.scores["unit"] == unit) & (self.scores["fold"] == fold)]
        rows = []
        for keys, group in chosen.groupby(RUN_COLUMNS, sort=False):
            cells = {row["metric"]: score_text(row) for row in group.to_dict("records")}
            rows.append({**dict(zip(RUN_COLUMNS, keys, strict=True)), **cells})
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        return f"{self.table().to_string(index=False)}\n{self.verdict}"


def score_text(row: Mapping[str, Any]) -> str:
    """A row of scores.csv as it is read: "0.81 (0.70 to 0.89)", or "undefined: reason"."""
    if not _is_number(row["estimate"]):
        return f"undefined: {row['reason']}"
    return with_interval(row["low"], row["estimate"], row["high"])


def evaluate(
    runs: Sequence[Run],
    protocol: Protocol,
    folder: Path,
    *,
    score_test: Callable[[Run, Path], pd.DataFrame] | None = None,
    left_out: Mapping[str, str] | None = None,
    synthetic: bool = False,
    views: pd.DataFrame | None = None,
    splits: Sequence[SplitResult] = (),
) -> Results:
    """Score finished runs and write the tables into ``folder``.

    ``score_test`` (None keeps the test fold sealed) gives a run's test predictions and keeps them at the path; the look is
    logged before it is called. ``left_out`` names networks that could not take part, with the reason.
    ``views`` is the cohort's table of views with fold and labels; subgroups and baselines come from it, and are empty without.
    ``splits`` are the results of the other splits of the cohort. Where the protocol crosses factors, the comparison is that of
    its own variant of each network, and all the other variants stand in scores.csv and factors.csv.
    """
    settings = protocol.evaluation
    aggregation, aggregations = resolve_aggregation(runs, settings)
    chosen = choose_all(runs, aggregation, settings)
    predictions = {run.folder: run.predictions() for run in runs}
    if score_test is not None:
        sealing.log_look(folder / "unsealed.jsonl", _look(runs, protocol, chosen))
        predictions = {
            run.folder: pd.concat((predictions[run.folder], score_test(run, test_file(folder, run))), ignore_index=True)
            for run in runs
        }
    (folder / "summary.json").unlink(missing_ok=True)  # it comes back last: without it nothing here counts as evaluated
    store.write_csv(folder / "predictions.csv", _stack(runs, predictions))
    store.write_csv(folder / "aggregation.csv", aggregations)
    tables = score_runs(runs, predictions, chosen, aggregation, settings)
    for name in COLUMNS:
        store.write_csv(folder / f"{name}.csv", tables.table(name))
    fold = "test" if score_test is not None else "validation"
    parts, alarms = pd.DataFrame(columns=SUBGROUP_COLUMNS), pd.DataFrame(columns=FALSE_ALARM_COLUMNS)
    own = [run for run in runs if _is_own(run, protocol)]
    if views is not None:
        parts = subgroup_table(own, predictions, views, aggregation, settings, fold)
        alarms = false_alarm_table(own, predictions, chosen, views, settings, fold)
    store.write_csv(folder / "subgroups.csv", parts)
    store.write_csv(folder / "false_alarms.csv", alarms)
    costs = resources(runs)
    own_variant = variants(protocol)[0].name()
    absent = [(*name.partition("/"), why) for name, why in (left_out or {}).items()]
    out = {network: why for network, _, variant, why in absent if variant in ("", own_variant)}
    contenders, unranked = contend(own, predictions, chosen, settings, out)
    own_costs = resources(own).assign(contestant=list(names_of(own))) if own else costs.assign(contestant="")
    contest = hold_contest(contenders, aggregation, settings, fold, unranked, own_costs)
    made = _with_architectures(contest, splits, folder, settings, fold)
    store.write_csv(folder / "factors.csv", _factors(runs, predictions, chosen, protocol, aggregation, fold, left_out or {}))
    store.write_csv(folder / "claims.csv", made)
    for name in ("comparisons", "standings", "mcnemar", "cost_correlations", "cost_front"):
        store.write_csv(folder / f"{name}.csv", getattr(contest, name))
    store.write_csv(folder / "resources.csv", costs)
    store.write_json(
        folder / "summary.json",
        {
            "fold": fold,
            "unsealed": score_test is not None,
            "synthetic": synthetic,
            "verdict": contest.verdict,
            "groups": [list(group) for group in contest.groups],
            "aggregation": aggregation,
            "left_out": dict(left_out or {}),
            "protocol": protocol.sha256,
            "runs": hashes_of(runs),
            "beside": [name_of(run) for run in runs if run not in own],
            "splits": 1 + len(splits),
        },
    )
    unsealed = score_test is not None
    return Results(folder, tables.table("scores"), contest.comparisons, made, contest.verdict, unsealed, hashes_of(runs))


def _is_own(run: Run, protocol: Protocol) -> bool:
    """Whether a run is of the protocol's own variant, or nothing is crossed."""
    return not crossed(protocol) or without_weights(run.key.variant) == variants(protocol)[0].name()


def _with_architectures(
    contest: Contest, splits: Sequence[SplitResult], folder: Path, settings: Evaluation, fold: str
) -> pd.DataFrame:
    """claims.csv: the claims about the trained models, then those about the architectures."""
    names = [str(name) for name in contest.standings["contestant"]]
    mine = dict(zip(names, contest.standings["value"].astype(float), strict=True))
    if not splits and len(names) > MOST_NETWORKS:
        return contest.claims  # as many sentences again, all of which would say that one split cannot test them
    every = [SplitResult(mine, *women_of(folder.parent, fold)), *splits] if splits else []
    made = architecture_claims(names, every, settings, fold, {name: readable(name) for name in names})
    rows = [*contest.claims.to_dict("records"), *(asdict(claim) for claim in made)]
    return pd.DataFrame(rows, columns=contest.claims.columns)


def _factors(
    runs: Sequence[Run],
    predictions: Mapping[Path, pd.DataFrame],
    chosen: Mapping[Path, Chosen],
    protocol: Protocol,
    aggregation: Aggregation,
    fold: str,
    left_out: Mapping[str, str],
) -> pd.DataFrame:
    """factors.csv, of the pretrained runs of all variants."""
    pretrained = [run for run in runs if run.weights == PRETRAINED]
    contenders, _ = contend(pretrained, predictions, chosen, protocol.evaluation, {})
    named_so = as_variants(contenders, [run.key.variant for run in pretrained])
    networks = {run.key.network: run.facts for run in pretrained}
    return factor_table(named_so, protocol, networks, aggregation, fold, left_out)


def load_results(folder: Path) -> Results | None:
    """The tables of an earlier evaluation, or None."""
    if not (folder / "summary.json").exists():
        return None
    summary = store.read_json(folder / "summary.json")
    scores, compared, made = (pd.read_csv(folder / f"{name}.csv") for name in ("scores", "comparisons", "claims"))
    return Results(folder, scores, compared, made, summary["verdict"], summary["unsealed"], summary["runs"])


def resources(runs: Sequence[Run]) -> pd.DataFrame:
    """What each network cost, one row a run, from the registry and from what the run measured."""
    rows = []
    for run in runs:
        known, measured = run.facts, run.information
        rows.append(
            {
                **named(run),
                "depth": (known and known.depth) or None,
                "weight_layers": (known and known.weight_layers) or None,
                "parameters": measured["parameters"]["base"],
                "trained_in_base": measured["parameters"]["base_trained"],
                "head": measured["parameters"]["head"],
                "multiply_adds": measured["multiply_adds"],
                "seconds_an_epoch_uncached": measured["seconds_an_epoch_uncached"],
                "seconds_an_epoch_cached": measured["seconds_an_epoch_cached"],
                **_epoch_seconds(run),
                "milliseconds_a_view": measured["milliseconds_a_view"],
                "peak_memory_mb": measured["peak_memory_mb"],
                "epochs": measured["epochs"],
                "best_epoch": measured["best_epoch"],
                "dtype": run.identity["dtype"],
            }
        )
    return pd.DataFrame(rows)


def _epoch_seconds(run: Run) -> dict[str, float]:
    """Between which seconds nine in ten epochs with the frozen part kept lay; NaN where the run kept no history."""
    path = run.folder / "history.csv"
    if run.information["activations"] != "kept":
        return {"seconds_an_epoch_cached_least": math.nan, "seconds_an_epoch_cached_most": math.nan}
    seconds = pd.read_csv(path)["seconds"] if path.exists() else pd.Series([math.nan])
    return {
        "seconds_an_epoch_cached_least": float(seconds.quantile(0.05)),
        "seconds_an_epoch_cached_most": float(seconds.quantile(0.95)),
    }


def names_of(runs: Sequence[Run]) -> Iterator[str]:
    """The contestant's name of each run: its network, with the variant where the network stands in several."""
    known = contestants([(run.key.network, run.key.variant, run.weights == PRETRAINED) for run in runs])
    return (known[run.key.network, run.key.variant] for run in runs)


def contend(
    runs: Sequence[Run],
    predictions: Mapping[Path, pd.DataFrame],
    chosen: Mapping[Path, Chosen],
    settings: Evaluation,
    left_out: Mapping[str, str],
) -> tuple[list[Contender], dict[str, str]]:
    """The runs that may stand in a ranking, and by name those that may not, with the reason."""
    contenders: list[Contender] = []
    unranked = {name: reason.partition(". ")[0] for name, reason in left_out.items()}
    for run, name in zip(runs, names_of(runs), strict=True):
        if run.weights != PRETRAINED:
            unranked[name] = "random weights; never ranked beside pretrained ones"
            continue
        cuts = {unit: chosen[run.folder].threshold(unit, settings.threshold) for unit in UNITS}
        thresholds = {unit: None if isinstance(cut, Undefined) else cut for unit, cut in cuts.items()}
        contenders.append(Contender(name, run.key.seed, predictions[run.folder], thresholds))
    ranked = {one.name for one in contenders}
    return contenders, {name: reason for name, reason in unranked.items() if name not in ranked}


def name_of(run: Run) -> str:
    """<network>/<variant>/seed-<k>, as below runs/."""
    return run.key.folder(Path()).as_posix()


def hashes_of(runs: Sequence[Run]) -> dict[str, str]:
    """The hash of each run's weights file, by its name."""
    return {name_of(run): str(run.information["weights_file_sha256"]) for run in runs}


def best_on_validation(runs: Sequence[Run], settings: Evaluation) -> Run | None:
    """The pretrained run with the highest AUC-ROC by woman on validation, or None where none has one."""
    pretrained = [run for run in runs if run.weights == PRETRAINED]
    if not pretrained:
        return None
    aggregation, _ = resolve_aggregation(pretrained, settings)
    best: tuple[float, Run | None] = (-1.0, None)
    for run in pretrained:
        units = units_of(run.predictions(), "validation", "woman", aggregation)
        if undefined_reason("auc_roc", units.labels, units.scores) is None:
            auc = estimate("auc_roc", units.labels, units.scores)
            best = max(best, (auc, run), key=lambda pair: pair[0])
    return best[1]


def test_file(folder: Path, run: Run) -> Path:
    """Where an evaluation in ``folder`` keeps a run's test scores."""
    return run.key.folder(folder / "test") / "predictions.csv"


def _look(runs: Sequence[Run], protocol: Protocol, chosen: Mapping[Path, Chosen]) -> dict[str, Any]:
    """What decides a look's result: the protocol, the runs, and every run's thresholds by the protocol's rule."""
    rule = protocol.evaluation.threshold
    return {
        "protocol": protocol.sha256,
        "runs": [named(run) for run in runs],
        "thresholds": [
            {**named(run), **{unit: getattr(chosen[run.folder].thresholds[unit, rule], "value", None) for unit in UNITS}}
            for run in runs
        ],
    }


def _stack(runs: Sequence[Run], predictions: Mapping[Path, pd.DataFrame]) -> pd.DataFrame:
    tables = [pd.DataFrame([named(run)]).merge(predictions[run.folder], how="cross") for run in runs]
    return pd.concat(tables, ignore_index=True)


def _is_number(value: Any) -> bool:
    return value is not None and not math.isnan(float(value))
