"""The model card of runs that answer together: what they are for, what they saw, how well they did, and where they end.

The sections follow Mitchell et al., Model Cards for Model Reporting, FAT* 2019. Everything is read from the study's files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from tramtrack.cohort.cohort import load_cohort
from tramtrack.cohort.folds import read_folds
from tramtrack.cohort.split import CALIBRATION
from tramtrack.evaluation.aggregate import UNITS
from tramtrack.evaluation.calibration import Recalibration
from tramtrack.evaluation.scores import Undefined, in_decimals
from tramtrack.judgement.results import name_of
from tramtrack.network.registry import title
from tramtrack.prediction.answer import RESEARCH_USE
from tramtrack.prediction.panel import SPREAD_SHARE, Panel
from tramtrack.training.record import PRETRAINED

METRICS = ("auc_roc", "average_precision", "f1", "sensitivity", "specificity", "ppv", "npv", "brier")
Lines = Iterator[str]


def card_of(panel: Panel) -> str:
    """The card of ``panel`` as Markdown, from its study's folder; an export carries the one that was made there."""
    assert panel.study is not None
    parts = (
        _title(panel),
        _use(panel),
        _training_data(panel, panel.study),
        _performance(panel, panel.study),
        _decisions(panel),
        _limits(panel, panel.study),
        _files(panel),
    )
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def _title(panel: Panel) -> Lines:
    names = list(dict.fromkeys(title(run.key.network) for run in panel.runs))
    yield f"# Model card: {', '.join(names)} for breast arterial calcifications"
    yield ""
    several = f"{len(panel.runs)} runs that answer together (the mean of their scores)" if len(panel.runs) > 1 else "One run"
    yield f"{several}, trained with tramtrack {panel.runs[0].information['versions']['tramtrack']}. {RESEARCH_USE}"
    yield ""
    yield "| network | variant | seed | starts from | parameters of the base (trained) | arithmetic |"
    yield "|---|---|---|---|---|---|"
    for run in panel.runs:
        counts, start = run.information["parameters"], run.information["weights_trained_on"]
        licence = f", {run.information['weights_licence']}" if run.information["weights_licence"] else ""
        yield (
            f"| {title(run.key.network)} | {run.key.variant} | {run.key.seed} | {start}{licence} | "
            f"{counts['base']:,} ({counts['base_trained']:,}) | {run.identity['dtype']} |"
        )
    yield ""


def _use(panel: Panel) -> Lines:
    size = panel.protocols[0].prepare
    yield "## Intended use"
    yield ""
    yield (
        "Research on breast arterial calcifications (BAC) on mammograms: a score for each view, breast and woman, which ranks, "
        "and calls by thresholds that were chosen on validation. Meant for researchers with exams of the kind described below."
    )
    yield ""
    yield (
        "Not for diagnosis, treatment or any decision on a patient. Not for tomosynthesis, synthesised 2D, For Processing "
        "images (unless the protocol takes them), magnified or spot views, or specimens; tramtrack excludes them at intake."
    )
    yield ""
    yield (
        f"Input: one prepared view of {size.height} x {size.width} pixels, grey, 16 bits (0 to 65,535), as `tramtrack prepare` "
        "makes it under protocol.toml: cropped to the breast, chest wall at the left, stretched between two percentiles. "
        "Output: a score from 0 to 1. A breast's and a woman's score is the "
        f"{panel.aggregation} of her views'."
    )
    yield ""


def _training_data(panel: Panel, study: Path) -> Lines:
    folds, cohort = read_folds(study / "cohort"), load_cohort(study / "cohort")
    views = cohort.views.merge(folds[["woman", "fold"]], on="woman", how="left")
    yield "## Training data"
    yield ""
    if panel.seen.synthetic:
        yield "**All training exams are synthetic mammograms.** What these runs say of real ones is not known."
        yield ""
    yield "| fold | women | with BAC | views |"
    yield "|---|---|---|---|"
    for fold in ("training", "validation", CALIBRATION, "test", "dropped"):
        women = folds[folds["fold"] == fold]
        if len(women):
            yield f"| {fold} | {len(women)} | {int((women['bac_woman'] == 1).sum())} | {int((views['fold'] == fold).sum())} |"
    yield ""
    trained = views[views["fold"] == "training"]
    makers = trained.drop_duplicates("woman")["manufacturer"].replace("", "not named").value_counts()
    yield f"Vendors in training (women): {', '.join(f'{name} ({count})' for name, count in makers.items())}."
    between = panel.seen.spacings_mm
    known = f"{between[0]:.4f} to {between[1]:.4f} mm" if between else "not known"
    ages = pd.to_numeric(trained.drop_duplicates("woman")["age_years"], errors="coerce").dropna()
    said = f"; ages {ages.min():.0f} to {ages.max():.0f} years, median {ages.median():.0f}" if len(ages) else "; ages not known"
    yield f"Pixel spacing in training: {known}{said}."
    yield ""


