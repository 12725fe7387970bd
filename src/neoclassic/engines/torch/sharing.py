"""Modules built from other modules, with the same names and the same parameters and buffers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

from torch import nn

from neoclassic.engines.torch.modules import Combinator

Layer = Callable[[nn.Module], nn.Module]
Parent = Callable[[Combinator, Mapping[str, nn.Module]], nn.Module]


def rebuild(module: nn.Module, layer: Layer, parent: Parent) -> nn.Module:
    """The same tree of modules, with each leaf made by `layer` and each combinator made by `parent` from its children.

    `layer` must return a new module that shares the parameters and buffers of the one it gets.
    """
    if isinstance(module, Combinator):
        return parent(module, {name: rebuild(child, layer, parent) for name, child in module.named_children()})
    return layer(module)


def shared_copy(layer: nn.Module) -> nn.Module:
    """A copy of a layer that shares its parameters and buffers."""
    return copy.deepcopy(layer, {id(tensor): tensor for tensor in (*layer.parameters(), *layer.buffers())})


class SharedConv2d(nn.Conv2d):
    """A convolution that shares the parameters of another."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__(
            convolution.in_channels,
            convolution.out_channels,
            convolution.kernel_size,
            convolution.stride,
            convolution.padding,
            groups=convolution.groups,
            bias=convolution.bias is not None,
            device="meta",
        )
        self.weight, self.bias = convolution.weight, convolution.bias
