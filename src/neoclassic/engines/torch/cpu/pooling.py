"""Means of 2×2 pixels, which torch takes three times as long for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from neoclassic.engines.torch.cpu.convolution import FEW_CHANNELS

SMALL_MAP = 144  # pixels up to which the means are faster as a matrix product


class HalvingAvgPool(torch.autograd.Function):
    """The mean of each block of 2×2 pixels, for maps with even sides."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        _, C, H, W = x.shape
        context.matrix = None
        if H * W <= SMALL_MAP and x.is_contiguous():
            context.matrix = _matrix(H, W, x.dtype)
            y: Tensor = (x.flatten(2) @ context.matrix).unflatten(2, (H // 2, W // 2))
            return y
        if x.dtype == torch.bfloat16 or (C >= FEW_CHANNELS and not x.is_contiguous()):
            return functional.avg_pool2d(x, 2)
        first, *others = (x[..., i::2, j::2] for i in (0, 1) for j in (0, 1))
        return sum(others, first) / 4

    @staticmethod
    def backward(context: Any, dy: Tensor) -> Tensor:
        N, C, H, W = dy.shape
        if context.matrix is not None:
            small: Tensor = (dy.flatten(2) @ context.matrix.t()).unflatten(2, (2 * H, 2 * W))
            return small
        channels_last = dy.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        dx = torch.empty(N, C, 2 * H, 2 * W, dtype=dy.dtype, memory_format=layout)
        quarter = dy / 4
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            dx[:, :, i::2, j::2] = quarter
        return dx


def _matrix(H: int, W: int, dtype: torch.dtype) -> Tensor:
    """The matrix that maps a flattened H×W map to the means of its blocks of 2×2 pixels."""
    rows, columns = (torch.eye(n // 2, dtype=dtype).repeat_interleave(2, 0) for n in (H, W))
    return torch.kron(rows, columns) / 4


def mean_of_blocks(x: Tensor) -> Tensor:
    """The mean of each block of 2×2 pixels in the output of `space_to_depth_conv2d`: N×O×H/2×W/2 from N×4·O×H/2×W/2."""
    C = x.shape[1] // 4
    matrix = torch.eye(C, dtype=x.dtype).repeat(4, 1) / 4
    y: Tensor = x.permute(0, 2, 3, 1) @ matrix
    return y.permute(0, 3, 1, 2).contiguous()
