"""What a header says of grey values, whatever the values: order, range, twins, and 8 bits against 16."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mammogram import mammogram
from tramtrack.cohort.inspect import pixels_sha256
from tramtrack.imaging.pixels import present, window

bits = st.sampled_from([8, 10, 12, 16])
functions = st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"])


@st.composite
def stored_values(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    depth = draw(bits)
    dtype = np.uint8 if depth == 8 else np.uint16
    return draw(arrays(dtype, (6, 5), elements=st.integers(0, 2**depth - 1))), depth


@settings(deadline=None)
@given(stored_values(), functions, st.integers(-100, 5000), st.integers(1, 70000), st.sampled_from([0.5, 1.0, 3.0]))
def test_windows_keep_order_and_range(given_values, function, centre, width, slope) -> None:  # type: ignore[no-untyped-def]
    stored, depth = given_values
    tags = {
        "WindowCenter": centre,
        "WindowWidth": width,
        "VOILUTFunction": function,
        "RescaleSlope": slope,
        "RescaleIntercept": 1,
    }
    values = present(stored, mammogram(stored, bits=depth, **tags)).values
    assert values.dtype == np.float32 and values.min() >= 0 and values.max() <= 1
    order = np.argsort(stored, axis=None, kind="stable")
    assert (np.diff(values.ravel()[order]) >= 0).all()
    inverse = present(stored, mammogram(stored, bits=depth, PhotometricInterpretation="MONOCHROME1", **tags)).values
    np.testing.assert_allclose(values + inverse, 1.0, atol=1e-6)


@settings(deadline=None)
@given(stored_values())
def test_the_monochrome1_twin_is_the_same_picture(given_values) -> None:  # type: ignore[no-untyped-def]
    stored, depth = given_values
    twin = (2**depth - 1 - stored.astype(np.int64)).astype(stored.dtype)
    first = present(stored, mammogram(stored, bits=depth)).values
    second = present(twin, mammogram(twin, bits=depth, PhotometricInterpretation="MONOCHROME1")).values
    np.testing.assert_allclose(first, second, atol=1e-6)


@settings(deadline=None)
@given(arrays(np.uint8, (6, 5)))
def test_eight_bit_x_is_sixteen_bit_257_x(stored: np.ndarray) -> None:
    sixteen = stored.astype(np.uint16) * 257
    first = present(stored, mammogram(stored, bits=8)).values
    second = present(sixteen, mammogram(sixteen, bits=16)).values
    np.testing.assert_allclose(first, second, atol=1e-7)


@given(st.floats(-1e4, 1e4), st.floats(2, 1e4), functions)
def test_the_middle_of_a_window_is_half_bright(centre: float, width: float, function: str) -> None:
    middle = centre - 0.5 if function == "LINEAR" else centre
    assert abs(float(window(np.array([middle]), centre, width, function)[0]) - 0.5) < 1e-9


@given(arrays(np.uint16, (4, 6)), st.integers(0, 23))
def test_the_hash_of_pixels_is_of_values_and_shape_alone(stored: np.ndarray, place: int) -> None:
    assert pixels_sha256(stored) == pixels_sha256(stored.astype(">u2")) == pixels_sha256(np.asfortranarray(stored))
    small, signed = stored % 256, stored.astype(np.int32) - 40_000
    assert pixels_sha256(small) == pixels_sha256(small.astype(np.uint8)) == pixels_sha256(small.astype(np.int16))
    assert pixels_sha256(signed) != pixels_sha256(stored)
    assert pixels_sha256(stored) != pixels_sha256(stored.reshape(6, 4))
    changed = stored.copy()
    changed.ravel()[place] ^= 1
    assert pixels_sha256(stored) != pixels_sha256(changed)
