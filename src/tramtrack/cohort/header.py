"""What a DICOM header says a file is: a mammographic view of a known side and position, or why not. Reads no pixels."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from pydicom.dataset import Dataset

from tramtrack.cohort.exam import Position, Reason, Side
from tramtrack.cohort.projection import Refusal, cbis_name, find_position, find_side
from tramtrack.imaging.presentation import is_for_processing

MAMMOGRAPHY_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1.2": "presentation",
    "1.2.840.10008.5.1.4.1.1.1.2.1": "processing",
    "1.2.840.10008.5.1.4.1.1.13.1.3": "tomosynthesis",
}
OTHER_MODALITIES = ("RG", "CR", "DX", "OT", "")
"""Modalities that a mammogram of film, of a phosphor plate, or captured a second time may carry."""
NOT_IMAGES_OF_BREASTS = {
    "US": Reason.ULTRASOUND,
    "IVUS": Reason.ULTRASOUND,
    "XC": Reason.PHOTOGRAPH,
    "GM": Reason.PHOTOGRAPH,
    "DOC": Reason.REPORT_SCREEN,
    "SR": Reason.REPORT_SCREEN,
}
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
BREAST_CODES = ("76752008", "T-04000")
MOST_MAGNIFICATION = 1.3
"""Beyond this a view is called magnified (ours): a contact view has less than 1.1, a magnification view 1.5 or more."""

DESCRIPTIONS = ("SeriesDescription", "StudyDescription", "ProtocolName", "ImageComments", "PerformedProcedureStepDescription")
SAID: tuple[tuple[Reason, re.Pattern[str]], ...] = (
    (
        Reason.TEST_PATTERN,
        re.compile(
            r"^\W*tests?\b|\btest[ _-]*(?:image|pattern|exposure|object|shot|study|only)|\bqc\b|\bqa\b|phantom|"
            r"flat.?field|calibration|smpte|tg.?18|\bacr[ _-]*(?:test|qc|accreditation)",
            re.I,
        ),
    ),
    (Reason.SPECIMEN, re.compile(r"specimen|surgical piece", re.I)),
    (Reason.MAGNIFICATION, re.compile(r"\bmagn?\b|magnif|(?:cc|mlo)m\b", re.I)),
    (Reason.SPOT_COMPRESSION, re.compile(r"\bspot\b", re.I)),
    (Reason.IMPLANT_DISPLACED, re.compile(r"implant.?displaced|eklund|(?:cc|mlo)[ _-]?id\b", re.I)),
    (Reason.TANGENTIAL, re.compile(r"tangential|\btan\b", re.I)),
    (Reason.ULTRASOUND, re.compile(r"ultraso|\bsono", re.I)),
    (Reason.REPORT_SCREEN, re.compile(r"dose (?:report|info)|screen ?save|screenshot", re.I)),
    (Reason.REPORT_SCREEN, re.compile(r"\breport\b", re.I)),
)
"""Words that people and machines write where the standard has an attribute. A study or a procedure that is about something
else than the image (one called "magnification") may hold plain views, so only the first two are looked for in its description;
and a comment that speaks of a report, the last of them, is none."""
OF_THE_STUDY = ("StudyDescription", "PerformedProcedureStepDescription")

ABSENT = re.compile(r"mastectomy|breast (?:is )?(?:surgically )?absent|absent breast", re.I)
STILL_THERE = re.compile(
    r"\b(?:partial|segmental|quadrant\w*|conserv\w*|no|not|never|denies|without|plan\w*|schedul\w*|before|pre-?op\w*|family|"
    r"(?:grand)?mother|sister|aunt|daughter|cousin|niece)\b",
    re.I,
)
"""Words that make a mastectomy one that leaves the breast, one that was not done, or somebody else's."""
WITHOUT_ELSE = re.compile(r"(?:,\s*(?:no|denies)|\bwith no|\bwithout)\s+(?!longer\b)\w+", re.I)
"""What is denied behind a mastectomy that was done: complaints, a reconstruction, a family history."""
HISTORIES = (
    "AdditionalPatientHistory",
    "PatientComments",
    "StudyDescription",
    "ImageComments",
    "RequestedProcedureDescription",
)
SYNTHESISED = re.compile(
    r"\bC-?View\b|\bS-?View\b|\bsynth\w*[ -]?(?:2d|view|image|mammogra)|generated 2d|intelligent 2d|insight 2d|v-?preview", re.I
)


