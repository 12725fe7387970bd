"""Depthwise convolution: one kernel per channel.

C channels, H×W the input map, N images; Ho×Wo the output map, k the kernel size.
"""

from __future__ import annotations

import numpy as np

from neoclassic.engines.contract import Array
from neoclassic.engines.numpy.buffers import New
from neoclassic.engines.numpy.operation import Result

BLOCK = 1 << 15  # numbers of the output that are computed at a time, so that they stay in the cache


def depthwise(
    x_CHWN: Array, w_C1kk: Array, b_C: Array, stride: int, padding: int, new: New, need_dx: bool = True
) -> Result:
    """y = Σ over i, j of w[:, i, j] · (x as read by kernel position (i, j)) + b.

    These are k² products of a map with one number per channel; no matrix product is worth it. They are computed for a
    few channels at a time, while these are in the cache.
    """
    C, H, W, N = x_CHWN.shape
    k = w_C1kk.shape[2]
    Ho, Wo = (H + 2 * padding - k) // stride + 1, (W + 2 * padding - k) // stride + 1
    x_pad, y_CHWN = _padded(x_CHWN, padding, new), new((C, Ho, Wo, N))
    w_CK = w_C1kk.reshape(C, k * k, 1, 1, 1)
    windows = [
        (slice(i, i + stride * (Ho - 1) + 1, stride), slice(j, j + stride * (Wo - 1) + 1, stride))
        for i in range(k)
        for j in range(k)
    ]
    step = max(1, BLOCK // (Ho * Wo * N))
    blocks = [slice(c, min(c + step, C)) for c in range(0, C, step)]
    for c in blocks:
        y, product = y_CHWN[c], new(y_CHWN[c].shape)
        for i, (rows, cols) in enumerate(windows):
            np.multiply(x_pad[c, rows, cols], w_CK[c, i], out=product if i else y)
            if i:
                y += product
    if len(b_C):
        y_CHWN += b_C[:, None, None, None]

    def backward(dy_CHWN: Array) -> tuple[Array | None, ...]:
        dw_CK = np.empty((C, k * k), w_C1kk.dtype)
        dx_pad = new(x_pad.shape)
        dx_pad[...] = 0
        for c in blocks:
            dy, product = dy_CHWN[c], new(dy_CHWN[c].shape)
            for i, (rows, cols) in enumerate(windows):
                np.multiply(x_pad[c, rows, cols], dy, out=product)
                dw_CK[c, i] = product.reshape(len(product), -1).sum(1)
                if need_dx:
                    dx = dx_pad[c, rows, cols]
                    dx += np.multiply(dy, w_CK[c, i], out=product)
        dx_CHWN = dx_pad[:, padding : padding + H, padding : padding + W] if need_dx else None
        db_C = dy_CHWN.reshape(C, -1).sum(1) if len(b_C) else None
        return dx_CHWN, dw_CK.reshape(w_C1kk.shape), db_C

    return y_CHWN, backward


def _padded(x_CHWN: Array, padding: int, new: New) -> Array:
    """x with a border of zeros."""
    if not padding:
        return x_CHWN
    C, H, W, N = x_CHWN.shape
    x_pad = new((C, H + 2 * padding, W + 2 * padding, N))
    x_pad[:, :padding] = x_pad[:, -padding:] = 0
    x_pad[:, :, :padding] = x_pad[:, :, -padding:] = 0
    x_pad[:, padding:-padding, padding:-padding] = x_CHWN
    return x_pad
