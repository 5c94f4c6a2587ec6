"""The calls as a Mammography CAD SR (PS3.16 TID 4000), which mammography workstations mark on the images.

highdicom has no builder for it; this one sets up its content items by the rows of the templates. Images stand once in the
image library and are pointed at by reference, as the IOD asks for (PS3.3 A.35.5.3.1.3). A finding is a calcification whose
type is vascular (CID 6010). It has no probability of cancer: none was asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from highdicom import SOPClass
from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    RelationshipTypeValues,
    ScoordContentItem,
    TextContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, MammographyCADSRStorage

from tramtrack.dicomout.concepts import VASCULAR_CALCIFICATION
from tramtrack.dicomout.context import Context
from tramtrack.dicomout.library import entry
from tramtrack.dicomout.regions import Hot, around
from tramtrack.dicomout.sources import Place, SourceImage

CONTAINS, MODIFIES = RelationshipTypeValues.CONTAINS, RelationshipTypeValues.HAS_CONCEPT_MOD
INFERRED, PROPERTY = RelationshipTypeValues.INFERRED_FROM, RelationshipTypeValues.HAS_PROPERTIES
SINGLE_FINDING = Code("129770007", "SCT", "Individual Calcification")
"""The term of CID 6014 for what was looked for."""
IMPRESSION = Code("111034", "DCM", "Individual Impression/Recommendation")
LIBRARY_PLACE = 2
"""Where the image library stands among the root's children, counted from 1."""


class NoCalls(Exception):
    """The answer calls no view, positive or negative, or no positive one has a place to mark: a CAD report could not say so."""


def cad_report(context: Context, hot: Mapping[Place, Hot]) -> Dataset:
    """The report of all views: of each that is called positive one finding, at the hottest place of its map.

    ``hot`` says of each view where its map is hot. A positive view whose map is all zeros has no finding, and is told of in the
    impression. Raises NoCalls where validation gave no threshold for a
    view, and where no view that is called positive has a place to mark: the report would say that there are no findings.
    """
    called = [source for source in context.sources if context.answer.of("view", source.side, source.view).call]
    if len(called) < len(context.sources):
        raise NoCalls("no threshold for views, so that no view is called; a CAD report states calls")
    positive = [source for source in called if context.answer.of("view", source.side, source.view).call == "positive"]
    marked = [source for source in positive if hot[source.side, source.view].centre is not None]
    unmarked = [f"{source.side} {source.view}" for source in positive if source not in marked]
    if unmarked and not marked:
        raise NoCalls("the heat map of every view that is called positive is empty, so there is no place to mark")
    findings = [_impression(context, hot[source.side, source.view]) for source in marked]
    root = ContainerContentItem(codes.DCM.MammographyCADReport, is_content_continuous=False, template_id="4000")
    root.ContentSequence = ContentSequence(
        [
            CodeContentItem(
                codes.DCM.LanguageOfContentItemAndDescendants, Code("en", "RFC5646", "English"), relationship_type=MODIFIES
            ),
            _holding(codes.DCM.ImageLibrary, CONTAINS, [entry(source) for source in context.sources]),
            _summary(context, findings, unmarked),
            _detections(context),
            CodeContentItem(codes.DCM.SummaryOfAnalyses, codes.DCM.NotAttempted, CONTAINS),
        ]
    )
    plain = _plain(root)
    for image in plain.ContentSequence[LIBRARY_PLACE - 1].ContentSequence:
        del image.ConceptNameCodeSequence  # TID 4020 gives its images no name
    _point_at_images(plain, context.sources, marked)
    return context.finish(_document(context, plain), context.sources)


def _summary(context: Context, findings: Sequence[ContentItem], unmarked: Sequence[str]) -> CodeContentItem:
    """TID 4001, with what the woman's score is, and which positive views have no mark, as the impression of TID 4002."""
    found = codes.DCM.AllAlgorithmsSucceededWithFindings if findings else codes.DCM.AllAlgorithmsSucceededWithoutFindings
    summary = CodeContentItem(codes.DCM.CADProcessingAndFindingsSummary, found, CONTAINS)
    woman = context.answer.of("woman")
    call = f"{woman.call} at {woman.threshold:.3f}" if woman.call else f"no call: {woman.reason}"
    found = context.answer.conformal
    likely = f" {found.finding} at an error rate of {found.alpha:.3g}." if found is not None and found.finding else ""
    empty = f" Called positive and not marked, since the heat map is empty: {', '.join(unmarked)}." if unmarked else ""
    told = f"BAC score of the woman {woman.score:.3f}, {call}.{likely}{empty} {context.answer.use}"
    summary.ContentSequence = ContentSequence([TextContentItem(codes.DCM.ImpressionDescription, told, PROPERTY), *findings])
    return summary


def _impression(context: Context, hot: Hot) -> ContainerContentItem:
    """TID 4003 with the one finding of a view, TID 4006, at the hottest place of its map."""
    finding = CodeContentItem(codes.DCM.SingleImageFinding, SINGLE_FINDING, CONTAINS)
    assert hot.centre is not None
    outline = around(hot.centre, hot.outlines)
    shapes = [ScoordContentItem(codes.DCM.Center, "POINT", np.array([hot.centre]), relationship_type=PROPERTY)]
    if outline is not None:
        shapes.append(ScoordContentItem(codes.DCM.Outline, "POLYLINE", outline, relationship_type=PROPERTY))
    calcified = CodeContentItem(codes.DCM.CalcificationType, VASCULAR_CALCIFICATION, PROPERTY)
    finding.ContentSequence = ContentSequence([_intent(), *_algorithm(context), *shapes, calcified])
    return _holding(IMPRESSION, INFERRED, [_intent(), finding])


