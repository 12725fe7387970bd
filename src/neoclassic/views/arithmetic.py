"""How each figure of a network comes about: the textbook's arithmetic, filled in from the tree.

>>> from neoclassic.measure import measure
>>> from neoclassic.networks import network
>>> figures(measure(network("lenet"), (1, 28, 28)), "conv2")["parameters"]
'(5·5·6+1)·16 = 2,416'
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from neoclassic.measure import FLOAT, Measure, Row, by, pooling
from neoclassic.tree import (
    AvgPool2d,
    BatchNorm2d,
    Combinator,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    Node,
    Product,
    Sequential,
    join,
    unknown_layer,
)
from neoclassic.views.table import LEFT, RIGHT, align, at_depth, size, totals


def _times(*factors: int) -> str:
    return "·".join(map(str, factors))


# ── one layer ────────────────────────────────────────────────────────────────────────────────────────


def figures(m: Measure, path: str, batch: int = 1) -> dict[str, str]:
    """What there is to compute at a path, each as a formula with its result: side, parameters, MACs, memory, sees."""
    row = m[path]
    found = {"side": _side(row), "parameters": _parameters(row), "MACs": _macs(row)}
    found["memory"] = f"{_times(*([batch] * (batch > 1)), *row.output)}·{FLOAT} B = {size(batch * row.bytes)}"
    found["sees"] = _sight(m, row)
    return {name: formula for name, formula in found.items() if formula}


def _side(row: Row) -> str:
    """⌊(n + 2p − k)/s⌋ + 1, for height and width where they differ."""
    node = row.node
    match node:
        case Conv2d():
            k, s, p = node.kernel_size, node.stride, node.padding
        case MaxPool2d() | AvgPool2d():
            k, s, p = pooling(node)
        case Flatten() if len(row.input) == 3:
            return f"{_times(*row.input)} = {row.output[0]:,}"
        case _:
            return ""
    opening, closing = "⌈⌉" if getattr(node, "ceil_mode", False) else "⌊⌋"
    sides = dict(zip(row.input[1:], row.output[1:], strict=True))
    return ", ".join(f"{opening}({n}+2·{p}−{k})/{s}{closing}+1 = {out}" for n, out in sides.items())


def _parameters(row: Row) -> str:
    node = row.node
    match node:
        case Conv2d():
            k, seen = node.kernel_size, row.input[0] // node.groups
            whole = _times(k, k, seen)
            return f"({whole}+1)·{node.out_channels} = {row.parameters:,}" if node.bias else _equation(row, k, k, seen)
        case Linear():
            n = row.input[0]
            return f"({n}+1)·{node.out_features} = {row.parameters:,}" if node.bias else _equation(row, n)
        case BatchNorm2d():
            return f"2·{row.input[0]} = {row.parameters:,}, and 2·{row.input[0]} running statistics"
    if row.is_layer and row.parameters:
        raise unknown_layer("the arithmetic", node, row.path)
    return ""


def _equation(row: Row, *factors: int) -> str:
    return f"{_times(*factors, row.output[0])} = {row.parameters:,}"


def _macs(row: Row) -> str:
    match row.node:
        case Conv2d(out, k, groups=groups):
            return f"{_times(k, k, row.input[0] // groups, out)}·{_times(*row.output[1:])} = {row.macs:,}"
        case Linear(out):
            return f"{_times(row.input[0], out)} = {row.macs:,}"
    if row.is_layer and row.macs:
        raise unknown_layer("the arithmetic", row.node, row.path)
    return ""


def _sight(m: Measure, row: Row) -> str:
    """The receptive field of Araujo et al. 2019: size + (k − 1)·step, along the height."""
    match row.node:
        case Conv2d():
            k, s = row.node.kernel_size, row.node.stride
        case MaxPool2d() | AvgPool2d():
            k, s, _ = pooling(row.node)
        case _:
            return ""
    field = row.fields[0]
    before, step = field.size - (k - 1) * (field.stride // s), field.stride // s
    return f"{before}+({k}−1)·{step} = {field.size} pixels, a step is {step}·{s} = {field.stride}"


def explain(m: Measure, batch: int = 1, depth: int | None = None) -> str:
    """Every layer with its arithmetic, then what its 1×1 and depthwise convolutions save, and the totals."""
    parts = []
    for row in at_depth(m, depth):
        lines = [[f"  {name}", formula] for name, formula in figures(m, row.path, batch).items()]
        head = f"{row.path or '(network)'}: {row.node!r}" if row.is_layer else f"{row.path}: {row.type}"
        parts.append(f"{head}   {by(row.input)} → {by(row.output)}\n{align(lines, LEFT + LEFT)}")
    saved = list(savings(m))
    if saved:
        parts.append(_savings_table(saved))
    return "\n\n".join([*parts, totals(m, batch)])


# ── what a narrow or a separated convolution saves ───────────────────────────────────────────────────


@dataclass(frozen=True)
class Saving:
    """Two convolutions that stand for one dense one.

    kind         "reduced": a 1×1 narrows the input of a k×k; "separated": a depthwise k×k, then a 1×1
    first, second  their paths
    parameters, macs              of the two together, without biases
    dense_parameters, dense_macs  of one k×k convolution from the same input to the same output
    formula      the MACs of the dense one, and of the two
    """

    kind: str
    first: str
    second: str
    parameters: int
    macs: int
    dense_parameters: int
    dense_macs: int
    formula: str


def savings(m: Measure) -> Iterator[Saving]:
    """Of every pair of convolutions that follow each other in the network, in order."""
    for chain in _chains(m.rows[0].node, ""):
        for first, second in pairwise(chain):
            if found := _saving(m[first], m[second]):
                yield found


def _chains(node: Node, path: str) -> list[list[str]]:
    """The convolutions that follow each other with nothing but layers without windows between them.

    A gate is no obstacle: it only scales what passes."""
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

    visit(node, path)
    return [chain for chain in [*chains, current] if len(chain) > 1]


def _saving(first: Row, second: Row) -> Saving | None:
    a, b = first.node, second.node
    assert isinstance(a, Conv2d)
    assert isinstance(b, Conv2d)
    c, mid, out = first.input[0], a.out_channels, b.out_channels
    places = prod(second.output[1:])
    if a.kernel_size == 1 and a.groups == 1 and b.kernel_size > 1 and b.groups == 1 and mid < c:
        kind, k = "reduced", b.kernel_size
        pair = f"{_times(c, mid)}·{_times(*first.output[1:])} + {_times(k, k, mid, out)}·{_times(*second.output[1:])}"
    elif a.groups == c == mid > 1 and a.kernel_size > 1 and b.kernel_size == 1 and b.groups == 1:
        kind, k = "separated", a.kernel_size
        pair = f"({_times(k, k, c)} + {_times(c, out)})·{_times(*second.output[1:])}"
    else:
        return None
    dense = k * k * c * out
    weights = sum(prod(row.parameter_shapes["weight"]) for row in (first, second))
    formula = f"{_times(k, k, c, out)}·{_times(*second.output[1:])} → {pair}"
    return Saving(kind, first.path, second.path, weights, first.macs + second.macs, dense, dense * places, formula)


SAYS = {
    "reduced": "1×1 convolutions that narrow the input of a larger one",
    "separated": "depthwise convolutions followed by a 1×1, in place of a dense one",
}


def _savings_table(saved: list[Saving]) -> str:
    parts = []
    for kind, says in SAYS.items():
        group = [s for s in saved if s.kind == kind]
        if not group:
            continue
        rows = [("at", "MACs if dense", "MACs", "saved", "dense → as it is")]
        rows += [
            (s.second, f"{s.dense_macs:,}", f"{s.macs:,}", f"{s.dense_macs / s.macs:.1f}×", s.formula) for s in group
        ]
        dense, macs = sum(s.dense_macs for s in group), sum(s.macs for s in group)
        weights, before = sum(s.parameters for s in group), sum(s.dense_parameters for s in group)
        rows.append(
            ("together", f"{dense:,}", f"{macs:,}", f"{dense / macs:.1f}×", f"weights {before:,} → {weights:,}")
        )
        parts.append(f"What it saves: {says}\n{align(rows, LEFT + RIGHT * 3 + LEFT)}")
    return "\n\n".join(parts)


def savings_dict(m: Measure) -> list[dict[str, object]]:
    """Plain JSON values."""
    return [vars(saving) for saving in savings(m)]


# ── side by side ─────────────────────────────────────────────────────────────────────────────────────


def compare(measures: dict[str, Measure], batch: int = 1) -> str:
    """Networks side by side: a column each, with how many times the first one's figure in brackets."""
    rows = [["", *measures]]
    for name, values in _facts(measures, batch).items():
        cells = [text for text, _ in values]
        if isinstance(values[0][1], int) and values[0][1]:
            first = values[0][1]
            cells = [
                cells[0],
                *(f"{text} ({_ratio(value / first)})" for text, value in values[1:] if value is not None),
            ]
        rows.append([name, *cells])
    return align(rows, LEFT + RIGHT * len(measures))


