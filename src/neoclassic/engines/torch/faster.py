"""Modules that compute what the modules of `build` compute, in less time.

`faster` returns another module with the same names, which shares all parameters and buffers: an optimizer, `state_dict`
and `load` work on either. `cuda.fusion.with_triton` does the same with Triton kernels; `fastest` chooses.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from neoclassic.engines.torch.cpu.convolution import FEW_CHANNELS, BFloat16Conv2d, space_to_depth_conv2d
from neoclassic.engines.torch.cpu.pooling import HalvingAvgPool, mean_of_blocks
from neoclassic.engines.torch.devices import compiles
from neoclassic.engines.torch.modules import Auxiliary, AvgPool2d, Combinator, Sequential, Tanh
from neoclassic.engines.torch.sharing import SharedConv2d, rebuild, shared_copy


def fastest(module: nn.Module, device: torch.device, triton: bool, fused: bool) -> nn.Module:
    """The fastest form of a module on the device that it is on.

    triton, fused: use Triton kernels on CUDA if they work there, and fuse layers, as in `with_triton`.
    """
    if triton and device.type == "cuda" and compiles(device):
        from neoclassic.engines.torch.cuda import triton_error
        from neoclassic.engines.torch.cuda.fusion import with_triton

        reason = triton_error(device)
        if not reason:
            return with_triton(module, fused)
        warnings.warn(f"this GPU will be slower, as Triton does not work here: {reason}", stacklevel=3)
    return faster(module, device)


def faster(module: nn.Module, device: torch.device) -> nn.Module:
    """A module that trains faster than `module`, for the device that `module` is on, without Triton.

    ReLU overwrites its input if nothing else reads it, which saves a tenth of DenseNet's step, and runs after a
    max-pooling that follows it. On a CPU, convolutions in bfloat16 and means of 2×2 pixels have other algorithms.
    """
    cpu = device.type == "cpu"

    def parent(old: Combinator, children: Mapping[str, nn.Module]) -> nn.Module:
        if not isinstance(old, Sequential):
            return type(old)(children)
        children = with_inplace_relu(with_space_to_depth(children) if cpu else children)
        return with_training_steps(old, children, pool_before_relu(children.values()))

    return rebuild(module, _cpu_layer if cpu else _gpu_layer, parent).train(module.training)


# ── the order of layers, and ReLU in place ──────────────────────────────────────────────────────────


class FusedSequential(Sequential):
    """A `Sequential` that runs `training_steps` in training, which compute the same as its children."""

    def __init__(self, children: Mapping[str, nn.Module], training_steps: Iterable[Callable[..., Tensor]]) -> None:
        super().__init__(children)
        self.training_steps = tuple(training_steps)

    def steps(self) -> Iterable[Callable[..., Tensor]]:
        return self.training_steps if self.training else super().steps()


class FusedAuxiliary(Auxiliary, FusedSequential):
    """An `Auxiliary` whose children are fused."""


def with_training_steps(
    old: Sequential, children: Mapping[str, nn.Module], training_steps: Iterable[Callable[..., Tensor]]
) -> Sequential:
    """A module in place of `old`, with these children and these steps in training."""
    return (FusedAuxiliary if isinstance(old, Auxiliary) else FusedSequential)(children, training_steps)


class InplaceReLU(nn.ReLU):
    """ReLU in place in training only, so that the output of every layer can be inspected in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x, self.training)


_OUTPUT_UNUSED = (nn.Conv2d, nn.Linear, nn.modules.batchnorm._BatchNorm)  # by their backward pass


def with_inplace_relu(children: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """The children, with `InplaceReLU` after layers whose backward pass does not read their output."""
    layers = dict(children)
    for (_, previous), (name, child) in pairwise(children.items()):
        if isinstance(child, nn.ReLU) and isinstance(previous, _OUTPUT_UNUSED):
            layers[name] = InplaceReLU()
    return layers


def pool_before_relu(children: Iterable[nn.Module]) -> tuple[nn.Module, ...]:
    """The children, with each ReLU moved after the max-pooling that follows it, where the maps are smaller.

    Outputs and gradients keep their bits: if the maximum of a window is positive, ReLU changes neither the maximum nor
    its position; otherwise output and gradient are 0 in either order.
    """
    steps: list[nn.Module] = []
    relu: nn.Module | None = None
    for child in children:
        if relu is not None and not isinstance(child, nn.MaxPool2d):
            steps.append(relu)
            relu = None
        if isinstance(child, nn.ReLU):
            relu = child
        else:
            steps.append(child)
    return tuple(steps) if relu is None else (*steps, relu)


def memory_format(module: nn.Module, device: torch.device, bfloat16: bool) -> torch.memory_format:
    """Channels-last, unless a layer has too few channels for it on a CPU: batch norm would take ten times as long."""
    if device.type == "cpu":
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d) and layer.num_features < FEW_CHANNELS:
                return torch.contiguous_format
            if bfloat16 and isinstance(layer, nn.Conv2d) and layer.out_channels < FEW_CHANNELS:
                return torch.contiguous_format
    return torch.channels_last


