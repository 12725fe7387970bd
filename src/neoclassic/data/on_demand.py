"""Images that are computed whenever they are read, in place of an array that holds all of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

Array = np.ndarray


class OnDemand(ABC):
    """uint8 images N×H×W×C as a read-only array, which computes the images of an index when it is indexed."""

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self.size = self.nbytes = math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Array:
        """Return H×W×C for one index, N×H×W×C for a slice or an array of indices."""
        if isinstance(index, slice):
            return self.read(np.arange(*index.indices(len(self))))
        indices = np.asarray(index)
        if indices.dtype == bool:
            indices = np.flatnonzero(indices)
        return self.read(indices) if indices.ndim else self.read(indices[None])[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.read(np.arange(len(self)))

    @abstractmethod
    def read(self, indices: Array) -> Array:
        """Compute the images at M indices: uint8 M×H×W×C."""

    @abstractmethod
    def subset(self, indices: Array) -> Self:
        """Return only these images, not computed yet."""

    def expect(self, indices: Array) -> None:  # noqa: B027  # most need no notice
        """Take note of the indices that will be read next, so that computing them may begin."""
