"""AUC-ROC against what it costs, with intervals both ways and the networks that nobody beats at their cost."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd

from tramtrack.judgement.contest import COSTS
from tramtrack.report.figures import COLOURS, GREY, MARKERS, STYLE, axes_of, names_beside, svg_text
from tramtrack.report.reading import Material, title

SHOWN = ("multiply_adds", "seconds_an_epoch_uncached", "seconds_an_epoch_cached", "depth")
SCALES = {"multiply_adds": 1e9}
LABELS = {**COSTS, "multiply_adds": "billions of multiply-adds a view"}


def pareto_figures(material: Material) -> list[str]:
    """One figure a cost in SHOWN: a point a network, its AUC-ROC by woman over its seeds; empty where nothing is compared."""
    table = material.tables["cost_front"]
    return [_pareto_figure(material, cost, table[table["cost"] == cost]) for cost in SHOWN if (table["cost"] == cost).any()]


def _pareto_figure(material: Material, cost: str, rows: pd.DataFrame) -> str:
    scale = SCALES.get(cost, 1.0)
    amounts, least, most = (rows[name].to_numpy(dtype=float) / scale for name in ("amount", "least", "most"))
    values = rows["value"].to_numpy(dtype=float)
    with matplotlib.rc_context(STYLE):
        figure, axes = axes_of(4.4, 3.1)
        axes.axhline(0.5, color=GREY, linewidth=0.8, linestyle=(0, (2, 3)))
        left, right = min(least) / 1.7, max(most) * 1.7
        front = _front(amounts, values)
        axes.step(
            np.append(amounts[front], right),
            np.append(values[front], values[front][-1]),
            where="post",
            color=GREY,
            linewidth=0.9,
        )
        names = [title(str(name)) for name in rows["contestant"]]
        spots = [
            (float(np.log(x / left) / np.log(right / left)), (y + 0.02) / 1.04) for x, y in zip(amounts, values, strict=True)
        ]
        for number, place in enumerate(names_beside(names, spots)):
            row, colour = rows.iloc[number], COLOURS[number % len(COLOURS)]
            axes.plot([amounts[number]] * 2, [row["low"], row["high"]], color=colour, linewidth=1.2)
            axes.plot([least[number], most[number]], [values[number]] * 2, color=colour, linewidth=1.2)
            filled = colour if number in front else "white"
            axes.plot(amounts[number], values[number], MARKERS[number % len(MARKERS)], color=colour, markersize=7, mfc=filled)
            axes.plot(*zip(spots[number], place[:2], strict=True), color=colour, linewidth=0.6, transform=axes.transAxes)
            about = {"ha": place[2], "va": "center", "fontsize": 8.5, "fontweight": "bold", "gid": f"name-{number}"}
            axes.text(*place[:2], names[number], color=colour, transform=axes.transAxes, zorder=5, **about)
        axes.set_xscale("log")
        axes.set(xlim=(left, right), ylim=(-0.02, 1.02))
        decades = [digit * 10.0**power for power in range(-3, 6) for digit in (1, 2, 5)]
        ticks = [tick for tick in decades if left < tick < right]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        what = LABELS[cost]
        axes.set(xlabel=f"{what[0].upper()}{what[1:]} (logarithmic)", ylabel=f"AUC-ROC by woman, {material.fold}")
        described = (
            f"AUC-ROC by woman with its interval against {what}; filled markers are networks that none beats at their cost"
        )
        return svg_text(figure, f"pareto-{cost.replace('_', '-')}", f"{described}.", material)


def _front(amounts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Positions of the networks that none beats at their cost, cheapest first."""
    kept: list[int] = []
    for number in np.lexsort((-values, amounts)).tolist():
        if not kept or values[number] > values[kept[-1]]:
            kept.append(number)
    return np.array(kept)