# ── layers for a CPU ────────────────────────────────────────────────────────────────────────────────


class CPUConv2d(SharedConv2d):
    """A convolution that runs as `BFloat16Conv2d` under autocast."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        y: Tensor = BFloat16Conv2d.apply(x, self.weight, self.bias, self.stride, self.padding, self.groups)
        return y


class SpaceToDepthConv2d(CPUConv2d):
    """A convolution with few output channels; under autocast it returns each block of 2×2 pixels as channels."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu") and x.shape[2] % 2 == x.shape[3] % 2 == 0:
            return space_to_depth_conv2d(x, self.weight, self.bias, self.padding[0])
        return super().forward(x)


class CPUAvgPool2d(nn.AvgPool2d):
    """The mean of 2×2 pixels. channels: the output channels of the `SpaceToDepthConv2d` before it; 0 if there is none.

    Inputs with more channels than that are blocks of 2×2 pixels.
    """

    def __init__(self, pool: nn.AvgPool2d, channels: int = 0) -> None:
        super().__init__(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode, pool.count_include_pad)
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        if self.channels and x.shape[1] > self.channels:
            return mean_of_blocks(x)
        if x.shape[2] % 2 == x.shape[3] % 2 == 0:
            y: Tensor = HalvingAvgPool.apply(x)
            return y
        return super().forward(x)


def _halves(pool: nn.AvgPool2d) -> bool:
    """Whether it takes means of 2×2 pixels, without overlap or padding."""
    return bool((pool.kernel_size, pool.stride, pool.padding) == (2, 2, 0))


def _cpu_layer(layer: nn.Module) -> nn.Module:
    match layer:
        case nn.Conv2d():
            return CPUConv2d(layer)
        case AvgPool2d() if _halves(layer):
            return CPUAvgPool2d(layer)
    return shared_copy(layer)


def with_space_to_depth(children: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """The children, with a convolution, an activation and 2×2 means in sequence computed on blocks of 2×2 pixels."""
    layers, names = dict(children), list(children)
    for first, second, third in zip(names, names[1:], names[2:], strict=False):
        match children[first], children[second], children[third]:
            case nn.Conv2d() as convolution, nn.Sigmoid() | Tanh(), nn.AvgPool2d() as pool:
                if _fits_blocks(convolution) and _halves(pool):
                    layers[first] = SpaceToDepthConv2d(convolution)
                    layers[third] = CPUAvgPool2d(pool, convolution.out_channels)
    return layers


def _fits_blocks(convolution: nn.Conv2d) -> bool:
    """Whether `space_to_depth_conv2d` can run a convolution, and is faster."""
    kernel, padding = convolution.kernel_size[0], convolution.padding[0]
    plain = convolution.stride == (1, 1) and convolution.groups == 1
    return bool(plain and convolution.out_channels < FEW_CHANNELS and kernel % 2 == 1 and padding % 2 == 0)


# ── layers for a GPU without Triton ─────────────────────────────────────────────────────────────────


class PaddedConv2d(SharedConv2d):
    """A convolution whose input is padded to a multiple of 8 channels under autocast, as the matrix units need."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled(x.device.type):
            return super().forward(x)
        missing = -self.in_channels % 8
        padded = (functional.pad(each, (0, 0, 0, 0, 0, missing)) for each in (x, self.weight))
        return self._conv_forward(*padded, self.bias)


def _gpu_layer(layer: nn.Module) -> nn.Module:
    """A layer for a GPU.

    11×11 kernels, as AlexNet has, are not padded: they were slower, as their products become 8 times as many.
    """
    if isinstance(layer, nn.Conv2d) and layer.in_channels % 8 and layer.groups == 1 and layer.kernel_size[0] <= 7:
        return PaddedConv2d(layer)
    return shared_copy(layer)
