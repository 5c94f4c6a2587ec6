"""The cohort's flow as a figure for a paper: from files to folds, and what left on the way."""

from __future__ import annotations

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tramtrack.report.figures import GREY, INK, STYLE, axes_of
from tramtrack.report.flow import Flow

STEP, WIDTH, LEFT = 1.0, 0.44, 0.24
"""Between two boxes, and of a box and its middle, in parts of the figure's width."""


def flow_figure(flow: Flow) -> Figure:
    """Boxes from above to below, each with an arrow to the next; to the right what was left out between them, and why."""
    parts = [fold for fold in flow.folds if fold.takes_part]
    out = [fold for fold in flow.folds if not fold.takes_part and fold.women]
    boxes = [
        f"{flow.files:,} files seen",
        f"{flow.views:,} views of {flow.women:,} women",
        f"{flow.analysed_views:,} views analysed",
        "\n".join(f"{fold.name}: {fold.women:,} women, {fold.with_bac:,} with BAC" for fold in parts),
    ]
    excluded = "\n".join(f"{count:,} {reason}" for reason, count in flow.reasons.items()) or "none"
    left = [
        f"{flow.excluded:,} files excluded\n{excluded}" if flow.excluded else "0 files excluded",
        f"{flow.later_views:,} views of other exams" if flow.later_views else "",
        "\n".join(f"{fold.women:,} women {fold.name}" for fold in out),
    ]
    heights = [0.3 * (text.count("\n") + 1) + 0.25 for text in boxes]
    gaps = [max(0.55, 0.3 * (text.count("\n") + 1) + 0.3) if text else 0.45 for text in left]
    with matplotlib.rc_context(STYLE):
        figure, axes = axes_of(5.2, 0.55 * (sum(heights) + sum(gaps)))
        axes.set_axis_off()
        top = 0.0
        for number, (text, height) in enumerate(zip(boxes, heights, strict=True)):
            _box(axes, LEFT, top - height / 2, text)
            top -= height
            if number < len(gaps):
                arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 0.8}
                axes.annotate("", (LEFT, top - gaps[number]), (LEFT, top), arrowprops=arrow)
                if left[number]:
                    middle = top - gaps[number] / 2
                    axes.plot([LEFT, LEFT + WIDTH / 2 + 0.04], [middle, middle], color=GREY, linewidth=0.8)
                    axes.text(LEFT + WIDTH / 2 + 0.06, middle, left[number], va="center", ha="left", fontsize=7, color=GREY)
                top -= gaps[number]
        axes.set_xlim(0, 1)
        axes.set_ylim(top - 0.05, 0.05)
    return figure


def _box(axes: Axes, x: float, y: float, text: str) -> None:
    frame = {"boxstyle": "square,pad=0.5", "facecolor": "white", "edgecolor": INK, "linewidth": 0.8}
    axes.text(x, y, text, va="center", ha="center", fontsize=8, bbox=frame, linespacing=1.3)
