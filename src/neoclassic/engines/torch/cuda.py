"""What PyTorch takes long for on a GPU, done by kernels of our own, in Triton.

The matrix units of a GPU are so fast that a step is mostly the reading and writing of maps. PyTorch does it once for
every layer; these kernels do what stands between two convolutions (bias, batch norm, ReLU, max-pooling) with as few
passes as can be, and depthwise convolutions, which cuDNN takes seconds to prepare. All sums are in float32, and in the
same order every time.

To a kernel a map N×C×H×W, channels last, is a matrix of pixels and channels; a program works on a tile of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import triton
from torch import Tensor, nn
from torch.nn import functional
from triton import language as tl

TILE = 2048  # numbers that a program works on at a time
PROGRAMS = 792  # that share a sum: 6 for each multiprocessor of an H100
CLOSED = tl.constexpr(255)  # the place of a maximum that ReLU lets nothing through to; windows have fewer places


@cache
def reason_against(device: torch.device) -> str:
    """Why Triton does not work there, as without a C compiler or Python's headers, or on an old GPU; "" if it does."""
    try:
        twos = _total(torch.ones(2, 16, device=device))
        return "" if bool((twos == 2).all()) else "its sums are wrong"
    except Exception as error:  # whatever a compiler may raise
        return (str(error).strip() or repr(error)).splitlines()[0]


def _kernel(function: Any) -> Any:
    """Compiled once for all sizes; else once more for those that 16 divides, which helps with strides alone."""
    sizes = [name for name in ("n", "H", "W", "h", "w", "width") if name in function.__code__.co_varnames]
    return triton.jit(function, do_not_specialize=sizes)


@triton.jit
def _tile(PIXELS: tl.constexpr, CHANNELS: tl.constexpr):  # type: ignore[no-untyped-def]
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    return pixel, channel


@triton.jit
def _spot(pixel, H, W):  # type: ignore[no-untyped-def]
    """Image, row and column of a pixel of maps of H×W."""
    return pixel // (H * W), pixel // W % H, pixel % W


@triton.jit
def _seen(image, i, j, k, H, W, K: tl.constexpr, S: tl.constexpr, P: tl.constexpr):  # type: ignore[no-untyped-def]
    """The pixel of maps of H×W that an output's window has at its place k, and whether it is none of the padding."""
    row, column = i * S - P + k // K, j * S - P + k % K
    there = (row >= 0) & (row < H) & (column >= 0) & (column < W)
    return (image * H + row) * W + column, there[:, None]


@triton.jit
def _inside(pixel, n, channel, C):  # type: ignore[no-untyped-def]
    return (pixel < n)[:, None] & (channel < C)[None, :]


@triton.jit
def _at(pixel, channel, stride):  # type: ignore[no-untyped-def]
    return pixel.to(tl.int64)[:, None] * stride + channel[None, :]


@_kernel
def _sum(part, total, n, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):  # type: ignore[no-untyped-def]
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    sums = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, n, ROWS):
        row = start + tl.arange(0, ROWS)
        inside = (row < n)[:, None] & (column < width)[None, :]
        sums += tl.load(part + row[:, None] * width + column[None, :], inside, 0.0)
    tl.store(total + column, tl.sum(sums, 0), column < width)


# ── max-pooling, with the bias before and the ReLU behind it ────────────────────────────────────────


