"""What an ONNX file may contain before onnxruntime is given it: no more than `write` and `quantize` write.

A graph can loop, build arrays of any size from a few bytes, and read other files. This reader of the protobuf encoding
finds the operators and refuses all that; it needs no package.
"""

from __future__ import annotations

from collections.abc import Iterator

from neoclassic.base.errors import NeoclassicError

OPERATORS = {
    *("Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "Conv", "DequantizeLinear", "Div", "Flatten"),
    *("Gather", "Gemm", "GlobalAveragePool", "HardSigmoid", "HardSwish", "Identity", "LRN", "MatMul", "MaxPool", "Mul"),
    *("Neg", "Pad", "Pow", "QuantizeLinear", "ReduceSum", "Relu", "Sigmoid", "Softmax", "Sub", "Tanh", "Unsqueeze"),
}
MOST_NODES = 100_000  # ten for each node of the largest tree

# numbers of fields in onnx.proto
MODEL_GRAPH, MODEL_FUNCTIONS = 7, 25
GRAPH_NODE, GRAPH_INITIALIZER = 1, 5
NODE_OPERATOR, NODE_ATTRIBUTE, NODE_DOMAIN = 4, 5, 7
ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPHS = 5, (6, 11)
TENSOR_EXTERNAL = (13, 14)


def check(content: bytes) -> None:
    """NeoclassicError for a graph that `write` cannot have written, or bytes that are no protobuf message."""
    try:
        for number, model in _fields(memoryview(content)):
            if number == MODEL_FUNCTIONS:
                raise NeoclassicError("the graph defines functions")
            if number == MODEL_GRAPH:
                _check_graph(_message(model))
    except (IndexError, ValueError, UnicodeDecodeError):
        raise NeoclassicError("not an ONNX file, or a damaged one") from None


def _check_graph(graph: memoryview) -> None:
    nodes = 0
    for number, value in _fields(graph):
        if number == GRAPH_INITIALIZER:
            _check_tensor(_message(value))
        elif number == GRAPH_NODE:
            nodes += 1
            _check_node(_message(value))
    if nodes > MOST_NODES:
        raise NeoclassicError(f"the graph has {nodes:,} nodes, more than {MOST_NODES:,}")


def _check_node(node: memoryview) -> None:
    for number, value in _fields(node):
        if number == NODE_OPERATOR and (name := bytes(_message(value)).decode()) not in OPERATORS:
            raise NeoclassicError(f"the graph has an operator that neoclassic does not export: {name[:40]!r}")
        if number == NODE_DOMAIN and len(_message(value)):
            raise NeoclassicError("the graph has an operator from a domain other than ONNX")
        if number == NODE_ATTRIBUTE:
            for inner, attribute in _fields(_message(value)):
                if inner in ATTRIBUTE_GRAPHS:
                    raise NeoclassicError("the graph contains other graphs")
                if inner == ATTRIBUTE_TENSOR:
                    _check_tensor(_message(attribute))


def _check_tensor(tensor: memoryview) -> None:
    for number, value in _fields(tensor):
        if number in TENSOR_EXTERNAL and value != 0:
            raise NeoclassicError("the graph keeps data in other files")


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Number and value of each field: an int, or the bytes of a string, a message or a fixed-size number."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        match key & 7:
            case 0:
                value, place = _varint(message, place)
                yield key >> 3, value
                continue
            case 1:
                length = 8
            case 2:
                length, place = _varint(message, place)
            case 5:
                length = 4
            case _:
                raise ValueError(f"wire type {key & 7}")
        if place + length > len(message):
            raise ValueError("a field beyond the end")
        yield key >> 3, message[place : place + length]
        place += length


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number of more than ten bytes")


def _message(value: memoryview | int) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number in place of a message")
    return value
