"""The engines. `create` makes one by name; the engine is always an argument, never a global setting."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from neoclassic.base.errors import UsageError, install, unknown
from neoclassic.engines import towers
from neoclassic.engines.contract import Array, Engine, Gradients, Metrics, Optimizer, Weights
from neoclassic.measure import Shape
from neoclassic.tree import Node

__all__ = [
    "ENGINES",
    "Engine",
    "Gradients",
    "Metrics",
    "Optimizer",
    "Speed",
    "Weights",
    "choose",
    "create",
    "decide",
    "to_answer",
]

ENGINES = ("numpy", "torch", "onnx")
if "torch" not in sys.modules:  # OpenMP reads it when torch is loaded
    # A thread that waits for the others should sleep. By default it spins, and takes a core from the thread that it
    # waits for as soon as another program runs: LeNet's training fell to a third of its speed. See benchmarks/busy.py.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # the drivers of NVIDIA and AMD, and Windows' for both


def choose(name: str = "auto") -> str:
    """Resolve an engine name: `auto` means torch if it is installed, and numpy otherwise.

    Raises UsageError for an unknown engine, or if torch is asked for and not installed."""
    installed = importlib.util.find_spec("torch") is not None
    if name == "auto":
        return "torch" if installed else "numpy"
    if name not in ENGINES:
        raise unknown("engine", name, ENGINES)
    if name == "torch" and not installed:
        raise UsageError(f"the torch engine needs PyTorch: {install('torch')}, or use --engine numpy")
    return name


def to_answer(name: str = "auto", device: str = "auto") -> str:
    """Resolve the name of an engine that only answers: `auto` means onnxruntime on a processor, if it is installed.

    It is faster there than PyTorch and NumPy. On a machine with a GPU, or if a device other than the processor is asked
    for, and where onnxruntime is not installed, it means what it means in `choose`. Errors as there.
    """
    if name != "auto":
        return choose(name)
    installed = {each for each in ("torch", "onnx", "onnxruntime") if importlib.util.find_spec(each)}
    gpu = sys.platform == "darwin" or any(Path(driver).exists() for driver in GPUS)
    processor = device == "cpu" or (device == "auto" and not (gpu and "torch" in installed))
    return "onnx" if processor and {"onnx", "onnxruntime"} <= installed else choose()


@dataclass(frozen=True)
class Speed:
    """How the torch engine trains: `precision` is "32" or "bf16", `compile` is "on" or "off"; both may be "auto"."""

    precision: str = "32"
    compile: str = "off"


def decide(name: str, device: str, wish: Speed, macs: int) -> Speed:
    """What "auto" means: a fixed rule and no timing, so that the same machine gives the same bytes.

    Only what `neoclassic bench --tune` was asked to measure replaces the rule; see `train.tuned`.

    bf16 where the processor has units for it. Compiled on CUDA in float32 where the run is so long that a minute of
    compiling does not matter: at least 10¹⁶ multiply-accumulates forward, `macs`. In bf16 our own kernels take
    ResNet-18's step from 5.9 ms to 3.4, compiling took it to 4.7. On a processor it would change little: in float32
    LeNet's steps were 8 % shorter, DenseNet's as long, ResNet-18's 13 % longer. UsageError for what the engine cannot
    do.
    """
    for what, value, known in (
        ("precision", wish.precision, ("auto", "32", "bf16")),
        ("compile", wish.compile, ("auto", "on", "off")),
    ):
        if value not in known:
            raise unknown(what, value, known)
    if choose(name) != "torch":
        if wish.precision == "bf16" or wish.compile == "on":
            raise UsageError(f"the {name} engine supports only float32, and cannot compile: use --engine torch")
        return Speed()
    from neoclassic.engines.torch import compiles, pick_device, takes_bfloat16

    place = pick_device(towers.names(device)[0])
    precision, compiling = wish.precision, wish.compile
    if precision == "auto":
        precision = "bf16" if takes_bfloat16(place) else "32"
    if compiling == "auto":
        long = place.type == "cuda" and precision == "32" and macs >= 10**16
        compiling = "on" if long and compiles(place) else "off"
    return Speed(precision, compiling)


def create(
    name: str,
    tree: Node,
    input: Shape,
    weights: Mapping[str, Array],
    device: str = "auto",
    speed: Speed = Speed(),
) -> Engine:
    """Make an engine for a network with its weights. The engine "onnx" only predicts.

    device  "auto", "cpu", "cuda", "cuda:1" or "mps"; a list, such as "cuda:0,cuda:1", for a network of towers
    speed   how the torch engine trains; see `decide`

    Raises UsageError if the engine is not installed or cannot use the device, and NeoclassicError if the weights do not
    fit the network.
    """
    if choose(name) == "torch":
        from neoclassic.engines.torch import TorchEngine, TowersEngine

        if towers.several(device):
            if speed.compile == "on":
                raise UsageError("a network on several devices is not compiled: use --compile off")
            return TowersEngine(tree, input, weights, device, speed.precision == "bf16")
        return TorchEngine(tree, input, weights, device, speed.precision == "bf16", speed.compile == "on")
    if device not in ("auto", "cpu"):
        raise UsageError(f"the {name} engine runs on the processor only, not on {device!r}")
    if name == "onnx":
        from neoclassic.engines.onnx import OnnxEngine, write

        return cast(Engine, OnnxEngine(tree, input, write(tree, input, weights)))
    from neoclassic.engines.numpy import NumpyEngine

    return NumpyEngine(tree, input, weights)
