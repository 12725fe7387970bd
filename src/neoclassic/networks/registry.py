"""What a family file says of each of its networks: one row, one `Entry`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from neoclassic.base.errors import UsageError, unknown
from neoclassic.base.records import number, require
from neoclassic.measure import Shape
from neoclassic.tree import Node

Number = int | float | tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """One network of the zoo.

    name    `name` or `name:variant`
    build   `build(classes, **knobs)` makes the tree
    year    of the paper
    input   channels, height, width of the published form
    classes of the published form
    about   how it stands out, in a few words
    vary    what the paper's own tables vary: arguments of `build` that users may set, the knobs
    """

    name: str
    build: Callable[..., Node]
    year: int
    input: Shape
    classes: int
    about: str
    vary: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        """The name without its variant."""
        return self.name.partition(":")[0]

    @property
    def knobs(self) -> dict[str, Number]:
        """The knobs, with their values in this network."""
        arguments = inspect.signature(self.build).parameters
        return {name: arguments[name].default for name in self.vary}

    def tree(self, classes: int | None = None, **knobs: object) -> Node:
        """The network, with the published number of classes unless told otherwise.

        UsageError for a number of classes or a knob that cannot be.
        """
        classes = self.classes if classes is None else classes
        if classes < 1:
            raise UsageError(f"a network needs at least 1 class, not {classes}")
        for knob, value in knobs.items():
            if knob not in self.knobs:
                raise unknown(f"knob of {self.name}", knob, self.knobs, see="" if self.knobs else "it has none")
            _check(knob, value, self.knobs[knob])
        return self.build(classes, **knobs)


def _numbers(value: object) -> bool:
    items = value if isinstance(value, tuple) else (value,)
    return bool(items) and all(map(number, items))


def _check(knob: str, value: object, example: Number) -> None:
    """UsageError unless the value is of the example's kind, and positive."""
    kind = type(example)
    fits = _numbers(value) and (isinstance(value, kind) or (kind is float and isinstance(value, int)))
    if not fits or (isinstance(value, tuple) and isinstance(example, tuple) and len(value) != len(example)):
        raise UsageError(f"{knob} is like {example!r}, not {value!r}")
    require(knob, value, all(n > 0 for n in (value if isinstance(value, tuple) else (value,))), "positive")
