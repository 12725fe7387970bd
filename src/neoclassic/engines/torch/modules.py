"""A tree as an ordinary `nn.Module` whose `state_dict` keys are the paths.

A network with auxiliary heads returns a tuple in training, the main logits first, and the main logits alone in
evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from neoclassic import tree as nodes
from neoclassic.base.errors import NeoclassicError
from neoclassic.engines.contract import Array
from neoclassic.engines.torch.processor import NARROW, Convolution, Halved, blocks_mean, in_blocks
from neoclassic.engines.weights import counts
from neoclassic.measure import Shape, measure, pooling
from neoclassic.tree import Node, join, walk


class Combinator(nn.Module):
    """Children by name, run on x. `side` collects the logits of auxiliary heads; only the root makes it."""

    def forward(self, x: Tensor, side: list[Tensor] | None = None) -> Tensor | tuple[Tensor, ...]:
        if side is not None:
            return self.run(x, side)
        side = []
        y = self.run(x, side)
        return (y, *side) if side else y

    def run(self, x: Tensor, side: list[Tensor]) -> Tensor:
        raise NotImplementedError

    def arms(self, x: Tensor, side: list[Tensor]) -> list[Tensor]:
        """What each child makes of the same x."""
        return [_call(child, x, side) for child in self.children()]


class Sequential(Combinator):
    fast = False  # see `hurry`
    fused: tuple[Callable[[Tensor], Tensor], ...] = ()  # see `on_cuda`

    def run(self, x: Tensor, side: list[Tensor]) -> Tensor:
        if not self.training:
            steps: Iterable[Callable[[Tensor], Tensor]] = self.children()
        else:
            steps = self.fused or (self._pooled_first() if self.fast else self.children())
        for step in steps:
            x = _call(step, x, side)
        return x

    def _pooled_first(self) -> Iterator[nn.Module]:
        """The children, but a ReLU after the max-pooling that follows it, where there is less to do.

        The outputs and gradients have the same bits: the largest number of a window, and its place, stay what they are
        where it is above 0, and elsewhere both are 0.
        """
        waiting: nn.Module | None = None
        for child in self.children():
            if waiting and not isinstance(child, nn.MaxPool2d):
                yield waiting
                waiting = None
            if isinstance(child, ReLU):
                waiting = child
            else:
                yield child
        if waiting:
            yield waiting


class Sum(Combinator):
    rectified: Callable[[Tensor, Tensor], Tensor] | None = None  # the sum of two and the ReLU behind it; see `on_cuda`

    def run(self, x: Tensor, side: list[Tensor]) -> Tensor:
        first, *others = self.arms(x, side)
        if self.rectified and self.training:
            return self.rectified(first, *others)
        for y in others:
            first = first + y
        return first


class Product(Combinator):
    def run(self, x: Tensor, side: list[Tensor]) -> Tensor:
        first, *others = self.arms(x, side)
        for y in others:
            first = first * y
        return first


class Concat(Combinator):
    beside: Callable[..., list[Tensor]] | None = None  # all children at the same time; see `on_cuda`

    def run(self, x: Tensor, side: list[Tensor]) -> Tensor:
        if self.beside and self.training and x.is_cuda and len(self._modules) > 2:
            return torch.cat(self.beside([partial(_call, child, side=side) for child in self.children()], x), 1)
        return torch.cat(self.arms(x, side), 1)


class Auxiliary(Sequential):
    def run(self, x: Tensor, side: list[Tensor]) -> Tensor:
        if self.training:
            side.append(super().run(x, side))
        return x


def _call(step: Callable[..., Tensor], x: Tensor, side: list[Tensor]) -> Tensor:
    return step(x, side) if isinstance(step, Combinator) else step(x)


class Conv2d(nn.Conv2d):
    """torch's; in a hurry, by `Convolution` on a processor in bfloat16, and by `cuda.convolved` on CUDA.

    Where there is no Triton, its input is filled up on CUDA to 8 channels, the least that the matrix units take; not
    with the 11×11 weights of AlexNet and its like, whose products would become 8 times as many: measured.
    """

    fast = False
    convolved: Callable[[nn.Conv2d, Tensor], Tensor] | None = None  # without the bias; see `on_cuda`
    in_blocks = 0  # channels, if it works on blocks of 2×2 pixels: see `hurry`

    def forward(self, x: Tensor) -> Tensor:
        if self.convolved:
            maps = self.convolved(self, x)
            return maps if self.bias is None else maps + self.bias.to(maps.dtype)[:, None, None]
        if not self.fast or not torch.is_autocast_enabled(x.device.type):
            return super().forward(x)
        if x.device.type == "cpu":
            if self.in_blocks and x.shape[2] % 2 == x.shape[3] % 2 == 0:
                return in_blocks(x, self.weight, self.bias, self.padding[0])
            y: Tensor = Convolution.apply(x, self.weight, self.bias, self.stride, self.padding, self.groups)
            return y
        more = -self.in_channels % 8
        if not more or self.groups > 1 or self.kernel_size[0] > 7:
            return super().forward(x)
        wide = (functional.pad(each, (0, 0, 0, 0, 0, more)) for each in (x, self.weight))
        return self._conv_forward(*wide, self.bias)


class AvgPool2d(nn.AvgPool2d):
    """torch's; in a hurry, windows of 2×2 by `Halved` on a processor.

    On CUDA, with padding and the channels last, torch before July 2026 finds a wrong gradient and says nothing
    (github.com/pytorch/pytorch/issues/188344): there the channels come first.
    """

    fast = False
    in_blocks = 0  # channels of the convolution that hands it the four pixels of a block as channels, if one does

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda and self.padding:
            return super().forward(x.contiguous())
        if self.in_blocks and x.shape[1] > self.in_blocks:
            return blocks_mean(x)
        halved = (self.kernel_size, self.stride, self.padding) == (2, 2, 0)
        if self.fast and halved and x.device.type == "cpu" and x.shape[2] % 2 == x.shape[3] % 2 == 0:
            y: Tensor = Halved.apply(x)
            return y
        return super().forward(x)


class Dropout(nn.Dropout):
    """torch's, but for a mask that is given (1 keeps, 0 drops) or drawn from a generator of its own."""

    mask: Tensor | None = None
    generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or (self.mask is None and self.generator is None):
            return super().forward(x)
        mask = self.mask
        if mask is None:
            mask = torch.rand(x.shape, generator=self.generator, device=x.device) >= self.p
        return x * mask.to(x.dtype) / (1 - self.p) if self.p < 1 else x * 0


