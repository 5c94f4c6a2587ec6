"""The device that a network runs on, and the arithmetic that is fast there."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import TypeVar

import torch

from tramtrack.errors import UsageError


def choose_device(wanted: str = "auto") -> torch.device:
    """The device behind "auto" (CUDA where there is one, else the CPU), "cpu", "cuda" (the first) or "cuda:1".

    Raises UsageError for a device that is not there.
    """
    return torch.device(devices_of(wanted)[0])


def devices_of(wanted: str = "auto") -> list[str]:
    """The devices that runs may be dealt to: every CUDA device for "auto" and "cuda" where there are any, else the one named.

    Raises UsageError for a device that is not there.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = [f"cuda:{number}" for number in range(count)]
    if wanted == "auto":
        return there or ["cpu"]
    if wanted == "cuda" and there:
        return there
    if wanted == "cpu" or wanted in there:
        return [wanted]
    if wanted != "cuda" and not re.fullmatch(r"cuda:\d+", wanted):
        raise UsageError(f"--device {wanted}: expected auto, cpu, cuda or cuda:N, such as cuda:1")
    has = f"there is {', '.join(there)}" if there else "PyTorch finds no CUDA device here"
    raise UsageError(f"--device {wanted}: {has}; use one that is there, or --device auto")


def resolve_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """The dtype behind "auto", "bfloat16" or "float32".

    auto is bfloat16 where the hardware multiplies it faster than float32: CUDA devices that say so, processors with AMX
    tiles, and AMD's with AVX512_BF16. Intel's AVX512_BF16 without AMX runs bfloat16 more slowly than float32
    (``make bench NAME=dtype`` prints the ratio), so it gets float32. The answer depends on ``device``'s hardware alone.
    """
    if wanted == "float32":
        return torch.float32
    if wanted == "bfloat16":
        return torch.bfloat16
    if device.type == "cuda":
        with torch.cuda.device(device):  # the question is put to the current device
            return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    flags, vendor = _processor()
    fast = "amx_bf16" in flags or ("avx512_bf16" in flags and vendor == "AuthenticAMD")
    return torch.bfloat16 if fast else torch.float32


def dtype_name(dtype: torch.dtype) -> str:
    """ "float32" for torch.float32."""
    return str(dtype).removeprefix("torch.")


def describe(device: torch.device) -> dict[str, str]:
    """What a report says of the machine: device, processor, threads. Information, never compared."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "device": f"{device.type}: {name}",
        "cpu capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
    }


def _processor() -> tuple[set[str], str]:
    """Flags and vendor of the processor from Linux's /proc/cpuinfo; empty elsewhere."""
    listing = Path("/proc/cpuinfo")
    if not listing.exists():
        return set(), ""
    facts: dict[str, str] = {}
    for line in listing.read_text().splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    return set(facts.get("flags", "").split()), facts.get("vendor_id", "")


Model = TypeVar("Model", bound=torch.nn.Module)


def placed(model: Model, device: torch.device) -> Model:
    """``model`` on ``device``, its weights laid out for channels_last; the same object."""
    model.to(device)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
