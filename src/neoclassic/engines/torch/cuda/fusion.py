"""Modules whose layers run as Triton kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from neoclassic.engines.torch import cuda
from neoclassic.engines.torch.faster import pool_before_relu, with_inplace_relu, with_training_steps
from neoclassic.engines.torch.modules import AvgPool2d, Combinator, Concat, Sequential, Sum, call
from neoclassic.engines.torch.sharing import SharedConv2d, rebuild, shared_copy


def with_triton(module: nn.Module, fused: bool) -> nn.Module:
    """A module that computes the same as `module` with Triton kernels, and shares its parameters and buffers.

    fused: in training, run everything between two convolutions as one step, including the bias of the first one, and
    the branches of a `Concat` on parallel streams.
    """

    def parent(old: Combinator, children: Mapping[str, nn.Module]) -> nn.Module:
        if isinstance(old, Sequential):
            children = with_inplace_relu(children)
            steps = fused_steps(list(children.values())) if fused else pool_before_relu(children.values())
            return with_training_steps(old, children, steps)
        return ParallelConcat(children) if fused and isinstance(old, Concat) else type(old)(children)

    def layer(old: nn.Module) -> nn.Module:
        return TritonConv2d(old) if isinstance(old, nn.Conv2d) else shared_copy(old)

    return rebuild(module, layer, parent).train(module.training)


class TritonConv2d(SharedConv2d):
    """A convolution by `cuda.conv2d`."""

    def forward(self, x: Tensor) -> Tensor:
        maps = cuda.conv2d(self, x)
        return maps if self.bias is None else maps + self.bias.to(maps.dtype)[:, None, None]


class ParallelConcat(Concat):
    """A `Concat` whose branches run at the same time in training."""

    def run(self, x: Tensor, side: list[Tensor]) -> Tensor:
        if self.training and x.is_cuda and len(self._modules) > 2:
            return torch.cat(cuda.run_parallel([partial(call, child, side=side) for child in self.children()], x), 1)
        return super().run(x, side)


class SumReLU(Combinator):
    """The ReLU of the sum of two branches."""

    def run(self, x: Tensor, side: list[Tensor]) -> Tensor:
        first, second = self.branches(x, side)
        return cuda.add(first, second, relu=True)


def fused_steps(children: list[nn.Module]) -> Iterator[Callable[..., Tensor]]:
    """Functions that compute in sequence what the children compute in sequence in training."""
    while children:
        bias = None
        if isinstance(children[0], nn.Conv2d):
            convolution, *children = children
            bias = convolution.bias
            yield partial(cuda.conv2d, convolution)
        match children:
            case [nn.ReLU(), nn.MaxPool2d() as pool, *children] if cuda.supports_max_pool(pool):
                yield partial(cuda.max_pool2d, pool=pool, bias=bias, relu=True)
            case [nn.MaxPool2d() as pool, *children] if cuda.supports_max_pool(pool):
                yield partial(cuda.max_pool2d, pool=pool, bias=bias)
            case [nn.BatchNorm2d() as norm, nn.ReLU(), *children]:
                yield partial(cuda.batch_norm, norm=norm, bias=bias, relu=True)
            case [nn.BatchNorm2d() as norm, *children]:
                yield partial(cuda.batch_norm, norm=norm, bias=bias)
            case [nn.ReLU(), *children] if bias is not None:
                yield partial(cuda.add, bias=bias, relu=True)
            case _ if bias is not None:
                yield partial(cuda.add, bias=bias)
            case [AvgPool2d() as pool, *children] if cuda.supports_avg_pool(pool):
                yield partial(cuda.avg_pool2d, pool=pool)
            case [Sum() as total, nn.ReLU(), *children] if len(total._modules) == 2:
                yield SumReLU(dict(total.named_children()))
            case [first, *children] if bias is None and not isinstance(first, nn.Conv2d):
                yield first