@dataclass(frozen=True)
class Header:
    """The facts of one header that the intake needs. ``contradictions`` lists attributes that differ from what was believed."""

    woman: str
    exam: str
    side: Side
    side_source: str
    position: Position
    view_source: str
    contradictions: tuple[str, ...]


def read_header(dataset: Dataset, *, for_processing: bool = False, synthesised: bool = False) -> Header | Refusal:
    """Decide from a header (pixels need not be loaded) whether this is a standard view.

    ``for_processing`` takes raw detector data, ``synthesised`` 2D images computed from tomosynthesis. The view comes from
    ViewCodeSequence, then ViewPosition, PatientOrientation (where film collections put it) and SeriesDescription; the side
    from ImageLaterality, then Laterality, the anatomic region's modifier, ViewPosition, the CBIS-DDSM name and
    SeriesDescription.
    """
    refusal = _not_a_mammogram(dataset, for_processing, synthesised) or _is_derived(dataset) or _not_a_whole_breast(dataset)
    if refusal:
        return refusal
    position = find_position(dataset)
    if isinstance(position, Refusal) and position.reason is not Reason.UNKNOWN_POSITION:
        return position
    side = find_side(dataset)
    if isinstance(side, Refusal):
        return side
    if isinstance(position, Refusal):
        return position
    cbis = cbis_name(dataset)
    woman = cbis.group(1) if cbis else str(dataset.get("PatientID", "") or "").strip()
    if not woman:
        return Refusal(Reason.NO_WOMAN, "PatientID is empty: it is not known whose view this is")
    day = str(dataset.get("StudyDate", "") or "exam")  # what tells her exams apart where no StudyInstanceUID does
    exam = f"cbis-{day}" if cbis else str(dataset.get("StudyInstanceUID", "") or day)
    contradictions = side.contradictions + position.contradictions
    if absent_breast(dataset) is side.value:
        contradictions += (f"a text says that {side.value} was removed, {side.source} {side.value}",)
    return Header(woman, exam, side.value, side.source, position.value, position.source, contradictions)


def kind_of(dataset: Dataset) -> str:
    """What sort of 2D image a header describes: presentation, processing (raw data) or synthesised (from tomosynthesis)."""
    if is_for_processing(dataset):
        return "processing"
    image_type = " ".join(_words(dataset, "ImageType"))
    described = " ".join(str(dataset.get(key, "") or "") for key in ("SeriesDescription", "DerivationDescription"))
    computed = any(word in image_type for word in ("GENERATED_2D", "TOMO_2D", "SYNTHETIC_2D"))
    return "synthesised" if computed or SYNTHESISED.search(described) else "presentation"


def absent_breast(dataset: Dataset) -> Side | None:
    """The breast that the header's free text calls removed (a mastectomy with its side), or None where none is named.

    A sentence that has other words beside it (partial, planned, her mother's) tells nothing: rather a breast too many is asked
    for than one taken for removed that is there. That she has no complaints or no reconstruction after it is no such word.
    """
    for key in HISTORIES:
        text = str(dataset.get(key, "") or "")
        sides = {word[0].upper() for word in re.findall(r"\b(left|right|lt|rt)\b", text, re.I)}
        if len(sides) == 1 and any(_removed(sentence) for sentence in re.split(r"[.;\n]", text)):
            return Side(sides.pop())
    return None


def _removed(sentence: str) -> bool:
    """Whether a sentence says that a breast was removed, and nothing against it."""
    found = ABSENT.search(sentence)
    if not found:
        return False
    head, rest = sentence[: found.end()], sentence[found.end() :]
    return not STILL_THERE.search(head + WITHOUT_ELSE.sub("", rest))


