"""Max-pooling fused with the bias before it and the ReLU after it, and average pooling."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor, nn
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

ZEROED = tl.constexpr(255)  # the index of a maximum that ReLU sets to 0; windows have fewer positions


def _side(size: int | tuple[int, int]) -> int:
    return size if isinstance(size, int) else size[0]


def _is_square(pool: nn.MaxPool2d | nn.AvgPool2d) -> bool:
    sizes = pool.kernel_size, pool.stride, pool.padding
    return all(isinstance(size, int) or size[0] == size[1] for size in sizes)


# ── max-pooling ─────────────────────────────────────────────────────────────────────────────────────


@kernel
def _max_pool(  # type: ignore[no-untyped-def]
    x, bias, y, indices, n, C, H, W, h, w, stride,
    K: tl.constexpr, S: tl.constexpr, P: tl.constexpr, BIAS: tl.constexpr, RELU: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    pixel, channel = tile(PIXELS, CHANNELS)
    image, i, j = unravel(pixel, h, w)
    mask = tile_mask(pixel, n, channel, C)
    maximum = tl.full((PIXELS, CHANNELS), float("-inf"), tl.float32)
    index = tl.zeros((PIXELS, CHANNELS), tl.int32)
    for k in tl.static_range(K * K):
        source, valid = window_pixel(image, i, j, k, H, W, K, S, P)
        value = tl.load(x + offsets(source, channel, stride), valid & mask, float("-inf")).to(tl.float32)
        larger = (value > maximum) | (value != value)
        maximum = tl.where(larger, value, maximum)
        index = tl.where(larger, k, index)
    if BIAS:
        maximum += tl.load(bias + channel, channel < C, 0.0)[None, :]
    if RELU:
        zeroed = maximum <= 0
        maximum = tl.where(zeroed, 0.0, maximum)
        index = tl.where(zeroed, ZEROED, index)
    to = offsets(pixel, channel, C)
    tl.store(y + to, maximum.to(y.dtype.element_ty), mask)
    tl.store(indices + to, index.to(tl.uint8), mask)


@kernel
def _max_pool_backward(  # type: ignore[no-untyped-def]
    dy, indices, dx, n, C, H, W, h, w, stride,
    K: tl.constexpr, S: tl.constexpr, P: tl.constexpr, REACH: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Each input pixel adds up the gradients of the REACH×REACH windows that may contain it."""
    pixel, channel = tile(PIXELS, CHANNELS)
    image, i, j = unravel(pixel, H, W)
    mask = tile_mask(pixel, n, channel, C)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for k in tl.static_range(REACH * REACH):
        row, column = (i + P) // S - k // REACH, (j + P) // S - k % REACH
        a, b = i + P - row * S, j + P - column * S
        valid = (row >= 0) & (row < h) & (a < K) & (column >= 0) & (column < w) & (b < K)
        window = (image * h + row) * w + column
        window_mask = valid[:, None] & mask
        index = tl.load(indices + offsets(window, channel, C), window_mask, ZEROED).to(tl.int32)
        gradient = tl.load(dy + offsets(window, channel, stride), window_mask, 0.0).to(tl.float32)
        total += tl.where(index == (a * K + b)[:, None], gradient, 0.0)
    tl.store(dx + offsets(pixel, channel, C), total.to(dx.dtype.element_ty), mask)


