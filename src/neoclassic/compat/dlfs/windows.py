# ruff: noqa: E741 (O is the letter for output channels)
"""Convolution and pooling with windows that are not square, which the engine does not have.

x_CHWN: C input channels, O output channels, H×W the input map, N images; Ho×Wo the output map, h×w the window.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from neoclassic.compat.dlfs.util import col2im, im2col, output_size
from neoclassic.engines.contract import Array
from neoclassic.engines.numpy.operation import Result


def conv2d(x_CHWN: Array, w_OChw: Array, b_O: Array, stride: int, padding: int) -> Result:
    """y = w · columns(x) + b;   dw = dy · columns(x)ᵀ,   dx = wᵀ · dy, added up where the columns were read."""
    x_NCHW, (O, _, h, w) = x_CHWN.transpose(3, 0, 1, 2), w_OChw.shape
    Ho, Wo = output_size(x_NCHW.shape, h, w, stride, padding)
    w_OK, columns_PK = w_OChw.reshape(O, -1), im2col(x_NCHW, h, w, stride, padding)
    y_PO = columns_PK @ w_OK.T + b_O

    def backward(dy_OHWN: Array) -> tuple[Array | None, ...]:
        dy_PO = dy_OHWN.transpose(3, 1, 2, 0).reshape(-1, O)
        dx_NCHW = col2im(dy_PO @ w_OK, x_NCHW.shape, h, w, stride, padding)
        return dx_NCHW.transpose(1, 2, 3, 0), (dy_PO.T @ columns_PK).reshape(w_OChw.shape), dy_PO.sum(0)

    return y_PO.reshape(-1, Ho, Wo, O).transpose(3, 1, 2, 0), backward


def max_pool2d(x_CHWN: Array, h: int, w: int, stride: int, padding: int) -> Result:
    """y = the maximum of each window; padding counts as −∞. The gradient goes to the first maximum in row order."""
    _, H, W, _ = x_CHWN.shape
    frame = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    x_pad = np.pad(x_CHWN, frame, constant_values=-np.inf)
    windows = sliding_window_view(x_pad, (h, w), (1, 2))[:, ::stride, ::stride]
    flat = windows.reshape(*windows.shape[:4], h * w)
    first = flat.argmax(-1)[..., None]

    def backward(dy_CHWN: Array) -> tuple[Array | None, ...]:
        dflat = np.zeros_like(flat)
        np.put_along_axis(dflat, first, dy_CHWN[..., None], -1)
        dx_pad, (_, Ho, Wo, _) = np.zeros_like(x_pad), dy_CHWN.shape
        for k in range(h * w):
            i, j = divmod(k, w)
            dx_pad[:, i : i + stride * (Ho - 1) + 1 : stride, j : j + stride * (Wo - 1) + 1 : stride] += dflat[..., k]
        return (dx_pad[:, padding : padding + H, padding : padding + W],)

    return np.take_along_axis(flat, first, -1)[..., 0], backward
