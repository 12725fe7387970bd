"""What the 1×1 and depthwise convolutions of a network save, compared with one dense convolution in their place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from neoclassic.measure import Measure, Row
from neoclassic.tree import (
    RBF,
    AdaptiveAvgPool2d,
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
from neoclassic.views.table import RIGHT, WRAP, Column, Part, Table

WINDOWLESS = (  # leaves that may come between the two convolutions of a pair
    RBF
    | AdaptiveAvgPool2d
    | BatchNorm2d
    | Dropout
    | Flatten
    | Hardsigmoid
    | Hardswish
    | Identity
    | Linear
    | LocalResponseNorm
    | PadChannels
    | ReLU
    | ReLU6
    | Select
    | Sigmoid
    | Tanh
)
TITLES = {
    "reduced": "1×1 convolutions that narrow the input of a larger one",
    "separated": "depthwise convolutions followed by a 1×1, in place of a dense one",
}


@dataclass(frozen=True)
class Saving:
    """Two consecutive convolutions that replace a dense one.

    kind         "reduced": a 1×1 that narrows the input of a k×k; "separated": a depthwise k×k, then a 1×1
    first, second  their paths
    parameters, macs              the sum over the two, without biases
    dense_parameters, dense_macs  of one k×k convolution from the same input to the same output
    formula      the MACs of the dense convolution → those of the two
    """

    kind: str
    first: str
    second: str
    parameters: int
    macs: int
    dense_parameters: int
    dense_macs: int
    formula: str


def product(*factors: int) -> str:
    """The factors with dots between them.

    >>> product(5, 5, 6)
    '5·5·6'
    """
    return "·".join(map(str, factors))


def savings(m: Measure) -> Iterator[Saving]:
    """The saving of every pair of consecutive convolutions that has one, in order of execution.

    NeoclassicError for a layer without a rule.
    """
    for chain in _chains(m.rows[0].node, ""):
        for first, second in pairwise(chain):
            if saving := _saving(m[first], m[second]):
                yield saving


def to_dict(m: Measure) -> list[dict[str, object]]:
    """The savings as plain JSON values."""
    return [vars(saving) for saving in savings(m)]


def _chains(node: Node, path: str) -> list[list[str]]:
    """The paths of consecutive convolutions. Pooling ends a chain, and so does every combinator but a Sequential and
    a gate (Product), which only scales its input."""
    chains: list[list[str]] = []
    current: list[str] = []

    def visit(node: Node, path: str) -> None:
        nonlocal current
        if isinstance(node, Sequential):
            for name, child in node.children:
                visit(child, join(path, name))
        elif isinstance(node, Conv2d):
            current.append(path)
        elif isinstance(node, Combinator | MaxPool2d | AvgPool2d):
            if not isinstance(node, Product):
                chains.append(current)
                current = []
            if isinstance(node, Combinator):
                for name, child in node.children:
                    chains.extend(_chains(child, join(path, name)))
        elif not isinstance(node, WINDOWLESS):
            raise unknown_layer("the arithmetic", node, path)

    visit(node, path)
    return [chain for chain in [*chains, current] if len(chain) > 1]


def _saving(first: Row, second: Row) -> Saving | None:
    a, b = first.node, second.node
    assert isinstance(a, Conv2d)
    assert isinstance(b, Conv2d)
    c, mid, out = first.input[0], a.out_channels, b.out_channels
    positions = prod(second.output[1:])
    if a.kernel_size == 1 and a.groups == 1 and b.kernel_size > 1 and b.groups == 1 and mid < c:
        kind, k = "reduced", b.kernel_size
        first_macs = f"{product(c, mid)}·{product(*first.output[1:])}"
        pair = f"{first_macs} + {product(k, k, mid, out)}·{product(*second.output[1:])}"
    elif a.groups == c == mid > 1 and a.kernel_size > 1 and b.kernel_size == 1 and b.groups == 1:
        kind, k = "separated", a.kernel_size
        pair = f"({product(k, k, c)} + {product(c, out)})·{product(*second.output[1:])}"
    else:
        return None
    dense = k * k * c * out
    weights = sum(prod(row.parameter_shapes["weight"]) for row in (first, second))
    formula = f"{product(k, k, c, out)}·{product(*second.output[1:])} → {pair}"
    return Saving(kind, first.path, second.path, weights, first.macs + second.macs, dense, dense * positions, formula)


def parts(saved: list[Saving]) -> list[Part]:
    """A title and a table for each kind: one row a pair, then the totals; an empty line follows each table."""
    columns = (
        Column("path"),
        Column("MACs if dense", RIGHT, rank=2),
        Column("MACs", RIGHT, rank=1),
        Column("saved", RIGHT),
        Column("dense → actual", narrow=WRAP, least=24),
    )
    parts: list[Part] = []
    for kind, title in TITLES.items():
        group = [s for s in saved if s.kind == kind]
        if not group:
            continue
        rows = [
            (s.second, f"{s.dense_macs:,}", f"{s.macs:,}", f"{s.dense_macs / s.macs:.1f}×", s.formula) for s in group
        ]
        dense, macs = sum(s.dense_macs for s in group), sum(s.macs for s in group)
        weights, before = sum(s.parameters for s in group), sum(s.dense_parameters for s in group)
        rows.append(("total", f"{dense:,}", f"{macs:,}", f"{dense / macs:.1f}×", f"weights {before:,} → {weights:,}"))
        parts += [f"Savings: {title}", Table(columns, tuple(rows)), ""]
    return parts
