"""The report of a study: one HTML file that opens without a network and says what was found and what cannot be said.

It reads the study's files and computes no statistic of its own. Images, styles, figures and the few lines of script stand
in the file; a content security policy in its head forbids the browser to load anything else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tramtrack import store
from tramtrack.cohort.cohort import Cohort
from tramtrack.cohort.split import FOLDS
from tramtrack.evaluation.claims import ARCHITECTURES
from tramtrack.protocol import Protocol
from tramtrack.report import (
    cells,
    claim_tables,
    cost_figures,
    factor_tables,
    figures,
    probability_figures,
    provenance_tables,
    score_tables,
)
from tramtrack.report.blind import blind
from tramtrack.report.burden import burden
from tramtrack.report.cohort_table import cohort_table
from tramtrack.report.export import export
from tramtrack.report.flow import PUBLISHED_PREVALENCE, count_flow
from tramtrack.report.limits import limits
from tramtrack.report.localisation import localisation
from tramtrack.report.pictures import heatmap_groups, map_kinds
from tramtrack.report.reading import Material, read_material
from tramtrack.report.segmentation import segmented
from tramtrack.report.sheet import sheet
from tramtrack.report.trust import trust

HERE = Path(__file__).parent


def write_report(
    folder: Path,
    protocol: Protocol,
    cohort: Cohort,
    analysed: pd.DataFrame,
    folds: pd.DataFrame,
    *,
    exported: bool = False,
) -> Path:
    """Write ``folder``/report/index.html atomically; returns its path.

    ``analysed`` holds the views of each woman's analysed exam (the rows of ``cohort.views`` that the split saw) and ``folds``
    is folds.csv: woman, fold, bac_woman. With ``exported`` also report/tables/ and report/figures/. Raises TramtrackError
    where nothing is evaluated yet.
    """
    material = read_material(folder, protocol, cohort, analysed, folds)
    page = store.write_text(folder / "report" / "index.html", render(material))
    if exported:
        export(material, folder / "report")
    return page


def render(material: Material) -> str:
    """The whole page as HTML text."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=cells.percent, bar=lambda numbers: Markup(figures.interval_bar(numbers)))
    return environment.get_template("page.html").render(
        style=Markup((HERE / "style.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "page.js").read_text(encoding="utf-8")),
        **_contents(material),
    )


def _contents(material: Material) -> dict[str, Any]:
    flow = count_flow(material)
    settings = provenance_tables.protocol_rows(material.protocol)
    return {
        "study": material,
        "flow": flow,
        "table1": cohort_table(material),
        "label_table": provenance_tables.label_table(material),
        "evaluated": flow.fold(material.fold),
        "published": PUBLISHED_PREVALENCE,
        "confidence": f"{100 * material.protocol.evaluation.confidence:g}\u00a0%",
        "several_seeds": len(material.protocol.training.seeds) > 1,
        "metrics": score_tables.METRICS,
        "more_metrics": score_tables.MORE_METRICS,
        "more": [table for unit in score_tables.UNITS if (table := score_tables.score_table(material, material.fold, unit))],
        "rule": score_tables.rule_text(material.protocol),
        "rules": score_tables.rule_rows(material),
        "aggregations": score_tables.aggregation_rows(material),
        "calibration": score_tables.calibration_rows(material),
        "calibration_figures": [Markup(figure) for figure in probability_figures.calibration_figures(material)],
        "score_figures": [Markup(figure) for figure in probability_figures.score_figures(material)],
        "decisions": [_markup(probability_figures.decision_figure(material, stated)) for stated in (False, True)],
        "predictive": score_tables.predictive_rows(material),
        "main": score_tables.score_table(material, material.fold, "woman"),
        "score_folds": _score_folds(material),
        "methods": score_tables.interval_methods(material),
        "thresholds": score_tables.operating_rows(material),
        "groups": claim_tables.not_separated(material),
        "claims": claim_tables.claim_rows(material),
        "architectures": claim_tables.claim_rows(material, ARCHITECTURES),
        "splits": int(material.summary.get("splits", 1)),
        "within": factor_tables.within_rows(material),
        "gaps": factor_tables.gap_rows(material),
        "variants": factor_tables.variant_rows(material),
        "left_out": claim_tables.left_out(material),
        "readers": claim_tables.reader_rows(material),
        "roc": {unit: _markup(figures.roc_figure(material, unit)) for unit in ("woman", "view")},
        "training": [Markup(figure) for figure in figures.training_figures(material)],
        "pareto": [Markup(figure) for figure in cost_figures.pareto_figures(material)],
        "standings": claim_tables.standing_rows(material),
        "cost_correlations": claim_tables.cost_rows(material),
        "subgroups": score_tables.subgroup_rows(material),
        "false_alarms": score_tables.false_alarm_rows(material),
        "mcnemar": claim_tables.mcnemar_rows(material),
        "heatmaps": heatmap_groups(material),
        "localisation": localisation(material),
        "trust": trust(material),
        "blind": blind(material),
        "burden": burden(material),
        "segmented": segmented(material),
        "map_kinds": map_kinds(material),
        "resources": provenance_tables.resource_rows(material),
        "settings": settings,
        "origins": provenance_tables.origin_counts(settings),
        "weights": provenance_tables.weight_rows(material),
        "machines": provenance_tables.machine_rows(material),
        "looks": provenance_tables.look_rows(material),
        "limits": limits(material, flow),
        "sheet": sheet(material, flow),
    }


def _score_folds(material: Material) -> list[tuple[str, list[score_tables.ScoreTable]]]:
    """All tables but the main one: the evaluated fold's breasts and views first, then the other folds."""
    order = [material.fold, *[fold for fold in FOLDS[::-1] if fold != material.fold]]
    found = []
    for fold in order:
        units = [unit for unit in score_tables.UNITS if (fold, unit) != (material.fold, "woman")]
        made = [table for unit in units if (table := score_tables.score_table(material, fold, unit))]
        if made:
            found.append((fold, made))
    return found


def _markup(svg: str | None) -> Markup | None:
    return None if svg is None else Markup(svg)
