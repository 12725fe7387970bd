"""Build the program of a tree: number the values, then find out which are freed, replaced or extended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import replace
from math import prod

from neoclassic import tree as nodes
from neoclassic.base.errors import UsageError
from neoclassic.engines.numpy.program import Instruction, Program
from neoclassic.measure import Row, Shape, measure
from neoclassic.tree import Node, join


def build_program(
    tree: Node,
    input: Shape,
    training: bool,
    keep: Iterable[str] = (),
    image_gradient: bool = False,
    frozen_norms: Container[str] = (),
) -> Program:
    """The program of a tree for an input shape.

    keep            paths whose outputs must exist at the end
    image_gradient  propagate gradients to the images, not only to the first layer with parameters
    frozen_norms    paths of the batch norms that are frozen

    Raises UsageError for a path in `keep` that does not run in this mode.
    """
    writer = _Writer({row.path: row for row in measure(tree, input).rows}, training, frozen_norms)
    if image_gradient:
        writer.trainable.add(0)
    logits = writer.write(tree, "", 0)
    heads = ((logits, 1.0), *writer.auxiliary_heads)
    kept = {writer.output(path) for path in keep} | {number for number, _ in heads}
    return Program(_linked(writer.instructions, kept), training, writer.outputs, heads)


class _Writer:
    def __init__(self, rows: dict[str, Row], training: bool, frozen_norms: Container[str]) -> None:
        self.rows, self.training, self.frozen_norms = rows, training, frozen_norms
        self.instructions: list[Instruction] = []
        self.outputs: dict[str, int] = {}
        self.auxiliary_heads: list[tuple[int, float]] = []
        self.trainable: set[int] = set()  # values that depend on a parameter

    def write(self, node: Node, path: str, x: int) -> int:
        """Append the instructions of `node`, whose input is value x. Returns the number of its output."""
        self.outputs[path] = y = self._write(node, path, x)
        return y

    def output(self, path: str) -> int:
        if path not in self.outputs:
            raise UsageError(f"no layer {path!r} that runs at inference: 'neoclassic show' lists the paths")
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
                    self.auxiliary_heads.append((y, node.weight))
                    return x
                return y
            case nodes.Combinator():
                outputs = [self.write(child, join(path, name), x) for name, child in node.children]
                return self.instruction(node, path, *outputs)
            case nodes.Identity():
                return x
            case nodes.Dropout() if not self.training:
                return x
            case nodes.AdaptiveAvgPool2d(size) if self.rows[path].input[1:] == (size, size):
                return x
        return self.instruction(node, path, x)

    def instruction(self, node: Node, path: str, *inputs: int) -> int:
        row, output = self.rows[path], len(self.instructions) + 1
        numbers = prod(row.input) + prod(row.output)
        parameters = tuple(join(path, name) for name in row.parameter_shapes) if row.is_layer else ()
        needs_dx = any(i in self.trainable for i in inputs)
        if needs_dx or parameters:
            self.trainable.add(output)
        self.instructions.append(
            Instruction(
                *(path, node, row.input, row.output[0], numbers, inputs, output, parameters),
                needs_dx=needs_dx,
                frozen=path in self.frozen_norms,
            )
        )
        return output


# whose output is a new array that their own backward does not read
_NEW_OUTPUT = (nodes.Conv2d, nodes.Linear, nodes.BatchNorm2d, nodes.Sum)
# which can write their output over their input
_CAN_OVERWRITE = (nodes.ReLU, nodes.ReLU6, nodes.Sigmoid, nodes.Tanh, nodes.BatchNorm2d)


def _linked(instructions: list[Instruction], kept: set[int]) -> tuple[Instruction, ...]:
    """Add what depends on the whole list: which inputs are freed, and which outputs replace their input."""
    readers = Counter(i for instruction in instructions for i in set(instruction.inputs))
    maker = {instruction.output: instruction for instruction in instructions}
    linked, read = [], Counter[int]()
    for instruction in instructions:
        read.update(set(instruction.inputs))
        frees = tuple(i for i in sorted(set(instruction.inputs)) if read[i] == readers[i] and i not in kept)
        first = instruction.inputs[0]
        in_place = (
            isinstance(instruction.node, _CAN_OVERWRITE)
            and first in frees
            and readers[first] == 1
            and isinstance(getattr(maker.get(first), "node", None), _NEW_OUTPUT)
        )
        linked.append(replace(instruction, frees=frees, in_place=in_place))
    return _with_capacity(linked)


def _with_capacity(instructions: list[Instruction]) -> tuple[Instruction, ...]:
    """Let a Concat whose first input is another Concat extend its array, which has room for the last of the chain."""
    joins = {i.output: i for i in instructions if isinstance(i.node, nodes.Concat)}
    extended_by: dict[int, int] = {}
    for number, instruction in joins.items():
        first = instruction.inputs[0]
        if first in joins and first not in extended_by:
            extended_by[first] = number
    extending = set(extended_by.values())

    def capacity(number: int) -> int:
        return capacity(extended_by[number]) if number in extended_by else joins[number].width

    return tuple(
        replace(i, capacity=capacity(i.output), extends=i.output in extending) if i.output in joins else i
        for i in instructions
    )
