# ruff: noqa: E741 (O is the letter for output channels)
"""Convolution and linear layers: everything becomes a matrix product.

    C  input channels     O  output channels     k  kernel size     N  images
    H, W  input map       P  the places of the output map, or of a row of it, all images side by side
    K  C · k · k, what one place sees

Maps are stored channels first and images last, x_CHWN: one channel of the whole batch is one line of memory, and
the same pixel of all images lies together. So a convolution is a product of the weights, O×K, with the columns, K×P,
whose column p holds what place p sees; and wherever the columns are gathered from, memory is read in long runs.
docs/convolution.md goes through it with pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import numpy as np
from numpy.lib.stride_tricks import as_strided

from neoclassic.engines.contract import Array
from neoclassic.engines.numpy import winograd
from neoclassic.engines.numpy.buffers import New
from neoclassic.engines.numpy.operation import Result
from neoclassic.engines.numpy.team import Member
from neoclassic.measure import Shape

SHORT = 128  # places: a product with fewer columns is not worth its start
AT_ONCE = 1 << 16  # numbers of dw that are made in one call, some rows of the output each with its own
FEW = 16  # channels: a product with fewer rows is slow, and adding back cheap


def conv2d(
    x_CHWN: Array, w_OIkk: Array, b_O: Array, stride: int, padding: int, groups: int, new: New, need_dx: bool = True
) -> Result:
    """y[o, h, w, n] = Σ over c, i, j of w[o, c, i, j] · x[c, s·h + i − padding, s·w + j − padding, n] + b[o].

    An empty `b_O` is no bias. Groups are so many convolutions side by side, each on its own channels.
    """
    C, H, W, _ = x_CHWN.shape
    O, I, k, _ = w_OIkk.shape
    if groups > 1 and I == 1 and O == C:
        return depthwise(x_CHWN, w_OIkk, b_O, stride, padding, new, need_dx)
    if groups > 1:
        return _grouped(x_CHWN, w_OIkk, b_O, stride, padding, groups, new, need_dx)
    if k == 1 and padding == 0:
        return _pointwise(x_CHWN, w_OIkk, b_O, stride, new, need_dx)
    if winograd.pays(k, stride, padding, C, O, H, W):
        return winograd.conv3x3(x_CHWN, w_OIkk, b_O, padding, new, need_dx)
    return _by_columns(x_CHWN, w_OIkk, b_O, stride, padding, new, need_dx)


def _by_columns(x_CHWN: Array, w_OIkk: Array, b_O: Array, stride: int, padding: int, new: New, need_dx: bool) -> Result:
    """y = w · columns(x) + b;   dw = dy · columns(x)ᵀ,   dx = wᵀ · dy added back to where the columns came from.

    With stride 1 that adding back is itself a convolution, of dy with the kernels turned round, and the columns of dy
    serve both gradients: dx = w' · columns(dy) and dw' = x · columns(dy)ᵀ.
    """
    O, C, k, _ = w_OIkk.shape
    Ho, Wo = ((size + 2 * padding - k) // stride + 1 for size in x_CHWN.shape[1:3])
    w_OK, y_OHWN = _flat(w_OIkk), new((O, Ho, Wo, x_CHWN.shape[3]))
    for rows, seen, columns_RKP in _columns(x_CHWN, k, stride, padding, O, new):
        np.matmul(w_OK[:, seen], columns_RKP, out=_in_rows(y_OHWN, rows, columns_RKP))
    if len(b_O):
        y_OHWN += b_O[:, None, None, None]

    def backward(dy_OHWN: Array) -> tuple[Array | None, ...]:
        db_O = dy_OHWN.reshape(O, -1).sum(1) if len(b_O) else None
        if need_dx and stride == 1 and padding < k and (C >= FEW or O <= C):
            dx_CHWN, turned_COkk = new(x_CHWN.shape), w_OIkk.swapaxes(0, 1)[:, :, ::-1, ::-1]
            turned_CK, dturned_KC = _flat(turned_COkk), np.zeros((k * k * O, C), w_OIkk.dtype)
            for rows, seen, columns_RKP in _columns(dy_OHWN, k, 1, k - 1 - padding, C, new):
                np.matmul(turned_CK[:, seen], columns_RKP, out=_in_rows(dx_CHWN, rows, columns_RKP))
                _add_products(columns_RKP, _in_rows(x_CHWN, rows, columns_RKP), dturned_KC[seen], new)
            return dx_CHWN, dturned_KC.reshape(k, k, O, C)[::-1, ::-1].transpose(2, 3, 0, 1), db_O
        dw_KO = np.zeros((k * k * C, O), w_OIkk.dtype)
        for rows, seen, columns_RKP in _columns(x_CHWN, k, stride, padding, O, new):
            _add_products(columns_RKP, _in_rows(dy_OHWN, rows, columns_RKP), dw_KO[seen], new)
        dw_OIkk = dw_KO.reshape(k, k, C, O).transpose(3, 2, 0, 1)
        return _added_back(dy_OHWN, w_OIkk, stride, padding, x_CHWN.shape, new) if need_dx else None, dw_OIkk, db_O

    return y_OHWN, backward


def _add_products(columns_RKP: Array, y_ROP: Array, dw_KO: Array, new: New) -> None:
    """dw = dw + Σ over the rows of columns · yᵀ."""
    some = max(1, AT_ONCE // dw_KO.size)
    for r in range(0, len(y_ROP), some):
        y_RPO = y_ROP[r : r + some].swapaxes(1, 2)
        dw_KO += np.matmul(columns_RKP[r : r + some], y_RPO, out=new((len(y_RPO), *dw_KO.shape))).sum(0)


def _slabs(x_CHWN: Array, k: int, stride: int, padding: int, new: New) -> Array:
    """What the kernel's columns see of each row: slabs[h, j, c, w, n] = x[c, h − padding, s·w + j − padding, n].

    Only k copies of x, where the columns would be k²: see `_columns`.
    """
    C, H, W, N = x_CHWN.shape
    Wo = (W + 2 * padding - k) // stride + 1
    slabs = new((H + 2 * padding, k, C, Wo, N))
    slabs[:padding] = slabs[padding + H :] = 0
    for j in range(k):
        low = min(max(0, -(-(padding - j) // stride)), Wo)  # from where to where this column is over x
        high = min(max(low, (W - 1 + padding - j) // stride + 1), Wo)
        here = slabs[padding : padding + H, j]
        here[:, :, :low] = here[:, :, high:] = 0
        if low < high:
            first = stride * low + j - padding
            here[:, :, low:high] = x_CHWN[:, :, first : first + stride * (high - low - 1) + 1 : stride].swapaxes(0, 1)
    return slabs


def _columns(
    x_CHWN: Array, k: int, stride: int, padding: int, O: int, new: New
) -> Iterator[tuple[slice, slice, Array]]:
    """The columns of some rows of the output, R×K×P: which rows, which part of K, and the columns.

    K is in the order of the kernel's row, its column, the channel.

    What a row of the output sees is k slabs, which lie one behind the other: its columns are there without a copy.
    Of those at the border, only what is inside the image is multiplied. Where a row is short (P < O), reading the
    weights again for every row costs more than laying some side by side.
    """
    slabs = _slabs(x_CHWN, k, stride, padding, new)
    _, _, C, Wo, N = slabs.shape
    kC, P, Ho, H = k * C, Wo * N, (len(slabs) - k) // stride + 1, len(slabs) - 2 * padding
    line = slabs.strides[0]
    columns_RKP = as_strided(slabs, (Ho, k * kC, P), (stride * line, line // kC, slabs.itemsize), writeable=False)
    some = -(-max(O, SHORT) // P)
    if some == 1:

        def inside(row: int) -> tuple[int, int]:
            top = stride * row - padding
            return min(max(0, -top), k), max(0, min(k, H - top))

        for (first, end), alike in groupby(range(Ho), inside):
            rows, seen = list(alike), slice(first * kC, end * kC)
            yield slice(rows[0], rows[-1] + 1), seen, columns_RKP[rows[0] : rows[-1] + 1, seen]
        return
    for start in range(0, Ho, some):
        part_RKP = columns_RKP[start : start + some]
        side_by_side = new((1, k * kC, len(part_RKP) * P))
        side_by_side.reshape(k * kC, len(part_RKP), P)[...] = part_RKP.swapaxes(0, 1)
        yield slice(start, start + some), slice(0, k * kC), side_by_side


def _in_rows(y_OHWN: Array, rows: slice, columns_RKP: Array) -> Array:
    """The places of these columns in the output, R×O×P."""
    return y_OHWN[:, rows].reshape(len(y_OHWN), len(columns_RKP), -1).swapaxes(0, 1)


def _flat(w_OIkk: Array) -> Array:
    """The weights as O×K."""
    return w_OIkk.transpose(0, 2, 3, 1).reshape(len(w_OIkk), -1)


def _added_back(dy_OHWN: Array, w_OIkk: Array, stride: int, padding: int, shape: Shape, new: New) -> Array:
    """wᵀ · dy, every number added back to where `_columns` and then `_slabs` read it."""
    O, C, k, _ = w_OIkk.shape
    _, H, W, N = shape
    _, Ho, Wo, _ = dy_OHWN.shape
    down, right = (slice(0, stride * (n - 1) + 1, stride) for n in (Ho, Wo))
    dslabs, part_RKP = new((H + 2 * padding, k, C, Wo, N)), new((Ho, k * C, Wo * N))
    dslabs[...] = 0
    dy_ROP = dy_OHWN.reshape(O, Ho, -1).swapaxes(0, 1)
    for i in range(k):
        np.matmul(_flat(w_OIkk[:, :, i : i + 1]).T, dy_ROP, out=part_RKP)
        dslabs[i:][down] += part_RKP.reshape(Ho, *dslabs.shape[1:])
    dx_pad = new((C, H + 2 * padding, W + 2 * padding, N))
    dx_pad[...] = 0
    for j in range(k):
        dx_pad[:, :, j:][:, :, right] += dslabs[:, j].swapaxes(0, 1)
    return dx_pad[:, padding : padding + H, padding : padding + W]


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


def _pointwise(x_CHWN: Array, w_OIkk: Array, b_O: Array, stride: int, new: New, need_dx: bool) -> Result:
    """1×1: what a place sees is the pixel there, so x is its own columns, and this a linear layer over the channels."""
    seen_CHWN = x_CHWN[:, ::stride, ::stride]
    O, C = w_OIkk.shape[:2]
    y_OP, linear_backward = linear(seen_CHWN.reshape(C, -1), w_OIkk.reshape(O, C), b_O, new, need_dx)

    def backward(dy_OHWN: Array) -> tuple[Array | None, ...]:
        dx_CP, dw_OC, db_O = linear_backward(dy_OHWN.reshape(O, -1))
        dx_CHWN = None if dx_CP is None else dx_CP.reshape(seen_CHWN.shape)
        if dx_CHWN is not None and stride > 1:
            seen, dx_CHWN = dx_CHWN, new(x_CHWN.shape)
            dx_CHWN[...] = 0
            dx_CHWN[:, ::stride, ::stride] = seen
        return dx_CHWN, np.reshape(dw_OC, w_OIkk.shape), db_O  # type: ignore[arg-type]

    return y_OP.reshape(O, *seen_CHWN.shape[1:]), backward


def _grouped(
    x_CHWN: Array, w_OIkk: Array, b_O: Array, stride: int, padding: int, groups: int, new: New, need_dx: bool
) -> Result:
    C, O = len(x_CHWN) // groups, len(w_OIkk) // groups
    ins, outs = ([slice(g * width, (g + 1) * width) for g in range(groups)] for width in (C, O))
    parts = [
        conv2d(x_CHWN[i], w_OIkk[o], b_O[o], stride, padding, 1, new, need_dx) for i, o in zip(ins, outs, strict=True)
    ]

    def backward(dy_OHWN: Array) -> tuple[Array | None, ...]:
        grads = [backward_g(dy_OHWN[o]) for (_, backward_g), o in zip(parts, outs, strict=True)]
        return tuple(None if g[0] is None else np.concatenate(g) for g in zip(*grads, strict=True))

    return np.concatenate([y for y, _ in parts]), backward


def depthwise(
    x_CHWN: Array, w_C1kk: Array, b_C: Array, stride: int, padding: int, new: New, need_dx: bool = True
) -> Result:
    """Each channel by its own kernel: y = Σ over i, j of w[:, i, j] · x seen through (i, j) + b.

    No matrix to speak of: k² products of a number a channel with a map, channel by channel while it is in the cache.
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
    step = max(1, DEPTHWISE // (Ho * Wo * N))
    some = [slice(c, min(c + step, C)) for c in range(0, C, step)]
    for c in some:
        y, product = y_CHWN[c], new(y_CHWN[c].shape)
        for at, (rows, cols) in enumerate(windows):
            np.multiply(x_pad[c, rows, cols], w_CK[c, at], out=product if at else y)
            if at:
                y += product
    if len(b_C):
        y_CHWN += b_C[:, None, None, None]

    def backward(dy_CHWN: Array) -> tuple[Array | None, ...]:
        dw_CK = np.empty((C, k * k), w_C1kk.dtype)
        dx_pad = new(x_pad.shape)
        dx_pad[...] = 0
        for c in some:
            dy, product = dy_CHWN[c], new(dy_CHWN[c].shape)
            for at, (rows, cols) in enumerate(windows):
                np.multiply(x_pad[c, rows, cols], dy, out=product)
                dw_CK[c, at] = product.reshape(len(product), -1).sum(1)
                if need_dx:
                    dx = dx_pad[c, rows, cols]
                    dx += np.multiply(dy, w_CK[c, at], out=product)
        dx_CHWN = dx_pad[:, padding : padding + H, padding : padding + W] if need_dx else None
        db_C = dy_CHWN.reshape(C, -1).sum(1) if len(b_C) else None
        return dx_CHWN, dw_CK.reshape(w_C1kk.shape), db_C

    return y_CHWN, backward


DEPTHWISE = 1 << 15  # numbers of a map, or of several small ones, that the k² products go over at a time


def linear(x_FN: Array, w_OF: Array, b_O: Array, new: New, need_dx: bool = True) -> Result:
    """y = w · x + b;   dx = wᵀ · dy,   dw = dy · xᵀ,   db = Σ dy."""
    y_ON = np.matmul(w_OF, x_FN, out=new((len(w_OF), x_FN.shape[1])))
    if len(b_O):
        y_ON += b_O[:, None]

    def backward(dy_ON: Array) -> tuple[Array | None, ...]:
        dx_FN = np.matmul(w_OF.T, dy_ON, out=new(x_FN.shape)) if need_dx else None
        dw_OF = np.matmul(dy_ON, x_FN.T, out=new(w_OF.shape))
        return dx_FN, dw_OF, dy_ON.sum(1) if len(b_O) else None

    return y_ON, backward


def linear_together(x_FN: Array, w_OF: Array, b_O: Array, member: Member, new: New, need_dx: bool = True) -> Result:
    """`linear` for the whole batch by the whole team: each member computes its rows of y, and of dw.

    So large weights are read once and have one gradient, whose rows of this member are what backward gives.
    """
    parts = member.share(x_FN)
    start = sum(x.shape[1] for x in parts[: member.rank])
    mine, rows, inputs = slice(start, start + x_FN.shape[1]), member.part(len(w_OF)), member.part(len(x_FN))
    all_FN = np.concatenate(parts, 1)
    y_rows = w_OF[rows] @ all_FN
    if len(b_O):
        y_rows += b_O[rows, None]
    y_ON = np.concatenate([y[:, mine] for y in member.share(y_rows)])

    def backward(dy_ON: Array) -> tuple[Array | None, ...]:
        dall_ON = np.concatenate(member.share(dy_ON), 1)
        dw_rows, db_rows = dall_ON[rows] @ all_FN.T, dall_ON[rows].sum(1) if len(b_O) else None
        if not need_dx:
            return None, dw_rows, db_rows
        dx_parts = member.share(w_OF[:, inputs].T @ dall_ON)
        return np.concatenate([dx[:, mine] for dx in dx_parts]), dw_rows, db_rows

    return y_ON, backward
