"""The arithmetic of one unit: which numbers a value of a feature map is made of, and how.

Each term is what the unit reads from one input channel, and what it is multiplied by. The formula holds the numbers
themselves, and its result is compared with the value that the engine computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from neoclassic import tree as nodes
from neoclassic.base.errors import UsageError, unknown
from neoclassic.engines.contract import Array, Weights
from neoclassic.insight.formulas import Term, Unit, activated, pooled, responses, single, window, written
from neoclassic.measure import Measure, by
from neoclassic.tree import Combinator, Node, Sequential, at, join

MOST = 64  # terms that are returned one by one: those that change the sum most


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
                return pooled(node, unit, x)
            case nodes.LocalResponseNorm():
                return responses(node, unit, x)
            case nodes.RBF(prototypes):
                w = np.array(prototypes[unit[0]], np.float64)
                terms = [single(i, a, b, -((a - b) ** 2)) for i, (a, b) in enumerate(zip(x, w, strict=True))]
                result = sum(term.sum for term in terms)
                return result, f"−Σ(x − w)² = {written(result)}", terms
            case nodes.Flatten():
                place = tuple(int(i) for i in np.unravel_index(unit[0], row.input))
                return float(x[place]), f"x[{', '.join(map(str, place))}] = {written(x[place])}", []
            case nodes.Select(channels):
                chosen = (channels[unit[0]], *unit[1:])
                return float(x[chosen]), f"x[{', '.join(map(str, chosen))}] = {written(x[chosen])}", []
            case nodes.PadChannels():
                value = float(x[unit]) if unit[0] < len(x) else 0.0
                return value, written(value), []
        return activated(node, path, float(x[unit]))

    def _weighted(self, node: Node, path: str, unit: Unit, x: Array) -> tuple[float, str, list[Term]]:
        """Σ patch·kernel + bias."""
        weight = self.weights[join(path, "weight")][unit[0]].astype(np.float64)
        if isinstance(node, nodes.Conv2d):
            k, s, p = node.kernel_size, node.stride, node.padding
            size = len(weight)
            first = unit[0] // (node.out_channels // node.groups) * size
            patches = window(x[first : first + size], unit[1] * s - p, unit[2] * s - p, k, 0.0)
            pairs = zip(patches, weight, strict=True)
            terms = [Term(first + i, a, b, float((a * b).sum())) for i, (a, b) in enumerate(pairs)]
        else:
            terms = [single(i, a, b, a * b) for i, (a, b) in enumerate(zip(x, weight, strict=True))]
        total = sum(term.sum for term in terms)
        bias = self.weights.get(join(path, "bias"))
        if bias is None:
            return total, f"Σ patch·kernel = {written(total)}", terms
        result = total + float(bias[unit[0]])
        return result, f"Σ patch·kernel + bias = {written(total)} + {written(bias[unit[0]])} = {written(result)}", terms

    def _normalised(self, node: nodes.BatchNorm2d, path: str, unit: Unit, x: Array) -> tuple[float, str, list[Term]]:
        names = ("running_mean", "running_var", "weight", "bias")
        mean, var, gamma, beta = (float(self.weights[join(path, name)][unit[0]]) for name in names)
        result = (float(x[unit]) - mean) / sqrt(var + node.eps) * gamma + beta
        centred, scaled = f"({written(x[unit])} − {written(mean)})", f"√({written(var)} + {node.eps:g})"
        numbers = f"{centred}/{scaled}·{written(gamma)} + {written(beta)}"
        return result, f"(x − mean)/√(var + ε)·γ + β = {numbers} = {written(result)}", []

    def _merged(self, node: Combinator, path: str, unit: Unit) -> tuple[float, str, list[Term]]:
        outputs = {name: self.values[join(path, name)].astype(np.float64) for name, _ in node.children}
        if isinstance(node, nodes.Concat):
            channel = unit[0]
            for name, output in outputs.items():
                if channel < len(output):
                    place = (channel, *unit[1:])
                    return float(output[place]), f"{name}[{', '.join(map(str, place))}] = {written(output[place])}", []
                channel -= len(output)
        if not isinstance(node, nodes.Sum | nodes.Product):  # a Sequential is its last child
            return float(self.values[path][unit]), "", []
        spread = (v[tuple(i if n > 1 else 0 for i, n in zip(unit, v.shape, strict=True))] for v in outputs.values())
        parts = [float(value) for value in spread]
        result = sum(parts) if isinstance(node, nodes.Sum) else float(np.prod(parts))
        sign = " + " if isinstance(node, nodes.Sum) else " · "
        return result, f"{sign.join(outputs)} = {sign.join(map(written, parts))} = {written(result)}", []


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