class Tanh(nn.Module):
    def __init__(self, scale: float, slope: float) -> None:
        super().__init__()
        self.scale, self.slope = scale, slope

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * torch.tanh(self.slope * x)


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


class SyncedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """torch's, with the moments of the images of all processes; on any backend, where torch has CUDA's only."""

    def _check_input_dim(self, x: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        dims = [0, *range(2, x.ndim)]
        shape = (1, -1, *(1 for _ in dims[1:]))
        n = _all_sum(torch.tensor(float(x.numel() // x.shape[1]), device=x.device))
        mean = _all_sum(x.float().sum(dims)) / n
        centred = x.float() - mean.view(shape)
        variance = _all_sum((centred * centred).sum(dims)) / n
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.detach().to(self.running_mean.dtype), self.momentum)
            unbiased = (variance * n / (n - 1)).detach()
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        y = centred * torch.rsqrt(variance + self.eps).view(shape)
        return (y * self.weight.view(shape) + self.bias.view(shape)).to(x.dtype)


class _AllSum(torch.autograd.Function):
    """Over all processes; so is the gradient, as every process's loss depends on every sum."""

    @staticmethod
    def forward(_context: Any, x: Tensor) -> Tensor:
        total = x.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, dy: Tensor) -> Tensor:
        total = dy.clone()
        torch.distributed.all_reduce(total)
        return total


def _all_sum(x: Tensor) -> Tensor:
    found: Tensor = _AllSum.apply(x)
    return found


def sync_norms(module: nn.Module) -> None:
    """Batch norms that see all processes' images, in place; names, weights and statistics stay."""
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            synced = SyncedBatchNorm(child.num_features, child.eps, child.momentum)
            synced.to(child.weight.device, child.weight.dtype).load_state_dict(child.state_dict())
            setattr(module, name, synced)
        else:
            sync_norms(child)


class ReLU(nn.ReLU):
    """torch's; `inplace` holds in training only, so that elsewhere every layer's output can be looked at."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x, self.inplace and self.training)


_FRESH = (nodes.Conv2d, nodes.Linear, nodes.BatchNorm1d, nodes.BatchNorm2d)  # whose backward needs no output


def hurry(module: nn.Module, tree: Node) -> None:
    """Let the module of a tree train as fast as it can, in place; else it does what torch does, and no more.

    Some gradients go other ways, a ReLU waits for the pooling behind it, and takes the place of an input that nobody
    else looks at, which saves a tenth of DenseNet's step.
    """
    for child in module.modules():
        if hasattr(child, "fast"):
            child.fast = True
    for path, node in walk(tree):
        if isinstance(node, nodes.Sequential):
            children = node.children
            for (_, maker), (name, follower) in pairwise(children):
                if isinstance(follower, nodes.ReLU) and isinstance(maker, _FRESH):
                    module.get_submodule(join(path, name)).inplace = True
            for (first, convolution), (_, between), (last, pool) in zip(
                children, children[1:], children[2:], strict=False
            ):
                if channels := _in_blocks(convolution, between, pool):
                    for name in (first, last):
                        module.get_submodule(join(path, name)).in_blocks = channels


def on_cuda(module: nn.Module, device: torch.device, fused: bool) -> str:
    """Let the module train and predict with the kernels of `cuda`, in place; else it says why it cannot.

    fused: what stands between two convolutions is a step of its own in training, and takes in the bias of the first.
    """
    from neoclassic.engines.torch import cuda

    if reason := cuda.reason_against(device):
        return reason
    for child in list(module.modules()):
        if isinstance(child, Conv2d):
            child.convolved = cuda.convolved
        if fused and isinstance(child, Sequential):
            child.fused = tuple(_fused(list(child.children())))
        if fused and isinstance(child, Concat):
            child.beside = cuda.beside
    return ""


def apart(module: nn.Module) -> None:
    """Undo what `on_cuda` has fused."""
    for child in module.modules():
        if isinstance(child, Sequential):
            child.fused = ()
        if isinstance(child, Concat):
            child.beside = None
        if isinstance(child, Sum):
            child.rectified = None


def _fused(children: list[nn.Module]) -> Iterator[Callable[[Tensor], Tensor]]:
    from neoclassic.engines.torch import cuda

    while children:
        bias = None
        if isinstance(children[0], Conv2d):
            convolution, *children = children
            bias = convolution.bias
            yield partial(cuda.convolved, convolution)
        match children:
            case [nn.ReLU(), nn.MaxPool2d() as pool, *children] if cuda.pools(pool):
                yield partial(cuda.pooled, pool=pool, bias=bias, relu=True)
            case [nn.MaxPool2d() as pool, *children] if cuda.pools(pool):
                yield partial(cuda.pooled, pool=pool, bias=bias)
            case [nn.BatchNorm2d() as norm, nn.ReLU(), *children]:
                yield partial(cuda.normed, norm=norm, bias=bias, relu=True)
            case [nn.BatchNorm2d() as norm, *children]:
                yield partial(cuda.normed, norm=norm, bias=bias)
            case [nn.ReLU(), *children] if bias is not None:
                yield partial(cuda.added, bias=bias, relu=True)
            case _ if bias is not None:
                yield partial(cuda.added, bias=bias)
            case [AvgPool2d() as pool, *children] if cuda.averages(pool):
                yield partial(cuda.averaged, pool=pool)
            case [Sum() as total, nn.ReLU(), *children] if len(total._modules) == 2:
                total.rectified = partial(cuda.added, relu=True)
                yield total
            case [first, *children] if bias is None and not isinstance(first, Conv2d):
                yield first


def _in_blocks(convolution: Node, activation: Node, pool: Node) -> int:
    """The channels of the first, if it and the last may work on blocks of 2×2 pixels, as `in_blocks` can; else 0."""
    match convolution, activation, pool:
        case nodes.Conv2d(out, k, 1, padding, 1), nodes.Sigmoid() | nodes.Tanh(), nodes.AvgPool2d(2, padding=0):
            return out if out < NARROW and k % 2 == 1 and padding % 2 == 0 and pool.stride in (None, 2) else 0
    return 0


class Hardsigmoid(nn.Hardsigmoid):
    """In float64 written out: torch's own kernels multiply by a sixth in float32, which is 2e-8 off."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu6(x + 3) / 6 if x.dtype == torch.float64 else super().forward(x)


class Hardswish(nn.Hardswish):
    """As `Hardsigmoid`."""

    def forward(self, x: Tensor) -> Tensor:
        return x * functional.relu6(x + 3) / 6 if x.dtype == torch.float64 else super().forward(x)


class RBF(nn.Module):
    prototypes: Tensor

    def __init__(self, prototypes: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        self.register_buffer("prototypes", torch.tensor(prototypes, dtype=torch.float32), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return -((x[:, None, :] - self.prototypes) ** 2).sum(2)


def build(network: Node, input: Shape) -> nn.Module:
    """The module of a tree for an input shape (channels, height, width), with torch's own initial weights."""
    widths = {row.path: row.input[0] for row in measure(network, input).layers}
    return _module(network, "", widths)


_COMBINATORS: dict[type[Node], type[Combinator]] = {
    nodes.Sequential: Sequential,
    nodes.Sum: Sum,
    nodes.Product: Product,
    nodes.Concat: Concat,
    nodes.Auxiliary: Auxiliary,
}


def _module(node: Node, path: str, widths: Mapping[str, int]) -> nn.Module:
    if isinstance(node, nodes.Combinator):
        module = _COMBINATORS[type(node)]()
        for name, child in node.children:
            module.add_module(name, _module(child, join(path, name), widths))
        return module
    return _leaf(node, widths[path])


def _leaf(node: Node, width: int) -> nn.Module:
    match node:
        case nodes.Conv2d(out, kernel_size, stride, padding, groups, bias):
            return Conv2d(width, out, kernel_size, stride, padding, groups=groups, bias=bias)
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
        case nodes.ReLU():
            return ReLU()
        case nodes.Tanh(scale, slope):
            return Tanh(scale, slope)
        case nodes.Hardsigmoid():
            return Hardsigmoid()
        case nodes.Hardswish():
            return Hardswish()
        case nodes.Select(channels):
            return Select(channels)
        case nodes.PadChannels(out):
            return PadChannels(out)
        case nodes.RBF(prototypes):
            return RBF(prototypes)
    plain: type[nn.Module] = getattr(nn, type(node).__name__)  # Flatten, Identity and the activations
    return plain()


def load(module: nn.Module, weights: Mapping[str, Array]) -> None:
    """Put weights by path into a module that `build` made, in place.

    NeoclassicError, and nothing is changed, where one is missing, surplus or of another shape. `create` takes files,
    and torchvision's names too.
    """
    state: dict[str, Any] = {k: v for k, v in module.state_dict().items() if not counts(k)}
    given = {k: v for k, v in weights.items() if not counts(k)}
    for name in dict.fromkeys([*state, *given]):
        here, there = (tuple(w[name].shape) if name in w else "missing" for w in (state, given))
        if here != there:
            raise NeoclassicError(f"the weights do not fit the module: {name} is {there} in them and {here} here")
    with torch.no_grad():
        for name, tensor in state.items():
            tensor.copy_(torch.as_tensor(np.ascontiguousarray(given[name])))
