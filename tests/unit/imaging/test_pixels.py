"""From stored values to the picture a header describes, against pydicom's own functions where it has them."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi, apply_windowing
from pydicom.uid import (
    MPEG2MPML,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from mammogram import breast_stored, mammogram, write
from tramtrack.imaging import pixels as pixels_module
from tramtrack.imaging.pixels import PixelError, present, read_picture, read_stored
from tramtrack.imaging.prepare import png_bytes, prepare_file
from tramtrack.protocol import Prepare

SMALL = Prepare(height=64, width=32)


def with_window(centre: Any, width: Any, function: str | None = None, **tags: Any) -> Dataset:
    extra = {"VOILUTFunction": function} if function else {}
    return mammogram(WindowCenter=centre, WindowWidth=width, **extra, **tags)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID", None])
@pytest.mark.parametrize("rescale", [(1, 0), (2.5, -100)])
@pytest.mark.parametrize("window", [(2048, 4096), (1500, 700.5), (300, 1)])
def test_windows_are_pydicoms(function: str | None, rescale: tuple[float, float], window: tuple[float, float]) -> None:
    tags = {} if rescale == (1, 0) else {"RescaleSlope": rescale[0], "RescaleIntercept": rescale[1]}
    dataset = with_window(*window, function, **tags)
    stored = dataset.pixel_array
    slope, intercept = rescale
    low, high = intercept, 4095 * slope + intercept  # the output range of apply_windowing
    expected = (apply_windowing(np.asarray(apply_modality_lut(stored, dataset)), dataset) - low) / (high - low)
    found = present(stored, dataset)
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
    assert found.steps[-1] == f"window {window[0]:g}/{window[1]:g} {function or 'LINEAR'}"


def test_the_first_of_several_windows_is_taken() -> None:
    dataset = with_window([1000, 3000], [500, 100])
    assert np.array_equal(
        present(dataset.pixel_array, dataset).values, present(dataset.pixel_array, with_window(1000, 500)).values
    )


def voi_lut(entries: int, first: int, bits: int, signed: bool = False) -> Dataset:
    rng = np.random.default_rng(5)
    item = Dataset()
    item.LUTDescriptor = [entries, first, bits]
    item["LUTDescriptor"].VR = "SS" if signed else "US"
    item.LUTData = np.sort(rng.integers(0, 2**bits, entries)).astype("<u2").tobytes()
    item["LUTData"].VR = "OW"
    return item


@pytest.mark.parametrize(("entries", "first", "bits"), [(4096, 0, 16), (1000, 500, 12), (256, 3000, 10)])
def test_voi_luts_are_pydicoms_and_come_before_windows(entries: int, first: int, bits: int) -> None:
    dataset = with_window(10, 20, VOILUTSequence=[voi_lut(entries, first, bits)])
    stored = dataset.pixel_array
    found = present(stored, dataset)
    np.testing.assert_allclose(found.values, apply_voi(stored, dataset) / (2.0**bits - 1), atol=1e-6)
    assert found.steps == ("VOI LUT",)


def test_voi_lut_on_signed_values() -> None:
    stored = (breast_stored().astype(np.int32) - 2048).astype(np.int16)
    dataset = mammogram(stored, VOILUTSequence=[voi_lut(4096, -2048, 12, signed=True)])
    expected = apply_voi(stored, dataset) / 4095.0
    np.testing.assert_allclose(present(stored, dataset).values, expected, atol=1e-6)


def test_modality_lut_comes_first_and_sets_the_range() -> None:
    item = Dataset()
    item.LUTDescriptor = [4096, 0, 16]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = (np.arange(4096) * 16).astype("<u2").tobytes()
    item["LUTData"].VR = "OW"
    dataset = mammogram(ModalityLUTSequence=[item])
    stored = dataset.pixel_array
    found = present(stored, dataset)
    np.testing.assert_allclose(found.values, stored * 16 / 65535.0, atol=1e-6)
    assert found.steps == ("modality LUT", "no window: the stored range")


@pytest.mark.parametrize("slope", [2.0, -2.0])
def test_rescale_without_a_window_takes_the_range_of_the_stored_bits(slope: float) -> None:
    dataset = mammogram(RescaleSlope=slope, RescaleIntercept=7)
    stored = dataset.pixel_array / 4095
    expected = stored if slope > 0 else 1 - stored
    np.testing.assert_allclose(present(dataset.pixel_array, dataset).values, expected, atol=1e-6)


def test_looking_up_grey_levels_is_the_same_as_treating_each_pixel() -> None:
    dataset = mammogram(WindowCenter=1800, WindowWidth=2000, VOILUTFunction="SIGMOID", RescaleSlope=1.5, RescaleIntercept=-3)
    stored = dataset.pixel_array
    few = stored[60:80, :20]  # fewer pixels than grey levels: each is treated by itself
    assert few.size <= int(few.max()) - int(few.min()) and stored.size > 4095
    assert np.array_equal(present(stored, dataset).values[60:80, :20], present(few, dataset).values)
    assert present(stored, dataset).values.dtype == np.float32


def test_signed_pixels_show_the_same_picture() -> None:
    stored = breast_stored()
    signed = (stored.astype(np.int32) - 2048).astype(np.int16)
    plain, shifted = mammogram(stored), mammogram(signed)
    assert np.array_equal(present(stored, plain).values, present(shifted.pixel_array, shifted).values)
    windowed = mammogram(signed, WindowCenter=-48, WindowWidth=1000)
    same = mammogram(stored, WindowCenter=2000, WindowWidth=1000)
    np.testing.assert_allclose(present(signed, windowed).values, present(stored, same).values, atol=1e-6)


@pytest.mark.parametrize("tags", [{}, {"WindowCenter": 1800, "WindowWidth": 2600}, {"RescaleSlope": 3, "RescaleIntercept": 0}])
def test_the_monochrome1_twin_prepares_to_the_same_picture(tmp_path: Path, tags: dict) -> None:
    stored = breast_stored()
    turned = dict(tags)
    if "WindowCenter" in tags:
        turned["WindowCenter"] = 4095 - tags["WindowCenter"] + 1  # PS3.3 C.11.2.1.2: LINEAR is centred on c - 0.5
    first = write(mammogram(stored, **tags), tmp_path / "m2.dcm")
    twin = mammogram(4095 - stored, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE", **turned)
    second = write(twin, tmp_path / "m1.dcm")
    np.testing.assert_allclose(read_picture(first).values, read_picture(second).values, atol=1e-6)
    assert read_picture(second).steps[-1] == "inverted (smallest value is white)"
    one, two = prepare_file(first, SMALL).pixels.astype(int), prepare_file(second, SMALL).pixels.astype(int)
    assert np.abs(one - two).max() <= 1 and one.max() > 60000


def test_presentation_lut_shape_inverse_alone_inverts_once() -> None:
    dataset = mammogram(PresentationLUTShape="INVERSE")
    plain = mammogram(PresentationLUTShape="IDENTITY")
    stored = dataset.pixel_array
    np.testing.assert_allclose(present(stored, dataset).values, 1 - present(stored, plain).values, atol=1e-6)


def test_an_unknown_window_function_and_a_width_of_none_are_refused() -> None:
    dataset = with_window(1, 2, "CURVED")
    with pytest.raises(PixelError, match="VOI LUT function CURVED: expected LINEAR"):
        present(dataset.pixel_array, dataset)
    for width in (0, -10):
        dataset = with_window(1, width, "LINEAR")
        with pytest.raises(PixelError, match=f"window width {width}: expected a number above 0"):
            present(dataset.pixel_array, dataset)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_every_lossless_transfer_syntax_prepares_to_the_same_bytes(tmp_path: Path, syntax: str, bits: int) -> None:
    plain = write(mammogram(bits=bits), tmp_path / "plain.dcm")
    dataset = pydicom.dcmread(plain)
    if syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(tmp_path / "other.dcm")
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian and bits > 8:
            dataset.PixelData = read_stored(plain).astype(">u2").tobytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pydicom.dcmwrite(
                tmp_path / "other.dcm",
                dataset,
                implicit_vr=syntax == ImplicitVRLittleEndian,
                little_endian=syntax != ExplicitVRBigEndian,
                force_encoding=True,
            )
    assert pydicom.dcmread(tmp_path / "other.dcm").file_meta.TransferSyntaxUID == syntax
    assert read_stored(tmp_path / "other.dcm").dtype == np.dtype("uint8" if bits == 8 else "uint16")
    assert np.array_equal(read_stored(plain), read_stored(tmp_path / "other.dcm"))
    assert png_bytes(prepare_file(plain, SMALL).pixels) == png_bytes(prepare_file(tmp_path / "other.dcm", SMALL).pixels)


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_pixel_data_cut_in_half_is_truncated_and_never_a_picture(tmp_path: Path, syntax: str | None) -> None:
    dataset = mammogram()
    if syntax:
        dataset.compress(syntax)
    path = write(dataset, tmp_path / "whole.dcm")
    content = path.read_bytes()
    half = tmp_path / "half.dcm"
    half.write_bytes(content[: len(content) - len(dataset.PixelData) // 2])
    with pytest.raises(PixelError) as caught:
        read_picture(half)
    assert caught.value.kind == "truncated"


def test_missing_pixels_missing_decoders_and_colour(tmp_path: Path) -> None:
    empty = write(mammogram(PixelData=None), tmp_path / "empty.dcm")
    with pytest.raises(PixelError, match="has no pixel data") as caught:
        read_stored(empty)
    assert caught.value.kind == "no-pixels"

    video = pydicom.dcmread(write(mammogram(), tmp_path / "plain.dcm"))
    video.compress(RLELossless)
    video.file_meta.TransferSyntaxUID = MPEG2MPML
    content = write(video, tmp_path / "video.dcm").read_bytes()
    assert content.count(MPEG2MPML.encode()) == 1
    (tmp_path / "unheard-of.dcm").write_bytes(content.replace(MPEG2MPML.encode(), b"1.2.840.10008.1.2.4.999"))
    for name in ("video.dcm", "unheard-of.dcm"):
        with pytest.raises(PixelError) as caught:
            read_stored(tmp_path / name)
        assert caught.value.kind == "no-decoder", name


def in_colour(grey: np.ndarray, **tags: Any) -> Dataset:
    colours = np.repeat(grey[..., None], 3, axis=2)
    dataset = mammogram(grey, bits=8, SamplesPerPixel=3, PhotometricInterpretation="RGB", **tags)
    dataset.PlanarConfiguration, dataset.PixelData = 0, colours.tobytes()
    return dataset


def test_colour_is_grey_where_its_channels_are_equal_and_refused_elsewhere(tmp_path: Path) -> None:
    grey = breast_stored(8)
    plain = write(in_colour(grey), tmp_path / "grey.dcm")
    assert np.array_equal(read_stored(plain), grey)
    palette = mammogram(grey // 16, bits=8, PhotometricInterpretation="PALETTE COLOR")
    levels = (65535 - np.arange(16, dtype="<u2") * 4369).tobytes()
    for name in ("Red", "Green", "Blue"):
        setattr(palette, f"{name}PaletteColorLookupTableDescriptor", [16, 0, 16])
        setattr(palette, f"{name}PaletteColorLookupTableData", levels)
    assert np.array_equal(read_stored(write(palette, tmp_path / "palette.dcm")), 65535 - (grey // 16).astype(int) * 4369)
    colour = in_colour(grey)
    colour.PixelData = bytes(reversed(range(256))) * (len(colour.PixelData) // 256)
    with pytest.raises(PixelError, match="its colour channels differ") as caught:
        read_stored(write(colour, tmp_path / "rgb.dcm"))
    assert caught.value.kind == "not-grey"


def test_a_decoder_out_of_memory_is_not_called_a_bad_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def swell(*_: Any, **__: Any) -> np.ndarray:
        raise RuntimeError("Unable to decode as exceptions were raised by all available plugins: x: MemoryError")

    path = write(mammogram(), tmp_path / "big.dcm")
    monkeypatch.setattr(pixels_module, "pixel_array", swell)
    with pytest.raises(MemoryError):
        read_stored(path)


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def test_sixteen_bit_pictures_are_read_as_sixteen_bit(tmp_path: Path) -> None:
    eight = breast_stored(8)
    sixteen = eight.astype(np.uint16) * 257
    sixteen[80, 5] += 1  # what an 8-bit read would lose
    for suffix in ("png", "tif"):
        read = read_stored(save(Image.fromarray(sixteen), tmp_path / f"a.{suffix}"))
        assert read.dtype == np.uint16 and np.array_equal(read, sixteen)
    assert np.array_equal(read_stored(save(Image.fromarray(sixteen.astype(">u2")), tmp_path / "big.tif")), sixteen)


def test_eight_bit_x_is_sixteen_bit_257_x(tmp_path: Path) -> None:
    eight = breast_stored(8)
    first = save(Image.fromarray(eight), tmp_path / "8.png")
    second = save(Image.fromarray(eight.astype(np.uint16) * 257), tmp_path / "16.png")
    third = save(Image.fromarray(eight), tmp_path / "8.tiff")
    np.testing.assert_allclose(read_picture(first).values, read_picture(second).values, rtol=0, atol=1e-7)
    prepared = [prepare_file(path, SMALL).pixels.astype(int) for path in (first, second, third)]
    assert np.abs(prepared[0] - prepared[1]).max() <= 1 and np.array_equal(prepared[0], prepared[2])


def test_grey_in_other_clothes(tmp_path: Path) -> None:
    grey = breast_stored(8)
    image = Image.fromarray(grey)
    for number, mode in enumerate(("RGB", "RGBA", "LA")):
        assert np.array_equal(read_stored(save(image.convert(mode), tmp_path / f"{number}.png")), grey), mode
    palette = Image.fromarray(grey[::1] // 16)  # indices that are not the greys they stand for
    palette.putpalette([level for index in range(256) for level in [255 - 16 * (index % 16)] * 3])
    expected = 255 - 16 * (grey.astype(int) // 16)
    assert np.array_equal(read_stored(save(palette, tmp_path / "p.png")), expected)
    # Pillow turns 8 bits when it writes and when it reads, 16 bits never: there the stored values are the white ones.
    assert np.array_equal(read_stored(save(image, tmp_path / "w8.tif", tiffinfo={262: 0})), grey)
    sixteen = grey.astype(np.uint16) * 257
    assert np.array_equal(read_stored(save(Image.fromarray(65535 - sixteen), tmp_path / "w.tif", tiffinfo={262: 0})), sixteen)


def png_of_16_bit_colour() -> bytes:
    """A PNG of 1 x 1 pixel, RGB, 16 bits a channel, which Pillow cannot write."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + b"\x12\x34" * 3)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def tiff_of_16_bit_colour(order: str) -> bytes:
    """A TIFF of one grey pixel in three channels of 16 bits, which Pillow reads as 8; ``order``: < or >."""
    import struct

    values = (
        (256, 4, 1, 1), (257, 4, 1, 1), (258, 3, 3, 134), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 140), (277, 3, 1, 3),
        (278, 4, 1, 1), (279, 4, 1, 6), (284, 3, 1, 1),
    )  # fmt: skip
    entries = b""
    for tag, kind, count, value in values:
        short = kind == 3 and count == 1
        entries += struct.pack(order + ("HHIHH" if short else "HHII"), tag, kind, count, value, *([0] if short else []))
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, len(values))
    return head + entries + struct.pack(order + "I3H3H", 0, 16, 16, 16, 4660, 4660, 4660)


