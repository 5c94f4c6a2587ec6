"""The calcified pixels of a view as a segmentation (PS3.3 A.51), pixel for pixel on the image."""

from __future__ import annotations

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from tramtrack.dicomout.concepts import BREASTS, VASCULAR_CALCIFICATION
from tramtrack.dicomout.context import Context
from tramtrack.dicomout.sources import SourceImage


def segmentation(context: Context, source: SourceImage, mask: np.ndarray, number: int) -> Dataset:
    """The mask (rows, columns) bool of one view, with at least one pixel set, as one binary segment."""
    segment = SegmentDescription(
        segment_number=1,
        segment_label="Vascular calcification",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=VASCULAR_CALCIFICATION,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=context.algorithm,
            family=codes.DCM.ArtificialIntelligence,
            version=context.answer.tramtrack,
            parameters={"weights_sha256": context.weights_sha256, "use": context.answer.use},
        ),
        tracking_uid=context.uid("burden of", source.side, source.view),
        tracking_id=f"burden {source.side} {source.view}",
        anatomic_regions=[BREASTS[source.side]],
    )
    result = Segmentation(
        source_images=[source.header],
        pixel_array=mask,
        segmentation_type="BINARY",
        segment_descriptions=[segment],
        content_label="BAC_BURDEN",
        content_description="Calcified pixels. Research use only",
        **context.place("burden", number, source.side, source.view),
    )
    return context.finish(result, [source])
