# ruff: noqa: E741 (O is the letter for output channels)
"""Convolution as matrix products.

    C  input channels     O  output channels     k  kernel size     N  images
    H, W  input map       P  positions of the output map, or of one of its rows, of all images
    K  C · k · k, the numbers that one position reads

Arrays have the channels first and the images last, x_CHWN: one channel of the whole batch is contiguous, and so is
one pixel of all images. A convolution is a product of the weights, O×K, with the columns, K×P, where column p holds
what position p reads; with this layout, columns are gathered in long contiguous runs. docs/convolution.md explains it
with pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import numpy as np
from numpy.lib.stride_tricks import as_strided

from neoclassic.engines.contract import Array
from neoclassic.engines.numpy import depthwise, linear, winograd
from neoclassic.engines.numpy.buffers import New
from neoclassic.engines.numpy.operation import Result
from neoclassic.measure import Shape

SHORT = 128  # columns: a product with fewer is not worth its call
BATCHED = 1 << 16  # numbers of dw that one call computes, for several output rows at a time
FEW = 16  # channels: a product with fewer rows is slow, and scattering its gradient is cheap


def conv2d(
    x_CHWN: Array, w_OIkk: Array, b_O: Array, stride: int, padding: int, groups: int, new: New, need_dx: bool = True
) -> Result:
    """y[o, h, w, n] = Σ over c, i, j of w[o, c, i, j] · x[c, s·h + i − padding, s·w + j − padding, n] + b[o].

    An empty `b_O` means no bias. Each group is a separate convolution of its own channels.
    """
    C, H, W, _ = x_CHWN.shape
    O, I, k, _ = w_OIkk.shape
    if groups > 1 and I == 1 and O == C:
        return depthwise.depthwise(x_CHWN, w_OIkk, b_O, stride, padding, new, need_dx)
    if groups > 1:
        return _grouped(x_CHWN, w_OIkk, b_O, stride, padding, groups, new, need_dx)
    if k == 1 and padding == 0:
        return _pointwise(x_CHWN, w_OIkk, b_O, stride, new, need_dx)
    if winograd.pays(k, stride, padding, C, O, H, W):
        return winograd.conv3x3(x_CHWN, w_OIkk, b_O, padding, new, need_dx)
    return _by_columns(x_CHWN, w_OIkk, b_O, stride, padding, new, need_dx)


def _by_columns(x_CHWN: Array, w_OIkk: Array, b_O: Array, stride: int, padding: int, new: New, need_dx: bool) -> Result:
    """y = w · columns(x) + b;   dw = dy · columns(x)ᵀ,   dx = wᵀ · dy, scattered to where the columns were read from.

    With stride 1 the scatter is itself a convolution, of dy with the kernels rotated by 180°, and the columns of dy
    give both gradients: dx = w' · columns(dy) and dw' = x · columns(dy)ᵀ.
    """
    O, C, k, _ = w_OIkk.shape
    Ho, Wo = ((size + 2 * padding - k) // stride + 1 for size in x_CHWN.shape[1:3])
    w_OK, y_OHWN = _flat(w_OIkk), new((O, Ho, Wo, x_CHWN.shape[3]))
    for rows, inside, columns_RKP in _columns(x_CHWN, k, stride, padding, O, new):
        np.matmul(w_OK[:, inside], columns_RKP, out=_in_rows(y_OHWN, rows, columns_RKP))
    if len(b_O):
        y_OHWN += b_O[:, None, None, None]

    def backward(dy_OHWN: Array) -> tuple[Array | None, ...]:
        db_O = dy_OHWN.reshape(O, -1).sum(1) if len(b_O) else None
        if need_dx and stride == 1 and padding < k and (C >= FEW or O <= C):
            dx_CHWN, rotated_COkk = new(x_CHWN.shape), w_OIkk.swapaxes(0, 1)[:, :, ::-1, ::-1]
            rotated_CK, drotated_KC = _flat(rotated_COkk), np.zeros((k * k * O, C), w_OIkk.dtype)
            for rows, inside, columns_RKP in _columns(dy_OHWN, k, 1, k - 1 - padding, C, new):
                np.matmul(rotated_CK[:, inside], columns_RKP, out=_in_rows(dx_CHWN, rows, columns_RKP))
                _add_products(columns_RKP, _in_rows(x_CHWN, rows, columns_RKP), drotated_KC[inside], new)
            return dx_CHWN, drotated_KC.reshape(k, k, O, C)[::-1, ::-1].transpose(2, 3, 0, 1), db_O
        dw_KO = np.zeros((k * k * C, O), w_OIkk.dtype)
        for rows, inside, columns_RKP in _columns(x_CHWN, k, stride, padding, O, new):
            _add_products(columns_RKP, _in_rows(dy_OHWN, rows, columns_RKP), dw_KO[inside], new)
        dw_OIkk = dw_KO.reshape(k, k, C, O).transpose(3, 2, 0, 1)
        return _scatter(dy_OHWN, w_OIkk, stride, padding, x_CHWN.shape, new) if need_dx else None, dw_OIkk, db_O

    return y_OHWN, backward


def _add_products(columns_RKP: Array, y_ROP: Array, dw_KO: Array, new: New) -> None:
    """dw = dw + Σ over the rows of columns · yᵀ."""
    step = max(1, BATCHED // dw_KO.size)
    for r in range(0, len(y_ROP), step):
        y_RPO = y_ROP[r : r + step].swapaxes(1, 2)
        dw_KO += np.matmul(columns_RKP[r : r + step], y_RPO, out=new((len(y_RPO), *dw_KO.shape))).sum(0)


def _slabs(x_CHWN: Array, k: int, stride: int, padding: int, new: New) -> Array:
    """What the kernel's columns read of each row: slabs[h, j, c, w, n] = x[c, h − padding, s·w + j − padding, n].

    The slabs are k copies of x; the columns would be k² (see `_columns`).
    """
    C, H, W, N = x_CHWN.shape
    Wo = (W + 2 * padding - k) // stride + 1
    slabs = new((H + 2 * padding, k, C, Wo, N))
    slabs[:padding] = slabs[padding + H :] = 0
    for j in range(k):
        low = min(max(0, -(-(padding - j) // stride)), Wo)  # from low to high, this kernel column is inside x
        high = min(max(low, (W - 1 + padding - j) // stride + 1), Wo)
        slab = slabs[padding : padding + H, j]
        slab[:, :, :low] = slab[:, :, high:] = 0
        if low < high:
            first = stride * low + j - padding
            slab[:, :, low:high] = x_CHWN[:, :, first : first + stride * (high - low - 1) + 1 : stride].swapaxes(0, 1)
    return slabs


def _columns(
    x_CHWN: Array, k: int, stride: int, padding: int, O: int, new: New
) -> Iterator[tuple[slice, slice, Array]]:
    """The columns of some rows of the output, R×K×P: (those rows, the part of K that is inside the image, columns).

    K is in the order kernel row, kernel column, channel.

    What a row of the output reads is k consecutive slabs, so its columns exist without a copy. At the top and bottom
    border, only the part of K that is inside the image is multiplied. If a row is short (P < O), reading the weights
    again for every row costs more than copying the columns of several rows side by side.
    """
    slabs = _slabs(x_CHWN, k, stride, padding, new)
    _, _, C, Wo, N = slabs.shape
    kC, P, Ho, H = k * C, Wo * N, (len(slabs) - k) // stride + 1, len(slabs) - 2 * padding
    line = slabs.strides[0]
    columns_RKP = as_strided(slabs, (Ho, k * kC, P), (stride * line, line // kC, slabs.itemsize), writeable=False)
    step = -(-max(O, SHORT) // P)
    if step == 1:

        def inside(row: int) -> tuple[int, int]:
            top = stride * row - padding
            return min(max(0, -top), k), max(0, min(k, H - top))

        for (first, end), group in groupby(range(Ho), inside):
            rows, part = list(group), slice(first * kC, end * kC)
            yield slice(rows[0], rows[-1] + 1), part, columns_RKP[rows[0] : rows[-1] + 1, part]
        return
    for start in range(0, Ho, step):
        block_RKP = columns_RKP[start : start + step]
        side_by_side = new((1, k * kC, len(block_RKP) * P))
        side_by_side.reshape(k * kC, len(block_RKP), P)[...] = block_RKP.swapaxes(0, 1)
        yield slice(start, start + step), slice(0, k * kC), side_by_side


def _in_rows(y_OHWN: Array, rows: slice, columns_RKP: Array) -> Array:
    """The part of the output that these columns belong to, R×O×P."""
    return y_OHWN[:, rows].reshape(len(y_OHWN), len(columns_RKP), -1).swapaxes(0, 1)


def _flat(w_OIkk: Array) -> Array:
    """The weights as O×K."""
    return w_OIkk.transpose(0, 2, 3, 1).reshape(len(w_OIkk), -1)


def _scatter(dy_OHWN: Array, w_OIkk: Array, stride: int, padding: int, shape: Shape, new: New) -> Array:
    """wᵀ · dy, each number added to the pixel that `_columns` and `_slabs` read it from."""
    O, C, k, _ = w_OIkk.shape
    _, H, W, N = shape
    _, Ho, Wo, _ = dy_OHWN.shape
    down, right = (slice(0, stride * (n - 1) + 1, stride) for n in (Ho, Wo))
    dslabs, products_RKP = new((H + 2 * padding, k, C, Wo, N)), new((Ho, k * C, Wo * N))
    dslabs[...] = 0
    dy_ROP = dy_OHWN.reshape(O, Ho, -1).swapaxes(0, 1)
    for i in range(k):
        np.matmul(_flat(w_OIkk[:, :, i : i + 1]).T, dy_ROP, out=products_RKP)
        dslabs[i:][down] += products_RKP.reshape(Ho, *dslabs.shape[1:])
    dx_pad = new((C, H + 2 * padding, W + 2 * padding, N))
    dx_pad[...] = 0
    for j in range(k):
        dx_pad[:, :, j:][:, :, right] += dslabs[:, j].swapaxes(0, 1)
    return dx_pad[:, padding : padding + H, padding : padding + W]


def _pointwise(x_CHWN: Array, w_OIkk: Array, b_O: Array, stride: int, new: New, need_dx: bool) -> Result:
    """1×1: each position reads one pixel, so x is its own columns: a linear layer over the channels."""
    read_CHWN = x_CHWN[:, ::stride, ::stride]
    O, C = w_OIkk.shape[:2]
    y_OP, linear_backward = linear.linear(read_CHWN.reshape(C, -1), w_OIkk.reshape(O, C), b_O, new, need_dx)

    def backward(dy_OHWN: Array) -> tuple[Array | None, ...]:
        dx_CP, dw_OC, db_O = linear_backward(dy_OHWN.reshape(O, -1))
        dx_CHWN = None if dx_CP is None else dx_CP.reshape(read_CHWN.shape)
        if dx_CHWN is not None and stride > 1:
            dread_CHWN, dx_CHWN = dx_CHWN, new(x_CHWN.shape)
            dx_CHWN[...] = 0
            dx_CHWN[:, ::stride, ::stride] = dread_CHWN
        return dx_CHWN, np.reshape(dw_OC, w_OIkk.shape), db_O  # type: ignore[arg-type]

    return y_OP.reshape(O, *read_CHWN.shape[1:]), backward


def _grouped(
    x_CHWN: Array, w_OIkk: Array, b_O: Array, stride: int, padding: int, groups: int, new: New, need_dx: bool
) -> Result:
    C, O = len(x_CHWN) // groups, len(w_OIkk) // groups
    ins, outs = ([slice(g * width, (g + 1) * width) for g in range(groups)] for width in (C, O))
    results = [
        conv2d(x_CHWN[i], w_OIkk[o], b_O[o], stride, padding, 1, new, need_dx) for i, o in zip(ins, outs, strict=True)
    ]

    def backward(dy_OHWN: Array) -> tuple[Array | None, ...]:
        grads = [backward_g(dy_OHWN[o]) for (_, backward_g), o in zip(results, outs, strict=True)]
        return tuple(None if g[0] is None else np.concatenate(g) for g in zip(*grads, strict=True))

    return np.concatenate([y for y, _ in results]), backward
