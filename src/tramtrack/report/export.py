"""The report's tables as CSV, LaTeX and HTML to paste, and its figures as SVG and PDF at journal size."""

from __future__ import annotations

import html
import io
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from tramtrack import store
from tramtrack.evaluation.claims import ARCHITECTURES
from tramtrack.report import cells, claim_tables, factor_tables, provenance_tables, score_tables
from tramtrack.report.cohort_table import cohort_table
from tramtrack.report.figures import STYLE
from tramtrack.report.flow import count_flow
from tramtrack.report.reading import Material
from tramtrack.report.sheet import sheet

COLUMN_MM, WIDE_MM = 84.0, 129.0
"""Widths of one and of one and a half columns of a two-column page."""
WIDE_FROM_INCHES = 3.5
LATEX = str.maketrans(
    {
        "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "−": "$-$", "–": "--", "<": r"\textless{}",
        ">": r"\textgreater{}", "\u00a0": "~", "≥": r"$\geq$", "×": r"$\times$",
    }
)  # fmt: skip


def export(material: Material, folder: Path) -> list[Path]:
    """Write ``folder``/tables and ``folder``/figures; returns the files. The figures are those drawn on ``material`` before.

    Each table gives NAME.csv (the cells as they read), NAME.tex (booktabs) and NAME.html (one plain table); each figure
    NAME.svg and NAME.pdf.
    """
    written = []
    for name, (caption, table) in named_tables(material):
        place = folder / "tables"
        written.append(store.write_csv(place / f"{name}.csv", table))
        written.append(store.write_text(place / f"{name}.tex", latex(table, caption)))
        written.append(store.write_text(place / f"{name}.html", pasted(table, caption)))
    for name, figure in material.drawings.items():
        for kind in ("svg", "pdf"):
            written.append(store.write_bytes(folder / "figures" / f"{name}.{kind}", drawn(figure, kind)))
    return written


def named_tables(material: Material) -> Iterator[tuple[str, tuple[str, pd.DataFrame]]]:
    """The tables by name, each with its caption; empty ones are left out."""
    stamp = " Synthetic images." if material.synthetic else ""
    several = len(material.protocol.training.seeds) > 1
    table1 = cohort_table(material)
    found = {"table-1": ("Women and views of each fold.", pd.DataFrame(table1.rows, columns=["", *table1.folds]))}
    for unit in score_tables.UNITS:
        scores = score_tables.score_table(material, material.fold, unit)
        if scores:
            rows = [_score_row(row, several) for row in (*scores.rows, *scores.controls)]
            caption = f"{material.fold.capitalize()} fold by {unit}: {scores.positives} of {scores.n} {scores.plural} with BAC."
            found[f"scores-by-{unit}"] = (caption, pd.DataFrame(rows))
    rows = [
        {
            "Networks": row["pair"],
            "Verdict": row["verdict"],
            "Difference": row["difference"],
            "Interval": row["interval"],
            "p": row["p"],
        }
        for row in claim_tables.claim_rows(material)
    ]
    found["claims"] = ("AUC-ROC by woman; intervals hold for all pairs at once, p after Holm.", pd.DataFrame(rows))
    found["architectures"] = (
        "AUC-ROC by woman, about these architectures under this protocol.",
        pd.DataFrame(claim_tables.claim_rows(material, ARCHITECTURES)),
    )
    found["factors-between"] = (
        "What is left of each gap under other settings.",
        pd.DataFrame(factor_tables.gap_rows(material)),
    )
    found["factors-within"] = ("What each setting does to each network.", pd.DataFrame(factor_tables.within_rows(material)))
    columns, groups = score_tables.subgroup_rows(material)
    rows = [
        {
            "Subgroup": f"{row['factor']}: {row['group']}" if row["factor"] else row["group"],
            "With BAC": row["size"],
            **{column["title"]: _cell(row["cells"].get(column["key"])) for column in columns},
        }
        for row in groups
    ]
    found["subgroups"] = ("AUC-ROC in subgroups; described, not tested.", pd.DataFrame(rows))
    found["resources"] = ("What each network cost.", pd.DataFrame(provenance_tables.resource_rows(material)))
    flow = [{"Step": step, "Count": count} for step, count in _flow(material)]
    entries = [
        {"Part": entry.part, "Topic": entry.topic, "Answered by the run": entry.answer, "Left to the author": entry.question}
        for entry in sheet(material, count_flow(material))
    ]
    found["reporting-sheet"] = ("Topics of CLAIM 2024, TRIPOD+AI and STARD-AI in our own words.", pd.DataFrame(entries))
    kinds, alarms = score_tables.false_alarm_rows(material)
    rows = [{"Network": row["title"], **{kind: _cell(row["cells"].get(kind)) for kind in kinds}} for row in alarms]
    found["false-alarms"] = ("Share of views without BAC called positive, by distractor.", pd.DataFrame(rows))
    found["reader-agreement"] = ("Agreement of the readers.", pd.DataFrame(claim_tables.reader_rows(material)))
    found["standings"] = (
        "How often each network is on top of the resamples.",
        pd.DataFrame(claim_tables.standing_rows(material)),
    )
    found["cost-correlations"] = ("Rank correlations of cost and AUC.", pd.DataFrame(claim_tables.cost_rows(material)))
    found["mcnemar"] = ("Exact McNemar tests of calls.", pd.DataFrame(claim_tables.mcnemar_rows(material)))
    found["flow"] = ("From files to folds.", pd.DataFrame(flow))
    for name, (caption, table) in found.items():
        if len(table):
            yield name, (caption + stamp, table.fillna("").astype(str))


