"""Sums, products and concatenations, and the layers that only move numbers.

A gradient that comes in may be passed to several branches, so nothing writes into it.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from neoclassic.engines.contract import Array
from neoclassic.engines.numpy.buffers import New
from neoclassic.engines.numpy.operation import Result


def add(*branches: Array, new: New) -> Result:
    """y = Σ x;   dx = dy for each."""
    y = new(branches[0].shape)
    np.add(branches[0], branches[1], out=y) if len(branches) > 1 else np.copyto(y, branches[0])
    for x in branches[2:]:
        y += x

    def backward(dy: Array) -> tuple[Array | None, ...]:
        return (dy,) * len(branches)

    return y, backward


def multiply(*branches: Array) -> Result:
    """y = Π x, where a C×1×1×N gate scales whole maps;   dx = dy · Π of the others, summed where x was broadcast."""
    y: Array = reduce(np.multiply, branches)

    def backward(dy: Array) -> tuple[Array | None, ...]:
        grads = []
        for i, x in enumerate(branches):
            dx = reduce(np.multiply, (other for j, other in enumerate(branches) if j != i), dy)
            broadcast = tuple(axis for axis, size in enumerate(x.shape) if size != dx.shape[axis])
            grads.append(dx.sum(broadcast, keepdims=True) if broadcast else dx)
        return tuple(grads)

    return y, backward


def concat(*branches: Array, room: Array, extend: bool) -> Result:
    """y = the channels of each branch, one after the other;   dx = its channels of dy.

    y is the start of `room`, which has the channels of a whole chain of concatenations. The first of the chain copies
    all branches. The others `extend` it: their first branch is already there, and they append the rest. So a dense
    block needs memory for its widest map, not for the sum of all its maps.
    """
    ends = np.cumsum([len(x) for x in branches])
    for x, end in list(zip(branches, ends, strict=True))[extend:]:
        room[end - len(x) : end] = x

    def backward(dy: Array) -> tuple[Array | None, ...]:
        return tuple(dy[end - len(x) : end] for x, end in zip(branches, ends, strict=True))

    return room[: ends[-1]], backward


def flatten(x_CHWN: Array) -> Result:
    """y[(c, h, w), n] = x[c, h, w, n]: the same memory with another shape."""

    def backward(dy_FN: Array) -> tuple[Array | None, ...]:
        return (dy_FN.reshape(x_CHWN.shape),)

    return x_CHWN.reshape(-1, x_CHWN.shape[-1]), backward


def select(x: Array, channels: tuple[int, ...]) -> Result:
    """y[i] = x[channels[i]];   dx[c] = Σ dy[i] over all i with channels[i] = c."""
    y = x[list(channels)]

    def backward(dy: Array) -> tuple[Array | None, ...]:
        dx = np.zeros_like(x)
        for i, c in enumerate(channels):
            dx[c] += dy[i]
        return (dx,)

    return y, backward


def pad_channels(x: Array, out_channels: int, new: New) -> Result:
    """y = x, then channels of zeros;   dx = the first channels of dy."""
    y = new((out_channels, *x.shape[1:]))
    y[: len(x)] = x
    y[len(x) :] = 0

    def backward(dy: Array) -> tuple[Array | None, ...]:
        return (dy[: len(x)],)

    return y, backward
