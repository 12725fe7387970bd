"""Initial weights; and one training step of every network on the torch engine, with finite gradients."""

import numpy as np
import pytest
from kinds import each

from neoclassic.engines.weights import INITIALISATIONS, initial, shapes
from neoclassic.measure import measure, smallest_input
from neoclassic.networks import entry, network
from neoclassic.tree import Conv2d, Flatten, Linear, Sequential

pytest.importorskip("torch")

from neoclassic.engines import Optimizer, create


@pytest.mark.parametrize("name", each())
def test_one_training_step(name):
    """On small images, as the wiring is under test. There are three of them, and deep networks keep maps larger than
    1×1: a batch norm over two numbers divides by almost zero."""
    tree, (channels, published, _) = network(name, classes=10), entry(name).input
    side = max(published // 4, smallest_input(tree, channels))
    shape = (channels, side, side)
    weights = initial(tree, shape)
    engine = create("torch", tree, shape, weights, device="cpu")
    images = np.random.default_rng(0).standard_normal((3, *shape), np.float32)
    labels = np.array([3, 7, 0])
    found = engine.gradients(images, labels)
    parameters = {f"{row.path}.{key}" for row in measure(tree, shape).layers for key in row.parameter_shapes}
    assert found.weights.keys() == parameters
    assert [key for key, gradient in found.weights.items() if not np.isfinite(gradient).all()] == []
    assert any(gradient.any() for gradient in found.weights.values())
    engine.optimize(Optimizer())
    engine.step(images, labels, learning_rate=1e-3)
    after = engine.weights()
    assert all(np.isfinite(array).all() for array in after.values())
    assert any(not np.array_equal(after[key], weights[key]) for key in parameters)


# ── initial weights ──────────────────────────────────────────────────────────────────────────────────

WIDE = Sequential(conv1=Conv2d(64, 5, groups=2), conv2=Conv2d(400, 3), flatten=Flatten(), fc1=Linear(300))
INPUT = (32, 9, 9)
FANS = {"conv1": (16 * 25, 64 * 25), "conv2": (64 * 9, 400 * 9), "fc1": (400 * 9, 300)}  # fan-in, fan-out

# the standard deviation of a weight, from its fans
DEVIATIONS = {
    "torch": lambda fan_in, fan_out: (1 / fan_in / 3) ** 0.5,
    "xavier": lambda fan_in, fan_out: (2 / (fan_in + fan_out)) ** 0.5,
    "xavier-normal": lambda fan_in, fan_out: (2 / (fan_in + fan_out)) ** 0.5,
    "xavier-taught": lambda fan_in, fan_out: (2 / (fan_in + fan_out)) ** 0.5,
    "he": lambda fan_in, fan_out: (2 / fan_in) ** 0.5,
    "he-open": lambda fan_in, fan_out: (2 / fan_in) ** 0.5,
    "he-fan-out": lambda fan_in, fan_out: (2 / fan_out) ** 0.5,
    "lenet-1998": lambda fan_in, fan_out: 2.4 / fan_in / 3**0.5,
    "alexnet-2012": lambda fan_in, fan_out: 0.01,
    "vgg-2014": lambda fan_in, fan_out: 0.1,
    "mobilenet": lambda fan_in, fan_out: 0.09 * 0.8796,  # of a normal cut off at two deviations
}


@pytest.mark.parametrize("scheme", INITIALISATIONS)
def test_a_scheme_draws_with_the_published_deviation(scheme):
    weights = initial(WIDE, INPUT, scheme)
    assert {key: array.shape for key, array in weights.items()} == shapes(WIDE, INPUT)
    for layer, fans in FANS.items():
        drawn = weights[f"{layer}.weight"]
        assert drawn.dtype == np.float32
        assert drawn.std() == pytest.approx(DEVIATIONS[scheme](*fans), rel=0.02)
        assert abs(drawn.mean()) < 0.02 * drawn.std()
    again = initial(WIDE, INPUT, scheme)
    assert all(np.array_equal(weights[key], again[key]) for key in weights)
    assert not np.array_equal(weights["fc1.weight"], initial(WIDE, INPUT, scheme, seed=1)["fc1.weight"])


@pytest.mark.parametrize("scheme", ["torch", "xavier-taught"])
def test_the_courses_biases_are_torchs_default(scheme):
    bias = initial(WIDE, INPUT, scheme)["conv2.bias"]
    assert 0.8 / 24 < np.abs(bias).max() <= 1 / 24  # U(±1/√fan_in)


def test_alexnets_biases_are_one_where_the_paper_says():
    weights = initial(network("alexnet", classes=10), (3, 67, 67), "alexnet-2012")
    ones = {key.removesuffix(".bias") for key, array in weights.items() if key.endswith("bias") and array.all()}
    assert ones == {"conv2", "conv4", "conv5", "fc1", "fc2"}


def test_a_network_that_ends_with_a_relu_can_start_open():
    """A class map of NiN that is 0 for every image has no gradient. With He's weights alone, there are such maps."""
    tree, shape, images = network("nin:taught", classes=10), (1, 67, 67), np.random.default_rng(0)
    closed, opened = (create("numpy", tree, shape, initial(tree, shape, s)) for s in ("he", "he-open"))
    x = images.standard_normal((8, *shape), np.float32)
    assert (closed.logits(x) == 0).all(0).any()
    assert (opened.logits(x) > 0).all()


def test_norms_start_as_the_identity():
    weights = initial(network("lenet:bn"), (1, 28, 28), "alexnet-2012")
    starts = {name: weights[f"bn1.{name}"] for name in ("weight", "bias", "running_mean", "running_var")}
    assert {name: set(array.tolist()) for name, array in starts.items()} == {
        "weight": {1.0},
        "bias": {0.0},
        "running_mean": {0.0},
        "running_var": {1.0},
    }


@pytest.mark.parametrize("name", ["resnet18:taught", "googlenet:taught", "mnist-inception"])
def test_a_relu_that_waits_for_the_pooling_behind_it_changes_no_bit(name, monkeypatch):
    tree, shape = network(name, 10), (1, 32, 32)
    weights = initial(tree, shape)
    images = np.random.default_rng(0).standard_normal((4, *shape), np.float32)
    labels = np.array([3, 7, 0, 1])

    def gradients():
        return create("torch", tree, shape, weights, device="cpu").gradients(images, labels)

    found = gradients()
    monkeypatch.setattr("neoclassic.engines.torch.faster.pool_before_relu", tuple)
    as_written = gradients()
    assert found.loss == as_written.loss
    for key, gradient in as_written.weights.items():
        np.testing.assert_array_equal(found.weights[key], gradient, err_msg=key)
