"""ONNX: every node and every network gives what the torch engine gives; the file carries what a prediction needs."""

import numpy as np
import pytest
import torch

import neoclassic as nc
from neoclassic import engines, networks
from neoclassic import tree as nodes
from neoclassic.engines import weights as arrays
from neoclassic.measure import measure, smallest_input
from neoclassic.train.evaluate import softmax
from neoclassic.tree import (
    Auxiliary,
    Concat,
    Flatten,
    Identity,
    Linear,
    Product,
    Sequential,
    Sum,
)

RNG = np.random.default_rng(0)


def random_weights(tree, shape, seed=0):
    """Initial weights with running statistics, scales and shifts that are not 0 and 1."""
    rng, found = np.random.default_rng(seed), arrays.initial(tree, shape)
    for key, array in found.items():
        if array.ndim == 1:
            found[key] = rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
    return found


def assert_same_logits(tree, shape, weights=None, n=3, tolerance=1e-4):
    """The graph and the torch engine, on the same weights and images."""
    weights = weights or random_weights(tree, shape)
    images = np.random.default_rng(1).standard_normal((n, *shape), np.float32)
    ours = engines.create("onnx", tree, shape, weights).logits(images)
    theirs = engines.create("torch", tree, shape, weights, "cpu").logits(images)
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    worst = np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max())
    assert worst < tolerance, f"largest relative difference {worst:.2g}"
    assert np.abs(softmax(ours) - softmax(theirs)).max() < 1e-4
    assert (ours.argmax(1) == theirs.argmax(1)).all()


LAYERS = [
    nodes.Conv2d(8, 3, stride=2, padding=1),
    nodes.Conv2d(12, 3, padding=1, groups=6, bias=False),
    nodes.BatchNorm2d(eps=1e-3),
    Sequential(Flatten(), nodes.BatchNorm1d()),
    nodes.MaxPool2d(3, 2),
    nodes.MaxPool2d(3, 2, padding=1),
    nodes.MaxPool2d(3, 2, ceil_mode=True),
    nodes.MaxPool2d(2, 2, padding=1, ceil_mode=True),
    nodes.AvgPool2d(2),
    nodes.AvgPool2d(3, 1, padding=1),
    nodes.AvgPool2d(3, 1, padding=1, count_include_pad=False),
    nodes.AvgPool2d(3, 2, padding=1, ceil_mode=True),
    nodes.AvgPool2d(3, 2, ceil_mode=True),
    nodes.AvgPool2d(2, 3, ceil_mode=True),
    nodes.AvgPool2d(3, 2, padding=1, ceil_mode=True, count_include_pad=False),
    nodes.AdaptiveAvgPool2d(1),
    nodes.AdaptiveAvgPool2d(2),
    nodes.AdaptiveAvgPool2d(4),
    nodes.AdaptiveAvgPool2d(13),
    nodes.LocalResponseNorm(5, alpha=0.3, beta=0.75, k=2),
    nodes.LocalResponseNorm(4, alpha=0.3),
    nodes.Dropout(),
    nodes.ReLU(),
    nodes.Sigmoid(),
    nodes.Tanh(),
    nodes.Tanh(1.7159, 2 / 3),
    nodes.ReLU6(),
    nodes.Hardsigmoid(),
    nodes.Hardswish(),
    nodes.Select((4, 0, 0, 2)),
    nodes.PadChannels(9),
    Sum(Identity(), nodes.Conv2d(6, 3, padding=1), nodes.ReLU()),
    Concat(Identity(), nodes.Conv2d(2, 1), Identity()),
    Product(Identity(), Sequential(nodes.AdaptiveAvgPool2d(1), nodes.Conv2d(6, 1), nodes.Hardsigmoid())),
    Sequential(side=Auxiliary(Flatten(), Linear(3)), conv=nodes.Conv2d(4, 1)),
]


@pytest.mark.parametrize("side", [9, 10], ids=["odd", "even"])
@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_every_node_gives_what_torch_gives(layer, side):
    tree = Sequential(layer=layer, flatten=Flatten(), fc=Linear(5, bias=False))
    assert_same_logits(tree, (6, side, side + 2), tolerance=2e-5)


def test_every_kind_of_node_stands_in_a_test_above():
    tested = {type(node) for layer in LAYERS for _, node in nodes.walk(layer)} | {Sequential, Linear, nodes.RBF}
    kinds = set(nodes._every(nodes.Node)) - {nodes.Node, nodes.Combinator}
    assert kinds == tested


def test_distances_to_prototypes():
    table = tuple(tuple(row) for row in RNG.choice([-1, 1], (4, 12)).tolist())
    assert_same_logits(Sequential(Flatten(), nodes.RBF(table)), (3, 2, 2))


def test_names_that_the_graph_uses_itself_may_be_paths():
    names = {name: nodes.Conv2d(3, 1) for name in ("images", "logits", "probabilities", "cooled", "temperature")}
    assert_same_logits(Sequential(**names, flatten=Flatten()), (3, 2, 2))


def small(name):
    """A network of the zoo for seven classes and the smallest image that it takes, 32 pixels or more."""
    row = networks.entry(name)
    tree = networks.network(name, 7)
    return tree, (row.input[0],) + (max(32, smallest_input(tree, row.input[0])),) * 2


def heavy(name):
    """More than the suite has seconds for: every family stays represented."""
    m = measure(*small(name))
    return m.parameters > 6_000_000 or len(m.layers) > 300


def settled(tree, shape):
    """Initial weights whose running statistics are those of a batch, so that values neither vanish nor explode.

    A little is added to the variances: few pixels are left of so small images, and some channels hardly vary."""
    module = nc.torch.build(tree, shape)
    nc.torch.load(module, arrays.initial(tree, shape))
    for layer in module.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.momentum = 1.0
    with torch.no_grad():
        module.train()(torch.randn((16, *shape), generator=torch.Generator().manual_seed(0)))
    state = {name: array.numpy() for name, array in module.state_dict().items()}
    for name, array in state.items():
        if name.endswith("running_var"):
            array += array.mean() / 10
    return {name: state[name] for name in arrays.shapes(tree, shape)}


ZOO = [pytest.param(name, marks=[pytest.mark.slow] * heavy(name)) for name in networks.list_networks()]


@pytest.mark.parametrize("name", ZOO)
def test_every_network_gives_what_torch_gives(name):
    tree, shape = small(name)
    assert_same_logits(tree, shape, settled(tree, shape), tolerance=5e-4)
