"""The combinators: nodes with named children, and the paths of a tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from neoclassic.base import display
from neoclassic.base.errors import InvalidType, InvalidValue
from neoclassic.tree.node import Node

DEEPEST, LARGEST = 64, 10_000  # levels and nodes of a tree; the zoo has up to 6 and 4,010


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
                raise InvalidType(f"{type(self).__name__}: child {place!r} is {str(child)[:40]}, not a node{hint}")
        children = (*zip(_kinds(nodes), nodes, strict=True), *named.items())
        for name, _ in children:
            if not name or "." in name:  # the dot separates the names of a path
                raise InvalidValue(f"{type(self).__name__}: {name!r} cannot be the name of a child: leave dots out")
        twice = [name for name, count in Counter(name for name, _ in children).items() if count > 1]
        if twice:
            raise InvalidValue(f"{type(self).__name__}: the child name {twice[0]!r} is used twice")
        object.__setattr__(self, "children", children)
        inside = [(child.depth, child.nodes) for _, child in children]
        object.__setattr__(self, "depth", 1 + max((depth for depth, _ in inside), default=0))
        object.__setattr__(self, "nodes", 1 + sum(nodes for _, nodes in inside))
        if self.depth > DEEPEST or self.nodes > LARGEST:
            most, size = f"{DEEPEST} levels and {LARGEST:,} nodes", f"{self.depth} and {self.nodes:,}"
            raise InvalidValue(f"{type(self).__name__}: a tree has at most {most}, not {size}")

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
        return display.call(type(self).__name__, parts)


class Sequential(Combinator):
    """Its children one after the other.

    >>> net = nc.Sequential(nc.Conv2d(6, 5), nc.ReLU(), head=nc.Sequential(nc.Flatten(), nc.Linear(10)))
    >>> [row.path for row in nc.measure(net, (1, 28, 28)).layers]
    ['conv', 'relu', 'head.flatten', 'head.fc']
    """

    kind = "seq"


class Sum(Combinator):
    """Each child gets the same input; their outputs, of equal shape, are added.

    >>> block = nc.Sum(path=nc.Conv2d(16, 3, padding=1), shortcut=nc.Identity())
    >>> nc.measure(block, (16, 8, 8)).output
    (16, 8, 8)
    """

    kind = "sum"


class Concat(Combinator):
    """Each child gets the same input; their outputs are concatenated along the channels, in order.

    >>> nc.measure(nc.Concat(nc.Conv2d(64, 1), nc.Conv2d(128, 3, padding=1)), (192, 28, 28)).output
    (192, 28, 28)
    """

    kind = "concat"


class Product(Combinator):
    """Each child gets the same input; their outputs are multiplied. A C×1×1 output scales whole channels.

    >>> gate = nc.Sequential(nc.AdaptiveAvgPool2d(), nc.Conv2d(16, 1), nc.Hardsigmoid())
    >>> nc.measure(nc.Product(nc.Identity(), gate), (16, 8, 8)).output
    (16, 8, 8)
    """

    kind = "product"


@dataclass(frozen=True, init=False, repr=False)
class Auxiliary(Combinator):
    """A side head. Its output is its input, unchanged.

    In training, its children, one after the other, compute logits whose loss is added with the given weight. Szegedy et
    al. 2014, arXiv 1409.4842, section 5.

        >>> side = nc.Auxiliary(nc.AdaptiveAvgPool2d(), nc.Flatten(), nc.Linear(10), weight=0.3)
        >>> nc.measure(side, (512, 14, 14)).output
        (512, 14, 14)
    """

    kind = "aux"
    weight: float = 0.3

    def __init__(self, *nodes: Node, weight: float = 0.3, **named: Node) -> None:
        super().__init__(*nodes, **named)
        object.__setattr__(self, "weight", weight)
        self.__post_init__()


# ── paths ────────────────────────────────────────────────────────────────────────────────────────────


def join(path: str, name: str) -> str:
    """The path of the child `name` of the node at `path`."""
    return f"{path}.{name}" if path else name


def walk(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """All (path, node) pairs in order of execution, parents before children. The path of the root is empty."""
    yield path, node
    if isinstance(node, Combinator):
        for name, child in node.children:
            yield from walk(child, join(path, name))


def at(node: Node, path: str) -> Node:
    """The node at a path. Raises KeyError if there is none."""
    for name in path.split(".") if path else []:
        children = dict(node.children) if isinstance(node, Combinator) else dict[str, Node]()
        node = children[name]
    return node
