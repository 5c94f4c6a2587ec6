"""The report's figures as SVG text: readable in black and white (line styles, names on the lines) and by the colour-blind.

Text stays text, so it takes the page's fonts and can be selected; no figure refers to anything outside itself.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from tramtrack.judgement.scoring import RUN_COLUMNS
from tramtrack.report.reading import Material, run_title
from tramtrack.training.record import PRETRAINED, Run

INK, GREY, ACCENT = "#1c1b1a", "#6b6762", "#9a2a2a"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#1c1b1a", "#B07A00", "#3A93C9")
"""After Okabe and Ito's palette, which the colour-blind can tell apart; the yellows are darkened for white paper."""
LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.4)), (0, (6, 2, 1, 2)), (0, (9, 2)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = "os^DvPX*<>h"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.7,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "text.color": INK,
    "lines.linewidth": 1.7,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


def roc_figure(material: Material, unit: str) -> str | None:
    """ROC curves of all runs on the evaluated fold, by ``unit`` (view, breast, woman), with the line of chance."""
    roc = material.roc
    chosen = roc[(roc["fold"] == material.fold) & (roc["unit"] == unit)]
    if chosen.empty:
        return None
    several = material.results.scores["seed"].nunique() > 1
    curves = [
        (dict(zip(RUN_COLUMNS, keys, strict=True)), group[["fpr", "tpr"]].to_numpy(dtype=float))
        for keys, group in chosen.groupby(RUN_COLUMNS, sort=False)
    ]
    names = list(dict.fromkeys(str(run["network"]) for run, _ in curves))
    with matplotlib.rc_context(STYLE):
        figure, axes = axes_of(4.1, 4.1)
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (2, 3)))
        axes.text(
            0.82, 0.79, "chance", color=GREY, fontsize=8, rotation=45, rotation_mode="anchor", va="top", gid="name-chance"
        )
        bands = material.tables["roc_band"]
        for run, _ in curves:
            own = (bands["fold"] == material.fold) & (unit == "woman")
            for column in RUN_COLUMNS:
                own &= bands[column] == run[column]
            if own.any() and run["weights"] == PRETRAINED:
                colour = line_style(names.index(str(run["network"])))[0]
                axes.fill_between(
                    *(bands.loc[own, name] for name in ("fpr", "low", "high")), color=colour, alpha=0.09, linewidth=0
                )
        for run, points in curves:
            colour, line = line_style(names.index(str(run["network"])))
            random = run["weights"] != PRETRAINED
            axes.plot(*points.T, color=GREY if random else colour, linestyle=line, linewidth=1.0 if random else 1.8)
        labels = [(run_title(run, several), points) for run, points in curves]
        for number, (x, y) in enumerate(label_places(labels)):
            run, label = curves[number][0], labels[number][0]
            colour = GREY if run["weights"] != PRETRAINED else line_style(names.index(str(run["network"])))[0]
            axes.text(x, y, label, color=colour, fontsize=8.5, fontweight="bold", va="center", zorder=5, gid=f"name-{number}")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel="1 − specificity", ylabel="Sensitivity", aspect="equal")
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
        what = f"ROC curves by {unit} on the {material.fold} fold of {', '.join(label for label, _ in labels)}"
        return svg_text(figure, f"roc-{unit}", f"{what}, with the line of chance.", material)


def training_figures(material: Material) -> list[str]:
    """Loss by epoch of each run, all on the same scale, the epoch that was kept marked."""
    histories = [(run, run.history()) for run in material.runs]
    losses = [loss for _, history in histories for epoch in history for loss in (epoch.training_loss, epoch.validation_loss)]
    if not losses:
        return []
    top = min(1.08 * max(losses), 3 * float(np.median(losses)))
    several = len({run.key.seed for run in material.runs}) > 1
    return [_training_figure(run, top, several, material) for run in material.runs]


