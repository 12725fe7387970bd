"""The NumPy engine against the torch engine: every operation, every network, ten steps in lockstep."""

import numpy as np
import pytest
from kinds import each
from parity import TOLERANCE, agree, batch_of, close, smooth, weights_of

from neoclassic.engines.contract import Optimizer
from neoclassic.engines.numpy import (
    NumpyEngine,
    activations,
    convolution,
    depthwise,
    joining,
    linear,
    loss,
    normalisation,
    pooling,
    program,
    winograd,
)
from neoclassic.measure import measure, smallest_input
from neoclassic.networks import entry, network
from neoclassic.tree import (
    RBF,
    AdaptiveAvgPool2d,
    Auxiliary,
    AvgPool2d,
    BatchNorm1d,
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
    PadChannels,
    Product,
    ReLU,
    ReLU6,
    Select,
    Sequential,
    Sigmoid,
    Sum,
    Tanh,
)

pytest.importorskip("torch")
from neoclassic.engines.torch import TorchEngine


def engines(tree, shape, dtype, **options):
    weights = weights_of(tree, shape, dtype)
    return NumpyEngine(tree, shape, weights, **options), TorchEngine(tree, shape, weights, "cpu")


def around(*nodes, channels=6):
    """The nodes between a convolution and a linear layer. The convolution's gradient tests their input gradient."""
    return Sequential(front=Conv2d(channels, 3, padding=1), under=Sequential(*nodes), flat=Flatten(), fc=Linear(5))


def dense(width=4):
    return Concat(Identity(), Sequential(BatchNorm2d(), ReLU(), Conv2d(width, 3, padding=1)))


MAP, ODD, LINE, DOT = (3, 8, 8), (2, 11, 7), (2, 9, 1), (3, 1, 1)

