"""What is drawn onto the image itself: a grayscale softcopy presentation state (PS3.3 A.33.1) with the heat map's outlines.

Of the presentation states this is the one that viewers apply; pseudo-colour and blending states, which would show the map in
colour, few of them do, and for those the secondary capture stands in.
"""

from __future__ import annotations

import numpy as np
from highdicom import PresentationLUTTransformation
from highdicom.pr import (
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GrayscaleSoftcopyPresentationState,
    TextObject,
)
from pydicom.dataset import Dataset

from tramtrack.dicomout.context import Context
from tramtrack.dicomout.overlay import captions
from tramtrack.dicomout.regions import SHARE, outlines
from tramtrack.dicomout.sources import SourceImage

WINDOW = ("WindowCenter", "WindowWidth")


def presentation_state(context: Context, source: SourceImage, heatmap: np.ndarray, scale: float, number: int) -> Dataset:
    """Outlines of where one view's map (rows, columns) float32 reaches half of ``scale``, and what the score is, in a layer.

    The grey values are shown as the image itself asks for; a MONOCHROME1 image needs the inverse said (PS3.3 C.11.6.1.2).
    """
    layer = GraphicLayer("BAC_HEAT_MAP", 1, f"{context.method} of {context.algorithm}. Research use only"[:64])
    graphics = [GraphicObject("POLYLINE", outline, "PIXEL") for outline in outlines(heatmap, SHARE * scale)]
    text = "\r\n".join([*captions(context, source, scale), f"Outlines: {SHARE:.0%} of the brightest"])
    words = TextObject(text, "DISPLAY", bounding_box=(0.02, 0.02, 0.6, 0.2), text_justification="LEFT")
    shape = "INVERSE" if source.header.get("PhotometricInterpretation") == "MONOCHROME1" else "IDENTITY"
    result = GrayscaleSoftcopyPresentationState(
        referenced_images=[_with_window(source.header)],
        content_label="BAC_HEAT_MAP",
        content_description="Heat map outlines. Research use only",
        graphic_layers=[layer],
        graphic_annotations=[GraphicAnnotation([source.header], layer, graphic_objects=graphics or None, text_objects=[words])],
        presentation_lut_transformation=PresentationLUTTransformation(presentation_lut_shape=shape),
        **context.place("state", number, source.side, source.view),
    )
    return context.finish(result, [source], source.side)


def _with_window(header: Dataset) -> Dataset:
    """The header as its grey values are to be copied from it: an empty window is none."""
    if all(header.get(name) not in (None, "") for name in WINDOW):
        return header
    plain = Dataset()
    plain.update(dict(header.items()))
    for name in (*WINDOW, "WindowCenterWidthExplanation", "VOILUTFunction"):
        if name in plain:
            delattr(plain, name)
    return plain
