"""Writing one synthetic view as Digital Mammography X-Ray Image Storage - For Presentation (DICOM PS3.3 A.26, PS3.4 B.5).

Every Type 1 and Type 2 attribute of the IOD's modules is written; SyntheticData (0008,001C) says YES; dates are fixed, and
identifiers are hashes of the seed and the settings under the UUID root 2.25 (PS3.5 B.2), so the same cohort has the same bytes.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian, JPEGLSLossless

from tramtrack.cohort.exam import Position, Side
from tramtrack.phantom.presentation import WHITE
from tramtrack.phantom.stations import STATIONS, Station
from tramtrack.uids import uid

STUDY_DATE = "20000101"
"""A date that no file of a real exam of this kind carries by accident; the birth date follows from it and the age."""

VIEW_CODES = {Position.CC: ("399162004", "cranio-caudal"), Position.MLO: ("399368009", "medio-lateral oblique")}
"""SNOMED CT codes of the views (PS3.16 CID 4014)."""

ORIENTATION = {
    (Side.L, Position.CC): ["A", "R"],
    (Side.R, Position.CC): ["P", "L"],
    (Side.L, Position.MLO): ["A", "FR"],
    (Side.R, Position.MLO): ["P", "FL"],
}
"""Patient Orientation (0020,0020): where the rows and the columns point, chest wall left in left views, right in right ones.

In a CC view lateral is at the top of the image, so a column runs towards the other side of the body."""

COMPOSITION_CODES = {
    "a": ("129716005", "SCT", "Almost entirely fat"),
    "b": ("129717001", "SCT", "Scattered fibroglandular densities"),
    "c": ("129718006", "SCT", "Heterogeneously dense"),
    "d": ("129719003", "SCT", "Extremely dense"),
}
"""SNOMED CT codes of BI-RADS density (PS3.16 CID 6001)."""

METALS = {"W": "TUNGSTEN", "Mo": "MOLYBDENUM", "Rh": "RHODIUM", "Al": "ALUMINUM"}
"""Anode Target Material (0018,1191) and Filter Material (0018,7050)."""

SOURCE_TO_DETECTOR_MM = 650.0

OBLIQUE_DEGREES = {
    (Side.L, Position.CC): 0.0,
    (Side.R, Position.CC): 0.0,
    (Side.L, Position.MLO): -45.0,
    (Side.R, Position.MLO): 45.0,
}
"""Positioner Primary Angle (0018,1510): negative with the source on her right (PS3.3 C.8.11.7), medially in MLO; degrees."""


@dataclass(frozen=True)
class ViewHeader:
    """What a view's file says beside its pixels. ``identity`` names the cohort and enters every identifier."""

    identity: str
    woman: str
    age: int
    side: Side
    position: Position
    number: int
    pitch_mm: float
    thickness_mm: float
    station: Station = STATIONS[0]
    magnification: float = 1.0
    implant: bool = False
    density: str = ""

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID of the woman's one exam."""
        return uid(self.identity, self.woman, "study")


def encode(pixels: NDArray[np.uint16], header: ViewHeader) -> bytes:
    """The view as a DICOM file, JPEG-LS Lossless; ``pixels`` (rows, columns) uint16 in 0..4095 as displayed."""
    dataset = Dataset()
    dataset.file_meta = _file_meta()
    _add_patient_and_study(dataset, header)
    _add_acquisition(dataset, header)
    _add_view(dataset, header)
    _add_pixels(dataset, pixels, header)
    dataset.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPInstanceUID = uid(header.identity, header.woman, header.side, header.position)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.compress(JPEGLSLossless, encoding_plugin="pyjpegls", generate_instance_uid=False)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _file_meta() -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(uid("tramtrack", "implementation"))
    meta.ImplementationVersionName = "TRAMTRACK"
    return meta


