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

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from math import inf
from typing import Any, ClassVar, Self

from neoclassic.base.errors import NeoclassicError
from neoclassic.base.records import number, whole

# ── checking arguments ───────────────────────────────────────────────────────────────────────────────


def _is_row(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(map(whole, value))


def _is_table(rows: Any) -> bool:
    return isinstance(rows, tuple) and all(map(_is_row, rows)) and len(set(map(len, rows))) == 1


# by annotation: the check, and how an error describes it
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "int": (whole, "a whole number"),
    "int | None": (lambda value: value is None or whole(value), "a whole number or None"),
    "bool": (lambda value: isinstance(value, bool), "True or False"),
    "float": (number, "a finite number"),
    "tuple[int, ...]": (_is_row, "a tuple of whole numbers"),
    "tuple[tuple[int, ...], ...]": (_is_table, "a tuple of tuples of whole numbers, all of one length"),
}
_RANGES = {"p": (0, 1), "momentum": (0, 1), "eps": (0, inf), "weight": (0, inf), "padding": (0, inf)}
_SIZES = (1, inf)  # the range of all other integers


def _check(node: Node, name: str, annotation: Any) -> None:
    """Raise TypeError or ValueError, with the reason, if a field has an invalid value."""
    value, kind = getattr(node, name), annotation if isinstance(annotation, str) else annotation.__name__
    is_valid, description = _KINDS.get(kind, (lambda value: True, ""))
    if not is_valid(value):
        raise TypeError(f"{type(node).__name__}: {name} must be {description}, not {str(value)[:40]}")
    low, high = _RANGES.get(name, _SIZES if kind.startswith("int") else (-inf, inf))
    if kind in ("int", "int | None", "float") and value is not None and not low <= value <= high:
        wanted = f"at least {low}" if high == inf else f"from {low} to {high}"
        raise ValueError(f"{type(node).__name__}: {name} must be {wanted}, not {value}")


@dataclass(frozen=True, repr=False)
class Node:
    """A layer or a combinator of layers. Nodes are immutable and compare by value; the repr is the constructor call.

    Raises TypeError or ValueError for an invalid argument.
    """

    kind: ClassVar[str] = "node"  # names a child that is given by position

    def __post_init__(self) -> None:
        for f in fields(self):
            if f.name != "children":
                _check(self, f.name, f.type)

    def __repr__(self) -> str:
        required = [repr(getattr(self, f.name)) for f in fields(self) if f.default is MISSING]
        changed = [
            f"{f.name}={getattr(self, f.name)!r}"
            for f in fields(self)
            if f.default is not MISSING and getattr(self, f.name) != f.default
        ]
        return f"{type(self).__name__}({', '.join(required + changed)})"


# ── layers with weights ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, repr=False)
class Conv2d(Node):
    """2-d convolution (cross-correlation), square kernel, zero padding, dilation 1."""

    kind = "conv"
    out_channels: int
    kernel_size: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    bias: bool = True


@dataclass(frozen=True, repr=False)
class Linear(Node):
    """y = x Wᵀ + b over a flat input."""

    kind = "fc"
    out_features: int
    bias: bool = True


@dataclass(frozen=True, repr=False)
class BatchNorm2d(Node):
    """Batch normalisation over (N, H, W), with scale and shift, and running statistics as in torch.

    Ioffe & Szegedy 2015, arXiv 1502.03167. `momentum` is the weight of the new batch.
    """

    kind = "bn"
    eps: float = 1e-5
    momentum: float = 0.1


@dataclass(frozen=True, repr=False)
class BatchNorm1d(BatchNorm2d):
    """Batch normalisation of a flat input over N."""


# ── layers without weights ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, repr=False)
class MaxPool2d(Node):
    """Maximum over windows. Padding counts as −∞. `stride=None` means the kernel size."""

    kind = "pool"
    kernel_size: int
    stride: int | None = None
    padding: int = 0
    ceil_mode: bool = False


@dataclass(frozen=True, repr=False)
class AvgPool2d(Node):
    """Mean over windows. `stride=None` means the kernel size. `count_include_pad`: whether padded zeros count."""

    kind = "pool"
    kernel_size: int
    stride: int | None = None
    padding: int = 0
    ceil_mode: bool = False
    count_include_pad: bool = True


@dataclass(frozen=True, repr=False)
class AdaptiveAvgPool2d(Node):
    """Mean over windows, for an output of `output_size` × `output_size`; 1 is global average pooling."""

    kind = "pool"
    output_size: int = 1


