"""The convolution of the lab: its numbers are those of the NumPy engine, and what it costs is what `measure` counts."""

import json

import numpy as np
import pytest
from labs import Lab

from neoclassic.engines.numpy import NumpyEngine
from neoclassic.measure import measure
from neoclassic.tree import Conv2d, Sequential
from neoclassic.web.convolution import costs

CASES = {
    "standard": Conv2d(3, 3, 1, 1),
    "strided": Conv2d(2, 2, 3),
    "grouped": Conv2d(6, 3, 2, 2, 2),
    "depthwise": Conv2d(4, 5, 1, 2, 4),
    "pointwise": Conv2d(5, 1),
}


@pytest.fixture(scope="module")
def lab():
    one = Lab()
    yield one
    assert one.end() == (0, "")


def path(node, shape, step=0):
    sizes = f"out={node.out_channels}&kernel={node.kernel_size}&stride={node.stride}&padding={node.padding}"
    sides = "x".join(map(str, shape))
    return f"/lab/convolution?input={sides}&{sizes}&groups={node.groups}&step={step}"


def asked(lab, node, shape, numbers, step=0):
    return lab.json(path(node, shape, step), "POST", np.asarray(numbers, "<f4").tobytes())


@pytest.mark.parametrize("kind", CASES)
def test_the_numbers_are_those_of_the_engine(lab, kind):
    node, shape, rng = CASES[kind], (4, 7, 7), np.random.default_rng(3)
    k, out, per = node.kernel_size, node.out_channels, shape[0] // node.groups
    x, w, b = (rng.standard_normal(s).astype(np.float32) for s in (shape, (out, per, k, k), (out,)))
    exact = NumpyEngine(Sequential(conv=node), shape, {"conv.weight": w, "conv.bias": b}).features(x[None], ["conv"])
    exact = exact["conv"][0]
    numbers = np.concatenate([x.ravel(), w.ravel(), b])
    for step in (0, exact.size // 2, exact.size - 1):
        found = asked(lab, node, shape, numbers, step)
        assert np.array(found["output"], np.float32) == pytest.approx(exact, abs=1e-6)
        assert found["unit"]["value"] == pytest.approx(float(exact.flat[step]), abs=1e-6)
        assert found["unit"]["result"] == pytest.approx(found["unit"]["value"], abs=1e-5)
        assert len(found["unit"]["terms"]) == per
    assert asked(lab, node, shape, numbers, 9999)["step"] == exact.size - 1


def test_the_cost_of_each_kind_is_what_measure_counts():
    found = {one["kind"]: one for one in costs(Conv2d(8, 3, 1, 1), (4, 6, 6))}
    m = measure(Sequential(Conv2d(8, 3, 1, 1)), (4, 6, 6))
    assert (found["standard"]["parameters"], found["standard"]["macs"]) == (m.parameters, m.macs) == (296, 10368)
    assert {kind: one["macs"] for kind, one in found.items()} == {
        "standard": 8 * 4 * 9 * 36,
        "grouped": 8 * 2 * 9 * 36,
        "depthwise": 4 * 9 * 36,
        "pointwise": 8 * 4 * 36,
        "separable": 4 * 9 * 36 + 8 * 4 * 36,
    }
    assert found["separable"]["share"] == pytest.approx(1 / 8 + 1 / 9)  # 1/out + 1/k²: MobileNet's paper, section 3.1
    assert "grouped" not in {one["kind"] for one in costs(Conv2d(2, 3), (3, 6, 6))}


@pytest.mark.parametrize(
    ("node", "shape", "numbers", "said"),
    [
        (Conv2d(4, 3, groups=3), (4, 6, 6), [], "groups must divide the 4 input channels"),
        (Conv2d(4, 5), (1, 3, 3), np.zeros(9 + 104), "does not fit"),
        (Conv2d(4, 3), (1, 5, 99), [], "side must be a whole number from 1 to 12"),
        (Conv2d(9, 3), (1, 5, 5), [], "out must be a whole number from 1 to 8"),
        (Conv2d(1, 1), (1, 2, 2), np.zeros(5), "20 bytes, not the 24 of 6 numbers"),
        (Conv2d(1, 1), (1, 2, 2), [np.inf] * 6, "finite"),
        (Conv2d(1, 1), (1, 2, 2), [3e38] * 6, "too large"),
    ],
)
def test_a_wrong_request_is_told_in_one_line(lab, node, shape, numbers, said):
    status, text = lab.ask("POST", path(node, shape), np.asarray(numbers, "<f4").tobytes())
    assert status == 400
    assert said in json.loads(text)["error"]
    assert "\n" not in json.loads(text)["error"]


def test_a_parameter_that_is_missing_is_named(lab):
    status, text = lab.ask("POST", "/lab/convolution?input=1x2x2&out=1", b"")
    assert (status, "kernel must be a whole number from 1 to 5" in json.loads(text)["error"]) == (400, True)
