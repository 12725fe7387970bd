"""The NumPy engine by itself: gradients against finite differences, equal bytes, shapes, buffers, error messages."""

import doctest
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parity import batch_of, close, weights_of

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.engines.contract import Optimizer
from neoclassic.engines.numpy import NumpyEngine, convolution, joining, shares, winograd
from neoclassic.engines.numpy.buffers import Buffers
from neoclassic.engines.numpy.build import build_program
from neoclassic.engines.numpy.normalisation import Moments
from neoclassic.engines.numpy.team import Team
from neoclassic.measure import ShapeError, measure
from neoclassic.networks import network
from neoclassic.tree import (
    AdaptiveAvgPool2d,
    Auxiliary,
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Dropout,
    Flatten,
    Hardsigmoid,
    Hardswish,
    Identity,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Product,
    ReLU,
    Sequential,
    Sigmoid,
    Sum,
    Tanh,
)

EVERYTHING = Sequential(
    Conv2d(8, 3, padding=1),
    BatchNorm2d(),
    Tanh(1.5, 0.7),
    block=Sum(Sequential(Conv2d(8, 3, padding=1, groups=8), Hardswish(), Conv2d(8, 1)), Identity()),
    pool=MaxPool2d(3, 2, 1, ceil_mode=True),
    dense1=Concat(Identity(), Sequential(BatchNorm2d(), Conv2d(4, 3, padding=1))),
    dense2=Concat(Identity(), Sequential(Sigmoid(), Conv2d(4, 3, padding=1, groups=4))),
    gate=Product(Identity(), Sequential(AdaptiveAvgPool2d(), Conv2d(16, 1), Hardsigmoid())),
    aux=Auxiliary(AdaptiveAvgPool2d(2), Flatten(), Linear(5)),
    rest=Sequential(LocalResponseNorm(3, alpha=0.3), Dropout(0.3), AvgPool2d(2, count_include_pad=False), Flatten()),
    fc=Linear(5),
)
INPUT = (3, 9, 11)


def test_gradients_agree_with_finite_differences():
    """(loss(w + h) − loss(w − h)) / 2h in float64, for the largest gradient of each parameter, without torch."""
    weights = weights_of(EVERYTHING, INPUT, np.float64)
    batch, h = batch_of(EVERYTHING, INPUT, 4, np.float64), 1e-6
    gradients = NumpyEngine(EVERYTHING, INPUT, weights).gradients(*batch).weights

    def loss(key, at, shift):
        moved = weights | {key: weights[key].copy()}
        moved[key][at] += shift
        return NumpyEngine(EVERYTHING, INPUT, moved).gradients(*batch).loss

    for key, gradient in gradients.items():
        at = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
        assert gradient[at] == pytest.approx((loss(key, at, h) - loss(key, at, -h)) / (2 * h), rel=1e-5, abs=1e-8), key


# ── equal bytes ──────────────────────────────────────────────────────────────────────────────────────


def trained(tree, shape, seeds, **options):
    made = NumpyEngine(tree, shape, weights_of(tree, shape, np.float32), **options)
    made.optimize(Optimizer("adam"))
    for seed in seeds:
        images, labels, _ = batch_of(tree, shape, 13, np.float32, seed)
        made.step(images, labels, 1e-3, seed=seed)
    return made


@pytest.mark.parametrize(("tree", "shape"), [(EVERYTHING, INPUT), (network("deepconvnet"), (1, 28, 28))])
def test_the_same_seed_gives_the_same_bytes(tree, shape):
    first, again, other = (trained(tree, shape, seeds, threads=2) for seeds in ([1, 2], [1, 2], [1, 3]))
    assert all(np.array_equal(w, again.weights()[key]) for key, w in first.weights().items())
    assert any(not np.array_equal(w, other.weights()[key]) for key, w in first.weights().items())
    assert first.metrics() == again.metrics()


def test_an_optimizer_state_is_restored_bit_for_bit():
    first = trained(EVERYTHING, INPUT, [1, 2])
    second = NumpyEngine(EVERYTHING, INPUT, first.weights())
    second.optimize(Optimizer("adam"))
    second.load_optimizer_state(first.optimizer_state())
    images, labels, _ = batch_of(EVERYTHING, INPUT, 13, np.float32, 3)
    for made in (first, second):
        made.step(images, labels, 1e-3, seed=3)
    assert all(np.array_equal(w, second.weights()[key]) for key, w in first.weights().items())
    state = second.optimizer_state()
    assert all(np.array_equal(slot, state[key]) for key, slot in first.optimizer_state().items())


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("chunk", [1, 1 << 30])
def test_dropout_does_not_depend_on_the_split(threads, chunk, monkeypatch):
    tree, shape = network("deepconvnet"), (1, 28, 28)
    reference = trained(tree, shape, [1], threads=1).weights()
    monkeypatch.setattr(shares, "CHUNK", chunk)
    for key, w in trained(tree, shape, [1], threads=threads).weights().items():
        close(key, w, reference[key], 1e-3)  # Adam's first step is the sign of a sum, whose order changed


