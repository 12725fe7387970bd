"""Update rules with torch.optim's semantics, in place, for any part of the flat arrays that hold all parameters.

w are the parameters and g their gradients, which a rule overwrites. t is the number of the step, from 1. lr and decay
are numbers, or arrays like w.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np

from neoclassic.base.errors import unknown
from neoclassic.engines.contract import Array, Optimizer

Slots = dict[str, Array]  # the state of a rule for each parameter, by torch's names
Number = float | Array  # one for all parameters, or one for each
Update = Callable[[Optimizer, Number, Number, int, Array, Array, Slots], None]


def sgd(rule: Optimizer, lr: Number, decay: Number, t: int, w: Array, g: Array, slots: Slots) -> None:
    """v ← momentum · v + g;   w ← w − lr · v, or with Nesterov momentum w − lr · (g + momentum · v)."""
    _decay(decay, w, g)
    if rule.momentum:
        v = slots["momentum_buffer"]
        v *= rule.momentum
        v += g
        if rule.nesterov:
            g += rule.momentum * v
        else:
            np.copyto(g, v)
    g *= lr
    w -= g


def adam(rule: Optimizer, lr: Number, decay: Number, t: int, w: Array, g: Array, slots: Slots) -> None:
    """m ← β₁ m + (1−β₁) g;   v ← β₂ v + (1−β₂) g²;   w ← w − lr · m̂ / (√v̂ + eps).   Kingma & Ba 2015."""
    _decay(decay, w, g)
    _adam(rule, lr, t, w, g, slots)


def adamw(rule: Optimizer, lr: Number, decay: Number, t: int, w: Array, g: Array, slots: Slots) -> None:
    """w ← w − lr · decay · w, then Adam's step.   Loshchilov & Hutter 2019."""
    w *= 1 - lr * decay
    _adam(rule, lr, t, w, g, slots)


def _adam(rule: Optimizer, lr: Number, t: int, w: Array, g: Array, slots: Slots) -> None:
    m, v = slots["exp_avg"], slots["exp_avg_sq"]
    b1, b2 = rule.betas
    m *= b1
    m += (1 - b1) * g
    g *= g
    g *= 1 - b2
    v *= b2
    v += g
    np.sqrt(v, out=g)
    g /= sqrt(1 - b2**t)
    g += rule.eps
    np.divide(m, g, out=g)
    g *= lr / (1 - b1**t)
    w -= g


def adagrad(rule: Optimizer, lr: Number, decay: Number, t: int, w: Array, g: Array, slots: Slots) -> None:
    """s ← s + g²;   w ← w − lr · g / (√s + eps).   Duchi, Hazan & Singer 2011."""
    _decay(decay, w, g)
    slots["sum"] += g * g
    g *= lr
    g /= np.sqrt(slots["sum"]) + rule.eps
    w -= g


def rmsprop(rule: Optimizer, lr: Number, decay: Number, t: int, w: Array, g: Array, slots: Slots) -> None:
    """s ← alpha · s + (1−alpha) · g²;   v ← momentum · v + g / (√s + eps);   w ← w − lr · v.   Hinton 2012."""
    _decay(decay, w, g)
    s = slots["square_avg"]
    s *= rule.alpha
    s += (1 - rule.alpha) * (g * g)
    g /= np.sqrt(s) + rule.eps
    if rule.momentum:
        v = slots["momentum_buffer"]
        v *= rule.momentum
        v += g
        np.copyto(g, v)
    g *= lr
    w -= g


def _decay(decay: Number, w: Array, g: Array) -> None:
    if np.ndim(decay) or decay:
        g += decay * w


# name: (rule, slots, whether torch keeps a step count for it)
RULES: dict[str, tuple[Update, tuple[str, ...], bool]] = {
    "sgd": (sgd, (), False),
    "adam": (adam, ("exp_avg", "exp_avg_sq"), True),
    "adamw": (adamw, ("exp_avg", "exp_avg_sq"), True),
    "adagrad": (adagrad, ("sum",), True),
    "rmsprop": (rmsprop, ("square_avg",), True),
}


def slots_of(rule: Optimizer) -> tuple[str, ...]:
    """The slots of an optimizer, without the step count. Raises UsageError for an unknown optimizer."""
    if rule.name not in RULES:
        raise unknown("optimizer", rule.name, RULES)
    momentum = ("momentum_buffer",) if rule.momentum and rule.name in ("sgd", "rmsprop") else ()
    return RULES[rule.name][1] + momentum
