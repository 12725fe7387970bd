"""The devices that PyTorch computes on, and what they support."""

from __future__ import annotations

import getpass
import importlib.util
import os
import shutil
import sys
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from neoclassic.base.errors import UsageError
from neoclassic.engines.towers import names, several


def pick_device(name: str) -> torch.device:
    """The device of that name. `auto` is an accelerator of NVIDIA, Apple or Intel if there is one, else the CPU.

    UsageError for a device that this machine does not have.
    """
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # fails for "meta" too
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"no device {name!r} here: {reason}; use --device cpu") from None
    return device


def device_name(name: str) -> str:
    """The model of a CUDA device, such as "NVIDIA H100 80GB HBM3"; for others their type. Of a list, those of each."""
    if several(name):
        return ", ".join(map(device_name, names(name)))
    device = pick_device(name)
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else device.type


def takes_bfloat16(device: torch.device) -> bool:
    """Whether the hardware computes in bfloat16; without, bfloat16 would be slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.get_device_capability(device) >= (8, 0))
    if device.type == "cpu":
        tests = (getattr(torch.cpu, f"_is_{unit}_supported", None) for unit in ("avx512_bf16", "amx_tile"))
        return any(test() for test in tests if test)
    return False


def compiles(device: torch.device) -> bool:
    """Whether torch.compile has what it needs: Triton on a GPU, and on a CPU the C++ compiler that it looks for."""
    if device.type in ("cuda", "xpu"):
        return importlib.util.find_spec("triton") is not None
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    return shutil.which(os.environ.get("CXX", usual)) is not None


def check_compiler(device: torch.device) -> None:
    """Prepare torch.compile. UsageError if it lacks what it needs.

    Its cache is in a folder named after the user; for an account without a name, choose one by number.
    """
    if not compiles(device):
        needs = "a C++ compiler (g++, or what CXX names)" if device.type == "cpu" else "Triton"
        raise UsageError(f"compiling needs {needs}, which is not on this machine: install it, or use --compile off")
    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError since Python 3.13
        folder = Path(tempfile.gettempdir()) / f"torchinductor_{os.getuid()}"
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))


def full_float32(device: torch.device) -> AbstractContextManager[Any]:
    """A context in which cuDNN does not round the factors of convolutions to the 10 bits of TF32."""
    if device.type == "cuda":
        flags: AbstractContextManager[Any] = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        return flags
    return nullcontext()
