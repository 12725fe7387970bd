"""The text and the style of a layer's box in a drawing."""

from __future__ import annotations

from neoclassic.measure import Row, pooling
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

_NAMES: dict[type[Node], str] = {
    BatchNorm1d: "BN",
    BatchNorm2d: "BN",
    LocalResponseNorm: "LRN",
    Flatten: "flatten",
    Identity: "identity",
    ReLU: "ReLU",
    ReLU6: "ReLU6",
    Sigmoid: "sigmoid",
    Tanh: "tanh",
    Hardswish: "h-swish",
    Hardsigmoid: "h-sigmoid",
}


def is_main(node: Node) -> bool:
    """Whether a layer starts a box; the layers that follow it share the box."""
    return isinstance(node, Conv2d | Linear | RBF | MaxPool2d | AvgPool2d | AdaptiveAvgPool2d)


def label(row: Row) -> str:
    """The name of a layer as in the papers' figures: `3×3 conv, 64, /2`. NeoclassicError for a layer without a rule."""
    node = row.node
    match node:
        case Conv2d(out, k, stride, groups=groups):
            step = f", /{stride}" if stride > 1 else ""
            if groups == row.input[0] > 1:
                return f"{k}×{k} depthwise{f', {out}' if out != groups else ''}{step}"
            return f"{k}×{k} conv, {out}{step}{f', {groups} groups' if groups > 1 else ''}"
        case AvgPool2d(1):
            return f"every {'2nd' if node.stride == 2 else f'{node.stride}th'} pixel"
        case MaxPool2d() | AvgPool2d():
            k, s, _ = pooling(node)
            return f"{k}×{k} {'max' if isinstance(node, MaxPool2d) else 'average'} pool{f', /{s}' if s > 1 else ''}"
        case AdaptiveAvgPool2d(size):
            return "global average pool" if size == 1 else f"average pool to {size}×{size}"
        case Linear(out):
            return f"fully connected, {out}"
        case RBF():
            return f"distances to {len(node.prototypes)} prototypes"
        case Dropout(p):
            return f"dropout {p:g}"
        case Select():
            return f"some of {row.input[0]} maps"
        case PadChannels(out):
            return f"zero maps up to {out}"
    if type(node) not in _NAMES:
        raise unknown_layer("the drawing", row.node, row.path)
    return _NAMES[type(node)]


def style(row: Row) -> str:
    """The CSS class of a layer's box, see `svg`."""
    match row.node:
        case Conv2d(groups=groups):
            return "depthwise" if groups == row.input[0] > 1 else "conv"
        case Linear() | RBF():
            return "fc"
        case MaxPool2d() | AvgPool2d() | AdaptiveAvgPool2d():
            return "pool"
    return "other"
