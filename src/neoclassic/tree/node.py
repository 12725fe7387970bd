"""The base class of all nodes, and the check of their arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import inf
from typing import Any, ClassVar

from neoclassic.base import display
from neoclassic.base.errors import InvalidType, InvalidValue, NeoclassicError
from neoclassic.base.records import number, whole


@dataclass(frozen=True, repr=False)
class Node(display.Displayed):
    """A layer or a combinator of layers. Nodes are immutable and compare by value; the repr is the constructor call.

    A network of the zoo remembers its name and its published input, for its display in a notebook.

    Raises InvalidType, a TypeError, or InvalidValue, a ValueError, for an invalid argument.

        >>> nc.Conv2d(6, 5) == nc.Conv2d(6, kernel_size=5)
        True
    """

    kind: ClassVar[str] = "node"  # names a child that is given by position
    depth: ClassVar[int] = 1  # levels of the tree; combinators count their children's
    nodes: ClassVar[int] = 1
    known_as: ClassVar[str] = ""
    published: ClassVar[tuple[int, ...]] = ()  # channels, height and width

    def __post_init__(self) -> None:
        for f in fields(self):
            if f.name != "children":
                _check(self, f.name, f.type)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(display.changed(self))})"


def unknown_layer(walker: str, node: Node, path: str) -> NeoclassicError:
    """The error of a walker that has no rule for a layer."""
    kind = type(node).__name__
    return NeoclassicError(f"{path or 'the network'}: {walker} does not know {kind}: add a rule (see CONTRIBUTING.md)")


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
_RANGES = {
    "p": (0, 1),
    "momentum": (0, 1),
    "eps": (0, inf),
    "weight": (0, inf),
    "padding": (0, 512),
    "kernel_size": (1, 1 << 16),
    "stride": (1, 1 << 16),
    "output_size": (1, 1 << 12),
}
_SIZES = (1, 1 << 24)  # the range of all other integers: channels, features, groups


def _check(node: Node, name: str, annotation: Any) -> None:
    """Raise InvalidType or InvalidValue, with the reason, if a field has an invalid value."""
    value, kind = getattr(node, name), annotation if isinstance(annotation, str) else annotation.__name__
    is_valid, description = _KINDS.get(kind, (lambda value: True, ""))
    if not is_valid(value):
        raise InvalidType(f"{type(node).__name__}: {name} must be {description}, not {str(value)[:40]}")
    if kind == "tuple[int, ...]" and min(value) < 0:  # Python would count from the end, and torch may not
        raise InvalidValue(f"{type(node).__name__}: {name} must be at least 0, not {min(value)}")
    low, high = _RANGES.get(name, _SIZES if kind.startswith("int") else (-inf, inf))
    if kind in ("int", "int | None", "float") and value is not None and not low <= value <= high:
        wanted = f"from {low} to {high}" if high == 1 else f"at least {low}" if value < low else f"at most {high}"
        raise InvalidValue(f"{type(node).__name__}: {name} must be {wanted}, not {value}")
