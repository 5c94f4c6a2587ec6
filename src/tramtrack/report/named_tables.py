"""The report's tables as plain ones: a name, a caption, and cells as the page shows them; for papers and for other programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from tramtrack.cohort.split import FOLDS
from tramtrack.evaluation.claims import ARCHITECTURES
from tramtrack.report import cells, claim_tables, factor_tables, provenance_tables, score_tables
from tramtrack.report.blind import blind
from tramtrack.report.burden import burden
from tramtrack.report.cohort_table import cohort_table
from tramtrack.report.flow import count_flow
from tramtrack.report.localisation import localisation
from tramtrack.report.reading import Material
from tramtrack.report.segmentation import segmented
from tramtrack.report.sheet import sheet
from tramtrack.report.trust import trust

Table = tuple[str, str, Iterable[Mapping[str, Any]]]
"""A table's name, its caption, and its rows."""
CALLS = ("f1", "sensitivity", "specificity", "ppv", "npv")
METRICS = {**score_tables.METRICS, **score_tables.MORE_METRICS}


def named_tables(material: Material) -> Iterator[tuple[str, tuple[str, pd.DataFrame]]]:
    """The tables by name, each with its caption; empty ones are left out."""
    stamp = " Synthetic images." if material.synthetic else ""
    several = len(material.protocol.training.seeds) > 1
    first = cohort_table(material)
    yield "table-1", (f"Women and views of each fold.{stamp}", pd.DataFrame(first.rows, columns=["", *first.folds]))
    for part in (_cohort(material), _scores(material, several), _claims(material), _maps(material), _provenance(material)):
        for name, caption, rows in part:
            table = pd.DataFrame([dict(row) for row in rows])
            if len(table):
                yield name, (caption + stamp, table.fillna("").astype(str))


def _cohort(material: Material) -> Iterator[Table]:
    flow = count_flow(material)
    steps = [
        ("Files seen", flow.files),
        *((f"Excluded: {reason}", count) for reason, count in flow.reasons.items()),
        ("Views", flow.views),
        ("Women", flow.women),
        ("Views of other exams, left out", flow.later_views),
        *((f"Women: {fold.name}", fold.women) for fold in flow.folds),
    ]
    yield "flow", "From files to folds.", ({"Step": step, "Count": count} for step, count in steps)
    yield "reader-agreement", "Agreement of the readers.", claim_tables.reader_rows(material)


def _scores(material: Material, several: bool) -> Iterator[Table]:
    for fold in (material.fold, *(fold for fold in FOLDS[::-1] if fold != material.fold)):
        for unit in score_tables.UNITS:
            found = score_tables.score_table(material, fold, unit)
            if found:
                name = f"scores-by-{unit}" if fold == material.fold else f"scores-by-{unit}-{fold}"
                caption = f"{fold.capitalize()} fold by {unit}: {found.positives} of {found.n} {found.plural} with BAC."
                yield name, caption, [_scored(vars(row), several, METRICS) for row in (*found.rows, *found.controls)]
    fold = material.fold.capitalize()
    variants = ({**_scored(row, several, METRICS), "Variant": row["variant"]} for row in factor_tables.variant_rows(material))
    yield "scores-by-variant", f"{fold} fold by woman, every variant.", variants
    yield (
        "thresholds",
        "Thresholds, chosen on validation.",
        ({"Network": _named(row, several), **row["cells"]} for row in score_tables.operating_rows(material)),
    )
    rules = (
        {"Network": _named(row, several), "Rule": row["rule"], "Threshold": row["threshold"], **_cells(row["cells"], CALLS)}
        for row in score_tables.rule_rows(material)
    )
    yield "rules", f"{fold} fold by woman, at the threshold that each rule gives on validation.", rules
    calibration = (
        {"Network": _named(row, several), **_cells(row["cells"], ("intercept", "slope")), "Recalibration": row["fitted"]}
        for row in score_tables.calibration_rows(material)
    )
    yield "calibration", f"{fold} fold by woman: calibration after one recalibration on validation.", calibration
    predictive = (
        {"Network": _named(row, several), **_cells(row["cells"], ("ppv", "npv"))}
        for row in score_tables.predictive_rows(material)
    )
    yield "predictive-values", f"{fold} fold by woman, at the stated prevalence.", predictive
    columns, groups = score_tables.subgroup_rows(material)
    subgroups = (
        {
            "Subgroup": f"{row['factor']}: {row['group']}" if row["factor"] else row["group"],
            "With BAC": row["size"],
            **{_named(column, several): _cell(row["cells"].get(column["key"])) for column in columns},
        }
        for row in groups
    )
    yield "subgroups", "AUC-ROC in subgroups; described, not tested.", subgroups
    kinds, alarms = score_tables.false_alarm_rows(material)
    rows = ({"Network": _named(row, several), **_cells(row["cells"], kinds)} for row in alarms)
    yield "false-alarms", "Share of views without BAC called positive, by distractor.", rows


