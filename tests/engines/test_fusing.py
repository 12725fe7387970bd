"""Inference with fused convolutions against the readable form: every geometry, whole networks, changed weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import batch_of, close, weights_of

from neoclassic.engines.contract import Optimizer
from neoclassic.engines.numpy import NumpyEngine, activations, depthwise, fusing, kernels, shares
from neoclassic.engines.numpy.buffers import Buffers
from neoclassic.engines.numpy.build import build_program
from neoclassic.networks import network
from neoclassic.tree import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Hardswish,
    Identity,
    Linear,
    Node,
    ReLU,
    ReLU6,
    Sequential,
    Sum,
)


def readable(engine, images):
    """The logits from the program that is not fused."""
    return engine.features(images, [""])[""]


def engine_of(tree, shape, dtype=np.float64):
    return NumpyEngine(tree, shape, weights_of(tree, shape, dtype), threads=1)


def separable(channels):
    """A depthwise and a pointwise convolution with a shortcut, as in MobileNet V2."""
    depth = (Conv2d(channels, 3, padding=1, groups=channels, bias=False), BatchNorm2d(), ReLU6())
    return Sum(Sequential(*depth, Conv2d(channels, 1, bias=False), BatchNorm2d()), Identity())


def classifier(*nodes: Node) -> Node:
    return Sequential(*nodes, AdaptiveAvgPool2d(), Flatten(), Linear(5))


# ── kernels ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("block", [1, 1 << 30])
@pytest.mark.parametrize("way", ["_by_products", "_by_lines"])
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(1, 4), st.integers(0, 3), st.integers(1, 3))
def test_a_depthwise_kernel_agrees_with_the_readable_form(way, block, H, W, k, stride, padding, N):
    if min(H, W) + 2 * padding < k:
        return
    rng, new, C = np.random.default_rng(0), Buffers(np.dtype(np.float64)), 3
    x, w, b = rng.standard_normal((C, H, W, N)), rng.standard_normal((C, 1, k, k)), rng.standard_normal(C)
    wanted, _ = depthwise.depthwise(x, w, b, stride, padding, new)
    added = rng.standard_normal(wanted.shape)
    wanted, _ = activations.relu(wanted + added, np.empty_like(wanted), new)
    kernel = kernels.Depthwise(w, b, stride, padding, lambda y, new: activations.relu(y, y, new), (H, W))
    found = np.full(wanted.shape, np.nan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "BLOCK", block)
        getattr(kernel, way)(x, found, added, new)
    np.testing.assert_allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize(("images", "way"), [(kernels.MANY, "_by_products"), (kernels.MANY - 1, "_by_lines")])
def test_the_way_depends_on_the_number_of_images(images, way, monkeypatch):
    used = []
    for name in ("_by_products", "_by_lines"):
        monkeypatch.setattr(kernels.Depthwise, name, lambda *_, name=name: used.append(name))
    kernel = kernels.Depthwise(np.ones((4, 1, 3, 3)), np.ones(4), 1, 1, None, (6, 6))
    kernel(Buffers(np.dtype(np.float64)), np.ones((4, 6, 6, images)))
    assert used == [way]


# ── programs ─────────────────────────────────────────────────────────────────────────────────────────


def paths(tree, shape):
    """The instructions that are left after fusing, by path."""
    program = build_program(tree, shape, training=False)
    return [i.path for i in fusing.fused(program, weights_of(tree, shape, np.float64)).instructions]


def test_norms_sums_and_activations_become_part_of_the_convolution_before_them():
    tree = classifier(Conv2d(8, 3, padding=1), BatchNorm2d(), ReLU(), separable(8))
    assert paths(tree, (2, 9, 9)) == [
        *("conv", "sum.seq.conv1", "sum.seq.conv2"),
        *("pool", "flatten", "fc"),
    ]


@pytest.mark.parametrize(
    "join",
    [
        Sum(Sequential(Conv2d(6, 1), BatchNorm2d()), Identity()),
        Sum(Identity(), Conv2d(6, 1)),
        Sum(Conv2d(6, 1), Sequential(Conv2d(6, 1), ReLU())),
        Sum(Conv2d(6, 1), Identity(), Conv2d(6, 1)),
        Sum(Conv2d(6, 3, padding=1, groups=6), Identity()),
        Sequential(Conv2d(6, 1), Sum(Identity(), Identity())),
    ],
    ids=["after the path", "shortcut first", "two paths", "three branches", "depthwise", "twice"],
)
def test_a_sum_of_every_form_gives_what_the_readable_form_gives(join):
    tree = classifier(Conv2d(6, 3), ReLU(), join, ReLU6())
    made, images = engine_of(tree, (2, 9, 9)), batch_of(tree, (2, 9, 9), 3, np.float64)[0]
    close("logits", made.logits(images), readable(made, images), 1e-12)


def test_a_value_that_is_read_twice_stays():
    """The shortcut needs the convolution without what follows it on the other branch."""
    tree = classifier(Conv2d(6, 1), Sum(Sequential(BatchNorm2d(), ReLU()), Identity()))
    made, images = engine_of(tree, (2, 7, 7)), batch_of(tree, (2, 7, 7), 3, np.float64)[0]
    assert sum("bn" in path for path in paths(tree, (2, 7, 7))) == 1
    close("logits", made.logits(images), readable(made, images), 1e-12)


@pytest.mark.parametrize("name", ["lenet", "deepconvnet", "resnet20", "mobilenet-v1:taught", "mobilenet-v2"])
def test_logits_in_float32_are_those_of_the_readable_form(name):
    tree, shape = network(name, classes=10), (1 if name in ("lenet", "deepconvnet") else 3, 28, 28)
    made, images = engine_of(tree, shape, np.float32), batch_of(tree, shape, 9, np.float32)[0]
    close("logits", made.logits(images), readable(made, images), 1e-5)


def test_a_wrong_fold_is_caught(monkeypatch):
    """What the other tests compare is not the same program twice."""
    tree = classifier(Conv2d(6, 3), BatchNorm2d(), Hardswish())
    made, images = engine_of(tree, (2, 9, 9)), batch_of(tree, (2, 9, 9), 3, np.float64)[0]
    monkeypatch.setattr(fusing, "_folded", lambda norm, weight, bias, weights: (weight, bias))
    with pytest.raises(AssertionError, match="logits"):
        close("logits", made.logits(images), readable(made, images), 1e-5)


def test_memory_does_not_grow_with_the_sizes_of_batches(monkeypatch):
    """What is held after many batches is what the last of them needs."""
    tree, shape = classifier(Conv2d(6, 3), BatchNorm2d(), ReLU(), separable(6)), (2, 9, 9)
    images = batch_of(tree, shape, 40, np.float64)[0]
    monkeypatch.setattr(shares, "INFERENCE", 10 * build_program(tree, shape, training=False).widest)

    def held_after(*counts):
        made = engine_of(tree, shape)
        for count in counts:
            made.logits(images[:count])
        return sum(size * len(free) for size, free in made._buffers[0]._free.items())

    for count in (1, 7, 15, 23, 31):
        assert held_after(40, 27, 18, 12, count) == held_after(count) > 0


# ── weights that change ──────────────────────────────────────────────────────────────────────────────


def loaded(made, batch):
    made.load({key: w + 0.1 for key, w in made.weights().items()})


def stepped(made, batch):
    made.optimize(Optimizer())
    made.step(*batch[:2], 0.1)


def differentiated(made, batch):
    """The running statistics move; no parameter does."""
    made.gradients(*batch[:2])


def averaged(made, batch):
    made.optimize(Optimizer(average=0.9))
    made.step(*batch[:2], 0.1)
    made.logits(batch[0])
    made.swap_average()


@pytest.mark.parametrize("change", [loaded, stepped, differentiated, averaged], ids=lambda f: f.__name__)
def test_logits_follow_the_weights(change):
    tree, shape = classifier(Conv2d(6, 3), BatchNorm2d(), ReLU(), separable(6)), (2, 9, 9)
    made, batch = engine_of(tree, shape), batch_of(tree, shape, 4, np.float64)
    before = made.logits(batch[0])
    change(made, batch)
    after = made.logits(batch[0])
    assert np.abs(after - before).max() > 1e-6
    close("logits", after, readable(made, batch[0]), 1e-12)
