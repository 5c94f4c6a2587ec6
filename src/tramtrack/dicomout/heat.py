"""A heat map's raw values as a parametric map (PS3.3 A.75), pixel for pixel on the image."""

from __future__ import annotations

import numpy as np
from highdicom import VOILUTTransformation
from highdicom.pm import ImageFlavorValues, ParametricMap, RealWorldValueMapping
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.valuerep import DS

from tramtrack.dicomout.concepts import EXPLANATIONS
from tramtrack.dicomout.context import Context
from tramtrack.dicomout.sources import SourceImage

WAYS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "H": (0, 0, 1), "F": (0, 0, -1)}
"""The patient's axes (PS3.3 C.7.6.2.1.1): x to the left, y to the back, z to the head."""


class NoAxes(Exception):
    """It is not known how an image lies, so that a parametric map of it would have to make that up."""


class _LoneMap(ParametricMap):
    """A map of one frame that lies in no frame of reference, as a mammogram does not.

    highdicom (0.28) orders such a frame by its label and then writes neither label nor index, which a Multi-frame Dimension
    needs (PS3.3 C.7.6.17); its segmentations do have them.
    """

    def _build_luts(self) -> None:
        content = self.PerFrameFunctionalGroupsSequence[0].FrameContentSequence[0]
        content.FrameLabel, content.DimensionIndexValues = "Frame", [1]
        super()._build_luts()


def parametric_map(context: Context, source: SourceImage, heatmap: np.ndarray, scale: float, number: int) -> Dataset:
    """The map (rows, columns) float32 >= 0 of one view, unchanged; the window runs from 0 to ``scale``.

    What its values are is coded by the method: gradient-weighted class activation (DCM 130403) or saliency (DCM 130404). The
    IOD asks for a frame of reference (PS3.3 A.75.3), which a mammogram has not: the map gets one of its own, with the origin at
    its first pixel and the axes that PatientOrientation names. Raises NoAxes where it names none.
    """
    shared = _plane(context, source)
    largest = float(heatmap.max())
    shown = scale if scale > 0 else max(largest, 1.0)
    mapping = RealWorldValueMapping(
        lut_label="BAC",
        lut_explanation="What speaks for BAC, in the network's own unit",
        unit=codes.UCUM.NoUnits,
        value_range=(0.0, max(largest, shown)),
        slope=1,
        intercept=0,
        quantity_definition=EXPLANATIONS[context.method],
    )
    result = _LoneMap(
        source_images=[source.header],
        pixel_array=heatmap,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[VOILUTTransformation(shown / 2, shown, voi_lut_function="LINEAR_EXACT")],
        image_flavor=ImageFlavorValues.STATIC,
        content_label="BAC_HEAT_MAP",
        content_description=f"{context.method} of {context.algorithm}. Research use only"[:64],
        **context.place("map", number, source.side, source.view),
    )
    result.FrameOfReferenceUID = context.uid("frame of", source.side, source.view)
    result.PositionReferenceIndicator = None
    result.SharedFunctionalGroupsSequence[0].update(shared)
    return context.finish(result, [source], source.side)


def _plane(context: Context, source: SourceImage) -> Dataset:
    """Pixel Measures (empty without a spacing), Plane Position and Plane Orientation (PS3.3 C.7.6.16.2)."""
    measures, position, orientation, shared = Dataset(), Dataset(), Dataset(), Dataset()
    spacing = context.spacing_mm(source)
    if spacing is not None:
        measures.PixelSpacing = [DS(spacing, auto_format=True)] * 2
    position.ImagePositionPatient = [0, 0, 0]
    orientation.ImageOrientationPatient = [DS(float(part), auto_format=True) for part in axes(source.orientation)]
    shared.PixelMeasuresSequence, shared.PlanePositionSequence = [measures], [position]
    shared.PlaneOrientationSequence = [orientation]
    return shared


def axes(orientation: list[str]) -> np.ndarray:
    """The directions of rows and columns, (6,) in the patient's axes, from PatientOrientation such as ["A", "FR"].

    Two letters together count as half way between. Raises NoAxes where there are none, or they are not square to each other.
    """
    found = [np.sum([WAYS.get(letter, (0, 0, 0)) for letter in way], axis=0, dtype=float) for way in orientation]
    if len(found) != 2 or not all(np.linalg.norm(way) > 0 for way in found):
        raise NoAxes("PatientOrientation does not say where rows and columns point")
    row, column = (way / np.linalg.norm(way) for way in found)
    if abs(float(row @ column)) > 1e-6:
        raise NoAxes(f"PatientOrientation {' '.join(orientation)}: rows and columns are not square to each other")
    return np.concatenate((row, column))
