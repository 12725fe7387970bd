"""The arithmetic of one unit: which numbers a value of a feature map is made of, and how.

Each term is what the unit reads from one input channel, and what it is multiplied by. The formula holds the numbers
themselves, and its result is compared with the value that the engine computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, exp, sqrt, tanh
from typing import Any

import numpy as np

from neoclassic import tree as nodes
from neoclassic.base.errors import UsageError, unknown
from neoclassic.engines.contract import Array, Weights
from neoclassic.measure import Measure, by, pooling
from neoclassic.tree import Combinator, Node, Sequential, at, join, unknown_layer

MOST = 64  # terms that are returned one by one: those that change the sum most
Unit = tuple[int, ...]  # (channel, row, column), or (index,) of a flat output


@dataclass(frozen=True)
class Term:
    """What a unit reads from one input channel.

    patch   k×k values; NaN is padding that does not count
    kernel  k×k weights; None if nothing is multiplied
    sum     Σ patch·kernel
    """

    channel: int
    patch: Array
    kernel: Array | None = None
    sum: float = 0.0


@dataclass(frozen=True)
class Arithmetic:
    """How one value comes about.

    value     as the engine computed it
    result    of the formula, in double precision
    formula   with the numbers
    terms     the strongest `MOST`; `others` more add `others_sum`
    field     the receptive field on the image, ((top, bottom), (left, right)); None of a flat output
    then      the layers without windows that follow: path, formula and value of each
    """

    path: str
    unit: Unit
    value: float
    result: float
    formula: str
    terms: tuple[Term, ...] = ()
    others: int = 0
    others_sum: float = 0.0
    field: tuple[tuple[int, int], ...] | None = None
    then: tuple[tuple[str, str, float], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        terms = [
            {
                "channel": term.channel,
                "patch": _listed(term.patch),
                "kernel": None if term.kernel is None else _listed(term.kernel),
                "sum": term.sum,
            }
            for term in self.terms
        ]
        return {
            "path": self.path,
            "unit": list(self.unit),
            "value": self.value,
            "result": self.result,
            "formula": self.formula,
            "terms": terms,
            "others": {"n": self.others, "sum": self.others_sum},
            "field": [list(span) for span in self.field] if self.field else None,
            "then": [{"path": path, "formula": formula, "value": value} for path, formula, value in self.then],
        }


def _listed(values: Array) -> list[list[float | None]]:
    return [[None if np.isnan(v) else float(v) for v in row] for row in values]


def arithmetic(
    m: Measure, weights: Weights, image_CHW: Array, values: Mapping[str, Array], path: str, unit: Unit
) -> Arithmetic:
    """The arithmetic of the unit of a layer, or of a Sum, Product or Concat.

    image_CHW  the network's input
    values     the output of every path for it, without the batch axis

    UsageError for an unknown path, or a unit outside its output.
    """
    return _Reader(m, weights, image_CHW, values).arithmetic(path, unit)


def source(tree: Node, path: str) -> str | None:
    """The path whose output the node at `path` reads; None if it reads the image."""
    if not path:
        return None
    parent, _, name = path.rpartition(".")
    node = at(tree, parent)
    if isinstance(node, Sequential | nodes.Auxiliary):
        before = []
        for other, child in node.children:
            if other == name:
                break
            before += [] if isinstance(child, nodes.Auxiliary) else [other]
        if before:
            return join(parent, before[-1])
    return source(tree, parent)


@dataclass(frozen=True)
class _Reader:
    m: Measure
    weights: Weights
    image: Array
    values: Mapping[str, Array]

    @property
    def tree(self) -> Node:
        return self.m.rows[0].node

    def arithmetic(self, path: str, unit: Unit) -> Arithmetic:
        known = [row.path for row in self.m.rows if row.path in self.values]
        if path not in known:
            raise unknown("path", path, known)
        shape = self.m[path].output
        if len(unit) != len(shape) or not all(0 <= i < n for i, n in zip(unit, shape, strict=True)):
            raise UsageError(f"no unit {','.join(map(str, unit))} in {path}: its output is {by(shape)}, counted from 0")
        result, formula, terms = self._result(path, unit)
        strongest = sorted(terms, key=lambda term: -abs(term.sum))[:MOST]
        fields = self.m[path].fields
        sees = None
        if len(unit) == 3:
            sides = self.m.input[1:]
            sees = tuple(f.pixels(i, side) for f, i, side in zip(fields, unit[1:], sides, strict=True))
        return Arithmetic(
            *(path, unit, float(self.values[path][unit]), result, formula),
            terms=tuple(sorted(strongest, key=lambda term: term.channel)),
            others=len(terms) - len(strongest),
            others_sum=sum(t.sum for t in terms) - sum(t.sum for t in strongest),
            field=sees,
            then=self._then(path, unit),
        )

    def _then(self, path: str, unit: Unit) -> tuple[tuple[str, str, float], ...]:
        """What becomes of the value in the layers that follow and read nothing but it."""
        parent = path.rpartition(".")[0]
        around = at(self.tree, parent)
        siblings = around.children if path and isinstance(around, Sequential) else ()
        following = [(join(parent, name), child) for name, child in siblings]
        start = next((i for i, (other, _) in enumerate(following, 1) if other == path), len(following))
        steps = []
        for other, child in following[start:]:
            if not isinstance(child, _ELEMENTWISE):
                break
            steps.append((other, self._result(other, unit)[1], float(self.values[other][unit])))
        return tuple(steps)

    def _input(self, path: str) -> Array:
        before = source(self.tree, path)
        return self.image if before is None else self.values[before]

    def _result(self, path: str, unit: Unit) -> tuple[float, str, list[Term]]:
        """The result, the formula and the terms of a unit."""
        node, row = at(self.tree, path), self.m[path]
        if isinstance(node, Combinator):
            return self._merged(node, path, unit)
        x = self._input(path).astype(np.float64)
        match node:
            case nodes.Conv2d() | nodes.Linear():
                return self._weighted(node, path, unit, x)
            case nodes.BatchNorm2d():
                return self._normalised(node, path, unit, x)
            case nodes.MaxPool2d() | nodes.AvgPool2d() | nodes.AdaptiveAvgPool2d():
                return _pooled(node, unit, x)
            case nodes.LocalResponseNorm():
                return _responses(node, unit, x)
            case nodes.RBF(prototypes):
                w = np.array(prototypes[unit[0]], np.float64)
                terms = [_single(i, a, b, -((a - b) ** 2)) for i, (a, b) in enumerate(zip(x, w, strict=True))]
                result = sum(term.sum for term in terms)
                return result, f"−Σ(x − w)² = {_n(result)}", terms
            case nodes.Flatten():
                place = tuple(int(i) for i in np.unravel_index(unit[0], row.input))
                return float(x[place]), f"x[{', '.join(map(str, place))}] = {_n(x[place])}", []
            case nodes.Select(channels):
                chosen = (channels[unit[0]], *unit[1:])
                return float(x[chosen]), f"x[{', '.join(map(str, chosen))}] = {_n(x[chosen])}", []
            case nodes.PadChannels():
                value = float(x[unit]) if unit[0] < len(x) else 0.0
                return value, _n(value), []
        return _activated(node, path, float(x[unit]))

    def _weighted(self, node: Node, path: str, unit: Unit, x: Array) -> tuple[float, str, list[Term]]:
        """Σ patch·kernel + bias."""
        weight = self.weights[join(path, "weight")][unit[0]].astype(np.float64)
        if isinstance(node, nodes.Conv2d):
            k, s, p = node.kernel_size, node.stride, node.padding
            size = len(weight)
            first = unit[0] // (node.out_channels // node.groups) * size
            patches = _window(x[first : first + size], unit[1] * s - p, unit[2] * s - p, k, 0.0)
            pairs = zip(patches, weight, strict=True)
            terms = [Term(first + i, a, b, float((a * b).sum())) for i, (a, b) in enumerate(pairs)]
        else:
            terms = [_single(i, a, b, a * b) for i, (a, b) in enumerate(zip(x, weight, strict=True))]
        total = sum(term.sum for term in terms)
        bias = self.weights.get(join(path, "bias"))
        if bias is None:
            return total, f"Σ patch·kernel = {_n(total)}", terms
        result = total + float(bias[unit[0]])
        return result, f"Σ patch·kernel + bias = {_n(total)} + {_n(bias[unit[0]])} = {_n(result)}", terms

    def _normalised(self, node: nodes.BatchNorm2d, path: str, unit: Unit, x: Array) -> tuple[float, str, list[Term]]:
        names = ("running_mean", "running_var", "weight", "bias")
        mean, var, gamma, beta = (float(self.weights[join(path, name)][unit[0]]) for name in names)
        result = (float(x[unit]) - mean) / sqrt(var + node.eps) * gamma + beta
        numbers = f"({_n(x[unit])} − {_n(mean)})/√({_n(var)} + {node.eps:g})·{_n(gamma)} + {_n(beta)}"
        return result, f"(x − mean)/√(var + ε)·γ + β = {numbers} = {_n(result)}", []

    def _merged(self, node: Combinator, path: str, unit: Unit) -> tuple[float, str, list[Term]]:
        outputs = {name: self.values[join(path, name)].astype(np.float64) for name, _ in node.children}
        if isinstance(node, nodes.Concat):
            channel = unit[0]
            for name, output in outputs.items():
                if channel < len(output):
                    place = (channel, *unit[1:])
                    return float(output[place]), f"{name}[{', '.join(map(str, place))}] = {_n(output[place])}", []
                channel -= len(output)
        if not isinstance(node, nodes.Sum | nodes.Product):  # a Sequential is its last child
            return float(self.values[path][unit]), "", []
        spread = (v[tuple(i if n > 1 else 0 for i, n in zip(unit, v.shape, strict=True))] for v in outputs.values())
        parts = [float(value) for value in spread]
        result = sum(parts) if isinstance(node, nodes.Sum) else float(np.prod(parts))
        sign = " + " if isinstance(node, nodes.Sum) else " · "
        return result, f"{sign.join(outputs)} = {sign.join(map(_n, parts))} = {_n(result)}", []


_ELEMENTWISE = (
    nodes.BatchNorm2d,
    nodes.Dropout,
    nodes.Hardsigmoid,
    nodes.Hardswish,
    nodes.Identity,
    nodes.ReLU,
    nodes.ReLU6,
    nodes.Sigmoid,
    nodes.Tanh,
)


def _n(value: Any) -> str:
    """A number in a formula: seven significant digits, as many as float32 has, and a true minus sign."""
    return f"{float(value):.7g}".replace("-", "−")


def _single(channel: int, value: float, weight: float, product: float) -> Term:
    return Term(channel, np.array([[value]]), np.array([[weight]]), float(product))


def _window(x_CHW: Array, top: int, left: int, k: int, fill: float) -> Array:
    """The C×k×k values of a window, and `fill` outside the map."""
    patch = np.full((len(x_CHW), k, k), fill)
    inside = x_CHW[:, max(top, 0) : max(top + k, 0), max(left, 0) : max(left + k, 0)]
    y, x = max(-top, 0), max(-left, 0)
    patch[:, y : y + inside.shape[1], x : x + inside.shape[2]] = inside
    return patch


def _pooled(node: Node, unit: Unit, x: Array) -> tuple[float, str, list[Term]]:
    channel, row, column = unit
    if isinstance(node, nodes.AdaptiveAvgPool2d):
        spans = [
            slice(i * side // node.output_size, ceil((i + 1) * side / node.output_size))
            for i, side in zip((row, column), x.shape[1:], strict=True)
        ]
        patch = x[channel, spans[0], spans[1]]
        return _mean(channel, patch, patch.size)
    assert isinstance(node, nodes.MaxPool2d | nodes.AvgPool2d)
    k, s, p = pooling(node)
    top, left = row * s - p, column * s - p
    patch = _window(x[channel : channel + 1], top, left, k, np.nan)[0]
    if isinstance(node, nodes.MaxPool2d):
        result = float(np.nanmax(patch))
        return result, f"max(patch) = {_n(result)}", [Term(channel, patch, None, result)]
    count = int((~np.isnan(patch)).sum())
    if node.count_include_pad:  # what ceil_mode adds beyond the padding does not count
        count = (min(top + k, x.shape[1] + p) - top) * (min(left + k, x.shape[2] + p) - left)
    return _mean(channel, patch, count)


def _mean(channel: int, patch: Array, count: int) -> tuple[float, str, list[Term]]:
    total = float(np.nansum(patch))
    return (
        total / count,
        f"Σ patch / n = {_n(total)}/{count} = {_n(total / count)}",
        [Term(channel, patch, None, total)],
    )


def _responses(node: nodes.LocalResponseNorm, unit: Unit, x: Array) -> tuple[float, str, list[Term]]:
    first = max(unit[0] - node.size // 2, 0)
    near = x[first : unit[0] + (node.size - 1) // 2 + 1, unit[1], unit[2]]
    squares, value = float((near**2).sum()), float(x[unit])
    result = value / (node.k + node.alpha / node.size * squares) ** node.beta
    numbers = f"{_n(value)}/({node.k:g} + {node.alpha:g}/{node.size}·{_n(squares)})^{node.beta:g}"
    terms = [Term(first + i, np.array([[v]]), None, float(v * v)) for i, v in enumerate(near)]
    return result, f"x/(k + α/n·Σx²)^β = {numbers} = {_n(result)}", terms


def _activated(node: Node, path: str, x: float) -> tuple[float, str, list[Term]]:
    shifted = min(max(x + 3, 0.0), 6.0)
    match node:
        case nodes.ReLU():
            result, formula = max(x, 0.0), f"max(x, 0) = max({_n(x)}, 0)"
        case nodes.ReLU6():
            result, formula = min(max(x, 0.0), 6.0), f"min(max(x, 0), 6) = min(max({_n(x)}, 0), 6)"
        case nodes.Sigmoid():
            result = 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x))
            formula = f"1/(1 + e^−x), x = {_n(x)}"
        case nodes.Tanh(scale, slope):
            result, formula = scale * tanh(slope * x), f"{scale:g}·tanh({slope:g}·x), x = {_n(x)}"
        case nodes.Hardsigmoid():
            result, formula = shifted / 6, f"min(max(x + 3, 0), 6)/6, x = {_n(x)}"
        case nodes.Hardswish():
            result, formula = x * shifted / 6, f"x·min(max(x + 3, 0), 6)/6, x = {_n(x)}"
        case nodes.Dropout() | nodes.Identity():
            return x, f"x = {_n(x)}", []
        case _:
            raise unknown_layer("the arithmetic of a unit", node, path)
    return result, f"{formula} = {_n(result)}", []
