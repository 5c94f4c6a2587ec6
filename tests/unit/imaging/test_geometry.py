"""How a crop is fitted into a canvas: numbers worked out by hand."""

from __future__ import annotations

import numpy as np

from tramtrack.imaging.geometry import fit


def test_a_wide_crop_is_centred_from_top_to_bottom() -> None:
    geometry = fit((1000, 800), (100, 50, 300, 250), False, (512, 256), spacing_mm=0.1)
    assert (geometry.placed_rows, geometry.placed_columns) == (256, 256)
    assert (geometry.offset_rows, geometry.offset_columns) == (128, 0)
    assert geometry.scale_rows == geometry.scale_columns == 1.28
    assert geometry.prepared_spacing_mm == 0.1 / 1.28
    np.testing.assert_allclose(geometry.to_prepared(np.array([99.5, 49.5])), [127.5, -0.5])


def test_a_flipped_crop_turns_its_columns_round() -> None:
    geometry = fit((1000, 800), (0, 600, 400, 800), True, (400, 200))
    np.testing.assert_allclose(geometry.to_prepared(np.array([[0, 799], [10, 600]])), [[0, 0], [10, 199]])
    np.testing.assert_allclose(geometry.to_original(np.array([[0, 0], [10, 199]])), [[0, 799], [10, 600]])
