"""Pooling: the maximum or the mean of every window.

C channels, N images, H×W the input map, Ho×Wo the output map, k the window, s the stride.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from neoclassic.engines.contract import Array
from neoclassic.engines.numpy.buffers import New
from neoclassic.engines.numpy.operation import Result
from neoclassic.measure import output_size


def max_pool2d(x_CNHW: Array, k: int, s: int, padding: int, ceil_mode: bool, new: New) -> Result:
    """y = the largest of each window; the padding is −∞. The gradient goes to the first largest, row by row."""
    C, N, H, W = x_CNHW.shape
    Ho, Wo = (output_size(size, k, s, padding, ceil_mode) for size in (H, W))
    x_pad = _framed(x_CNHW, k, s, padding, Ho, Wo, -np.inf, new)
    first, *others = _windows(x_pad, k, s, Ho, Wo)
    y_CNHW = new((C, N, Ho, Wo))
    y_CNHW[...] = first
    for x in others:
        np.maximum(y_CNHW, x, out=y_CNHW)

    def backward(dy_CNHW: Array) -> tuple[Array | None, ...]:
        dx_pad = new(x_pad.shape)
        dx_pad[...] = 0
        waiting = np.ones(y_CNHW.shape, bool)  # windows whose largest has not come by yet
        for x, dx in zip(_windows(x_pad, k, s, Ho, Wo), _windows(dx_pad, k, s, Ho, Wo), strict=True):
            here = (x == y_CNHW) & waiting
            waiting ^= here
            dx += dy_CNHW * here
        return (_unframed(dx_pad, padding, H, W),)

    return y_CNHW, backward


def avg_pool2d(x_CNHW: Array, k: int, s: int, padding: int, ceil_mode: bool, count_pad: bool, new: New) -> Result:
    """y = Σ of each window / its number of pixels, padding (but not the ceil mode's overhang) counted or not."""
    C, N, H, W = x_CNHW.shape
    Ho, Wo = (output_size(size, k, s, padding, ceil_mode) for size in (H, W))
    counts = [_counts(size, n, k, s, padding, count_pad) for size, n in ((H, Ho), (W, Wo))]
    share_HW = (1 / np.outer(*counts)).astype(x_CNHW.dtype)
    x_pad = _framed(x_CNHW, k, s, padding, Ho, Wo, 0, new)
    first, *others = _windows(x_pad, k, s, Ho, Wo)
    y_CNHW = new((C, N, Ho, Wo))
    y_CNHW[...] = first
    for x in others:
        y_CNHW += x
    y_CNHW *= share_HW

    def backward(dy_CNHW: Array) -> tuple[Array | None, ...]:
        dx_pad = new(x_pad.shape)
        dx_pad[...] = 0
        each = np.multiply(dy_CNHW, share_HW, out=new(dy_CNHW.shape))
        for dx in _windows(dx_pad, k, s, Ho, Wo):
            dx += each
        return (_unframed(dx_pad, padding, H, W),)

    return y_CNHW, backward


def adaptive_avg_pool2d(x_CNHW: Array, size: int, new: New) -> Result:
    """y = A_H · x · A_Wᵀ for each map, where row i of A averages pixels ⌊i·H/size⌋ up to ⌈(i+1)·H/size⌉."""
    C, N, H, W = x_CNHW.shape
    A_H, A_W = _averages(H, size, x_CNHW.dtype), _averages(W, size, x_CNHW.dtype)
    y_CNHW = np.matmul(A_H, np.matmul(x_CNHW, A_W.T), out=new((C, N, size, size)))

    def backward(dy_CNHW: Array) -> tuple[Array | None, ...]:
        return (np.matmul(A_H.T, np.matmul(dy_CNHW, A_W), out=new((C, N, H, W))),)

    return y_CNHW, backward


def _averages(size: int, out: int, dtype: np.dtype) -> Array:
    A = np.zeros((out, size), dtype)
    for i in range(out):
        start, end = i * size // out, -(-(i + 1) * size // out)
        A[i, start:end] = 1 / (end - start)
    return A


def _counts(size: int, windows: int, k: int, s: int, padding: int, count_pad: bool) -> Array:
    """Along one axis: how many pixels of each window count."""
    start = np.arange(windows) * s - padding
    low, high = (-padding, size + padding) if count_pad else (0, size)
    return np.minimum(start + k, high) - np.maximum(start, low)


def _framed(x_CNHW: Array, k: int, s: int, padding: int, Ho: int, Wo: int, value: float, new: New) -> Array:
    """x with a border of `value`, wide enough that every window fits."""
    C, N, H, W = x_CNHW.shape
    height, width = (max((n - 1) * s + k, size + padding) for n, size in ((Ho, H), (Wo, W)))
    if (height, width, padding) == (H, W, 0):
        return x_CNHW
    x_pad = new((C, N, height, width))
    x_pad[...] = value
    x_pad[:, :, padding : padding + H, padding : padding + W] = x_CNHW
    return x_pad


def _unframed(x_pad: Array, padding: int, H: int, W: int) -> Array:
    return np.ascontiguousarray(x_pad[:, :, padding : padding + H, padding : padding + W])


def _windows(x_pad: Array, k: int, s: int, Ho: int, Wo: int) -> Iterator[Array]:
    """The first pixel of every window, then the second of every window, …: k² views, Ho×Wo each."""
    for i in range(k):
        for j in range(k):
            yield x_pad[:, :, i : i + s * (Ho - 1) + 1 : s, j : j + s * (Wo - 1) + 1 : s]
