"""Stored values and attenuation: exact for raw linear data, a stated model for everything else, both invertible."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from tramtrack.imaging.presentation import PixelError
from tramtrack.phantom.grey_domain import dicom_domain, picture_domain, soft_range

EVERYWHERE = np.ones((40, 40), dtype=bool)


def raw(relationship: str, sign: int, **others: object) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.PresentationIntentType = "FOR PROCESSING"
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = relationship, sign
    dataset.BitsStored, dataset.PixelRepresentation, dataset.PhotometricInterpretation = 14, 0, "MONOCHROME2"
    for name, value in others.items():
        setattr(dataset, name, value)
    return dataset


def greys(low: int, high: int) -> np.ndarray:
    return np.linspace(low, high, 1600).round().astype(np.uint16).reshape(40, 40)


def test_linear_exposure_is_beers_law() -> None:
    stored = greys(500, 9000)
    domain = dicom_domain(stored, EVERYWHERE, raw("LIN", 1))
    assert domain.is_exact and domain.kind == "exposure-linear"
    behind = domain.stored(domain.attenuation(stored) + np.log(2))
    assert behind == pytest.approx(stored / 2)


def test_a_sign_of_minus_one_counts_rays_from_the_top() -> None:
    stored = greys(500, 9000)
    domain = dicom_domain(stored, EVERYWHERE, raw("LIN", -1))
    behind = domain.stored(domain.attenuation(stored) + np.log(2))
    assert 16383 - behind == pytest.approx((16383 - stored) / 2)


def test_an_offset_of_the_detector_is_no_ray() -> None:
    stored = greys(500, 9000)
    domain = dicom_domain(stored, EVERYWHERE, raw("LIN", 1, RescaleSlope=1, RescaleIntercept=-50))
    behind = domain.stored(domain.attenuation(stored) + np.log(2))
    assert behind - 50 == pytest.approx((stored - 50.0) / 2)


@pytest.mark.parametrize("sign", [1, -1])
def test_logarithmic_exposure_is_scaled_by_the_model(sign: int) -> None:
    stored = greys(2000, 6000)
    domain = dicom_domain(stored, EVERYWHERE, raw("LOG", sign, BodyPartThickness=60))
    attenuation = domain.attenuation(stored)
    spread = np.subtract(*np.percentile(attenuation, (95, 5)))
    assert spread == pytest.approx(soft_range(60), rel=0.01)
    assert np.sign(attenuation[-1, -1] - attenuation[0, 0]) == -sign  # more rays are less attenuation
    assert domain.stored(attenuation) == pytest.approx(stored) and not domain.is_exact


def test_a_display_has_most_contrast_in_the_middle_and_none_beyond_white() -> None:
    stored = greys(0, 60000)
    domain = picture_domain(stored, EVERYWHERE, (0, 65535))
    attenuation = domain.attenuation(stored)
    assert domain.stored(attenuation) == pytest.approx(stored)
    raised = domain.stored(attenuation + 0.05) - stored
    dark, middle, bright = raised.ravel()[[5, 800, 1595]]
    assert middle > 5 * dark > 0 and middle > 3 * bright > 0
    assert domain.stored(attenuation + 100).max() < 65535 * 1.03
    spread = np.subtract(*np.percentile(attenuation, (95, 5)))
    assert spread == pytest.approx(soft_range(None), rel=0.01)


def test_a_negative_is_its_positives_mirror() -> None:
    stored = greys(300, 3000)
    positive = picture_domain(stored, EVERYWHERE, (0, 4095))
    negative = picture_domain(4095 - stored, EVERYWHERE, (0, 4095), -1)
    there = positive.stored(positive.attenuation(stored) + 0.2)
    here = negative.stored(negative.attenuation(4095 - stored) + 0.2)
    assert here == pytest.approx(4095 - there)


def test_monochrome1_is_dense_where_values_are_low() -> None:
    dataset = raw("LIN", 1, PhotometricInterpretation="MONOCHROME1", PresentationIntentType="FOR PRESENTATION")
    domain = dicom_domain(greys(300, 3000), EVERYWHERE, dataset)
    assert domain.sign == -1 and domain.kind == "display"


def test_what_has_no_meaning_is_refused() -> None:
    with pytest.raises(PixelError, match="expected PixelIntensityRelationship LIN or LOG, sign 1 or -1, found DISP and 1"):
        dicom_domain(greys(300, 3000), EVERYWHERE, raw("DISP", 1))
    with pytest.raises(PixelError, match="many greys"):
        picture_domain(np.full((40, 40), 7, np.uint16), EVERYWHERE, (0, 65535))
