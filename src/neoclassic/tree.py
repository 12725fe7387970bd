"""A network is data: a tree of a few frozen nodes.

Leaves carry torch.nn's names and argument names and state their output widths only; input widths flow
from the input shape (see `measure`). Four combinators join them, named for what they do: `Sequential`,
`Sum`, `Concat` and `Product`; `Auxiliary` is a side head that counts in training only.

    >>> Sequential(Conv2d(6, 5, padding=2), ReLU(), Flatten(), head=Linear(10))
    Sequential(Conv2d(6, 5, padding=2), ReLU(), Flatten(), head=Linear(10))

Every node has a **path**, the names of its ancestors and its own joined by dots: `stage2.block1.conv1`. A
child given by keyword is named by it. A child given by position is named by its kind, and numbered when its
combinator holds several of that kind: `conv1`, `relu1`, `conv2`, …, `flatten`. The path keys the node's
weights, its row in the shape table, its feature map and its place in a drawing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from math import inf
from typing import Any, ClassVar, Self

from neoclassic.base.errors import NeoclassicError
from neoclassic.base.records import number, whole

# ── what a field may hold ────────────────────────────────────────────────────────────────────────────


def _row(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(map(whole, value))


def _even(rows: Any) -> bool:
    return isinstance(rows, tuple) and all(map(_row, rows)) and len(set(map(len, rows))) == 1


# by annotation: what fits, and how it is called
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "int": (whole, "a whole number"),
    "int | None": (lambda value: value is None or whole(value), "a whole number or None"),
    "bool": (lambda value: isinstance(value, bool), "True or False"),
    "float": (number, "a finite number"),
    "tuple[int, ...]": (_row, "a tuple of whole numbers"),
    "tuple[tuple[int, ...], ...]": (_even, "a tuple of tuples of whole numbers, all of one length"),
}
_RANGES = {"p": (0, 1), "momentum": (0, 1), "eps": (0, inf), "weight": (0, inf), "padding": (0, inf)}
_SIZES = (1, inf)  # of whole numbers that no range is named for


def _check(node: Node, name: str, annotation: Any) -> None:
    """TypeError or ValueError, which say what is wrong, where a field holds what it cannot."""
    value, kind = getattr(node, name), annotation if isinstance(annotation, str) else annotation.__name__
    fits, called = _KINDS.get(kind, (lambda value: True, ""))
    if not fits(value):
        raise TypeError(f"{type(node).__name__}: {name} must be {called}, not {str(value)[:40]}")
    low, high = _RANGES.get(name, _SIZES if kind.startswith("int") else (-inf, inf))
    if kind in ("int", "int | None", "float") and value is not None and not low <= value <= high:
        wanted = f"at least {low}" if high == inf else f"from {low} to {high}"
        raise ValueError(f"{type(node).__name__}: {name} must be {wanted}, not {value}")


@dataclass(frozen=True, repr=False)
class Node:
    """A layer or a combinator of layers. Frozen; equal trees are equal; the repr is the constructor call.

    TypeError or ValueError for an argument that cannot be.
    """

    kind: ClassVar[str] = "node"  # what a child given by position is called

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
    """Batch normalisation over (N, H, W), with scale and shift; running statistics as in torch.

    Ioffe & Szegedy 2015, arXiv 1502.03167. `momentum` is the weight of the new batch.
    """

    kind = "bn"
    eps: float = 1e-5
    momentum: float = 0.1


@dataclass(frozen=True, repr=False)
class BatchNorm1d(BatchNorm2d):
    """Batch normalisation of a flat input, over N."""


# ── layers without weights ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, repr=False)
class MaxPool2d(Node):
    """Maximum over windows; padding counts as −∞. `stride=None` means the kernel size."""

    kind = "pool"
    kernel_size: int
    stride: int | None = None
    padding: int = 0
    ceil_mode: bool = False


@dataclass(frozen=True, repr=False)
class AvgPool2d(Node):
    """Mean over windows. `stride=None` means the kernel size; padded zeros count unless told otherwise."""

    kind = "pool"
    kernel_size: int
    stride: int | None = None
    padding: int = 0
    ceil_mode: bool = False
    count_include_pad: bool = True


@dataclass(frozen=True, repr=False)
class AdaptiveAvgPool2d(Node):
    """Mean over windows chosen so that the output is `output_size` square; 1 is global average pooling."""

    kind = "pool"
    output_size: int = 1


@dataclass(frozen=True, repr=False)
class LocalResponseNorm(Node):
    """x / (k + alpha/size · Σ x²)^beta over `size` adjacent channels: torch's scaling of alpha.

    Krizhevsky et al. 2012, section 3.3, has alpha unscaled: its α = 1e-4 is `alpha=5e-4` here.
    """

    kind = "lrn"
    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0


@dataclass(frozen=True, repr=False)
class Dropout(Node):
    """In training, zeroes with probability p and scales the rest by 1/(1−p); nothing at test."""

    kind = "dropout"
    p: float = 0.5


@dataclass(frozen=True, repr=False)
class Flatten(Node):
    """C×H×W to C·H·W, channels slowest."""

    kind = "flatten"


@dataclass(frozen=True, repr=False)
class Identity(Node):
    """The input itself: the straight arm of a `Sum`, `Concat` or `Product`."""

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
    """scale · tanh(slope · x). LeCun et al. 1998 have scale 1.7159 and slope 2/3."""

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
    """These channels of the input, in this order: one row of LeNet-5's connection table."""

    kind = "select"
    channels: tuple[int, ...]


@dataclass(frozen=True, repr=False)
class PadChannels(Node):
    """Zero channels appended up to `out_channels`: the shortcut without parameters, option A of ResNet."""

    kind = "pad"
    out_channels: int


