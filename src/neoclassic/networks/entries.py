"""The entry of a network: how to build it, and what its paper says about it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass

from neoclassic.base.errors import UsageError, unknown
from neoclassic.base.records import number, require
from neoclassic.measure import Shape
from neoclassic.tree import Node

Number = int | float | tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """One network of the zoo.

    name     `name` or `name:variant`
    build    `build(classes, **knobs)` makes the tree
    year     of the paper
    input    published channels, height and width
    classes  published number of classes
    about    what distinguishes it, in a few words
    vary     the knobs: arguments of `build` that the paper's tables vary and users may set
    own      the tree of a network of one's own; None in the zoo
    """

    name: str
    build: Callable[..., Node]
    year: int
    input: Shape
    classes: int
    about: str
    vary: tuple[str, ...] = ()
    own: Node | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def summary(self) -> str:
        """The year and what distinguishes it."""
        return self.about if self.own else f"{self.year}: {self.about}"

    @property
    def family(self) -> str:
        """The name without the variant."""
        return self.name.partition(":")[0]

    @property
    def knobs(self) -> dict[str, Number]:
        """The knobs and their values in this network."""
        arguments = inspect.signature(self.build).parameters
        return {name: arguments[name].default for name in self.vary}

    def tree(self, classes: int | None = None, **knobs: object) -> Node:
        """Return the network's tree, by default with the published number of classes.

        UsageError for an invalid number of classes, an unknown knob, or an invalid value of one.
        """
        if self.own is not None and classes is None and not knobs:
            return self.own
        classes = self.classes if classes is None else classes
        if classes < 1:
            raise UsageError(f"a network needs at least 1 class, not {classes}")
        for knob, value in knobs.items():
            if knob not in self.knobs:
                raise unknown(f"knob of {self.name}", knob, self.knobs, see="" if self.knobs else "it has none")
            _check(knob, value, self.knobs[knob])
        tree = copy(self.build(classes, **knobs))  # a builder may return a node that it shares
        if self.own is None:
            object.__setattr__(tree, "known_as", self.name)
            object.__setattr__(tree, "published", self.input)
        return tree


def _numbers(value: object) -> bool:
    items = value if isinstance(value, tuple) else (value,)
    return bool(items) and all(map(number, items))


def _check(knob: str, value: object, example: Number) -> None:
    """UsageError unless the value is positive and has the same form as the example."""
    kind = type(example)
    fits = _numbers(value) and (isinstance(value, kind) or (kind is float and isinstance(value, int)))
    if not fits or (isinstance(value, tuple) and isinstance(example, tuple) and len(value) != len(example)):
        raise UsageError(f"{knob} must be like {example!r}, not {value!r}")
    require(knob, value, all(n > 0 for n in (value if isinstance(value, tuple) else (value,))), "positive")
