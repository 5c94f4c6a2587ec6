"""The pixels of a view that count as calcified, as a segmentation (PS3.3 A.51), pixel for pixel on the image."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from tramtrack.dicomout.concepts import BREASTS, VASCULAR_CALCIFICATION
from tramtrack.dicomout.context import Context
from tramtrack.dicomout.sources import SourceImage


def segments_of(masks: Mapping[str, np.ndarray]) -> dict[str, int]:
    """The number of the segment, and so of the frame, that each run with a calcified pixel has."""
    return {run: number for number, run in enumerate((run for run, mask in masks.items() if mask.any()), 1)}


def segmentation(context: Context, source: SourceImage, masks: Mapping[str, np.ndarray], number: int) -> Dataset:
    """By run the mask (rows, columns) bool of one view: a binary segment for each run that has at least one pixel set."""
    numbers = segments_of(masks)
    segments = [
        SegmentDescription(
            segment_number=segment,
            segment_label=f"Calcified by {run}"[:64],
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=VASCULAR_CALCIFICATION,
            algorithm_type="AUTOMATIC",
            algorithm_identification=AlgorithmIdentificationSequence(
                name=context.algorithm,
                family=codes.DCM.ArtificialIntelligence,
                version=context.answer.tramtrack,
                parameters={"run": run, "weights_sha256": context.weights_sha256, "use": context.answer.use},
            ),
            tracking_uid=context.uid("burden", source.side, source.view, run),
            tracking_id=f"burden {source.side} {source.view} {run}",
            anatomic_regions=[BREASTS[source.side]],
        )
        for run, segment in numbers.items()
    ]
    result = Segmentation(
        source_images=[source.header],
        pixel_array=np.stack([masks[run] for run in numbers], axis=-1)[None],
        segmentation_type="BINARY",
        segment_descriptions=segments,
        content_label="BAC_BURDEN",
        content_description="Calcified pixels. Research use only",
        **context.place("burden", number, source.side, source.view),
    )
    return context.finish(result, [source])
