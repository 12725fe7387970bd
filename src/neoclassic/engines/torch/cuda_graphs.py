"""Training steps as CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class GraphedFunction:
    """A function of tensors with fixed shapes. After some calls it is captured as a CUDA graph, which is then replayed.

    The steps of a small network are shorter than the launches of their kernels; a replay launches them all at once.
    """

    WARM_UP = 3  # calls before the capture

    def __init__(self, function: Callable[..., Any], generator: torch.Generator) -> None:
        self.function, self.generator, self.calls = function, generator, 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: tuple[Tensor, ...] = ()
        self.output: Any = None  # each replay overwrites it

    def __call__(self, *inputs: Tensor) -> Any:
        self.calls += 1
        if self.calls <= self.WARM_UP:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                output = self.function(*inputs)
            torch.cuda.current_stream().wait_stream(stream)
            return output
        if self.graph is None:
            self.graph = self._capture(inputs)
        for captured, given in zip(self.inputs, inputs, strict=True):
            captured.copy_(given)
        self.graph.replay()
        return self.output

    def _capture(self, inputs: tuple[Tensor, ...]) -> torch.cuda.CUDAGraph:
        self.inputs = tuple(tensor.clone() for tensor in inputs)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.generator)
        with torch.cuda.graph(graph):
            self.output = self.function(*self.inputs)
        return graph