def test_logits_do_not_depend_on_the_split():
    made = trained(EVERYTHING, INPUT, [1])
    images = batch_of(EVERYTHING, INPUT, 23, np.float32)[0]
    alone = np.concatenate([made.logits(images[i : i + 1]) for i in range(23)])
    close("logits", made.logits(images), alone, 1e-5)


def test_a_nan_appears_in_the_loss():
    made = trained(EVERYTHING, INPUT, [1])
    images, labels, _ = batch_of(EVERYTHING, INPUT, 4, np.float32)
    made.metrics()
    made.step(np.full_like(images, np.nan), labels, 1e-3)
    assert np.isnan(made.metrics().loss_sum)
    assert made.metrics().n == 0


# ── shapes ───────────────────────────────────────────────────────────────────────────────────────────

sizes = st.integers(1, 9)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    sizes, sizes, st.integers(1, 5), st.integers(1, 4), st.integers(0, 4), st.sampled_from([1, 2, 4]), st.integers(1, 3)
)
def test_every_shape_that_measure_accepts_is_computed(H, W, k, stride, padding, groups, N):
    """Convolution and pooling of any geometry return the shape that measure gives, and finite gradients."""
    padding = min(padding, k // 2)
    for node in (
        Conv2d(4, k, stride, padding, groups),
        MaxPool2d(k, stride, padding),
        AvgPool2d(k, stride, padding, ceil_mode=True),
        AdaptiveAvgPool2d(k),
    ):
        tree = Sequential(front=Conv2d(4, 1), under=node, flat=Flatten(), fc=Linear(3))
        try:
            expected = measure(tree, (2, H, W))
        except ShapeError:
            continue
        made = NumpyEngine(tree, (2, H, W), weights_of(tree, (2, H, W), np.float32))
        images, labels, _ = batch_of(tree, (2, H, W), N, np.float32)
        assert made.features(images, ["under"])["under"].shape == (N, *expected["under"].output)
        gradients = made.gradients(images, labels).weights
        assert all(np.isfinite(g).all() for g in gradients.values())


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 12), st.integers(1, 12), st.integers(0, 2), st.integers(1, 5), st.integers(1, 3), st.integers(1, 3)
)
def test_winograd_agrees_with_the_plain_convolution(H, W, padding, N, C, O):  # noqa: E741
    if min(H, W) + 2 * padding < 3:
        return
    rng, new = np.random.default_rng(0), Buffers(np.dtype(np.float64))
    x, w, b = rng.standard_normal((C, H, W, N)), rng.standard_normal((O, C, 3, 3)), rng.standard_normal(O)
    fast, fast_back = winograd.conv3x3(x, w, b, padding, new, True)
    plain, plain_back = convolution._by_columns(x, w, b, 1, padding, new, True)
    close("output", fast, plain, 1e-12)
    dy = rng.standard_normal(plain.shape)
    for what, ours, theirs in zip(("dx", "dw", "db"), fast_back(dy), plain_back(dy), strict=True):
        close(what, ours, theirs, 1e-12)


@given(st.lists(st.lists(st.floats(-9, 9), min_size=1, max_size=9), min_size=1, max_size=5))
def test_merged_moments_are_those_of_the_whole(parts):
    """Chan's formula, also far from zero."""
    arrays = [np.array([part]) + 1e3 for part in parts]
    first, *others = (Moments(a.shape[1], a.mean(1), ((a - a.mean(1)) ** 2).sum(1)) for a in arrays)
    merged, whole = sum(others, first), np.concatenate(arrays, 1)
    assert merged.count == whole.size
    np.testing.assert_allclose(merged.mean, whole.mean(1), rtol=1e-12)
    np.testing.assert_allclose(merged.squares, whole.var(1) * whole.size, atol=1e-6)


# ── buffers, programs, threads ───────────────────────────────────────────────────────────────────────


def test_a_buffer_is_reused_after_its_last_view_is_gone():
    new = Buffers(np.dtype(np.float32))

    def address(array):
        return array.__array_interface__["data"][0]

    first, second = new((3, 4)), new((4, 3))
    start = address(first)
    assert address(second) != start
    view = first.T[1:]
    del first
    assert address(new((12,))) != start
    del view
    assert address(new((2, 6))) == start


def test_a_buffer_is_never_shared_and_survives_its_store():
    """Many arrays come and go, as views, in other threads, as memory views. Each keeps what was written into it."""
    new, rng, alive = Buffers(np.dtype(np.float64)), np.random.default_rng(0), {}
    for i in range(400):
        shape = (int(rng.integers(1, 4)), int(rng.integers(1, 60)))
        array = new(shape)
        array[...] = i
        kept = [array, array.T, array.reshape(-1)[::2], array[:1].ravel(), memoryview(array)][i % 5]
        alive[i] = kept
        del array
        if i % 3:
            worker = threading.Thread(target=alive.pop, args=(int(rng.choice(list(alive))),))
            worker.start()
            worker.join()
        if i == 200:
            new.clear()
        assert all((np.asarray(each) == j).all() for j, each in alive.items())


