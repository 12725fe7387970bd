"""The engine contract: what the numpy and torch engines implement, and what training and tests rely on.

Images are float32 arrays, N×C×H×W, already preprocessed. Labels are N integers, or targets N×classes with the loss
−Σ t·log softmax(logits): smoothed labels, mixed labels and class weights are targets. Weights are
`{path.parameter: array}` in torch's layouts (`conv1.weight` is O×I×H×W), including running statistics
(`bn1.running_mean`). The same weights and the same batch give the same logits, gradients and updated weights in every
engine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol, Self

import numpy as np

from neoclassic.base.errors import UsageError
from neoclassic.base.records import require
from neoclassic.measure import Shape
from neoclassic.tree import Node

Array = np.ndarray
Weights = dict[str, Array]
OPTIMIZERS = ("sgd", "adam", "adamw", "adagrad", "rmsprop")


@dataclass(frozen=True)
class Optimizer:
    """An update rule with its constants, as torch.optim defines them. The learning rate is an argument of each step.

    name          one of OPTIMIZERS
    momentum      sgd: v ← momentum·v + g; w ← w − lr·v
    nesterov      sgd: w ← w − lr·(g + momentum·v), v already updated
    betas, eps    adam: Kingma & Ba 2015, bias-corrected; eps is added to √v̂
    alpha         rmsprop: the decay factor of the mean square
    weight_decay  adds weight_decay·w to the gradient; adamw: shrinks w by lr·weight_decay instead
    decay_all     whether biases and norms decay too, or only the weights of convolutions and linear layers
    clip          the largest allowed norm of all gradients together; larger ones are scaled down. 0: no limit
    average       the decay factor of a moving average of weights and statistics, at most (1+t)/(10+t) in step t.
                  0: no average
    """

    name: str = "sgd"
    momentum: float = 0.0
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    alpha: float = 0.99
    decay_all: bool = True
    clip: float = 0.0
    average: float = 0.0

    def checked(self) -> Self:
        """Return the rule itself. UsageError, one line, for an impossible constant."""
        given: Any
        for what, given, possible, wish in (
            ("momentum", self.momentum, 0 <= self.momentum < 1, "in [0, 1)"),
            ("betas", self.betas, all(0 <= beta < 1 for beta in self.betas), "in [0, 1)"),
            ("alpha", self.alpha, 0 <= self.alpha < 1, "in [0, 1)"),
            ("eps", self.eps, 0 <= self.eps < math.inf, "at least 0"),
            ("weight decay", self.weight_decay, 0 <= self.weight_decay < math.inf, "at least 0"),
            ("clip", self.clip, 0 <= self.clip < math.inf, "at least 0"),
            ("average", self.average, 0 <= self.average < 1, "in [0, 1)"),
        ):
            require(what, given, possible, wish)
        if self.nesterov and not self.momentum:
            raise UsageError("nesterov needs a momentum above 0")
        return self

    def as_rule(self, name: str) -> Optimizer:
        """The rule of this name with its usual constants, but with the same clipping and averaging.

        It is this one if it has that name.
        """
        return self if name == self.name else Optimizer(name, clip=self.clip, average=self.average)

    def keeps(self, t: int) -> float:
        """The decay factor of the average at step t, counted from 1."""
        return min(self.average, (1 + t) / (10 + t))


@dataclass(frozen=True)
class Metrics:
    """Sums over the images of some training steps: cross-entropy in nats, correct answers, number of images."""

    loss_sum: float
    correct: int
    n: int

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats."""
        return self.loss_sum / max(self.n, 1)

    @property
    def accuracy(self) -> float:
        """Fraction of correct answers, 0 to 1."""
        return self.correct / max(self.n, 1)


@dataclass(frozen=True)
class Gradients:
    """The result of one training pass without an update: mean loss, logits, and d loss / d parameter."""

    loss: float
    logits: Array
    weights: Weights


class Engine(Protocol):
    """A network that runs.

    `logits`, `features` and `sensitivity` run it in inference mode. `gradients` and `step` run it in training mode
    (batch statistics, dropout, auxiliary heads) and update the running statistics."""

    name: str
    device: str
    tree: Node
    input: Shape

    @property
    def xp(self) -> ModuleType:
        """The module numpy or torch, whichever has the functions for what `put` returns."""
        ...

    def put(self, array: Array) -> Any:
        """Copy an array to the engine's device. `step` also takes such images and labels."""
        ...

    def holds(self, nbytes: int) -> bool:
        """Whether `nbytes` more fit in device memory; False on the CPU."""
        ...

    def join(self) -> None:
        """Train as one of several processes, each with its part of every batch. Call it before `optimize`."""
        ...

    def weights(self) -> Weights:
        """Copies of every parameter and statistic."""
        ...

    def load(self, weights: Mapping[str, Array]) -> None:
        """Replace all arrays. Raises NeoclassicError with a list of those missing, surplus or of another shape."""
        ...

    def logits(self, images: Array, exact: bool = True) -> Array:
        """Logits, N×classes, float32. With `exact=False` they may have the lower precision of training."""
        ...

    def features(self, images: Array, paths: Iterable[str]) -> dict[str, Array]:
        """The output of each path (layer or combinator), N×…, float32."""
        ...

    def sensitivity(self, images: Array, path: str, weights: Array) -> tuple[Array, Array]:
        """The output of a path in inference, N×…, and the gradient of Σ weights·logits with respect to it.

        weights: N×classes; a row with a single 1 selects that class. Raises UsageError for an unknown path."""
        ...

    def gradients(self, images: Array, labels: Array, masks: Mapping[str, Array] | None = None) -> Gradients:
        """The gradients of the mean cross-entropy.

        masks: for each dropout path, the kept units, N×…, as 0 and 1; drawn at random if omitted."""
        ...

    def optimize(self, optimizer: Optimizer, rates: Mapping[str, float] | None = None) -> None:
        """Choose the update rule, and discard the state of the previous one.

        rates: factors of the learning rate by `path.parameter`; 1 if not named, 0 freezes the parameter. Frozen
        parameters have no gradient. A batch norm whose weight and bias are frozen normalises by its running statistics
        in training too, and does not update them."""
        ...

    def step(
        self,
        images: Array,
        labels: Array,
        learning_rate: float,
        seed: int = 0,
        masks: Mapping[str, Array] | None = None,
    ) -> None:
        """Make one update. Dropout depends on `seed` only, so equal calls make equal updates."""
        ...

    def swap_average(self) -> None:
        """Exchange weights and statistics with their averages; a second call exchanges them back.

        Does nothing if the optimizer keeps no averages."""
        ...

    def metrics(self) -> Metrics:
        """The metrics of the steps since the last call. May wait for the device."""
        ...

    def optimizer_state(self) -> Weights:
        """The state of the update rule, as `{path.parameter.slot: array}` with torch's slot names.

        Averages have the slot `average`; their step count is `average.step`."""
        ...

    def load_optimizer_state(self, state: Mapping[str, Array]) -> None:
        """Continue from the state that `optimizer_state` returned. Raises NeoclassicError if it does not fit."""
        ...
