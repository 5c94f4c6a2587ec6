"""What DICOM says of grey values, in every encoding of it, against pydicom's and highdicom's own functions."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import gdcm
import highdicom
import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from mammogram import breast_stored, mammogram, write
from tramtrack.imaging.pixels import PixelError, read_picture, read_stored
from tramtrack.imaging.prepare import png_bytes, prepare_file
from tramtrack.imaging.presentation import present
from tramtrack.protocol import Prepare

SMALL = Prepare(height=64, width=32)
GDCM_SYNTAXES = {
    JPEGLossless: gdcm.TransferSyntax.JPEGLosslessProcess14,
    JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
}


def recoded(plain: Path, syntax: str, path: Path) -> Path:
    """``plain`` in a JPEG of the old family, which pydicom does not write: gdcm does."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(GDCM_SYNTAXES[syntax]))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax
    return path


def signed_if_below_0(bits: int) -> np.ndarray:
    """A breast of so many bits; below 0 stands for so many with a sign, values on either side of 0."""
    if bits > 0:
        return breast_stored(bits)
    return (breast_stored(-bits).astype(np.int32) - (1 << (-bits - 1))).astype(np.int16)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("bits", [-12, -16])
def test_signed_values_survive_every_lossless_syntax(tmp_path: Path, syntax: str, bits: int) -> None:
    dataset = mammogram(signed_if_below_0(bits), bits=-bits)
    plain = write(dataset, tmp_path / "plain.dcm")
    dataset.compress(syntax, generate_instance_uid=False)
    coded = write(dataset, tmp_path / "coded.dcm")
    assert read_stored(plain).min() < 0 and np.array_equal(read_stored(plain), read_stored(coded))
    assert png_bytes(prepare_file(plain, SMALL).pixels) == png_bytes(prepare_file(coded, SMALL).pixels)


def full(stored: np.ndarray | None = None, **tags: Any) -> Dataset:
    """A mammogram with what highdicom asks of an image besides."""
    names = ("PatientName", "PatientBirthDate", "PatientSex", "StudyTime", "AccessionNumber", "StudyID", "SeriesNumber")
    return mammogram(stored, SeriesInstanceUID=generate_uid(), InstanceNumber=1, **dict.fromkeys(names, ""), **tags)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    "tags",
    [
        {"WindowCenter": 900, "WindowWidth": 1400},
        {"WindowCenter": 900, "WindowWidth": 1400, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 900, "WindowWidth": 1400, "VOILUTFunction": "LINEAR_EXACT", "RescaleSlope": 2, "RescaleIntercept": -9},
        {"VOILUTSequence": "LUT", "WindowCenter": 1, "WindowWidth": 2},
    ],
)
def test_pictures_are_highdicoms(tmp_path: Path, photometric: str, signed: bool, tags: dict[str, Any]) -> None:
    stored = breast_stored()
    if signed:
        stored = (stored.astype(np.int32) - 2048).astype(np.int16)
    chosen = dict(tags)
    if "VOILUTSequence" in tags:
        item = Dataset()
        item.LUTDescriptor = [4096, -2048 if signed else 0, 16]
        item["LUTDescriptor"].VR = "SS" if signed else "US"
        item.LUTData = (np.sqrt(np.arange(4096)) * 1020).astype("<u2").tobytes()
        item["LUTData"].VR = "OW"
        chosen["VOILUTSequence"] = [item]
    path = write(full(stored, PhotometricInterpretation=photometric, **chosen), tmp_path / "a.dcm")
    image = highdicom.imread(path)
    expected = image.get_frame(1, apply_voi_transform=True, apply_presentation_lut=True, voi_output_range=(0.0, 1.0))
    if "VOILUTSequence" in tags:  # highdicom stretches a LUT's own entries to the range, we their bits
        low, high = read_picture(path).values.min(), read_picture(path).values.max()
        expected = low + (expected - expected.min()) / np.ptp(expected) * (high - low)
    np.testing.assert_allclose(read_picture(path).values, expected, atol=2e-6)


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLosslessSV1])
@pytest.mark.parametrize("bits", [8, 10, 12, 16, -12, -16])
def test_jpeg_lossless_prepares_to_the_same_bytes(tmp_path: Path, syntax: str, bits: int) -> None:
    plain = write(mammogram(signed_if_below_0(bits), bits=abs(bits)), tmp_path / "plain.dcm")
    coded = recoded(plain, syntax, tmp_path / "coded.dcm")
    assert np.array_equal(read_stored(plain), read_stored(coded))
    assert png_bytes(prepare_file(plain, SMALL).pixels) == png_bytes(prepare_file(coded, SMALL).pixels)


