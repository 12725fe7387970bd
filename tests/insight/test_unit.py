"""How one value comes about: the formula gives what the engine computed, for every kind of layer."""

import json

import numpy as np
import pytest

from neoclassic import networks
from neoclassic.base.errors import UsageError
from neoclassic.engines import weights as arrays
from neoclassic.engines.numpy import NumpyEngine
from neoclassic.insight.sheets import sheet, sheets, shown
from neoclassic.insight.unit import arithmetic, source
from neoclassic.measure import measure
from neoclassic.tree import (
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Dropout,
    Flatten,
    Identity,
    Linear,
    MaxPool2d,
    ReLU,
    Sum,
)
from neoclassic.tree import Sequential as Seq

POOLS = Seq(
    Conv2d(4, 3, stride=2, padding=1, groups=2),
    Concat(MaxPool2d(3, 2, padding=1, ceil_mode=True), AvgPool2d(3, 2, padding=1, ceil_mode=True)),
    Concat(AvgPool2d(3, 1, padding=1, count_include_pad=False), Identity()),
    Flatten(),
    Dropout(0.5),
    Linear(3, bias=False),
)
CASES = {
    "lenet": None,
    "lenet:1998": None,  # chosen maps, tanh, distances to prototypes
    "lenet:bn": None,
    "mnist-residual": None,
    "googlenet": (3, 80, 80),  # local response normalisation, concatenation
    "resnet18:a": (3, 32, 32),  # maps of zeros
    "mobilenet-v2": (3, 32, 32),  # depthwise convolutions
    "mobilenet-v3-small": (3, 32, 32),  # products, h-swish
    "pools": (2, 17, 18),
}


def ran(name):
    """The measure, the weights, an image and the outputs of a network, with statistics that are not 0 and 1."""
    tree = POOLS if name == "pools" else networks.network(name)
    shape = CASES[name] or networks.entry(name).input
    rng, weights = np.random.default_rng(0), arrays.initial(tree, shape, seed=1)
    for key, array in weights.items():
        if key.endswith("running_var"):
            weights[key] = rng.uniform(0.5, 2, array.shape).astype(np.float32)
        elif not key.endswith("weight"):
            weights[key] = rng.normal(0, 0.1, array.shape).astype(np.float32)
    image, m = rng.normal(size=shape).astype(np.float32), measure(tree, shape)
    engine = NumpyEngine(tree, shape, weights, threads=1)
    paths = [row.path for row in m.rows if not row.auxiliary]
    values = {path: array[0] for path, array in engine.features(image[None], paths).items()}
    return m, weights, image, values


@pytest.mark.parametrize("name", CASES)
def test_the_formula_gives_the_value_of_the_engine(name):
    m, weights, image, values = ran(name)
    rng = np.random.default_rng(1)
    for path in shown(m):
        corners = [tuple(0 for _ in m[path].output), tuple(n - 1 for n in m[path].output)]
        for unit in [*corners, tuple(int(rng.integers(n)) for n in m[path].output)]:
            found = arithmetic(m, weights, image, values, path, unit)
            assert found.value == values[path][unit]
            assert found.result == pytest.approx(found.value, abs=1e-5, rel=1e-5), (path, unit, found.formula)
            if isinstance(m[path].node, Conv2d):
                bias = weights.get(f"{path}.bias", np.zeros(m[path].output[0]))[unit[0]]
                total = sum(float((t.patch * t.kernel).sum()) for t in found.terms) + found.others_sum
                assert total + bias == pytest.approx(found.result)
            json.dumps(found.to_dict(), allow_nan=False)


def test_what_follows_a_convolution_is_followed():
    m, weights, image, values = ran("lenet:bn")
    found = arithmetic(m, weights, image, values, "conv1", (2, 3, 4))
    assert [path for path, _, _ in found.then] == ["bn1", "sigmoid1"]
    assert found.then[-1][2] == values["sigmoid1"][2, 3, 4]
    assert found.field == ((3, 8), (4, 9))


def test_each_layer_reads_what_comes_before_it():
    tree = Seq(Conv2d(2, 1), Sum(Identity(), Seq(BatchNorm2d(), ReLU())), Flatten())
    reads = {path: source(tree, path) for path in ("conv", "sum", "sum.identity", "sum.seq", "sum.seq.bn", "flatten")}
    assert reads["conv"] is None
    assert {reads[path] for path in ("sum", "sum.identity", "sum.seq", "sum.seq.bn")} == {"conv"}
    assert (source(tree, "sum.seq.relu"), reads["flatten"]) == ("sum.seq.bn", "sum")


@pytest.mark.parametrize(
    ("path", "unit"), [("conv9", (0, 0, 0)), ("conv1", (0, 0)), ("conv1", (6, 0, 0)), ("fc1", (120,))]
)
def test_a_unit_that_is_not_there_is_refused(path, unit):
    m, weights, image, values = ran("lenet")
    with pytest.raises(UsageError, match=r"no unit|unknown path"):
        arithmetic(m, weights, image, values, path, unit)


def test_sheets_keep_zero_and_the_sign_and_are_small():
    m, _, _, values = ran("mobilenet-v2")
    made = sheets(m, values)
    assert [one.path for one in made] == shown(m)
    for one in made:
        assert max(one.maps.shape[1:]) <= 48 or len(m[one.path].output) == 1
        exact = values[one.path]
        if exact.ndim == 3 and exact.shape[1:] == one.maps.shape[1:]:
            back = (one.maps.astype(float) - 128) / 127 * one.most
            assert np.abs(back - exact[: len(back)]).max() <= one.most / 254 + 1e-6
    assert (sheet("", np.zeros((2, 3, 3), np.float32)).maps == 128).all()
    large = sheet("", np.ones((1, 100, 100), np.float32))
    assert large.maps.shape == (1, 33, 33)
    assert (large.maps == 255).all()