def _performance(panel: Panel, study: Path) -> Lines:
    path = study / "results" / "scores.csv"
    yield "## Performance"
    yield ""
    table = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["network", "variant", "seed", "fold"])
    found = [(run, _rows(table, run)) for run in panel.runs]
    folds = {fold for _, rows in found for fold in rows["fold"]}
    fold = "test" if "test" in folds else "validation"
    if not folds:
        yield "Not evaluated: `tramtrack evaluate` on the study does so."
        yield ""
        return
    if fold == "validation":
        yield "**On validation only**, on which thresholds were chosen: optimistic. The test fold has not been opened."
    else:
        yield "On the test fold, which took no part in training or in any choice. Intervals resample women."
    yield ""
    if len(panel.runs) > 1:
        yield "Each run by itself; together they were not evaluated."
        yield ""
    yield "| run | unit | metric | estimate | interval | units | with BAC | women |"
    yield "|---|---|---|---|---|---|---|---|"
    for run, rows in found:
        for row in rows[rows["fold"] == fold].to_dict("records"):
            if row["metric"] in METRICS and row["unit"] in UNITS:
                yield f"| {name_of(run)} | {row['unit']} | {row['metric']} | {_numbers(row)} |"
    yield ""


def _rows(table: pd.DataFrame, run: Any) -> pd.DataFrame:
    key = run.key
    return table[(table["network"] == key.network) & (table["variant"] == key.variant) & (table["seed"] == key.seed)]


def _numbers(row: dict[Any, Any]) -> str:
    counts = f"{row['n']} | {row['positives']} | {row['women']}"
    if pd.isna(row["estimate"]):
        return f"undefined: {row['reason']} | | {counts}"
    low, estimate, high = in_decimals(row["low"], row["estimate"], row["high"], 3)
    return f"{estimate} | {low} to {high} | {counts}"


def _decisions(panel: Panel) -> Lines:
    rule = panel.protocol.evaluation.threshold
    yield "## How scores become calls"
    yield ""
    women = f"{panel.validation['women']} women of validation, {panel.validation['positives']} of them with BAC"
    yield f"Thresholds (rule: {rule}) and recalibration come from {women}."
    yield ""
    for unit in UNITS:
        cut = panel.chosen.threshold(unit, rule)
        yield f"- {unit}: {f'none, {cut.reason}' if isinstance(cut, Undefined) else f'positive from {cut:.4f}'}"
    fitted = panel.chosen.recalibrations["woman"]
    if isinstance(fitted, Recalibration):
        yield f"- probability of the woman: expit({fitted.intercept:.4f} + {fitted.slope:.4f} logit(score)), at a prevalence"
        yield f"  of {fitted.prevalence:.3f}; shifted to the prevalence that is stated"
    kept = panel.conformal
    if isinstance(kept, str):
        yield f"- BAC likely or unlikely: not said; {kept}"
    else:
        yield f"- BAC likely or unlikely: by {len(kept.with_bac)} women with BAC and {len(kept.without_bac)} without, kept for"
        yield f"  nothing else; smallest error rate that can be asked for {kept.smallest_alpha:.3f}"
    if panel.spread_limit is not None:
        yield f"- an exam is flagged where the runs' scores of the woman span more than {panel.spread_limit:.3f}, as on at"
        yield f"  most {1 - SPREAD_SHARE:.0%} of validation women"
    yield ""


def _limits(panel: Panel, study: Path) -> Lines:
    yield "## Limits"
    yield ""
    yield "- The figures hold for women, vendors and a way of imaging like the study's, and for nothing else that is known."
    yield "- Thresholds and probabilities move with the vendor and the population; check them on your own labelled exams"
    yield "  (`tramtrack validate`) before anything rests on them."
    yield f"- {panel.validation['positives']} validation women with BAC chose the thresholds; the fewer, the less exact."
    yield "- A heat map shows where a score comes from. It is no outline of calcifications; burden from it is a proxy by area."
    if panel.seen.synthetic:
        yield "- Trained on synthetic mammograms alone: every answer on a real exam is flagged, and none says more than that."
    if any(run.weights != PRETRAINED for run in panel.runs):
        yield "- Trained from random weights: a control, not a result."
    if not (study / "results" / "trust.csv").exists():
        yield "- Whether the heat maps show what was learnt was not tested (`tramtrack trust`)."
    yield "- An exported folder does not know its women: an exam that it was trained on is not recognised."
    yield ""


def _files(panel: Panel) -> Lines:
    yield "## What this card is about"
    yield ""
    for run in panel.runs:
        yield f"- {name_of(run)}: weights SHA-256 `{run.information['weights_file_sha256']}`,"
        yield f"  protocol `{run.identity['protocol']}`"
    yield f"- written by tramtrack {version('tramtrack')}"


def onnx_lines(differences: Sequence[tuple[str, float]]) -> str:
    """What a card says of ONNX files and their largest difference in a score from the network in float32."""
    if not differences:
        return ""
    lines = ["", "## ONNX", "", "Input `grey` float32 (1, 1, rows, columns), 0 to 65,535; output `score` (1,). On prepared"]
    lines += ["validation views, ONNX Runtime differs from the network in float32 by at most:", ""]
    return "\n".join([*lines, *(f"- {name}: {worst:.2g}" for name, worst in differences)]) + "\n"
