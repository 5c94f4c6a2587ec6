"""Figures about probabilities: how they hold, how they are spread, and what calls at them are worth."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from tramtrack.judgement.scoring import RUN_COLUMNS
from tramtrack.report.figures import COLOURS, GREY, INK, LINES, STYLE, axes_of, line_style, names_beside, svg_text
from tramtrack.report.reading import Material, run_title
from tramtrack.training.record import PRETRAINED

TICKS = ([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])


def calibration_figures(material: Material) -> list[str]:
    """One panel a run, women of the evaluated fold: the curve with its band, groups with intervals, the spread below."""
    runs = _runs(material, "calibration_curve", unit="woman")
    return [_calibration_panel(material, number, run, curve) for number, (run, curve) in enumerate(runs)]


def score_figures(material: Material) -> list[str]:
    """One panel a run: the scores of women with and without BAC in the evaluated fold."""
    panels = []
    for number, (run, bins) in enumerate(_runs(material, "histogram", unit="woman")):
        label = _title(material, run)
        with matplotlib.rc_context(STYLE):
            figure, axes = axes_of(3.3, 2.2)
            width = bins["upper"] - bins["lower"]
            shares = {name: bins[name] / max(1, bins[name].sum()) for name in ("negatives", "positives")}
            axes.bar(bins["lower"], shares["negatives"], width, align="edge", color="#c9c4bc", linewidth=0)
            edges = np.append(bins["lower"], bins["upper"].iloc[-1])
            axes.stairs(shares["positives"], edges, color=COLOURS[1], linewidth=1.7)
            top = 1.25 * max(float(share.max()) for share in shares.values()) or 1.0
            axes.text(0.0, 0.97 * top, f"with BAC ({bins['positives'].sum()}), line", color=COLOURS[1], fontsize=8, va="top")
            axes.text(0.0, 0.86 * top, f"without ({bins['negatives'].sum()}), bars", color=GREY, fontsize=8, va="top")
            axes.set(xlim=(0, 1), ylim=(0, top), xlabel="Score", ylabel="Share of each group")
            axes.set_xticks(*TICKS)
            axes.set_title(label, fontsize=10, fontweight="bold", loc="left", color=INK)
            what = f"{label}: scores of women with and without BAC in the {material.fold} fold"
            panels.append(svg_text(figure, f"scores-{number}", f"{what}.", material))
    return panels


def decision_figure(material: Material, stated: bool) -> str | None:
    """Net benefit against the chance at which a woman is called back, all runs, at the own or at the stated prevalence."""
    curves = [
        (run, group)
        for run, group in _runs(material, "decision_curve", stated="yes" if stated else "no")
        if run["weights"] == PRETRAINED
    ]
    if not curves:
        return None
    names = list(dict.fromkeys(str(run["network"]) for run, _ in curves))
    with matplotlib.rc_context(STYLE):
        figure, axes = axes_of(4.6, 3.2)
        first = curves[0][1]
        prevalence = float(first["prevalence"].iloc[0])
        low, high = -0.25 * prevalence, 1.15 * prevalence
        axes.axhline(0, color=GREY, linewidth=0.8, linestyle=(0, (2, 3)))
        axes.plot(first["chance"], first["all_called"], color=GREY, linewidth=1.0)
        for run, group in curves:
            colour, line = line_style(names.index(str(run["network"])))
            axes.fill_between(group["chance"], group["low"], group["high"], color=colour, alpha=0.08, linewidth=0)
            axes.plot(group["chance"], group["net_benefit"], color=colour, linestyle=line)
        labels, spots, colours = ["all called", "none called"], [(0.08, 0.0), (0.97, 0.0)], [GREY, GREY]
        at_all = float(np.interp(0.0, -first["all_called"], first["chance"]))
        spots[0] = (min(at_all / 0.6 + 0.03, 0.9), (0 - low) / (high - low) - 0.06)
        spots[1] = (0.86, (0 - low) / (high - low) - 0.06)
        for number, (run, group) in enumerate(curves):
            point = group.iloc[min(len(group) - 1, 8 + 14 * number % 45)]
            x, y = float(point["chance"]), float(point["net_benefit"])
            labels.append(_title(material, run))
            spots.append((x / 0.6, min(0.97, (y - low) / (high - low))))
            colours.append(line_style(names.index(str(run["network"])))[0])
        for number, place in enumerate(names_beside(labels, spots)):
            about: dict[str, Any] = {"ha": place[2], "va": "center", "fontsize": 8.5, "gid": f"name-{number}"}
            weight = "normal" if number < 2 else "bold"
            axes.text(*place[:2], labels[number], color=colours[number], fontweight=weight, transform=axes.transAxes, **about)
        axes.set(xlim=(0, 0.6), ylim=(low, high), xlabel="Chance of BAC from which a woman is called", ylabel="Net benefit")
        what = f"Net benefit by woman at a prevalence of {prevalence:.3f} against the chance at which women are called"
        name = "decision-stated" if stated else "decision-own"
        return svg_text(figure, name, f"{what}, with calling all and calling none.", material)


def _calibration_panel(material: Material, number: int, run: dict[str, Any], curve: pd.DataFrame) -> str:
    label = _title(material, run)
    groups = _rows(material.tables["calibration_groups"], run, material.fold, unit="woman")
    with matplotlib.rc_context(STYLE):
        figure, axes = axes_of(3.3, 3.3)
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (2, 3)))
        axes.fill_between(curve["probability"], curve["low"], curve["high"], color=COLOURS[0], alpha=0.15, linewidth=0)
        axes.plot(curve["probability"], curve["observed"], color=COLOURS[0], linestyle=LINES[0])
        if len(groups):
            reach = np.stack([groups["observed"] - groups["low"], groups["high"] - groups["observed"]])
            axes.errorbar(
                groups["predicted"], groups["observed"], reach, fmt="o", color=INK, markersize=4, elinewidth=0.9, mfc="white"
            )
        axes.set(
            xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="Predicted probability", ylabel="Share with BAC", aspect="equal"
        )
        axes.set_xticks(*TICKS)
        axes.set_yticks(*TICKS)
        axes.set_title(label, fontsize=10, fontweight="bold", loc="left", color=INK)
        what = f"{label}: share of {material.fold} women with BAC against the predicted probability"
        return svg_text(
            figure, f"calibration-{number}", f"{what}, with its band and the line of perfect calibration.", material
        )


def _runs(material: Material, table: str, **where: str) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """The runs of one table on the evaluated fold, each with its rows."""
    chosen = material.tables[table]
    chosen = chosen[chosen["fold"] == material.fold]
    for column, value in where.items():
        chosen = chosen[chosen[column] == value]
    return [(dict(zip(RUN_COLUMNS, keys, strict=True)), group) for keys, group in chosen.groupby(RUN_COLUMNS, sort=False)]


def _rows(table: pd.DataFrame, run: dict[str, Any], fold: str, **where: str) -> pd.DataFrame:
    chosen = table["fold"] == fold
    for column, value in {**{name: run[name] for name in RUN_COLUMNS}, **where}.items():
        chosen &= table[column] == value
    return table[chosen]


def _title(material: Material, run: dict[str, Any]) -> str:
    return run_title(run, material.results.scores["seed"].nunique() > 1)