@pytest.mark.parametrize(("syntax", "bits"), [(JPEGBaseline8Bit, 8), (JPEGExtended12Bit, 8), (JPEGExtended12Bit, 12)])
def test_lossy_jpeg_is_near(tmp_path: Path, syntax: str, bits: int) -> None:
    stored = breast_stored(bits)
    plain = write(mammogram(stored, bits=bits), tmp_path / "plain.dcm")
    dataset = pydicom.dcmread(plain)
    dataset.PixelData = encapsulate([imagecodecs.jpeg8_encode(stored, level=95, **({"bitspersample": 12} if bits > 8 else {}))])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax
    coded = write(dataset, tmp_path / "coded.dcm")
    difference = read_picture(plain).values - read_picture(coded).values
    assert 0 < np.abs(difference).max() < 0.2 and np.abs(difference).mean() < 0.01
    dataset.Rows += 1
    with pytest.raises(PixelError):
        read_stored(write(dataset, tmp_path / "other-size.dcm"))


def test_deflate_prepares_to_the_same_bytes(tmp_path: Path) -> None:
    plain = write(mammogram(), tmp_path / "plain.dcm")
    dataset = pydicom.dcmread(plain)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "deflated.dcm")
    assert (tmp_path / "deflated.dcm").stat().st_size < plain.stat().st_size
    assert np.array_equal(read_stored(plain), read_stored(tmp_path / "deflated.dcm"))


def left_aligned(stored: np.ndarray, bits: int) -> Dataset:
    return mammogram(np.left_shift(stored, 16 - bits), bits=bits, HighBit=15)


@pytest.mark.parametrize("signed", [False, True])
def test_left_aligned_and_right_aligned_bits_are_the_same_picture(tmp_path: Path, signed: bool) -> None:
    stored = breast_stored()
    if signed:
        stored = (stored.astype(np.int32) - 2048).astype(np.int16)
    right = write(mammogram(stored), tmp_path / "right.dcm")
    left = write(left_aligned(stored, 12), tmp_path / "left.dcm")
    assert np.array_equal(read_stored(left), read_stored(right))
    assert png_bytes(prepare_file(left, SMALL).pixels) == png_bytes(prepare_file(right, SMALL).pixels)
    packed = pydicom.dcmread(left)
    packed.compress(RLELossless, generate_instance_uid=False)
    assert np.array_equal(read_stored(write(packed, tmp_path / "left-rle.dcm")), read_stored(right))


def test_twelve_bits_scaled_up_to_sixteen_prepare_alike(tmp_path: Path) -> None:
    stored = breast_stored()
    twelve = prepare_file(write(mammogram(stored), tmp_path / "12.dcm"), SMALL).pixels
    sixteen = prepare_file(write(mammogram(stored * 16, bits=16), tmp_path / "16.dcm"), SMALL).pixels
    assert np.abs(twelve.astype(int) - sixteen).max() <= 1


@pytest.mark.parametrize("signed", [False, True])
def test_an_overlay_in_the_unused_bits_and_beyond_the_edge_changes_nothing(tmp_path: Path, signed: bool) -> None:
    stored = breast_stored()
    if signed:
        stored = (stored.astype(np.int32) - 2048).astype(np.int16)
    plain = write(mammogram(stored), tmp_path / "plain.dcm")
    marked = (stored.view(np.uint16) & 0x0FFF) | np.uint16(0x8000)
    dataset = mammogram(marked.view(stored.dtype))
    dataset.add_new((0x6000, 0x0010), "US", 400)
    dataset.add_new((0x6000, 0x0011), "US", 400)  # larger than the image, and begun outside it
    dataset.add_new((0x6000, 0x0050), "SS", [-9, 90])
    dataset.add_new((0x6000, 0x0100), "US", 16)
    dataset.add_new((0x6000, 0x0102), "US", 15)
    path = write(dataset, tmp_path / "overlay.dcm")
    assert np.array_equal(read_stored(path), read_stored(plain))
    assert read_picture(path).steps[-1] == "1 overlay not drawn"
    assert np.array_equal(prepare_file(path, SMALL).pixels, prepare_file(plain, SMALL).pixels)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_takes_no_part(tmp_path: Path, photometric: str) -> None:
    stored = breast_stored()
    if photometric == "MONOCHROME1":
        stored = 4095 - stored
    padded = stored.copy()
    padded[:20, 70:] = 4000
    padded[20:30, 70:] = 4001
    tags = {"PhotometricInterpretation": photometric, "PixelPaddingValue": 4000, "PixelPaddingRangeLimit": 4001}
    dataset = mammogram(np.where((stored >= 4000) & (stored <= 4001), 3999, padded).astype(np.uint16), **tags)
    picture = present(dataset.pixel_array, dataset)
    assert (picture.values[:20, 70:] == 0).all() and picture.steps[-1] == "padding 4000 is black"
    # Without the tag the block is bright, or nearly black where the smallest value is white.
    assert present(padded, mammogram(padded, PhotometricInterpretation=photometric)).values[:20, 70:].min() > 0.0


