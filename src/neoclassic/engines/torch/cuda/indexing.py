"""What kernels share: how they are declared, and how they address pixels and channels."""

from __future__ import annotations

from typing import Any

import triton
from triton import language as tl


def kernel(function: Any) -> Any:
    """A Triton kernel that is compiled once for all sizes.

    Triton would compile it again for sizes divisible by 16, which only helps for strides.
    """
    sizes = [name for name in ("n", "H", "W", "h", "w", "width") if name in function.__code__.co_varnames]
    return triton.jit(function, do_not_specialize=sizes)


@triton.jit
def tile(PIXELS: tl.constexpr, CHANNELS: tl.constexpr):  # type: ignore[no-untyped-def]
    """The pixels and the channels of this program's tile."""
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    return pixel, channel


@triton.jit
def tile_mask(pixel, n, channel, C):  # type: ignore[no-untyped-def]
    """Which elements of a tile are within n pixels and C channels."""
    return (pixel < n)[:, None] & (channel < C)[None, :]


@triton.jit
def offsets(pixel, channel, stride):  # type: ignore[no-untyped-def]
    """Offsets of a tile's elements in memory; `stride` is the distance between two pixels."""
    return pixel.to(tl.int64)[:, None] * stride + channel[None, :]


@triton.jit
def unravel(pixel, H, W):  # type: ignore[no-untyped-def]
    """Image, row and column of a pixel in maps of H×W."""
    return pixel // (H * W), pixel // W % H, pixel % W


@triton.jit
def window_pixel(image, i, j, k, H, W, K: tl.constexpr, S: tl.constexpr, P: tl.constexpr):  # type: ignore[no-untyped-def]
    """The input pixel at position k of the window of output (i, j), and whether it is inside the map of H×W."""
    row, column = i * S - P + k // K, j * S - P + k % K
    valid = (row >= 0) & (row < H) & (column >= 0) & (column < W)
    return (image * H + row) * W + column, valid[:, None]
