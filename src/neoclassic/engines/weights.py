"""Initial weights, drawn once for every engine, and the check that weights belong to a network.

Each array is drawn from its own stream, keyed by the seed and its path, so that adding a layer does not
change the draw of another.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from math import prod, sqrt

import numpy as np

from neoclassic.engines.contract import Array, Weights
from neoclassic.errors import NeoclassicError, unknown
from neoclassic.measure import Shape, measure
from neoclassic.tree import Node, join


def shapes(tree: Node, input: Shape) -> dict[str, Shape]:
    """Every array of a network by `path.parameter`: parameters, then statistics, layer by layer."""
    rows = measure(tree, input).layers
    return {join(r.path, k): s for r in rows for k, s in (r.parameter_shapes | r.statistic_shapes).items()}


def _fans(shape: Shape) -> tuple[int, int]:
    field = prod(shape[2:])
    return shape[1] * field, shape[0] * field


def _uniform(rng: np.random.Generator, bound: float, shape: Shape) -> Array:
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def _xavier_uniform(rng: np.random.Generator, shape: Shape) -> Array:
    return _uniform(rng, sqrt(6 / sum(_fans(shape))), shape)


def _he_normal(rng: np.random.Generator, shape: Shape) -> Array:
    return (rng.standard_normal(shape, np.float32) * np.float32(sqrt(2 / _fans(shape)[0]))).astype(np.float32)


def _torch_default(rng: np.random.Generator, shape: Shape) -> Array:
    return _uniform(rng, 1 / sqrt(_fans(shape)[0]), shape)


# name: (how a weight is drawn, whether biases are drawn from U(±1/√fan_in), torch's default, or zero)
INITIALISATIONS: dict[str, tuple[Callable[[np.random.Generator, Shape], Array], bool]] = {
    "torch": (_torch_default, True),  # kaiming_uniform_(a=√5) of torch.nn.Conv2d and Linear
    "xavier": (_xavier_uniform, False),  # Glorot & Bengio 2010, uniform
    "xavier-taught": (_xavier_uniform, True),  # the same, biases left at torch's default, as d2l does
    "he": (_he_normal, False),  # He et al. 2015, arXiv 1502.01852, normal, fan-in
}


def initial(tree: Node, input: Shape, scheme: str = "he", seed: int = 0) -> Weights:
    """Fresh weights: convolutions and linear layers by the scheme; norms 1 and 0; statistics 0 and 1."""
    if scheme not in INITIALISATIONS:
        raise unknown("initialisation", scheme, INITIALISATIONS)
    draw, draw_bias = INITIALISATIONS[scheme]
    weights: Weights = {}
    for row in measure(tree, input).layers:
        wide = row.parameter_shapes.get("weight", ())
        for name, shape in (row.parameter_shapes | row.statistic_shapes).items():
            key = join(row.path, name)
            rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
            if len(shape) > 1:
                weights[key] = draw(rng, shape)
            elif name == "bias" and len(wide) > 1 and draw_bias:
                weights[key] = _uniform(rng, 1 / sqrt(_fans(wide)[0]), shape)
            else:
                one = name == "running_var" or (name == "weight" and len(wide) == 1)
                weights[key] = np.full(shape, float(one), np.float32)
    return weights


def check(tree: Node, input: Shape, weights: Mapping[str, Array]) -> None:
    """NeoclassicError listing what is missing, surplus or of another shape than the network's."""
    wanted = shapes(tree, input)
    faults = [f"missing {k}" for k in wanted if k not in weights]
    faults += [f"surplus {k}" for k in weights if k not in wanted]
    faults += [
        f"{k} is {tuple(weights[k].shape)}, not {shape}"
        for k, shape in wanted.items()
        if k in weights and tuple(weights[k].shape) != shape
    ]
    if faults:
        more = f" and {len(faults) - 8} more" if len(faults) > 8 else ""
        raise NeoclassicError(f"the weights do not fit the network: {'; '.join(faults[:8])}{more}")
