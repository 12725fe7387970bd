"""Initial weights, drawn in one way for all engines, and the check that weights belong to a network.

Each array has its own random stream, keyed by the seed and its path, so adding a layer does not change the weights of
another.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np

from neoclassic.base.errors import NeoclassicError, unknown
from neoclassic.engines.contract import Array, Weights
from neoclassic.measure import Shape, measure
from neoclassic.tree import BatchNorm2d, Conv2d, Linear, Node, join, unknown_layer, walk


def shapes(tree: Node, input: Shape) -> dict[str, Shape]:
    """The shape of every array by `path.parameter`: parameters, then statistics, layer by layer."""
    rows = measure(tree, input).layers
    return {join(r.path, k): s for r in rows for k, s in (r.parameter_shapes | r.statistic_shapes).items()}


# entries of a state dict that are not weights: torch and tools for it add these counters
COUNTERS = ("num_batches_tracked", "n_averaged", "total_ops", "total_params")


def counts(key: str) -> bool:
    """Whether a key of a state dict is the name of a counter."""
    return key.rpartition(".")[2] in COUNTERS


def parameters(tree: Node, input: Shape) -> list[str]:
    """The keys of the trained arrays, `path.parameter`."""
    return list(parameter_shapes(tree, input))


def parameter_shapes(tree: Node, input: Shape) -> dict[str, Shape]:
    """The shape of every trained array by `path.parameter`, layer by layer."""
    return {
        join(row.path, k): shape for row in measure(tree, input).layers for k, shape in row.parameter_shapes.items()
    }


def frozen_norms(tree: Node, frozen: Container[str]) -> set[str]:
    """The batch norms whose weight and bias are both frozen.

    In training they normalise by their running statistics, as in inference, and do not change these."""
    norms = [path for path, node in walk(tree) if isinstance(node, BatchNorm2d)]
    return {path for path in norms if join(path, "weight") in frozen and join(path, "bias") in frozen}


def _fans(shape: Shape) -> tuple[int, int]:
    """Fan-in and fan-out of a weight."""
    window = prod(shape[2:])
    return shape[1] * window, shape[0] * window


# ── how one array is drawn ───────────────────────────────────────────────────────────────────────────

Draw = Callable[[np.random.Generator, Shape], Array]  # draws a weight of this shape


def _uniform(rng: np.random.Generator, bound: float, shape: Shape) -> Array:
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def _normal(rng: np.random.Generator, deviation: float, shape: Shape) -> Array:
    return (rng.standard_normal(shape, np.float32) * np.float32(deviation)).astype(np.float32)


def _xavier_uniform(rng: np.random.Generator, shape: Shape) -> Array:
    return _uniform(rng, sqrt(6 / sum(_fans(shape))), shape)


def _xavier_normal(rng: np.random.Generator, shape: Shape) -> Array:
    return _normal(rng, sqrt(2 / sum(_fans(shape))), shape)


def _he_normal(rng: np.random.Generator, shape: Shape) -> Array:
    return _normal(rng, sqrt(2 / _fans(shape)[0]), shape)


def _he_fan_out(rng: np.random.Generator, shape: Shape) -> Array:
    return _normal(rng, sqrt(2 / _fans(shape)[1]), shape)


def _torch_default(rng: np.random.Generator, shape: Shape) -> Array:
    return _uniform(rng, 1 / sqrt(_fans(shape)[0]), shape)


def _lenet(rng: np.random.Generator, shape: Shape) -> Array:
    return _uniform(rng, 2.4 / _fans(shape)[0], shape)


def _alexnet(rng: np.random.Generator, shape: Shape) -> Array:
    return _normal(rng, 0.01, shape)


def _vgg(rng: np.random.Generator, shape: Shape) -> Array:
    return _normal(rng, 0.1, shape)


def _mobilenet(rng: np.random.Generator, shape: Shape) -> Array:
    drawn = rng.standard_normal(shape, np.float32)
    while (outside := np.abs(drawn) > 2).any():
        drawn[outside] = rng.standard_normal(int(outside.sum()), np.float32)
    return (drawn * np.float32(0.09)).astype(np.float32)


# ── schemes ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Scheme:
    """An initialisation of weights and biases.

    draw          how weights are drawn
    torch_biases  whether biases are drawn like torch's default, U(±1/√fan_in); otherwise they are 0
    ones          layers whose biases are 1
    last          added to the biases of the last layer. A softmax ignores it, as it is equal for all classes; a ReLU
                  after that layer, as in the course's NiN, stays active
    """

    draw: Draw
    torch_biases: bool = False
    ones: tuple[str, ...] = ()
    last: float = 0.0


INITIALISATIONS: dict[str, Scheme] = {
    "torch": Scheme(_torch_default, torch_biases=True),  # kaiming_uniform_(a=√5) of torch.nn.Conv2d and Linear
    "xavier": Scheme(_xavier_uniform),  # Glorot & Bengio 2010, uniform
    "xavier-normal": Scheme(_xavier_normal),  # the same with a normal distribution
    "xavier-taught": Scheme(_xavier_uniform, torch_biases=True),  # with torch's default biases, as in d2l
    "he": Scheme(_he_normal),  # He et al. 2015, arXiv 1502.01852, normal, fan-in: ResNet
    "he-fan-out": Scheme(_he_fan_out),  # the same by fan-out: the authors' code of ResNet and DenseNet
    "he-open": Scheme(_he_normal, last=5.0),  # the same for networks that end with a ReLU
    "lenet-1998": Scheme(_lenet),  # LeCun et al. 1998, appendix A: U(±2.4/fan_in)
    "alexnet-2012": Scheme(_alexnet, ones=("conv2", "conv4", "conv5", "fc1", "fc2")),  # section 5: N(0, 0.01²)
    "vgg-2014": Scheme(_vgg),  # section 3.1: normal with variance 0.01
    "mobilenet": Scheme(_mobilenet),  # the authors' code: N(0, 0.09²), truncated at two standard deviations
}


def initial(tree: Node, input: Shape, scheme: str = "he", seed: int = 0) -> Weights:
    """Initial weights: convolutions and linear layers by the scheme; norms with weight 1, bias 0, mean 0, variance 1.

    Raises UsageError for an unknown scheme."""
    if scheme not in INITIALISATIONS:
        raise unknown("initialisation", scheme, INITIALISATIONS)
    how = INITIALISATIONS[scheme]
    weights: Weights = {}
    for row in measure(tree, input).layers:
        shapes_by_name = row.parameter_shapes | row.statistic_shapes
        if shapes_by_name and not isinstance(row.node, Conv2d | Linear | BatchNorm2d):
            raise unknown_layer("the initialisation of weights", row.node, row.path)
        weight = row.parameter_shapes.get("weight", ())
        for name, shape in shapes_by_name.items():
            key = join(row.path, name)
            rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
            if len(shape) > 1:
                weights[key] = how.draw(rng, shape)
            elif name == "bias" and len(weight) > 1 and how.torch_biases:
                weights[key] = _uniform(rng, 1 / sqrt(_fans(weight)[0]), shape)
            else:
                scale = name == "running_var" or (name == "weight" and len(weight) == 1)
                one = scale or (name == "bias" and row.path in how.ones)
                weights[key] = np.full(shape, float(one), np.float32)
    if how.last:
        for bias in [key for key in weights if key.endswith(".bias")][-1:]:  # empty if no layer has a bias
            weights[bias] += np.float32(how.last)
    return weights


def check_state(tree: Node, input: Shape, state: Mapping[str, Array]) -> None:
    """Raise NeoclassicError for an array of an update rule's state that does not fit the network."""
    expected, trained = shapes(tree, input), set(parameters(tree, input))
    for key, array in state.items():
        name, _, slot = key.rpartition(".")
        counts_steps = slot == "step" and (name == "average" or name in trained)
        wanted = () if counts_steps else expected.get(name) if slot == "average" or name in trained else None
        if tuple(array.shape) != wanted or (counts_steps and not np.isfinite(array)):
            raise NeoclassicError(f"the state of the optimizer does not fit the network: {key} is {array.shape}")


def check(tree: Node, input: Shape, weights: Mapping[str, Array]) -> None:
    """Raise NeoclassicError with a list of the arrays that are missing, surplus or of another shape."""
    expected = shapes(tree, input)
    faults = [f"missing {k}" for k in expected if k not in weights]
    faults += [f"surplus {k}" for k in weights if k not in expected]
    faults += [
        f"{k} is {tuple(weights[k].shape)}, not {shape}"
        for k, shape in expected.items()
        if k in weights and tuple(weights[k].shape) != shape
    ]
    if faults:
        more = f" and {len(faults) - 8} more" if len(faults) > 8 else ""
        raise NeoclassicError(f"the weights do not fit the network: {'; '.join(faults[:8])}{more}")
