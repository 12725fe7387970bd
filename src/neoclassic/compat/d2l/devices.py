"""Where tensors live: NVIDIA's, AMD's, Intel's and Apple's accelerators, or the processor."""

from __future__ import annotations

import torch


def _accelerators() -> list[torch.device]:
    if torch.cuda.is_available():  # AMD's call themselves cuda too
        return [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        return [torch.device("xpu", i) for i in range(torch.xpu.device_count())]
    if torch.backends.mps.is_available():
        return [torch.device("mps")]
    return []


def cpu() -> torch.device:
    """The processor."""
    return torch.device("cpu")


def gpu(i: int = 0) -> torch.device:
    """Accelerator i of this machine's kind; `cuda:i` where there is none, as the book has it."""
    found = _accelerators()
    return found[i] if i < len(found) else torch.device("cuda", i)


def num_gpus() -> int:
    """How many accelerators there are."""
    return len(_accelerators())


def try_gpu(i: int = 0) -> torch.device:
    """Accelerator i, or the processor where there is none."""
    found = _accelerators()
    return found[i] if i < len(found) else cpu()


def try_all_gpus() -> list[torch.device]:
    """Every accelerator, or the processor alone."""
    return _accelerators() or [cpu()]
