"""What an engine is: the one contract that numpy and torch keep, and that training and tests rely on.

Images go in as float32 arrays, N×C×H×W, already preprocessed; labels as integers, N, or as targets, N×classes,
whose loss is −Σ t·log softmax(logits): smoothed and mixed labels and the weights of classes are targets. Weights
go in and out as `{path.parameter: array}` in torch's layouts (`conv1.weight` is O×I×H×W), running statistics among
them (`bn1.running_mean`). The same weights and the same batch give the same logits, gradients and updated weights
in every engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from neoclassic.measure import Shape
from neoclassic.tree import Node

Array = np.ndarray
Weights = dict[str, Array]
OPTIMIZERS = ("sgd", "adam", "adamw", "adagrad", "rmsprop")


@dataclass(frozen=True)
class Optimizer:
    """An update rule with its constants, as torch.optim defines them; the learning rate comes with each step.

    name          one of OPTIMIZERS
    momentum      sgd: v ← momentum·v + g; w ← w − lr·v
    nesterov      sgd: w ← w − lr·(g + momentum·v), v already updated
    betas, eps    adam: Kingma & Ba 2015, bias-corrected; eps is added to √v̂
    alpha         rmsprop: what the mean square keeps of itself
    weight_decay  adds weight_decay·w to the gradient; adamw: shrinks w by lr·weight_decay instead
    decay_all     weight decay for biases and norms too; else for the weights of convolutions and linear layers only
    clip          the largest norm of all gradients together, which are scaled down to it; 0: any
    average       what a moving average of weights and statistics keeps of itself at a step, (1+t)/(10+t) at most in
                  the t-th; 0: none is kept
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

    def keeps(self, t: int) -> float:
        """What the average keeps of itself at step t, counted from 1."""
        return min(self.average, (1 + t) / (10 + t))


@dataclass(frozen=True)
class Metrics:
    """Sums over the images of some training steps: cross-entropy in nats, right answers, images."""

    loss_sum: float
    correct: int
    n: int

    @property
    def loss(self) -> float:
        """Mean cross-entropy, nats."""
        return self.loss_sum / max(self.n, 1)

    @property
    def accuracy(self) -> float:
        """Fraction right, 0 to 1."""
        return self.correct / max(self.n, 1)


@dataclass(frozen=True)
class Gradients:
    """One training pass without an update: mean loss, the batch's logits, and d loss / d parameter."""

    loss: float
    logits: Array
    weights: Weights


class Engine(Protocol):
    """A network that runs. `logits` and `features` run it as at test; `gradients` and `step` as in training
    (batch statistics, dropout, auxiliary heads), and move the running statistics."""

    name: str
    device: str
    tree: Node
    input: Shape

    @property
    def xp(self) -> ModuleType:
        """numpy or torch: whose functions work on what `put` returns."""
        ...

    def put(self, array: Array) -> Any:
        """The array where the engine computes; `step` takes such images and labels too."""
        ...

    def holds(self, nbytes: int) -> bool:
        """Whether so much fits beside the network where the engine computes, where that is not the host itself."""
        ...

    def join(self) -> None:
        """Train as one of several processes, each with its part of every batch. Before `optimize`."""
        ...

    def weights(self) -> Weights:
        """Copies of every parameter and statistic."""
        ...

    def load(self, weights: Mapping[str, Array]) -> None:
        """Replace them all. NeoclassicError lists what is missing, surplus or of another shape."""
        ...

    def logits(self, images: Array, exact: bool = True) -> Array:
        """N×classes, float32. Not exact: as fast as a step of training, for a look in between."""
        ...

    def features(self, images: Array, paths: Iterable[str]) -> dict[str, Array]:
        """The output of each path (layer or combinator), N×…, float32."""
        ...

    def sensitivity(self, images: Array, path: str, weights: Array) -> tuple[Array, Array]:
        """As at test: the output of a path, N×…, and the gradient of Σ weights·logits with respect to it.

        weights: N×classes; a row with a single 1 asks for that class. UsageError for a path that is not there."""
        ...

    def gradients(self, images: Array, labels: Array, masks: Mapping[str, Array] | None = None) -> Gradients:
        """Of the mean cross-entropy. `masks`: for each dropout path the kept units, N×…, as 0 and 1; drawn
        at random when omitted."""
        ...

    def optimize(self, optimizer: Optimizer, rates: Mapping[str, float] | None = None) -> None:
        """Choose the update rule, and forget the state of the last one.

        rates: by `path.parameter`, what the learning rate is multiplied with; 1 where none is named, 0 freezes. What is
        frozen has no gradient; a batch norm of which weight and bias are frozen normalises by its running statistics in
        training too, and they stand still."""
        ...

    def step(
        self,
        images: Array,
        labels: Array,
        learning_rate: float,
        seed: int = 0,
        masks: Mapping[str, Array] | None = None,
    ) -> None:
        """One update. Dropout is drawn from `seed` alone, so equal calls take equal steps."""
        ...

    def swap_average(self) -> None:
        """Exchange weights and statistics with their averages; the second time, back. Nothing where none are kept."""
        ...

    def metrics(self) -> Metrics:
        """Of the steps since the last call. May wait for the device."""
        ...

    def optimizer_state(self) -> Weights:
        """What the update rule remembers, as `{path.parameter.slot: array}`, with torch's slot names.

        Averages have the slot `average`, and the count of their steps is `average.step`."""
        ...

    def load_optimizer_state(self, state: Mapping[str, Array]) -> None:
        """Go on from `optimizer_state`."""
        ...
