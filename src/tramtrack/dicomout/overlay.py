"""A heat map over its image as a secondary capture (PS3.3 A.8.1): what any viewer shows, with its meaning written below it."""

from __future__ import annotations

import textwrap

import numpy as np
from highdicom.sc import SCImage
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from tramtrack.dicomout.context import Context
from tramtrack.dicomout.sources import SourceImage
from tramtrack.explain.overlay import coloured
from tramtrack.imaging.pixels import read_picture
from tramtrack.prediction.answer import BURNED_IN

LONGEST_SIDE = 2048
"""Larger images are made smaller to be looked at; the raw values at full resolution are in the parametric map."""
INK, PAPER = (255, 255, 255), (0, 0, 0)


def overlay(context: Context, source: SourceImage, heatmap: np.ndarray, scale: float, number: int) -> Dataset:
    """The secondary capture of one view, 8-bit RGB; ``heatmap`` (rows, columns) float32 >= 0 is shown brightest at ``scale``.

    BurnedInAnnotation says whether the pixels hold text that identifies the woman (PS3.3 C.7.6.1.1): that of the source, or YES
    where text was seen in it. The text added here names nobody. Raises PixelError where the file is no longer there.
    """
    picture = captioned(_fitted(read_picture(source.file).values, heatmap, scale), captions(context, source, scale))
    place = context.place("overlay", number, source.side, source.view)
    result = SCImage.from_ref_dataset(
        source.header,
        picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("A", "F"),  # highdicom wants one; the source's own is set at the end
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **place,
    )
    result.ConversionType = "WSD"
    result.BodyPartExamined = "BREAST"
    result.DerivationDescription = f"{context.method} of {context.algorithm} over the image. {context.answer.use}"
    result.SourceImageSequence = [reference(source.header, codes.DCM.SourceImageForImageProcessingOperation)]
    burned = str(source.header.get("BurnedInAnnotation", ""))
    if f"{source.side} {source.view}: {BURNED_IN}" in context.answer.flags:
        burned = "YES"
    if burned:
        result.BurnedInAnnotation = burned
    return context.finish(result, [source], source.side)


def reference(header: Dataset, purpose: object) -> Dataset:
    """An item that refers to an image, with the purpose of it (PS3.3 10.3)."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = purpose.value, purpose.scheme_designator, purpose.meaning  # type: ignore[attr-defined]
    item.PurposeOfReferenceCodeSequence = [code]
    return item


def captions(context: Context, source: SourceImage, scale: float) -> list[str]:
    """What is written below a view's picture: the score and its call, the map, and the research-use statement."""
    scored = context.answer.of("view", source.side, source.view)
    call = f"{scored.call} at {scored.threshold:.3f}" if scored.call else f"no call: {scored.reason}"
    return [
        f"{source.side} {source.view}: BAC score {scored.score:.3f}, {call} ({context.networks})",
        f"{context.method}, brightest at {scale:.3g}",
        *(["Synthetic image."] if context.answer.synthetic else []),
        context.answer.use,
    ]


def captioned(picture: np.ndarray, lines: list[str]) -> np.ndarray:
    """The picture (rows, columns, 3) uint8 with lines of text below it, wrapped to its width: nothing of it is covered."""
    size = max(10, picture.shape[1] // 50)
    font = ImageFont.load_default(size)
    letters = max(1, int(picture.shape[1] / (0.52 * size)))
    wrapped = [part for line in lines for part in textwrap.wrap(line, letters)]
    band = Image.new("RGB", (picture.shape[1], round(1.4 * size * len(wrapped)) + size), PAPER)
    ImageDraw.Draw(band).multiline_text((size // 2, size // 2), "\n".join(wrapped), fill=INK, font=font, spacing=0.2 * size)
    return np.concatenate((picture, np.asarray(band)))


def _fitted(picture: np.ndarray, heatmap: np.ndarray, scale: float) -> np.ndarray:
    factor = min(1.0, LONGEST_SIDE / max(picture.shape))
    if factor < 1:
        size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
        picture, heatmap = (
            np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BOX))
            for values in (picture, heatmap)
        )
    return coloured(np.clip(picture, 0, 1), heatmap, scale)
