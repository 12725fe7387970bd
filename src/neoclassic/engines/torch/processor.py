"""What PyTorch takes long for on a processor, done otherwise: convolutions in bfloat16, means, memory."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

NARROW = 8  # channels that are too few for a processor's kernels
WIDE = 1 << 16  # input times output channels whose products are large enough to be made one by one


class Convolution(torch.autograd.Function):
    """In bfloat16 on a processor. torch's, but for the gradients that oneDNN takes very long for."""

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
            by = _by_places if C * weight.shape[1] >= WIDE and max(weight.shape[2:]) > 1 else _by_patches
            dw = by(dy, x, weight.shape, stride, padding)
            db = dy.sum((0, 2, 3)) if wanted[2] else None
            wanted[1:] = False, False
        if wanted[1] and C < NARROW and not dy.is_contiguous(memory_format=torch.channels_last):  # 4 ms, not 1
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
        return 16
    return 64 if max(stride) > 1 else 9


def _by_patches(
    dy: Tensor, x: Tensor, shape: tuple[int, ...], stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """The weights' gradient as one matrix product, of dy with the patch of x that each of its pixels sees."""
    N, C_out, H, W = dy.shape
    _, C_in, h, w = shape
    x_NHWC = functional.pad(x.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
    n, i, j, c = x_NHWC.stride()
    patches = x_NHWC.as_strided((N, H, W, h, w, C_in), (n, i * stride[0], j * stride[1], i, j, c))
    dw = dy.permute(0, 2, 3, 1).reshape(-1, C_out).t() @ patches.reshape(N * H * W, -1)
    return dw.view(C_out, h, w, C_in).permute(0, 3, 1, 2)


def _by_places(
    dy: Tensor, x: Tensor, shape: tuple[int, ...], stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """As `_by_patches`, but a matrix product for each place in the kernel, of the pixels that see no padding there.

    On a map of 3×3 these are 49 of 81: a third less time.
    """
    C_out, C_in, h, w = shape
    dy_NHWC, x_NHWC = dy.permute(0, 2, 3, 1), x.permute(0, 2, 3, 1)
    dw = torch.empty(h, w, C_out, C_in, dtype=dy.dtype)
    for i in range(h):
        rows, seen_rows = _inside(dy_NHWC.shape[1], x_NHWC.shape[1], i - padding[0], stride[0])
        for j in range(w):
            columns, seen_columns = _inside(dy_NHWC.shape[2], x_NHWC.shape[2], j - padding[1], stride[1])
            seen = x_NHWC[:, seen_rows, seen_columns].reshape(-1, C_in)
            torch.mm(dy_NHWC[:, rows, columns].reshape(-1, C_out).t(), seen, out=dw[i, j])
    return dw.permute(2, 3, 0, 1)


def _inside(n: int, size: int, shift: int, stride: int) -> tuple[slice, slice]:
    """Of n outputs in a row those that see a pixel, stride · output + shift, of the `size` inputs; and the pixels."""
    first = max(0, -(shift // stride))
    end = max(first, min(n, (size - 1 - shift) // stride + 1))
    pixels = range(stride * first + shift, size, stride)[: end - first]
    return slice(first, end), slice(pixels.start, pixels.stop, stride)


def in_blocks(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """A convolution of few channels, N×O×H×W, with the four pixels of each block of 2×2 as channels: N×4·O×H/2×W/2.

    It has half as much again to do, and lanes of the processor to do it in: LeNet's first, 1.4 ms and not 3.
    Kernels k×k with odd k, stride 1, and a padding that is even.
    """
    shifted = torch.cat([functional.pad(weight, (j, 1 - j, i, 1 - i)) for i in (0, 1) for j in (0, 1)])
    blocks = functional.pixel_unshuffle(x.bfloat16(), 2).contiguous(memory_format=torch.channels_last)
    sides = (padding // 2, padding // 2)
    biases = None if bias is None else bias.repeat(4)
    y: Tensor = Convolution.apply(blocks, functional.pixel_unshuffle(shifted, 2), biases, (1, 1), sides, 1)
    return y


def blocks_mean(x: Tensor) -> Tensor:
    """The mean of each block that `in_blocks` made, N×O×H/2×W/2."""
    C = x.shape[1] // 4
    mean = torch.eye(C, dtype=x.dtype).repeat(4, 1) / 4
    y: Tensor = x.permute(0, 2, 3, 1) @ mean
    return y.permute(0, 3, 1, 2).contiguous()


class Halved(torch.autograd.Function):
    """torch's means of 2×2 pixels, which it takes three times as long for."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        _, C, H, W = x.shape
        context.means = None
        if H * W <= SMALL and x.is_contiguous():
            context.means = _means(H, W, x.dtype)
            y: Tensor = (x.flatten(2) @ context.means).unflatten(2, (H // 2, W // 2))
            return y
        if x.dtype == torch.bfloat16 or (C >= NARROW and not x.is_contiguous()):
            return functional.avg_pool2d(x, 2)
        first, *others = (x[..., i::2, j::2] for i in (0, 1) for j in (0, 1))
        return sum(others, first) / 4

    @staticmethod
    def backward(context: Any, dy: Tensor) -> Tensor:
        N, C, H, W = dy.shape
        if context.means is not None:
            small: Tensor = (dy.flatten(2) @ context.means.t()).unflatten(2, (2 * H, 2 * W))
            return small
        last = dy.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        dx = torch.empty(N, C, 2 * H, 2 * W, dtype=dy.dtype, memory_format=layout)
        mean = dy / 4
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            dx[:, :, i::2, j::2] = mean
        return dx


SMALL = 144  # pixels of a map whose means are faster as a matrix product


def _means(H: int, W: int, dtype: torch.dtype) -> Tensor:
    """What a map, flat, is multiplied with for the means of its blocks of 2×2."""
    rows, columns = (torch.eye(n // 2, dtype=dtype).repeat_interleave(2, 0) for n in (H, W))
    return torch.kron(rows, columns) / 4


def keep_memory() -> None:
    """Let this process keep what it frees, where the C library is glibc.

    It would give the activations of a step back to the system and ask for them again in the next, page by page: a
    twelfth of ResNet-18's step in bfloat16, a quarter of LeNet's in float32.
    """
    with suppress(OSError, AttributeError, TypeError):  # another C library, another system
        glibc = ctypes.CDLL(None)
        glibc.mallopt(-4, 0)  # M_MMAP_MAX: no block has a mapping of its own
        glibc.mallopt(-1, -1)  # M_TRIM_THRESHOLD: the heap does not shrink


def give_memory_back() -> None:
    """What `keep_memory` has kept so far."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
