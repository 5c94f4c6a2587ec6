"""The answer as one page for a person: one HTML file without an external address."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from importlib import resources

import numpy as np
from jinja2 import Environment
from PIL import Image

from tramtrack.explain.overlay import overlay
from tramtrack.prediction.answer import Answer
from tramtrack.prediction.reader import Map

PICTURE_ROWS = 360
"""Height of a view on the page, in pixels."""


def page(answer: Answer, pictures: Mapping[tuple[str, str], np.ndarray], maps: Mapping[tuple[str, str], Map]) -> str:
    """The page's HTML; ``pictures`` are the prepared views (uint16) by side and view, ``maps`` their heat maps, maybe none."""
    template = Environment(autoescape=True).from_string(
        (resources.files("tramtrack.prediction") / "case.html").read_text("utf-8")
    )
    order = [("R", "CC"), ("L", "CC"), ("R", "MLO"), ("L", "MLO")]  # as they hang at a reading desk
    views = [
        (
            answer.of("view", side, view),
            picture_of((pictures[side, view] >> 8).astype(np.uint8), side),
            _mapped(pictures[side, view], maps.get((side, view)), side),
            (side, view) in maps and not maps[side, view].values.any(),
        )
        for side, view in order
        if (side, view) in pictures
    ]
    others = [scored for scored in answer.scores if scored.unit != "view"]
    shown = next(iter(maps.values()), None)
    return template.render(a=answer, views=views, others=others, woman=answer.of("woman"), shown=shown)


def _mapped(pixels: np.ndarray, shown: Map | None, side: str) -> str:
    """A prepared view with its map over it, as a data URL; empty where it has none."""
    return "" if shown is None else picture_of(overlay(pixels, shown.values, shown.scale, None), side)


def picture_of(pixels: np.ndarray, side: str) -> str:
    """A prepared view (uint8, grey or RGB, breast at the left edge) as a data URL; a right breast hangs the other way, back to
    back."""
    whole = Image.fromarray(pixels)
    image = whole.resize((max(1, round(PICTURE_ROWS * whole.width / whole.height)), PICTURE_ROWS), Image.Resampling.LANCZOS)
    if side == "R":
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