@_kernel
def _pool(  # type: ignore[no-untyped-def]
    x, bias, y, place, n, C, H, W, h, w, stride,
    K: tl.constexpr, S: tl.constexpr, P: tl.constexpr, BIAS: tl.constexpr, RELU: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    pixel, channel = _tile(PIXELS, CHANNELS)
    image, i, j = _spot(pixel, h, w)
    inside = _inside(pixel, n, channel, C)
    best = tl.full((PIXELS, CHANNELS), float("-inf"), tl.float32)
    where = tl.zeros((PIXELS, CHANNELS), tl.int32)
    for k in tl.static_range(K * K):
        seen, there = _seen(image, i, j, k, H, W, K, S, P)
        value = tl.load(x + _at(seen, channel, stride), there & inside, float("-inf")).to(tl.float32)
        larger = (value > best) | (value != value)
        best = tl.where(larger, value, best)
        where = tl.where(larger, k, where)
    if BIAS:
        best += tl.load(bias + channel, channel < C, 0.0)[None, :]
    if RELU:
        closed = best <= 0
        best = tl.where(closed, 0.0, best)
        where = tl.where(closed, CLOSED, where)
    to = _at(pixel, channel, C)
    tl.store(y + to, best.to(y.dtype.element_ty), inside)
    tl.store(place + to, where.to(tl.uint8), inside)


@_kernel
def _pool_back(  # type: ignore[no-untyped-def]
    dy, place, dx, n, C, H, W, h, w, stride,
    K: tl.constexpr, S: tl.constexpr, P: tl.constexpr, REACH: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    pixel, channel = _tile(PIXELS, CHANNELS)
    image, i, j = _spot(pixel, H, W)
    inside = _inside(pixel, n, channel, C)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for k in tl.static_range(REACH * REACH):
        row, column = (i + P) // S - k // REACH, (j + P) // S - k % REACH
        a, b = i + P - row * S, j + P - column * S
        there = (row >= 0) & (row < h) & (a < K) & (column >= 0) & (column < w) & (b < K)
        window = (image * h + row) * w + column
        mask = there[:, None] & inside
        found = tl.load(place + _at(window, channel, C), mask, CLOSED).to(tl.int32)
        gradient = tl.load(dy + _at(window, channel, stride), mask, 0.0).to(tl.float32)
        total += tl.where(found == (a * K + b)[:, None], gradient, 0.0)
    tl.store(dx + _at(pixel, channel, C), total.to(dx.dtype.element_ty), inside)


@_kernel
def _open_sum(  # type: ignore[no-untyped-def]
    dy, place, part, n, C, stride, PIXELS: tl.constexpr, CHANNELS: tl.constexpr
):  # fmt: skip
    """The gradient of the bias."""
    _, channel = _tile(PIXELS, CHANNELS)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for start in range(tl.program_id(0) * PIXELS, n, tl.num_programs(0) * PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        inside = _inside(pixel, n, channel, C)
        found = tl.load(place + _at(pixel, channel, C), inside, CLOSED)
        gradient = tl.load(dy + _at(pixel, channel, stride), inside, 0.0).to(tl.float32)
        total += tl.where(found == CLOSED, 0.0, gradient)
    tl.store(part + tl.program_id(0) * C + channel, tl.sum(total, 0), channel < C)


class _Pooled(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, x: Tensor, bias: Tensor | None, K: int, S: int, P: int, size: tuple[int, int], relu: bool
    ) -> Tensor:
        N, C, H, W = x.shape
        (h, w), (x, stride) = size, _rows(x)
        y = _maps(x, C, h, w)
        place = torch.empty_like(y, dtype=torch.uint8)
        _pool[_grid(N * h * w, C)](
            x, bias, y, place, N * h * w, C, H, W, h, w, stride, K, S, P, bias is not None, relu, *_block(C)
        )
        context.save_for_backward(place)
        context.how = (H, W), (K, S, P), bias is not None
        return y

    @staticmethod
    def backward(context: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        (place,) = context.saved_tensors
        (H, W), (K, S, P), biased = context.how
        N, C, h, w = dy.shape
        dy, stride = _rows(dy)
        dx = _maps(dy, C, H, W)
        reach = triton.cdiv(K, S)
        _pool_back[_grid(N * H * W, C)](dy, place, dx, N * H * W, C, H, W, h, w, stride, K, S, P, reach, *_block(C))
        db = None
        if biased:
            grid, part = _parts(N * h * w, C, C, dy)
            _open_sum[grid](dy, place, part, N * h * w, C, stride, *_block(C))
            db = _total(part)
        return dx, db, None, None, None, None, None


def pooled(x: Tensor, pool: nn.MaxPool2d, bias: Tensor | None = None, relu: bool = False) -> Tensor:
    """relu(pool(x + bias)), which is pool(relu(x + bias))."""
    K, S, P = (_side(each) for each in (pool.kernel_size, pool.stride, pool.padding))
    size = (_windows(x.shape[2], K, S, P, pool.ceil_mode), _windows(x.shape[3], K, S, P, pool.ceil_mode))
    y: Tensor = _Pooled.apply(x, bias, K, S, P, size, relu)
    return y


def pools(pool: nn.MaxPool2d) -> bool:
    """Whether `pooled` can: square windows of fewer places than CLOSED."""
    return _square(pool) and _side(pool.kernel_size) ** 2 < CLOSED.value


def _side(size: int | tuple[int, int]) -> int:
    return size if isinstance(size, int) else size[0]


def _square(pool: nn.MaxPool2d | nn.AvgPool2d) -> bool:
    sizes = pool.kernel_size, pool.stride, pool.padding
    return all(isinstance(size, int) or size[0] == size[1] for size in sizes)


def _windows(size: int, K: int, S: int, P: int, ceil: bool = False) -> int:
    """In a row of `size` pixels, as torch counts: none begins in the padding behind it."""
    n = (size + 2 * P - K + (S - 1 if ceil else 0)) // S + 1
    return n - 1 if ceil and (n - 1) * S >= size + P else n


# ── bias or another map, and ReLU ───────────────────────────────────────────────────────────────────


@_kernel
def _add(  # type: ignore[no-untyped-def]
    x, other, bias, y, n, C, stride, other_stride,
    OTHER: tl.constexpr, BIAS: tl.constexpr, RELU: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    pixel, channel = _tile(PIXELS, CHANNELS)
    inside = _inside(pixel, n, channel, C)
    total = tl.load(x + _at(pixel, channel, stride), inside, 0.0).to(tl.float32)
    if OTHER:
        total += tl.load(other + _at(pixel, channel, other_stride), inside, 0.0).to(tl.float32)
    if BIAS:
        total += tl.load(bias + channel, channel < C, 0.0)[None, :]
    if RELU:
        total = tl.where(total <= 0, 0.0, total)
    tl.store(y + _at(pixel, channel, C), total.to(y.dtype.element_ty), inside)


@_kernel
def _add_back(  # type: ignore[no-untyped-def]
    dy, y, dx, part, n, C, stride,
    BIAS: tl.constexpr, RELU: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    _, channel = _tile(PIXELS, CHANNELS)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for start in range(tl.program_id(0) * PIXELS, n, tl.num_programs(0) * PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        inside = _inside(pixel, n, channel, C)
        at = _at(pixel, channel, C)
        gradient = tl.load(dy + _at(pixel, channel, stride), inside, 0.0).to(tl.float32)
        if RELU:
            gradient = tl.where(tl.load(y + at, inside, 0.0).to(tl.float32) <= 0, 0.0, gradient)
        tl.store(dx + at, gradient.to(dx.dtype.element_ty), inside)
        total += gradient
    if BIAS:
        tl.store(part + tl.program_id(0) * C + channel, tl.sum(total, 0), channel < C)


class _Added(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, other: Tensor | None, bias: Tensor | None, relu: bool) -> Tensor:
        N, C, H, W = x.shape
        x, stride = _rows(x)
        other, other_stride = (None, 0) if other is None else _rows(other)
        y, given = _maps(x, C, H, W), (other is not None, bias is not None)
        _add[_grid(N * H * W, C)](x, other, bias, y, N * H * W, C, stride, other_stride, *given, relu, *_block(C))
        context.save_for_backward(y if relu else None)
        context.given = given
        return y

    @staticmethod
    def backward(context: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        (y,) = context.saved_tensors
        other, biased = context.given
        (N, C, H, W), (dy, stride) = dy.shape, _rows(dy)
        dx = _maps(dy, C, H, W)
        grid, part = _parts(N * H * W, C, C, dy)
        _add_back[grid](dy, y, dx, part, N * H * W, C, stride, biased, y is not None, *_block(C))
        return dx, dx if other else None, _total(part) if biased else None, None


def added(x: Tensor, other: Tensor | None = None, bias: Tensor | None = None, relu: bool = False) -> Tensor:
    """x + other + bias, N×C×H×W, and ReLU if wished; bias of C."""
    y: Tensor = _Added.apply(x, other, bias, relu)
    return y


# ── means ───────────────────────────────────────────────────────────────────────────────────────────


@_kernel
def _mean(  # type: ignore[no-untyped-def]
    x, y, n, C, H, W, h, w, stride, K: tl.constexpr, S: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr
):  # fmt: skip
    pixel, channel = _tile(PIXELS, CHANNELS)
    image, i, j = _spot(pixel, h, w)
    inside = _inside(pixel, n, channel, C)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for k in tl.static_range(K * K):
        seen = (image * H + i * S + k // K) * W + j * S + k % K
        total += tl.load(x + _at(seen, channel, stride), inside, 0.0).to(tl.float32)
    tl.store(y + _at(pixel, channel, C), (total / (K * K)).to(y.dtype.element_ty), inside)


@_kernel
def _mean_back(  # type: ignore[no-untyped-def]
    dy, dx, n, C, H, W, h, w, stride,
    K: tl.constexpr, S: tl.constexpr, REACH: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    pixel, channel = _tile(PIXELS, CHANNELS)
    image, i, j = _spot(pixel, H, W)
    inside = _inside(pixel, n, channel, C)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for k in tl.static_range(REACH * REACH):
        row, column = i // S - k // REACH, j // S - k % REACH
        there = (row >= 0) & (row < h) & (i - row * S < K) & (column >= 0) & (column < w) & (j - column * S < K)
        window = (image * h + row) * w + column
        total += tl.load(dy + _at(window, channel, stride), there[:, None] & inside, 0.0).to(tl.float32)
    tl.store(dx + _at(pixel, channel, C), (total / (K * K)).to(dx.dtype.element_ty), inside)


class _Averaged(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, K: int, S: int) -> Tensor:
        (N, C, H, W), (x, stride) = x.shape, _rows(x)
        h, w = (_windows(size, K, S, 0) for size in (H, W))
        y = _maps(x, C, h, w)
        _mean[_grid(N * h * w, C)](x, y, N * h * w, C, H, W, h, w, stride, K, S, *_block(C))
        context.how = H, W, K, S
        return y

    @staticmethod
    def backward(context: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        H, W, K, S = context.how
        (N, C, h, w), (dy, stride) = dy.shape, _rows(dy)
        dx = _maps(dy, C, H, W)
        _mean_back[_grid(N * H * W, C)](dy, dx, N * H * W, C, H, W, h, w, stride, K, S, triton.cdiv(K, S), *_block(C))
        return dx, None, None


def averaged(x: Tensor, pool: nn.AvgPool2d) -> Tensor:
    """The means of the windows of a pooling without padding."""
    y: Tensor = _Averaged.apply(x, _side(pool.kernel_size), _side(pool.stride))
    return y


def averages(pool: nn.AvgPool2d) -> bool:
    """Whether `averaged` can."""
    return _square(pool) and _side(pool.padding) == 0 and not pool.ceil_mode


# ── batch norm, with the ReLU behind it ─────────────────────────────────────────────────────────────


@_kernel
def _moments(  # type: ignore[no-untyped-def]
    x, part, n, C, stride, PIXELS: tl.constexpr, CHANNELS: tl.constexpr
):  # fmt: skip
    """The sums of each channel and of its squares, less its first number: a large mean would swallow the variance."""
    _, channel = _tile(PIXELS, CHANNELS)
    first = tl.load(x + channel, channel < C, 0.0).to(tl.float32)[None, :]
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    squares = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for start in range(tl.program_id(0) * PIXELS, n, tl.num_programs(0) * PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        inside = _inside(pixel, n, channel, C)
        value = tl.load(x + _at(pixel, channel, stride), inside, 0.0).to(tl.float32)
        value = tl.where(inside, value - first, 0.0)
        total += value
        squares += value * value
    to = part + tl.program_id(0) * 2 * C + channel
    tl.store(to, tl.sum(total, 0), channel < C)
    tl.store(to + C, tl.sum(squares, 0), channel < C)


@_kernel
def _statistics(  # type: ignore[no-untyped-def]
    x, sums, bias, moments, running_mean, running_var, n, C, eps, momentum, BIAS: tl.constexpr, CHANNELS: tl.constexpr
):  # fmt: skip
    """Mean and reciprocal deviation of each channel, and the running ones; a bias before the norm moves only those."""
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    inside = channel < C
    shift = tl.load(sums + channel, inside, 0.0) / n
    variance = tl.maximum(tl.load(sums + C + channel, inside, 0.0) / n - shift * shift, 0.0)
    mean = tl.load(x + channel, inside, 0.0).to(tl.float32) + shift
    tl.store(moments + channel, mean, inside)
    tl.store(moments + C + channel, 1 / tl.sqrt(variance + eps), inside)
    if BIAS:
        mean += tl.load(bias + channel, inside, 0.0)
    before = tl.load(running_mean + channel, inside, 0.0)
    tl.store(running_mean + channel, before + momentum * (mean - before), inside)
    before = tl.load(running_var + channel, inside, 0.0)
    tl.store(running_var + channel, before + momentum * (variance * n / (n - 1) - before), inside)


@triton.jit
def _affine(moments, weight, shift, channel, C):  # type: ignore[no-untyped-def]
    """Of each channel its mean, reciprocal deviation, weight and shift, each a row."""
    mean, scale = tl.load(moments + channel, channel < C, 0.0), tl.load(moments + C + channel, channel < C, 0.0)
    weights, shifts = tl.load(weight + channel, channel < C, 0.0), tl.load(shift + channel, channel < C, 0.0)
    return mean[None, :], scale[None, :], weights[None, :], shifts[None, :]


@_kernel
def _normalise(  # type: ignore[no-untyped-def]
    x, y, moments, weight, shift, n, C, stride, RELU: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr
):  # fmt: skip
    pixel, channel = _tile(PIXELS, CHANNELS)
    inside = _inside(pixel, n, channel, C)
    mean, scale, weights, shifts = _affine(moments, weight, shift, channel, C)
    value = tl.load(x + _at(pixel, channel, stride), inside, 0.0).to(tl.float32)
    value = (value - mean) * scale * weights + shifts
    if RELU:
        value = tl.where(value <= 0, 0.0, value)
    tl.store(y + _at(pixel, channel, C), value.to(y.dtype.element_ty), inside)


@_kernel
def _norm_sums(  # type: ignore[no-untyped-def]
    dy, x, moments, weight, shift, part, n, C, dy_stride, stride,
    RELU: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """The gradients of shift and weight."""
    _, channel = _tile(PIXELS, CHANNELS)
    mean, scale, weights, shifts = _affine(moments, weight, shift, channel, C)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    product = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for start in range(tl.program_id(0) * PIXELS, n, tl.num_programs(0) * PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        inside = _inside(pixel, n, channel, C)
        gradient = tl.load(dy + _at(pixel, channel, dy_stride), inside, 0.0).to(tl.float32)
        value = tl.load(x + _at(pixel, channel, stride), inside, 0.0).to(tl.float32)
        value = (value - mean) * scale
        if RELU:
            gradient = tl.where(value * weights + shifts <= 0, 0.0, gradient)
        total += gradient
        product += gradient * value
    to = part + tl.program_id(0) * 2 * C + channel
    tl.store(to, tl.sum(total, 0), channel < C)
    tl.store(to + C, tl.sum(product, 0), channel < C)


@_kernel
def _norm_back(  # type: ignore[no-untyped-def]
    dy, x, dx, moments, weight, shift, sums, n, C, dy_stride, stride,
    RELU: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    pixel, channel = _tile(PIXELS, CHANNELS)
    inside = _inside(pixel, n, channel, C)
    mean, scale, weights, shifts = _affine(moments, weight, shift, channel, C)
    total = tl.load(sums + channel, channel < C, 0.0)[None, :] / n
    product = tl.load(sums + C + channel, channel < C, 0.0)[None, :] / n
    gradient = tl.load(dy + _at(pixel, channel, dy_stride), inside, 0.0).to(tl.float32)
    value = tl.load(x + _at(pixel, channel, stride), inside, 0.0).to(tl.float32)
    value = (value - mean) * scale
    if RELU:
        gradient = tl.where(value * weights + shifts <= 0, 0.0, gradient)
    gradient = scale * weights * (gradient - total - value * product)
    tl.store(dx + _at(pixel, channel, C), gradient.to(dx.dtype.element_ty), inside)


class _Normed(torch.autograd.Function):
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
        (x, stride), n = _rows(x), N * H * W
        grid, part = _parts(n, C, 2 * C, x)
        _moments[grid](x, part, n, C, stride, *_block(C))
        moments = torch.empty(2, C, device=x.device)
        _statistics[(triton.cdiv(C, 128),)](
            x, _total(part), bias, moments, *running, n, C, eps, momentum, bias is not None, 128
        )
        y = _maps(x, C, H, W)
        _normalise[_grid(n, C)](x, y, moments, weight, shift, n, C, stride, relu, *_block(C))
        context.save_for_backward(x, weight, shift, moments)
        context.relu, context.bias = relu, None if bias is None else torch.zeros_like(bias)
        return y

    @staticmethod
    def backward(context: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, shift, moments = context.saved_tensors
        N, C, H, W = x.shape
        (x, stride), (dy, dy_stride), n = _rows(x), _rows(dy), N * H * W
        grid, part = _parts(n, C, 2 * C, x)
        known = moments, weight, shift
        _norm_sums[grid](dy, x, *known, part, n, C, dy_stride, stride, context.relu, *_block(C))
        sums = _total(part)
        dx = _maps(x, C, H, W)
        _norm_back[_grid(n, C)](dy, x, dx, *known, sums, n, C, dy_stride, stride, context.relu, *_block(C))
        return dx, sums[C:], sums[:C], context.bias, None, None, None, None


def normed(x: Tensor, norm: nn.BatchNorm2d, bias: Tensor | None = None, relu: bool = False) -> Tensor:
    """Batch norm of x + bias in training, and ReLU if wished; torch's own for a norm that is frozen.

    The bias changes nothing but the running mean, as the mean is taken away again: its gradient is 0.
    """
    if not norm.training:
        still: Tensor = norm(x if bias is None else x + bias.to(x.dtype)[:, None, None])
        return functional.relu(still) if relu else still
    if x.numel() == x.shape[1]:
        norm(x)  # torch's own error: one number has no variance
    running = norm.running_mean, norm.running_var
    y: Tensor = _Normed.apply(x, norm.weight, norm.bias, bias, running, norm.eps, norm.momentum, relu)
    return y


# ── depthwise convolution ───────────────────────────────────────────────────────────────────────────


@_kernel
def _depthwise(  # type: ignore[no-untyped-def]
    x, weight, y, n, C, H, W, h, w, stride,
    K: tl.constexpr, S: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    pixel, channel = _tile(PIXELS, CHANNELS)
    image, i, j = _spot(pixel, h, w)
    inside = _inside(pixel, n, channel, C)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for k in tl.static_range(K * K):
        seen, there = _seen(image, i, j, k, H, W, K, S, P)
        value = tl.load(x + _at(seen, channel, stride), there & inside, 0.0).to(tl.float32)
        total += value * tl.load(weight + channel * K * K + k, channel < C, 0.0)[None, :]
    tl.store(y + _at(pixel, channel, C), total.to(y.dtype.element_ty), inside)


@_kernel
def _depthwise_back(  # type: ignore[no-untyped-def]
    dy, weight, dx, n, C, H, W, h, w, stride,
    K: tl.constexpr, S: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    pixel, channel = _tile(PIXELS, CHANNELS)
    image, i, j = _spot(pixel, H, W)
    inside = _inside(pixel, n, channel, C)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for k in tl.static_range(K * K):
        up, left = i + P - k // K, j + P - k % K
        row, column = up // S, left // S
        there = (up >= 0) & (up % S == 0) & (row < h) & (left >= 0) & (left % S == 0) & (column < w)
        at = _at((image * h + row) * w + column, channel, stride)
        gradient = tl.load(dy + at, there[:, None] & inside, 0.0).to(tl.float32)
        total += gradient * tl.load(weight + channel * K * K + k, channel < C, 0.0)[None, :]
    tl.store(dx + _at(pixel, channel, C), total.to(dx.dtype.element_ty), inside)


@_kernel
def _depthwise_weights(  # type: ignore[no-untyped-def]
    dy, x, part, n, C, H, W, h, w, dy_stride, stride,
    K: tl.constexpr, S: tl.constexpr, P: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Each program sums for one place of the kernel; those beside it read the same pixels."""
    k = tl.program_id(0) % (K * K)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    part_of = tl.program_id(0) // (K * K)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for start in range(part_of * PIXELS, n, tl.num_programs(0) // (K * K) * PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        image, i, j = _spot(pixel, h, w)
        inside = _inside(pixel, n, channel, C)
        seen, there = _seen(image, i, j, k, H, W, K, S, P)
        value = tl.load(x + _at(seen, channel, stride), there & inside, 0.0).to(tl.float32)
        total += value * tl.load(dy + _at(pixel, channel, dy_stride), inside, 0.0).to(tl.float32)
    tl.store(part + (part_of * C + channel) * K * K + k, tl.sum(total, 0), channel < C)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, S: int, P: int) -> Tensor:
        N, C, H, W = x.shape
        K = weight.shape[2]
        h, w = (_windows(size, K, S, P) for size in (H, W))
        x, stride = _rows(x)
        weight = weight.contiguous()
        y = _maps(x, C, h, w)
        _depthwise[_grid(N * h * w, C)](x, weight, y, N * h * w, C, H, W, h, w, stride, K, S, P, *_block(C))
        context.save_for_backward(x, weight)
        context.how = S, P
        return y

    @staticmethod
    def backward(context: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = context.saved_tensors
        S, P = context.how
        (N, C, H, W), (h, w), K = x.shape, dy.shape[2:], weight.shape[2]
        (x, stride), (dy, dy_stride) = _rows(x), _rows(dy)
        dx = _maps(x, C, H, W)
        _depthwise_back[_grid(N * H * W, C)](dy, weight, dx, N * H * W, C, H, W, h, w, dy_stride, K, S, P, *_block(C))
        (across, down), part = _parts(N * h * w, C, C * K * K, dy)
        _depthwise_weights[across * K * K, down](
            dy, x, part, N * h * w, C, H, W, h, w, dy_stride, stride, K, S, P, *_block(C)
        )
        return dx, _total(part).view(C, 1, K, K), None, None


def depthwise(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """A convolution of each channel with a kernel of its own, C×1×K×K."""
    y: Tensor = _Depthwise.apply(x, weight, stride, padding)
    return y


# ── convolutions of images, which have few channels ─────────────────────────────────────────────────


@triton.jit
def _patches(  # type: ignore[no-untyped-def]
    x, pixel, tap, n, H, W, h, w, sn, sc, sh, sw,
    K: tl.constexpr, S: tl.constexpr, P: tl.constexpr, TAPS_IN_ALL: tl.constexpr,
):  # fmt: skip
    """What each pixel of the output sees, pixels × taps; a tap is a channel and a place of the kernel."""
    image, i, j = _spot(pixel, h, w)
    row, column = (i * S - P)[:, None] + (tap // K % K)[None, :], (j * S - P)[:, None] + (tap % K)[None, :]
    there = (row >= 0) & (row < H) & (column >= 0) & (column < W)
    there &= (pixel < n)[:, None] & (tap < TAPS_IN_ALL)[None, :]
    at = (image * sn)[:, None] + (tap // (K * K))[None, :] * sc + row * sh + column * sw
    return tl.load(x + at, there, 0.0)


@_kernel
def _stem(  # type: ignore[no-untyped-def]
    x, weight, y, n, C, H, W, h, w, sn, sc, sh, sw,
    K: tl.constexpr, S: tl.constexpr, P: tl.constexpr, TAPS_IN_ALL: tl.constexpr,
    TAPS: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    pixel, channel = _tile(PIXELS, CHANNELS)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for start in range(0, TAPS_IN_ALL, TAPS):
        tap = start + tl.arange(0, TAPS)
        seen = _patches(x, pixel, tap, n, H, W, h, w, sn, sc, sh, sw, K, S, P, TAPS_IN_ALL).to(y.dtype.element_ty)
        known = (tap < TAPS_IN_ALL)[:, None] & (channel < C)[None, :]
        weights = tl.load(weight + channel[None, :] * TAPS_IN_ALL + tap[:, None], known, 0.0).to(y.dtype.element_ty)
        total = tl.dot(seen, weights, total, input_precision="ieee")
    inside = _inside(pixel, n, channel, C)
    tl.store(y + _at(pixel, channel, C), total.to(y.dtype.element_ty), inside)


@_kernel
def _stem_weights(  # type: ignore[no-untyped-def]
    x, dy, part, n, C, H, W, h, w, sn, sc, sh, sw, stride,
    K: tl.constexpr, S: tl.constexpr, P: tl.constexpr, TAPS_IN_ALL: tl.constexpr,
    TAPS: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    _, channel = _tile(PIXELS, CHANNELS)
    tap = tl.program_id(2) * TAPS + tl.arange(0, TAPS)
    total = tl.zeros((CHANNELS, TAPS), tl.float32)
    for start in range(tl.program_id(0) * PIXELS, n, tl.num_programs(0) * PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        seen = _patches(x, pixel, tap, n, H, W, h, w, sn, sc, sh, sw, K, S, P, TAPS_IN_ALL).to(dy.dtype.element_ty)
        inside = _inside(pixel, n, channel, C)
        gradient = tl.load(dy + _at(pixel, channel, stride), inside, 0.0)
        total = tl.dot(tl.trans(gradient), seen, total, input_precision="ieee")
    known = (channel < C)[:, None] & (tap < TAPS_IN_ALL)[None, :]
    to = (tl.program_id(0) * C + channel)[:, None] * TAPS_IN_ALL + tap[None, :]
    tl.store(part + to, total, known)


class _Stem(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, S: int, P: int, dtype: torch.dtype) -> Tensor:
        (N, _, H, W), (C, _, K, _) = x.shape, weight.shape
        h, w = (_windows(size, K, S, P) for size in (H, W))
        y, n = _maps(x, C, h, w, dtype), N * h * w
        taps, channels = _stem_block(weight, 64)
        sizes = n, C, H, W, h, w, *x.stride()
        across = triton.cdiv(n, 64), triton.cdiv(C, channels)
        _stem[across](x, weight.contiguous(), y, *sizes, K, S, P, weight[0].numel(), taps, 64, channels, num_stages=1)
        context.save_for_backward(x, weight)
        context.how = sizes, (K, S, P)
        return y

    @staticmethod
    def backward(context: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = context.saved_tensors
        (n, C, *sizes), how = context.how
        (taps, channels), in_all, (dy, stride) = _stem_block(weight, 32), weight[0].numel(), _rows(dy)
        down, blocks = triton.cdiv(C, channels), triton.cdiv(in_all, taps)
        across = min(triton.cdiv(n, 64), max(PROGRAMS // (down * blocks), 1))
        part = torch.empty(across, weight.numel(), device=dy.device)
        _stem_weights[across, down, blocks](
            x, dy, part, n, C, *sizes, stride, *how, in_all, taps, 64, channels, num_stages=1
        )
        return None, _total(part).view(weight.shape), None, None, None


def _stem_block(weight: Tensor, most: int) -> tuple[int, int]:
    """Taps, at most so many, and output channels of a tile: powers of 2, and a matrix unit takes 16 at least."""
    taps, channels = (triton.next_power_of_2(size) for size in (weight[0].numel(), len(weight)))
    return min(max(taps, 16), most), min(max(channels, 16), 64)


def stem(x: Tensor, weight: Tensor, stride: int, padding: int, dtype: torch.dtype) -> Tensor:
    """A convolution of images, N×c×H×W of any layout, with kernels C×c×K×K. The images get no gradient."""
    if stride > 2:
        return _in_blocks(x.to(dtype), weight.to(dtype), stride, padding)
    y: Tensor = _Stem.apply(x, weight, stride, padding, dtype)
    return y


def _in_blocks(x: Tensor, weight: Tensor, S: int, P: int) -> Tensor:
    """The same convolution of blocks of S×S pixels, the pixels as channels: without a stride, and with channels."""
    (H, W), K = x.shape[2:], weight.shape[2]
    k = triton.cdiv(K, S)
    h, w = (_windows(size, K, S, P) for size in (H, W))
    x = functional.pad(x, (P, S * (w - 1 + k) - W - P, P, S * (h - 1 + k) - H - P))
    weight = functional.pad(weight, (0, S * k - K, 0, S * k - K))
    x, weight = (functional.pixel_unshuffle(each, S) for each in (x, weight))
    return functional.conv2d(x.contiguous(memory_format=torch.channels_last), weight)


def convolved(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Without its bias, in what autocast wishes for."""
    weight, c = convolution.weight, convolution.in_channels
    square = all(a == b for a, b in (convolution.kernel_size, convolution.stride, convolution.padding))
    dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
    how = convolution.stride[0], convolution.padding[0]
    if square and convolution.groups == c == convolution.out_channels and dtype != torch.float64:
        return depthwise(x.to(dtype), weight, *how)
    narrow = convolution.groups == 1 and c < 8 and not x.requires_grad
    if square and narrow and dtype == torch.bfloat16:
        return stem(x, weight, *how, dtype)
    return functional.conv2d(x, weight, None, convolution.stride, convolution.padding, 1, convolution.groups)


# ── arms at the same time ───────────────────────────────────────────────────────────────────────────


@cache
def _stream(device: torch.device, i: int) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def beside(functions: list[Callable[[Tensor], Tensor]], x: Tensor) -> list[Tensor]:
    """What each function makes of x: small maps fill a part of a GPU only, so each has a stream of its own.

    The gradients go the same ways back. A tensor that one stream has made and another reads is freed after both have
    waited for each other, here or in autograd.
    """
    main, (first, *others), found = torch.cuda.current_stream(x.device), functions, []
    streams = [_stream(x.device, i) for i in range(len(others))]
    for function, stream in zip(others, streams, strict=True):
        stream.wait_stream(main)
        with torch.cuda.stream(stream):
            found.append(function(x))
    found.insert(0, first(x))
    for stream in streams:
        main.wait_stream(stream)
    return found


# ── how the work is cut up ──────────────────────────────────────────────────────────────────────────


def _rows(x: Tensor) -> tuple[Tensor, int]:
    """x with its channels side by side, and how far apart two neighbouring pixels are: C, but in a part of a map."""
    N, C, H, W = x.shape
    n, c, i, j = x.stride()
    apart = j if W > 1 else i if H > 1 else n if N > 1 else C
    if c == 1 and (W == 1 or j == apart) and (H == 1 or i == W * apart) and (N == 1 or n == H * W * apart):
        return x, apart
    return x.contiguous(memory_format=torch.channels_last), C


def _block(C: int) -> tuple[int, int]:
    """Pixels and channels of a tile, powers of 2. Few forms, as each is compiled."""
    channels = 64 if C > 32 else 32 if C > 16 else 16
    return TILE // channels, channels


def _grid(n: int, C: int) -> tuple[int, int]:
    """Programs for n pixels of C channels, one a tile."""
    pixels, channels = _block(C)
    return triton.cdiv(n, pixels), triton.cdiv(C, channels)


def _parts(n: int, C: int, width: int, like: Tensor) -> tuple[tuple[int, int], Tensor]:
    """Programs for sums over n pixels of C channels, and room for what they find, programs × width."""
    across, down = _grid(n, C)
    across = min(across, max(PROGRAMS // down, 1))
    return (across, down), torch.empty(across, width, device=like.device)


def _total(part: Tensor) -> Tensor:
    """The sum of what the programs have found, of `width`."""
    n, width = part.shape
    total = torch.empty(width, device=part.device)
    _sum[(triton.cdiv(width, 16),)](part, total, n, width, 128, 16)
    return total


def _maps(like: Tensor, C: int, H: int, W: int, dtype: torch.dtype | None = None) -> Tensor:
    """Room for as many maps, channels last."""
    shape = len(like), C, H, W
    return torch.empty(shape, dtype=dtype or like.dtype, device=like.device, memory_format=torch.channels_last)