@dataclass(frozen=True, repr=False)
class LocalResponseNorm(Node):
    """x / (k + alpha/size · Σ x²)^beta over `size` adjacent channels, as in torch.

    Krizhevsky et al. 2012, section 3.3, do not divide alpha by the size: their α = 1e-4 is `alpha=5e-4` here.
    """

    kind = "lrn"
    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0


@dataclass(frozen=True, repr=False)
class Dropout(Node):
    """In training, zeroes values with probability p and scales the others by 1/(1−p). The identity in inference."""

    kind = "dropout"
    p: float = 0.5


@dataclass(frozen=True, repr=False)
class Flatten(Node):
    """C×H×W to C·H·W, in the order of torch."""

    kind = "flatten"


@dataclass(frozen=True, repr=False)
class Identity(Node):
    """The input itself: the branch of a `Sum`, `Concat` or `Product` that changes nothing."""

    kind = "identity"


@dataclass(frozen=True, repr=False)
class ReLU(Node):
    """max(x, 0)."""

    kind = "relu"


@dataclass(frozen=True, repr=False)
class Sigmoid(Node):
    """1 / (1 + e^−x)."""

    kind = "sigmoid"


@dataclass(frozen=True, repr=False)
class Tanh(Node):
    """scale · tanh(slope · x). LeCun et al. 1998 use scale 1.7159 and slope 2/3."""

    kind = "tanh"
    scale: float = 1.0
    slope: float = 1.0


@dataclass(frozen=True, repr=False)
class ReLU6(Node):
    """min(max(x, 0), 6)."""

    kind = "relu6"


@dataclass(frozen=True, repr=False)
class Hardsigmoid(Node):
    """ReLU6(x + 3) / 6. Howard et al. 2019, arXiv 1905.02244, section 5.2."""

    kind = "hardsigmoid"


@dataclass(frozen=True, repr=False)
class Hardswish(Node):
    """x · ReLU6(x + 3) / 6. Howard et al. 2019, arXiv 1905.02244, section 5.2."""

    kind = "hardswish"


@dataclass(frozen=True, repr=False)
class Select(Node):
    """The given channels of the input, in this order: a row of LeNet-5's connection table."""

    kind = "select"
    channels: tuple[int, ...]


@dataclass(frozen=True, repr=False)
class PadChannels(Node):
    """Appends channels of zeros up to `out_channels`: ResNet's shortcut without parameters, option A."""

    kind = "pad"
    out_channels: int


@dataclass(frozen=True, repr=False)
class RBF(Node):
    """Logits −Σⱼ (xⱼ − wᵢⱼ)² with fixed prototypes w, one row per class: the output of LeNet-5."""

    kind = "rbf"
    prototypes: tuple[tuple[int, ...], ...]


# ── combinators ──────────────────────────────────────────────────────────────────────────────────────


def _kinds(nodes: tuple[Node, ...]) -> list[str]:
    """Names of children given by position: their kind, numbered from 1 if there are several of it."""
    total, seen = Counter(node.kind for node in nodes), Counter[str]()
    names = []
    for node in nodes:
        seen[node.kind] += 1
        names.append(f"{node.kind}{seen[node.kind]}" if total[node.kind] > 1 else node.kind)
    return names


@dataclass(frozen=True, init=False, repr=False)
class Combinator(Node):
    """A node with named children.

    Raises TypeError for a child that is not a node, and ValueError for an invalid name or one that is used twice."""

    children: tuple[tuple[str, Node], ...]

    def __init__(self, *nodes: Node, **named: Node) -> None:
        given: list[tuple[int | str, Any]] = [*enumerate(nodes, 1), *named.items()]
        for place, child in given:
            if not isinstance(child, Node):
                hint = ": give the nodes one by one" if isinstance(child, list | tuple) else ""
                raise TypeError(f"{type(self).__name__}: child {place!r} is {str(child)[:40]}, not a node{hint}")
        children = (*zip(_kinds(nodes), nodes, strict=True), *named.items())
        for name, _ in children:
            if not name or "." in name:  # the dot separates the names of a path
                raise ValueError(f"{type(self).__name__}: {name!r} cannot be the name of a child: leave dots out")
        twice = [name for name, count in Counter(name for name, _ in children).items() if count > 1]
        if twice:
            raise ValueError(f"{type(self).__name__}: the child name {twice[0]!r} is used twice")
        object.__setattr__(self, "children", children)

    @classmethod
    def of(cls, children: Mapping[str, Node], **options: Any) -> Self:
        """Make the node from a dict, for names that are computed."""
        return cls(**children, **options)

    def __repr__(self) -> str:
        names = [name for name, _ in self.children]
        nodes = tuple(node for _, node in self.children)
        by_position = next(n for n in range(len(names), -1, -1) if _kinds(nodes[:n]) == names[:n])
        parts = [repr(node) for node in nodes[:by_position]]
        parts += [f"{name}={node!r}" for name, node in self.children[by_position:]]
        options = [f for f in fields(self) if f.name != "children" and getattr(self, f.name) != f.default]
        parts += [f"{f.name}={getattr(self, f.name)!r}" for f in options]
        return f"{type(self).__name__}({', '.join(parts)})"