@dataclass(frozen=True, repr=False)
class RBF(Node):
    """Logits −Σⱼ (xⱼ − wᵢⱼ)² for fixed prototypes w, one row a class: LeNet-5's output. Nothing to train."""

    kind = "rbf"
    prototypes: tuple[tuple[int, ...], ...]


# ── combinators ──────────────────────────────────────────────────────────────────────────────────────


def _kinds(nodes: tuple[Node, ...]) -> list[str]:
    """Names of children given by position: their kind, numbered from 1 where there are several."""
    total, seen = Counter(node.kind for node in nodes), Counter[str]()
    names = []
    for node in nodes:
        seen[node.kind] += 1
        names.append(f"{node.kind}{seen[node.kind]}" if total[node.kind] > 1 else node.kind)
    return names


@dataclass(frozen=True, init=False, repr=False)
class Combinator(Node):
    """Named children. Raises TypeError for a child that is no node and ValueError for a name used twice."""

    children: tuple[tuple[str, Node], ...]

    def __init__(self, *nodes: Node, **named: Node) -> None:
        given: list[tuple[int | str, Any]] = [*enumerate(nodes, 1), *named.items()]
        for place, child in given:
            if not isinstance(child, Node):
                hint = ": give the nodes one by one" if isinstance(child, list | tuple) else ""
                raise TypeError(f"{type(self).__name__}: child {place!r} is {str(child)[:40]}, not a node{hint}")
        children = (*zip(_kinds(nodes), nodes, strict=True), *named.items())
        for name, _ in children:
            if not name or "." in name:  # which separates the names of a path
                raise ValueError(f"{type(self).__name__}: {name!r} cannot be the name of a child: leave dots out")
        twice = [name for name, count in Counter(name for name, _ in children).items() if count > 1]
        if twice:
            raise ValueError(f"{type(self).__name__}: the child name {twice[0]!r} is used twice")
        object.__setattr__(self, "children", children)

    @classmethod
    def of(cls, children: Mapping[str, Node], **options: Any) -> Self:
        """The same from a dict, for names that are computed."""
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
    """One after the other."""

    kind = "seq"


class Sum(Combinator):
    """The same input to each child; outputs of equal shape are added."""

    kind = "sum"


class Concat(Combinator):
    """The same input to each child; outputs are joined along the channels, in order."""

    kind = "concat"


class Product(Combinator):
    """The same input to each child; outputs are multiplied. A C×1×1 output scales whole channels."""

    kind = "product"


@dataclass(frozen=True, init=False, repr=False)
class Auxiliary(Combinator):
    """A side head: passes its input on unchanged; in training its children, one after the other, make
    logits whose loss is added with the given weight. Szegedy et al. 2014, arXiv 1409.4842, section 5."""

    kind = "aux"
    weight: float = 0.3

    def __init__(self, *nodes: Node, weight: float = 0.3, **named: Node) -> None:
        super().__init__(*nodes, **named)
        object.__setattr__(self, "weight", weight)
        self.__post_init__()


# ── walking, and to and from JSON ────────────────────────────────────────────────────────────────────


def join(path: str, name: str) -> str:
    """The path of the child `name` of the node at `path`."""
    return f"{path}.{name}" if path else name


def walk(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """Every (path, node), parents before children, in order of execution. The root's path is empty."""
    yield path, node
    if isinstance(node, Combinator):
        for name, child in node.children:
            yield from walk(child, join(path, name))


def unknown_layer(walker: str, node: Node, path: str) -> NeoclassicError:
    """The error of a walker that has no rule for a layer."""
    kind = type(node).__name__
    return NeoclassicError(f"{path or 'the network'}: {walker} does not know {kind}: add a rule (see CONTRIBUTING.md)")


def at(node: Node, path: str) -> Node:
    """The node at a path; KeyError when there is none."""
    for name in path.split(".") if path else []:
        children = dict(node.children) if isinstance(node, Combinator) else dict[str, Node]()
        node = children[name]
    return node


def _every(cls: type[Node]) -> Iterator[type[Node]]:
    yield cls
    for sub in cls.__subclasses__():
        yield from _every(sub)


def to_dict(node: Node) -> dict[str, Any]:
    """The tree as plain JSON values: `{"type": "Conv2d", "out_channels": 6, …}`."""
    data: dict[str, Any] = {"type": type(node).__name__}
    for f in fields(node):
        value = getattr(node, f.name)
        data[f.name] = {n: to_dict(c) for n, c in value} if f.name == "children" else value
    return data


def _frozen(value: Any) -> Any:
    """Numbers, and tuples of them where JSON has lists. TypeError for anything else."""
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    if not isinstance(value, int | float | None):
        raise TypeError(f"{str(value)[:40]!r} is no number")
    return value


def from_dict(data: Any) -> Node:
    """The tree that `to_dict` wrote. NeoclassicError when `data` is no tree; it is never executed."""
    known = {cls.__name__: cls for cls in _every(Node) if cls not in (Node, Combinator)}
    if not isinstance(data, dict) or data.get("type") not in known:
        raise NeoclassicError(f"not a network tree: unknown node {str(data)[:60]!r}")
    cls, options = known[data["type"]], {k: v for k, v in data.items() if k != "type"}
    if surplus := options.keys() - {f.name for f in fields(cls)}:
        raise NeoclassicError(f"not a network tree: {data['type']} has no {sorted(surplus)[0]!r}")
    children = options.pop("children", {})
    try:
        options = {name: _frozen(value) for name, value in options.items()}
        return cls(**options, **{name: from_dict(child) for name, child in children.items()})
    except (TypeError, ValueError, AttributeError) as error:
        raise NeoclassicError(f"not a network tree: {error}") from None
