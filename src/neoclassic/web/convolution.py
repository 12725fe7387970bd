"""The interface behind the view Convolution: one convolution, number by number.

POST /lab/convolution  ?input=3x6x6&out=2&kernel=3&stride=1&padding=1&groups=1&step=40
                       the output, the arithmetic of one unit of it, and what the layer and its alternatives cost

The body has the input (C×H×W), the weights (O×C/groups×k×k) and the bias (O) as little-endian float32. A step is one
unit of the output: step 0 is the first of channel 0, and a step beyond the last is the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, prod
from typing import Any

import numpy as np
from starlette.datastructures import QueryParams
from starlette.responses import Response
from starlette.routing import Route

from neoclassic.base.errors import UsageError
from neoclassic.engines.contract import Array, Weights
from neoclassic.engines.numpy import NumpyEngine
from neoclassic.insight.unit import arithmetic
from neoclassic.measure import Shape, by, measure
from neoclassic.tree import Conv2d, Sequential
from neoclassic.views import arithmetic as formulas
from neoclassic.web.intake import Intake
from neoclassic.web.parameters import whole_number, whole_numbers
from neoclassic.web.responses import JsonResponse
from neoclassic.web.view import Asked, View

LARGEST = {"channels": 8, "side": 12, "out": 8, "kernel": 5, "stride": 4, "padding": 4, "groups": 8}


@dataclass(frozen=True)
class Convolution(View):
    """The interface to a convolution that the page describes; the server keeps nothing of it."""

    intake: Intake

    def routes(self) -> list[Route]:
        return [self.route("POST", "convolution", _answered)]


def _answered(asked: Asked) -> Response:
    return JsonResponse(computed(*_layer(asked.query), asked.body, whole_number("step", asked.query.get("step", ""))))


def computed(node: Conv2d, shape: Shape, body: bytes, step: int) -> dict[str, Any]:
    """The convolution as plain JSON values, computed by the NumPy engine.

    UsageError if the layer does not fit the input, the body has another length, or a number is not finite.
    """
    tree = Sequential(conv=node)
    m = measure(tree, shape)
    x_CHW, weights = _arrays(node, shape, body)
    output = NumpyEngine(tree, shape, weights, threads=1).features(x_CHW[None], ["conv"])["conv"][0]
    if not np.isfinite(output).all():
        raise UsageError("the output is too large for float32: choose smaller numbers")
    step = min(step, output.size - 1)
    unit = tuple(int(i) for i in np.unravel_index(step, output.shape))
    return {
        "code": repr(node),
        "shape": list(output.shape),
        "output": output.tolist(),
        "step": step,
        "unit": arithmetic(m, weights, x_CHW, {"conv": output}, "conv", unit).to_dict(),
        "formulas": formulas.figures(m, "conv"),
        "costs": costs(node, shape),
    }


def costs(node: Conv2d, shape: Shape) -> list[dict[str, Any]]:
    """Parameters and MACs of the four kinds of convolution with the same input, output channels, kernel and stride.

    A pointwise convolution has a kernel of 1×1. Depthwise and then pointwise is what takes the place of a standard
    convolution in MobileNet. A kind that is impossible for these numbers of channels is left out.
    """
    channels, out, k, s, p = shape[0], node.out_channels, node.kernel_size, node.stride, node.padding
    groups = _groups(node, channels)
    depthwise = Conv2d(channels, k, s, p, channels, node.bias)
    kinds = {
        "standard": (Conv2d(out, k, s, p, bias=node.bias),),
        "grouped": (Conv2d(out, k, s, p, groups, node.bias),) if groups else (),
        "depthwise": (depthwise,),
        "pointwise": (Conv2d(out, 1, s, bias=node.bias),),
        "separable": (depthwise, Conv2d(out, 1, bias=node.bias)),
    }
    measured = {kind: measure(Sequential(*nodes), shape) for kind, nodes in kinds.items() if nodes}
    whole = measured["standard"]
    return [
        {
            "kind": kind,
            "code": ", ".join(map(repr, kinds[kind])),
            "output": list(m.output),
            "parameters": m.parameters,
            "macs": m.macs,
            "share": m.macs / whole.macs,
        }
        for kind, m in measured.items()
    ]


def _groups(node: Conv2d, channels: int) -> int:
    """The number of groups to show: the layer's own, or else the smallest that divides the channels; 0 if none does."""
    common = gcd(channels, node.out_channels)
    if 1 < node.groups < channels:
        return node.groups
    return next((n for n in range(2, common + 1) if common % n == 0), 0)


def _layer(query: QueryParams) -> tuple[Conv2d, Shape]:
    """The layer and the shape of its input. UsageError for numbers beyond `LARGEST`."""
    shape = whole_numbers("input", query.get("input", ""), "x", 3)
    for name, value in zip(("channels", "side", "side"), shape, strict=True):
        whole_number(name, str(value), 1, LARGEST[name])
    names = ("out", "kernel", "stride", "padding", "groups")
    given = {
        name: whole_number(name, query.get(name, ""), 0 if name == "padding" else 1, LARGEST[name]) for name in names
    }
    for name, value in {"input": shape[0], "output": given["out"]}.items():
        if value % given["groups"]:
            raise UsageError(f"groups must divide the {value} {name} channels; {given['groups']} does not")
    layer = Conv2d(given["out"], given["kernel"], given["stride"], given["padding"], given["groups"])
    return layer, shape


def _arrays(node: Conv2d, shape: Shape, body: bytes) -> tuple[Array, Weights]:
    """The input and the weights. UsageError if the body has another length, or numbers that are not finite."""
    k, out = node.kernel_size, node.out_channels
    shapes = {"input": shape, "conv.weight": (out, shape[0] // node.groups, k, k), "conv.bias": (out,)}
    wanted = sum(map(prod, shapes.values()))
    if len(body) != 4 * wanted:
        raise UsageError(f"the body has {len(body):,} bytes, not the {4 * wanted:,} of {wanted:,} numbers")
    numbers = np.frombuffer(body, "<f4").astype(np.float32)
    if not np.isfinite(numbers).all():
        raise UsageError(f"the input ({by(shape)}), the weights and the bias must be finite numbers")
    ends = np.cumsum([prod(s) for s in shapes.values()])[:-1]
    parts = np.split(numbers, ends)
    found = {name: part.reshape(s) for (name, s), part in zip(shapes.items(), parts, strict=True)}
    return found.pop("input"), found
