"""A tree becomes a list of instructions: each reads some numbered values and makes one.

Flattened once for a tree and a mode, run for every chunk of every batch. The forward pass goes down the list, the
backward pass goes up it with the functions that the operations gave back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from neoclassic import tree as nodes
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.engines.contract import Array
from neoclassic.engines.numpy import activations, convolution, joining, loss, normalisation, pooling
from neoclassic.engines.numpy.buffers import Buffers
from neoclassic.engines.numpy.operation import Backward, Result
from neoclassic.engines.numpy.team import Member
from neoclassic.measure import Row, Shape, measure
from neoclassic.measure import pooling as window
from neoclassic.tree import Node, join

TOGETHER = 1 << 20  # a Linear of so many weights is computed by the whole team for the whole batch


@dataclass
class Chunk:
    """Some images on their way through the network, with all that an operation may ask for.

    weights   parameters and statistics by path
    masks     by dropout path, the kept units of these images, N×…
    moments   by batch-norm path, what training saw: of the whole batch
    """

    weights: Mapping[str, Array]
    member: Member
    new: Buffers
    masks: Mapping[str, Array] = field(default_factory=dict)
    moments: dict[str, normalisation.Moments] = field(default_factory=dict)


@dataclass(frozen=True)
class Instruction:
    """One operation at its place.

    shape            of the first input, one image
    width            channels or features of the output
    inputs, output   numbers of values; 0 is the images
    parameters       keys of the weights whose gradients its backward gives, after those of the inputs
    dead             values that nobody reads afterwards
    overwrites       its first input dies here and nobody's backward looks at it: the output may take its place
    needs_dx         something before it is to be trained
    stands           a batch norm that is frozen: in training too it uses its running statistics, as they are
    room, extends    of a chain of joins: see `joining.concat`
    """

    path: str
    node: Node
    shape: Shape
    width: int
    inputs: tuple[int, ...]
    output: int
    parameters: tuple[str, ...] = ()
    dead: tuple[int, ...] = ()
    overwrites: bool = False
    needs_dx: bool = True
    stands: bool = False
    room: int = 0
    extends: bool = False

    @property
    def meets(self) -> bool:
        """In training, every member of the team has to come here at once."""
        return (isinstance(self.node, nodes.BatchNorm2d) and not self.stands) or self.together

    @property
    def together(self) -> bool:
        """A Linear layer too large for a copy of its gradient in every thread."""
        return isinstance(self.node, nodes.Linear) and self.node.out_features * prod(self.shape) >= TOGETHER


Take = Callable[[Instruction, str, Array], None]  # what receives the gradient of a parameter, given by its key


@dataclass(frozen=True)
class Program:
    """The instructions of a tree in one mode.

    outputs  the number of the value that each path puts out
    heads    (number of the logits, weight of their loss); the main head first, the auxiliary ones in training only
    widest   numbers in the largest input and output of one instruction, one image
    """

    instructions: tuple[Instruction, ...]
    training: bool
    outputs: Mapping[str, int]
    heads: tuple[tuple[int, float], ...]
    widest: int

    @property
    def meets(self) -> bool:
        """The members of a team have to meet on the way, so each takes all of its images at once."""
        return any(i.together or (self.training and i.meets) for i in self.instructions)

    def forward(self, chunk: Chunk, images_CHWN: Array, taped: bool = False) -> tuple[dict[int, Array], list[Backward]]:
        """The values that are not dead at the end; in training, or if `taped`, what takes their gradients back."""
        values, tape = {0: images_CHWN}, []
        for instruction in self.instructions:
            inputs = [values[i] for i in instruction.inputs]
            values[instruction.output], backward = _operate(instruction, chunk, self.training, inputs)
            if self.training or taped:
                tape.append(backward)
            for i in instruction.dead:
                del values[i]
        return values, tape

    def backward(self, tape: list[Backward], gradients: dict[int, Array], new: Buffers, take: Take) -> None:
        """From the gradients of the heads to those of the parameters, which `take` is given; the tape is used up."""
        for instruction in reversed(self.instructions):
            back, dy = tape.pop(), gradients.pop(instruction.output, None)
            if dy is None:  # nothing before it is to be trained
                continue
            grads = back(dy)
            n = len(instruction.inputs)
            for i, dx in zip(instruction.inputs, grads, strict=False):
                if dx is not None and instruction.needs_dx:
                    gradients[i] = np.add(gradients[i], dx, out=new(dx.shape)) if i in gradients else dx
            for key, dw in zip(instruction.parameters, grads[n:], strict=False):
                take(instruction, key, dw)  # type: ignore[arg-type]


_NONE = np.empty(0)  # stands for a bias that a layer does not have


def _operate(at: Instruction, chunk: Chunk, training: bool, inputs: list[Array]) -> Result:
    """Run one instruction."""
    x, new = inputs[0], chunk.new
    weight, bias = (chunk.weights.get(join(at.path, name), _NONE) for name in ("weight", "bias"))
    match at.node:
        case nodes.Conv2d(_, _, stride, padding, groups):
            return convolution.conv2d(x, weight, bias, stride, padding, groups, new, at.needs_dx)
        case nodes.Linear() if at.together:
            return convolution.linear_together(x, weight, bias, chunk.member, new, at.needs_dx)
        case nodes.Linear():
            return convolution.linear(x, weight, bias, new, at.needs_dx)
        case nodes.BatchNorm2d(eps):
            if training and not at.stands:
                result, chunk.moments[at.path] = normalisation.batch_norm(x, weight, bias, eps, chunk.member, new)
                return result
            mean, var = (chunk.weights[join(at.path, name)] for name in ("running_mean", "running_var"))
            factor = weight / np.sqrt(var + eps)
            out = x if at.overwrites else new(x.shape)
            return normalisation.standing_norm(x, factor, bias - mean * factor, out)
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
            return joining.multiply(*inputs, new=new)
        case nodes.Concat():
            return joining.concat(*inputs, room=at.room, extend=at.extends, new=new)
        case nodes.Hardsigmoid():
            return activations.hardsigmoid(x, new)
        case nodes.Hardswish():
            return activations.hardswish(x, new)
    out = x if at.overwrites else new(x.shape)
    match at.node:
        case nodes.ReLU():
            return activations.relu(x, out, new)
        case nodes.ReLU6():
            return activations.relu6(x, out, new)
        case nodes.Sigmoid():
            return activations.sigmoid(x, out, new)
        case nodes.Tanh(scale, slope):
            return activations.tanh(x, scale, slope, out, new)
    raise NeoclassicError(f"{at.path}: the numpy engine does not know {type(at.node).__name__}")


# ── from tree to instructions ────────────────────────────────────────────────────────────────────────


def flattened(
    tree: Node,
    input: Shape,
    training: bool,
    keep: Iterable[str] = (),
    to_images: bool = False,
    standing: Container[str] = (),
) -> Program:
    """The program of a tree for an input shape. `keep`: paths whose outputs must live until the end. `to_images`:
    gradients go back all the way, not only to the first parameter. `standing`: batch norms that are frozen.

    UsageError for a path that is not there at test."""
    writer = _Writer({row.path: row for row in measure(tree, input).rows}, training, standing)
    if to_images:
        writer.trained.add(0)
    logits = writer.write(tree, "", 0)
    heads = ((logits, 1.0), *writer.side)
    wanted = {writer.output(path) for path in keep} | {number for number, _ in heads}
    widest = max(prod(i.shape) + prod(writer.rows[i.path].output) for i in writer.instructions)
    return Program(_linked(writer.instructions, wanted), training, writer.outputs, heads, widest)


class _Writer:
    def __init__(self, rows: dict[str, Row], training: bool, standing: Container[str]) -> None:
        self.rows, self.training, self.standing = rows, training, standing
        self.instructions: list[Instruction] = []
        self.outputs: dict[str, int] = {}
        self.side: list[tuple[int, float]] = []
        self.trained: set[int] = set()  # values that depend on a parameter

    def write(self, node: Node, path: str, x: int) -> int:
        """Append what `node` does to value x; the number of its output."""
        self.outputs[path] = y = self._write(node, path, x)
        return y

    def output(self, path: str) -> int:
        if path not in self.outputs:
            raise UsageError(f"no layer {path!r} that runs at test: 'neoclassic show' lists the paths")
        return self.outputs[path]

    def _write(self, node: Node, path: str, x: int) -> int:
        match node:
            case nodes.Sequential() | nodes.Auxiliary():
                if isinstance(node, nodes.Auxiliary) and not self.training:
                    return x
                y = x
                for name, child in node.children:
                    y = self.write(child, join(path, name), y)
                if isinstance(node, nodes.Auxiliary):
                    self.side.append((y, node.weight))
                    return x
                return y
            case nodes.Combinator():
                return self.instruction(
                    node, path, *(self.write(child, join(path, name), x) for name, child in node.children)
                )
            case nodes.Identity():
                return x
            case nodes.Dropout() if not self.training:
                return x
            case nodes.AdaptiveAvgPool2d(size) if self.rows[path].input[1:] == (size, size):
                return x
        return self.instruction(node, path, x)

    def instruction(self, node: Node, path: str, *inputs: int) -> int:
        row, output = self.rows[path], len(self.instructions) + 1
        parameters = tuple(join(path, name) for name in row.parameter_shapes) if row.is_layer else ()
        needs_dx = any(i in self.trained for i in inputs)
        if needs_dx or parameters:
            self.trained.add(output)
        self.instructions.append(
            Instruction(
                *(path, node, row.input, row.output[0], inputs, output, parameters),
                needs_dx=needs_dx,
                stands=path in self.standing,
            )
        )
        return output


# whose output is a fresh array that their own backward does not look at
_FRESH = (nodes.Conv2d, nodes.Linear, nodes.BatchNorm2d, nodes.Sum)
_OVERWRITES = (nodes.ReLU, nodes.ReLU6, nodes.Sigmoid, nodes.Tanh, nodes.BatchNorm2d)


def _linked(instructions: list[Instruction], wanted: set[int]) -> tuple[Instruction, ...]:
    """With what only the whole list can tell: who reads a value last, and who may take its place."""
    readers = Counter(i for instruction in instructions for i in set(instruction.inputs))
    maker = {instruction.output: instruction for instruction in instructions}
    linked, read = [], Counter[int]()
    for instruction in instructions:
        read.update(set(instruction.inputs))
        dead = tuple(i for i in sorted(set(instruction.inputs)) if read[i] == readers[i] and i not in wanted)
        first = instruction.inputs[0]
        overwrites = (
            isinstance(instruction.node, _OVERWRITES)
            and first in dead
            and readers[first] == 1
            and isinstance(getattr(maker.get(first), "node", None), _FRESH)
        )
        linked.append(replace(instruction, dead=dead, overwrites=overwrites))
    return _with_room(linked)


def _with_room(instructions: list[Instruction]) -> tuple[Instruction, ...]:
    """Joins that only add to the join before them share the room of the last of their chain."""
    joins = {i.output: i for i in instructions if isinstance(i.node, nodes.Concat)}
    longer: dict[int, int] = {}  # join → the one that goes on from it
    for number, instruction in joins.items():
        first = instruction.inputs[0]
        if first in joins and first not in longer:
            longer[first] = number
    extending = set(longer.values())

    def room(number: int) -> int:
        return room(longer[number]) if number in longer else joins[number].width

    return tuple(
        replace(i, room=room(i.output), extends=i.output in extending) if i.output in joins else i for i in instructions
    )
