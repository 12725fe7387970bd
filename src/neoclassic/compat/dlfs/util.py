"""The book's utilities: im2col, numerical gradients, smoothed curves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from neoclassic.base.errors import UsageError
from neoclassic.engines.contract import Array
from neoclassic.measure import Shape


def conv_output_size(input_size: int, filter_size: int, stride: int = 1, pad: int = 0) -> float:
    """(input + 2·pad − filter) / stride + 1: not a whole number if the filter does not fit evenly."""
    return (input_size + 2 * pad - filter_size) / stride + 1


def output_size(input_shape: Shape, filter_h: int, filter_w: int, stride: int, pad: int) -> tuple[int, int]:
    """The height and width of the map that windows give. UsageError if the window does not fit."""
    *_, H, W = input_shape
    out_h, out_w = (H + 2 * pad - filter_h) // stride + 1, (W + 2 * pad - filter_w) // stride + 1
    if min(out_h, out_w) < 1:
        raise UsageError(f"a {filter_h}×{filter_w} filter does not fit into a {H}×{W} image padded by {pad}")
    return out_h, out_w


def im2col(input_data: Array, filter_h: int, filter_w: int, stride: int = 1, pad: int = 0) -> Array:
    """The window at each output position as a row: N×C×H×W to (N·out_h·out_w)×(C·filter_h·filter_w).

    The dtype is that of the input. UsageError if the filter is larger than the padded image.
    """
    N, C, _, _ = input_data.shape
    out_h, out_w = output_size(input_data.shape, filter_h, filter_w, stride, pad)
    padded = np.pad(input_data, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (filter_h, filter_w), (2, 3))
    windows = windows[:, :, ::stride, ::stride]  # N, C, out_h, out_w, filter_h, filter_w
    columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(N * out_h * out_w, C * filter_h * filter_w)
    return columns if columns.flags.writeable else columns.copy()  # a view of overlapping windows is read-only


def col2im(col: Array, input_shape: Shape, filter_h: int, filter_w: int, stride: int = 1, pad: int = 0) -> Array:
    """The adjoint of im2col, N×C×H×W: adds up the values of all windows at each pixel."""
    N, C, H, W = input_shape
    out_h, out_w = output_size(input_shape, filter_h, filter_w, stride, pad)
    windows = col.reshape(N, out_h, out_w, C, filter_h, filter_w).transpose(0, 3, 4, 5, 1, 2)
    padded = np.zeros((N, C, H + 2 * pad, W + 2 * pad), col.dtype)
    for i in range(filter_h):
        for j in range(filter_w):
            padded[:, :, i : i + stride * out_h : stride, j : j + stride * out_w : stride] += windows[:, :, i, j]
    return padded[:, :, pad : pad + H, pad : pad + W]


def numerical_gradient(f: Callable[[Array], Any], x: Array) -> Array:
    """Central differences of f, (f(x + h) − f(x − h)) / 2h with h = 1e-4, for each element of x; float64.

    x is changed in place while f runs, and restored. Pass x as float64: in float32 only about three digits are correct.
    f gets a float64 copy of whole numbers.
    """
    h = 1e-4
    x = x if isinstance(x, np.ndarray) and x.dtype.kind == "f" else np.array(x, float)
    grad = np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        value = x[i]
        x[i] = value + h
        above = np.asarray(f(x)).item()
        x[i] = value - h
        grad[i] = (above - np.asarray(f(x)).item()) / (2 * h)
        x[i] = value
    return grad


def numerical_gradient_2d(f: Callable[[Array], Any], X: Array) -> Array:
    """The `numerical_gradient` of f at each row of X, or at the vector X."""
    X = np.asarray(X)
    return numerical_gradient(f, X) if X.ndim == 1 else np.array([numerical_gradient(f, x) for x in X])


def shuffle_dataset(x: Array, t: Array) -> tuple[Array, Array]:
    """x and t in the same new order, drawn from numpy.random."""
    order = np.random.permutation(len(x))  # noqa: NPY002 — readers seed it as the book does
    return x[order], t[order]


def smooth_curve(x: Any) -> Array:
    """A smoothed curve of the same length: each point is a Kaiser-weighted mean of 11; the ends are mirrored."""
    window = np.kaiser(11, 2)
    values = np.asarray(x, float)
    ends = np.concatenate([np.pad(values, (5, 0), "reflect"), np.pad(values, (0, 5), "symmetric")[-5:]])
    return np.convolve(window / window.sum(), ends, "valid")
