"""The devices of tensors: NVIDIA, AMD, Intel and Apple accelerators, or the CPU."""

from __future__ import annotations

import torch


def _accelerators() -> list[torch.device]:
    if torch.cuda.is_available():  # AMD devices are called cuda too
        return [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        return [torch.device("xpu", i) for i in range(torch.xpu.device_count())]
    if torch.backends.mps.is_available():
        return [torch.device("mps")]
    return []


def cpu() -> torch.device:
    """The CPU."""
    return torch.device("cpu")


def gpu(i: int = 0) -> torch.device:
    """Accelerator i of whatever kind this machine has; `cuda:i` if it does not exist, as in the book."""
    devices = _accelerators()
    return devices[i] if i < len(devices) else torch.device("cuda", i)


def num_gpus() -> int:
    """The number of accelerators."""
    return len(_accelerators())


def try_gpu(i: int = 0) -> torch.device:
    """Accelerator i, or the CPU if it does not exist."""
    devices = _accelerators()
    return devices[i] if i < len(devices) else cpu()


def try_all_gpus() -> list[torch.device]:
    """All accelerators, or the CPU if there is none."""
    return _accelerators() or [cpu()]
