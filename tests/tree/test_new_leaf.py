"""A layer that nobody has taught to a walker is an error in that walker, which names it; it is never passed over."""

import gc
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from neoclassic.base.errors import NeoclassicError
from neoclassic.engines.numpy import NumpyEngine
from neoclassic.engines.weights import initial
from neoclassic.measure import fold, layers, measure
from neoclassic.tree import Conv2d, Flatten, Linear, Node, Sequential, from_dict, to_dict
from neoclassic.views import arithmetic, blocks, drawing

SHAPE = (1, 6, 6)


@pytest.fixture
def leaky():
    """A new activation, as somebody who adds one would begin."""

    @dataclass(frozen=True, repr=False)
    class LeakyReLU(Node):
        """x where x > 0, else slope · x."""

        kind = "leakyrelu"
        slope: float = 0.01

    yield LeakyReLU
    del LeakyReLU
    gc.collect()  # it leaves the subclasses of Node, which other tests enumerate


@pytest.fixture
def scale():
    """A new layer with a parameter and MACs."""

    @dataclass(frozen=True, repr=False)
    class Scale(Node):
        kind = "scale"

    yield Scale
    del Scale
    gc.collect()


@pytest.fixture
def teach(monkeypatch):
    """Gives `measure` a rule for one more layer, so that the walkers after it are reached."""

    def add(cls: type[Node], rule: Callable[[tuple[int, ...]], layers.Layer]) -> None:
        def taught(node, x, path=""):
            return rule(x) if isinstance(node, cls) else layers.layer(node, x, path)

        monkeypatch.setattr(fold, "layer", taught)

    return add


def network(layer):
    return Sequential(Conv2d(2, 3), act=layer, flat=Flatten(), fc=Linear(3))


def test_measure_refuses_it(leaky):
    with pytest.raises(NeoclassicError, match=r"^act: measure does not know LeakyReLU: add a rule") as error:
        measure(network(leaky(0.2)), SHAPE)
    assert "\n" not in str(error.value)


def weights_of(tree):
    return initial(Sequential(Conv2d(2, 3), flat=Flatten(), fc=Linear(3)), SHAPE)


def torch_module(tree):
    pytest.importorskip("torch")
    from neoclassic.engines.torch import build

    return build(tree, SHAPE)


def onnx_graph(tree):
    pytest.importorskip("onnx")
    from neoclassic.engines import onnx

    return onnx.write(tree, SHAPE, weights_of(tree))


# by the name that the error gives the walker
WALKERS = {
    "the memory model": lambda tree: measure(tree, SHAPE).memory(1),
    "the numpy engine": lambda tree: NumpyEngine(tree, SHAPE, weights_of(tree)).logits(np.zeros((1, *SHAPE))),
    "the torch engine": torch_module,
    "the onnx engine": onnx_graph,
    "the drawing": lambda tree: drawing.tree("new", measure(tree, SHAPE)),
    "the arithmetic": lambda tree: arithmetic.explain(measure(tree, SHAPE)),
    "the drawing of blocks": lambda tree: blocks.blocks("new", measure(tree, SHAPE)),
}


@pytest.mark.parametrize("walker", WALKERS)
def test_a_walker_refuses_it(walker, leaky, teach):
    """Blocks show a layer only if it changes the shape."""
    teach(leaky, (lambda x: layers.Layer((4, 2, 2))) if "blocks" in walker else layers.Layer)
    says = f"^act: {walker.partition(' of ')[0]} .*LeakyReLU"
    with pytest.raises(NeoclassicError, match=says) as error:
        WALKERS[walker](network(leaky(0.2)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "walker",
    [lambda tree: initial(tree, SHAPE), lambda tree: arithmetic.figures(measure(tree, SHAPE), "act")],
    ids=["initial weights", "arithmetic"],
)
@pytest.mark.parametrize("macs", [0, 32])
def test_a_walker_of_parameters_refuses_a_new_layer_that_has_some(walker, macs, scale, teach):
    teach(scale, lambda x: layers.Layer(x, {"weight": x[:1]}, macs=macs))
    with pytest.raises(NeoclassicError, match=r"act: .* does not know Scale"):
        walker(network(scale()))


def test_what_needs_no_rule_takes_it(leaky, teach):
    """JSON is generic, and without parameters there is nothing to initialise."""
    teach(leaky, layers.Layer)
    tree = network(leaky(0.2))
    assert from_dict(to_dict(tree)) == tree
    assert initial(tree, SHAPE).keys() == weights_of(tree).keys()


def test_json_refuses_a_node_that_it_does_not_know_and_a_field_that_it_could_not_read(leaky):
    data = to_dict(network(leaky(0.2)))
    data["children"]["act"]["type"] = "GELU"
    with pytest.raises(NeoclassicError, match=r"unknown node .*GELU"):
        from_dict(data)

    @dataclass(frozen=True, repr=False)
    class Mode(Node):
        mode: str = "same"

    with pytest.raises(TypeError, match="'same' is not a number"):
        to_dict(Mode())
    del Mode
    gc.collect()
