"""Inference with fewer passes: a convolution is one step with the batch norm, the sum and the activation after it.

    weight / √(var + eps) · (w ⋆ x + b − mean) + bias  =  w' ⋆ x + b'

The program from `build` stays the form to read. This one computes the same, except for rounding, and is made again
after the weights have changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from neoclassic import tree as nodes
from neoclassic.engines.contract import Array
from neoclassic.engines.numpy import activations
from neoclassic.engines.numpy.buffers import New
from neoclassic.engines.numpy.kernels import Activate, Convolution, Depthwise
from neoclassic.engines.numpy.program import Instruction, Kernel, Program
from neoclassic.tree import Node, join

# what may follow a convolution, in this order; each is optional
_FOLLOWING = {
    "norm": (nodes.BatchNorm2d,),
    "sum": (nodes.Sum,),
    "activation": (nodes.ReLU, nodes.ReLU6, nodes.Sigmoid, nodes.Tanh, nodes.Hardsigmoid, nodes.Hardswish),
}


def fused(program: Program, weights: Mapping[str, Array]) -> Program:
    """The inference program with every convolution fused with what follows it. Its weights are copies where they
    differ from `weights`, which must not change while it is used."""
    reads = Counter(number for instruction in program.instructions for number in instruction.inputs)
    reads.update(number for number, _ in program.heads)
    instructions, left = [], list(program.instructions)
    while left:
        if isinstance(left[0].node, nodes.Conv2d):
            group = _group(left, reads)
            instructions.append(_fused(group, weights))
            del left[: len(group)]
        else:
            instructions.append(left.pop(0))
    return replace(program, instructions=tuple(instructions))


def _group(instructions: list[Instruction], reads: Mapping[int, int]) -> dict[str, Instruction]:
    """The convolution that comes first, and those of the next instructions that only its output needs."""
    last = instructions[0]
    group = {"conv": last}
    for role, kinds in _FOLLOWING.items():
        if len(group) == len(instructions):
            break
        after = instructions[len(group)]
        only_reader = last.output in after.inputs and reads[last.output] == 1
        if only_reader and isinstance(after.node, kinds) and len(after.inputs) <= 2:
            group[role] = last = after
    return group


def _fused(group: Mapping[str, Instruction], weights: Mapping[str, Array]) -> Instruction:
    """One instruction for all of a group. With a sum, its second input is the sum's other one."""
    conv, last = group["conv"], list(group.values())[-1]
    weight, bias = weights[join(conv.path, "weight")], weights.get(join(conv.path, "bias"), np.empty(0))
    if "norm" in group:
        weight, bias = _folded(group["norm"], weight, bias, weights)
    made = {instruction.output for instruction in group.values()}
    others = [number for instruction in group.values() for number in instruction.inputs if number not in made]
    frees = [number for instruction in group.values() for number in instruction.frees if number not in made]
    activate = _in_place(group["activation"].node) if "activation" in group else None
    kernel = _kernel(conv, weight, bias, activate)
    return replace(conv, inputs=tuple(others), output=last.output, frees=tuple(frees), kernel=kernel)


def _kernel(conv: Instruction, weight: Array, bias: Array, activate: Activate | None) -> Kernel:
    assert isinstance(conv.node, nodes.Conv2d)
    (C, H, W), stride, padding, groups = conv.shape, conv.node.stride, conv.node.padding, conv.node.groups
    if C == conv.width == groups > 1:
        return Depthwise(weight, bias, stride, padding, activate, (H, W))
    return Convolution(weight, bias, stride, padding, groups, activate)


def _folded(norm: Instruction, weight: Array, bias: Array, weights: Mapping[str, Array]) -> tuple[Array, Array]:
    """w' and b', computed in float64."""
    assert isinstance(norm.node, nodes.BatchNorm2d)
    scale, shift, mean, var = (
        weights[join(norm.path, name)].astype(np.float64) for name in ("weight", "bias", "running_mean", "running_var")
    )
    factor = scale / np.sqrt(var + norm.node.eps)
    shift += ((bias if len(bias) else 0) - mean) * factor
    with np.errstate(over="ignore"):  # weights that are too large give infinite logits, as in the program to read
        return (weight * factor[:, None, None, None]).astype(weight.dtype), shift.astype(weight.dtype)


def _in_place(node: Node) -> Activate:
    """The activation as a function that overwrites its input."""

    def activate(x: Array, new: New) -> None:
        result = activations.activation(node, x, True, new)
        assert result
        if result[0] is not x:
            x[...] = result[0]

    return activate
