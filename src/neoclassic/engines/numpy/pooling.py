"""Pooling: the maximum or the mean of each window.

x_CHWN: C channels, H×W the input map, N images; Ho×Wo the output map, k the window, s the stride.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from neoclassic.engines.contract import Array
from neoclassic.engines.numpy.buffers import New
from neoclassic.engines.numpy.operation import Result
from neoclassic.measure import output_size


def max_pool2d(x_CHWN: Array, k: int, s: int, padding: int, ceil_mode: bool, new: New) -> Result:
    """y = the maximum of each window; padding counts as −∞. The gradient goes to the first maximum in row order."""
    C, H, W, N = x_CHWN.shape
    Ho, Wo = (output_size(size, k, s, padding, ceil_mode) for size in (H, W))
    x_pad = _framed(x_CHWN, k, s, padding, Ho, Wo, -np.inf, new)
    y_CHWN = _over_windows(np.maximum, _windows(x_pad, k, s, Ho, Wo), new((C, Ho, Wo, N)))

    def backward(dy_CHWN: Array) -> tuple[Array | None, ...]:
        dx_pad, product = _gradient(x_pad, k, s, Ho, Wo, new), new(dy_CHWN.shape)
        pending = np.ones(y_CHWN.shape, bool)  # windows whose maximum has not been found yet
        for x, dx in zip(_windows(x_pad, k, s, Ho, Wo), _windows(dx_pad, k, s, Ho, Wo), strict=True):
            is_maximum = x == y_CHWN
            is_maximum &= pending
            pending ^= is_maximum
            if k <= s:  # windows do not overlap
                np.multiply(dy_CHWN, is_maximum, out=dx)
            else:
                dx += np.multiply(dy_CHWN, is_maximum, out=product)
        return (_unframed(dx_pad, padding, H, W),)

    return y_CHWN, backward


def avg_pool2d(x_CHWN: Array, k: int, s: int, padding: int, ceil_mode: bool, count_pad: bool, new: New) -> Result:
    """y = Σ of each window / its number of pixels. `count_pad`: padding counts; what ceil mode adds never does."""
    C, H, W, N = x_CHWN.shape
    Ho, Wo = (output_size(size, k, s, padding, ceil_mode) for size in (H, W))
    counts = [_counts(size, n, k, s, padding, count_pad) for size, n in ((H, Ho), (W, Wo))]
    share_HW1 = (1 / np.outer(*counts)).astype(x_CHWN.dtype)[..., None]
    x_pad = _framed(x_CHWN, k, s, padding, Ho, Wo, 0, new)
    y_CHWN = _over_windows(np.add, _windows(x_pad, k, s, Ho, Wo), new((C, Ho, Wo, N)))
    y_CHWN *= share_HW1

    def backward(dy_CHWN: Array) -> tuple[Array | None, ...]:
        dx_pad = _gradient(x_pad, k, s, Ho, Wo, new)
        each = np.multiply(dy_CHWN, share_HW1, out=new(dy_CHWN.shape))
        for dx in _windows(dx_pad, k, s, Ho, Wo):
            if k <= s:
                dx[...] = each
            else:
                dx += each
        return (_unframed(dx_pad, padding, H, W),)

    return y_CHWN, backward


def adaptive_avg_pool2d(x_CHWN: Array, size: int, new: New) -> Result:
    """y = A_H · x · A_Wᵀ for each map, where row i of A averages pixels ⌊i·H/size⌋ up to ⌈(i+1)·H/size⌉."""
    C, H, W, N = x_CHWN.shape
    A_H, A_W = _averages(H, size, x_CHWN.dtype), _averages(W, size, x_CHWN.dtype)
    rows = np.matmul(A_H, x_CHWN.reshape(C, H, W * N)).reshape(C, size, W, N)
    y_CHWN = np.matmul(A_W, rows)

    def backward(dy_CHWN: Array) -> tuple[Array | None, ...]:
        drows = np.matmul(A_W.T, dy_CHWN).reshape(C, size, W * N)
        return (np.matmul(A_H.T, drows, out=new((C, H, W * N))).reshape(C, H, W, N),)

    return y_CHWN, backward


def _averages(size: int, out: int, dtype: np.dtype) -> Array:
    A = np.zeros((out, size), dtype)
    for i in range(out):
        start, end = i * size // out, -(-(i + 1) * size // out)
        A[i, start:end] = 1 / (end - start)
    return A


def _counts(size: int, windows: int, k: int, s: int, padding: int, count_pad: bool) -> Array:
    """How many pixels of each window count, along one axis."""
    start = np.arange(windows) * s - padding
    low, high = (-padding, size + padding) if count_pad else (0, size)
    return np.minimum(start + k, high) - np.maximum(start, low)


def _framed(x_CHWN: Array, k: int, s: int, padding: int, Ho: int, Wo: int, value: float, new: New) -> Array:
    """x with a border of `value` that is wide enough for all windows."""
    C, H, W, N = x_CHWN.shape
    height, width = (max((n - 1) * s + k, size + padding) for n, size in ((Ho, H), (Wo, W)))
    if (height, width, padding) == (H, W, 0):
        return x_CHWN
    x_pad = new((C, height, width, N))
    x_pad[...] = value
    x_pad[:, padding : padding + H, padding : padding + W] = x_CHWN
    return x_pad


def _unframed(x_pad: Array, padding: int, H: int, W: int) -> Array:
    return x_pad[:, padding : padding + H, padding : padding + W]


def _windows(x_pad: Array, k: int, s: int, Ho: int, Wo: int) -> Iterator[Array]:
    """k² views, Ho×Wo each: the first pixel of every window, then the second of every window, …"""
    for i in range(k):
        for j in range(k):
            yield x_pad[:, i : i + s * (Ho - 1) + 1 : s, j : j + s * (Wo - 1) + 1 : s]


def _over_windows(ufunc: np.ufunc, windows: Iterator[Array], out: Array) -> Array:
    """Reduce each window with `ufunc`, into `out`."""
    result = next(windows)
    for x in windows:
        result = ufunc(result, x, out=out)
    if result is not out:  # windows of one pixel
        out[...] = result
    return out


def _gradient(x_pad: Array, k: int, s: int, Ho: int, Wo: int, new: New) -> Array:
    """An array for the gradient of x_pad. It is not zeroed if adjacent windows will write every pixel."""
    dx_pad = new(x_pad.shape)
    if k != s or x_pad.shape[1:3] != (Ho * s, Wo * s):
        dx_pad[...] = 0
    return dx_pad
