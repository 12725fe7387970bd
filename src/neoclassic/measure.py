"""One fold over a tree and an input shape: what every path puts out, holds, costs and sees.

No weights and no torch; milliseconds. Shapes are (channels, height, width) or (features,), without the
batch axis. MACs are the multiply-accumulates of convolutions and linear layers, one image: the "FLOPs" of
the papers, half of what torch's FlopCounterMode prints. Receptive fields: Araujo et al., "Computing
Receptive Fields of Convolutional Neural Networks", Distill 2019.

    >>> from neoclassic.tree import Conv2d, Flatten, Linear, Sequential
    >>> m = measure(Sequential(Conv2d(6, 5), Flatten(), Linear(10)), (1, 28, 28))
    >>> m.parameters, m.macs, m["conv"].output
    (34726, 120960, (6, 24, 24))
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, reduce
from math import ceil, prod
from operator import add, or_, sub

from neoclassic.base.errors import UsageError
from neoclassic.tree import (
    RBF,
    AdaptiveAvgPool2d,
    Auxiliary,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Combinator,
    Concat,
    Conv2d,
    Dropout,
    Flatten,
    Hardsigmoid,
    Hardswish,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Node,
    PadChannels,
    Product,
    ReLU6,
    Select,
    Sequential,
    Sum,
    Tanh,
    join,
)

Shape = tuple[int, ...]
FLOAT = 4  # bytes


class ShapeError(UsageError):
    """A shape that cannot be. Carries the path, the shape that came in, the reason, and whether it is too small."""

    def __init__(self, path: str, shape: Shape, reason: str, too_small: bool = False) -> None:
        self.path, self.shape, self.reason, self.too_small = path, shape, reason, too_small
        super().__init__(f"{path or 'the network'}: {reason} (input {by(shape)})")


class _TooSmall(ValueError):
    """A window does not fit into a map; it does into a larger one."""


def by(shape: Iterable[int]) -> str:
    """1×28×28."""
    return "×".join(map(str, shape))


# ── what one layer does to a shape ───────────────────────────────────────────────────────────────────


def pooling(node: MaxPool2d | AvgPool2d) -> tuple[int, int, int]:
    """Kernel size, stride and padding."""
    return node.kernel_size, node.kernel_size if node.stride is None else node.stride, node.padding


def window(node: Node, size: int) -> tuple[int, int, int] | None:
    """Kernel size, stride and padding along an axis of `size` pixels; None for a layer without windows."""
    match node:
        case Conv2d():
            return node.kernel_size, node.stride, node.padding
        case MaxPool2d() | AvgPool2d():
            return pooling(node)
        case AdaptiveAvgPool2d():  # the windows are all alike where the output size divides the input
            return size - (node.output_size - 1) * (size // node.output_size), max(size // node.output_size, 1), 0
    return None


def output_size(size: int, kernel_size: int, stride: int, padding: int, ceil_mode: bool = False) -> int:
    """⌊(size + 2·padding − kernel)/stride⌋ + 1; in ceil mode ⌈…⌉ + 1, dropping a window that starts in the padding."""
    span = size + 2 * padding - kernel_size
    if not ceil_mode:
        return span // stride + 1
    n = ceil(span / stride) + 1
    return n - 1 if (n - 1) * stride >= size + padding else n


def output_shape(node: Node, x: Shape) -> Shape:
    """The output shape of a leaf. ValueError, with the reason, where there is none."""
    match node:
        case Conv2d() | MaxPool2d() | AvgPool2d() | AdaptiveAvgPool2d():
            channels, *sides = _map(x)
            if isinstance(node, AdaptiveAvgPool2d):
                return (channels, node.output_size, node.output_size)
            if isinstance(node, Conv2d):
                for what, width in (("input", channels), ("output", node.out_channels)):
                    if width % node.groups:
                        raise ValueError(f"{width} {what} channels cannot be split into {node.groups} groups")
                channels = node.out_channels
            outs = []
            for size in sides:
                k, s, p = window(node, size)  # type: ignore[misc]
                if size + 2 * p < k:
                    raise _TooSmall(f"a {k}×{k} window does not fit")
                outs.append(output_size(size, k, s, p, getattr(node, "ceil_mode", False)))
            return (channels, *outs)
        case BatchNorm1d() | Linear():
            if len(x) != 1:
                raise ValueError("needs a flat input: a Flatten is missing")
            return (node.out_features,) if isinstance(node, Linear) else x
        case BatchNorm2d() | LocalResponseNorm():
            return _map(x)
        case Flatten():
            return (prod(x),)
        case Select():
            if max(node.channels) >= _map(x)[0]:
                raise ValueError(f"there is no channel {max(node.channels)}")
            return (len(node.channels), *x[1:])
        case PadChannels():
            if node.out_channels < _map(x)[0]:
                raise ValueError(f"cannot pad {x[0]} channels to {node.out_channels}")
            return (node.out_channels, *x[1:])
        case RBF():
            if x != (len(node.prototypes[0]),):
                raise ValueError(f"the prototypes have {len(node.prototypes[0])} features")
            return (len(node.prototypes),)
    return x


def _map(x: Shape) -> Shape:
    if len(x) != 3:
        raise ValueError("needs channels × height × width")
    return x


def parameter_shapes(node: Node, x: Shape) -> dict[str, Shape]:
    """The trainable arrays of a leaf by name, in torch's layouts."""
    match node:
        case Conv2d():
            weight = (node.out_channels, x[0] // node.groups, node.kernel_size, node.kernel_size)
            return {"weight": weight} | ({"bias": weight[:1]} if node.bias else {})
        case Linear():
            return {"weight": (node.out_features, x[0])} | ({"bias": (node.out_features,)} if node.bias else {})
        case BatchNorm2d():
            return {"weight": x[:1], "bias": x[:1]}
    return {}


def statistic_shapes(node: Node, x: Shape) -> dict[str, Shape]:
    """The arrays of a leaf that training updates without a gradient."""
    return {"running_mean": x[:1], "running_var": x[:1]} if isinstance(node, BatchNorm2d) else {}


def macs(node: Node, x: Shape, y: Shape) -> int:
    """Multiply-accumulates of a leaf for one image: one for each weight and each place it is used at."""
    weight = parameter_shapes(node, x).get("weight", ()) if isinstance(node, Conv2d | Linear) else ()
    return prod(weight) * prod(y[1:]) if weight else 0


# ── what is found at every path ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Field:
    """The input pixels that one output unit sees, along one axis.

    The unit at index i sees `size` pixels from i·stride + start; a negative start lies in the padding.
    """

    size: int = 1
    stride: int = 1
    start: int = 0

    @property
    def centre(self) -> float:
        """Of the first unit, in pixels."""
        return self.start + (self.size - 1) / 2

    def through(self, kernel_size: int, stride: int, padding: int) -> Field:
        """The field behind one more window."""
        size = self.size + (kernel_size - 1) * self.stride
        return Field(size, self.stride * stride, self.start - padding * self.stride)

    def fixed(self) -> Field:
        """The field where this one unit is spread over many: all of them see the same pixels."""
        return Field(self.size, 0, self.start)

    def pixels(self, unit: int, side: int) -> tuple[int, int]:
        """The first pixel that a unit sees in an image of `side` pixels, and the first behind the last."""
        start = self.start + unit * self.stride
        return max(start, 0), min(start + self.size, side)

    def __or__(self, other: Field) -> Field:
        """The field of a unit that sees both; strides differ only where one arm saw everything."""
        start = min(self.start, other.start)
        end = max(self.start + self.size, other.start + other.size)
        return Field(end - start, min(self.stride, other.stride), start)


@dataclass(frozen=True)
class Row:
    """One path: a layer, or a combinator with what its descendants add up to."""

    path: str
    node: Node
    input: Shape
    output: Shape
    parameter_shapes: dict[str, Shape]
    statistic_shapes: dict[str, Shape]
    macs: int
    parameters: int
    statistics: int
    fields: tuple[Field, ...]  # along height and width
    auxiliary: bool  # part of a side head: counts in training only

    @property
    def type(self) -> str:
        """The node's class name."""
        return type(self.node).__name__

    @property
    def bytes(self) -> int:
        """Of one image's output, in float32."""
        return FLOAT * prod(self.output)

    @property
    def is_layer(self) -> bool:
        """A leaf of the tree."""
        return not isinstance(self.node, Combinator)


@dataclass(frozen=True)
class Cost:
    """Parameters and MACs."""

    parameters: int
    macs: int


@dataclass(frozen=True)
class Memory:
    """Bytes in float32: the weights, and the activations of one batch.

    training    every array that a backward pass needs, kept until then
    inference   the largest total alive at one moment: a layer's input and output, and the inputs of all blocks around
                it, the images among them

    Both as PyTorch on a processor has them, without the scratch space of its kernels.
    """

    weights: int
    training: int
    inference: int


@dataclass(frozen=True)
class Measure:
    """The rows of every path in order of execution, and their totals: those of inference."""

    input: Shape
    rows: tuple[Row, ...]
    _kept: int  # bytes an image, in training
    _peak: int  # bytes an image, in inference

    def __getitem__(self, path: str) -> Row:
        return self._by_path[path]

    @cached_property
    def _by_path(self) -> dict[str, Row]:
        return {row.path: row for row in self.rows}

    @property
    def layers(self) -> tuple[Row, ...]:
        """The leaves."""
        return tuple(row for row in self.rows if row.is_layer)

    @property
    def output(self) -> Shape:
        """Of the whole network."""
        return self.rows[0].output

    @property
    def parameters(self) -> int:
        """Trainable numbers, auxiliary heads left out."""
        return sum(row.parameters for row in self.layers if not row.auxiliary)

    @property
    def statistics(self) -> int:
        """Running means and variances, auxiliary heads left out."""
        return sum(row.statistics for row in self.layers if not row.auxiliary)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image, auxiliary heads left out."""
        return sum(row.macs for row in self.layers if not row.auxiliary)

    @property
    def auxiliary(self) -> Cost | None:
        """What the auxiliary heads add in training; None without any."""
        side = [row for row in self.layers if row.auxiliary]
        return Cost(sum(row.parameters for row in side), sum(row.macs for row in side)) if side else None

    def memory(self, batch: int) -> Memory:
        """For a batch of so many images."""
        return Memory(FLOAT * (self.parameters + self.statistics), batch * self._kept, batch * self._peak)


# ── the fold ─────────────────────────────────────────────────────────────────────────────────────────


def measure(tree: Node, input: Shape) -> Measure:
    """Fold the tree over an input shape (channels, height, width).

    ShapeError (a UsageError) names the path, the shape that came in, and why it cannot be; where the image
    is too small, the smallest square one that works too.
    """
    try:
        return _measure(tree, input)
    except ShapeError as error:
        side = smallest_input(tree, input[0]) if error.too_small else None
        if side and side > min(input[1:]):
            error.args = (f"{error}: the smallest square image that works is {side}×{side}",)
        raise


def smallest_input(tree: Node, channels: int, most: int = 512) -> int | None:
    """The side in pixels of the smallest square image that the network takes; None without any up to `most`.

    By bisection, as a window that fits into a map fits into every larger one."""

    def wrong(side: int) -> ShapeError | None:
        try:
            _measure(tree, (channels, side, side))
        except ShapeError as error:
            return error
        return None

    sides = range(1, most + 1)
    at = bisect_left(sides, True, key=lambda side: not ((error := wrong(side)) and error.too_small))
    return sides[at] if at < most and wrong(sides[at]) is None else None


def _measure(tree: Node, input: Shape) -> Measure:
    if not input or min(input) < 1:
        raise ShapeError("", input, "every side of the input must be at least 1")
    fold = _Fold()
    fold.visit(tree, "", _Value(input, (Field(),) * (len(input) - 1), "input"), held=0, auxiliary=False)
    return Measure(input, tuple(fold.rows), sum(fold.kept.values()), fold.peak)


@dataclass(frozen=True)
class _Value:
    """An activation: its shape, what it sees, and the path that made it (views keep their maker)."""

    shape: Shape
    fields: tuple[Field, ...]
    maker: str

    @property
    def bytes(self) -> int:
        return FLOAT * prod(self.shape)


_KEEPS_INPUT = (
    *(Conv2d, Linear, BatchNorm2d, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d),
    *(LocalResponseNorm, ReLU6, Hardsigmoid, Hardswish),
)
_KEEPS_NOTHING = (Flatten, Select, PadChannels)


class _Fold:
    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.kept: dict[str, int] = {}  # bytes by what is kept for the backward pass
        self.peak = 0
        self.so_far: tuple[int, ...] = (0, 0, 0)  # MACs, parameters and statistics of the leaves behind us

    def visit(self, node: Node, path: str, x: _Value, held: int, auxiliary: bool) -> _Value:
        """Append the rows of `node` and return its output. `held`: bytes alive besides the input."""
        if not isinstance(node, Combinator):
            return self.leaf(node, path, x, held, auxiliary)
        at, before = len(self.rows), self.so_far
        self.rows.append(None)  # type: ignore[arg-type]  # parents stand before children; filled in below
        side = auxiliary or isinstance(node, Auxiliary)
        if isinstance(node, Sequential | Auxiliary):
            y = x
            for name, child in node.children:
                y = self.visit(child, join(path, name), y, held + (x.bytes if y.maker != x.maker else 0), side)
            y = x if isinstance(node, Auxiliary) else y
        else:
            y = self.merge(node, path, x, held, side)
        macs, parameters, statistics = map(sub, self.so_far, before)
        self.rows[at] = Row(path, node, x.shape, y.shape, {}, {}, macs, parameters, statistics, y.fields, side)
        return y

    def merge(self, node: Combinator, path: str, x: _Value, held: int, auxiliary: bool) -> _Value:
        """Sum, Concat and Product: each child sees x, which stays alive with the outputs so far."""
        if not node.children:
            raise ShapeError(path, x.shape, f"an empty {type(node).__name__}")
        outputs: list[_Value] = []
        for name, child in node.children:
            alive = held + sum(y.bytes for y in outputs if y.maker != x.maker)
            outputs.append(self.visit(child, join(path, name), x, alive, auxiliary))
        shape = self.merged_shape(node, path, x, [y.shape for y in outputs])
        fields = tuple(reduce(or_, along) for along in zip(*(_spread(y, shape) for y in outputs), strict=True))
        if isinstance(node, Product):
            self.kept |= {y.maker: y.bytes for y in outputs}
        merged = _Value(shape, fields, path)
        if not auxiliary:
            alive = sum({y.maker: y.bytes for y in (x, *outputs)}.values())
            self.peak = max(self.peak, held + alive + merged.bytes)
        return merged

    def merged_shape(self, node: Combinator, path: str, x: _Value, shapes: list[Shape]) -> Shape:
        first, listing = shapes[0], " and ".join(by(s) for s in dict.fromkeys(shapes))
        if isinstance(node, Concat):
            if len({s[1:] for s in shapes}) > 1:
                raise ShapeError(path, x.shape, f"cannot join the channels of {listing}")
            return (sum(s[0] for s in shapes), *first[1:])
        full = max(shapes, key=prod)
        gates = {full, (full[0],) + (1,) * (len(full) - 1)} if isinstance(node, Product) else {full}
        if not set(shapes) <= gates:
            raise ShapeError(path, x.shape, f"cannot {'add' if isinstance(node, Sum) else 'multiply'} {listing}")
        return full

    def leaf(self, node: Node, path: str, x: _Value, held: int, auxiliary: bool) -> _Value:
        try:
            shape = output_shape(node, x.shape)
        except ValueError as error:
            raise ShapeError(path, x.shape, str(error), isinstance(error, _TooSmall)) from None
        parameters, statistics = parameter_shapes(node, x.shape), statistic_shapes(node, x.shape)
        y = _Value(shape, _fields(node, x), x.maker if isinstance(node, Flatten) or node.kind == "identity" else path)
        self.keep(node, path, x, y)
        if not auxiliary:
            own = y.bytes if y.maker != x.maker else 0
            passing = {LocalResponseNorm: 2, MaxPool2d: 2, Tanh: 1}.get(type(node), 0)  # steps between, and indices
            self.peak = max(self.peak, held + x.bytes + own * (1 + passing))
        counts = (
            macs(node, x.shape, shape),
            sum(map(prod, parameters.values())),
            sum(map(prod, statistics.values())),
        )
        self.so_far = tuple(map(add, self.so_far, counts))
        self.rows.append(Row(path, node, x.shape, shape, parameters, statistics, *counts, y.fields, auxiliary))
        return y

    def keep(self, node: Node, path: str, x: _Value, y: _Value) -> None:
        """Note what the backward pass of a leaf needs, as torch's keeps it."""
        if y.maker == x.maker or isinstance(node, _KEEPS_NOTHING):
            return
        if isinstance(node, _KEEPS_INPUT):
            if node != AdaptiveAvgPool2d(1):  # a plain mean, whose gradient is known without its input
                self.kept[x.maker] = x.bytes
            if isinstance(node, MaxPool2d):
                self.kept[f"{path} indices"] = 2 * y.bytes  # int64
            elif isinstance(node, LocalResponseNorm):  # the squares, padded by the neighbours; their means, twice
                self.kept[f"{path} squares"] = x.bytes * (x.shape[0] + node.size - 1) // x.shape[0]
                self.kept[f"{path} means"] = 2 * x.bytes
        elif isinstance(node, Dropout | Tanh):  # the mask, as floats; the tangent before it is scaled
            self.kept[f"{path} inner"] = y.bytes
        elif isinstance(node, RBF):  # every difference
            self.kept[f"{path} differences"] = x.bytes * len(node.prototypes)
        else:  # an activation: its own output is enough
            self.kept[y.maker] = y.bytes


def _spread(y: _Value, shape: Shape) -> list[Field]:
    """The fields of an arm once its output is spread over the merged shape."""
    if len(shape) == 1:
        return list(y.fields)
    return [f.fixed() if n < most else f for f, n, most in zip(y.fields, y.shape[1:], shape[1:], strict=True)]


def _fields(node: Node, x: _Value) -> tuple[Field, ...]:
    if isinstance(node, Linear | Flatten) and len(x.shape) == 3:  # sees the whole map
        return tuple(f.through(size, size, 0) for f, size in zip(x.fields, x.shape[1:], strict=True))
    windows = [window(node, size) for size in x.shape[1:]]
    return tuple(f.through(*w) if w else f for f, w in zip(x.fields, windows, strict=True)) if windows else x.fields
