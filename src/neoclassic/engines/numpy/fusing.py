"""Inference with fewer passes: a convolution, the batch norm after it and the activation after that are one step.

    weight / √(var + eps) · (w ⋆ x + b − mean) + bias  =  w' ⋆ x + b'

The program from `build` stays the form to read. This one computes the same, except for rounding, and is made again
after the weights have changed.
"""

from __future__ import annotations

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

_ACTIVATIONS = (nodes.ReLU, nodes.ReLU6, nodes.Sigmoid, nodes.Tanh, nodes.Hardsigmoid, nodes.Hardswish)


def fused(program: Program, weights: Mapping[str, Array]) -> Program:
    """The inference program with every convolution fused with what follows it. Its weights are copies where they
    differ from `weights`, which must not change while it is used."""
    readers: dict[int, list[Instruction]] = {}
    for instruction in program.instructions:
        for number in set(instruction.inputs):
            readers.setdefault(number, []).append(instruction)
    ends = {number for number, _ in program.heads}

    def following(instruction: Instruction, kinds: tuple[type[Node], ...]) -> Instruction | None:
        """The only reader of its output, if it is of one of these kinds."""
        readers_of = readers.get(instruction.output, [])
        single = len(readers_of) == 1 and instruction.output not in ends
        return readers_of[0] if single and isinstance(readers_of[0].node, kinds) else None

    instructions, joined = [], set[int]()
    for instruction in program.instructions:
        if instruction.output in joined:
            continue
        if not isinstance(instruction.node, nodes.Conv2d):
            instructions.append(instruction)
            continue
        norm = following(instruction, (nodes.BatchNorm2d,))
        activation = following(norm or instruction, _ACTIVATIONS)
        parts = [part for part in (norm, activation) if part]
        joined.update(part.output for part in parts)
        last = parts[-1] if parts else instruction
        kernel = _kernel(instruction, norm, activation.node if activation else None, weights)
        instructions.append(replace(instruction, output=last.output, kernel=kernel))
    return replace(program, instructions=tuple(instructions))


def _kernel(
    conv: Instruction, norm: Instruction | None, activation: Node | None, weights: Mapping[str, Array]
) -> Kernel:
    """A convolution with the batch norm and the activation after it."""
    assert isinstance(conv.node, nodes.Conv2d)
    weight, bias = weights[join(conv.path, "weight")], weights.get(join(conv.path, "bias"), np.empty(0))
    if norm is not None:
        weight, bias = _folded(norm, weight, bias, weights)
    stride, padding, groups = conv.node.stride, conv.node.padding, conv.node.groups
    activate = _in_place(activation) if activation else None
    if groups > 1 and weight.shape[1] == 1 and len(weight) == groups:
        _, H, W = conv.shape
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
    return (weight * factor[:, None, None, None]).astype(weight.dtype), shift.astype(weight.dtype)


def _in_place(node: Node) -> Activate:
    """The activation as a function that overwrites its input."""

    def activate(x: Array, new: New) -> None:
        match node:
            case nodes.ReLU():
                activations.relu(x, x, new)
            case nodes.ReLU6():
                activations.relu6(x, x, new)
            case nodes.Sigmoid():
                activations.sigmoid(x, x, new)
            case nodes.Tanh(scale, slope):
                activations.tanh(x, scale, slope, x, new)
            case nodes.Hardsigmoid():
                x[...] = activations.hardsigmoid(x, new)[0]
            case nodes.Hardswish():
                x[...] = activations.hardswish(x, new)[0]

    return activate
