"""The answer as a measurement report (PS3.16 TID 1500) in a Comprehensive SR: what viewers show as a list of findings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
    AREA_HIGH,
    AREA_LOW,
    BREAST,
    CONFORMAL,
    FINDINGS,
    LATERALITIES,
    LENGTH,
    OWN_SCHEME,
    OWN_SCHEME_NAME,
    PERCENTAGE,
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
from tramtrack.dicomout.sources import Place
from tramtrack.prediction.answer import Burden, Scored, ViewBurden

Group = MeasurementsAndQualitativeEvaluations | PlanarROIMeasurementsAndQualitativeEvaluations
AREAS = {"mm": codes.UCUM.SquareMillimeter, "pixels": PIXELS}
LENGTHS = {"mm": codes.UCUM.Millimeter, "pixels": PIXELS}
MEANT = (
    "A burden is measured on a heat map and calibrated on validation: its area is not that of its segment. Its percentage is "
    "that of the breast's area in the view."
)
Segmentations = Mapping[Place, tuple[Dataset, Mapping[str, int]]]
"""By side and view the segmentation of what is calcified, and by run the number of its segment in it."""


def measurement_report(context: Context, segmentations: Segmentations) -> Dataset:
    """The report: a group of each view, breast and the woman with its score, threshold and call, and of each burden its area.

    A unit without a threshold has a score and no call. Comments carry the research-use statement, every reason for care, and
    why a number is missing. The document is complete, preliminary and unverified.
    """
    images = [source.header for source in context.sources]
    groups: list[Group] = [_scored(context, scored) for scored in context.answer.scores]
    for burden in context.answer.burden:
        groups += [_burden_of_view(context, burden.run, view, segmentations) for view in burden.views]
        if burden.area_mm2 is not None:
            groups.append(_burden_of_woman(context, burden, burden.area_mm2))
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
        evidence=[*images, *(segmentation for segmentation, _ in segmentations.values())],
        content=report,
        is_complete=True,
        coding_schemes=[CodingSchemeIdentificationItem(OWN_SCHEME, name=OWN_SCHEME_NAME)],
        **context.place("report", 1),
    )
    return context.finish(result, context.sources)


def comments(context: Context) -> list[str]:
    """What must be read with the numbers: their use, how far several runs lie apart, each flag of the answer, by whom BAC is
    found likely and what that is worth, and why a call or a probability is missing."""
    answer = context.answer
    told = [
        answer.use,
        *(["Synthetic images."] if answer.synthetic else []),
        *filter(None, [answer.disagreement()]),
        *(f"Read with care: {flag}" for flag in answer.flags),
    ]
    missing = dict.fromkeys(f"No call by {scored.unit}: {scored.reason}" for scored in answer.scores if scored.call is None)
    told += missing
    if answer.probability is not None and answer.probability.value is None:
        told.append(f"No probability: {answer.probability.reason}")
    found = answer.conformal
    if found is not None:
        missing_finding = f"Neither BAC likely nor BAC unlikely is said: {found.reason}"
        words = (found.reason, answer.calibrated_by(), found.guarantee)
        told += [text for text in words if text] if found.finding else [missing_finding]
    told += [f"Burden of the woman by {burden.run}: {burden.reason}" for burden in answer.burden if burden.reason]
    if any(burden.views for burden in answer.burden):
        told.append(MEANT)
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
        algorithm_id=context.identification(context.parameters if scored.unit == "woman" else ()),
        finding_sites=[_site(scored.side)],
        measurements=[Measurement(code, value, codes.UCUM.NoUnits) for code, value in values if value is not None],
        qualitative_evaluations=told or None,
        source_images=[
            SourceImageForMeasurementGroup(source.header.SOPClassUID, source.header.SOPInstanceUID) for source in about
        ],
    )


def _burden_of_view(context: Context, run: str, view: ViewBurden, segmentations: Segmentations) -> Group:
    """Area, length and share of the breast of one view by one run's map; with its segment, where a pixel counts as calcified.

    The standard does not say what the percentage (DCM 112198) is of; a comment of the report does.
    """
    (source,) = (source for source in context.sources if (source.side, source.view) == (view.side, view.view))
    name = f"burden {view.side} {view.view} {run}"
    others = [] if view.length is None else [Measurement(LENGTH, view.length, LENGTHS[view.unit])]
    others.append(Measurement(PERCENTAGE, 100 * view.share, codes.UCUM.Percent))
    shared: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(context.uid("burden", view.side, view.view, run), name),
        "finding_type": VASCULAR_CALCIFICATION,
        "algorithm_id": context.identification([context.runs.get(run, run)]),
        "finding_sites": [_site(view.side)],
        "measurements": [Measurement(AREA, view.area, AREAS[view.unit]), *others],
    }
    image = source.header.SOPClassUID, source.header.SOPInstanceUID
    segmentation, numbers = segmentations.get((view.side, view.view), (None, {}))
    if segmentation is None or run not in numbers:
        return MeasurementsAndQualitativeEvaluations(source_images=[SourceImageForMeasurementGroup(*image)], **shared)
    segment = ReferencedSegmentationFrame(
        segmentation.SOPClassUID, segmentation.SOPInstanceUID, numbers[run], numbers[run], SourceImageForSegmentation(*image)
    )
    del segment[0].ReferencedSOPSequence[0].ReferencedSegmentNumber  # not beside a frame number (PS3.3 10.3.1.1)
    return PlanarROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **shared)


def _burden_of_woman(context: Context, burden: Burden, area: float) -> Group:
    name = f"burden woman {burden.run}"
    values = [(AREA, area), (AREA_LOW, burden.low), (AREA_HIGH, burden.high)]
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(context.uid("burden", "woman", burden.run), name),
        finding_type=VASCULAR_CALCIFICATION,
        algorithm_id=context.identification([context.runs.get(burden.run, burden.run)]),
        finding_sites=[_site(None)],
        measurements=[Measurement(code, value, AREAS["mm"]) for code, value in values if value is not None],
        source_images=[
            SourceImageForMeasurementGroup(source.header.SOPClassUID, source.header.SOPInstanceUID)
            for source in context.sources
        ],
    )


def _site(side: str | None) -> FindingSite:
    return FindingSite(BREAST, laterality=codes.SCT.Bilateral if side is None else LATERALITIES[side])