# name: (network, input shape, the function under test)
CASES = {
    "conv 3×3": (around(Conv2d(5, 3, padding=1)), ODD, (convolution, "conv2d")),
    "conv 3×3 no bias": (around(Conv2d(5, 3, bias=False)), ODD, (convolution, "_by_columns")),
    "conv 3×3 to many": (around(Conv2d(20, 3, padding=1)), ODD, (convolution, "_by_columns")),
    "conv 5×5 padding 2": (around(Conv2d(7, 5, padding=2)), ODD, (convolution, "_by_columns")),
    "conv padding over kernel": (around(Conv2d(4, 2, padding=2)), ODD, (convolution, "_by_columns")),
    "conv stride 2": (around(Conv2d(4, 3, stride=2, padding=1)), ODD, (convolution, "_by_columns")),
    "conv stride 4 of 11": (around(Conv2d(4, 11, stride=4, padding=2)), (3, 19, 23), (convolution, "_by_columns")),
    "conv stride over kernel": (around(Conv2d(4, 2, stride=3)), ODD, (convolution, "_by_columns")),
    "conv even kernel": (around(Conv2d(4, 4, stride=2, padding=1)), MAP, (convolution, "_by_columns")),
    "conv of a line": (around(Conv2d(4, 3, padding=1)), LINE, (convolution, "_by_columns")),
    "conv of a dot": (around(Conv2d(4, 3, padding=1)), DOT, (convolution, "_by_columns")),
    "conv 1×1": (around(Conv2d(4, 1)), ODD, (convolution, "_pointwise")),
    "conv 1×1 stride 2": (around(Conv2d(4, 1, stride=2)), ODD, (convolution, "_pointwise")),
    "conv 1×1 padded": (around(Conv2d(4, 1, padding=1)), ODD, (convolution, "_by_columns")),
    "conv groups": (around(Conv2d(9, 3, padding=1, groups=3)), ODD, (convolution, "_grouped")),
    "conv groups stride": (around(Conv2d(4, 3, stride=2, groups=2)), ODD, (convolution, "_grouped")),
    "conv multiplier": (around(Conv2d(12, 3, padding=1, groups=6)), MAP, (convolution, "_grouped")),
    "depthwise": (around(Conv2d(6, 3, padding=1, groups=6)), ODD, (depthwise, "depthwise")),
    "depthwise stride 2": (around(Conv2d(6, 5, stride=2, padding=2, groups=6)), ODD, (depthwise, "depthwise")),
    "Winograd": (around(Conv2d(130, 3, padding=1), channels=128), MAP, (winograd, "conv3x3")),
    "Winograd odd": (around(Conv2d(128, 3, padding=2, bias=False), channels=129), (2, 9, 12), (winograd, "conv3x3")),
    "Winograd unpadded": (around(Conv2d(128, 3), channels=128), (2, 16, 15), (winograd, "conv3x3")),
    "linear": (around(Flatten(), Linear(8), ReLU()), MAP, (linear, "linear")),
    "linear no bias": (around(Flatten(), Linear(8, bias=False)), DOT, (linear, "linear")),
    "batch norm": (around(BatchNorm2d(eps=1e-3, momentum=0.3)), ODD, (normalisation, "batch_norm")),
    "batch norm of a dot": (around(BatchNorm2d()), DOT, (normalisation, "batch_norm")),
    "batch norm flat": (around(Flatten(), Linear(7), BatchNorm1d()), MAP, (normalisation, "batch_norm")),
    "response norm": (around(LocalResponseNorm(5, alpha=0.5, k=2.0)), MAP, (normalisation, "local_response_norm")),
    "response norm even": (around(LocalResponseNorm(4, alpha=0.3)), ODD, (normalisation, "local_response_norm")),
    "response norm wide": (around(LocalResponseNorm(15, alpha=0.3)), ODD, (normalisation, "local_response_norm")),
    "max pool": (around(MaxPool2d(2)), ODD, (pooling, "max_pool2d")),
    "max pool overlapping": (around(MaxPool2d(3, 2, 1)), ODD, (pooling, "max_pool2d")),
    "max pool ceil": (around(MaxPool2d(3, 2, ceil_mode=True)), (3, 8, 10), (pooling, "max_pool2d")),
    "max pool stride over kernel": (around(MaxPool2d(2, 3)), ODD, (pooling, "max_pool2d")),
    "max pool of ties": (around(ReLU(), MaxPool2d(3, 1, 1)), MAP, (pooling, "max_pool2d")),
    "max pool of one column": (around(MaxPool2d(3, 2, 1)), LINE, (pooling, "max_pool2d")),
    "average pool": (around(AvgPool2d(2)), ODD, (pooling, "avg_pool2d")),
    "average pool padded": (around(AvgPool2d(3, 2, 1)), ODD, (pooling, "avg_pool2d")),
    "average pool unpadded": (around(AvgPool2d(3, 1, 1, count_include_pad=False)), ODD, (pooling, "avg_pool2d")),
    "average pool ceil": (around(AvgPool2d(3, 2, 1, ceil_mode=True)), (3, 8, 10), (pooling, "avg_pool2d")),
    "average pool stride over kernel": (around(AvgPool2d(2, 3)), ODD, (pooling, "avg_pool2d")),
    "adaptive pool 1": (around(AdaptiveAvgPool2d()), ODD, (pooling, "adaptive_avg_pool2d")),
    "adaptive pool 3": (around(AdaptiveAvgPool2d(3)), ODD, (pooling, "adaptive_avg_pool2d")),
    "adaptive pool up": (around(AdaptiveAvgPool2d(9)), ODD, (pooling, "adaptive_avg_pool2d")),
    "ReLU": (around(BatchNorm2d(), ReLU()), ODD, (activations, "relu")),
    "ReLU on a pool": (around(MaxPool2d(2), ReLU()), ODD, (activations, "relu")),
    "ReLU6": (around(Tanh(9.0, 2.0), ReLU6()), ODD, (activations, "relu6")),
    "sigmoid": (around(Sigmoid()), ODD, (activations, "sigmoid")),
    "tanh": (around(Tanh(1.7159, 2 / 3)), ODD, (activations, "tanh")),
    "hard sigmoid": (around(Tanh(5.0), Hardsigmoid()), ODD, (activations, "hardsigmoid")),
    "hard swish": (around(Tanh(5.0), Hardswish()), ODD, (activations, "hardswish")),
    "dropout": (around(Dropout(0.3)), ODD, (activations, "dropout")),
    "dropout of all": (around(Sum(Identity(), Dropout(1.0))), ODD, (activations, "dropout")),
    "sum": (around(Sum(Conv2d(6, 1), Identity(), Sigmoid())), ODD, (joining, "add")),
    "sum of a value twice": (around(Sum(Identity(), Identity()), ReLU()), ODD, (joining, "add")),
    "product": (around(Product(Identity(), Conv2d(6, 1), Sigmoid())), MAP, (joining, "multiply")),
    "gate": (around(Product(Identity(), Sequential(AdaptiveAvgPool2d(), Sigmoid()))), ODD, (joining, "multiply")),
    "concat": (around(Concat(Conv2d(2, 1), Identity(), Sigmoid())), ODD, (joining, "concat")),
    "dense block": (around(dense(), dense(), dense()), ODD, (joining, "concat")),
    "two joins of one": (
        around(Concat(Concat(Identity(), ReLU()), Sequential(Concat(Identity(), Tanh())))), ODD, (joining, "concat")
    ),
    "select": (around(Select((5, 0, 0, 3))), ODD, (joining, "select")),
    "pad": (around(PadChannels(9)), ODD, (joining, "pad_channels")),
    "flatten": (around(Identity()), ODD, (joining, "flatten")),
    "RBF": (around(Flatten(), Linear(4), RBF(((1, -1, 1, 1), (-1, 1, 0, 1)))), MAP, (loss, "rbf")),
    "auxiliary": (around(Auxiliary(Flatten(), Linear(5), weight=0.7), ReLU()), MAP, (linear, "linear")),
}  # fmt: skip