def test_signed_padding() -> None:
    stored = (breast_stored().astype(np.int32) - 2048).astype(np.int16)
    stored[:10] = -2000
    dataset = mammogram(stored, PixelPaddingValue=-2000)
    dataset["PixelPaddingValue"].VR = "SS"
    assert (present(stored, dataset).values[:10] == 0).all()


def test_a_padding_range_that_ends_at_zero_and_one_written_without_its_sign() -> None:
    stored = np.clip(breast_stored().astype(np.int32) - 2048, -2000, None).astype(np.int16)
    stored[:5], stored[5:10] = -30, 0
    from_zero = mammogram(stored, PixelPaddingValue=-40, PixelPaddingRangeLimit=0)
    unsigned = mammogram(stored, PixelPaddingValue=65536 - 40, PixelPaddingRangeLimit=0)
    for dataset in (from_zero, unsigned):
        assert (present(stored, dataset).values[:10] == 0).all()
    assert (present(stored, mammogram(stored, PixelPaddingValue=-30)).values[5:10] > 0).all()
    high = np.full((4, 4), 65535, dtype=np.uint16)
    assert (present(high, mammogram(high, bits=16, PixelPaddingValue=-1)).values == 0).all()


@pytest.mark.parametrize(
    ("tags", "steps"),
    [
        ({"RescaleSlope": 2}, ("rescale 2 x + 0", "no window: the stored range")),
        ({"RescaleIntercept": -100}, ("rescale 1 x + -100", "no window: the stored range")),
        ({"RescaleSlope": "", "RescaleIntercept": ""}, ("rescale 1 x + 0", "no window: the stored range")),
        ({"ModalityLUTSequence": []}, ("no window: the stored range",)),
    ],
)
def test_half_a_rescale_is_done_as_it_is_said(tags: dict[str, Any], steps: tuple[str, ...]) -> None:
    stored = breast_stored()
    found = present(stored, mammogram(stored, **tags))
    assert found.steps == steps
    np.testing.assert_allclose(found.values, present(stored, mammogram(stored)).values, atol=1e-6)


def test_what_the_header_says_of_greys_is_logged_though_nothing_follows_from_it() -> None:
    stored = (breast_stored().astype(np.int32) - 2048).astype(np.int16)
    tags = {"PresentationLUTShape": "IDENTITY", "PixelIntensityRelationship": "LOG", "PixelIntensityRelationshipSign": -1}
    found = present(stored, mammogram(stored, **tags))
    assert found.steps == (
        "signed", "no window: the stored range", "PresentationLUTShape IDENTITY", "made of pixel intensity LOG, sign -1",
    )  # fmt: skip
    assert np.array_equal(found.values, present(stored, mammogram(stored)).values)


