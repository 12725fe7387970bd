"""All parameters of a network in one flat array, and so are their gradients.

The weights by path are views of the flat array, and an update is a few operations on long contiguous lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from math import prod

import numpy as np

from neoclassic.engines.contract import Array, Weights
from neoclassic.engines.numpy.program import Program
from neoclassic.measure import Shape


class Parameters:
    """The weights of a network, and the gradients of each thread.

    shapes     shape of every array by key, `path.parameter`
    slices     for each parameter, its place in the flat array
    flat       all parameters; first those of which every thread has its own gradient
    own        how many numbers of `flat` these are
    gradients  for each thread its gradients; the first thread has all, the others have `own` numbers
    views      for each thread its gradients by key
    arrays     every array by key: views of `flat`, and the statistics
    """

    def __init__(self, shapes: Mapping[str, Shape], training: Program, threads: int, dtype: np.dtype) -> None:
        team_wide = {key for i in training.instructions if i.team_wide for key in i.parameters}
        trained = dict.fromkeys(key for i in training.instructions for key in i.parameters)
        keys = sorted(trained, key=lambda key: key in team_wide)  # not a set: its order differs between processes
        ends = np.cumsum([0, *(prod(shapes[key]) for key in keys)])
        self.shapes = shapes
        self.slices = {key: slice(*bounds) for key, bounds in zip(keys, pairwise(ends.tolist()), strict=True)}
        total = int(ends[-1])
        self.own = sum(prod(shapes[key]) for key in keys if key not in team_wide)
        self.flat = np.empty(total, dtype)
        self.gradients = [np.empty(self.own if rank else total, dtype) for rank in range(threads)]
        self.views = [
            {key: self.view(gradients, key) for key in keys if rank == 0 or key not in team_wide}
            for rank, gradients in enumerate(self.gradients)
        ]
        self.arrays = {
            key: self.view(self.flat, key) if key in self.slices else np.empty(shape, dtype)
            for key, shape in shapes.items()
        }

    def view(self, flat: Array, key: str) -> Array:
        """The part of a flat array that belongs to a parameter, in its shape."""
        return flat[self.slices[key]].reshape(self.shapes[key])

    def averaged(self) -> Weights:
        """The arrays that a moving average covers: the flat array, as "", and each statistic."""
        return {"": self.flat} | {key: array for key, array in self.arrays.items() if key not in self.slices}

    def spread(self, values: Mapping[str, float], default: float) -> Array | None:
        """One value per parameter, repeated for all its numbers; None if all have the default."""
        if all(value == default for value in values.values()):
            return None
        line = np.empty_like(self.flat)
        for key, value in values.items():
            line[self.slices[key]] = value
        return line

    def clear_gradients(self, keys: Iterable[str]) -> None:
        """Set the gradients of these parameters to zero, in every thread."""
        keys = set(keys)
        for views in self.views:
            for key in keys & views.keys():
                views[key][...] = 0
