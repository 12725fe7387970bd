"""Write a network as an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np

from neoclassic import tree as nodes
from neoclassic.engines.contract import Array
from neoclassic.engines.onnx.packages import need
from neoclassic.measure import Measure, Shape, measure, output_size, pooling
from neoclassic.tree import Node, join, unknown_layer

OPSET, IR_VERSION = 17, 8  # onnxruntime reads these since version 1.12 of 2022


def write(
    tree: Node,
    input: Shape,
    weights: Mapping[str, Array],
    temperature: float = 1.0,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """The content of the ONNX file of a network.

    temperature  divides the logits before the softmax of `probabilities`
    metadata     becomes its metadata_props

    Raises UsageError if the package onnx is not installed."""
    need("onnx", "writing ONNX")
    from onnx import TensorProto, helper

    graph = _Graph(measure(tree, input), weights)
    graph.node("Identity", [graph.add(tree, "", "images")], "logits")
    scaled = "logits"
    if temperature != 1:
        scaled = graph.node("Div", ["logits", graph.constant("temperature", temperature)], "cooled")
    graph.node("Softmax", [scaled], "probabilities", axis=1)
    outputs = ("logits", "probabilities")
    classes = graph.measure.output[0]
    proto = helper.make_graph(
        graph.nodes,
        "neoclassic",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", *input])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", classes]) for name in outputs],
        graph.initializers,
    )
    model = helper.make_model(
        proto,
        producer_name="neoclassic",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    helper.set_model_props(model, dict(metadata or {}))
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def described(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """The content of an ONNX file with these metadata in place of its own."""
    import onnx

    model = onnx.load_from_string(content)
    onnx.helper.set_model_props(model, dict(metadata))
    described: bytes = model.SerializeToString(deterministic=True)
    return described


class _Graph:
    """Collects ONNX nodes and initializers. The output of a path is named by a slash and the path."""

    def __init__(self, measure: Measure, weights: Mapping[str, Array]) -> None:
        self.measure, self.weights = measure, weights
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append a node. Returns the name of its output."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: Any, dtype: type = np.float32) -> str:
        """Append an initializer. Returns its name."""
        from onnx import numpy_helper

        self.initializers.append(numpy_helper.from_array(np.array(value, dtype, order="C"), name))
        return name

    def parameters(self, path: str, *names: str) -> list[str]:
        """Append the weights of a path with these names, if it has them. Returns the names of the initializers."""
        keys = [join(path, name) for name in names if join(path, name) in self.weights]
        return [self.constant(key, self.weights[key]) for key in keys]

    def add(self, node: Node, path: str, x: str) -> str:
        """Append the nodes of `node` applied to x. Returns the name of the output."""
        match node:
            case nodes.Auxiliary() | nodes.Identity() | nodes.Dropout():
                return x
            case nodes.Sequential():
                for name, child in node.children:
                    x = self.add(child, join(path, name), x)
                return x
            case nodes.Combinator():
                branches = [self.add(child, join(path, name), x) for name, child in node.children]
                return self.merge(node, f"/{path}", branches)
        return self.leaf(node, path, x, self.measure[path].input)

    def merge(self, node: Node, name: str, branches: list[str]) -> str:
        if isinstance(node, nodes.Concat):
            return self.node("Concat", branches, name, axis=1)
        kind, y = "Add" if isinstance(node, nodes.Sum) else "Mul", branches[0]
        for i, branch in enumerate(branches[1:], 2):
            y = self.node(kind, [y, branch], name if i == len(branches) else f"{name}/{i}")
        return y

    def leaf(self, node: Node, path: str, x: str, shape: Shape) -> str:
        name = f"/{path}"
        match node:
            case nodes.Conv2d(_, k, stride, padding, groups):
                inputs = [x, *self.parameters(path, "weight", "bias")]
                window = {"kernel_shape": [k, k], "strides": [stride] * 2, "pads": [padding] * 4}
                return self.node("Conv", inputs, name, group=groups, **window)
            case nodes.Linear():
                return self.node("Gemm", [x, *self.parameters(path, "weight", "bias")], name, transB=1)
            case nodes.BatchNorm2d(eps):
                inputs = [x, *self.parameters(path, "weight", "bias", "running_mean", "running_var")]
                return self.node("BatchNormalization", inputs, name, epsilon=float(eps))
            case nodes.MaxPool2d():
                return self.node("MaxPool", [x], name, **_window(node, shape)[0])
            case nodes.AvgPool2d():
                return self.mean(node, name, x, shape)
            case nodes.AdaptiveAvgPool2d(size):
                return self.adaptive_mean(size, name, x, shape)
            case nodes.LocalResponseNorm():
                return self.local_response_norm(node, name, x, shape)
            case nodes.RBF(prototypes):
                return self.rbf(prototypes, name, x)
            case nodes.Flatten():
                return self.node("Flatten", [x], name, axis=1)
            case nodes.Select(channels):
                return self.node("Gather", [x, self.constant(f"{name}/channels", channels, np.int64)], name, axis=1)
            case nodes.PadChannels(out):
                pads = self.constant(f"{name}/pads", [0] * 5 + [out - shape[0], 0, 0], np.int64)
                return self.node("Pad", [x, pads], name)
            case nodes.Tanh(scale, slope):
                inner = self.node("Mul", [x, self.constant(f"{name}/slope", slope)], f"{name}/sloped")
                inner = self.node("Tanh", [inner], f"{name}/tanh")
                return self.node("Mul", [inner, self.constant(f"{name}/scale", scale)], name)
            case nodes.ReLU6():
                ends = [self.constant(f"{name}/{end}", v) for end, v in (("least", 0), ("most", 6))]
                return self.node("Clip", [x, *ends], name)
            case nodes.Hardsigmoid():
                return self.node("HardSigmoid", [x], name, alpha=1 / 6, beta=0.5)
            case nodes.Hardswish():
                return self.node("HardSwish", [x], name)
            case nodes.ReLU() | nodes.Sigmoid():
                return self.node({"ReLU": "Relu"}.get(type(node).__name__, "Sigmoid"), [x], name)
        raise unknown_layer("the onnx engine", node, path)

    def mean(self, node: nodes.AvgPool2d, name: str, x: str, shape: Shape) -> str:
        """Average pooling. Padding counts or not; what ceil_mode adds never counts, and ONNX has no node for that."""
        window, overhangs = _window(node, shape)
        if node.count_include_pad and overhangs and node.padding:
            p = node.padding
            pads = self.constant(f"{name}/pads", [0, 0, p, p, 0, 0, p, p], np.int64)
            x = self.node("Pad", [x, pads], f"{name}/padded")
            window["pads"] = [0, 0, *(end - p for end in window["pads"][2:])]
            return self.node("AveragePool", [x], name, count_include_pad=0, **window)
        counted = int(node.count_include_pad and not overhangs)
        return self.node("AveragePool", [x], name, count_include_pad=counted, **window)

    def adaptive_mean(self, size: int, name: str, x: str, shape: Shape) -> str:
        """Means of the windows from ⌊i·n/size⌋ to ⌈(i+1)·n/size⌉. If these differ in size, two matrix products."""
        sides = shape[1:]
        if size == 1:
            return self.node("GlobalAveragePool", [x], name)
        if not any(side % size for side in sides):
            window = [side // size for side in sides]
            return self.node("AveragePool", [x], name, kernel_shape=window, strides=window)
        rows, columns = (np.zeros((size, side), np.float32) for side in sides)
        for means in (rows, columns):
            side = means.shape[1]
            for i in range(size):
                start, end = i * side // size, ceil((i + 1) * side / size)
                means[i, start:end] = 1 / (end - start)
        across = self.node("MatMul", [x, self.constant(f"{name}/columns", columns.T)], f"{name}/across")
        return self.node("MatMul", [self.constant(f"{name}/rows", rows), across], name)

    def local_response_norm(self, node: nodes.LocalResponseNorm, name: str, x: str, shape: Shape) -> str:
        """ONNX has LRN for odd sizes only. For an even size, the sum over channels is a 1×1 convolution."""
        if node.size % 2:
            return self.node(
                "LRN", [x], name, size=node.size, alpha=float(node.alpha), beta=float(node.beta), bias=float(node.k)
            )
        channel = np.arange(shape[0])
        distance = channel[None, :] - channel[:, None]
        band = (distance >= -(node.size // 2)) & (distance < node.size - node.size // 2)
        weight = self.constant(f"{name}/band", (band * node.alpha / node.size)[..., None, None])
        bias = self.constant(f"{name}/k", np.full(shape[0], node.k, np.float32))
        squared = self.node("Mul", [x, x], f"{name}/squared")
        total = self.node("Conv", [squared, weight, bias], f"{name}/total")
        power = self.node("Pow", [total, self.constant(f"{name}/beta", node.beta)], f"{name}/power")
        return self.node("Div", [x, power], name)

    def rbf(self, prototypes: tuple[tuple[int, ...], ...], name: str, x: str) -> str:
        table = self.constant(f"{name}/prototypes", [prototypes])
        axis, last = (self.constant(f"{name}/{axis}", [i], np.int64) for axis, i in (("axis", 1), ("last", 2)))
        difference = self.node("Sub", [self.node("Unsqueeze", [x, axis], f"{name}/row"), table], f"{name}/away")
        squared = self.node("Mul", [difference, difference], f"{name}/squared")
        return self.node("Neg", [self.node("ReduceSum", [squared, last], f"{name}/sum", keepdims=0)], name)


def _window(node: nodes.MaxPool2d | nodes.AvgPool2d, shape: Shape) -> tuple[dict[str, Any], bool]:
    """The attributes of a pooling node, and whether ceil_mode makes its last window extend beyond the padding.

    ceil_mode is written as padding at the end, as ONNX's own ceil_mode has changed between versions.
    """
    k, s, p = pooling(node)
    ends = [(output_size(side, k, s, p, node.ceil_mode) - 1) * s + k - side - p for side in shape[1:]]
    pads = [p, p, *(max(end, p) for end in ends)]
    return {"kernel_shape": [k, k], "strides": [s, s], "pads": pads}, any(end > p for end in ends)
