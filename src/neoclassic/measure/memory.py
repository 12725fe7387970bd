"""Torch's memory model: the activations that training keeps, and those that are alive at one time in inference."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from neoclassic.measure.layers import FLOAT
from neoclassic.tree import (
    RBF,
    AdaptiveAvgPool2d,
    Auxiliary,
    AvgPool2d,
    BatchNorm2d,
    Combinator,
    Conv2d,
    Dropout,
    Flatten,
    Hardsigmoid,
    Hardswish,
    Identity,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Node,
    PadChannels,
    Product,
    ReLU,
    ReLU6,
    Select,
    Sequential,
    Sigmoid,
    Tanh,
    join,
    unknown_layer,
)

if TYPE_CHECKING:
    from neoclassic.measure.rows import Measure


def activations(measure: Measure) -> tuple[int, int]:
    """Bytes of activations for one image: (kept for the backward pass, alive at most at one time in inference)."""
    walk = _Walk(measure)
    walk.visit(measure.rows[0].node, "", _Storage(FLOAT * prod(measure.input)), held=0, auxiliary=False)
    return walk.workspace + sum(storage.nbytes for storage in walk.kept), walk.peak


class _Storage:
    """The memory of an activation. A layer that returns a view of its input returns the same storage."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes


class _Walk:
    def __init__(self, measure: Measure) -> None:
        self.measure = measure
        self.kept: set[_Storage] = set()  # activations that the backward pass needs
        self.workspace = 0  # bytes of the other arrays that it needs
        self.peak = 0

    def visit(self, node: Node, path: str, x: _Storage, held: int, auxiliary: bool) -> _Storage:
        """Walk through `node` and return its output. `held`: bytes that are alive besides its input."""
        if isinstance(node, Sequential | Auxiliary):
            y = x
            for name, child in node.children:
                outer = held + (x.nbytes if y is not x else 0)
                y = self.visit(child, join(path, name), y, outer, auxiliary or isinstance(node, Auxiliary))
            return x if isinstance(node, Auxiliary) else y
        if isinstance(node, Combinator):
            return self.merge(node, path, x, held, auxiliary)
        return self.leaf(node, path, x, held, auxiliary)

    def merge(self, node: Combinator, path: str, x: _Storage, held: int, auxiliary: bool) -> _Storage:
        """Each child of a Sum, Concat or Product reads x, which stays alive together with the outputs so far."""
        outputs: list[_Storage] = []
        alive = held
        for name, child in node.children:
            y = self.visit(child, join(path, name), x, alive, auxiliary)
            alive += y.nbytes if y is not x else 0
            outputs.append(y)
        if isinstance(node, Product):
            self.kept.update(outputs)
        merged = _Storage(self.measure[path].bytes)
        if not auxiliary:
            distinct = sum(storage.nbytes for storage in {x, *outputs})
            self.peak = max(self.peak, held + distinct + merged.nbytes)
        return merged

    def leaf(self, node: Node, path: str, x: _Storage, held: int, auxiliary: bool) -> _Storage:
        y = x if isinstance(node, Flatten | Identity) else _Storage(self.measure[path].bytes)
        self.keep(node, path, x, y)
        if not auxiliary:
            # intermediate results, and the int64 indices of a maximum
            temporary = {LocalResponseNorm: 2, MaxPool2d: 2, Tanh: 1}.get(type(node), 0)
            own = 0 if y is x else y.nbytes * (1 + temporary)
            self.peak = max(self.peak, held + x.nbytes + own)
        return y

    def keep(self, node: Node, path: str, x: _Storage, y: _Storage) -> None:
        """Record what torch keeps for the backward pass of a layer."""
        match node:
            case Flatten() | Identity() | Select() | PadChannels():
                pass
            case AdaptiveAvgPool2d(1):  # a plain mean: its gradient does not depend on its input
                pass
            case Conv2d() | Linear() | BatchNorm2d() | AvgPool2d() | AdaptiveAvgPool2d():
                self.kept.add(x)
            case ReLU6() | Hardsigmoid() | Hardswish():
                self.kept.add(x)
            case ReLU() | Sigmoid():
                self.kept.add(y)
            case MaxPool2d():  # and the indices, int64
                self.kept.add(x)
                self.workspace += 2 * y.nbytes
            case LocalResponseNorm(size):  # and the squares, padded by the neighbouring channels; their means, twice
                self.kept.add(x)
                channels = self.measure[path].input[0]
                self.workspace += x.nbytes * (channels + size - 1) // channels + 2 * x.nbytes
            case Dropout() | Tanh():  # the mask, in float32; the tanh before it is scaled
                self.workspace += y.nbytes
            case RBF(prototypes):  # all differences
                self.workspace += x.nbytes * len(prototypes)
            case _:
                raise unknown_layer("the memory model of measure", node, path)