def _add_patient_and_study(dataset: Dataset, header: ViewHeader) -> None:
    """Patient, General Study, Patient Study, DX Series and Mammography Series modules, General Equipment, SOP Common."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SyntheticData = "YES"
    dataset.PatientName = f"SYNTHETIC^{header.woman}"
    dataset.PatientID = header.woman
    dataset.PatientBirthDate = f"{int(STUDY_DATE[:4]) - header.age}0101"
    dataset.PatientSex = "F"
    dataset.PatientAge = f"{header.age:03d}Y"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Synthetic image: no patient"
    dataset.StudyInstanceUID = header.study_uid
    dataset.StudyID = header.woman[-16:]
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = dataset.AcquisitionDate = STUDY_DATE
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = dataset.AcquisitionTime = "120000"
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "SYNTHETIC MAMMOGRAPHY"
    dataset.Modality = "MG"
    dataset.SeriesInstanceUID = uid(header.identity, header.woman, "series")
    dataset.SeriesNumber = 1
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.Manufacturer = header.station.maker
    dataset.InstitutionName = "SYNTHETIC"
    dataset.StationName = "PHANTOM"
    dataset.ManufacturerModelName = f"tramtrack phantom {header.station.name}"
    dataset.DeviceSerialNumber = "0"
    dataset.SoftwareVersions = "1"


def _add_acquisition(dataset: Dataset, header: ViewHeader) -> None:
    """DX Detector, DX Positioning, X-Ray Acquisition Dose and Mammography Image modules."""
    beam = header.station.beam
    anode, filter_ = beam.name.split("/")
    dataset.KVP = beam.kvp
    dataset.AnodeTargetMaterial = METALS[anode]
    dataset.FilterMaterial = METALS[filter_]
    dataset.FilterType = "STRIP"
    dataset.DetectorType = header.station.detector
    dataset.DetectorConfiguration = "AREA"
    dataset.DetectorID = "PHANTOM"
    dataset.ImagerPixelSpacing = [header.pitch_mm, header.pitch_mm]
    dataset.EstimatedRadiographicMagnificationFactor = header.magnification
    dataset.DistanceSourceToDetector = SOURCE_TO_DETECTOR_MM
    dataset.DistanceSourceToPatient = round(SOURCE_TO_DETECTOR_MM / header.magnification, 1)
    dataset.BodyPartThickness = round(header.thickness_mm, 1)
    dataset.PositionerType = "MAMMOGRAPHIC"
    dataset.PositionerPrimaryAngle = OBLIQUE_DEGREES[header.side, header.position]
    dataset.BodyPartExamined = "BREAST"
    dataset.OrganExposed = "BREAST"
    dataset.BreastImplantPresent = "YES" if header.implant else "NO"
    dataset.PartialView = "NO"


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _composition(density: str) -> Dataset:
    """The breast's composition as an item of the acquisition context, where ``ingest`` looks for it."""
    item = Dataset()
    item.ValueType = "CODE"
    item.ConceptNameCodeSequence = Sequence([_code("129715009", "SCT", "Breast composition")])
    item.ConceptCodeSequence = Sequence([_code(*COMPOSITION_CODES[density])])
    return item


def _add_view(dataset: Dataset, header: ViewHeader) -> None:
    """Which breast and which projection: Mammography Image and DX Anatomy Imaged modules, Acquisition Context."""
    dataset.ImageLaterality = str(header.side)
    dataset.ViewPosition = str(header.position)
    value, meaning = VIEW_CODES[header.position]
    view = _code(value, "SCT", meaning)
    view.ViewModifierCodeSequence = Sequence()
    dataset.ViewCodeSequence = Sequence([view])
    dataset.AnatomicRegionSequence = Sequence([_code("76752008", "SCT", "Breast")])
    dataset.PatientOrientation = ORIENTATION[header.side, header.position]
    dataset.AcquisitionContextSequence = Sequence([_composition(header.density)] if header.density else [])
    dataset.InstanceNumber = header.number
    dataset.AcquisitionNumber = 1


def _add_pixels(dataset: Dataset, pixels: NDArray[np.uint16], header: ViewHeader) -> None:
    """General Image, DX Image, Image Pixel and VOI LUT modules: 12 bits in 16, brighter is more attenuation."""
    dataset.ImageType = ["DERIVED", "PRIMARY", ""]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = -1  # higher values are fewer rays (PS3.3 C.8.11.3.1.2)
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.LossyImageCompression = "00"
    dataset.BurnedInAnnotation = "NO"
    dataset.QualityControlImage = "NO"
    dataset.DerivationDescription = "Computed from a synthetic breast by tramtrack; no patient was imaged"
    dataset.WindowCenter, dataset.WindowWidth = (WHITE + 1) / 2, WHITE + 1
    dataset.WindowCenterWidthExplanation = "FULL"
    dataset.VOILUTFunction = "LINEAR"
    dataset.PixelData = np.ascontiguousarray(pixels, dtype="<u2").tobytes()
    dataset["PixelData"].VR = "OW"
