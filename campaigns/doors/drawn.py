"""Random valid trees of every node type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from neoclassic.base.errors import NeoclassicError
from neoclassic.measure import Shape, measure
from neoclassic.tree import (
    RBF,
    AdaptiveAvgPool2d,
    Auxiliary,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Concat,
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
    Sum,
    Tanh,
)

Rng = np.random.Generator
CLASSES = 3

_LEAVES: tuple[Callable[[Rng, int], Node], ...] = (
    lambda r, c: Conv2d(
        2 * pick(r, 1, 2, 3), pick(r, 1, 2, 3, 5), pick(r, 1, 1, 2, 3), pick(r, 0, 1, 2, 4), bias=coin(r)
    ),
    lambda r, c: Conv2d(2 * c, pick(r, 1, 3), padding=1, groups=c),
    lambda r, c: MaxPool2d(pick(r, 2, 3, 4), pick(r, None, 1, 2, 3), pick(r, 0, 0, 1), coin(r)),
    lambda r, c: AvgPool2d(pick(r, 2, 3, 4), pick(r, None, 1, 2, 3), pick(r, 0, 0, 1), coin(r), coin(r)),
    lambda r, c: AdaptiveAvgPool2d(pick(r, 1, 2, 3, 5)),
    lambda r, c: LocalResponseNorm(
        pick(r, 1, 2, 3, 5, 9), pick(r, 1e-4, 0.1, 1.0), pick(r, 0.5, 0.75, 1.0), pick(r, 1.0, 2.0)
    ),
    lambda r, c: BatchNorm2d(pick(r, 1e-5, 1e-3)),
    lambda r, c: Tanh(pick(r, 1.0, 1.7159), pick(r, 1.0, 2 / 3)),
    lambda r, c: Select(tuple(int(i) for i in r.integers(0, c, pick(r, 1, 2, 4, 6)))),
    lambda r, c: PadChannels(c + pick(r, 0, 1, 3)),
    lambda r, c: Dropout(0.5),
    *(lambda r, c, cls=cls: cls() for cls in (ReLU, ReLU6, Sigmoid, Hardswish, Hardsigmoid, Identity)),
    lambda r, c: Auxiliary(AdaptiveAvgPool2d(2), Flatten(), Linear(CLASSES), weight=0.4),
)
_FLAT: tuple[Callable[[Rng], Node], ...] = (
    lambda r: Linear(pick(r, 4, 7), bias=coin(r)),
    lambda r: BatchNorm1d(),
    lambda r: Dropout(0.25),
    lambda r: Sum(Identity(), Sequential(Linear(5), ReLU(), Linear(_FEATURES))),
    *(lambda r, cls=cls: cls() for cls in (ReLU, Sigmoid, Tanh)),
)
_FEATURES, _WIDEST = 6, 24


def pick(rng: Rng, *values: Any) -> Any:
    return values[rng.integers(len(values))]


def coin(rng: Rng) -> bool:
    return bool(rng.random() < 0.5)


def drawn(rng: Rng, input: Shape) -> Node:
    """A valid tree for this input: maps, then flat layers, then logits."""
    body, _ = _maps(rng, input, 0)
    flat = [Linear(_FEATURES), *(_FLAT[i](rng) for i in rng.integers(0, len(_FLAT), rng.integers(4)))]
    head: list[Node] = [Linear(CLASSES)]
    if coin(rng):
        head = [Linear(4), Tanh(), RBF(tuple(tuple(int(v) for v in row) for row in rng.choice([-1, 1], (CLASSES, 4))))]
    tree = Sequential(body, Flatten(), *flat, *head)
    try:
        measure(tree, input)
    except NeoclassicError:  # the sum wants another width
        return Sequential(body, Flatten(), *head)
    return tree


def _maps(rng: Rng, x: Shape, level: int) -> tuple[Node, Shape]:
    """Layers from maps to maps, each of which takes what it gets; and their output shape."""
    nodes: list[Node] = []
    for _ in range(int(rng.integers(1, 5))):
        for _ in range(8):
            node = _branches(rng, x, level) if level < 2 and rng.random() < 0.25 else pick(rng, *_LEAVES)(rng, x[0])
            try:
                y = measure(node, x).output
            except NeoclassicError:
                continue
            if len(y) == 3 and y[0] <= _WIDEST:
                nodes.append(node)
                x = y
                break
    return Sequential(*nodes), x


def _branches(rng: Rng, x: Shape, level: int) -> Node:
    if rng.random() < 0.2:
        return Product(Identity(), gate=Sequential(AdaptiveAvgPool2d(), Conv2d(x[0], 1), Hardsigmoid()))
    branches = []
    for _ in range(pick(rng, 2, 2, 3)):
        node, y = (Identity(), x) if rng.random() < 0.3 else _maps(rng, x, level + 1)
        branches.append(node if y == x else Sequential(node, AdaptiveAvgPool2d(x[1]), Conv2d(x[0], 1)))
    return pick(rng, Sum, Concat, Product)(*branches)
