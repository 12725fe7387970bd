"""Convolution and linear layers: everything becomes a matrix product.

    C  input channels     O  output channels     k  kernel size     N  images
    H, W  input map       P  N · Ho · Wo, the places of the output map, all images in one line
    K  C · k · k, what one place sees

Maps are stored channels first, images second (x_CNHW): then one channel of the whole batch is one line of memory,
and a convolution is one product of the weights, O×K, with the columns, K×P, whose column p holds what place p sees.
"""

# ruff: noqa: E741 (O is the letter for output channels)
from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from neoclassic.engines.contract import Array
from neoclassic.engines.numpy.buffers import New
from neoclassic.engines.numpy.operation import Result
from neoclassic.engines.numpy.team import Member

COLUMNS = 1 << 18  # numbers in a block of columns: what the second-level cache holds beside its neighbours


def conv2d(
    x_CNHW: Array,
    w_OIHW: Array,
    b_O: Array,
    stride: int,
    padding: int,
    groups: int,
    new: New,
    need_dx: bool = True,
) -> Result:
    """y[o, p] = Σ over c, i, j of w[o, c, i, j] · x[c, n, s·h + i − padding, s·w + j − padding] + b[o].

    Groups are so many convolutions side by side, each on its own channels.
    """
    if groups == 1:
        return _one_group(x_CNHW, w_OIHW, b_O, stride, padding, new, need_dx)
    y_CNHW, parts = np.empty(0), []
    C, O = len(x_CNHW) // groups, len(w_OIHW) // groups
    for g in range(groups):
        x, w, o = x_CNHW[g * C : (g + 1) * C], w_OIHW[g * O : (g + 1) * O], slice(g * O, (g + 1) * O)
        y, backward_g = _one_group(x, w, b_O[o], stride, padding, new, need_dx)
        y_CNHW = y_CNHW if g else new((len(w_OIHW), *y.shape[1:]))
        y_CNHW[o] = y
        parts.append((o, backward_g))

    def backward(dy_ONHW: Array) -> tuple[Array | None, ...]:
        grads = [backward_g(dy_ONHW[o]) for o, backward_g in parts]
        return tuple(None if g[0] is None else np.concatenate(g) for g in zip(*grads, strict=True))

    return y_CNHW, backward


def _one_group(x_CNHW: Array, w_OIHW: Array, b_O: Array, stride: int, padding: int, new: New, need_dx: bool) -> Result:
    """y = w · columns(x) + b;   dw = dy · columns(x)ᵀ,   dx = fold(wᵀ · dy),   db = Σ dy."""
    C, N, H, W = x_CNHW.shape
    O, _, k, _ = w_OIHW.shape
    Ho, Wo = (H + 2 * padding - k) // stride + 1, (W + 2 * padding - k) // stride + 1
    w_OK = w_OIHW.reshape(O, -1)
    x_pad = pad(x_CNHW, padding, new)
    y_ONHW = new((O, N, Ho, Wo))
    y_OP = y_ONHW.reshape(O, -1)
    for places, columns_KP in _columns(x_pad, k, stride, Ho, Wo, new):
        np.matmul(w_OK, columns_KP, out=y_OP[:, places])
    if len(b_O):
        y_OP += b_O[:, None]

    def backward(dy_ONHW: Array) -> tuple[Array | None, ...]:
        dy_OP = dy_ONHW.reshape(O, -1)
        dw_OK = np.zeros_like(w_OK)
        for places, columns_KP in _columns(x_pad, k, stride, Ho, Wo, new):
            dw_OK += dy_OP[:, places] @ columns_KP.T
        dw_OIHW, db_O = dw_OK.reshape(w_OIHW.shape), dy_OP.sum(1)
        if not need_dx:
            return None, dw_OIHW, db_O
        dcolumns = np.matmul(w_OK.T, dy_OP).reshape(C, k, k, N, Ho, Wo)
        dx_pad = np.zeros_like(x_pad)
        for i in range(k):
            for j in range(k):
                dx_pad[:, :, i : i + stride * Ho : stride, j : j + stride * Wo : stride] += dcolumns[:, i, j]
        return np.ascontiguousarray(dx_pad[:, :, padding : padding + H, padding : padding + W]), dw_OIHW, db_O

    return y_ONHW, backward


