"""Convolutions in bfloat16, for which oneDNN has slow cases."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

FEW_CHANNELS = 8  # oneDNN's kernels are slow for fewer
LARGE_WEIGHT = 1 << 16  # input × output channels from which one matrix product per kernel position pays
MOST_PAIRS = 1 << 14  # of output and input pixels, up to which `_weight_gradient_by_pairs` pays

Pair = tuple[int, int]


class BFloat16Conv2d(torch.autograd.Function):
    """torch's convolution in bfloat16, with other algorithms for the gradients that oneDNN computes slowly."""

    @staticmethod
    def forward(
        context: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Pair,
        padding: Pair,
        groups: int,
    ) -> Tensor:
        x, weight = x.bfloat16(), weight.bfloat16()
        context.save_for_backward(x, weight)
        context.options = stride, padding, groups
        return functional.conv2d(x, weight, None if bias is None else bias.bfloat16(), stride, padding, 1, groups)

    @staticmethod
    def backward(context: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = context.saved_tensors
        stride, padding, groups = context.options
        C = len(weight)

        def gradients(dy: Tensor, stride: Pair, needed: list[bool]) -> list[Tensor | None]:
            """torch's gradients of x, weight and bias; None for those that are not needed."""
            dx_dw_db: list[Tensor | None] = torch.ops.aten.convolution_backward(
                dy, x.to(dy.dtype), weight.to(dy.dtype), [C], stride, padding, (1, 1), False, (0, 0), groups, needed
            )
            return dx_dw_db

        needed = list(context.needs_input_grad[:3])
        dx = dw = db = None
        if needed[0] and groups > 1 and max(stride) > 1:  # 190 ms for 64 maps of 48×48; 20 ms without the stride
            dx = gradients(_dilate(dy, x, weight, stride, padding), (1, 1), [True, False, False])[0]
            needed[0] = False
        if needed[1] and (weight_gradient := _weight_gradient(dy, x, weight, stride, groups)):
            dw = weight_gradient(dy, x, weight.shape, stride, padding)
            db = dy.sum((0, 2, 3)) if needed[2] else None
            needed[1:] = False, False
        few = C < FEW_CHANNELS and not dy.is_contiguous(memory_format=torch.channels_last)
        if needed[1] and (few or _slow_depthwise(x, weight, groups)):
            _, dw, db = gradients(dy.float(), stride, [False, *needed[1:]])  # few: 1 ms in float32, 4 ms in bfloat16
            needed[1:] = False, False
        if any(needed):
            rest = gradients(dy, stride, needed)
            dx, dw, db = (ours if theirs is None else theirs for ours, theirs in zip((dx, dw, db), rest, strict=True))
        return dx, dw, db, None, None, None


def _dilate(dy: Tensor, x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """The gradient of the output of the same convolution with stride 1: dy, with zeros between its pixels."""
    N, C = dy.shape[:2]
    H, W = (x.shape[i] + 2 * padding[i - 2] - weight.shape[i] + 1 for i in (2, 3))
    dilated = dy.new_zeros(N, H, W, C).permute(0, 3, 1, 2)
    dilated[:, :, :: stride[0], :: stride[1]] = dy
    return dilated


WeightGradient = Callable[[Tensor, Tensor, tuple[int, ...], Pair, Pair], Tensor]


def _weight_gradient(dy: Tensor, x: Tensor, weight: Tensor, stride: Pair, groups: int) -> WeightGradient | None:
    """What computes the weight gradient faster than oneDNN, if anything does."""
    if groups == 1 and dy.shape[2] * dy.shape[3] <= _few_pixels(weight, stride):
        large = len(weight) * weight.shape[1] >= LARGE_WEIGHT and max(weight.shape[2:]) > 1
        return _weight_gradient_by_position if large else _weight_gradient_by_patches
    if _slow_depthwise(x, weight, groups) and dy[0, 0].numel() * x[0, 0].numel() <= MOST_PAIRS:
        return _weight_gradient_by_pairs
    return None


def _slow_depthwise(x: Tensor, weight: Tensor, groups: int) -> bool:
    """Whether it is a depthwise convolution whose weight gradient oneDNN computes without its vectorised kernels."""
    depthwise = groups == len(weight) == x.shape[1]
    return bool(depthwise and (max(weight.shape[2:]) > 3 or max(x.shape[2:]) <= 2))


def _few_pixels(weight: Tensor, stride: Pair) -> int:
    """Output pixels up to which a matrix product computes the weight gradient faster than oneDNN, as measured."""
    if max(weight.shape[2:]) == 1:
        return 16
    return 64 if max(stride) > 1 else 9


def _weight_gradient_by_patches(dy: Tensor, x: Tensor, shape: tuple[int, ...], stride: Pair, padding: Pair) -> Tensor:
    """The weight gradient as one matrix product, of dy and the input patch of each output pixel."""
    N, C_out, H, W = dy.shape
    _, C_in, h, w = shape
    x_NHWC = functional.pad(x.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
    n, i, j, c = x_NHWC.stride()
    patches = x_NHWC.as_strided((N, H, W, h, w, C_in), (n, i * stride[0], j * stride[1], i, j, c))
    dw = dy.permute(0, 2, 3, 1).reshape(-1, C_out).t() @ patches.reshape(N * H * W, -1)
    return dw.view(C_out, h, w, C_in).permute(0, 3, 1, 2)


def _weight_gradient_by_position(dy: Tensor, x: Tensor, shape: tuple[int, ...], stride: Pair, padding: Pair) -> Tensor:
    """The weight gradient as one matrix product per kernel position, over the pixels that read no padding there.

    On a map of 3×3 these are 49 of 81 pixels, which takes a third less time than `_weight_gradient_by_patches`.
    """
    C_out, C_in, h, w = shape
    dy_NHWC, x_NHWC = dy.permute(0, 2, 3, 1), x.permute(0, 2, 3, 1)
    dw = torch.empty(h, w, C_out, C_in, dtype=dy.dtype)
    for i in range(h):
        rows, input_rows = _inside(dy_NHWC.shape[1], x_NHWC.shape[1], i - padding[0], stride[0])
        for j in range(w):
            columns, input_columns = _inside(dy_NHWC.shape[2], x_NHWC.shape[2], j - padding[1], stride[1])
            inputs = x_NHWC[:, input_rows, input_columns].reshape(-1, C_in)
            torch.mm(dy_NHWC[:, rows, columns].reshape(-1, C_out).t(), inputs, out=dw[i, j])
    return dw.permute(2, 3, 0, 1)


def _inside(n: int, size: int, shift: int, stride: int) -> tuple[slice, slice]:
    """Those of n outputs whose input, at stride · output + shift, is one of `size` pixels, and these pixels."""
    first = max(0, -(shift // stride))
    end = max(first, min(n, (size - 1 - shift) // stride + 1))
    pixels = range(stride * first + shift, size, stride)[: end - first]
    return slice(first, end), slice(pixels.start, pixels.stop, stride)


def _weight_gradient_by_pairs(dy: Tensor, x: Tensor, shape: tuple[int, ...], stride: Pair, padding: Pair) -> Tensor:
    """The weight gradient of a depthwise convolution, from the products of each output pixel with each input pixel.

    Most of these products are not needed, but one matrix product per channel computes all of them, which takes a tenth
    of the time of oneDNN for 5×5 kernels or maps of 2×2.
    """
    N, C, H, W = x.shape
    dy_CPN = dy.permute(1, 2, 3, 0).reshape(C, -1, N)
    x_CNP = x.permute(1, 0, 2, 3).reshape(C, N, H * W)
    products = torch.bmm(dy_CPN, x_CNP).view(C, -1).float()
    positions = _positions((dy.shape[2], dy.shape[3]), (H, W), (shape[2], shape[3]), stride, padding)
    return (products @ positions).view(shape)


@lru_cache(64)
def _positions(outputs: Pair, inputs: Pair, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
    """1 where an output pixel reads an input pixel with a position of the kernel, (output pixels · input pixels)×k²."""

    def along(axis: int) -> Tensor:
        o, i, k = (torch.arange(sizes[axis]) for sizes in (outputs, inputs, kernel))
        return (i[:, None] == stride[axis] * o[:, None, None] - padding[axis] + k).float()

    return torch.einsum("hyi,wxj->hwyxij", along(0), along(1)).reshape(-1, kernel[0] * kernel[1])


def space_to_depth_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """A convolution to few channels, N×O×H×W, whose blocks of 2×2 pixels become channels: N×4·O×H/2×W/2.

    It does half as much work again, but fills the CPU's vector units: 1.4 ms instead of 3 for the first convolution of
    LeNet. The kernels must be k×k with odd k, the stride 1, and the padding even.
    """
    shifted = torch.cat([functional.pad(weight, (j, 1 - j, i, 1 - i)) for i in (0, 1) for j in (0, 1)])
    blocks = functional.pixel_unshuffle(x.bfloat16(), 2).contiguous(memory_format=torch.channels_last)
    sides = (padding // 2, padding // 2)
    biases = None if bias is None else bias.repeat(4)
    y: Tensor = BFloat16Conv2d.apply(blocks, functional.pixel_unshuffle(shifted, 2), biases, (1, 1), sides, 1)
    return y
