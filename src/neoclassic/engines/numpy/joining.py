"""Where arms meet, and what only moves numbers about.

A gradient that comes in may be handed to several arms, so nobody writes into it.
"""

from __future__ import annotations

from functools import reduce
from math import prod

import numpy as np

from neoclassic.engines.contract import Array
from neoclassic.engines.numpy.buffers import New
from neoclassic.engines.numpy.operation import Result


def add(*arms: Array, new: New) -> Result:
    """y = Σ x;   dx = dy for each."""
    y = new(arms[0].shape)
    np.add(arms[0], arms[1], out=y) if len(arms) > 1 else np.copyto(y, arms[0])
    for x in arms[2:]:
        y += x

    def backward(dy: Array) -> tuple[Array | None, ...]:
        return (dy,) * len(arms)

    return y, backward


def multiply(*arms: Array, new: New) -> Result:
    """y = Π x, a C×1×1×N gate scaling whole maps;   dx = dy · Π of the others, summed where x was spread."""
    y: Array = reduce(np.multiply, arms)

    def backward(dy: Array) -> tuple[Array | None, ...]:
        grads = []
        for i, x in enumerate(arms):
            dx = reduce(np.multiply, (other for j, other in enumerate(arms) if j != i), dy)
            spread = tuple(axis for axis, size in enumerate(x.shape) if size != dx.shape[axis])
            grads.append(dx.sum(spread, keepdims=True) if spread else dx)
        return tuple(grads)

    return y, backward


def concat(*arms: Array, room: int, extend: bool, new: New) -> Result:
    """y = the channels of each, one after the other;   dx = its channels of dy.

    `room`: channels that a whole chain of joins will have. Its first join makes room for them all; the next, told to
    `extend`, find their first arm at the start of that room and add the others behind it. Channels being outermost,
    what is there is a prefix of what comes: a dense block takes memory for its widest map, not for the sum of all.
    """
    ends = np.cumsum([len(x) for x in arms])
    shape = (room, *arms[0].shape[1:])
    home = arms[0].base[: prod(shape)].reshape(shape) if extend else new(shape)  # type: ignore[index]
    for x, end in list(zip(arms, ends, strict=True))[extend:]:
        home[end - len(x) : end] = x

    def backward(dy: Array) -> tuple[Array | None, ...]:
        return tuple(dy[end - len(x) : end] for x, end in zip(arms, ends, strict=True))

    return home[: ends[-1]], backward


def flatten(x_CHWN: Array) -> Result:
    """y[(c, h, w), n] = x[c, h, w, n]: the same numbers by another name."""

    def backward(dy_FN: Array) -> tuple[Array | None, ...]:
        return (dy_FN.reshape(x_CHWN.shape),)

    return x_CHWN.reshape(-1, x_CHWN.shape[-1]), backward


def select(x: Array, channels: tuple[int, ...]) -> Result:
    """y[i] = x[channels[i]];   dx[c] = Σ dy over the places that took c."""
    y = x[list(channels)]

    def backward(dy: Array) -> tuple[Array | None, ...]:
        dx = np.zeros_like(x)
        for i, c in enumerate(channels):
            dx[c] += dy[i]
        return (dx,)

    return y, backward


def pad_channels(x: Array, out_channels: int, new: New) -> Result:
    """y = x, then channels of zeros;   dx = its channels of dy."""
    y = new((out_channels, *x.shape[1:]))
    y[: len(x)] = x
    y[len(x) :] = 0

    def backward(dy: Array) -> tuple[Array | None, ...]:
        return (dy[: len(x)],)

    return y, backward
