"""A tree as an ordinary `nn.Module` whose `state_dict` keys are the paths.

A network with auxiliary heads returns a tuple in training, with the main logits first. In evaluation it returns the
main logits only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from neoclassic import tree as nodes
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.engines.contract import Array
from neoclassic.engines.weights import counts
from neoclassic.measure import Shape, measure, pooling
from neoclassic.tree import Node, join, unknown_layer

# ── combinators ─────────────────────────────────────────────────────────────────────────────────────


class Combinator(nn.Module):
    """Named children. The root makes the list `side`, which collects the logits of the auxiliary heads."""

    def __init__(self, children: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, x: Tensor, side: list[Tensor] | None = None) -> Tensor | tuple[Tensor, ...]:
        if side is not None:
            return self.run(x, side)
        side = []
        y = self.run(x, side)
        return (y, *side) if side else y

    def run(self, x: Tensor, side: list[Tensor]) -> Tensor:
        raise NotImplementedError

    def branches(self, x: Tensor, side: list[Tensor]) -> list[Tensor]:
        """The output of each child for the same x."""
        return [call(child, x, side) for child in self.children()]


def call(step: Callable[..., Tensor], x: Tensor, side: list[Tensor]) -> Tensor:
    """step(x). A combinator also gets the list that its auxiliary heads append to."""
    return step(x, side) if isinstance(step, Combinator) else step(x)


class Sequential(Combinator):
    def run(self, x: Tensor, side: list[Tensor]) -> Tensor:
        for step in self.steps():
            x = call(step, x, side)
        return x

    def steps(self) -> Iterable[Callable[..., Tensor]]:
        """The functions to call one after the other: the children."""
        children: Iterable[nn.Module] = self.children()
        return children


class Sum(Combinator):
    def run(self, x: Tensor, side: list[Tensor]) -> Tensor:
        total, *others = self.branches(x, side)
        for y in others:
            total = total + y
        return total


class Product(Combinator):
    def run(self, x: Tensor, side: list[Tensor]) -> Tensor:
        product, *others = self.branches(x, side)
        for y in others:
            product = product * y
        return product


class Concat(Combinator):
    def run(self, x: Tensor, side: list[Tensor]) -> Tensor:
        return torch.cat(self.branches(x, side), 1)


class Auxiliary(Sequential):
    """Returns x unchanged. In training, the output of its children for x is appended to `side`."""

    def run(self, x: Tensor, side: list[Tensor]) -> Tensor:
        if self.training:
            side.append(super().run(x, side))
        return x


# ── layers that torch does not have, or not like this ───────────────────────────────────────────────


class AvgPool2d(nn.AvgPool2d):
    """torch's layer, without a bug that it has on CUDA.

    With padding and channels-last inputs, torch before July 2026 silently computes a wrong gradient there
    (github.com/pytorch/pytorch/issues/188344), so the input is made contiguous first.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.contiguous() if x.is_cuda and self.padding else x)


class Dropout(nn.Dropout):
    """torch's layer, unless it has a mask (1 keeps, 0 drops) or a random number generator of its own."""

    mask: Tensor | None = None
    generator: torch.Generator | None = None

    @property
    def draws(self) -> bool:
        """Whether it drops units now, by its mask or generator."""
        return self.training and (self.mask is not None or self.generator is not None)

    def drawn(self, shape: Sequence[int], device: torch.device) -> Tensor:
        """Its mask, or one from its generator."""
        if self.mask is not None:
            return self.mask
        return torch.rand(shape, generator=self.generator, device=device) >= self.p

    def dropped(self, x: Tensor, mask: Tensor) -> Tensor:
        """x without the units whose mask is 0; the others are scaled up."""
        return x * mask.to(x.dtype) / (1 - self.p) if self.p < 1 else x * 0

    def forward(self, x: Tensor) -> Tensor:
        return self.dropped(x, self.drawn(x.shape, x.device)) if self.draws else super().forward(x)


class Tanh(nn.Module):
    def __init__(self, scale: float, slope: float) -> None:
        super().__init__()
        self.scale, self.slope = scale, slope

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * torch.tanh(self.slope * x)


class Hardsigmoid(nn.Hardsigmoid):
    """torch's layer, but exact in float64, where torch multiplies by a float32 sixth and is off by 2e-8."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu6(x + 3) / 6 if x.dtype == torch.float64 else super().forward(x)


class Hardswish(nn.Hardswish):
    """torch's layer, but exact in float64, as `Hardsigmoid` is."""

    def forward(self, x: Tensor) -> Tensor:
        return x * functional.relu6(x + 3) / 6 if x.dtype == torch.float64 else super().forward(x)


class Select(nn.Module):
    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.channels = list(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.channels]


