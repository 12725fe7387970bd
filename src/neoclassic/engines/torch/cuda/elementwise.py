"""The sum of maps and a bias, with ReLU, in one pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from triton import language as tl

from neoclassic.engines.torch.cuda.indexing import kernel, offsets, tile, tile_mask
from neoclassic.engines.torch.cuda.launch import block, channel_rows, empty_maps, grid, partial_sums, sum_partials


@kernel
def _add(  # type: ignore[no-untyped-def]
    x, other, bias, y, n, C, stride, other_stride,
    OTHER: tl.constexpr, BIAS: tl.constexpr, RELU: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    pixel, channel = tile(PIXELS, CHANNELS)
    mask = tile_mask(pixel, n, channel, C)
    total = tl.load(x + offsets(pixel, channel, stride), mask, 0.0).to(tl.float32)
    if OTHER:
        total += tl.load(other + offsets(pixel, channel, other_stride), mask, 0.0).to(tl.float32)
    if BIAS:
        total += tl.load(bias + channel, channel < C, 0.0)[None, :]
    if RELU:
        total = tl.where(total <= 0, 0.0, total)
    tl.store(y + offsets(pixel, channel, C), total.to(y.dtype.element_ty), mask)


@kernel
def _add_backward(  # type: ignore[no-untyped-def]
    dy, y, dx, partials, n, C, stride,
    BIAS: tl.constexpr, RELU: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    _, channel = tile(PIXELS, CHANNELS)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for start in range(tl.program_id(0) * PIXELS, n, tl.num_programs(0) * PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        mask = tile_mask(pixel, n, channel, C)
        to = offsets(pixel, channel, C)
        gradient = tl.load(dy + offsets(pixel, channel, stride), mask, 0.0).to(tl.float32)
        if RELU:
            gradient = tl.where(tl.load(y + to, mask, 0.0).to(tl.float32) <= 0, 0.0, gradient)
        tl.store(dx + to, gradient.to(dx.dtype.element_ty), mask)
        total += gradient
    if BIAS:
        tl.store(partials + tl.program_id(0) * C + channel, tl.sum(total, 0), channel < C)


class _Add(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, other: Tensor | None, bias: Tensor | None, relu: bool) -> Tensor:
        N, C, H, W = x.shape
        x, stride = channel_rows(x)
        other, other_stride = (None, 0) if other is None else channel_rows(other)
        y, given = empty_maps(x, C, H, W), (other is not None, bias is not None)
        _add[grid(N * H * W, C)](x, other, bias, y, N * H * W, C, stride, other_stride, *given, relu, *block(C))
        context.save_for_backward(y if relu else None)
        context.given = given
        return y

    @staticmethod
    def backward(context: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        (y,) = context.saved_tensors
        has_other, has_bias = context.given
        (N, C, H, W), (dy, stride) = dy.shape, channel_rows(dy)
        dx = empty_maps(dy, C, H, W)
        programs, partials = partial_sums(N * H * W, C, C, dy)
        _add_backward[programs](dy, y, dx, partials, N * H * W, C, stride, has_bias, y is not None, *block(C))
        return dx, dx if has_other else None, sum_partials(partials) if has_bias else None, None


def add(x: Tensor, other: Tensor | None = None, bias: Tensor | None = None, relu: bool = False) -> Tensor:
    """x + other + bias, then ReLU if `relu`; x and other are N×C×H×W, the bias has C numbers."""
    y: Tensor = _Add.apply(x, other, bias, relu)
    return y