def interval_bar(numbers: tuple[float, float, float] | None) -> str:
    """A small drawing of low, estimate and high on a scale from 0 to 1, chance at 0.5; the numbers stand beside it."""
    if numbers is None:
        return ""
    low, estimate, high = (2 + 116 * value for value in numbers)
    return (
        '<svg class="bar" viewBox="0 0 120 16" width="120" height="16" aria-hidden="true" focusable="false">'
        '<line x1="2" y1="8" x2="118" y2="8" class="scale"/><line x1="60" y1="2" x2="60" y2="14" class="chance"/>'
        f'<line x1="{low:.1f}" y1="8" x2="{high:.1f}" y2="8" class="span"/>'
        f'<circle cx="{estimate:.1f}" cy="8" r="4" class="dot"/></svg>'
    )


def _training_figure(run: Run, top: float, several: bool, material: Material) -> str:
    history = run.history()
    epochs = [epoch.epoch for epoch in history]
    best = int(run.information["best_epoch"])
    label = run_title({"network": run.key.network, "seed": run.key.seed, "weights": run.weights}, several)
    with matplotlib.rc_context(STYLE):
        figure, axes = axes_of(3.3, 2.5)
        kinds = (("training", COLOURS[0], "-"), ("validation", COLOURS[1], LINES[1]))
        ends = [getattr(history[-1], f"{kind}_loss") for kind, _, _ in kinds]
        nudge = 0.06 * top if abs(ends[0] - ends[1]) < 0.1 * top else 0.0
        for (kind, colour, line), end, other in zip(kinds, ends, ends[::-1], strict=True):
            axes.plot(epochs, [getattr(epoch, f"{kind}_loss") for epoch in history], color=colour, linestyle=line)
            highest = max(history, key=lambda epoch: getattr(epoch, f"{kind}_loss"))
            if getattr(highest, f"{kind}_loss") > top:
                peak = f"↑ {getattr(highest, f'{kind}_loss'):.1f}"
                axes.annotate(peak, (highest.epoch, top), xytext=(3, -2), textcoords="offset points", color=colour, fontsize=8,
                              va="top")  # fmt: skip
            y = min(end, top) + (nudge if end >= other else -nudge)
            axes.annotate(kind, (epochs[-1], y), xytext=(5, 0), textcoords="offset points", color=colour, va="center")
        kept = next(epoch.validation_loss for epoch in history if epoch.epoch == best)
        axes.axvline(best, color=GREY, linewidth=0.7, linestyle=(0, (2, 3)), zorder=0)
        axes.plot(best, kept, "o", color=COLOURS[1], markersize=6, mfc="white", zorder=4)
        side = "left" if best <= np.mean(epochs) else "right"
        axes.annotate(
            f"best: {best}", (best, 0.02 * top), xytext=(4 if side == "left" else -4, 0), textcoords="offset points",
            color=GREY, fontsize=8, ha=side, va="bottom",
        )  # fmt: skip
        span = max(1, epochs[-1] - epochs[0])
        axes.set(xlim=(epochs[0] - 0.05 * span, epochs[-1] + 0.36 * span), ylim=(0, top), xlabel="Epoch", ylabel="Loss")
        axes.set_xticks(epochs[:: max(1, -(-len(epochs) // 8))])
        axes.set_title(label, fontsize=10, fontweight="bold", loc="left", color=INK)
        what = f"{label}: training and validation loss over {len(history)} epochs; epoch {best} was kept"
        name = re.sub(r"[^A-Za-z0-9-]", "-", f"training-{run.key.network}-{run.key.variant}-{run.key.seed}")
        return svg_text(figure, name, f"{what}.", material)


def label_places(curves: Sequence[tuple[str, np.ndarray]]) -> list[tuple[float, float]]:
    """A place for each name beside its own curve, clear of the names placed before and of the other curves if it can be."""
    walks = [_walk(points) for _, points in curves]
    taken = [(0.8, 0.72, 0.95, 0.92)]
    places = []
    for number, (name, _) in enumerate(curves):
        others = np.concatenate([walk for index, walk in enumerate(walks) if index != number] or [np.empty((0, 2))])
        width, best, chosen = 0.0225 * len(name) + 0.02, np.inf, (0.5, 0.5)
        for x, y in walks[number]:
            for left, middle in ((x + 0.02, y - 0.03), (x + 0.02, y), (x - width, y + 0.03), (x - width, y)):
                box = (left, middle - 0.025, left + width, middle + 0.025)
                if box[0] < 0.0 or box[2] > 1.0 or box[1] < 0.0 or box[3] > 1.02:
                    continue
                cost = (
                    40 * sum(_overlap(box, other) for other in taken) + _inside(others, box) + 0.6 * _inside(walks[number], box)
                )
                cost += 0.5 * abs(y - 0.72)
                if cost < best:
                    best, chosen = cost, (left, middle)
        taken.append((chosen[0], chosen[1] - 0.025, chosen[0] + width, chosen[1] + 0.025))
        places.append(chosen)
    return places


def names_beside(names: Sequence[str], spots: Sequence[tuple[float, float]]) -> list[tuple[float, float, str]]:
    """For each marker at ``spots`` (shares of the axes) the nearest free place of its name: x, y, and left or right."""
    taken = [(x - 0.015, y - 0.03, x + 0.015, y + 0.03) for x, y in spots]
    places = []
    for name, (x, y) in zip(names, spots, strict=True):
        width, best, chosen = 0.0178 * len(name), np.inf, (x + 0.025, y, "left")
        for side, step in ((side, step) for step in range(-12, 13) for side in ("left", "right")):
            edge, middle = x + (0.025 if side == "left" else -0.025), y + 0.04 * step
            box = (edge, middle - 0.035, edge + width, middle + 0.035)
            box = box if side == "left" else (edge - width, box[1], edge, box[3])
            if box[0] < 0 or box[2] > 1.04 or box[1] < 0 or box[3] > 1.06:
                continue
            cost = 30 * sum(_overlap(box, other) for other in taken) + abs(step)
            if cost < best:
                best, chosen = cost, (edge, middle, side)
        edge, middle, side = chosen
        start = edge if side == "left" else edge - width
        taken.append((start, middle - 0.035, start + width, middle + 0.035))
        places.append(chosen)
    return places


def _walk(points: np.ndarray) -> np.ndarray:
    """60 points evenly spaced along a curve, (60, 2)."""
    lengths = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))))
    along = np.linspace(0, lengths[-1], 60)
    return np.stack([np.interp(along, lengths, points[:, axis]) for axis in (0, 1)], axis=1)


