"""Reusable arrays: the memory of an array goes back to the store when the array and all its views are gone.

New memory from the system costs a page fault for every page, and each training step needs the same shapes again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np

from neoclassic.engines.contract import Array
from neoclassic.measure import Shape

New = Callable[[Shape], Array]  # returns an uninitialised array of this shape


class Buffers:
    """`buffers(shape)` is an uninitialised array that shares its memory with no other array. Use one per thread."""

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        self._free: dict[int, list[_Memory]] = defaultdict(list)  # memory that no array uses, by size

    def __call__(self, shape: Shape) -> Array:
        size = _rounded(prod(shape))
        free = self._free[size]
        if free:
            memory = free.pop()
        else:
            array = np.empty(size, self.dtype)
            memory = _Memory(array, array.__array_interface__)
        return np.asarray(_Loan(memory, shape, free))

    def clear(self) -> None:
        """Release all free memory to the system. Memory in use is released when its arrays are gone."""
        self._free = defaultdict(list)


class _Memory(NamedTuple):
    array: Array
    interface: dict[str, Any]


class _Loan:
    """Owns the memory of one array: the array and all its views refer to it, and at its end it returns the memory.

    NumPy keeps the object that provides `__array_interface__` alive as long as any array uses its memory.
    """

    __slots__ = ("__array_interface__", "_free", "_memory")

    def __init__(self, memory: _Memory, shape: Shape, free: list[_Memory]) -> None:
        self._memory, self._free = memory, free
        self.__array_interface__ = memory.interface | {"shape": shape}

    def __del__(self) -> None:
        self._free.append(self._memory)


def _rounded(size: int) -> int:
    """The next larger of four to eight sizes per octave, so that similar shapes can reuse the same memory."""
    step = 1 << max(size.bit_length() - 3, 4)
    return -(-size // step) * step
