"""Measured against true areas as Bland and Altman draw them: the difference over the mean, with the limits of agreement."""

from __future__ import annotations

from typing import Any

import matplotlib
import pandas as pd

from tramtrack.report.figures import ACCENT, GREY, INK, STYLE, axes_of, svg_text
from tramtrack.report.reading import Material, known


def bland_altman_figures(material: Material, agreement: pd.DataFrame, named: dict[str, str]) -> list[str]:
    """A figure a source in ``named`` (source, title), of the areas of the evaluated fold's views in mm2.

    ``agreement`` is burden_agreement.csv of the fold; a source without limits there has none. All have the same scales.
    """
    path = material.folder / "results" / "burden.csv"
    if not path.exists():
        return []
    views = pd.read_csv(path, usecols=["source", "fold", "analysed", "unit", "area", "true_area"])
    views = views[(views["fold"] == material.fold) & (views["analysed"] == "yes") & (views["unit"] == "mm")].dropna()
    chosen = agreement[(agreement["of"] == "view") & (agreement["among"] == "all") & (agreement["unit"] == "mm")]
    chosen = chosen[(chosen["measured"] == "area") & (chosen["true"] == "area")]
    rows = {str(row["source"]): row for row in chosen.to_dict("records") if known(row["lower"])}
    shown = views[views["source"].isin([source for source in named if source in rows])]
    if shown.empty:
        return []
    means, differences = (shown["area"] + shown["true_area"]) / 2, shown["area"] - shown["true_area"]
    edges = (float(means.max()), float(differences.min()), float(differences.max()))
    return [_figure(material, shown[shown["source"] == name], rows[name], named[name], edges) for name in named if name in rows]


def _figure(material: Material, views: pd.DataFrame, row: dict[Any, Any], title: str, edges: tuple[float, float, float]) -> str:
    right, bottom, top = edges
    margin = 0.06 * max(top - bottom, 1e-6)
    with matplotlib.rc_context(STYLE):
        figure, axes = axes_of(3.4, 2.6)
        axes.axhline(0, color=GREY, linewidth=0.7)
        for name, line in (("bias", "-"), ("lower", (0, (5, 2))), ("upper", (0, (5, 2)))):
            axes.axhline(float(row[name]), color=ACCENT, linewidth=1.1, linestyle=line)
        drawn = views.drop_duplicates()  # views without any lie on one point
        means, differences = (drawn["area"] + drawn["true_area"]) / 2, drawn["area"] - drawn["true_area"]
        axes.plot(means, differences, "o", color=INK, markersize=2.4, alpha=0.5)
        low, high = min(bottom, float(row["lower"])) - margin, max(top, float(row["upper"])) + margin
        axes.set(xlim=(-0.03 * right, 1.05 * right), ylim=(low, high), title=title)
        axes.set(xlabel="Mean of measured and true area, mm²", ylabel="Measured − true, mm²")
        what = f"Areas of {len(views)} views of the {material.fold} fold by {title}: measured minus true over their mean"
        name = "bland-altman-" + "".join(letter if letter.isalnum() else "-" for letter in title.lower())
        return svg_text(figure, name, f"{what}, with the mean difference and the limits of agreement.", material)