def check(name, dtype, n=3, **options):
    tree, shape, _ = CASES[name]
    agree(*engines(tree, shape, dtype, **options), *batch_of(tree, shape, n, dtype), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda t: t.__name__)
@pytest.mark.parametrize("name", CASES)
def test_an_operation(name, dtype):
    check(name, dtype)


@pytest.mark.parametrize("name", [name for name in CASES if "batch norm" not in name and "dense" not in name])
def test_an_operation_on_one_image(name):
    check(name, np.float64, n=1)


@pytest.mark.parametrize("name", CASES)
def test_an_operation_on_many_images_and_threads(name):
    check(name, np.float64, n=11, threads=3)


@pytest.mark.parametrize("name", ["linear", "linear no bias", "batch norm flat", "auxiliary"])
def test_linear_layers_that_the_whole_team_computes(name, monkeypatch):
    monkeypatch.setattr(program, "TEAM_WIDE", 1)
    check(name, np.float64, n=5, threads=3)


@pytest.mark.parametrize(("short", "few"), [(1, 1), (50, 16), (100000, 1)])
@pytest.mark.parametrize(
    "name",
    ["conv 3×3", "conv stride 2", "conv stride 4 of 11", "conv 5×5 padding 2", "depthwise", "Winograd", "Winograd odd"],
)
def test_blocks_of_every_size(name, short, few, monkeypatch):
    """One output row at a time, a few, and all; dx by gathering and by scattering."""
    monkeypatch.setattr(convolution, "SHORT", short)
    monkeypatch.setattr(convolution, "FEW", few)
    monkeypatch.setattr(depthwise, "BLOCK", 1)
    monkeypatch.setattr(winograd, "BLOCK", 1)
    check(name, np.float64)


def test_windows_of_negative_numbers_only():
    """Zeros in the padding would be the maximum; −∞ is not."""
    tree, shape = around(Sigmoid(), Tanh(-1.0), MaxPool2d(3, 2, 1)), ODD
    agree(*engines(tree, shape, np.float64), *batch_of(tree, shape, 3, np.float64), 1e-9)


# ── a planted bug is caught ──────────────────────────────────────────────────────────────────────────


def flip(gradient):
    return -gradient


def drop_border(gradient):
    """Zero the first row of a map, or the first image: what forgotten padding loses."""
    cut = gradient.copy()
    cut[:, :1] = 0
    return cut


def forget_group(gradient):
    """Zero the last channel."""
    cut = gradient.copy()
    cut[-1:] = 0
    return cut


