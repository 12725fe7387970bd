"""Moving averages of weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from neoclassic.engines.contract import Array, Optimizer, Weights
from neoclassic.engines.torch.tensors import to_array


class ExponentialMovingAverage:
    """The average of each parameter and statistic in `state`, by name. It follows the tensors themselves."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = dict(state)
        self.averages = {name: tensor.clone() for name, tensor in state.items()}
        self.steps = 0

    def update(self, rule: Optimizer) -> None:
        """Average in the tensors as they are after a step."""
        if self.averages:
            self.steps += 1
            with torch.no_grad():
                weight = 1 - rule.keeps(self.steps)
                torch._foreach_lerp_(list(self.averages.values()), list(self.state.values()), weight)

    def swap(self) -> None:
        """Exchange the tensors and their averages."""
        with torch.no_grad():
            for name, average in self.averages.items():
                before = self.state[name].clone()
                self.state[name].copy_(average)
                average.copy_(before)

    def arrays(self) -> Weights:
        """The averages as `{name.average: array}`, and the number of steps as `average.step`."""
        if not self.averages:
            return {}
        arrays = {f"{name}.average": to_array(average) for name, average in self.averages.items()}
        return arrays | {"average.step": np.array(self.steps, np.float32)}

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Continue from `arrays`; other keys are ignored."""
        self.steps = int(arrays.get("average.step", 0))
        for key, array in arrays.items():
            name, _, slot = key.rpartition(".")
            if slot == "average":
                self.averages[name].copy_(torch.from_numpy(np.array(array)))