class PadChannels(nn.Module):
    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x, (0, 0, 0, 0, 0, self.out_channels - x.shape[1]))


class RBF(nn.Module):
    prototypes: Tensor

    def __init__(self, prototypes: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        self.register_buffer("prototypes", torch.tensor(prototypes, dtype=torch.float32), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return -((x[:, None, :] - self.prototypes) ** 2).sum(2)


# ── from a tree and weights ─────────────────────────────────────────────────────────────────────────


def build(network: Node, input: Shape) -> nn.Module:
    """The module of a tree for an input shape (channels, height, width), with torch's own initial weights.

    NeoclassicError for a node that has no module.
    """
    in_channels = {row.path: row.input[0] for row in measure(network, input).layers}
    return _module(network, "", in_channels)


def _module(node: Node, path: str, in_channels: Mapping[str, int]) -> nn.Module:
    if isinstance(node, nodes.Combinator):
        children = {name: _module(child, join(path, name), in_channels) for name, child in node.children}
        return build_combinator(node, path, children)
    return build_layer(node, path, in_channels[path])


def build_combinator(node: nodes.Combinator, path: str, children: Mapping[str, nn.Module]) -> Combinator:
    """The module of a combinator with these children. UsageError for a name that torch.nn.Module uses itself."""
    if taken := [name for name in children if hasattr(Sequential, name) or name == "training"]:
        raise UsageError(f"{join(path, taken[0])}: a module of PyTorch cannot have a child of this name: rename it")
    match node:
        case nodes.Sequential():
            return Sequential(children)
        case nodes.Sum():
            return Sum(children)
        case nodes.Product():
            return Product(children)
        case nodes.Concat():
            return Concat(children)
        case nodes.Auxiliary():
            return Auxiliary(children)
    raise unknown_layer("the torch engine", node, path)


def build_layer(node: Node, path: str, width: int) -> nn.Module:
    """The module of a leaf for inputs with `width` channels or features."""
    match node:
        case nodes.Conv2d(out, kernel_size, stride, padding, groups, bias):
            return nn.Conv2d(width, out, kernel_size, stride, padding, groups=groups, bias=bias)
        case nodes.Linear(out, bias):
            return nn.Linear(width, out, bias)
        case nodes.BatchNorm1d(eps, momentum):
            return nn.BatchNorm1d(width, eps, momentum)
        case nodes.BatchNorm2d(eps, momentum):
            return nn.BatchNorm2d(width, eps, momentum)
        case nodes.MaxPool2d():
            return nn.MaxPool2d(*pooling(node), ceil_mode=node.ceil_mode)
        case nodes.AvgPool2d():
            return AvgPool2d(*pooling(node), node.ceil_mode, node.count_include_pad)
        case nodes.AdaptiveAvgPool2d(size):
            return nn.AdaptiveAvgPool2d(size)
        case nodes.LocalResponseNorm(size, alpha, beta, k):
            return nn.LocalResponseNorm(size, alpha, beta, k)
        case nodes.Dropout(p):
            return Dropout(p)
        case nodes.Tanh(scale, slope):
            return Tanh(scale, slope)
        case nodes.Select(channels):
            return Select(channels)
        case nodes.PadChannels(out):
            return PadChannels(out)
        case nodes.RBF(prototypes):
            return RBF(prototypes)
    if type(node) in _WITHOUT_ARGUMENTS:
        return _WITHOUT_ARGUMENTS[type(node)]()
    raise unknown_layer("the torch engine", node, path)


_WITHOUT_ARGUMENTS: dict[type[Node], type[nn.Module]] = {
    nodes.Flatten: nn.Flatten,
    nodes.Identity: nn.Identity,
    nodes.ReLU: nn.ReLU,
    nodes.ReLU6: nn.ReLU6,
    nodes.Sigmoid: nn.Sigmoid,
    nodes.Hardsigmoid: Hardsigmoid,
    nodes.Hardswish: Hardswish,
}


def load(module: nn.Module, weights: Mapping[str, Array]) -> None:
    """Copy weights by path into a module that `build` made.

    NeoclassicError, with nothing changed, if an array is missing, surplus or of another shape. `create` also reads
    files and torchvision's names.
    """
    state: dict[str, Any] = {k: v for k, v in module.state_dict().items() if not counts(k)}
    given = {k: v for k, v in weights.items() if not counts(k)}
    for name in dict.fromkeys([*state, *given]):
        ours, theirs = (tuple(w[name].shape) if name in w else "missing" for w in (state, given))
        if ours != theirs:
            raise NeoclassicError(f"the weights do not fit the module: {name} is {theirs} in them and {ours} here")
    with torch.no_grad():
        for name, tensor in state.items():
            tensor.copy_(torch.as_tensor(np.ascontiguousarray(given[name])))