def latex(table: pd.DataFrame, caption: str) -> str:
    """A table environment with booktabs rules; every special character escaped."""
    lines = [" & ".join(str(cell).translate(LATEX) for cell in row) + r" \\" for row in table.to_numpy()]
    head = " & ".join(str(name).translate(LATEX) for name in table.columns) + r" \\"
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{caption.translate(LATEX)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
            r"\toprule",
            head,
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def pasted(table: pd.DataFrame, caption: str) -> str:
    """One plain HTML table without styles, to paste into a document."""
    head = "".join(f'<th scope="col">{html.escape(str(name))}</th>' for name in table.columns)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in table.to_numpy()
    )
    return (
        f'<meta charset="utf-8">\n<table>\n<caption>{html.escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table>\n"
    )


def drawn(figure: Figure, kind: str) -> bytes:
    """A figure as SVG or PDF, one column wide or one and a half, in its own proportions; the same bytes each time."""
    width, height = figure.get_size_inches()
    wanted = (WIDE_MM if width > WIDE_FROM_INCHES else COLUMN_MM) / 25.4
    stream = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"CreationDate": None, "Producer": None, "Creator": None}
    with matplotlib.rc_context({**STYLE, "pdf.fonttype": 42, "svg.hashsalt": "export"}):
        figure.set_size_inches(wanted, wanted * height / width)
        figure.savefig(stream, format=kind, metadata=metadata, facecolor="white")
        figure.set_size_inches(width, height)
    return stream.getvalue()


def _score_row(row: score_tables.ScoreRow, several: bool) -> dict[str, str]:
    name = row.title + (f", seed {row.seed}" if several else "") + (f" ({row.control})" if row.control else "")
    metrics = {**score_tables.METRICS, **score_tables.MORE_METRICS}
    return {"Network": name, **{title: _cell(row.cells.get(metric)) for metric, title in metrics.items()}}


def _cell(cell: cells.Cell | None) -> str:
    if cell is None:
        return ""
    return f"{cell.text} ({cell.low} to {cell.high})" if cell.numbers else f"Undefined: {cell.reason}"


def _flow(material: Material) -> Iterator[tuple[str, int]]:
    flow = count_flow(material)
    yield "Files seen", flow.files
    for reason, count in flow.reasons.items():
        yield f"Excluded: {reason}", count
    yield "Views", flow.views
    yield "Women", flow.women
    yield "Views of other exams, left out", flow.later_views
    for fold in flow.folds:
        yield f"Women: {fold.name}", fold.women