def spacing_mm(dataset: Dataset) -> float | None:
    """Millimetres between pixels in the breast's plane, or None where the file does not say.

    ImagerPixelSpacing, or of a scanned film NominalScannedPixelSpacing, over the magnification (PS3.3 C.8.11.7, 10.7.1.1),
    else PixelSpacing. A spacing that is no positive number, or differs by more than 1 % between rows and columns, is not known.
    """
    for name in ("ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelSpacing"):
        spacing = _numbers(dataset, name)
        if len(spacing) != 2 or not all(1e-3 < value < 10 for value in spacing):
            continue
        if abs(spacing[0] - spacing[1]) > 0.01 * spacing[0]:
            continue
        return spacing[0] if name == "PixelSpacing" else spacing[0] / _magnification(dataset)
    return None


def _magnification(dataset: Dataset) -> float:
    """The magnification, 1 where the file does not state one; else from the distances of source, patient and detector."""
    factor = _numbers(dataset, "EstimatedRadiographicMagnificationFactor")
    if factor and 0.5 < factor[0] < 10:
        return factor[0]
    detector, patient = _numbers(dataset, "DistanceSourceToDetector"), _numbers(dataset, "DistanceSourceToPatient")
    if detector and patient and 0.5 < detector[0] / max(patient[0], 1e-9) < 10:
        return detector[0] / patient[0]
    return 1.0


def age_years(dataset: Dataset) -> int | None:
    """PatientAge in whole years, or None; the birth date is never read."""
    match = re.fullmatch(r"(\d{3})Y", str(dataset.get("PatientAge", "")))
    return int(match.group(1)) if match else None


def exposure_mas(dataset: Dataset) -> float | None:
    """Milliampere-seconds, or None: ExposureInuAs, which is finer, else Exposure."""
    micro = number(dataset, "ExposureInuAs")
    return micro / 1000 if micro else number(dataset, "Exposure")


def number(dataset: Dataset, key: str) -> float | None:
    """The first number of an attribute, or None where it is absent, no number or none that is finite and above 0."""
    found = _numbers(dataset, key)
    return found[0] if found and 0 < found[0] < 1e9 else None


def _not_a_mammogram(dataset: Dataset, for_processing: bool, synthesised: bool) -> Refusal | None:
    kind = MAMMOGRAPHY_CLASSES.get(str(dataset.get("SOPClassUID", "")))
    modality = str(dataset.get("Modality", "") or "").strip().upper()
    if modality in NOT_IMAGES_OF_BREASTS:
        return Refusal(NOT_IMAGES_OF_BREASTS[modality], f"modality is {modality}, expected MG")
    if kind is None and modality != "MG" and (modality not in OTHER_MODALITIES or not _speaks_of_breasts(dataset)):
        return Refusal(Reason.NOT_MAMMOGRAPHY, f"modality is {modality or 'absent'}, expected MG")
    return not_a_view(dataset, for_processing=for_processing, synthesised=synthesised)


def _speaks_of_breasts(dataset: Dataset) -> bool:
    """Whether a radiograph, or a picture captured a second time, is one of a breast by its header."""
    regions = [str(item.get("CodeValue", "")) for item in dataset.get("AnatomicRegionSequence") or []]
    described = " ".join(str(dataset.get(key, "") or "") for key in ("StudyDescription", "SeriesDescription", "ProtocolName"))
    return (
        "BREAST" in str(dataset.get("BodyPartExamined", "") or "").upper()
        or any(code in BREAST_CODES for code in regions)
        or str(dataset.get("PositionerType", "")) == "MAMMOGRAPHIC"
        or "mammo" in described.lower()
    )


