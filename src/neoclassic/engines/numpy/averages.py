"""Exponential moving averages of the weights and statistics."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from neoclassic.engines.contract import Array, Optimizer, Weights
from neoclassic.engines.numpy.parameters import Parameters
from neoclassic.tree import join


class Averages:
    """The averages that an optimizer asks for; none if its `average` is 0."""

    def __init__(self, optimizer: Optimizer, parameters: Parameters) -> None:
        self._optimizer, self._parameters = optimizer, parameters
        self._arrays: Weights = (
            {name: array.copy() for name, array in parameters.averaged().items()} if optimizer.average else {}
        )
        self._steps = 0

    def update(self) -> None:
        """Take in the weights after one more step."""
        if not self._optimizer.average:
            return
        self._steps += 1
        weights = self._parameters.averaged()
        for name, average in self._arrays.items():
            change = weights[name] - average
            average += change * average.dtype.type(1 - self._optimizer.keeps(self._steps))

    def swap(self) -> None:
        """Exchange weights and averages."""
        weights = self._parameters.averaged()
        for name, average in self._arrays.items():
            array = weights[name]
            average[...], array[...] = array.copy(), average.copy()

    def state(self) -> Weights:
        """Copies by key, each with the slot `average`, and the number of steps."""
        if not self._optimizer.average:
            return {}
        copies = {key: self._view(key).copy() for key in self._parameters.slices}
        copies |= {key: array.copy() for key, array in self._arrays.items() if key}
        return {join(key, "average"): array for key, array in copies.items()} | {
            "average.step": np.array(self._steps, np.float32)
        }

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from `state`."""
        if not self._optimizer.average:
            return
        for name, array in state.items():
            key = name.removesuffix(".average")
            if key != name:
                self._view(key)[...] = array
        self._steps = int(state.get("average.step", 0))

    def _view(self, key: str) -> Array:
        in_flat = key in self._parameters.slices
        return self._parameters.view(self._arrays[""], key) if in_flat else self._arrays[key]
