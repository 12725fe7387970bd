"""A network as a list of instructions. Each reads numbered values and computes one new value.

A program is built once for a tree and a mode (`build`), and runs for every chunk of every batch. The forward pass goes
through the list from first to last. The backward pass goes from last to first, with the functions that the operations
returned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np

from neoclassic import tree as nodes
from neoclassic.engines.contract import Array
from neoclassic.engines.numpy import activations, convolution, joining, linear, loss, normalisation, pooling
from neoclassic.engines.numpy.buffers import Buffers
from neoclassic.engines.numpy.operation import Backward, Result
from neoclassic.engines.numpy.team import Member
from neoclassic.measure import Shape
from neoclassic.measure import pooling as window
from neoclassic.tree import Node, join, unknown_layer

TEAM_WIDE = 1 << 20  # from this many weights on, a Linear layer is computed by the whole team for the whole batch


@dataclass
class Chunk:
    """Some images on their way through the network, with everything that the operations need.

    weights   parameters and statistics by path
    masks     for each dropout path, the kept units of these images, N×…
    moments   for each batch-norm path, the moments of the whole batch in training
    rooms     for each output of a Concat that a later one extends, the array that it is the start of
    """

    weights: Mapping[str, Array]
    member: Member
    new: Buffers
    masks: Mapping[str, Array] = field(default_factory=dict)
    moments: dict[str, normalisation.Moments] = field(default_factory=dict)
    rooms: dict[int, Array] = field(default_factory=dict)


Kernel = Callable[..., Array]  # computes an output from a source of new arrays and the inputs, without a gradient


@dataclass(frozen=True)
class Instruction:
    """One operation of a program.

    shape            shape of the first input, for one image
    width            channels or features of the output
    numbers          numbers in the first input and the output, for one image
    inputs, output   numbers of values; 0 is the images
    parameters       keys of the weights whose gradients its backward returns, after those of the inputs
    frees            inputs that no later instruction reads
    in_place         the output may replace the first input: nothing else reads it, neither forward nor backward
    needs_dx         whether its inputs depend on a parameter, so that the gradient has to go on
    frozen           a batch norm that is frozen: it uses its running statistics in training, too
    capacity         of a Concat: the channels of the last Concat in its chain (see `joining.concat`)
    extends          of a Concat: whether it adds to the array of its first input
    kernel           computes the output in inference, in place of the operation of the node (see `fusing`)
    """

    path: str
    node: Node
    shape: Shape
    width: int
    numbers: int
    inputs: tuple[int, ...]
    output: int
    parameters: tuple[str, ...] = ()
    frees: tuple[int, ...] = ()
    in_place: bool = False
    needs_dx: bool = True
    frozen: bool = False
    capacity: int = 0
    extends: bool = False
    kernel: Kernel | None = None

    @property
    def synchronises(self) -> bool:
        """Whether all members of the team have to execute it at the same time in training."""
        return (isinstance(self.node, nodes.BatchNorm2d) and not self.frozen) or self.team_wide

    @property
    def team_wide(self) -> bool:
        """Whether it is a Linear layer too large for a copy of its gradient in every thread."""
        return isinstance(self.node, nodes.Linear) and self.node.out_features * prod(self.shape) >= TEAM_WIDE


AddGradient = Callable[[Instruction, str, Array], None]  # receives the gradient of a parameter, given by its key


@dataclass(frozen=True)
class Program:
    """The instructions of a tree in one mode.

    outputs  the number of the value that each path returns
    heads    (number of the logits, weight of their loss): the main head first, the auxiliary ones in training only
    """

    instructions: tuple[Instruction, ...]
    training: bool
    outputs: Mapping[str, int]
    heads: tuple[tuple[int, float], ...]

    @property
    def widest(self) -> int:
        """Numbers in the largest input and output of one instruction, for one image."""
        return max((i.numbers for i in self.instructions), default=1)

    @property
    def synchronises(self) -> bool:
        """Whether the members of a team have to wait for each other, so that each takes all its images at once."""
        return any(i.team_wide or (self.training and i.synchronises) for i in self.instructions)

    def forward(self, chunk: Chunk, images_CHWN: Array, taped: bool = False) -> tuple[dict[int, Array], list[Backward]]:
        """Run the forward pass. Returns the values that are needed at the end, and the tape of backward functions.

        The tape is recorded in training, or if `taped`."""
        values, tape = {0: images_CHWN}, []
        for instruction in self.instructions:
            inputs = [values[i] for i in instruction.inputs]
            values[instruction.output], backward = _execute(instruction, chunk, self.training, inputs)
            if self.training or taped:
                tape.append(backward)
            for i in instruction.frees:
                del values[i]
        return values, tape

    def backward(
        self, tape: list[Backward], gradients: dict[int, Array], new: Buffers, add_gradient: AddGradient
    ) -> None:
        """Run the backward pass from the gradients of the heads, and empty the tape.

        add_gradient: is called with the gradient of each parameter."""
        for instruction in reversed(self.instructions):
            back, dy = tape.pop(), gradients.pop(instruction.output, None)
            if dy is None:  # no parameter comes before it
                continue
            grads = back(dy)
            n = len(instruction.inputs)
            for i, dx in zip(instruction.inputs, grads, strict=False):
                if dx is not None and instruction.needs_dx:
                    gradients[i] = np.add(gradients[i], dx, out=new(dx.shape)) if i in gradients else dx
            for key, dw in zip(instruction.parameters, grads[n:], strict=False):
                add_gradient(instruction, key, dw)  # type: ignore[arg-type]


# ── one instruction ──────────────────────────────────────────────────────────────────────────────────

_NONE = np.empty(0)  # replaces the bias of a layer that has none


def _execute(at: Instruction, chunk: Chunk, training: bool, inputs: list[Array]) -> Result:
    """Execute one instruction."""
    x, new = inputs[0], chunk.new
    if at.kernel:
        return at.kernel(new, *inputs), _no_gradient
    match at.node:
        case nodes.Conv2d(_, _, stride, padding, groups):
            weight, bias = _weight_and_bias(at, chunk)
            return convolution.conv2d(x, weight, bias, stride, padding, groups, new, at.needs_dx)
        case nodes.Linear():
            weight, bias = _weight_and_bias(at, chunk)
            if at.team_wide:
                return linear.team_wide_linear(x, weight, bias, chunk.member, at.needs_dx)
            return linear.linear(x, weight, bias, new, at.needs_dx)
        case nodes.BatchNorm2d():
            return _batch_norm(at, at.node, chunk, training, x)
        case nodes.LocalResponseNorm(size, alpha, beta, k):
            return normalisation.local_response_norm(x, size, alpha, beta, k, new)
        case nodes.MaxPool2d():
            return pooling.max_pool2d(x, *window(at.node), at.node.ceil_mode, new)
        case nodes.AvgPool2d():
            return pooling.avg_pool2d(x, *window(at.node), at.node.ceil_mode, at.node.count_include_pad, new)
        case nodes.AdaptiveAvgPool2d(size):
            return pooling.adaptive_avg_pool2d(x, size, new)
        case nodes.Dropout(p):
            return activations.dropout(x, np.moveaxis(chunk.masks[at.path], 0, -1), p, new)
        case nodes.Flatten():
            return joining.flatten(x)
        case nodes.Select(channels):
            return joining.select(x, channels)
        case nodes.PadChannels(out_channels):
            return joining.pad_channels(x, out_channels, new)
        case nodes.RBF(prototypes):
            return loss.rbf(x, np.array(prototypes, x.dtype), new)
        case nodes.Sum():
            return joining.add(*inputs, new=new)
        case nodes.Product():
            return joining.multiply(*inputs)
        case nodes.Concat():
            return joining.concat(*inputs, room=_room(at, chunk, x), extend=at.extends)
    result = activations.activation(at.node, x, at.in_place, new)
    if result is None:
        raise unknown_layer("the numpy engine", at.node, at.path)
    return result


def _no_gradient(dy: Array) -> tuple[Array | None, ...]:
    raise NotImplementedError("kernels are for inference")


def _weight_and_bias(at: Instruction, chunk: Chunk) -> tuple[Array, Array]:
    weight, bias = (chunk.weights.get(join(at.path, name), _NONE) for name in ("weight", "bias"))
    return weight, bias


def _batch_norm(at: Instruction, node: nodes.BatchNorm2d, chunk: Chunk, training: bool, x: Array) -> Result:
    weight, bias = _weight_and_bias(at, chunk)
    if training and not at.frozen:
        result, chunk.moments[at.path] = normalisation.batch_norm(x, weight, bias, node.eps, chunk.member, chunk.new)
        return result
    mean, var = (chunk.weights[join(at.path, name)] for name in ("running_mean", "running_var"))
    factor = weight / np.sqrt(var + node.eps)
    out = x if at.in_place else chunk.new(x.shape)
    return normalisation.frozen_batch_norm(x, factor, bias - mean * factor, out)


def _room(at: Instruction, chunk: Chunk, x: Array) -> Array:
    """The array that the output of a Concat is the start of."""
    room = chunk.rooms.pop(at.inputs[0]) if at.extends else chunk.new((at.capacity, *x.shape[1:]))
    if at.capacity > at.width:
        chunk.rooms[at.output] = room
    return room