@kernel
def _max_pool_bias_backward(  # type: ignore[no-untyped-def]
    dy, indices, partials, n, C, stride, PIXELS: tl.constexpr, CHANNELS: tl.constexpr
):  # fmt: skip
    """The gradient of the bias: the sum over the maxima that ReLU did not set to 0."""
    _, channel = tile(PIXELS, CHANNELS)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for start in range(tl.program_id(0) * PIXELS, n, tl.num_programs(0) * PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        mask = tile_mask(pixel, n, channel, C)
        index = tl.load(indices + offsets(pixel, channel, C), mask, ZEROED)
        gradient = tl.load(dy + offsets(pixel, channel, stride), mask, 0.0).to(tl.float32)
        total += tl.where(index == ZEROED, 0.0, gradient)
    tl.store(partials + tl.program_id(0) * C + channel, tl.sum(total, 0), channel < C)


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, x: Tensor, bias: Tensor | None, K: int, S: int, P: int, size: tuple[int, int], relu: bool
    ) -> Tensor:
        N, C, H, W = x.shape
        (h, w), (x, stride) = size, channel_rows(x)
        y = empty_maps(x, C, h, w)
        indices = torch.empty_like(y, dtype=torch.uint8)
        _max_pool[grid(N * h * w, C)](
            x, bias, y, indices, N * h * w, C, H, W, h, w, stride, K, S, P, bias is not None, relu, *block(C)
        )
        context.save_for_backward(indices)
        context.sizes = (H, W), (K, S, P), bias is not None
        return y

    @staticmethod
    def backward(context: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        (indices,) = context.saved_tensors
        (H, W), (K, S, P), has_bias = context.sizes
        N, C, h, w = dy.shape
        dy, stride = channel_rows(dy)
        dx = empty_maps(dy, C, H, W)
        reach = triton.cdiv(K, S)
        _max_pool_backward[grid(N * H * W, C)](
            dy, indices, dx, N * H * W, C, H, W, h, w, stride, K, S, P, reach, *block(C)
        )
        db = None
        if has_bias:
            programs, partials = partial_sums(N * h * w, C, C, dy)
            _max_pool_bias_backward[programs](dy, indices, partials, N * h * w, C, stride, *block(C))
            db = sum_partials(partials)
        return dx, db, None, None, None, None, None


def max_pool2d(x: Tensor, pool: nn.MaxPool2d, bias: Tensor | None = None, relu: bool = False) -> Tensor:
    """relu(pool(x + bias)), which equals pool(relu(x + bias)); x is N×C×H×W, the bias has C numbers."""
    K, S, P = (_side(each) for each in (pool.kernel_size, pool.stride, pool.padding))
    size = (output_size(x.shape[2], K, S, P, pool.ceil_mode), output_size(x.shape[3], K, S, P, pool.ceil_mode))
    y: Tensor = _MaxPool.apply(x, bias, K, S, P, size, relu)
    return y


def supports_max_pool(pool: nn.MaxPool2d) -> bool:
    """Whether `max_pool2d` can replace a layer: windows must be square, with fewer than 255 positions."""
    return _is_square(pool) and _side(pool.kernel_size) ** 2 < ZEROED.value


# ── average pooling ─────────────────────────────────────────────────────────────────────────────────


@kernel
def _avg_pool(  # type: ignore[no-untyped-def]
    x, y, n, C, H, W, h, w, stride, K: tl.constexpr, S: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr
):  # fmt: skip
    pixel, channel = tile(PIXELS, CHANNELS)
    image, i, j = unravel(pixel, h, w)
    mask = tile_mask(pixel, n, channel, C)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for k in tl.static_range(K * K):
        source = (image * H + i * S + k // K) * W + j * S + k % K
        total += tl.load(x + offsets(source, channel, stride), mask, 0.0).to(tl.float32)
    tl.store(y + offsets(pixel, channel, C), (total / (K * K)).to(y.dtype.element_ty), mask)


@kernel
def _avg_pool_backward(  # type: ignore[no-untyped-def]
    dy, dx, n, C, H, W, h, w, stride,
    K: tl.constexpr, S: tl.constexpr, REACH: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    pixel, channel = tile(PIXELS, CHANNELS)
    image, i, j = unravel(pixel, H, W)
    mask = tile_mask(pixel, n, channel, C)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for k in tl.static_range(REACH * REACH):
        row, column = i // S - k // REACH, j // S - k % REACH
        valid = (row >= 0) & (row < h) & (i - row * S < K) & (column >= 0) & (column < w) & (j - column * S < K)
        window = (image * h + row) * w + column
        total += tl.load(dy + offsets(window, channel, stride), valid[:, None] & mask, 0.0).to(tl.float32)
    tl.store(dx + offsets(pixel, channel, C), (total / (K * K)).to(dx.dtype.element_ty), mask)


class _AvgPool(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, K: int, S: int) -> Tensor:
        (N, C, H, W), (x, stride) = x.shape, channel_rows(x)
        h, w = (output_size(size, K, S, 0) for size in (H, W))
        y = empty_maps(x, C, h, w)
        _avg_pool[grid(N * h * w, C)](x, y, N * h * w, C, H, W, h, w, stride, K, S, *block(C))
        context.sizes = H, W, K, S
        return y

    @staticmethod
    def backward(context: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        H, W, K, S = context.sizes
        (N, C, h, w), (dy, stride) = dy.shape, channel_rows(dy)
        dx = empty_maps(dy, C, H, W)
        reach = triton.cdiv(K, S)
        _avg_pool_backward[grid(N * H * W, C)](dy, dx, N * H * W, C, H, W, h, w, stride, K, S, reach, *block(C))
        return dx, None, None


def avg_pool2d(x: Tensor, pool: nn.AvgPool2d) -> Tensor:
    """Average pooling without padding, N×C×H×W."""
    y: Tensor = _AvgPool.apply(x, _side(pool.kernel_size), _side(pool.stride))
    return y


def supports_avg_pool(pool: nn.AvgPool2d) -> bool:
    """Whether `avg_pool2d` can replace a layer: square windows, no padding, no ceil_mode."""
    return _is_square(pool) and _side(pool.padding) == 0 and not pool.ceil_mode
