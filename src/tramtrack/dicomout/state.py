"""What is drawn onto the image itself: a grayscale softcopy presentation state (PS3.3 A.33.1) with the heat map's outlines.

Of the presentation states this is the one that viewers apply; pseudo-colour and blending states, which would show the map in
colour, few of them do, and for those the secondary capture stands in.
"""

from __future__ import annotations

import numpy as np
from highdicom import VOILUT, ModalityLUT, ModalityLUTTransformation, PresentationLUTTransformation
from highdicom.pr import (
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GrayscaleSoftcopyPresentationState,
    SoftcopyVOILUTTransformation,
    TextObject,
)
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from tramtrack.dicomout.context import Context
from tramtrack.dicomout.overlay import captions
from tramtrack.dicomout.regions import SHARE, Hot
from tramtrack.dicomout.sources import SourceImage
from tramtrack.imaging.presentation import lut_of

GREY_VALUES = (
    "ModalityLUTSequence",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
    "WindowCenterWidthExplanation",
    "VOILUTFunction",
)
"""What of a header is said in the state's own words: highdicom refuses an image with a window and a VOI LUT, which many
mammographs write, forgets a modality LUT, and calls every table one of 16 bits."""


def presentation_state(context: Context, source: SourceImage, hot: Hot, scale: float, number: int) -> Dataset:
    """Outlines of where one view's map reaches half of ``scale``, and what the score is, in a layer.

    The grey values are shown as the image itself asks for: by its first VOI LUT, else by its windows. An image whose smallest
    value is white needs the inverse said (PS3.3 C.11.6.1.2).
    """
    layer = GraphicLayer("BAC_HEAT_MAP", 1, f"{context.method} of {context.algorithm}. Research use only"[:64])
    graphics = [GraphicObject("POLYLINE", outline, "PIXEL") for outline in hot.outlines]
    text = "\r\n".join([*captions(context, source, scale), f"Outlines: {SHARE:.0%} of the brightest"])
    words = TextObject(text, "DISPLAY", bounding_box=(0.02, 0.02, 0.6, 0.2), text_justification="LEFT")
    white = ("PhotometricInterpretation", "MONOCHROME1"), ("PresentationLUTShape", "INVERSE")
    shape = "INVERSE" if any(source.header.get(name) == value for name, value in white) else "IDENTITY"
    result = GrayscaleSoftcopyPresentationState(
        referenced_images=[_without_grey_values(source.header)],
        content_label="BAC_HEAT_MAP",
        content_description="Heat map outlines. Research use only",
        graphic_layers=[layer],
        graphic_annotations=[GraphicAnnotation([source.header], layer, graphic_objects=graphics or None, text_objects=[words])],
        modality_lut_transformation=_modality_lut(source.header),
        voi_lut_transformations=_voi_lut(source.header),
        presentation_lut_transformation=PresentationLUTTransformation(presentation_lut_shape=shape),
        **context.place("state", number, source.side, source.view),
    )
    return context.finish(result, [source], source.side)


def _without_grey_values(header: Dataset) -> Dataset:
    plain = Dataset()
    plain.update(dict(header.items()))  # as they were read: a value of a wrong form among the others is nobody's concern
    for name in GREY_VALUES:
        if name in plain:
            delattr(plain, name)
    return plain


def _modality_lut(header: Dataset) -> ModalityLUTTransformation | None:
    """PS3.3 C.11.1, with the same output values; None where the header has no table: highdicom copies a rescale itself."""
    found = header.get("ModalityLUTSequence")
    if not found:
        return None
    first, table = _lut(header, found[0])
    highest = 2 ** int(found[0].LUTDescriptor[2]) - 1
    kind = str(found[0].get("ModalityLUTType") or "US")  # unspecified
    return ModalityLUTTransformation(modality_lut=ModalityLUT(kind, first, np.rint(highest * table).astype(np.uint16)))


def _voi_lut(header: Dataset) -> list[SoftcopyVOILUTTransformation] | None:
    """PS3.3 C.11.8; None where the header asks for nothing that can be used.

    Entries of a table, of however many bits, are made to reach from 0 to 65,535: what is shown stays the same.
    """
    found = header.get("VOILUTSequence")
    if found:
        first, table = _lut(header, found[0])
        return [SoftcopyVOILUTTransformation(voi_luts=[VOILUT(first, np.rint(65535 * table).astype(np.uint16))])]
    centres, widths, told = (_values(header, f"Window{name}") for name in ("Center", "Width", "CenterWidthExplanation"))
    if not widths or len(centres) != len(widths) or not all(float(width) > 0 for width in widths):
        return None
    return [
        SoftcopyVOILUTTransformation(
            window_center=[float(centre) for centre in centres],
            window_width=[float(width) for width in widths],
            window_explanation=told if len(told) == len(widths) else None,
            voi_lut_function=str(header.get("VOILUTFunction") or "LINEAR"),
        )
    ]


def _lut(header: Dataset, item: Dataset) -> tuple[int, np.ndarray]:
    return lut_of(item, little_endian=header.original_encoding[1] is not False)


def _values(header: Dataset, name: str) -> list[str]:
    """The values of an attribute that may hold one, several or none."""
    found = header.get(name)
    if found is None or found == "":
        return []
    return [str(value) for value in found] if isinstance(found, MultiValue) else [str(found)]
