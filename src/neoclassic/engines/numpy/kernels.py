"""Convolutions for inference: with the sum and the activation after them, and without a gradient.

They compute what `convolution`, `depthwise` and `activations` compute, which are the forms to read first. `fusing` puts
them into a program.

    C  input channels    O  output channels     k  kernel size    N  images
    H, W  input map      Ho, Wo  output map     L  a padded map of all images, row after row, in one line
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from neoclassic.engines.contract import Array
from neoclassic.engines.numpy import convolution
from neoclassic.engines.numpy.buffers import New
from neoclassic.measure import Shape

BLOCK = 1 << 16  # numbers of a depthwise convolution that are computed at a time, while they are in the cache
SMALL = 36  # pixels: a depthwise convolution of a map that is not larger is a matrix product,
MANY = 8  # from this many images on: with fewer, its matrices are more numbers than the images

Activate = Callable[[Array, New], None]  # overwrites an array with its activation
_NO_BIAS = np.empty(0)


@dataclass(frozen=True)
class Convolution:
    """y = activation(w ⋆ x + b + added), by the method that `convolution.conv2d` chooses."""

    weight: Array  # O×I×k×k
    bias: Array  # O, or empty
    stride: int
    padding: int
    groups: int
    activate: Activate | None

    def __call__(self, new: New, x_CHWN: Array, added_OHWN: Array | None = None) -> Array:
        settings = (self.stride, self.padding, self.groups)
        y_OHWN, _ = convolution.conv2d(x_CHWN, self.weight, _NO_BIAS, *settings, new, need_dx=False)
        _finish(self, y_OHWN, slice(None), added_OHWN, new)
        return y_OHWN


@dataclass(frozen=True)
class Depthwise:
    """The same with one kernel per channel, on maps of H×W pixels, in one of two ways: by products or by lines."""

    weight: Array  # C×1×k×k
    bias: Array  # C, or empty
    stride: int
    padding: int
    activate: Activate | None
    map: tuple[int, int]

    def __call__(self, new: New, x_CHWN: Array, added_CHWN: Array | None = None) -> Array:
        C, *_, N = x_CHWN.shape
        y_CHWN = new((C, *self._output, N))
        if prod(self.map) <= SMALL and N >= MANY:
            self._by_products(x_CHWN, y_CHWN, added_CHWN, new)
        else:
            self._by_lines(x_CHWN, y_CHWN, added_CHWN, new)
        return y_CHWN

    @property
    def _output(self) -> tuple[int, int]:
        k = self.weight.shape[2]
        Ho, Wo = ((size + 2 * self.padding - k) // self.stride + 1 for size in self.map)
        return Ho, Wo

    def _by_products(self, x_CHWN: Array, y_CHWN: Array, added_CHWN: Array | None, new: New) -> None:
        """y = t · x for each channel. Most numbers in t are zeros, but the product is fast, and nothing is copied."""
        C, H, W, N = x_CHWN.shape
        x_CPN = x_CHWN.reshape(C, H * W, N)
        for c in _blocks(y_CHWN.shape):
            y_CQN = y_CHWN[c].reshape(c.stop - c.start, -1, N)
            np.matmul(self._matrices[c], x_CPN[c], out=y_CQN)
            _finish(self, y_CHWN, c, added_CHWN, new)

    @cached_property
    def _matrices(self) -> Array:
        """t[c, q, p]: the weight by which pixel p of the input goes into pixel q of the output."""
        (H, W), (Ho, Wo), (C, _, k, _) = self.map, self._output, self.weight.shape
        t_CQP = np.zeros((C, Ho * Wo, H * W), self.weight.dtype)
        for ho, wo, i, j in np.ndindex(Ho, Wo, k, k):
            h, w = self.stride * ho + i - self.padding, self.stride * wo + j - self.padding
            if 0 <= h < H and 0 <= w < W:
                t_CQP[:, ho * Wo + wo, h * W + w] = self.weight[:, 0, i, j]
        return t_CQP

    def _by_lines(self, x_CHWN: Array, y_CHWN: Array, added_CHWN: Array | None, new: New) -> None:
        """y = Σ over i, j of w[:, i, j] · the line of x from that pixel on, in one pass for a few channels.

        The line computes a few numbers after each row that are no outputs; they are left out when y is written.
        """
        C, Ho, Wo, N = y_CHWN.shape
        over = (self.weight.shape[2] - 1) // self.stride  # rows and columns that the outputs read beyond their own
        h, w = Ho + over, Wo + over
        blocks = list(_blocks((C, h, w, N, self.stride**2)))
        count = blocks[0].stop
        first, *others = self._parts(x_CHWN, count, h, w, new)
        sum_CL, product_CL = new((count, Ho * w * N)), new((count, Ho * w * N))
        outputs = sum_CL.reshape(count, Ho, w, N)[:, :, :Wo]
        for c in blocks:
            n = c.stop - c.start
            first.multiply(c, sum_CL[:n])
            for part in others:
                part.multiply(c, product_CL[:n])
                sum_CL[:n] += product_CL[:n]
            y_CHWN[c] = outputs[:n]
            _finish(self, y_CHWN, c, added_CHWN, new)

    def _parts(self, x_CHWN: Array, count: int, h: int, w: int, new: New) -> Iterator[_Part]:
        """The lines of h×w pixels that `count` channels need: with a stride of s, one for each place (a, b) in a step.

        It has the pixels (s·row + a, s·column + b) of the padded map, so neighbours in it are one step apart.
        """
        s, N, (Ho, _) = self.stride, x_CHWN.shape[3], self._output
        over = h - Ho
        for a, b in np.ndindex(*(min(s, size) for size in self.weight.shape[2:])):
            line_CL, w_Cij = new((count, (h * w + over) * N)), self.weight[:, 0, a::s, b::s]
            line_CL[...] = 0  # the padding, into which nothing is copied
            rows, to_rows = _inside(self.map[0], h, a, s, self.padding)
            columns, to_columns = _inside(self.map[1], w, b, s, self.padding)
            copy = line_CL[:, : h * w * N].reshape(count, h, w, N)[:, to_rows, to_columns]
            step = line_CL.itemsize
            steps = (line_CL.strides[0], w * N * step, N * step, step)
            read = as_strided(line_CL, (count, *w_Cij.shape[1:], Ho * w * N), steps, writeable=False)
            yield _Part(x_CHWN[:, rows, columns], copy, read, w_Cij)


class _Part(NamedTuple):
    """A line, and the weights of what is read from it.

    pixels  the pixels of x that are copied to the line, for all channels
    copy    their places in the line
    read    C×i×j×L, what the weight at (i, j) reads: the line from another pixel on
    weight  C×i×j
    """

    pixels: Array
    copy: Array
    read: Array
    weight: Array

    def multiply(self, channels: slice, out: Array) -> None:
        """out = Σ over i, j of the weights of these channels · what they read."""
        n = len(out)
        self.copy[:n] = self.pixels[channels]
        np.einsum("cijl,cij->cl", self.read[:n], self.weight[channels], out=out)


def _inside(size: int, end: int, offset: int, stride: int, padding: int) -> tuple[slice, slice]:
    """Of the places stride · i + offset in a padded row of pixels, i < end, those inside: the pixels, and their i."""
    first = max(0, -(-(padding - offset) // stride))
    last = max(first, min(end, (size - 1 + padding - offset) // stride + 1))
    start = stride * first + offset - padding
    return slice(start, start + stride * (last - first), stride), slice(first, last)


def _finish(kernel: Convolution | Depthwise, y_CHWN: Array, c: slice, added_CHWN: Array | None, new: New) -> None:
    """y = activation(y + b + added) for some channels."""
    y = y_CHWN[c]
    if len(kernel.bias):
        y += kernel.bias[c, None, None, None]
    if added_CHWN is not None:
        y += added_CHWN[c]
    if kernel.activate:
        kernel.activate(y, new)


def _blocks(shape: Shape) -> Iterator[slice]:
    """Channels, as many at a time as are in one block, but at least one."""
    step = max(1, BLOCK // max(1, prod(shape[1:])))
    for c in range(0, shape[0], step):
        yield slice(c, min(c + step, shape[0]))