def planted(operate, which, bug):
    """The operation, with a bug in one of its gradients."""

    def buggy(*inputs, **options):
        result = operate(*inputs, **options)
        moments = result[1] if isinstance(result[0], tuple) else None
        y, backward = result if moments is None else result[0]

        def wrong(dy):
            grads = list(backward(dy))
            grads[which] = None if grads[which] is None else bug(grads[which])
            return tuple(grads)

        return (y, wrong) if moments is None else ((y, wrong), moments)

    return buggy


@pytest.mark.parametrize("bug", [flip, forget_group, drop_border], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", CASES)
def test_a_bug_in_the_gradient_of_an_input_is_caught(name, bug, monkeypatch):
    if name == "dropout of all":
        pytest.skip("its gradient is zero")
    module, function = CASES[name][2]
    monkeypatch.setattr(module, function, planted(getattr(module, function), 0, bug))
    with pytest.raises(AssertionError, match="gradient of"):
        check(name, np.float64)


WEIGHTED = (convolution, depthwise, linear, winograd)
WITH_WEIGHTS = [name for name, (*_, (module, _)) in CASES.items() if module in WEIGHTED]


@pytest.mark.parametrize("which", [1, 2], ids=["weight", "bias"])
@pytest.mark.parametrize("bug", [flip, forget_group], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", [*WITH_WEIGHTS, "batch norm", "batch norm flat"])
def test_a_bug_in_the_gradient_of_a_parameter_is_caught(name, bug, which, monkeypatch):
    if which == 2 and ("no bias" in name or name == "Winograd odd"):
        pytest.skip("there is no bias")
    module, function = CASES[name][2]
    monkeypatch.setattr(module, function, planted(getattr(module, function), which, bug))
    with pytest.raises(AssertionError, match="gradient of"):
        check(name, np.float64)


# ── networks ─────────────────────────────────────────────────────────────────────────────────────────


def small(name):
    """A network for ten classes, and a small input that keeps all its maps larger than 1×1."""
    tree, (channels, published, _) = network(name, classes=10), entry(name).input
    side = max(published // 4, 2 * smallest_input(tree, channels) + 6)
    return tree, (channels, side, side)


def parameters(name):
    return measure(network(name), entry(name).input).parameters


@pytest.mark.parametrize("name", each(heavy=lambda name: parameters(name) > 20e6))
def test_a_network(name):
    """Logits, every gradient and statistic; then the weights after one step."""
    tree, shape = small(name)
    ours, theirs = engines(tree, shape, np.float64)
    images, labels, masks = batch_of(tree, shape, 3, np.float64)
    agree(ours, theirs, images, labels, masks, 1e-9)
    for engine in (ours, theirs):
        engine.optimize(Optimizer(momentum=0.9, weight_decay=1e-3))
        engine.step(images, labels, 1e-3, masks=masks)
    after, wanted = ours.weights(), theirs.weights()
    for key, w in wanted.items():
        close(f"updated {key}", after[key], w, 1e-9)


FAMILIES = (
    *("lenet", "lenet:1998", "lenet:bn", "deepconvnet", "nin", "nin:taught", "googlenet", "googlenet:torchvision"),
    *("googlenet:taught", "mnist-inception", "mnist-residual", "resnet20", "resnet110:v2", "densenet121"),
    *("densenet40-12", "densenet:taught", "mobilenet-v1:taught", "mobilenet-v2", "mobilenet-v3-small"),
)


def agree_in_float32(tree, shape, n):
    """Every gradient, compared with torch in float64."""
    batch = batch_of(tree, shape, n, np.float32)
    (ours, theirs), (_, exact) = engines(tree, shape, np.float32, threads=1), engines(tree, shape, np.float64)
    exact.load(theirs.weights())
    found, wanted = ours.gradients(*batch), exact.gradients(*batch)
    largest = max(np.abs(g).max() for g in wanted.weights.values())
    for key, gradient in wanted.weights.items():
        close(f"gradient of {key}", found.weights[key], gradient, TOLERANCE[np.float32], largest)


@pytest.mark.parametrize("name", ["lenet", "lenet:bn", "deepconvnet", "mnist-inception"])
def test_a_network_in_float32(name):
    """With ReLU and maxima. Only shallow networks, where rounding seldom crosses a kink; ResNet-20's does on some."""
    agree_in_float32(*small(name), 16)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_smooth_network_in_float32(name):
    """In a deep network, float32 rounding moves some numbers across the kink of a ReLU, in torch as in ours, which
    changes the gradient. Deep networks with kinks are compared in float64, above."""
    tree, shape = small(name)
    agree_in_float32(smooth(tree), shape, 8)


# ── ten steps in lockstep ────────────────────────────────────────────────────────────────────────────

RULES = [
    Optimizer(),
    Optimizer(momentum=0.9),
    Optimizer(momentum=0.9, nesterov=True, weight_decay=0.01),
    Optimizer("adam"),
    Optimizer("adam", betas=(0.8, 0.95), eps=1e-3, weight_decay=0.01),
    Optimizer("adamw", weight_decay=0.1),
    Optimizer("adagrad", eps=1e-6, weight_decay=0.01),
    Optimizer("rmsprop", alpha=0.9, weight_decay=0.01),
    Optimizer("rmsprop", momentum=0.9, eps=1e-3),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: repr(rule)[10:-1])
@pytest.mark.parametrize("name", ["lenet", "deepconvnet", "resnet20"])
def test_ten_steps_in_lockstep(name, rule):
    """No network here has a bias before a batch norm: its gradient is noise, which Adam turns into full steps."""
    tree, shape = small(name)
    ours, theirs = engines(tree, shape, np.float64)
    for engine in (ours, theirs):
        engine.optimize(rule)
    for step in range(10):
        images, labels, masks = batch_of(tree, shape, 7, np.float64, seed=step)
        for engine in (ours, theirs):
            engine.step(images, labels, 0.01 / (step + 1), masks=masks)
    for key, w in theirs.weights().items():
        close(f"{key} after ten steps", ours.weights()[key], w, 1e-9)
    mine, yours = ours.optimizer_state(), theirs.optimizer_state()
    assert mine.keys() == yours.keys()
    for key, slot in yours.items():
        close(f"{key} after ten steps", mine[key], slot, 1e-9)
    seen, wanted = ours.metrics(), theirs.metrics()
    assert (seen.n, seen.correct) == (wanted.n, wanted.correct) == (70, seen.correct)
    assert seen.loss == pytest.approx(wanted.loss, rel=1e-6)


def test_a_state_moves_from_one_engine_to_the_other():
    tree, shape = network("lenet"), entry("lenet").input
    ours, theirs = engines(tree, shape, np.float64)
    images, labels, _ = batch_of(tree, shape, 7, np.float64)
    for engine in (ours, theirs):
        engine.optimize(Optimizer("adam"))
    for _ in range(3):
        theirs.step(images, labels, 1e-3)
    ours.load(theirs.weights())
    ours.load_optimizer_state(theirs.optimizer_state())
    for engine in (ours, theirs):
        engine.step(images, labels, 1e-3)
    for key, w in theirs.weights().items():
        close(f"{key} after the fourth step", ours.weights()[key], w, 1e-9)


@pytest.mark.parametrize("name", ["deepconvnet", "resnet20", "densenet:taught", "googlenet", "mobilenet-v3-small"])
def test_features_of_every_path(name):
    tree, shape = small(name)
    ours, theirs = engines(tree, shape, np.float64)
    images, *_ = batch_of(tree, shape, 2, np.float64)
    paths = [row.path for row in measure(tree, shape).rows if not row.auxiliary]
    found, wanted = ours.features(images, paths), theirs.features(images, paths)
    assert found.keys() == wanted.keys() == set(paths)
    for path in paths:
        close(f"features of {path!r}", found[path], wanted[path], 1e-9)


def test_a_relu_is_in_place_in_training_only():
    tree, shape = network("deepconvnet"), entry("deepconvnet").input
    _, engine = engines(tree, shape, np.float64)
    images, labels, masks = batch_of(tree, shape, 2, np.float64)
    seen = []
    engine.module.conv1.register_forward_hook(lambda _module, _x, y: seen.append(y.detach()))
    engine.gradients(images, labels, masks)
    engine.features(images, ["relu1"])
    engine.sensitivity(images, "conv1", np.ones((2, 10)))
    assert [bool((y < 0).any()) for y in seen] == [False, True, True]
