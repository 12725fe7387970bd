"""The formulas of layers that have no weights, with the numbers of one unit: the result, the formula, and its terms."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, tanh
from typing import Any

import numpy as np

from neoclassic import tree as nodes
from neoclassic.engines.contract import Array
from neoclassic.measure import pooling
from neoclassic.tree import Node, unknown_layer

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


def written(value: Any) -> str:
    """A number in a formula: seven significant digits, as many as float32 has, and a true minus sign."""
    return f"{float(value):.7g}".replace("-", "−")


def single(channel: int, value: float, weight: float, product: float) -> Term:
    return Term(channel, np.array([[value]]), np.array([[weight]]), float(product))


def window(x_CHW: Array, top: int, left: int, k: int, fill: float) -> Array:
    """The C×k×k values of a window, and `fill` outside the map."""
    patch = np.full((len(x_CHW), k, k), fill)
    inside = x_CHW[:, max(top, 0) : max(top + k, 0), max(left, 0) : max(left + k, 0)]
    y, x = max(-top, 0), max(-left, 0)
    patch[:, y : y + inside.shape[1], x : x + inside.shape[2]] = inside
    return patch


def pooled(node: Node, unit: Unit, x: Array) -> tuple[float, str, list[Term]]:
    channel, row, column = unit
    if isinstance(node, nodes.AdaptiveAvgPool2d):
        spans = [
            slice(i * side // node.output_size, ceil((i + 1) * side / node.output_size))
            for i, side in zip((row, column), x.shape[1:], strict=True)
        ]
        patch = x[channel, spans[0], spans[1]]
        return mean_of(channel, patch, patch.size)
    assert isinstance(node, nodes.MaxPool2d | nodes.AvgPool2d)
    k, s, p = pooling(node)
    top, left = row * s - p, column * s - p
    patch = window(x[channel : channel + 1], top, left, k, np.nan)[0]
    if isinstance(node, nodes.MaxPool2d):
        result = float(np.nanmax(patch))
        return result, f"max(patch) = {written(result)}", [Term(channel, patch, None, result)]
    count = int((~np.isnan(patch)).sum())
    if node.count_include_pad:  # what ceil_mode adds beyond the padding does not count
        count = (min(top + k, x.shape[1] + p) - top) * (min(left + k, x.shape[2] + p) - left)
    return mean_of(channel, patch, count)


def mean_of(channel: int, patch: Array, count: int) -> tuple[float, str, list[Term]]:
    total = float(np.nansum(patch))
    return (
        total / count,
        f"Σ patch / n = {written(total)}/{count} = {written(total / count)}",
        [Term(channel, patch, None, total)],
    )


def responses(node: nodes.LocalResponseNorm, unit: Unit, x: Array) -> tuple[float, str, list[Term]]:
    first = max(unit[0] - node.size // 2, 0)
    near = x[first : unit[0] + (node.size - 1) // 2 + 1, unit[1], unit[2]]
    squares, value = float((near**2).sum()), float(x[unit])
    result = value / (node.k + node.alpha / node.size * squares) ** node.beta
    numbers = f"{written(value)}/({node.k:g} + {node.alpha:g}/{node.size}·{written(squares)})^{node.beta:g}"
    terms = [Term(first + i, np.array([[v]]), None, float(v * v)) for i, v in enumerate(near)]
    return result, f"x/(k + α/n·Σx²)^β = {numbers} = {written(result)}", terms


def activated(node: Node, path: str, x: float) -> tuple[float, str, list[Term]]:
    shifted = min(max(x + 3, 0.0), 6.0)
    match node:
        case nodes.ReLU():
            result, formula = max(x, 0.0), f"max(x, 0) = max({written(x)}, 0)"
        case nodes.ReLU6():
            result, formula = min(max(x, 0.0), 6.0), f"min(max(x, 0), 6) = min(max({written(x)}, 0), 6)"
        case nodes.Sigmoid():
            result = 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x))
            formula = f"1/(1 + e^−x), x = {written(x)}"
        case nodes.Tanh(scale, slope):
            result, formula = scale * tanh(slope * x), f"{scale:g}·tanh({slope:g}·x), x = {written(x)}"
        case nodes.Hardsigmoid():
            result, formula = shifted / 6, f"min(max(x + 3, 0), 6)/6, x = {written(x)}"
        case nodes.Hardswish():
            result, formula = x * shifted / 6, f"x·min(max(x + 3, 0), 6)/6, x = {written(x)}"
        case nodes.Dropout() | nodes.Identity():
            return x, f"x = {written(x)}", []
        case _:
            raise unknown_layer("the arithmetic of a unit", node, path)
    return result, f"{formula} = {written(result)}", []