def pad(x_CNHW: Array, padding: int, new: New) -> Array:
    """x with a border of zeros."""
    if not padding:
        return x_CNHW
    C, N, H, W = x_CNHW.shape
    x_pad = new((C, N, H + 2 * padding, W + 2 * padding))
    x_pad[:, :, :padding] = x_pad[:, :, -padding:] = 0
    x_pad[:, :, :, :padding] = x_pad[:, :, :, -padding:] = 0
    x_pad[:, :, padding:-padding, padding:-padding] = x_CNHW
    return x_pad


def _columns(x_pad: Array, k: int, stride: int, Ho: int, Wo: int, new: New) -> Iterator[tuple[slice, Array]]:
    """Blocks of columns, each with the places that it is for: some whole images, or some rows of one."""
    C, N = x_pad.shape[:2]
    K = C * k * k
    images, rows = max(1, COLUMNS // (K * Ho * Wo)), Ho
    if K * Ho * Wo > COLUMNS:
        rows = max(1, COLUMNS // (K * Wo))
    for n in range(0, N, images):
        x = x_pad[:, n : n + images]
        for r in range(0, Ho, rows):
            R = min(rows, Ho - r)
            columns = new((C, k, k, x.shape[1], R, Wo))
            for i in range(k):
                for j in range(k):
                    top = stride * r + i
                    columns[:, i, j] = x[:, :, top : top + stride * R : stride, j : j + stride * Wo : stride]
            start = (n * Ho + r) * Wo
            yield slice(start, start + x.shape[1] * R * Wo), columns.reshape(K, -1)


def linear(x_FN: Array, w_OF: Array, b_O: Array, new: New, need_dx: bool = True) -> Result:
    """y = w · x + b;   dx = wᵀ · dy,   dw = dy · xᵀ,   db = Σ dy."""
    y_ON = np.matmul(w_OF, x_FN, out=new((len(w_OF), x_FN.shape[1])))
    if len(b_O):
        y_ON += b_O[:, None]

    def backward(dy_ON: Array) -> tuple[Array | None, ...]:
        dx_FN = np.matmul(w_OF.T, dy_ON, out=new(x_FN.shape)) if need_dx else None
        dw_OF = np.matmul(dy_ON, x_FN.T, out=new(w_OF.shape))
        return dx_FN, dw_OF, dy_ON.sum(1)

    return y_ON, backward


def linear_together(x_FN: Array, w_OF: Array, b_O: Array, member: Member, new: New, need_dx: bool = True) -> Result:
    """`linear` for the whole batch by the whole team: each member computes its rows of y, and of dw.

    So that large weights are read once and have one gradient, whose rows of this member are what backward gives.
    """
    parts = member.share(x_FN)
    start = sum(x.shape[1] for x in parts[: member.rank])
    mine, rows, inputs = slice(start, start + x_FN.shape[1]), member.part(len(w_OF)), member.part(len(x_FN))
    X_FN = np.concatenate(parts, 1)
    y_rows = w_OF[rows] @ X_FN
    if len(b_O):
        y_rows += b_O[rows, None]
    y_ON = np.concatenate([y[:, mine] for y in member.share(y_rows)])

    def backward(dy_ON: Array) -> tuple[Array | None, ...]:
        dY_ON = np.concatenate(member.share(dy_ON), 1)
        dw_rows, db_rows = dY_ON[rows] @ X_FN.T, dY_ON[rows].sum(1)
        if not need_dx:
            return None, dw_rows, db_rows
        dx_parts = member.share(w_OF[:, inputs].T @ dY_ON)
        return np.concatenate([dx[:, mine] for dx in dx_parts]), dw_rows, db_rows

    return y_ON, backward
