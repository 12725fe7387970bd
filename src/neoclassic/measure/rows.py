"""The results of `measure`: a row for every path, the receptive fields, and the totals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

from neoclassic.base import display
from neoclassic.measure.layers import FLOAT, Shape
from neoclassic.measure.memory import activations
from neoclassic.tree import Combinator, Node


@dataclass(frozen=True)
class Field:
    """A receptive field: the input pixels that one output unit sees, along one axis.

    The unit at index i sees `size` pixels from i·stride + start. A negative start is in the padding.
    """

    size: int = 1
    stride: int = 1
    start: int = 0

    @property
    def centre(self) -> float:
        """Centre of the first unit's field, in pixels."""
        return self.start + (self.size - 1) / 2

    def through(self, kernel_size: int, stride: int, padding: int) -> Field:
        """The field after one more window."""
        size = self.size + (kernel_size - 1) * self.stride
        return Field(size, self.stride * stride, self.start - padding * self.stride)

    def fixed(self) -> Field:
        """The field of one unit that is broadcast to many: all of them see the same pixels."""
        return Field(self.size, 0, self.start)

    def pixels(self, unit: int, side: int) -> tuple[int, int]:
        """The first pixel that a unit sees in an image of `side` pixels, and the first pixel after the last one."""
        start = self.start + unit * self.stride
        return max(start, 0), min(start + self.size, side)

    def __or__(self, other: Field) -> Field:
        """The field of a unit that sees both. Strides differ only if one of them already covers the whole image."""
        start = min(self.start, other.start)
        end = max(self.start + self.size, other.start + other.size)
        return Field(end - start, min(self.stride, other.stride), start)


@dataclass(frozen=True)
class Row:
    """One path: a layer, or a combinator with the sums over its descendants."""

    path: str
    node: Node
    input: Shape
    output: Shape
    parameter_shapes: dict[str, Shape]
    statistic_shapes: dict[str, Shape]
    macs: int
    parameters: int
    statistics: int
    fields: tuple[Field, ...]  # along height and width
    auxiliary: bool  # in an auxiliary head, which runs in training only

    @property
    def type(self) -> str:
        """The class name of the node."""
        return type(self.node).__name__

    @property
    def bytes(self) -> int:
        """Size of the output for one image, in float32."""
        return FLOAT * prod(self.output)

    @property
    def is_layer(self) -> bool:
        """Whether the node is a leaf of the tree."""
        return not isinstance(self.node, Combinator)


@dataclass(frozen=True)
class Cost:
    """Parameters and MACs."""

    parameters: int
    macs: int


@dataclass(frozen=True)
class Memory:
    """Bytes in float32: the weights, and the activations of one batch.

    training    all arrays that are kept for the backward pass
    inference   the largest total that is alive at one time: a layer's input and output, and the inputs of all blocks
                around it, the images included

    Both are what PyTorch needs on the CPU, without the workspace of its kernels.
    """

    weights: int
    training: int
    inference: int


@dataclass(frozen=True, repr=False)
class Measure(display.Displayed):
    """The rows of all paths in order of execution. The totals are those of inference. The repr is the layer table."""

    input: Shape
    rows: tuple[Row, ...]

    def __repr__(self) -> str:
        return display.text(self)

    def __getitem__(self, path: str) -> Row:
        return self._by_path[path]

    @cached_property
    def _by_path(self) -> dict[str, Row]:
        return {row.path: row for row in self.rows}

    @property
    def layers(self) -> tuple[Row, ...]:
        """The rows of the leaves."""
        return tuple(row for row in self.rows if row.is_layer)

    @property
    def output(self) -> Shape:
        """Output shape of the network."""
        return self.rows[0].output

    @property
    def parameters(self) -> int:
        """Number of trainable values, without the auxiliary heads."""
        return sum(row.parameters for row in self.layers if not row.auxiliary)

    @property
    def statistics(self) -> int:
        """Number of running means and variances, without the auxiliary heads."""
        return sum(row.statistics for row in self.layers if not row.auxiliary)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image, without the auxiliary heads."""
        return sum(row.macs for row in self.layers if not row.auxiliary)

    @property
    def auxiliary(self) -> Cost | None:
        """What the auxiliary heads add in training; None if there are none."""
        side = [row for row in self.layers if row.auxiliary]
        return Cost(sum(row.parameters for row in side), sum(row.macs for row in side)) if side else None

    def memory(self, batch: int) -> Memory:
        """Memory for a batch of `batch` images."""
        training, inference = self._activations
        return Memory(FLOAT * (self.parameters + self.statistics), batch * training, batch * inference)

    @cached_property
    def _activations(self) -> tuple[int, int]:
        return activations(self)
