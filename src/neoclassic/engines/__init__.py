"""The engines. `create` makes one by name; which engine runs is an argument, never a global."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from typing import cast

from neoclassic.engines.contract import Array, Engine, Gradients, Metrics, Optimizer, Weights
from neoclassic.errors import UsageError, unknown
from neoclassic.measure import Shape
from neoclassic.tree import Node

__all__ = ["ENGINES", "Engine", "Gradients", "Metrics", "Optimizer", "Weights", "choose", "cores", "create"]

ENGINES = ("numpy", "torch", "onnx")


def choose(name: str = "auto") -> str:
    """The engine that `auto` means here: torch when it is installed, else numpy.

    UsageError for an unknown engine, or one that is not installed."""
    installed = importlib.util.find_spec("torch") is not None
    if name == "auto":
        return "torch" if installed else "numpy"
    if name not in ENGINES:
        raise unknown("engine", name, ENGINES)
    if name == "torch" and not installed:
        raise UsageError("the torch engine needs PyTorch: pip install 'neoclassic[torch]', or use --engine numpy")
    return name


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def create(
    name: str,
    tree: Node,
    input: Shape,
    weights: Mapping[str, Array],
    device: str = "auto",
) -> Engine:
    """A network with its weights on the engine of that name; "onnx" only predicts.

    device: "auto", "cpu", "cuda", "cuda:1", "mps".
    """
    if choose(name) == "torch":
        from neoclassic.engines.torch import TorchEngine

        return TorchEngine(tree, input, weights, device)
    if device not in ("auto", "cpu"):
        raise UsageError(f"the {name} engine runs on the processor only, not on {device!r}")
    if name == "onnx":
        from neoclassic.engines.onnx import OnnxEngine, session, write

        return cast(Engine, OnnxEngine(tree, input, session(write(tree, input, weights))))
    from neoclassic.engines.numpy import NumpyEngine

    return NumpyEngine(tree, input, weights)
