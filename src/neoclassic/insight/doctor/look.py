"""A look into a network: a batch of training images passes through it, forward and backward.

The network runs on a NumPy engine of its own, so the training engine is not touched.

Legend: N images, U units (the channels of a map, or the units of a flat layer), S positions of a map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neoclassic.engines.contract import Array, Weights
from neoclassic.engines.numpy import NumpyEngine
from neoclassic.measure import Measure
from neoclassic.tree import Hardsigmoid, Hardswish, Node, ReLU, ReLU6, Sigmoid, Tanh

RECTIFIERS = (ReLU, ReLU6)
FLAT = 0.02  # of its range: so near an end, the slope of a sigmoid is below 2 % of its height


@dataclass(frozen=True)
class Layer:
    """The output of an activation layer over some images.

    path, kind  its place, and "ReLU", "Sigmoid" …
    zero        share of the outputs of a ReLU that are 0
    dead        share of the units of a ReLU that are 0 for every image, at every position
    saturated   share of the outputs of a sigmoid or tanh that are within 2 % of an end of its range
    varies      how much the output differs between images: the deviation over the images, relative to the size
    """

    path: str
    kind: str
    zero: float
    dead: float
    saturated: float
    varies: float


@dataclass(frozen=True)
class Look:
    """What passed through a network with some weights.

    layers     its activation layers, in order
    logits     N×classes in inference; `trained` the same with the statistics of the batch, as in training
    loss       mean cross-entropy in nats of the training pass
    gradients  root mean square of the gradient of each weight, by the path of its layer, in the order of the network
    pixels     mean and deviation of what enters the network, and its largest absolute value
    n          images
    """

    layers: tuple[Layer, ...]
    logits: Array
    trained: Array
    labels: Array
    loss: float
    gradients: dict[str, float]
    pixels: tuple[float, float, float]

    @property
    def n(self) -> int:
        return len(self.labels)

    @property
    def varies(self) -> float:
        """How much the logits differ between images: the mean deviation over the images."""
        return float(self.logits.std(0).mean())

    @property
    def rectifiers(self) -> list[Layer]:
        """The ReLUs."""
        return [layer for layer in self.layers if layer.kind in ("ReLU", "ReLU6")]


def activations(m: Measure) -> list[tuple[str, Node]]:
    """The activation layers of a network with their paths, without those of auxiliary heads."""
    kinds = (*RECTIFIERS, Sigmoid, Tanh, Hardsigmoid, Hardswish)
    return [(row.path, row.node) for row in m.layers if isinstance(row.node, kinds) and not row.auxiliary]


def look(tree: Node, m: Measure, weights: Weights, images: Array, labels: Array) -> Look:
    """Pass images, float32 N×C×H×W as the network takes them, through it. labels: N integers."""
    engine, nodes = NumpyEngine(tree, m.input, weights), dict(activations(m))
    outputs = engine.features(images, list(nodes))
    logits = engine.logits(images)
    passed = engine.gradients(images, labels)  # changes the running statistics of this engine, which ends here
    gradients = {
        key.removesuffix(".weight"): float(np.sqrt(np.square(g, dtype=np.float64).mean()))
        for key, g in passed.weights.items()
        if key.endswith(".weight") and g.ndim > 1
    }
    return Look(
        layers=tuple(_layer(path, nodes[path], outputs[path]) for path in nodes),
        logits=logits,
        trained=passed.logits,
        labels=labels,
        loss=passed.loss,
        gradients=gradients,
        pixels=(float(images.mean()), float(images.std()), float(np.abs(images).max())),
    )


def _layer(path: str, node: Node, y: Array) -> Layer:
    y_NUS = y.reshape(*y.shape[:2], -1).astype(np.float64)
    off = y_NUS <= 0 if isinstance(node, RECTIFIERS) else np.zeros((1, 1, 1), bool)
    saturated = 0.0
    if isinstance(node, Sigmoid | Hardsigmoid | Tanh):
        low, high = (-1.0, 1.0) if isinstance(node, Tanh) else (0.0, 1.0)
        margin = FLAT * (high - low)
        saturated = float(((y_NUS < low + margin) | (y_NUS > high - margin)).mean())
    size = float(np.sqrt(np.square(y_NUS).mean()))
    varies = float(y_NUS.std(0).mean()) / size if size else 0.0
    return Layer(path, type(node).__name__, float(off.mean()), float(off.all((0, 2)).mean()), saturated, varies)
