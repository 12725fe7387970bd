"""A network is data: a tree of frozen nodes.

The leaves are layers, with the names and argument names of torch.nn. They have output widths only; input widths follow
from the input shape (see `measure`). Four combinators join them: `Sequential`, `Sum`, `Concat` and `Product`.
`Auxiliary` is a side head that is used in training only.

    >>> Sequential(Conv2d(6, 5, padding=2), ReLU(), Flatten(), head=Linear(10))
    Sequential(Conv2d(6, 5, padding=2), ReLU(), Flatten(), head=Linear(10))

Every node has a **path**: the names of its ancestors and its own name, joined by dots, such as `stage2.block1.conv1`.
A child given by keyword has that name. A child given by position is named by its kind, with a number if its combinator
has several of that kind: `conv1`, `relu1`, `conv2`, …, `flatten`. The path is the key of the node's weights, its row in
the shape table, its feature map and its place in a drawing.
"""

from neoclassic.tree.combinators import (
    Auxiliary,
    Combinator,
    Concat,
    Product,
    Sequential,
    Sum,
    at,
    join,
    walk,
)
from neoclassic.tree.dicts import from_dict, node_types, to_dict
from neoclassic.tree.layers import (
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
    PadChannels,
    ReLU,
    ReLU6,
    Select,
    Sigmoid,
    Tanh,
)
from neoclassic.tree.node import Node, unknown_layer

__all__ = [
    "RBF",
    "AdaptiveAvgPool2d",
    "Auxiliary",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Combinator",
    "Concat",
    "Conv2d",
    "Dropout",
    "Flatten",
    "Hardsigmoid",
    "Hardswish",
    "Identity",
    "Linear",
    "LocalResponseNorm",
    "MaxPool2d",
    "Node",
    "PadChannels",
    "Product",
    "ReLU",
    "ReLU6",
    "Select",
    "Sequential",
    "Sigmoid",
    "Sum",
    "Tanh",
    "at",
    "from_dict",
    "join",
    "node_types",
    "to_dict",
    "unknown_layer",
    "walk",
]
