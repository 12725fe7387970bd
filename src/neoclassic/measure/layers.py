"""The rule of each layer: its output shape, arrays, windows and MACs for an input shape."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil, prod

from neoclassic.base.errors import UsageError
from neoclassic.tree import (
    RBF,
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
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
    ReLU,
    ReLU6,
    Select,
    Sigmoid,
    Tanh,
    unknown_layer,
)

FLOAT = 4  # bytes
Shape = tuple[int, ...]
Window = tuple[int, int, int]  # kernel size, stride and padding along one axis


class ShapeError(UsageError):
    """An input shape that a layer cannot take.

    path, shape  the layer and its input shape
    reason       why it cannot take it
    too_small    whether a larger input would do
    """

    def __init__(self, path: str, shape: Shape, reason: str, too_small: bool = False) -> None:
        self.path, self.shape, self.reason, self.too_small = path, shape, reason, too_small
        super().__init__(f"{path or 'the network'}: {reason} (input {by(shape)})")


class TooSmallError(ValueError):
    """The window of a layer does not fit into its input, but would fit into a larger one."""


def by(shape: Iterable[int]) -> str:
    """The shape as text: 1×28×28."""
    return "×".join(map(str, shape))


@dataclass(frozen=True)
class Layer:
    """What a layer does to one input shape.

    output       output shape
    parameters   shapes of the trainable arrays by name, in torch's layouts
    statistics   shapes of the arrays that training updates without a gradient
    windows      along height and width; empty if the layer works on each pixel by itself
    macs         multiply-accumulates for one image: one for each weight and each position where it is used
    """

    output: Shape
    parameters: dict[str, Shape] = field(default_factory=dict)
    statistics: dict[str, Shape] = field(default_factory=dict)
    windows: tuple[Window, ...] = ()
    macs: int = 0


def layer(node: Node, x: Shape, path: str = "") -> Layer:
    """Apply the rule of a layer to its input shape.

    Raises ValueError with the reason if the layer cannot take this shape, and NeoclassicError for a layer without a
    rule.
    """
    match node:
        case Conv2d():
            return _convolution(node, x)
        case Linear(out, bias):
            weight = (out, *_flat(x))
            return Layer((out,), _weight_and_bias(weight, bias), macs=prod(weight))
        case BatchNorm2d():
            width = (_flat(x) if isinstance(node, BatchNorm1d) else _map(x))[:1]
            statistics = {"running_mean": width, "running_var": width}
            return Layer(x, {"weight": width, "bias": width}, statistics)
        case MaxPool2d() | AvgPool2d():
            channels, *sides = _map(x)
            window = pooling(node)
            return Layer((channels, *_slide(window, sides, node.ceil_mode)), windows=(window, window))
        case AdaptiveAvgPool2d(size):
            channels, *sides = _map(x)
            return Layer((channels, size, size), windows=tuple(_adaptive_window(side, size) for side in sides))
        case LocalResponseNorm():
            return Layer(_map(x))
        case Flatten():  # of a map, every output sees all pixels
            return Layer((prod(x),), windows=tuple((side, side, 0) for side in x[1:]))
        case Select(selected):
            if max(selected) >= _map(x)[0]:
                raise ValueError(f"there is no channel {max(selected)}")
            return Layer((len(selected), *x[1:]))
        case PadChannels(out):
            if out < _map(x)[0]:
                raise ValueError(f"cannot pad {x[0]} channels to {out}")
            return Layer((out, *x[1:]))
        case RBF(prototypes):
            if x != (len(prototypes[0]),):
                raise ValueError(f"the prototypes have {len(prototypes[0])} features")
            return Layer((len(prototypes),))
        case Identity() | Dropout() | ReLU() | ReLU6() | Sigmoid() | Tanh() | Hardsigmoid() | Hardswish():
            return Layer(x)
    raise unknown_layer("measure", node, path)


def _map(x: Shape) -> Shape:
    if len(x) != 3:
        raise ValueError("needs channels × height × width")
    return x


def _flat(x: Shape) -> Shape:
    if len(x) != 1:
        raise ValueError("needs a flat input: a Flatten is missing")
    return x


def _weight_and_bias(weight: Shape, bias: bool) -> dict[str, Shape]:
    return {"weight": weight} | ({"bias": weight[:1]} if bias else {})


def _convolution(node: Conv2d, x: Shape) -> Layer:
    channels, *sides = _map(x)
    for what, width in (("input", channels), ("output", node.out_channels)):
        if width % node.groups:
            raise ValueError(f"{width} {what} channels cannot be split into {node.groups} groups")
    window = (node.kernel_size, node.stride, node.padding)
    outs = _slide(window, sides)
    weight = (node.out_channels, channels // node.groups, node.kernel_size, node.kernel_size)
    parameters = _weight_and_bias(weight, node.bias)
    return Layer((node.out_channels, *outs), parameters, windows=(window, window), macs=prod(weight) * prod(outs))


# ── windows ──────────────────────────────────────────────────────────────────────────────────────────


def pooling(node: MaxPool2d | AvgPool2d) -> Window:
    """Kernel size, stride and padding."""
    return node.kernel_size, node.kernel_size if node.stride is None else node.stride, node.padding


def output_size(size: int, kernel_size: int, stride: int, padding: int, ceil_mode: bool = False) -> int:
    """⌊(size + 2·padding − kernel)/stride⌋ + 1; in ceil mode ⌈…⌉ + 1, dropping a window that starts in the padding."""
    span = size + 2 * padding - kernel_size
    if not ceil_mode:
        return span // stride + 1
    n = ceil(span / stride) + 1
    return n - 1 if (n - 1) * stride >= size + padding else n


def _slide(window: Window, sides: Iterable[int], ceil_mode: bool = False) -> list[int]:
    """The output sides of a square window."""
    kernel_size, _, padding = window
    if any(side + 2 * padding < kernel_size for side in sides):
        raise TooSmallError(f"a {kernel_size}×{kernel_size} window does not fit")
    return [output_size(side, *window, ceil_mode) for side in sides]


def _adaptive_window(side: int, size: int) -> Window:
    """The window of an adaptive pool. All its windows are alike if the output size divides the input side."""
    stride = side // size
    return side - (size - 1) * stride, max(stride, 1), 0
