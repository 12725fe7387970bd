"""The first convolution of a network, whose input has few channels."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor
from torch.nn import functional
from triton import language as tl

from neoclassic.engines.torch.cuda.indexing import kernel, offsets, tile, tile_mask, unravel
from neoclassic.engines.torch.cuda.launch import PROGRAMS, channel_rows, empty_maps, output_size, sum_partials


@triton.jit
def _patches(  # type: ignore[no-untyped-def]
    x, pixel, tap, n, H, W, h, w, sn, sc, sh, sw,
    K: tl.constexpr, S: tl.constexpr, P: tl.constexpr, TAPS_IN_ALL: tl.constexpr,
):  # fmt: skip
    """The inputs of each output pixel, pixels × taps. A tap is one channel at one position of the kernel."""
    image, i, j = unravel(pixel, h, w)
    row, column = (i * S - P)[:, None] + (tap // K % K)[None, :], (j * S - P)[:, None] + (tap % K)[None, :]
    valid = (row >= 0) & (row < H) & (column >= 0) & (column < W)
    valid &= (pixel < n)[:, None] & (tap < TAPS_IN_ALL)[None, :]
    source = (image * sn)[:, None] + (tap // (K * K))[None, :] * sc + row * sh + column * sw
    return tl.load(x + source, valid, 0.0)


@kernel
def _stem(  # type: ignore[no-untyped-def]
    x, weight, y, n, C, H, W, h, w, sn, sc, sh, sw,
    K: tl.constexpr, S: tl.constexpr, P: tl.constexpr, TAPS_IN_ALL: tl.constexpr,
    TAPS: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    pixel, channel = tile(PIXELS, CHANNELS)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for start in range(0, TAPS_IN_ALL, TAPS):
        tap = start + tl.arange(0, TAPS)
        patches = _patches(x, pixel, tap, n, H, W, h, w, sn, sc, sh, sw, K, S, P, TAPS_IN_ALL).to(y.dtype.element_ty)
        valid = (tap < TAPS_IN_ALL)[:, None] & (channel < C)[None, :]
        weights = tl.load(weight + channel[None, :] * TAPS_IN_ALL + tap[:, None], valid, 0.0).to(y.dtype.element_ty)
        total = tl.dot(patches, weights, total, input_precision="ieee")
    mask = tile_mask(pixel, n, channel, C)
    tl.store(y + offsets(pixel, channel, C), total.to(y.dtype.element_ty), mask)


@kernel
def _stem_weight_backward(  # type: ignore[no-untyped-def]
    x, dy, partials, n, C, H, W, h, w, sn, sc, sh, sw, stride,
    K: tl.constexpr, S: tl.constexpr, P: tl.constexpr, TAPS_IN_ALL: tl.constexpr,
    TAPS: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    _, channel = tile(PIXELS, CHANNELS)
    tap = tl.program_id(2) * TAPS + tl.arange(0, TAPS)
    total = tl.zeros((CHANNELS, TAPS), tl.float32)
    for start in range(tl.program_id(0) * PIXELS, n, tl.num_programs(0) * PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        patches = _patches(x, pixel, tap, n, H, W, h, w, sn, sc, sh, sw, K, S, P, TAPS_IN_ALL).to(dy.dtype.element_ty)
        mask = tile_mask(pixel, n, channel, C)
        gradient = tl.load(dy + offsets(pixel, channel, stride), mask, 0.0)
        total = tl.dot(tl.trans(gradient), patches, total, input_precision="ieee")
    valid = (channel < C)[:, None] & (tap < TAPS_IN_ALL)[None, :]
    to = (tl.program_id(0) * C + channel)[:, None] * TAPS_IN_ALL + tap[None, :]
    tl.store(partials + to, total, valid)


class _Stem(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, S: int, P: int, dtype: torch.dtype) -> Tensor:
        (N, _, H, W), (C, _, K, _) = x.shape, weight.shape
        h, w = (output_size(size, K, S, P) for size in (H, W))
        y, n = empty_maps(x, C, h, w, dtype), N * h * w
        taps, channels = _stem_block(weight, 64)
        sizes = n, C, H, W, h, w, *x.stride()
        programs = triton.cdiv(n, 64), triton.cdiv(C, channels)
        _stem[programs](x, weight.contiguous(), y, *sizes, K, S, P, weight[0].numel(), taps, 64, channels, num_stages=1)
        context.save_for_backward(x, weight)
        context.sizes = sizes, (K, S, P)
        return y

    @staticmethod
    def backward(context: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = context.saved_tensors
        (n, C, *sizes), window = context.sizes
        (taps, channels), taps_in_all, (dy, stride) = _stem_block(weight, 32), weight[0].numel(), channel_rows(dy)
        down, blocks = triton.cdiv(C, channels), triton.cdiv(taps_in_all, taps)
        across = min(triton.cdiv(n, 64), max(PROGRAMS // (down * blocks), 1))
        partials = torch.empty(across, weight.numel(), device=dy.device)
        _stem_weight_backward[across, down, blocks](
            x, dy, partials, n, C, *sizes, stride, *window, taps_in_all, taps, 64, channels, num_stages=1
        )
        return None, sum_partials(partials).view(weight.shape), None, None, None


def _stem_block(weight: Tensor, max_taps: int) -> tuple[int, int]:
    """Taps and output channels of a tile: powers of 2, and at least 16, the least that a matrix unit takes."""
    taps, channels = (triton.next_power_of_2(size) for size in (weight[0].numel(), len(weight)))
    return min(max(taps, 16), max_taps), min(max(channels, 16), 64)


def stem_conv2d(x: Tensor, weight: Tensor, stride: int, padding: int, dtype: torch.dtype) -> Tensor:
    """A convolution of images, N×c×H×W in any memory layout, with kernels C×c×K×K. The images get no gradient."""
    if stride > 2:
        return _space_to_depth_conv2d(x.to(dtype), weight.to(dtype), stride, padding)
    y: Tensor = _Stem.apply(x, weight, stride, padding, dtype)
    return y


def _space_to_depth_conv2d(x: Tensor, weight: Tensor, S: int, P: int) -> Tensor:
    """The same convolution after space-to-depth with blocks of S×S pixels, with stride 1 and S² times the channels."""
    (H, W), K = x.shape[2:], weight.shape[2]
    k = triton.cdiv(K, S)
    h, w = (output_size(size, K, S, P) for size in (H, W))
    x = functional.pad(x, (P, S * (w - 1 + k) - W - P, P, S * (h - 1 + k) - H - P))
    weight = functional.pad(weight, (0, S * k - K, 0, S * k - K))
    x, weight = (functional.pixel_unshuffle(each, S) for each in (x, weight))
    return functional.conv2d(x.contiguous(memory_format=torch.channels_last), weight)