def _detections(context: Context) -> CodeContentItem:
    """TID 4015: the one detection that was done, on every image."""
    detection = CodeContentItem(codes.DCM.DetectionPerformed, SINGLE_FINDING, CONTAINS)
    detection.ContentSequence = ContentSequence(_algorithm(context))
    summary = CodeContentItem(codes.DCM.SummaryOfDetections, codes.DCM.Succeeded, CONTAINS)
    summary.ContentSequence = ContentSequence([_holding(codes.DCM.SuccessfulDetections, INFERRED, [detection])])
    return summary


def _algorithm(context: Context) -> list[ContentItem]:
    """TID 4019, as properties of what it did."""
    told = [(codes.DCM.AlgorithmName, context.algorithm), (codes.DCM.AlgorithmVersion, context.answer.tramtrack)]
    told += [(codes.DCM.AlgorithmParameters, text) for text in context.parameters]
    return [TextContentItem(name, text, PROPERTY) for name, text in told]


def _intent() -> CodeContentItem:
    return CodeContentItem(
        codes.DCM.RenderingIntent, codes.DCM.PresentationRequiredRenderingDeviceIsExpectedToPresent, MODIFIES
    )


def _holding(name: Code, relationship: RelationshipTypeValues, items: Sequence[ContentItem]) -> ContainerContentItem:
    container = ContainerContentItem(name, is_content_continuous=False, relationship_type=relationship)
    container.ContentSequence = ContentSequence(items)
    return container


def _plain(item: Dataset) -> Dataset:
    """A content item and all below it as datasets that may hold what highdicom's content items do not know."""
    plain = Dataset()
    for element in item:
        if element.keyword != "ContentSequence":
            plain.add(element)
    if "ContentSequence" in item:
        plain.ContentSequence = [_plain(child) for child in item.ContentSequence]
    return plain


def _point_at_images(root: Dataset, sources: Sequence[SourceImage], marked: Sequence[SourceImage]) -> None:
    """Add the items by reference: each shape's image, and those that the detection was done on."""
    summary, detections = root.ContentSequence[2], root.ContentSequence[3]
    impressions = [item for item in summary.ContentSequence if item.ValueType == "CONTAINER"]
    for source, impression in zip(marked, impressions, strict=True):
        finding = impression.ContentSequence[1]
        for shape in (item for item in finding.ContentSequence if item.ValueType == "SCOORD"):
            shape.ContentSequence = [_pointer("SELECTED FROM", sources.index(source))]
    detection = detections.ContentSequence[0].ContentSequence[0]
    detection.ContentSequence.extend(_pointer("HAS PROPERTIES", number) for number in range(len(sources)))


def _pointer(relationship: str, image: int) -> Dataset:
    """A relationship by reference to an image of the library (PS3.3 C.17.3.2.5); its place is told from the root, from 1."""
    item = Dataset()
    item.RelationshipType = relationship
    item.ReferencedContentItemIdentifier = [1, LIBRARY_PLACE, image + 1]
    return item


def _document(context: Context, root: Dataset) -> Dataset:
    """The SR document around the content: Patient to SR Document General modules (PS3.3 C.17.2)."""
    header = context.sources[0].header
    result = SOPClass(
        study_instance_uid=header.StudyInstanceUID,
        sop_class_uid=MammographyCADSRStorage,
        modality="SR",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        patient_id=header.PatientID,
        patient_name=header.PatientName,
        patient_birth_date=header.PatientBirthDate,
        patient_sex=header.PatientSex,
        accession_number=header.AccessionNumber,
        study_id=header.StudyID,
        study_date=header.StudyDate or None,
        study_time=header.StudyTime or None,
        referring_physician_name=header.ReferringPhysicianName,
        specific_character_set=header.get("SpecificCharacterSet"),
        **context.place("cad", 1),
    )
    result.copy_patient_and_study_information(header)
    result.CompletionFlag, result.VerificationFlag, result.PreliminaryFlag = "COMPLETE", "UNVERIFIED", "PRELIMINARY"
    result.CurrentRequestedProcedureEvidenceSequence = [_evidence(context.sources)]
    result.PerformedProcedureCodeSequence = []
    result.ReferencedPerformedProcedureStepSequence = []
    result.update({element.tag: element for element in root})
    return result


def _evidence(sources: Sequence[SourceImage]) -> Dataset:
    """The images of the study, by series (PS3.3 C.17.2.3)."""
    series: dict[str, list[Dataset]] = defaultdict(list)
    for source in sources:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.header.SOPClassUID, source.header.SOPInstanceUID
        series[str(source.header.SeriesInstanceUID)].append(item)
    study = Dataset()
    study.StudyInstanceUID = sources[0].header.StudyInstanceUID
    study.ReferencedSeriesSequence = []
    for identifier, images in series.items():
        item = Dataset()
        item.SeriesInstanceUID, item.ReferencedSOPSequence = identifier, images
        study.ReferencedSeriesSequence.append(item)
    return study