def test_pictures_that_are_refused(tmp_path: Path) -> None:
    colour = np.zeros((20, 20, 3), dtype=np.uint8)
    colour[5, 5] = (1, 2, 3)
    save(Image.fromarray(colour), tmp_path / "colour.png")
    (tmp_path / "deep.png").write_bytes(png_of_16_bit_colour())
    for name, order in (("deep.tif", "<"), ("deep-big.tif", ">")):
        (tmp_path / name).write_bytes(tiff_of_16_bit_colour(order))
        with Image.open(tmp_path / name) as image:
            assert (image.mode, image.size) == ("RGB", (1, 1)) and image.tag_v2[258] == (16, 16, 16)  # type: ignore[attr-defined]
    (tmp_path / "empty.png").write_bytes(b"")
    stream = io.BytesIO()
    Image.fromarray(breast_stored(16)).save(stream, "PNG")
    (tmp_path / "half.png").write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])
    save(Image.fromarray(np.zeros((9, 9), dtype=np.float32)), tmp_path / "float.tif")
    save(Image.fromarray(np.eye(9) > 0), tmp_path / "bit.png")
    save(Image.fromarray(np.full((9, 9), 70_000, dtype=np.int32)), tmp_path / "deeper.tif")
    pages = [Image.fromarray(breast_stored(8)) for _ in range(2)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    expected = {
        "colour.png": "not-grey",
        "deep.png": "not-grey",
        "deep.tif": "not-grey",
        "deep-big.tif": "not-grey",
        "empty.png": "unreadable",
        "half.png": "unreadable",
        "float.tif": "unreadable",
        "bit.png": "unreadable",
        "deeper.tif": "unreadable",
        "pages.tif": "multi-frame",
    }
    for name, kind in expected.items():
        with pytest.raises(PixelError) as caught:
            read_stored(tmp_path / name)
        assert caught.value.kind == kind, name
        assert "0x" not in str(caught.value), "an address in memory"
        if name in ("float.tif", "bit.png", "deeper.tif"):
            assert "expected 8 or 16 bit grey values, found" in str(caught.value)
