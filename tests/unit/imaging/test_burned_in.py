"""Lines of text beside the breast are seen; lead letters, scratches, film grain and tissue are not taken for text."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mammogram import breast_picture
from tramtrack.imaging.breast import find_breast
from tramtrack.imaging.burned_in import has_text


def marked(text: str, size: float, place: tuple[int, int] = (330, 40)) -> tuple[np.ndarray, np.ndarray]:
    picture = breast_picture(1280, 960)
    image = Image.new("L", (960, 1280))
    ImageDraw.Draw(image).text((place[0] + 250, place[1]), text, fill=255, font_size=size)
    return np.maximum(picture, np.asarray(image, dtype=np.float32) / 255), find_breast(picture).mask


@pytest.mark.parametrize("size", [16, 24, 40])
@pytest.mark.parametrize("text", ["ROSSI MARIA", "19520317 12:30", "id 4471-99"])
def test_a_line_of_text_is_seen(text: str, size: float) -> None:
    assert has_text(*marked(text, size))


@pytest.mark.parametrize("text", ["", "R", "L MLO", "RCC"])
def test_lead_letters_are_not_text(text: str) -> None:
    assert not has_text(*marked(text, 60))


def test_noise_strips_and_tissue_are_not_text() -> None:
    picture, mask = marked("", 20)
    grain = np.clip(np.random.default_rng(1).normal(0.1, 0.03, picture.shape), 0, 1)
    assert not has_text(np.maximum(picture, grain).astype(np.float32), mask)
    picture[:, -30:] = 1.0
    picture[100:900:40, 700:703] = 1.0  # scratches
    assert not has_text(picture, mask)
    tissue, _ = marked("ROSSI MARIA", 30, (-240, 600))  # inside the breast
    assert not has_text(tissue, find_breast(tissue).mask)
