"""Where PyTorch computes, and what it can do there."""

from __future__ import annotations

import getpass
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

import torch

from neoclassic.base.errors import UsageError


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA, Apple's, Intel's, else the processor. UsageError for one that is not here."""
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # which "meta" has not
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"no device {name!r} here: {reason}; use --device cpu") from None
    return device


def device_name(name: str) -> str:
    """What the device is called, as "NVIDIA H100 80GB HBM3"; where it has no name of its own, its kind."""
    device = pick_device(name)
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else device.type


def takes_bfloat16(device: torch.device) -> bool:
    """Whether the processor has units for bfloat16; without, it would be slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.get_device_capability(device) >= (8, 0))
    if device.type == "cpu":
        tests = (getattr(torch.cpu, f"_is_{unit}_supported", None) for unit in ("avx512_bf16", "amx_tile"))
        return any(test() for test in tests if test)
    return False


def compiles(device: torch.device) -> bool:
    """Whether torch.compile finds what it needs: Triton, or on a processor the C++ compiler that it looks for."""
    if device.type in ("cuda", "xpu"):
        return importlib.util.find_spec("triton") is not None
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    return shutil.which(os.environ.get("CXX", usual)) is not None


def place_compiled() -> None:
    """Tell torch.compile where to keep what it makes, where the account has no name to call its own place by."""
    try:
        getpass.getuser()
    except (KeyError, OSError):  # the second since Python 3.13
        place = Path(tempfile.gettempdir()) / f"torchinductor_{os.getuid()}"
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(place))
