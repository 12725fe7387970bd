"""The torch engine: the same tree as an ordinary `nn.Module` whose `state_dict` keys are the paths.

    >>> import neoclassic as nc
    >>> model = nc.torch.create("lenet", classes=10)
    >>> sorted(model.state_dict())[:2]
    ['conv1.bias', 'conv1.weight']

A network with auxiliary heads returns a tuple in training, the main logits first, and the main logits alone
in evaluation.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from neoclassic import networks
from neoclassic import tree as nodes
from neoclassic.engines import weights as arrays
from neoclassic.engines.contract import Array, Gradients, Metrics, Optimizer, Weights
from neoclassic.errors import UsageError, unknown
from neoclassic.measure import Shape, measure, pooling
from neoclassic.torchvision_weights import from_torchvision, read_weights
from neoclassic.tree import Node, join, walk

# ── from tree to module ──────────────────────────────────────────────────────────────────────────────


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
    def run(self, x: Tensor, side: list[Tensor]) -> Tensor:
        for child in self._pooled_first() if self.training else self.children():
            x = _call(child, x, side)
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
    def run(self, x: Tensor, side: list[Tensor]) -> Tensor:
        first, *others = self.arms(x, side)
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
    def run(self, x: Tensor, side: list[Tensor]) -> Tensor:
        return torch.cat(self.arms(x, side), 1)


class Auxiliary(Sequential):
    def run(self, x: Tensor, side: list[Tensor]) -> Tensor:
        if self.training:
            side.append(super().run(x, side))
        return x


def _call(module: nn.Module, x: Tensor, side: list[Tensor]) -> Tensor:
    return module(x, side) if isinstance(module, Combinator) else module(x)


NARROW = 8  # channels that are too few for a processor's kernels


class Conv2d(nn.Conv2d):
    """torch's, but in bfloat16.

    On a processor by `_Convolution`. On CUDA the input is filled up to 8 channels, the least that the matrix units
    take; not with the 11×11 weights of AlexNet and its like, whose products would become 8 times as many: measured.
    """

    def forward(self, x: Tensor) -> Tensor:
        device = x.device.type
        if device not in ("cpu", "cuda") or not torch.is_autocast_enabled(device):
            return super().forward(x)
        if device == "cpu":
            y: Tensor = _Convolution.apply(x, self.weight, self.bias, self.stride, self.padding, self.groups)
            return y
        more = -self.in_channels % 8 if self.groups == 1 and self.kernel_size[0] <= 7 else 0
        wide = (functional.pad(each, (0, 0, 0, 0, 0, more)) if more else each for each in (x, self.weight))
        return self._conv_forward(*wide, self.bias)


class _Convolution(torch.autograd.Function):
    """In bfloat16 on a processor. torch's, but for two gradients that oneDNN takes very long for."""

    @staticmethod
    def forward(
        context: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
        groups: int,
    ) -> Tensor:
        x, weight = x.bfloat16(), weight.bfloat16()
        context.save_for_backward(x, weight)
        context.how = stride, padding, groups
        return functional.conv2d(x, weight, None if bias is None else bias.bfloat16(), stride, padding, 1, groups)

    @staticmethod
    def backward(context: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = context.saved_tensors
        stride, padding, groups = context.how
        C = len(weight)

        def gradients(dy: Tensor, stride: tuple[int, int], wanted: list[bool]) -> list[Tensor | None]:
            found: list[Tensor | None] = torch.ops.aten.convolution_backward(
                dy, x.to(dy.dtype), weight.to(dy.dtype), [C], stride, padding, (1, 1), False, (0, 0), groups, wanted
            )
            return found

        wanted = list(context.needs_input_grad[:3])
        dx = dw = db = None
        if wanted[0] and groups > 1 and max(stride) > 1:  # 190 ms for 64 maps of 48×48; without the stride 20
            dx = gradients(_spread(dy, x, weight, stride, padding), (1, 1), [True, False, False])[0]
            wanted[0] = False
        if wanted[1] and groups == 1 and dy.shape[2] * dy.shape[3] <= _few(weight, stride):
            dw = _weight_gradient(dy, x, weight.shape, stride, padding)
            db = dy.sum((0, 2, 3)) if wanted[2] else None
            wanted[1:] = False, False
        if wanted[1] and C < NARROW and not dy.is_contiguous(memory_format=torch.channels_last):  # LeNet's: 4 ms, not 1
            _, dw, db = gradients(dy.float(), stride, [False, *wanted[1:]])
            wanted[1:] = False, False
        if any(wanted):
            found = gradients(dy, stride, wanted)
            dx, dw, db = (ours if theirs is None else theirs for ours, theirs in zip((dx, dw, db), found, strict=True))
        return dx, dw, db, None, None, None


def _spread(dy: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """The same gradient for a convolution without the stride, whose other outputs nothing depends on."""
    N, C = dy.shape[:2]
    H, W = (x.shape[i] + 2 * padding[i - 2] - weight.shape[i] + 1 for i in (2, 3))
    spread = dy.new_zeros(N, H, W, C).permute(0, 3, 1, 2)
    spread[:, :, :: stride[0], :: stride[1]] = dy
    return spread


def _few(weight: Tensor, stride: tuple[int, int]) -> int:
    """Pixels of the output up to which a matrix product finds the weights' gradient faster than oneDNN, measured."""
    if max(weight.shape[2:]) == 1:
        return 36
    return 64 if max(stride) > 1 else 9


def _weight_gradient(
    dy: Tensor, x: Tensor, shape: tuple[int, ...], stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """As one matrix product, of dy with the patch of x that each of its pixels sees."""
    N, C_out, H, W = dy.shape
    _, C_in, h, w = shape
    x_NHWC = functional.pad(x.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
    n, i, j, c = x_NHWC.stride()
    patches = x_NHWC.as_strided((N, H, W, h, w, C_in), (n, i * stride[0], j * stride[1], i, j, c))
    dw = dy.permute(0, 2, 3, 1).reshape(-1, C_out).t() @ patches.reshape(N * H * W, -1)
    return dw.view(C_out, h, w, C_in).permute(0, 3, 1, 2)


class AvgPool2d(nn.AvgPool2d):
    """torch's; on a processor windows of 2×2 by `_Halved`."""

    def forward(self, x: Tensor) -> Tensor:
        halved = (self.kernel_size, self.stride, self.padding) == (2, 2, 0)
        if halved and x.device.type == "cpu" and x.shape[2] % 2 == x.shape[3] % 2 == 0:
            y: Tensor = _Halved.apply(x)
            return y
        return super().forward(x)


class _Halved(torch.autograd.Function):
    """torch's means of 2×2 pixels, but for their gradient, which it takes three times as long for."""

    @staticmethod
    def forward(_context: Any, x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, 2)

    @staticmethod
    def backward(_context: Any, dy: Tensor) -> Tensor:
        N, C, H, W = dy.shape
        last = dy.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        dx = torch.empty(N, C, 2 * H, 2 * W, dtype=dy.dtype, memory_format=layout)
        mean = dy / 4
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            dx[:, :, i::2, j::2] = mean
        return dx


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


def _synced(module: nn.Module) -> None:
    """Batch norms that see all processes' images, in place; names, weights and statistics stay."""
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            synced = SyncedBatchNorm(child.num_features, child.eps, child.momentum)
            synced.to(child.weight.device, child.weight.dtype).load_state_dict(child.state_dict())
            setattr(module, name, synced)
        else:
            _synced(child)


class ReLU(nn.ReLU):
    """torch's; `inplace` holds in training only, so that elsewhere every layer's output can be looked at."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x, self.inplace and self.training)


_FRESH = (nodes.Conv2d, nodes.Linear, nodes.BatchNorm1d, nodes.BatchNorm2d)  # whose backward needs no output


def _overwriting(tree: Node) -> Iterator[str]:
    """Paths of the ReLUs that may take their input's place. Saves a tenth of DenseNet's step."""
    for path, node in walk(tree):
        if isinstance(node, nodes.Sequential):
            for (_, maker), (name, child) in pairwise(node.children):
                if isinstance(child, nodes.ReLU) and isinstance(maker, _FRESH):
                    yield join(path, name)


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
    """Put weights by path into a module that `build` made, in place."""
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name in weights:
                tensor.copy_(torch.from_numpy(np.ascontiguousarray(weights[name])))


def create(
    name: str,
    classes: int | None = None,
    in_channels: int | None = None,
    input: Shape | None = None,
    weights: str | Path | None = None,
    initialisation: str = "he",
    seed: int = 0,
    **knobs: object,
) -> nn.Module:
    """A network of the zoo as an ordinary `nn.Module`, with fresh weights, torchvision's or ours.

    input: (channels, height, width); the published one when omitted. in_channels: replaces its channels.
    weights: a `.pth` or `.safetensors` file of torchvision's for this network, a model of ours, or its run folder;
    what could not be taken over as it stands, such as a head of other classes, is a warning.
    knobs: what the paper's own tables vary. UsageError for a name or a shape that cannot be; NeoclassicError for
    weights that do not fit.
    """
    network = networks.network(name, classes, **knobs)
    shape = input or networks.entry(name).input
    shape = (in_channels or shape[0], *shape[1:])
    module = build(network, shape)
    fresh = arrays.initial(network, shape, initialisation, seed)
    if weights is None:
        load(module, fresh)
        return module
    state = read_weights(Path(weights) / "model.safetensors" if Path(weights).is_dir() else weights)
    if state.keys() & fresh.keys():
        found, notes = arrays.take_over(state, fresh)
    else:
        found, notes = from_torchvision(name, state, network, shape, seed)
    for note in notes:
        warnings.warn(f"{name}: {note}", stacklevel=2)
    load(module, found)
    return module


# ── the engine ───────────────────────────────────────────────────────────────────────────────────────


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA, Apple's, Intel's, else the processor. UsageError for one that is not here."""
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # which "meta" has not
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"no device {name!r} here: {reason}; use --device cpu") from None
    return device


def device_name(name: str) -> str:
    """What the device is called, as "NVIDIA H100 80GB HBM3"; where it has no name of its own, its kind."""
    device = pick_device(name)
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else device.type


def takes_bfloat16(device: torch.device) -> bool:
    """Whether the processor has units for bfloat16; without, it would be slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.get_device_capability(device) >= (8, 0))
    if device.type == "cpu":
        tests = (getattr(torch.cpu, f"_is_{unit}_supported", None) for unit in ("avx512_bf16", "amx_tile"))
        return any(test() for test in tests if test)
    return False


def compiles(device: torch.device) -> bool:
    """Whether torch.compile finds what it needs: Triton, or on a processor the C++ compiler that it looks for."""
    if device.type in ("cuda", "xpu"):
        return importlib.util.find_spec("triton") is not None
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    return shutil.which(os.environ.get("CXX", usual)) is not None


def keep_memory() -> None:
    """Let this process keep what it frees, where the C library is glibc.

    It would give the activations of a step back to the system and ask for them again in the next, whose page faults
    took from a twelfth of it (ResNet-18) to a third (VGG-11).
    """
    with suppress(OSError, AttributeError, TypeError):  # another C library, another system
        glibc = ctypes.CDLL(None)
        glibc.mallopt(-4, 0)  # M_MMAP_MAX: no block has a mapping of its own
        glibc.mallopt(-1, -1)  # M_TRIM_THRESHOLD: the heap does not shrink


def give_memory_back() -> None:
    """What `keep_memory` has kept so far."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


class TorchEngine:
    """The contract of `engines.contract.Engine`, kept by PyTorch. float32, or float64 where the weights are.

    bfloat16: convolutions and matrix products of training steps in bfloat16, by autocast; `logits` stays float32.
    compiled: training steps through torch.compile. On CUDA, steps are captured once and replayed.
    """

    name = "torch"
    xp = torch

    def __init__(
        self,
        tree: Node,
        input: Shape,
        weights: Mapping[str, Array],
        device: str = "auto",
        bfloat16: bool = False,
        compiled: bool = False,
    ) -> None:
        self.tree, self.input = tree, input
        self._device = pick_device(device)
        self.device = str(self._device)
        self.dtype = torch.float64 if any(w.dtype == np.float64 for w in weights.values()) else torch.float32
        self._wide = torch.float32 if self._device.type == "mps" else torch.float64
        module = build(tree, input)
        narrow = any(isinstance(m, nn.BatchNorm2d) and m.num_features < NARROW for m in module.modules())
        # a processor takes ten times as long for batch norm of so few channels, were they last
        plain = narrow and self._device.type == "cpu"
        self._layout = torch.contiguous_format if plain else torch.channels_last
        self.module = module.to(self._device, self.dtype, memory_format=self._layout)
        for path in _overwriting(tree):
            self.module.get_submodule(path).inplace = True
        self._forward: Callable[[Tensor], Tensor | tuple[Tensor, ...]] = self.module
        if compiled:
            if not compiles(self._device):
                needs = "a C++ compiler (g++, or what CXX names)" if self._device.type == "cpu" else "Triton"
                raise UsageError(f"compiling needs {needs}, and there is none here: install it, or use --compile off")
            self._forward = torch.compile(self.module)
        self._bfloat16 = bfloat16
        small = bfloat16 or measure(tree, input).memory(256).training < 1 << 28  # the gaps that stay free are not
        self._keeps = small and self._device.type == "cpu"
        self._kept = False
        self._processes = 1
        self._auxiliary = [node.weight for _, node in walk(tree) if isinstance(node, nodes.Auxiliary)]
        self._dropouts = {path: m for path, m in self.module.named_modules() if isinstance(m, Dropout)}
        self._generator = torch.Generator(self._device)
        self._rule: Optimizer | None = None
        self._optimizer: torch.optim.Optimizer | None = None
        self._replays: dict[object, Replay] | None = None
        self._averages: dict[str, Tensor] = {}
        self._followed: list[Tensor] = []  # what they are the averages of
        self._averaged = 0
        self._n = 0
        self._loss_sum = torch.zeros((), device=self._device, dtype=self._wide)
        self._correct = torch.zeros((), device=self._device, dtype=torch.int64)
        self.load(weights)

    def join(self) -> None:
        """Train as one of the processes of torch.distributed, each with its part of every batch. Before `optimize`."""
        self._processes = torch.distributed.get_world_size()
        _synced(self.module)

    def put(self, array: Array) -> Tensor:
        array = np.ascontiguousarray(array)
        if not array.flags.writeable:  # of a map of a file, say; torch would warn
            array = array.copy()
        return torch.from_numpy(array).to(self._device, non_blocking=True)

    def holds(self, nbytes: int) -> bool:
        if self._device.type == "cuda":
            return bool(nbytes < torch.cuda.mem_get_info(self._device)[0] / 2)
        return self._device.type != "cpu" and nbytes < 1 << 31

    def _exact(self) -> AbstractContextManager[Any]:
        """float32 as it is: cuDNN would round the factors of convolutions to the 10 bits of TF32."""
        if self._device.type == "cuda":
            flags: AbstractContextManager[Any] = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
            return flags
        return nullcontext()

    def _put(self, array: Array | Tensor) -> Tensor:
        tensor = array if isinstance(array, Tensor) else torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor.long()

    def _images(self, array: Array | Tensor) -> Tensor:
        images = self._put(array).contiguous(memory_format=self._layout)
        if images.shape[1] == 1:  # strides that may mean either layout: with these LeNet's step is a quarter shorter
            images = images.squeeze(1).unsqueeze(1)
        return images

    def _state(self) -> dict[str, Tensor]:
        """Parameters and statistics, themselves."""
        return {k: v for k, v in self.module.state_dict().items() if not k.endswith("num_batches_tracked")}

    def weights(self) -> Weights:
        return {k: _array(v) for k, v in self._state().items()}

    def load(self, weights: Mapping[str, Array]) -> None:
        arrays.check(self.tree, self.input, weights)
        load(self.module, weights)

    # ── at test ──────────────────────────────────────────────────────────────────────────────────────

    def logits(self, images: Array) -> Array:
        if self._kept:  # else float32 would come on top of it
            give_memory_back()
            self._kept = False
        self.module.eval()
        with torch.inference_mode(), self._exact():
            return _array(self.module(self._images(images)))

    def features(self, images: Array, paths: Iterable[str]) -> dict[str, Array]:
        found: dict[str, Array] = {}
        modules = dict(self.module.named_modules())
        with ExitStack() as hooks:
            for path in paths:
                if path not in modules:
                    raise UsageError(f"no layer {path!r} in this network: 'neoclassic show' lists its paths")
                hooks.enter_context(
                    modules[path].register_forward_hook(lambda _m, _x, y, path=path: found.update({path: _array(y)}))
                )
            self.logits(images)
        return found

    def sensitivity(self, images: Array, path: str, weights: Array) -> tuple[Array, Array]:
        found: list[Tensor] = []

        def tap(_module: nn.Module, _x: object, y: Tensor) -> Tensor:
            found.append(y.requires_grad_() if y.is_leaf else y)
            return found[0]

        module = dict(self.module.named_modules()).get(path)
        if module is None:
            raise UsageError(f"no layer {path!r} in this network: 'neoclassic show' lists its paths")
        self.module.eval()
        with torch.enable_grad(), self._exact():
            hook = module.register_forward_hook(tap)
            try:
                total = (self.module(self._images(images)) * self._put(weights)).sum()
            finally:
                hook.remove()
            if not found:
                raise UsageError(f"{path!r} runs in training only")
            (gradient,) = torch.autograd.grad(total, found[0])
        return _array(found[0]), _array(gradient)

    # ── in training ──────────────────────────────────────────────────────────────────────────────────

    def _loss(self, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The total loss to differentiate, the main head's mean loss, and its logits."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            outputs = self._forward(images)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        logits, *side = (each.to(self.dtype) for each in outputs)  # cross_entropy would else round to bfloat16
        main = total = functional.cross_entropy(logits, target)
        for weight, auxiliary in zip(self._auxiliary, side, strict=True):
            total = total + weight * functional.cross_entropy(auxiliary, target)
        return total, main, logits

    def _mask(self, masks: Mapping[str, Array] | None) -> None:
        if not self.module.training:
            self.module.train()
        for path, dropout in self._dropouts.items():
            dropout.generator = self._generator
            dropout.mask = self._put(masks[path]) if masks else None

    def gradients(self, images: Array, labels: Array, masks: Mapping[str, Array] | None = None) -> Gradients:
        self.module.zero_grad()
        self._mask(masks)
        with self._exact():
            total, _, logits = self._loss(self._images(images), self._put(labels))
            total.backward()
        found = {k: _array(p.grad) for k, p in self.module.named_parameters() if p.grad is not None}
        self.module.zero_grad()
        return Gradients(total.item(), _array(logits), found)

    def optimize(self, optimizer: Optimizer, rates: Mapping[str, float] | None = None) -> None:
        if self._keeps:
            keep_memory()
        self._optimizer = torch_optimizer(self.module, optimizer, rates or {}, self._device)
        if self._processes > 1:  # made here, as it learns from the parameters which of them are trained
            self._forward = nn.parallel.DistributedDataParallel(self.module)
        self._rule, self._averaged = optimizer, 0
        self._averages = {k: v.clone() for k, v in self._state().items()} if optimizer.average else {}
        self._followed = list(self._state().values())
        self._replays = (
            {} if self._device.type == "cuda" and optimizer.name != "adagrad" and self._processes == 1 else None
        )

    def step(
        self,
        images: Array,
        labels: Array,
        learning_rate: float,
        seed: int = 0,
        masks: Mapping[str, Array] | None = None,
    ) -> None:
        if self._optimizer is None or self._rule is None:
            raise UsageError("call optimize() before the first step()")
        self._generator.manual_seed(seed)
        for group in self._optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(learning_rate * group["scale"])
            else:
                group["lr"] = learning_rate * group["scale"]
        batch, target = self._images(images), self._put(labels)
        self._mask(masks)
        with self._exact():
            if self._replays is None or masks:
                self._update(batch, target)
            else:
                replay = self._replays.setdefault((batch.shape, target.shape), Replay(self._update, self._generator))
                replay(batch, target)
        self._n += len(target)
        self._kept = self._keeps
        if self._averages:
            self._averaged += 1
            keeps = self._rule.keeps(self._averaged)
            with torch.no_grad():
                torch._foreach_lerp_(list(self._averages.values()), self._followed, 1 - keeps)

    def _update(self, images: Tensor, target: Tensor) -> None:
        """What a step does where the engine computes: nothing of it waits for the host."""
        assert self._optimizer is not None
        assert self._rule is not None
        self._optimizer.zero_grad()
        total, main, logits = self._loss(images, target)
        if self._processes > 1:  # the mean of the processes' gradients is that of the batch, were their parts unequal
            whole = torch.tensor(float(len(target)), device=self._device)
            torch.distributed.all_reduce(whole)
            total = total * len(target) * self._processes / whole
        total.backward()
        if self._rule.clip:
            nn.utils.clip_grad_norm_(self.module.parameters(), self._rule.clip)
        self._optimizer.step()
        with torch.no_grad():
            self._loss_sum += main.detach().to(self._wide) * len(target)
            self._correct += (logits.argmax(1) == (target.argmax(1) if target.ndim == 2 else target)).sum()

    def swap_average(self) -> None:
        state = self._state()
        with torch.no_grad():
            for key, average in self._averages.items():
                kept = state[key].clone()
                state[key].copy_(average)
                average.copy_(kept)

    def metrics(self) -> Metrics:
        metrics = Metrics(self._loss_sum.item(), int(self._correct.item()), self._n)
        self._loss_sum.zero_()
        self._correct.zero_()
        self._n = 0
        return metrics

    def optimizer_state(self) -> Weights:
        state = self._optimizer.state if self._optimizer else {}
        names = self.module.named_parameters()
        found = {f"{k}.{slot}": _array(v) for k, p in names for slot, v in state.get(p, {}).items() if v is not None}
        if self._averages:
            found |= {f"{k}.average": _array(v) for k, v in self._averages.items()}
            found["average.step"] = np.array(self._averaged, np.float32)
        return found

    def load_optimizer_state(self, state: Mapping[str, Array]) -> None:
        if self._optimizer is None:
            raise UsageError("call optimize() before load_optimizer_state()")
        parameters = dict(self.module.named_parameters())
        self._averaged = int(state.get("average.step", 0))
        for key, array in state.items():
            name, _, slot = key.rpartition(".")
            tensor = torch.from_numpy(np.array(array))
            if slot == "average":
                self._averages[name].copy_(tensor)
            elif key != "average.step":
                where = parameters[name]
                kept = tensor if slot == "step" else torch.empty_like(where).copy_(tensor)
                self._optimizer.state[where][slot] = kept.to(where.device)


class Replay:
    """A function of tensors of the same shapes: the first calls run it, the next one records it as a CUDA graph.

    The steps of a small network are shorter than the launches of their kernels; a replay launches them all at once.
    """

    WARM_UP = 3

    def __init__(self, function: Callable[[Tensor, Tensor], None], generator: torch.Generator) -> None:
        self.function, self.generator, self.calls = function, generator, 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: tuple[Tensor, ...] = ()

    def __call__(self, *inputs: Tensor) -> None:
        self.calls += 1
        if self.calls <= self.WARM_UP:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                self.function(*inputs)
            torch.cuda.current_stream().wait_stream(stream)
            return
        if self.graph is None:
            self.inputs = tuple(tensor.clone() for tensor in inputs)
            self.graph = torch.cuda.CUDAGraph()
            self.graph.register_generator_state(self.generator)
            with torch.cuda.graph(self.graph):
                self.function(*self.inputs)
        for kept, given in zip(self.inputs, inputs, strict=True):
            kept.copy_(given)
        self.graph.replay()


def _array(tensor: Tensor) -> Array:
    """A copy on the host."""
    array: Array = tensor.detach().float().cpu().numpy().copy() if tensor.dtype == torch.bfloat16 else _plain(tensor)
    return array


def _plain(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().numpy().copy()
    return array


def torch_optimizer(
    module: nn.Module, rule: Optimizer, rates: Mapping[str, float], device: torch.device
) -> torch.optim.Optimizer:
    """torch's own, with a group for each rate and weight decay; parameters whose rate is 0 are left out."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        rate = rates.get(name, 1.0)
        parameter.requires_grad_(rate > 0)
        if rate:
            decay = rule.weight_decay if rule.decay_all or parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    cuda = device.type == "cuda"
    lists: list[dict[str, Any]] = [
        {"params": p, "lr": torch.tensor(1.0, device=device) if cuda else 1.0, "weight_decay": decay, "scale": rate}
        for (rate, decay), p in groups.items()
    ]
    fused = {"fused": True} if device.type in ("cpu", "cuda") else {}
    capturable = {"capturable": True} if cuda else {}
    match rule.name:
        case "sgd":
            return torch.optim.SGD(lists, momentum=rule.momentum, nesterov=rule.nesterov, **fused)
        case "adam":
            return torch.optim.Adam(lists, betas=rule.betas, eps=rule.eps, **fused, **capturable)
        case "adamw":
            return torch.optim.AdamW(lists, betas=rule.betas, eps=rule.eps, **fused, **capturable)
        case "rmsprop":
            return torch.optim.RMSprop(lists, alpha=rule.alpha, eps=rule.eps, momentum=rule.momentum, **capturable)
        case "adagrad":
            return torch.optim.Adagrad([{**group, "lr": 1.0} for group in lists], eps=rule.eps)
    raise unknown("optimizer", rule.name, ("sgd", "adam", "adamw", "adagrad", "rmsprop"))
