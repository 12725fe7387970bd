"""The state of an optimizer: what its rule remembers of each parameter, its step count, and the averages."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from neoclassic.engines.contract import Array, Optimizer, Weights
from neoclassic.engines.numpy import optimizers
from neoclassic.engines.numpy.averages import Averages
from neoclassic.engines.numpy.parameters import Parameters
from neoclassic.tree import join


class Update:
    """An optimizer applied to the parameters of a network.

    rates: factors of the learning rate by key; 1 for a parameter that is not named. Raises UsageError for an unknown
    optimizer.
    """

    def __init__(self, optimizer: Optimizer, parameters: Parameters, rates: Mapping[str, float]) -> None:
        self.optimizer, self._parameters = optimizer, parameters
        self._slots = {slot: np.zeros_like(parameters.flat) for slot in optimizers.slots_of(optimizer)}
        self._steps = 0
        self._rates = parameters.spread({key: rates.get(key, 1.0) for key in parameters.slices}, 1.0)
        decay, decay_all = optimizer.weight_decay, optimizer.decay_all
        decays = {key: decay * (decay_all or len(parameters.shapes[key]) > 1) for key in parameters.slices}
        self._decays = parameters.spread(decays, decay)
        self.averages = Averages(optimizer, parameters)

    def start_step(self, learning_rate: float) -> Callable[[slice], None]:
        """Start a step. The function that is returned updates one block of the flat array from its gradients."""
        self._steps += 1
        optimizer, parameters = self.optimizer, self._parameters
        rule = optimizers.RULES[optimizer.name][0]

        def apply(block: slice) -> None:
            slots = {name: slot[block] for name, slot in self._slots.items()}
            rate = learning_rate if self._rates is None else learning_rate * self._rates[block]
            decay = optimizer.weight_decay if self._decays is None else self._decays[block]
            gradients = parameters.gradients[0][block]
            rule(optimizer, rate, decay, self._steps, parameters.flat[block], gradients, slots)

        return apply

    def state(self) -> Weights:
        """What the rule remembers, as `{path.parameter.slot: array}` with torch's slot names; empty before a step."""
        if not self._steps:
            return {}
        keys = self._parameters.slices
        state = {
            join(key, name): self._parameters.view(slot, key).copy()
            for name, slot in self._slots.items()
            for key in keys
        }
        if optimizers.RULES[self.optimizer.name][2]:
            state |= {join(key, "step"): np.array(self._steps, np.float32) for key in keys}
        return state | self.averages.state()

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Continue from `state`."""
        for name, slot in self._slots.items():
            slot[...] = 0
            for key in self._parameters.slices:
                if join(key, name) in state:
                    self._parameters.view(slot, key)[...] = state[join(key, name)]
        self.averages.load_state(state)
        rule = {key: value for key, value in state.items() if not key.endswith(".average") and key != "average.step"}
        self._steps = max((int(value) for key, value in rule.items() if key.endswith(".step")), default=int(bool(rule)))
