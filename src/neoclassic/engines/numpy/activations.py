"""Activations and dropout, computed element by element.

`out` receives the output. It is a new array, or the input itself if nothing else reads it. So the backward function of
an activation with `out` must not read the input; Hardswish and Hardsigmoid read it, and have no `out`.
"""

from __future__ import annotations

import numpy as np

from neoclassic import tree as nodes
from neoclassic.engines.contract import Array
from neoclassic.engines.numpy.buffers import New
from neoclassic.engines.numpy.operation import Result
from neoclassic.tree import Node


def activation(node: Node, x: Array, in_place: bool, new: New) -> Result | None:
    """The output of an activation, and its backward function; None for another layer. in_place: use x as `out`."""
    match node:
        case nodes.Hardsigmoid():
            return hardsigmoid(x, new)
        case nodes.Hardswish():
            return hardswish(x, new)
    out = x if in_place else new(x.shape)
    match node:
        case nodes.ReLU():
            return relu(x, out, new)
        case nodes.ReLU6():
            return relu6(x, out, new)
        case nodes.Sigmoid():
            return sigmoid(x, out, new)
        case nodes.Tanh(scale, slope):
            return tanh(x, scale, slope, out, new)
    return None


def relu(x: Array, out: Array, new: New) -> Result:
    """y = max(x, 0);   dx = dy where y > 0."""
    y = np.clip(x, 0, np.inf, out=out)  # three times as fast as np.maximum(x, 0)

    def backward(dy: Array) -> tuple[Array | None, ...]:
        return (np.multiply(dy, y > 0, out=new(dy.shape)),)

    return y, backward


def relu6(x: Array, out: Array, new: New) -> Result:
    """y = min(max(x, 0), 6);   dx = dy where 0 < y < 6."""
    y = np.clip(x, 0, 6, out=out)

    def backward(dy: Array) -> tuple[Array | None, ...]:
        return (np.multiply(dy, (y > 0) & (y < 6), out=new(dy.shape)),)

    return y, backward


def sigmoid(x: Array, out: Array, new: New) -> Result:
    """y = 1 / (1 + e^−x);   dx = dy · y · (1 − y)."""
    y = np.negative(x, out=out)
    np.exp(y, out=y)
    y += 1
    np.reciprocal(y, out=y)

    def backward(dy: Array) -> tuple[Array | None, ...]:
        dx = np.subtract(1, y, out=new(y.shape))
        dx *= y
        dx *= dy
        return (dx,)

    return y, backward


def tanh(x: Array, scale: float, slope: float, out: Array, new: New) -> Result:
    """y = scale · tanh(slope · x);   dx = dy · slope · (scale − y²/scale)."""
    y = np.multiply(x, slope, out=out)
    np.tanh(y, out=y)
    y *= scale

    def backward(dy: Array) -> tuple[Array | None, ...]:
        dx = np.multiply(y, y, out=new(y.shape))
        dx *= -slope / scale
        dx += slope * scale
        dx *= dy
        return (dx,)

    return y, backward


def hardsigmoid(x: Array, new: New) -> Result:
    """y = min(max(x + 3, 0), 6) / 6;   dx = dy / 6 where −3 < x < 3."""
    y = np.add(x, 3, out=new(x.shape))
    np.clip(y, 0, 6, out=y)
    y /= 6

    def backward(dy: Array) -> tuple[Array | None, ...]:
        dx = np.multiply(dy, (x > -3) & (x < 3), out=new(dy.shape))
        dx /= 6
        return (dx,)

    return y, backward


def hardswish(x: Array, new: New) -> Result:
    """y = x · min(max(x + 3, 0), 6) / 6;   dx = dy · (0 if x ≤ −3, 1 if x ≥ 3, otherwise x/3 + 1/2)."""
    y = np.add(x, 3, out=new(x.shape))
    np.clip(y, 0, 6, out=y)
    y *= x
    y /= 6

    def backward(dy: Array) -> tuple[Array | None, ...]:
        dx = np.divide(x, 3, out=new(x.shape))
        dx += 0.5
        dx[x <= -3] = 0
        dx[x >= 3] = 1
        dx *= dy
        return (dx,)

    return y, backward


def dropout(x: Array, kept: Array, p: float, new: New) -> Result:
    """y = x · kept / (1 − p), where `kept` is 0 or 1;   dx = dy · kept / (1 − p)."""
    factor = np.multiply(kept, 1 / (1 - p) if p < 1 else 0, out=new(x.shape))
    y = np.multiply(x, factor, out=new(x.shape))

    def backward(dy: Array) -> tuple[Array | None, ...]:
        return (np.multiply(dy, factor, out=new(dy.shape)),)

    return y, backward
