"""The fold: walk a tree with an input shape and collect a row for every path."""

from __future__ import annotations

from bisect import bisect_left
from functools import reduce
from math import prod
from operator import add, or_, sub

from neoclassic.measure.layers import Shape, ShapeError, TooSmallError, by, layer
from neoclassic.measure.rows import Field, Measure, Row
from neoclassic.tree import Auxiliary, Combinator, Concat, Node, Product, Sequential, Sum, join

Output = tuple[Shape, tuple[Field, ...]]  # the shape and the receptive fields of an activation


def measure(tree: Node, input: Shape) -> Measure:
    """Measure a network for an input shape (channels, height, width).

    Raises ShapeError (a UsageError) that names the path, its input shape and the reason. If the image is too small,
    the message also gives the smallest square image that works.

        >>> m = nc.measure(nc.network("lenet"), (1, 28, 28))
        >>> m.parameters, m.macs, m["conv2"].output, m.memory(batch=64).weights
        (61706, 416520, (16, 10, 10), 246824)
    """
    try:
        return _measure(tree, input)
    except ShapeError as error:
        side = smallest_input(tree, input[0]) if error.too_small else None
        if side and side > min(input[1:]):
            error.args = (f"{error}: the smallest square image that works is {side}×{side}",)
        raise


def smallest_input(tree: Node, channels: int, largest: int = 512) -> int | None:
    """The side in pixels of the smallest square image that the network takes; None if there is none up to `largest`.

    The search is by bisection: a window that fits into a map fits into every larger one.
    """

    def failure(side: int) -> ShapeError | None:
        try:
            _measure(tree, (channels, side, side))
        except ShapeError as error:
            return error
        return None

    sides = range(1, largest + 1)
    index = bisect_left(sides, True, key=lambda side: not ((error := failure(side)) and error.too_small))
    return sides[index] if index < largest and failure(sides[index]) is None else None


def _measure(tree: Node, input: Shape) -> Measure:
    if not input or min(input) < 1:
        raise ShapeError("", input, "every side of the input must be at least 1")
    fold = _Fold()
    fold.visit(tree, "", (input, (Field(),) * (len(input) - 1)), auxiliary=False)
    return Measure(input, tuple(fold.rows))


class _Fold:
    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.totals: tuple[int, ...] = (0, 0, 0)  # MACs, parameters and statistics of the leaves so far

    def visit(self, node: Node, path: str, x: Output, auxiliary: bool) -> Output:
        """Append the rows of `node` and return its output."""
        if not isinstance(node, Combinator):
            return self.leaf(node, path, x, auxiliary)
        index, before = len(self.rows), self.totals
        self.rows.append(None)  # type: ignore[arg-type]  # parents come before their children; replaced below
        auxiliary = auxiliary or isinstance(node, Auxiliary)
        if isinstance(node, Sequential | Auxiliary):
            y = x
            for name, child in node.children:
                y = self.visit(child, join(path, name), y, auxiliary)
            y = x if isinstance(node, Auxiliary) else y
        else:
            y = self.merge(node, path, x, auxiliary)
        macs, parameters, statistics = map(sub, self.totals, before)
        self.rows[index] = Row(path, node, x[0], y[0], {}, {}, macs, parameters, statistics, y[1], auxiliary)
        return y

    def merge(self, node: Combinator, path: str, x: Output, auxiliary: bool) -> Output:
        """Each child of a Sum, Concat or Product gets x."""
        if not node.children:
            raise ShapeError(path, x[0], f"an empty {type(node).__name__}")
        outputs = [self.visit(child, join(path, name), x, auxiliary) for name, child in node.children]
        shape = _merged_shape(node, path, x[0], [y[0] for y in outputs])
        spread = (_broadcast(y, shape) for y in outputs)
        return shape, tuple(reduce(or_, along) for along in zip(*spread, strict=True))

    def leaf(self, node: Node, path: str, x: Output, auxiliary: bool) -> Output:
        shape, fields = x
        try:
            rule = layer(node, shape, path)
        except ValueError as error:
            raise ShapeError(path, shape, str(error), isinstance(error, TooSmallError)) from None
        if rule.windows:
            fields = tuple(f.through(*window) for f, window in zip(fields, rule.windows, strict=True))
        counts = (rule.macs, _count(rule.parameters), _count(rule.statistics))
        self.totals = tuple(map(add, self.totals, counts))
        self.rows.append(
            Row(path, node, shape, rule.output, rule.parameters, rule.statistics, *counts, fields, auxiliary)
        )
        return rule.output, fields


def _count(shapes: dict[str, Shape]) -> int:
    return sum(map(prod, shapes.values()))


def _merged_shape(node: Combinator, path: str, x: Shape, shapes: list[Shape]) -> Shape:
    first, listing = shapes[0], " and ".join(by(s) for s in dict.fromkeys(shapes))
    if isinstance(node, Concat):
        if len({s[1:] for s in shapes}) > 1:
            raise ShapeError(path, x, f"cannot join the channels of {listing}")
        return (sum(s[0] for s in shapes), *first[1:])
    full = max(shapes, key=prod)
    allowed = {full, (full[0],) + (1,) * (len(full) - 1)} if isinstance(node, Product) else {full}
    if not set(shapes) <= allowed:
        raise ShapeError(path, x, f"cannot {'add' if isinstance(node, Sum) else 'multiply'} {listing}")
    return full


def _broadcast(output: Output, shape: Shape) -> list[Field]:
    """The fields of a branch after its output is broadcast to the merged shape."""
    own, fields = output
    if len(shape) == 1:
        return list(fields)
    return [f.fixed() if n < most else f for f, n, most in zip(fields, own[1:], shape[1:], strict=True)]
