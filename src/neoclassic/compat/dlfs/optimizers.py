"""The book's six optimizers. `update(params, grads)` takes a step by PyTorch's rules.

Arrays are changed in place; plain numbers, and arrays of whole numbers, are replaced by floats.

eps has the book's value, 1e-7, and PyTorch's place in the formula.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import numpy as np

from neoclassic.base.errors import UsageError
from neoclassic.engines.contract import Array, Optimizer
from neoclassic.engines.numpy import optimizers

EPS = 1e-7


class _Rule:
    def __init__(self, lr: float, rule: Optimizer) -> None:
        self.lr = lr
        self._rule = rule
        self._update = optimizers.RULES[rule.name][0]
        self._slots: dict[str, dict[str, Array]] = {}
        self._t = 0

    def update(self, params: MutableMapping[str, Any], grads: Mapping[str, Any]) -> None:
        """Take one step. `grads` is not changed. UsageError if a parameter has no gradient."""
        if missing := [key for key in params if key not in grads]:
            raise UsageError(f"there is no gradient of {missing[0]!r}")
        self._t += 1
        for key, value in params.items():
            in_place = isinstance(value, np.ndarray) and value.dtype.kind == "f"
            w = value if in_place else np.asarray(value + np.zeros(np.shape(grads[key])))
            names = optimizers.slots_of(self._rule)
            slots = self._slots.setdefault(key, {name: np.zeros_like(w) for name in names})
            self._update(self._rule, self.lr, 0.0, self._t, w, np.array(grads[key], w.dtype), slots)
            if not in_place:
                params[key] = w if w.ndim else float(w)


class SGD(_Rule):
    """w ← w − lr · g."""

    def __init__(self, lr: float = 0.01) -> None:
        super().__init__(lr, Optimizer("sgd"))


class Momentum(_Rule):
    """v ← momentum · v + g;   w ← w − lr · v."""

    def __init__(self, lr: float = 0.01, momentum: float = 0.9) -> None:
        super().__init__(lr, Optimizer("sgd", momentum=momentum))


class Nesterov(_Rule):
    """v ← momentum · v + g;   w ← w − lr · (g + momentum · v).   Bengio et al. 2012, arXiv 1212.0901."""

    def __init__(self, lr: float = 0.01, momentum: float = 0.9) -> None:
        super().__init__(lr, Optimizer("sgd", momentum=momentum, nesterov=True))


class AdaGrad(_Rule):
    """h ← h + g²;   w ← w − lr · g / (√h + eps)."""

    def __init__(self, lr: float = 0.01) -> None:
        super().__init__(lr, Optimizer("adagrad", eps=EPS))


class RMSprop(_Rule):
    """h ← decay_rate · h + (1 − decay_rate) · g²;   w ← w − lr · g / (√h + eps)."""

    def __init__(self, lr: float = 0.01, decay_rate: float = 0.99) -> None:
        super().__init__(lr, Optimizer("rmsprop", alpha=decay_rate, eps=EPS))


class Adam(_Rule):
    """Kingma & Ba 2015, arXiv 1412.6980, with bias correction."""

    def __init__(self, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999) -> None:
        super().__init__(lr, Optimizer("adam", betas=(beta1, beta2), eps=EPS))
