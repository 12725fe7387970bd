"""A tree as JSON values, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from neoclassic.base.errors import NeoclassicError
from neoclassic.tree.combinators import DEEPEST, Combinator
from neoclassic.tree.node import Node


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
    return _from_dict(data, {cls.__name__: cls for cls in node_types()}, 1)


def _from_dict(data: Any, known: Mapping[str, type[Node]], level: int) -> Node:
    if level > DEEPEST:  # before Python's own limit of recursion, which the caller shares
        raise NeoclassicError(f"not a network tree: it has more than {DEEPEST} levels")
    if not isinstance(data, dict) or not isinstance(data.get("type"), str) or data["type"] not in known:
        raise NeoclassicError(f"not a network tree: unknown node {str(data)[:60]!r}")
    cls, options = known[data["type"]], {k: v for k, v in data.items() if k != "type"}
    if unknown := options.keys() - {f.name for f in fields(cls)}:
        raise NeoclassicError(f"not a network tree: {data['type']} has no {sorted(unknown)[0]!r}")
    children = options.pop("children", {})
    try:
        options = {name: _numbers(value) for name, value in options.items()}
        return cls(**options, **{name: _from_dict(child, known, level + 1) for name, child in children.items()})
    except (TypeError, ValueError, AttributeError) as error:
        raise NeoclassicError(f"not a network tree: {error}") from None


def node_types() -> Iterator[type[Node]]:
    """All classes of layers and combinators that exist."""
    pending = [Node]
    while pending:
        cls = pending.pop()
        pending += cls.__subclasses__()
        if cls not in (Node, Combinator):
            yield cls
