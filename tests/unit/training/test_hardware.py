"""Which arithmetic is chosen where."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from tramtrack.errors import UsageError
from tramtrack.training import hardware
from tramtrack.training.activations import compute_activations
from tramtrack.training.loader import batches

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


def test_the_arithmetic_is_that_of_the_chosen_gpu_and_not_of_the_first(monkeypatch):
    """cuda:0 has no bfloat16, cuda:1 has."""
    current = [0]

    @contextmanager
    def made_current(device):
        current.append(torch.device(device).index)
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "device", made_current)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: current[-1] == 1)
    assert hardware.resolve_dtype("auto", torch.device("cuda:0")) == torch.float32
    assert hardware.resolve_dtype("auto", torch.device("cuda:1")) == torch.bfloat16
    assert current == [0]


def with_gpus(monkeypatch, count):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("gpus", "wanted", "expected"),
    [
        (0, "auto", ["cpu"]),
        (0, "cpu", ["cpu"]),
        (1, "auto", ["cuda:0"]),
        (2, "auto", ["cuda:0", "cuda:1"]),
        (2, "cuda", ["cuda:0", "cuda:1"]),
        (2, "cuda:1", ["cuda:1"]),
        (2, "cpu", ["cpu"]),
    ],
)
def test_runs_are_dealt_to_every_gpu_unless_one_device_is_named(gpus, wanted, expected, monkeypatch):
    with_gpus(monkeypatch, gpus)
    assert hardware.devices_of(wanted) == expected
    assert hardware.choose_device(wanted) == torch.device(expected[0])


@pytest.mark.parametrize(
    ("gpus", "wanted", "says"),
    [
        (0, "cuda", "PyTorch finds no CUDA device here"),
        (0, "cuda:0", "PyTorch finds no CUDA device here"),
        (2, "cuda:2", "there is cuda:0, cuda:1"),
        (2, "gpu", "expected auto, cpu, cuda or cuda:N"),
        (2, "cuda:x", "expected auto, cpu, cuda or cuda:N"),
    ],
)
def test_a_device_that_is_not_there_is_refused(gpus, wanted, says, monkeypatch):
    with_gpus(monkeypatch, gpus)
    with pytest.raises(UsageError, match=f"--device {wanted}: {says}"):
        hardware.choose_device(wanted)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_is_chosen_and_trains(make_classifier, states_of, examples, tmp_path):
    from tramtrack.protocol import Training
    from tramtrack.training.loop import train

    device = hardware.choose_device()
    assert device.type == "cuda"
    model = make_classifier()
    activations = states_of(model, device=device)
    history = train(
        model.to(device), activations, *examples, Training(epochs=2, batch_size=4),
        seed=0, dtype=hardware.resolve_dtype("auto", device), device=device, checkpoint=tmp_path / "c",
    )  # fmt: skip
    assert len(history) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_views_and_activations_arrive_on_cuda_as_they_are(make_classifier, views, tmp_path):
    """From pinned memory, copied without waiting; channels_last stays."""
    device, model, files = hardware.choose_device("cuda"), make_classifier().eval(), list(views["file"])
    for one, other in zip(batches(files, 3, CPU), batches(files, 3, device), strict=True):
        assert other.device.type == device.type and torch.equal(one, other.cpu())
    settings = {"size": (64, 32), "dtype": torch.float32, "device": CPU, "what": "test"}
    kept, positions = compute_activations(model, files, tmp_path / "cache", {}, **settings), torch.tensor([5, 0, 3])
    for one, other in zip(kept.batch(positions, CPU), kept.batch(positions, device), strict=True):
        assert other.device.type == device.type and torch.equal(one, other.cpu())
        assert other.is_contiguous(memory_format=torch.channels_last)


def test_the_processor_is_read_where_linux_tells():
    flags, vendor = hardware._processor()
    assert isinstance(flags, set) and isinstance(vendor, str)


A_PRODUCT = """
import tramtrack.training.hardware
import torch
torch.rand(64, 64) @ torch.rand(64, 64)
"""


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="this build of torch has no MKL")
def test_products_are_summed_in_a_fixed_order():
    """MKL says of each product in which mode it was computed."""
    unset = {name: value for name, value in os.environ.items() if name not in ("MKL_CBWR", "MKL_DYNAMIC")}
    done = subprocess.run(
        [sys.executable, "-c", A_PRODUCT], env={**unset, "MKL_VERBOSE": "1"}, capture_output=True, text=True, check=True
    )
    (product,) = [line for line in done.stdout.splitlines() if "SGEMM(" in line]
    assert "CNR:AUTO" in product and "Dyn:0" in product


A_LARGE_TENSOR = """
import tramtrack.training.hardware
import torch
large = torch.ones(1 << 24)
print(open("/proc/self/smaps_rollup").read())
"""
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(
    not HUGE_PAGES.exists() or "[never]" in HUGE_PAGES.read_text(), reason="this system grants no transparent huge pages"
)
def test_a_large_tensor_lies_on_huge_pages():
    unset = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    done = subprocess.run([sys.executable, "-c", A_LARGE_TENSOR], env=unset, capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("AnonHugePages:")]
    assert int(line.split()[1]) > 32_000, line  # kB, of a tensor of 65,536


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_heat_maps_and_predictions_run_on_cuda(make_classifier, grey):
    from tramtrack.explain.gradcam import grad_cam_plus_plus

    device = hardware.choose_device("cuda")
    model = make_classifier()
    here = grad_cam_plus_plus(model, grey[:2])
    there = grad_cam_plus_plus(model.to(device), grey[:2].to(device))
    for one, other in zip(here, there, strict=True):
        assert other.device.type == "cuda"
        assert torch.allclose(one, other.cpu(), rtol=0, atol=1e-2 * float(one.abs().max()))
