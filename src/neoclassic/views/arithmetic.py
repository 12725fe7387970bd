"""The textbook formula of each figure of a layer, with the layer's own numbers.

>>> from neoclassic.measure import measure
>>> from neoclassic.networks import network
>>> figures(measure(network("lenet"), (1, 28, 28)), "conv2")["parameters"]
'(5·5·6+1)·16 = 2,416'
"""

from __future__ import annotations

from neoclassic.measure import FLOAT, Measure, Row, by, pooling
from neoclassic.tree import AvgPool2d, BatchNorm2d, Combinator, Conv2d, Flatten, Linear, MaxPool2d, unknown_layer
from neoclassic.views import savings
from neoclassic.views.savings import WINDOWLESS, product
from neoclassic.views.table import Part, at_depth, pairs, size, text, totals


def explain(m: Measure, batch: int = 1, depth: int | None = None) -> str:
    """Every layer with its formulas, then what its 1×1 and depthwise convolutions save, and the totals.

    depth: as in `table.layer_table`.
    """
    return text(explain_parts(m, batch, depth))


def explain_parts(m: Measure, batch: int = 1, depth: int | None = None) -> list[Part]:
    """The parts of `explain`."""
    parts: list[Part] = []
    for row in at_depth(m, depth):
        head = f"{row.path or '(network)'}: {row.node!r}" if row.is_layer else f"{row.path}: {row.type}"
        lines = pairs((f"  {name}", formula) for name, formula in figures(m, row.path, batch).items())
        parts += [f"{head}   {by(row.input)} → {by(row.output)}", lines, ""]
    return [*parts, *savings.parts(list(savings.savings(m))), totals(m, batch)]


def figures(m: Measure, path: str, batch: int = 1) -> dict[str, str]:
    """The formulas of the row at a path, each with its result: side, parameters, MACs, memory, sees.

    A formula that the row has no use for is left out. NeoclassicError for a layer without a rule.
    """
    row = m[path]
    if not isinstance(row.node, Combinator | Conv2d | MaxPool2d | AvgPool2d | WINDOWLESS):
        raise unknown_layer("the arithmetic", row.node, path)
    formulas = {
        "side": _side(row),
        "parameters": _parameters(row),
        "MACs": _macs(row),
        "memory": f"{product(*([batch] * (batch > 1)), *row.output)}·{FLOAT} B = {size(batch * row.bytes)}",
        "sees": _receptive_field(row),
    }
    return {name: formula for name, formula in formulas.items() if formula}


def _side(row: Row) -> str:
    """⌊(n + 2p − k)/s⌋ + 1, once for height and width if they are equal."""
    node = row.node
    match node:
        case Conv2d():
            k, s, p = node.kernel_size, node.stride, node.padding
        case MaxPool2d() | AvgPool2d():
            k, s, p = pooling(node)
        case Flatten() if len(row.input) == 3:
            return f"{product(*row.input)} = {row.output[0]:,}"
        case _:
            return ""
    opening, closing = "⌈⌉" if getattr(node, "ceil_mode", False) else "⌊⌋"
    sides = dict(zip(row.input[1:], row.output[1:], strict=True))
    return ", ".join(f"{opening}({n}+2·{p}−{k})/{s}{closing}+1 = {out}" for n, out in sides.items())


def _parameters(row: Row) -> str:
    node = row.node
    factors: tuple[int, ...]
    match node:
        case Conv2d():
            factors = (node.kernel_size, node.kernel_size, row.input[0] // node.groups)
        case Linear():
            factors = (row.input[0],)
        case BatchNorm2d():
            return f"2·{row.input[0]} = {row.parameters:,}, and 2·{row.input[0]} running statistics"
        case _:
            return ""
    if node.bias:
        return f"({product(*factors)}+1)·{row.output[0]} = {row.parameters:,}"
    return f"{product(*factors, row.output[0])} = {row.parameters:,}"


def _macs(row: Row) -> str:
    match row.node:
        case Conv2d(out, k, groups=groups):
            return f"{product(k, k, row.input[0] // groups, out)}·{product(*row.output[1:])} = {row.macs:,}"
        case Linear(out):
            return f"{product(row.input[0], out)} = {row.macs:,}"
    return ""


def _receptive_field(row: Row) -> str:
    """size + (k − 1)·step along the height: Araujo et al. 2019, see `measure`."""
    match row.node:
        case Conv2d():
            k, s = row.node.kernel_size, row.node.stride
        case MaxPool2d() | AvgPool2d():
            k, s, _ = pooling(row.node)
        case _:
            return ""
    field = row.fields[0]
    if field.stride == 0:
        return "the whole image: a branch before it pools over all of it"
    step = field.stride // s
    before = field.size - (k - 1) * step
    return f"{before}+({k}−1)·{step} = {field.size} pixels, a step is {step}·{s} = {field.stride}"