def _inside(points: np.ndarray, box: tuple[float, float, float, float]) -> int:
    x, y = points[:, 0], points[:, 1]
    return int(((x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])).sum())


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def axes_of(width: float, height: float) -> tuple[Figure, Any]:
    """An empty figure of that many inches, and its axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def line_style(number: int) -> tuple[str, Any]:
    """Colour and dashes of the network with this number."""
    return COLOURS[number % len(COLOURS)], LINES[number % len(LINES)]


def svg_text(figure: Figure, name: str, description: str, material: Material) -> str:
    """The figure as an <svg> element with its description, without XML header, document type, metadata and style sheet.

    Every id in it begins with ``name``, so that several figures can stand in one page. The figure is kept by that name among
    the material's drawings, for the export.
    """
    if material.synthetic:
        figure.text(0.005, 0.012, "synthetic", color=ACCENT, fontsize=8, ha="left", va="bottom", style="italic")
    material.drawings[name] = figure
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    body = re.sub(r"<style.*?</style>", "", text[text.index(">", text.index("<svg")) + 1 :], flags=re.DOTALL)
    body = re.sub(r'id="|url\(#|href="#', lambda found: f"{found[0]}{name}-", body)
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
        f'viewBox="0 0 {figure.get_figwidth() * 72:g} {figure.get_figheight() * 72:g}" aria-label="{escape(description)}">'
    )
    return opening + body.strip()
