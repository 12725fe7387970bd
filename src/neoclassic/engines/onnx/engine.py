"""Run an ONNX graph with onnxruntime."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from neoclassic.base.errors import MissingAttribute, NeoclassicError, UsageError
from neoclassic.base.machine import cores
from neoclassic.engines.contract import Array
from neoclassic.engines.onnx.packages import need
from neoclassic.measure import Shape, by, measure
from neoclassic.tree import Node


class OnnxEngine:
    """The part of the contract of `engines.contract.Engine` that prediction needs: `logits`, on the CPU."""

    name = "onnx"
    device = "cpu"
    xp = np

    def __init__(self, tree: Node, input: Shape, graph: bytes, opened: Any = None) -> None:
        """graph: the content of an ONNX file. opened: what `session(graph)` returned, if it was called already.

        Raises NeoclassicError if its shapes are not those of the tree, and what `session` raises.
        """
        self.tree, self.input, self._graph = tree, input, graph
        self._session = opened or session(graph)
        ends = {end.name: end.shape[1:] for end in (*self._session.get_inputs(), *self._session.get_outputs())}
        output = list(measure(tree, input).output)
        expected = {"images": list(input), "logits": output, "probabilities": output}
        if ends != expected:
            raise NeoclassicError(f"the graph takes and gives {ends}, but its header says {expected}")

    def with_threads(self, threads: int) -> OnnxEngine:
        """Another engine for the same graph, which may run at the same time."""
        return OnnxEngine(self.tree, self.input, self._graph, session(self._graph, threads))

    def put(self, array: Array) -> Array:
        return array

    def holds(self, nbytes: int) -> bool:
        return False

    def logits(self, images: Array, exact: bool = True) -> Array:
        if tuple(images.shape[1:]) != tuple(self.input):
            raise UsageError(f"the network takes images of {by(self.input)}, not {by(images.shape[1:])}")
        try:
            logits: Array = self._session.run(["logits"], {"images": np.ascontiguousarray(images, np.float32)})[0]
        except Exception as error:  # onnxruntime has a class of exception for each error code
            raise NeoclassicError(f"the ONNX graph does not run ({' '.join(str(error).split())[:120]})") from None
        return logits

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse the rest of the contract."""
        if name.startswith("_"):
            raise AttributeError(name)
        raise MissingAttribute("the onnx engine only predicts: use --engine numpy or --engine torch")


def session(file: bytes | str | Path, threads: int = 0) -> Any:
    """Open an ONNX file, or its content, with onnxruntime on the CPU. threads: 0 means all usable cores.

    Threads that have nothing to do sleep. By default onnxruntime's would spin, and take the cores from other work: from
    a server that reads its next request, too.

    Raises UsageError if onnxruntime is not installed, and NeoclassicError for a file that it cannot run.
    """
    need("onnxruntime", "the onnx engine")
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # otherwise onnxruntime reports its use
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # errors are raised anyway
    name = "the ONNX graph" if isinstance(file, bytes) else str(file)
    try:
        content = file if isinstance(file, bytes) else Path(file).read_bytes()
        cpu = ["CPUExecutionProvider"]
        return onnxruntime.InferenceSession(content, options, providers=cpu, enable_fallback=0)  # it would print
    except OSError as error:
        raise NeoclassicError(f"cannot read {name}: {error.strerror}") from None
    except Exception as error:  # onnxruntime has a class of exception for each error code
        raise NeoclassicError(
            f"{name}: not an ONNX file that runs here ({' '.join(str(error).split())[:120]})"
        ) from None
