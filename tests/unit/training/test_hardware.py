"""Which arithmetic is chosen where."""

from __future__ import annotations

import pytest
import torch

from tramtrack.training import hardware

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "vendor", "expected"),
    [
        ({"avx512f", "avx512_bf16"}, "AuthenticAMD", torch.bfloat16),
        ({"avx512f", "avx512_bf16"}, "GenuineIntel", torch.float32),
        ({"avx512_bf16", "amx_bf16", "amx_tile"}, "GenuineIntel", torch.bfloat16),
        ({"avx2"}, "AuthenticAMD", torch.float32),
        (set(), "", torch.float32),
    ],
)
def test_auto_is_bfloat16_only_where_it_is_faster(flags, vendor, expected, monkeypatch):
    monkeypatch.setattr(hardware, "_processor", lambda: (flags, vendor))
    assert hardware.resolve_dtype("auto", CPU) == expected
    assert hardware.resolve_dtype("float32", CPU) == torch.float32
    assert hardware.resolve_dtype("bfloat16", CPU) == torch.bfloat16


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_is_chosen_and_trains(make_classifier, activations_of, examples, tmp_path):
    from tramtrack.protocol import Training
    from tramtrack.training.loop import train

    device = hardware.choose_device()
    assert device.type == "cuda"
    model = make_classifier()
    activations = activations_of(model)
    history = train(
        model.to(device), activations, *examples, Training(epochs=2, batch_size=4),
        seed=0, dtype=hardware.resolve_dtype("auto", device), device=device, checkpoint=tmp_path / "c",
    )  # fmt: skip
    assert len(history) == 2


def test_the_processor_is_read_where_linux_tells():
    flags, vendor = hardware._processor()
    assert isinstance(flags, set) and isinstance(vendor, str)
