"""An ONNX file is given to onnxruntime only if its graph is one that neoclassic could have exported."""

import numpy as np
import onnx
import pytest
from helpers import needs
from onnx import TensorProto, helper

from neoclassic import networks
from neoclassic.base.errors import NeoclassicError
from neoclassic.engines import weights
from neoclassic.engines.onnx import check, limits, write
from neoclassic.measure import measure
from neoclassic.model.opening import open_model
from neoclassic.tree import AdaptiveAvgPool2d, Conv2d, Flatten, Linear, LocalResponseNorm, Sequential

needs("onnxruntime")


def small():
    """The networks of the zoo with less than three million parameters, which have nearly every kind of node."""
    for name in networks.list_networks():
        tree, shape = networks.network(name), networks.entry(name).input
        if measure(tree, shape).parameters < 3_000_000:
            yield tree, shape
    norms = LocalResponseNorm(2), LocalResponseNorm(3)  # odd sizes are an operator of ONNX
    yield Sequential(Conv2d(4, 3), *norms, AdaptiveAvgPool2d(2), Flatten(), Linear(2)), (1, 9, 9)


def test_whatever_is_exported_passes():
    used = set()
    for tree, shape in small():
        zeros = {key: np.zeros(size, np.float32) for key, size in weights.shapes(tree, shape).items()}
        content = write(tree, shape, zeros, temperature=2.0)
        check(content)
        used |= {node.op_type for node in onnx.load_from_string(content).graph.node}
    assert used | {"QuantizeLinear", "DequantizeLinear"} == limits.OPERATORS  # which test_int8.py writes


def graph(*nodes, initializers=(), functions=()):
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 1, 4, 4])
    inner = helper.make_graph(nodes, "g", [images], [], initializers)
    return helper.make_model(inner, functions=list(functions), opset_imports=[helper.make_opsetid("", 17)])


def body():
    return helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "body", [], [])


def external():
    tensor = onnx.numpy_helper.from_array(np.zeros(3, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


RELU = helper.make_node("Relu", ["images"], ["y"])
HOSTILE = {
    "a loop": (graph(helper.make_node("Loop", ["n"], ["y"], body=body())), "does not export: 'Loop'"),
    "a graph in an attribute": (
        graph(helper.make_node("Relu", ["images"], ["y"], body=body())),
        "contains other graphs",
    ),
    "graphs": (graph(helper.make_node("Relu", ["images"], ["y"], bodies=[body()])), "contains other graphs"),
    "an array from a few bytes": (graph(helper.make_node("ConstantOfShape", ["n"], ["y"])), "'ConstantOfShape'"),
    "another domain": (graph(helper.make_node("Relu", ["images"], ["y"], domain="com.example")), "a domain other than"),
    "data elsewhere": (graph(RELU, initializers=[external()]), "keeps data in other files"),
    "data elsewhere in an attribute": (
        graph(helper.make_node("Relu", ["images"], ["y"], value=external())),
        "other files",
    ),
    "a function": (
        graph(RELU, functions=[helper.make_function("d", "f", ["a"], ["b"], [RELU], [helper.make_opsetid("", 17)])]),
        "defines functions",
    ),
    "many nodes": (graph(*[RELU] * (limits.MOST_NODES + 1)), "has 100,001 nodes"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_other_graphs_are_refused_in_one_line_before_they_run(what, tmp_path, monkeypatch):
    model, reason = HOSTILE[what]
    path = tmp_path / "hostile.onnx"
    path.write_bytes(model.SerializeToString())
    monkeypatch.setattr("neoclassic.engines.onnx.session", lambda *_: pytest.fail("onnxruntime was given it"))
    with pytest.raises(NeoclassicError, match=reason) as error:
        open_model(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", [b"\x0b", b"\x3a\xff\xff\xff\xff\x7f", b"\x38\x01", b"\x3a\x02\x08\x80", b"\xff" * 40]
)
def test_bytes_that_are_no_message_are_refused(content):
    with pytest.raises(NeoclassicError, match="not an ONNX file"):
        check(content)


def test_every_cut_of_a_file_is_refused_or_read():
    tree, shape = networks.network("lenet"), (1, 28, 28)
    content = write(tree, shape, weights.initial(tree, shape))
    for end in [*range(400), *range(400, len(content), 997)]:
        try:
            check(content[:end])
        except NeoclassicError as error:
            assert "not an ONNX file" in str(error)  # noqa: PT017
