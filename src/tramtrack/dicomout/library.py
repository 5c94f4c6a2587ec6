"""The images of an exam as an SR lists them, each with how it was acquired (PS3.16 TID 4020; TID 1600 to 1603)."""

from __future__ import annotations

from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DateContentItem,
    ImageContentItem,
    NumContentItem,
    RelationshipTypeValues,
    TextContentItem,
    TimeContentItem,
)
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from tramtrack.dicomout.concepts import BREASTS, MICROMETRE, PIXELS, VIEWS
from tramtrack.dicomout.sources import SourceImage

CONTAINS, ACQUIRED = RelationshipTypeValues.CONTAINS, RelationshipTypeValues.HAS_ACQ_CONTEXT
SOURCE = Code("260753009", "SCT", "Source")


def image_library(sources: tuple[SourceImage, ...]) -> ContainerContentItem:
    """TID 1600: the library with one group, whose images are mammograms."""
    group = ContainerContentItem(codes.DCM.ImageLibraryGroup, relationship_type=CONTAINS)
    group.ContentSequence = ContentSequence()
    for source in sources:
        image = entry(source)
        header = source.header
        modality = CodeContentItem(codes.DCM.Modality, Code("MG", "DCM", "Mammography"), ACQUIRED)
        sizes = (codes.DCM.PixelDataRows, header.Rows), (codes.DCM.PixelDataColumns, header.Columns)
        first = [modality, *(NumContentItem(name, int(value), PIXELS, relationship_type=ACQUIRED) for name, value in sizes)]
        image.ContentSequence = ContentSequence([*first, *image.ContentSequence])
        group.ContentSequence.append(image)
    library = ContainerContentItem(codes.DCM.ImageLibrary, relationship_type=CONTAINS)
    library.ContentSequence = ContentSequence([group])
    return library


def entry(source: SourceImage) -> ImageContentItem:
    """TID 4020: the image, then side, view, orientation, dates, and the detector's spacing in micrometres, by its header."""
    header = source.header
    image = ImageContentItem(SOURCE, header.SOPClassUID, header.SOPInstanceUID, relationship_type=CONTAINS)
    told: list[ContentItem] = [
        CodeContentItem(codes.DCM.ImageLaterality, BREASTS[source.side], ACQUIRED),
        CodeContentItem(codes.DCM.ImageView, VIEWS[source.view], ACQUIRED),
    ]
    names = (codes.DCM.PatientOrientationRow, codes.DCM.PatientOrientationColumn)
    told += [TextContentItem(name, way, ACQUIRED) for name, way in zip(names, source.orientation, strict=False)]
    if header.StudyDate:
        told.append(DateContentItem(codes.DCM.StudyDate, header.StudyDate, ACQUIRED))
    if header.StudyTime:
        told.append(TimeContentItem(codes.DCM.StudyTime, header.StudyTime, ACQUIRED))
    if header.get("ContentDate"):
        told.append(DateContentItem(codes.DCM.ContentDate, header.ContentDate, ACQUIRED))
    if header.get("ContentTime"):
        told.append(TimeContentItem(codes.DCM.ContentTime, header.ContentTime, ACQUIRED))
    if source.spacing_mm is not None:
        across, down = source.spacing_mm[1], source.spacing_mm[0]
        for name, value in ((codes.DCM.HorizontalPixelSpacing, across), (codes.DCM.VerticalPixelSpacing, down)):
            told.append(NumContentItem(name, 1000 * value, MICROMETRE, relationship_type=ACQUIRED))
    image.ContentSequence = ContentSequence(told)
    return image