@pytest.mark.parametrize("name", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("descriptor", [None, [3, 0], [3, 0, 16]])
def test_a_lut_without_its_parts_is_refused_in_one_line(name: str, descriptor: list[int] | None) -> None:
    item = Dataset()
    if descriptor:
        item.LUTDescriptor = descriptor
        item["LUTDescriptor"].VR = "US"
    stored = breast_stored()
    with pytest.raises(PixelError, match=r"what the header says of grey values is malformed \(\w+\)$"):
        present(stored, mammogram(stored, **{name: [item]}))


def test_the_shape_of_the_presentation_lut_never_overrules_the_photometric_interpretation() -> None:
    stored = breast_stored()
    white = mammogram(stored, PhotometricInterpretation="MONOCHROME1")
    odd = mammogram(stored, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="IDENTITY")
    assert np.array_equal(present(stored, white).values, present(stored, odd).values)
    assert any("contradicts MONOCHROME1" in step for step in present(stored, odd).steps)


def raw(stored: np.ndarray, relationship: str | None, sign: int | None) -> Dataset:
    tags = {"PixelIntensityRelationship": relationship, "PixelIntensityRelationshipSign": sign}
    known = {name: value for name, value in tags.items() if value is not None}
    return mammogram(stored, bits=14, PresentationIntentType="FOR PROCESSING", **known)


def test_raw_data_are_shown_dense_bright_by_their_pixel_intensity_relationship() -> None:
    attenuation = breast_stored().astype(np.float64) / 4095 * 4  # the logarithm of the rays that are lost
    linear = np.rint(16000 * np.exp(-attenuation)).astype(np.uint16)
    logarithm = np.rint(4000 * attenuation).astype(np.uint16)
    pictures = [
        present(linear, raw(linear, "LIN", 1)),
        present(16383 - linear, raw(16383 - linear, "LIN", -1)),
        present(logarithm, raw(logarithm, "LOG", -1)),
        present(16383 - logarithm, raw(16383 - logarithm, "LOG", 1)),
    ]
    for picture in pictures:
        assert np.corrcoef(picture.values.ravel(), attenuation.ravel())[0, 1] > 0.999, picture.steps
    assert pictures[0].steps == ("raw data, pixel intensity LIN, sign 1",)
    for relationship, sign in ((None, None), ("LIN", None), ("DISP", 1)):
        with pytest.raises(PixelError, match="expected PixelIntensityRelationship LIN or LOG and its sign"):
            present(linear, raw(linear, relationship, sign))


def test_a_voi_lut_of_packed_bytes_and_one_with_an_unsigned_negative_start() -> None:
    stored = breast_stored(8)
    entries = np.arange(256, dtype=np.uint8)[::-1]

    def lut(data: bytes, first: int, bits: int) -> Dataset:
        item = Dataset()
        item.LUTDescriptor = [256, first, bits]
        item["LUTDescriptor"].VR = "US"
        item.LUTData = data
        item["LUTData"].VR = "OW"
        return item

    packed = mammogram(stored, bits=8, VOILUTSequence=[lut(entries.tobytes(), 0, 8)])
    words = mammogram(stored, bits=8, VOILUTSequence=[lut(entries.astype("<u2").tobytes(), 0, 8)])
    assert np.array_equal(present(stored, packed).values, present(stored, words).values)
    signed = stored.astype(np.int16) - 128
    shifted = mammogram(signed, bits=9, VOILUTSequence=[lut(entries.astype("<u2").tobytes(), 65536 - 128, 8)])
    assert np.array_equal(present(signed, shifted).values, present(stored, words).values)
    empty = mammogram(stored, bits=8, VOILUTSequence=[lut(b"", 0, 8)])
    with pytest.raises(PixelError, match="VOI LUT: expected entries"):
        present(stored, empty)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"HighBit": 3}, "12 bits stored, the highest 3, in 16 bits allocated"),
        ({"BitsAllocated": 32}, "expected 8 or 16 bits allocated, found 32"),
        ({"Rows": 65000, "Columns": 65000}, "65000 x 65000 pixels, expected at most 100,000,000"),
        ({"Rows": 0}, "Rows: expected a positive number, found 0"),
    ],
)
def test_headers_that_describe_no_picture(tmp_path: Path, tags: dict[str, int], message: str) -> None:
    with pytest.raises(PixelError, match=message):
        read_stored(write(mammogram(**tags), tmp_path / "a.dcm"))


def test_numbers_that_are_none_are_refused() -> None:
    dataset = mammogram(WindowCenter=1, WindowWidth=2)
    dataset["WindowCenter"]._value = float("nan")
    with pytest.raises(PixelError, match="the header's numbers describe no picture"):
        present(dataset.pixel_array, dataset)


def test_a_grey_jpeg_in_colour_is_read_as_grey(tmp_path: Path) -> None:
    """A Secondary Capture whose JPEG was made of a grey picture."""
    stream = io.BytesIO()
    grey = breast_stored(8)
    Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).save(stream, "JPEG", quality=95)
    dataset = mammogram(grey, bits=8, SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422", PlanarConfiguration=0)
    dataset.PixelData = encapsulate([stream.getvalue()])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    found = read_stored(write(dataset, tmp_path / "ybr.dcm"))
    assert found.ndim == 2 and np.abs(found.astype(int) - grey).mean() < 5
