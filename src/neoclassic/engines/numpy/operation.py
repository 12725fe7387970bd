"""The result of an operation: its output, and the function that computes the gradients of its inputs."""

from __future__ import annotations

from collections.abc import Callable

from neoclassic.engines.contract import Array

# from the gradient of the output to those of the inputs, then of the parameters; None if it is not needed
Backward = Callable[[Array], tuple[Array | None, ...]]
Result = tuple[Array, Backward]