def _ratio(ratio: float) -> str:
    return f"×{ratio:.2f}" if ratio < 10 else f"×{ratio:,.0f}"


def _facts(measures: dict[str, Measure], batch: int) -> dict[str, list[tuple[str, int | None]]]:
    """Rows of (text, number to compare by)."""

    def numbers(values: list[int]) -> list[tuple[str, int | None]]:
        return [(f"{value:,}", value) for value in values]

    def sizes(values: list[int]) -> list[tuple[str, int | None]]:
        return [(size(value), value) for value in values]

    every = list(measures.values())
    memory = [m.memory(batch) for m in every]
    main = [[row for row in m.layers if not row.auxiliary] for m in every]
    return {
        "input": [(by(m.input), None) for m in every],
        "classes": [(f"{m.output[0]:,}", None) for m in every],
        "convolutions": numbers([sum(isinstance(r.node, Conv2d) for r in rows) for rows in main]),
        "fully connected": numbers([sum(isinstance(r.node, Linear) for r in rows) for rows in main]),
        "parameters": numbers([m.parameters for m in every]),
        "MACs an image": numbers([m.macs for m in every]),
        "weights": sizes([x.weights for x in memory]),
        f"training, batch {batch}": sizes([x.training for x in memory]),
        f"inference, batch {batch}": sizes([x.inference for x in memory]),
        "sees, before the head": [(f"{_last_field(rows)} pixels", None) for rows in main],
        "saved by 1×1": [(_saved(m, "reduced"), None) for m in every],
        "saved by depthwise": [(_saved(m, "separated"), None) for m in every],
    }


def _last_field(rows: list[Row]) -> int:
    windows = [row for row in rows if isinstance(row.node, Conv2d | MaxPool2d | AvgPool2d)]
    return windows[-1].fields[0].size if windows else 1


def _saved(m: Measure, kind: str) -> str:
    """How many times fewer MACs the whole network has than with dense convolutions there."""
    group = [s for s in savings(m) if s.kind == kind]
    dense = m.macs + sum(s.dense_macs - s.macs for s in group)
    return f"{dense / m.macs:.2f}× fewer MACs" if group else "–"
