"""The answer as a measurement report (PS3.16 TID 1500) in a Comprehensive SR: what viewers show as a list of findings."""

from __future__ import annotations

from collections.abc import Mapping

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegmentationFrame,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceImageForSegmentation,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from tramtrack.dicomout.concepts import (
    ABSENT,
    ALPHA,
    AREA,
    BREAST,
    CONFORMAL,
    FINDINGS,
    LATERALITIES,
    OWN_SCHEME,
    OWN_SCHEME_NAME,
    PIXELS,
    PRESENT,
    PREVALENCE,
    PROBABILITY,
    SCORE,
    THRESHOLD,
    VASCULAR_CALCIFICATION,
)
from tramtrack.dicomout.context import MANUFACTURER, Context
from tramtrack.dicomout.library import image_library
from tramtrack.dicomout.sources import Place, SourceImage
from tramtrack.prediction.answer import Scored

Burdens = Mapping[Place, tuple[Dataset, float, Code]]
"""By side and view the segmentation of what is calcified, its area, and the unit of that: mm2, or pixels without a spacing."""


def measurement_report(context: Context, burdens: Burdens) -> Dataset:
    """The report: a group of each view, breast and the woman with its score, threshold and call, and of each burden its area.

    A unit without a threshold has a score and no call. Comments carry the research-use statement, every reason for care, and
    why a number is missing. The document is complete, preliminary and unverified.
    """
    images = [source.header for source in context.sources]
    segmentations = [segmentation for segmentation, _, _ in burdens.values()]
    groups = [_scored(context, scored) for scored in context.answer.scores]
    groups += [_burden(context, source, *burdens[place]) for source in context.sources if (place := _place(source)) in burdens]
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_device(context)),
        procedure_reported=Code("71651007", "SCT", "Mammography"),
        imaging_measurements=groups,
        title=codes.cid7021.ImagingMeasurementReport,
    )
    content = report[0].ContentSequence
    content.insert(len(content) - 1, image_library(context.sources))  # its place is before the measurements
    content.extend(TextContentItem(codes.DCM.Comment, text, RelationshipTypeValues.CONTAINS) for text in comments(context))
    result = ComprehensiveSR(
        evidence=[*images, *segmentations],
        content=report,
        is_complete=True,
        coding_schemes=[CodingSchemeIdentificationItem(OWN_SCHEME, name=OWN_SCHEME_NAME)],
        **context.place("report", 1),
    )
    return context.finish(result, context.sources)


def comments(context: Context) -> list[str]:
    """What must be read with the numbers: their use, each flag of the answer, and why a call or a probability is missing."""
    answer = context.answer
    told = [
        answer.use,
        *(["Synthetic images."] if answer.synthetic else []),
        *(f"Read with care: {flag}" for flag in answer.flags),
    ]
    missing = dict.fromkeys(f"No call by {scored.unit}: {scored.reason}" for scored in answer.scores if scored.call is None)
    told += missing
    if answer.probability is not None and answer.probability.value is None:
        told.append(f"No probability: {answer.probability.reason}")
    found = answer.conformal
    if found is not None:
        missing_finding = f"Neither BAC likely nor BAC unlikely is said: {found.reason}"
        told += [text for text in (found.reason, found.guarantee) if text] if found.finding else [missing_finding]
    return told


def _device(context: Context) -> ObserverContext:
    attributes = DeviceObserverIdentifyingAttributes(
        uid=context.uid("device"),
        name=context.algorithm,
        manufacturer_name=MANUFACTURER,
        model_name=context.networks,
        serial_number=context.weights_sha256,
    )
    return ObserverContext(codes.DCM.Device, attributes)


def _scored(context: Context, scored: Scored) -> MeasurementsAndQualitativeEvaluations:
    name = " ".join(filter(None, (scored.unit, scored.side, scored.view)))
    values = [(SCORE, scored.score), (THRESHOLD, scored.threshold)]
    chance = context.answer.probability if scored.unit == "woman" else None
    if chance is not None and chance.value is not None:
        values += [(PROBABILITY, chance.value), (PREVALENCE, chance.prevalence)]
    calls = {"positive": PRESENT, "negative": ABSENT}
    told = [QualitativeEvaluation(VASCULAR_CALCIFICATION, calls[scored.call])] if scored.call else []
    found = context.answer.conformal if scored.unit == "woman" else None
    if found is not None and found.finding is not None:
        values.append((ALPHA, found.alpha))
        told.append(QualitativeEvaluation(CONFORMAL, FINDINGS[found.finding]))
    about = [source for source in context.sources if scored.side in (None, source.side) and scored.view in (None, source.view)]
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(context.uid("finding", name), name),
        finding_type=VASCULAR_CALCIFICATION,
        algorithm_id=context.identification(),
        finding_sites=[_site(scored.side)],
        measurements=[Measurement(code, value, codes.UCUM.NoUnits) for code, value in values if value is not None],
        qualitative_evaluations=told or None,
        source_images=[
            SourceImageForMeasurementGroup(source.header.SOPClassUID, source.header.SOPInstanceUID) for source in about
        ],
    )


def _burden(
    context: Context, source: SourceImage, segmentation: Dataset, area: float, unit: Code
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    name = f"burden {source.side} {source.view}"
    image = SourceImageForSegmentation(source.header.SOPClassUID, source.header.SOPInstanceUID)
    segment = ReferencedSegmentationFrame(segmentation.SOPClassUID, segmentation.SOPInstanceUID, 1, 1, image)
    del segment[0].ReferencedSOPSequence[0].ReferencedSegmentNumber  # not beside a frame number (PS3.3 10.3.1.1)
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(context.uid("burden of", source.side, source.view), name),
        referenced_segment=segment,
        finding_type=VASCULAR_CALCIFICATION,
        algorithm_id=context.identification(),
        finding_sites=[_site(source.side)],
        measurements=[Measurement(AREA, area, unit)],
    )


def area_of(mask_pixels: int, area_mm2: float | None) -> tuple[float, Code]:
    """The area that is reported: mm2 where it is known, else the count of pixels."""
    return (float(mask_pixels), PIXELS) if area_mm2 is None else (area_mm2, codes.UCUM.SquareMillimeter)


def _site(side: str | None) -> FindingSite:
    return FindingSite(BREAST, laterality=LATERALITIES.get(side or "", codes.SCT.Bilateral if side is None else None))


def _place(source: SourceImage) -> Place:
    return source.side, source.view
