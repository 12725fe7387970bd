"""Branches of a network on CUDA streams, at the same time."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor


@cache
def _stream(device: torch.device, i: int) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def run_parallel(functions: list[Callable[[Tensor], Tensor]], x: Tensor) -> list[Tensor]:
    """The output of each function for x. Each function has its own stream, as small maps do not fill a GPU.

    Autograd runs the backward passes on the same streams. If one stream makes a tensor and another reads it, the tensor
    is freed only after the two have waited for each other, here or in autograd.
    """
    main, (first, *others), outputs = torch.cuda.current_stream(x.device), functions, []
    streams = [_stream(x.device, i) for i in range(len(others))]
    for function, stream in zip(others, streams, strict=True):
        stream.wait_stream(main)
        with torch.cuda.stream(stream):
            outputs.append(function(x))
    outputs.insert(0, first(x))
    for stream in streams:
        main.wait_stream(stream)
    return outputs