def test_a_dense_block_is_one_array():
    """It needs memory for its widest map, not for the sum of all: each Concat extends the array of the one before."""

    def dense():
        return Concat(Identity(), Conv2d(8, 1))

    shape = (8, 4, 4)
    made = build_program(Sequential(Conv2d(8, 1), dense(), dense(), dense(), Flatten(), Linear(2)), shape, True)
    joins = [i for i in made.instructions if isinstance(i.node, Concat)]
    assert [(i.capacity, i.extends) for i in joins] == [(32, False), (32, True), (32, True)]
    new = Buffers(np.dtype(np.float32))
    arms = [np.full((8, 4, 4, 2), i, np.float32) for i in range(4)]
    room = new((32, 4, 4, 2))
    first, _ = joining.concat(arms[0], arms[1], room=room, extend=False)
    second, _ = joining.concat(first, arms[2], room=room, extend=True)
    third, _ = joining.concat(second, arms[3], room=room, extend=True)
    assert np.shares_memory(first, third)
    np.testing.assert_array_equal(third, np.concatenate(arms))


def test_two_concats_of_one_value_do_not_overwrite_each_other():
    head = (Flatten(), Linear(2))
    tree = Sequential(
        Concat(Identity(), ReLU()), Concat(Concat(Identity(), Tanh()), Concat(Identity(), Sigmoid())), *head
    )
    made = build_program(tree, (2, 3, 3), True)
    extending = [i.inputs[0] for i in made.instructions if i.extends]
    assert len(extending) == len(set(extending)) == 2


def test_an_error_in_one_thread_is_raised_and_ends_the_others():
    def work(member):
        if member.rank == 1:
            raise ValueError("here")
        member.share(None)

    before = threading.active_count()
    team = Team(3)
    with pytest.raises(ValueError, match="here"):
        team.run(work, 3)
    assert team.run(lambda member: member.share(member.rank), 3) == [[0, 1, 2]] * 3
    assert threading.active_count() <= before + 2


def test_no_gradient_is_computed_before_the_first_weight():
    made = build_program(
        Sequential(LocalResponseNorm(3), AvgPool2d(2), Conv2d(4, 1), Flatten(), Linear(2)), (3, 8, 8), True
    )
    assert [i.needs_dx for i in made.instructions] == [False, False, False, True, True]


# ── wrong calls ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def lenet():
    tree = network("lenet")
    return NumpyEngine(tree, (1, 28, 28), weights_of(tree, (1, 28, 28), np.float32))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda e: e.logits(np.zeros((2, 3, 28, 28), np.float32)), UsageError, "images of 1×28×28, not 3×28×28"),
        (lambda e: e.logits(np.zeros((0, 1, 28, 28), np.float32)), UsageError, "the batch is empty"),
        (lambda e: e.features(np.zeros((1, 1, 28, 28), np.float32), ["conv9"]), UsageError, "no layer 'conv9'"),
        (lambda e: e.step(np.zeros((2, 1, 28, 28)), np.zeros(2, int), 0.1), UsageError, r"call optimize\(\) before"),
        (lambda e: e.load_optimizer_state({}), UsageError, r"call optimize\(\) before"),
        (lambda e: e.optimize(Optimizer("sdg")), UsageError, "did you mean 'sgd'"),
        (lambda e: e.gradients(np.zeros((2, 1, 28, 28)), np.array([0, 10])), NeoclassicError, "has 10 classes"),
        (lambda e: e.gradients(np.zeros((2, 1, 28, 28)), np.zeros(3, int)), UsageError, "one label per image"),
        (lambda e: e.load({}), NeoclassicError, "missing conv1.weight"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_one_clear_line(lenet, call, error, message):
    with pytest.raises(error, match=message) as caught:
        call(lenet)
    assert "\n" not in str(caught.value)


def test_batch_norm_of_a_single_number_is_refused():
    tree = Sequential(Conv2d(4, 1), BatchNorm2d(), ReLU(), Flatten(), Linear(2))
    made = NumpyEngine(tree, (2, 1, 1), weights_of(tree, (2, 1, 1), np.float32))
    with pytest.raises(NeoclassicError, match="bn: batch norm needs more than one value"):
        made.gradients(np.zeros((1, 2, 1, 1), np.float32), np.array([0]))


def test_the_examples_in_docs_convolution_are_true():
    failed, tried = doctest.testfile(str(Path(__file__).parents[2] / "docs" / "convolution.md"), module_relative=False)
    assert (failed, tried > 10) == (0, True)
