"""The onnx engine: writes a network as an ONNX graph, and runs such a graph with onnxruntime.

The graph is made from the tree, without PyTorch: one or a few ONNX nodes per layer, named by its path. It uses opset 17
and float32, and takes any number of images. Its input is `images`, N×C×H×W as `to_input` makes them. Its outputs are
`logits`, and `probabilities`, the softmax of logits / temperature. The meaning of each layer is defined in `tree`; a
comment tells where ONNX defines the same word differently.

`quantize` makes a graph of 8 bits of one. `write` needs the package onnx, and `OnnxEngine` the package onnxruntime.
"""

from neoclassic.engines.onnx.engine import OnnxEngine, session
from neoclassic.engines.onnx.graph import described, write
from neoclassic.engines.onnx.limits import check
from neoclassic.engines.onnx.packages import need
from neoclassic.engines.onnx.quantize import quantize

__all__ = ["OnnxEngine", "check", "described", "need", "quantize", "session", "write"]
