"""Arrays that come back by themselves: a buffer is free again as soon as nobody else refers to it.

Fresh memory from the system is paid for page by page; a training step wants the same shapes again and again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from math import prod
from sys import getrefcount

import numpy as np

from neoclassic.engines.contract import Array
from neoclassic.measure import Shape

New = Callable[[Shape], Array]  # an uninitialised array of this shape


class Buffers:
    """`buffers(shape)` is an uninitialised array that nobody else holds. One for each thread."""

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        self._bases: dict[int, list[Array]] = defaultdict(list)

    def __call__(self, shape: Shape) -> Array:
        size = prod(shape)
        bases = self._bases[_rounded(size)]
        for base in bases:
            if getrefcount(base) == _FREE:  # every view that was handed out holds a reference to it
                return base[:size].reshape(shape)
        base = np.empty(_rounded(size), self.dtype)
        bases.append(base)
        return base[:size].reshape(shape)

    def clear(self) -> None:
        """Give everything back to the system."""
        self._bases.clear()

    @property
    def bytes(self) -> int:
        """Held, in use or not."""
        return sum(base.nbytes for bases in self._bases.values() for base in bases)


def _rounded(size: int) -> int:
    """Up to the next of four to eight sizes an octave, so that similar shapes take turns in the same memory."""
    step = 1 << max(size.bit_length() - 3, 4)
    return -(-size // step) * step


def _references_to_a_free_base() -> int:
    """As the loop of `Buffers.__call__` counts them; interpreters differ in what a loop variable adds."""
    bases = [np.empty(0)]
    for base in bases:
        return getrefcount(base)
    raise AssertionError


_FREE = _references_to_a_free_base()
