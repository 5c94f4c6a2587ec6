"""What memory that is not there comes to: one line, and nothing of the failed run kept."""

from __future__ import annotations

import gc
import mmap
import pickle
import weakref
from pathlib import Path

import pytest
import torch

from tramtrack.errors import OutOfMemory
from tramtrack.training import units
from tramtrack.training.memory import within_memory


def on_the_cpu():
    torch.empty(1 << 50)


def on_a_gpu():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 15.77 GiB.")


def in_cudas_runtime():
    raise RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported")


def in_cublas():
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


def in_python():
    raise MemoryError


def for_the_map_of_a_file():
    mmap.mmap(-1, 1 << 60)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (on_the_cpu, "4503599627370496 bytes more were asked for"),
        (on_a_gpu, "20.00 GiB more were asked for"),
        (in_cudas_runtime, "CUDA error: out of memory"),
        (in_cublas, "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        (in_python, "no more was to be had"),
        (for_the_map_of_a_file, "[Errno 12] Cannot allocate memory"),
    ],
)
def test_memory_that_is_not_there_is_told_in_one_line(call, said):
    with pytest.raises(OutOfMemory) as caught:
        within_memory(call, "seed 3", "cuda:1")
    start = f"there is no memory for seed 3 on the device cuda:1 ({said}); free some, name another device (--device), or"
    assert str(caught.value).startswith(start) and "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # a worker sends it home


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        within_memory(lambda: torch.ones(2, 3) @ torch.ones(2, 3), "seed 3", "cpu")
    with pytest.raises(FileNotFoundError):
        within_memory(Path("absent").read_bytes, "seed 3", "cpu")
    assert within_memory(lambda: 5, "seed 3", "cpu") == 5


def test_nothing_of_what_failed_stays_in_memory():
    kept = []

    def fill():
        network = torch.nn.Linear(2, 2)
        kept.append(weakref.ref(network))
        on_the_cpu()

    with pytest.raises(OutOfMemory) as caught:
        within_memory(fill, "seed 3", "cpu")
    gc.collect()
    assert kept[0]() is None and caught.value.__context__ is None


@pytest.mark.parametrize(("task", "of"), [("train_seed", "seed 0"), ("keep_one", "its activations")])
def test_tasks_of_a_run_say_for_what_there_was_no_memory(task, of, monkeypatch, tmp_path):
    for name in ("train_run", "keep_share"):
        monkeypatch.setattr(units, name, lambda *_, **__: on_the_cpu())
    monkeypatch.setattr(units, "set_up", lambda *_, **__: None)
    plan = units.Plan("vgg16", "last-conv", None, None, None, {}, tmp_path, tmp_path, "auto")
    with pytest.raises(OutOfMemory, match=f"no memory for {of} on the device cpu"):
        getattr(units, task)(units.Place("cpu"), plan, 0, None)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_that_is_full_is_told_and_has_its_room_back():
    held = torch.cuda.memory_reserved()
    kept = []

    def fill():
        while True:
            kept.append(torch.empty(1 << 30, dtype=torch.uint8, device="cuda"))

    with pytest.raises(OutOfMemory, match=r"1\.00 GiB more were asked for"):
        within_memory(fill, "seed 3", "cuda:0")
    kept.clear()
    with pytest.raises(OutOfMemory):
        within_memory(lambda: torch.empty(1 << 50, device="cuda"), "seed 3", "cuda:0")
    assert torch.cuda.memory_reserved() <= held