class Sequential(Combinator):
    """Its children one after the other."""

    kind = "seq"


class Sum(Combinator):
    """Each child gets the same input; their outputs, of equal shape, are added."""

    kind = "sum"


class Concat(Combinator):
    """Each child gets the same input; their outputs are concatenated along the channels, in order."""

    kind = "concat"


class Product(Combinator):
    """Each child gets the same input; their outputs are multiplied. A C×1×1 output scales whole channels."""

    kind = "product"


@dataclass(frozen=True, init=False, repr=False)
class Auxiliary(Combinator):
    """A side head. Its output is its input, unchanged.

    In training, its children, one after the other, compute logits whose loss is added with the given weight. Szegedy et
    al. 2014, arXiv 1409.4842, section 5."""

    kind = "aux"
    weight: float = 0.3

    def __init__(self, *nodes: Node, weight: float = 0.3, **named: Node) -> None:
        super().__init__(*nodes, **named)
        object.__setattr__(self, "weight", weight)
        self.__post_init__()


# ── walking the tree; JSON ───────────────────────────────────────────────────────────────────────────


def join(path: str, name: str) -> str:
    """The path of the child `name` of the node at `path`."""
    return f"{path}.{name}" if path else name


def walk(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """All (path, node) pairs in order of execution, parents before children. The path of the root is empty."""
    yield path, node
    if isinstance(node, Combinator):
        for name, child in node.children:
            yield from walk(child, join(path, name))


def unknown_layer(walker: str, node: Node, path: str) -> NeoclassicError:
    """The error of a walker that has no rule for a layer."""
    kind = type(node).__name__
    return NeoclassicError(f"{path or 'the network'}: {walker} does not know {kind}: add a rule (see CONTRIBUTING.md)")


def at(node: Node, path: str) -> Node:
    """The node at a path. Raises KeyError if there is none."""
    for name in path.split(".") if path else []:
        children = dict(node.children) if isinstance(node, Combinator) else dict[str, Node]()
        node = children[name]
    return node


def _every(cls: type[Node]) -> Iterator[type[Node]]:
    yield cls
    for sub in cls.__subclasses__():
        yield from _every(sub)


def to_dict(node: Node) -> dict[str, Any]:
    """The tree as JSON values: `{"type": "Conv2d", "out_channels": 6, …}`.

    Raises TypeError for a field that `from_dict` could not read."""
    data: dict[str, Any] = {"type": type(node).__name__}
    for f in fields(node):
        value = getattr(node, f.name)
        data[f.name] = {n: to_dict(c) for n, c in value} if f.name == "children" else _numbers(value)
    return data


def _numbers(value: Any) -> Any:
    """Convert JSON lists to tuples. Raises TypeError for anything but numbers and lists of them."""
    if isinstance(value, list | tuple):
        return tuple(map(_numbers, value))
    if not isinstance(value, int | float | None):
        raise TypeError(f"{str(value)[:40]!r} is not a number")
    return value


def from_dict(data: Any) -> Node:
    """The tree that `to_dict` wrote. Nothing in `data` is executed. Raises NeoclassicError if it is not a tree."""
    known = {cls.__name__: cls for cls in _every(Node) if cls not in (Node, Combinator)}
    if not isinstance(data, dict) or data.get("type") not in known:
        raise NeoclassicError(f"not a network tree: unknown node {str(data)[:60]!r}")
    cls, options = known[data["type"]], {k: v for k, v in data.items() if k != "type"}
    if unknown := options.keys() - {f.name for f in fields(cls)}:
        raise NeoclassicError(f"not a network tree: {data['type']} has no {sorted(unknown)[0]!r}")
    children = options.pop("children", {})
    try:
        options = {name: _numbers(value) for name, value in options.items()}
        return cls(**options, **{name: from_dict(child) for name, child in children.items()})
    except (TypeError, ValueError, AttributeError) as error:
        raise NeoclassicError(f"not a network tree: {error}") from None