def _claims(material: Material) -> Iterator[Table]:
    headings = {"pair": "Networks", "verdict": "Verdict", "difference": "Difference", "interval": "Interval", "p": "p"}
    claims = ({headings[key]: row[key] for key in headings} for row in claim_tables.claim_rows(material))
    yield "claims", "AUC-ROC by woman; intervals hold for all pairs at once, p after Holm.", claims
    architectures = claim_tables.claim_rows(material, ARCHITECTURES)
    yield "architectures", "AUC-ROC by woman, about these architectures under this protocol.", architectures
    yield "factors-between", "What is left of each gap under other settings.", factor_tables.gap_rows(material)
    yield "factors-within", "What each setting does to each network.", factor_tables.within_rows(material)
    yield "standings", "How often each network is on top of the resamples.", claim_tables.standing_rows(material)
    yield "mcnemar", "Exact McNemar tests of calls.", claim_tables.mcnemar_rows(material)


def _maps(material: Material) -> Iterator[Table]:
    located = localisation(material)
    if located:
        for number, (heading, rows) in enumerate(located.tables):
            caption = f"{heading}: how well maps lie on the calcifications of {located.views} views."
            cells_of = [dict(zip(located.headings, row.cells, strict=True)) for row in rows]
            named = [{"Map": row.title, "Tag": row.tag, "Stride": row.stride} for row in rows]
            ends = [{"AUC-ROC by woman": row.auc} for row in rows]
            yield f"localisation-{number + 1}", caption, [a | b | c for a, b, c in zip(named, cells_of, ends, strict=True)]
    tested = trust(material)
    if tested:
        caption = "Whether heat maps can be trusted: rank correlations, against the protocol's limits."
        yield "trust", caption, map(vars, tested.judged)
    measured = burden(material)
    if measured:
        yield "burden", "Measured against true amounts of calcification.", map(vars, measured.rows)
        for number, matrix in enumerate(measured.matrices):
            counts = ({"True, mm²": band, **dict(zip(measured.bands, row, strict=True))} for band, row in matrix.rows)
            yield f"bands-{number + 1}", f"Women by band of area, {matrix.title}: the measured band in columns.", counts
    segments = segmented(material)
    if segments:
        yield "segmentation-cost", "Heat maps against a segmentation trained on masks.", map(vars, segments.costs)
    read = blind(material)
    if read:
        yield "blind-localised", "Blind reading: how often maps were said to localise.", map(vars, read.localised)
        yield "blind-finer", "Blind reading: which maps are judged finer.", map(vars, read.finer)
        yield "blind-agreement", "Blind reading: agreement of readers.", map(vars, read.agreed)


def _provenance(material: Material) -> Iterator[Table]:
    yield "resources", "What each network cost.", provenance_tables.resource_rows(material)
    yield "cost-correlations", "Rank correlations of cost and AUC.", claim_tables.cost_rows(material)
    yield "weights", "Where each network's weights came from before training.", provenance_tables.weight_rows(material)
    yield "looks", "Looks at the test fold.", provenance_tables.look_rows(material)
    yield "protocol", "Every choice that changes a result.", provenance_tables.protocol_rows(material.protocol)
    entries = (
        {"Part": entry.part, "Topic": entry.topic, "Answered by the run": entry.answer, "Left to the author": entry.question}
        for entry in sheet(material, count_flow(material))
    )
    yield "reporting-sheet", "Topics of CLAIM 2024, TRIPOD+AI and STARD-AI in our own words.", entries


def _named(row: Mapping[str, Any], several: bool) -> str:
    """A run's title, with its seed where there are several, and with what it is if it is not pretrained."""
    seed = f", seed {row['seed']}" if several and row.get("seed") not in (None, "") else ""
    return str(row["title"]) + seed + (f" ({row['control']})" if row.get("control") else "")


def _scored(row: Mapping[str, Any], several: bool, metrics: Mapping[Any, str]) -> dict[str, str]:
    return {"Network": _named(row, several), **{title: _cell(row["cells"].get(metric)) for metric, title in metrics.items()}}


def _cells(found: Mapping[str, cells.Cell], names: Iterable[str]) -> dict[str, str]:
    return {METRICS.get(name, name): _cell(found.get(name)) for name in names}


def _cell(cell: cells.Cell | None) -> str:
    if cell is None:
        return ""
    return f"{cell.text} ({cell.low} to {cell.high})" if cell.numbers else f"Undefined: {cell.reason}"