def not_a_view(dataset: Dataset, *, for_processing: bool = False, synthesised: bool = False) -> Refusal | None:
    """What no table can put right: several frames, tomosynthesis, raw detector data unless asked for. None for any other."""
    image_type = _words(dataset, "ImageType")
    sop_class = MAMMOGRAPHY_CLASSES.get(str(dataset.get("SOPClassUID", "")))
    frames = _numbers(dataset, "NumberOfFrames")
    count = int(frames[0]) if frames else 1
    if sop_class == "tomosynthesis" or any(word.startswith("TOMO_PROJ") for word in image_type):
        return Refusal(Reason.TOMOSYNTHESIS, f"{count} frames of tomosynthesis, not a 2D view")
    if count > 1:
        return Refusal(Reason.MULTI_FRAME, f"{count} frames, not a 2D view")
    kind = kind_of(dataset)
    if "TOMOSYNTHESIS" in image_type and kind != "synthesised":
        return Refusal(Reason.TOMOSYNTHESIS, "a slice of tomosynthesis, not a 2D view")
    if kind == "processing" and not for_processing:
        return Refusal(Reason.FOR_PROCESSING, "raw detector data (For Processing), not an image for reading")
    if kind == "synthesised" and not synthesised:
        return Refusal(Reason.SYNTHESISED_2D, "a 2D image computed from tomosynthesis, not an exposure")
    return None


def _is_derived(dataset: Dataset) -> Refusal | None:
    cbis = cbis_name(dataset)
    if cbis and cbis.group(4):
        return Refusal(Reason.DERIVED_CROP, "PatientID is that of a lesion's crop or mask")
    series = str(dataset.get("SeriesDescription", "") or "").lower()
    captured = str(dataset.get("SOPClassUID", "")).startswith(SECONDARY_CAPTURE)
    if captured and _numbers(dataset, "SamplesPerPixel") == [3.0] and dataset.get("SourceImageSequence"):
        return Refusal(Reason.REPORT_SCREEN, "a capture in colour of another image, such as one with marks or a heat map on it")
    derived = next((words for words in ("cropped image", "roi mask") if words in series), "")
    return Refusal(Reason.DERIVED_CROP, f"SeriesDescription says {derived!r}") if derived else None


def _not_a_whole_breast(dataset: Dataset) -> Refusal | None:
    """A test, a specimen, a part of a breast or a special view, by the attributes that say so and by what people write."""
    if str(dataset.get("QualityControlImage", "")) in ("YES", "BOTH"):
        return Refusal(Reason.TEST_PATTERN, f"QualityControlImage is {dataset.QualityControlImage}")
    if str(dataset.get("BodyPartExamined", "") or "").upper() == "PHANTOM":
        return Refusal(Reason.TEST_PATTERN, "BodyPartExamined is PHANTOM")
    if dataset.get("SpecimenDescriptionSequence") or dataset.get("ContainerIdentifier"):
        return Refusal(Reason.SPECIMEN, "the header describes a specimen")
    if str(dataset.get("PartialView", "")) == "YES":
        return Refusal(Reason.PARTIAL_VIEW, "PartialView is YES")
    for key in DESCRIPTIONS:
        text = str(dataset.get(key, "") or "")
        for reason, words in SAID[:2] if key in OF_THE_STUDY else SAID[:-1] if key == "ImageComments" else SAID:
            if words.search(text):
                return Refusal(reason, f"{key} says {words.search(text).group()!r}")  # type: ignore[union-attr]
    factor = _magnification(dataset)
    if factor > MOST_MAGNIFICATION:
        return Refusal(Reason.MAGNIFICATION, f"magnified {factor:.3g} times")
    paddle = str(dataset.get("PaddleDescription", "") or "").upper()
    for word, reason in (("MAG", Reason.MAGNIFICATION), ("SPOT", Reason.SPOT_COMPRESSION)):
        if word in paddle:
            return Refusal(reason, f"PaddleDescription says {word!r}")
    return None


def _words(dataset: Dataset, key: str) -> list[str]:
    value = dataset.get(key)
    values = [value] if isinstance(value, str) else list(value or [])
    return [str(word).strip().upper() for word in values]


def _numbers(dataset: Dataset, key: str) -> list[float]:
    """An attribute's numbers; none where it is absent or holds something else, or one that is not finite."""
    try:
        value = dataset.get(key)
        found = [float(number) for number in (value if isinstance(value, (list, tuple)) or _many(value) else [value])]
    except (TypeError, ValueError, ArithmeticError):
        return []
    return found if all(math.isfinite(number) for number in found) else []


def _many(value: object) -> bool:
    return hasattr(value, "__iter__") and not isinstance(value, (str, bytes))
