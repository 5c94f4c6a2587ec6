"""The report's tables as CSV, LaTeX and HTML to paste, and its figures as SVG and PDF at journal size."""

from __future__ import annotations

import html
import io
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from tramtrack import store
from tramtrack.report.figures import STYLE
from tramtrack.report.flow import count_flow
from tramtrack.report.flow_figure import flow_figure
from tramtrack.report.named_tables import named_tables
from tramtrack.report.reading import Material

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
    """Write ``folder``/tables and ``folder``/figures; returns the files. The figures are those drawn on ``material`` before,
    and the cohort's flow, which the page has as boxes.

    Each table gives NAME.csv (the cells as they read), NAME.tex (booktabs) and NAME.html (one plain table); each figure
    NAME.svg and NAME.pdf.
    """
    written = []
    for name, (caption, table) in named_tables(material):
        place = folder / "tables"
        written.append(store.write_csv(place / f"{name}.csv", table))
        written.append(store.write_text(place / f"{name}.tex", latex(table, caption)))
        written.append(store.write_text(place / f"{name}.html", pasted(table, caption)))
    for name, figure in {"flow": flow_figure(count_flow(material)), **material.drawings}.items():
        for kind in ("svg", "pdf"):
            written.append(store.write_bytes(folder / "figures" / f"{name}.{kind}", drawn(figure, kind)))
    return written


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
