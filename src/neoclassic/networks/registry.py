"""What a family file says of each of its networks: one row, one `Entry`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from neoclassic.measure import Shape
from neoclassic.tree import Node


@dataclass(frozen=True)
class Entry:
    """One network of the zoo.

    name    `name` or `name:variant`
    build   `build(classes, **knobs)` makes the tree; the knobs are the build function's keyword arguments
    year    of the paper
    input   channels, height, width of the published form
    classes of the published form
    about   how it stands out, in a few words
    """

    name: str
    build: Callable[..., Node]
    year: int
    input: Shape
    classes: int
    about: str

    @property
    def family(self) -> str:
        """The name without its variant."""
        return self.name.partition(":")[0]
