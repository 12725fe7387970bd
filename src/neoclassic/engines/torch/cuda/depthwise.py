"""Depthwise convolution: each channel has its own K×K kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from triton import language as tl

from neoclassic.engines.torch.cuda.indexing import kernel, offsets, tile, tile_mask, unravel, window_pixel
from neoclassic.engines.torch.cuda.launch import (
    block,
    channel_rows,
    empty_maps,
    grid,
    output_size,
    partial_sums,
    sum_partials,
)


@kernel
def _depthwise(  # type: ignore[no-untyped-def]
    x, weight, y, n, C, H, W, h, w, stride,
    K: tl.constexpr, S: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    pixel, channel = tile(PIXELS, CHANNELS)
    image, i, j = unravel(pixel, h, w)
    mask = tile_mask(pixel, n, channel, C)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for k in tl.static_range(K * K):
        source, valid = window_pixel(image, i, j, k, H, W, K, S, P)
        value = tl.load(x + offsets(source, channel, stride), valid & mask, 0.0).to(tl.float32)
        total += value * tl.load(weight + channel * K * K + k, channel < C, 0.0)[None, :]
    tl.store(y + offsets(pixel, channel, C), total.to(y.dtype.element_ty), mask)


@kernel
def _depthwise_input_backward(  # type: ignore[no-untyped-def]
    dy, weight, dx, n, C, H, W, h, w, stride,
    K: tl.constexpr, S: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    pixel, channel = tile(PIXELS, CHANNELS)
    image, i, j = unravel(pixel, H, W)
    mask = tile_mask(pixel, n, channel, C)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for k in tl.static_range(K * K):
        top, left = i + P - k // K, j + P - k % K
        row, column = top // S, left // S
        valid = (top >= 0) & (top % S == 0) & (row < h) & (left >= 0) & (left % S == 0) & (column < w)
        source = offsets((image * h + row) * w + column, channel, stride)
        gradient = tl.load(dy + source, valid[:, None] & mask, 0.0).to(tl.float32)
        total += gradient * tl.load(weight + channel * K * K + k, channel < C, 0.0)[None, :]
    tl.store(dx + offsets(pixel, channel, C), total.to(dx.dtype.element_ty), mask)


@kernel
def _depthwise_weight_backward(  # type: ignore[no-untyped-def]
    dy, x, partials, n, C, H, W, h, w, dy_stride, stride,
    K: tl.constexpr, S: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Each program sums for one position in the kernel; neighbouring programs read the same pixels."""
    k = tl.program_id(0) % (K * K)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    partial = tl.program_id(0) // (K * K)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for start in range(partial * PIXELS, n, tl.num_programs(0) // (K * K) * PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        image, i, j = unravel(pixel, h, w)
        mask = tile_mask(pixel, n, channel, C)
        source, valid = window_pixel(image, i, j, k, H, W, K, S, P)
        value = tl.load(x + offsets(source, channel, stride), valid & mask, 0.0).to(tl.float32)
        total += value * tl.load(dy + offsets(pixel, channel, dy_stride), mask, 0.0).to(tl.float32)
    tl.store(partials + (partial * C + channel) * K * K + k, tl.sum(total, 0), channel < C)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, S: int, P: int) -> Tensor:
        N, C, H, W = x.shape
        K = weight.shape[2]
        h, w = (output_size(size, K, S, P) for size in (H, W))
        x, stride = channel_rows(x)
        weight = weight.contiguous()
        y = empty_maps(x, C, h, w)
        _depthwise[grid(N * h * w, C)](x, weight, y, N * h * w, C, H, W, h, w, stride, K, S, P, *block(C))
        context.save_for_backward(x, weight)
        context.stride_padding = S, P
        return y

    @staticmethod
    def backward(context: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = context.saved_tensors
        S, P = context.stride_padding
        (N, C, H, W), (h, w), K = x.shape, dy.shape[2:], weight.shape[2]
        (x, stride), (dy, dy_stride) = channel_rows(x), channel_rows(dy)
        dx = empty_maps(x, C, H, W)
        _depthwise_input_backward[grid(N * H * W, C)](
            dy, weight, dx, N * H * W, C, H, W, h, w, dy_stride, K, S, P, *block(C)
        )
        (across, down), partials = partial_sums(N * h * w, C, C * K * K, dy)
        _depthwise_weight_backward[across * K * K, down](
            dy, x, partials, N * h * w, C, H, W, h, w, dy_stride, stride, K, S, P, *block(C)
        )
        return dx, sum_partials(partials).view(C, 1, K, K), None, None


def depthwise_conv2d(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """A depthwise convolution of x, N×C×H×W, with kernels C×1×K×K."""
    y: Tensor = _Depthwise.apply(x, weight, stride, padding)
    return y
