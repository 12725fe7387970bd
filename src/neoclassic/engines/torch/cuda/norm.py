"""Batch norm fused with the ReLU after it."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor, nn
from torch.nn import functional
from triton import language as tl

from neoclassic.engines.torch.cuda.indexing import kernel, offsets, tile, tile_mask
from neoclassic.engines.torch.cuda.launch import block, channel_rows, empty_maps, grid, partial_sums, sum_partials


@kernel
def _moments(  # type: ignore[no-untyped-def]
    x, partials, n, C, stride, PIXELS: tl.constexpr, CHANNELS: tl.constexpr
):  # fmt: skip
    """Partial sums of each channel and of its squares.

    The channel's first number is subtracted from each: with a large mean, rounding would lose the variance.
    """
    _, channel = tile(PIXELS, CHANNELS)
    first = tl.load(x + channel, channel < C, 0.0).to(tl.float32)[None, :]
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    squares = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for start in range(tl.program_id(0) * PIXELS, n, tl.num_programs(0) * PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        mask = tile_mask(pixel, n, channel, C)
        value = tl.load(x + offsets(pixel, channel, stride), mask, 0.0).to(tl.float32)
        value = tl.where(mask, value - first, 0.0)
        total += value
        squares += value * value
    to = partials + tl.program_id(0) * 2 * C + channel
    tl.store(to, tl.sum(total, 0), channel < C)
    tl.store(to + C, tl.sum(squares, 0), channel < C)


@kernel
def _statistics(  # type: ignore[no-untyped-def]
    x, sums, bias, moments, running_mean, running_var, n, C, eps, momentum, BIAS: tl.constexpr, CHANNELS: tl.constexpr
):  # fmt: skip
    """Mean and reciprocal deviation of each channel, and its running statistics.

    A bias before the norm changes only the running mean.
    """
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    mask = channel < C
    shift = tl.load(sums + channel, mask, 0.0) / n
    variance = tl.maximum(tl.load(sums + C + channel, mask, 0.0) / n - shift * shift, 0.0)
    mean = tl.load(x + channel, mask, 0.0).to(tl.float32) + shift
    tl.store(moments + channel, mean, mask)
    tl.store(moments + C + channel, 1 / tl.sqrt(variance + eps), mask)
    if BIAS:
        mean += tl.load(bias + channel, mask, 0.0)
    before = tl.load(running_mean + channel, mask, 0.0)
    tl.store(running_mean + channel, before + momentum * (mean - before), mask)
    before = tl.load(running_var + channel, mask, 0.0)
    tl.store(running_var + channel, before + momentum * (variance * n / (n - 1) - before), mask)


@triton.jit
def _affine(moments, weight, shift, channel, C):  # type: ignore[no-untyped-def]
    """Mean, reciprocal deviation, weight and shift of each channel, each as a row."""
    mean, scale = tl.load(moments + channel, channel < C, 0.0), tl.load(moments + C + channel, channel < C, 0.0)
    weights, shifts = tl.load(weight + channel, channel < C, 0.0), tl.load(shift + channel, channel < C, 0.0)
    return mean[None, :], scale[None, :], weights[None, :], shifts[None, :]


@kernel
def _normalise(  # type: ignore[no-untyped-def]
    x, y, moments, weight, shift, n, C, stride, RELU: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr
):  # fmt: skip
    pixel, channel = tile(PIXELS, CHANNELS)
    mask = tile_mask(pixel, n, channel, C)
    mean, scale, weights, shifts = _affine(moments, weight, shift, channel, C)
    value = tl.load(x + offsets(pixel, channel, stride), mask, 0.0).to(tl.float32)
    value = (value - mean) * scale * weights + shifts
    if RELU:
        value = tl.where(value <= 0, 0.0, value)
    tl.store(y + offsets(pixel, channel, C), value.to(y.dtype.element_ty), mask)


@kernel
def _norm_sums(  # type: ignore[no-untyped-def]
    dy, x, moments, weight, shift, partials, n, C, dy_stride, stride,
    RELU: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Partial sums of the gradients of shift and weight."""
    _, channel = tile(PIXELS, CHANNELS)
    mean, scale, weights, shifts = _affine(moments, weight, shift, channel, C)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    product = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for start in range(tl.program_id(0) * PIXELS, n, tl.num_programs(0) * PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        mask = tile_mask(pixel, n, channel, C)
        gradient = tl.load(dy + offsets(pixel, channel, dy_stride), mask, 0.0).to(tl.float32)
        value = tl.load(x + offsets(pixel, channel, stride), mask, 0.0).to(tl.float32)
        value = (value - mean) * scale
        if RELU:
            gradient = tl.where(value * weights + shifts <= 0, 0.0, gradient)
        total += gradient
        product += gradient * value
    to = partials + tl.program_id(0) * 2 * C + channel
    tl.store(to, tl.sum(total, 0), channel < C)
    tl.store(to + C, tl.sum(product, 0), channel < C)


@kernel
def _norm_backward(  # type: ignore[no-untyped-def]
    dy, x, dx, moments, weight, shift, sums, n, C, dy_stride, stride,
    RELU: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    pixel, channel = tile(PIXELS, CHANNELS)
    mask = tile_mask(pixel, n, channel, C)
    mean, scale, weights, shifts = _affine(moments, weight, shift, channel, C)
    total = tl.load(sums + channel, channel < C, 0.0)[None, :] / n
    product = tl.load(sums + C + channel, channel < C, 0.0)[None, :] / n
    gradient = tl.load(dy + offsets(pixel, channel, dy_stride), mask, 0.0).to(tl.float32)
    value = tl.load(x + offsets(pixel, channel, stride), mask, 0.0).to(tl.float32)
    value = (value - mean) * scale
    if RELU:
        gradient = tl.where(value * weights + shifts <= 0, 0.0, gradient)
    gradient = scale * weights * (gradient - total - value * product)
    tl.store(dx + offsets(pixel, channel, C), gradient.to(dx.dtype.element_ty), mask)


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        x: Tensor,
        weight: Tensor,
        shift: Tensor,
        bias: Tensor | None,
        running: tuple[Tensor, Tensor],
        eps: float,
        momentum: float,
        relu: bool,
    ) -> Tensor:
        N, C, H, W = x.shape
        (x, stride), n = channel_rows(x), N * H * W
        programs, partials = partial_sums(n, C, 2 * C, x)
        _moments[programs](x, partials, n, C, stride, *block(C))
        moments = torch.empty(2, C, device=x.device)
        _statistics[(triton.cdiv(C, 128),)](
            x, sum_partials(partials), bias, moments, *running, n, C, eps, momentum, bias is not None, 128
        )
        y = empty_maps(x, C, H, W)
        _normalise[grid(n, C)](x, y, moments, weight, shift, n, C, stride, relu, *block(C))
        context.save_for_backward(x, weight, shift, moments)
        context.relu, context.bias_gradient = relu, None if bias is None else torch.zeros_like(bias)
        return y

    @staticmethod
    def backward(context: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, shift, moments = context.saved_tensors
        N, C, H, W = x.shape
        (x, stride), (dy, dy_stride), n = channel_rows(x), channel_rows(dy), N * H * W
        programs, partials = partial_sums(n, C, 2 * C, x)
        affine = moments, weight, shift
        _norm_sums[programs](dy, x, *affine, partials, n, C, dy_stride, stride, context.relu, *block(C))
        sums = sum_partials(partials)
        dx = empty_maps(x, C, H, W)
        _norm_backward[grid(n, C)](dy, x, dx, *affine, sums, n, C, dy_stride, stride, context.relu, *block(C))
        return dx, sums[C:], sums[:C], context.bias_gradient, None, None, None, None


def batch_norm(x: Tensor, norm: nn.BatchNorm2d, bias: Tensor | None = None, relu: bool = False) -> Tensor:
    """Batch norm of x + bias in training, then ReLU if `relu`; x is N×C×H×W, the bias has C numbers.

    The norm subtracts the mean, so the bias changes only the running mean, and its gradient is 0. A frozen norm (in
    evaluation mode) is computed by torch. ValueError for a single number per channel, which has no variance.
    """
    if not norm.training:
        y: Tensor = norm(x if bias is None else x + bias.to(x.dtype)[:, None, None])
        return functional.relu(y) if relu else y
    if x.numel() == x.shape[1]:
        norm(x)  # raises torch's own ValueError
    running = norm.running_mean, norm.running_var
    normalised: Tensor = _BatchNorm.apply(x, norm.weight, norm.bias, bias, running, norm.eps, norm.momentum, relu)
    return normalised
