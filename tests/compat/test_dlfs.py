"""The names of Deep Learning from Scratch: PyTorch's mathematics, and pickles that build nothing but arrays."""

import contextlib
import os
import pickle
import struct
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from neoclassic import network
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.compat import dlfs
from neoclassic.compat.dlfs.pickles import load_arrays
from neoclassic.engines.torch import TorchEngine

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _the_same_numbers_for_every_test():
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state
    np.random.seed(0)  # noqa: NPY002


def normal(*shape, dtype=np.float64):
    return RNG.standard_normal(shape).astype(dtype)


def same(ours, torchs, tolerance=1e-10):
    theirs = torchs.detach().numpy()
    assert ours.shape == theirs.shape
    worst = np.abs(ours - theirs).max()
    assert worst <= tolerance, f"largest error {worst:.2e}"


# ── columns ──────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(4, 7), st.integers(4, 7))
def test_columns_are_torchs_and_come_back(filter_h, filter_w, stride, pad, H, W):
    x = normal(2, 3, H, W)
    columns = dlfs.im2col(x, filter_h, filter_w, stride, pad)
    unfolded = functional.unfold(torch.tensor(x), (filter_h, filter_w), padding=pad, stride=stride)
    same(columns, unfolded.transpose(1, 2).reshape(-1, 3 * filter_h * filter_w))
    folded = functional.fold(unfolded, (H, W), (filter_h, filter_w), padding=pad, stride=stride)
    same(dlfs.col2im(columns, x.shape, filter_h, filter_w, stride, pad), folded)


def test_a_filter_that_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="a 5×5 filter does not fit into a 4×4 image padded by 0"):
        dlfs.im2col(normal(1, 1, 4, 4), 5, 5)
    with pytest.raises(UsageError, match="a 3×2 filter does not fit into a 2×5 image padded by 0"):
        dlfs.Convolution(normal(2, 1, 3, 2), np.zeros(2)).forward(normal(1, 1, 2, 5))
    with pytest.raises(UsageError, match="a convolution of 3 channels takes"):
        dlfs.Convolution(normal(2, 3, 3, 3), np.zeros(2)).forward(normal(1, 1, 5, 5))
    with pytest.raises(UsageError, match="call forward"):
        dlfs.Relu().backward(normal(2, 2))


# ── layers ───────────────────────────────────────────────────────────────────────────────────────────


def against_torch(layer, module, x, names):
    """Compare forward and every gradient with torch; the layer has the module's parameters."""
    X = torch.tensor(x, requires_grad=True)
    Y = module(X)
    y = layer.forward(x)
    same(y, Y)
    dy = RNG.standard_normal(y.shape)
    kept = dy.copy()
    Y.backward(torch.tensor(dy))
    same(layer.backward(dy), X.grad)
    assert np.array_equal(dy, kept), "dout was written into"
    for name, (parameter, turn) in names.items():
        same(getattr(layer, name), turn(parameter.grad))


def whole(g):
    return g


@pytest.mark.parametrize("N", [1, 2, 64])
@pytest.mark.parametrize(("k", "stride", "pad"), [(3, 1, 1), (5, 1, 0), (3, 2, 1), (1, 1, 0), (3, 1, 2)])
def test_convolution(N, k, stride, pad):
    module = nn.Conv2d(8, 9, k, stride, pad, dtype=torch.float64)
    layer = dlfs.Convolution(module.weight.detach().numpy(), module.bias.detach().numpy(), stride, pad)
    names = {"dW": (module.weight, whole), "db": (module.bias, whole)}
    against_torch(layer, module, normal(N, 8, 13, 12), names)


@pytest.mark.parametrize("N", [1, 64])
@pytest.mark.parametrize(("k", "stride", "pad"), [(2, 2, 0), (3, 2, 1), (3, 1, 1), (3, 2, 0)])
def test_padding_is_never_the_maximum(N, k, stride, pad):
    against_torch(dlfs.Pooling(k, k, stride, pad), nn.MaxPool2d(k, stride, pad), normal(N, 7, 13, 13) - 5, {})


@pytest.mark.parametrize("shape", [(5, 6), (1, 600), (64, 3, 20, 20)])
def test_activations(shape):
    against_torch(dlfs.Relu(), nn.ReLU(), normal(*shape), {})
    against_torch(dlfs.Sigmoid(), nn.Sigmoid(), normal(*shape), {})


@pytest.mark.parametrize("shape", [(5, 24), (200, 2, 15, 20)])
def test_affine(shape):
    module = nn.Linear(int(np.prod(shape[1:])), 7, dtype=torch.float64)
    layer = dlfs.Affine(module.weight.detach().numpy().T.copy(), module.bias.detach().numpy())
    names = {"dW": (module.weight, lambda g: g.T), "db": (module.bias, whole)}
    against_torch(layer, nn.Sequential(nn.Flatten(), module), normal(*shape), names)


@pytest.mark.parametrize("shape", [(20, 6), (20, 2, 3, 4)])
def test_batch_normalization(shape):
    features = int(np.prod(shape[1:]))
    bn = nn.BatchNorm1d(features, eps=1e-6, dtype=torch.float64)
    nn.init.normal_(bn.weight)
    nn.init.normal_(bn.bias)
    module = nn.Sequential(nn.Flatten(), bn, nn.Unflatten(1, shape[1:]))
    layer = dlfs.BatchNormalization(bn.weight.detach().numpy(), bn.bias.detach().numpy())
    x = normal(*shape)
    against_torch(layer, module, x, {"dgamma": (bn.weight, whole), "dbeta": (bn.bias, whole)})
    assert np.allclose(layer.running_mean, 0.1 * x.reshape(20, -1).mean(0))
    assert np.allclose(layer.running_var, 0.1 * x.reshape(20, -1).var(0))
    layer.running_mean, layer.running_var = normal(features), normal(features) ** 2
    bn.running_mean, bn.running_var = torch.tensor(layer.running_mean), torch.tensor(layer.running_var)
    same(layer.forward(x, train_flg=False), module.eval()(torch.tensor(x)))


def test_dropout_is_the_books():
    np.random.seed(0)  # noqa: NPY002
    layer, x = dlfs.Dropout(0.3), normal(50, 40, dtype=np.float32)
    y = layer.forward(x)
    assert np.array_equal(y, x * layer.mask)
    assert 0.65 < layer.mask.mean() < 0.75
    assert np.array_equal(layer.backward(x), x * layer.mask)
    assert np.allclose(layer.forward(x, train_flg=False), 0.7 * x)


@pytest.mark.parametrize("hot", [True, False])
def test_the_loss_needs_no_epsilon_in_the_logarithm(hot):
    x, labels = np.diag([-90.0, 0, 9, 1])[[0, 1, 2, 3, 0, 1]], np.array([0, 1, 2, 3, 0, 1])
    X = torch.tensor(x, requires_grad=True)
    loss = functional.cross_entropy(X, torch.tensor(labels))
    loss.backward()
    layer = dlfs.SoftmaxWithLoss()
    assert layer.forward(x, np.eye(4)[labels] if hot else labels) == pytest.approx(loss.item(), abs=1e-12)
    same(layer.backward(), X.grad)
    assert loss.item() > 16.2, "log 1e-7 would have been the ceiling"


def test_functions():
    x = np.array([-1000.0, -1.0, 0.0, 2.0, 1000.0])
    assert dlfs.sigmoid(x).tolist() == pytest.approx([0, 1 / (1 + np.e), 0.5, 1 / (1 + np.exp(-2)), 1])
    assert dlfs.step_function(x).tolist() == [0, 0, 0, 1, 1]
    assert dlfs.relu(x).tolist() == [0, 0, 0, 2, 1000]
    assert dlfs.relu_grad(x).tolist() == [0, 0, 0, 1, 1]
    assert dlfs.softmax(np.array([1000.0, 1000.0])).tolist() == [0.5, 0.5]
    y, t = np.array([0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0]), np.eye(10)[2]
    assert dlfs.cross_entropy_error(y, t) == pytest.approx(0.510825457099338)
    assert dlfs.cross_entropy_error(y[None], np.array([2])) == pytest.approx(0.510825457099338)
    assert dlfs.sum_squared_error(y, t) == pytest.approx(0.0975)
    x, t = dlfs.shuffle_dataset(np.arange(10), np.arange(10) * 2)
    assert (t == 2 * x).all()
    assert sorted(x) == list(range(10))
    assert dlfs.conv_output_size(28, 5, stride=2, pad=1) == 13.5


@pytest.mark.parametrize("n", [11, 12, 50])
def test_a_smoothed_curve_has_the_same_length_and_keeps_straight_lines(n):
    assert dlfs.smooth_curve([3.0] * n).tolist() == pytest.approx([3] * n)
    smooth = dlfs.smooth_curve(list(range(n)))
    assert smooth.shape == (n,)
    assert smooth[5 : n - 5].tolist() == pytest.approx(list(range(5, n - 5)))


# ── networks ─────────────────────────────────────────────────────────────────────────────────────────

PATHS = ["conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "fc1", "fc2"]


def test_deep_convnet_has_the_gradients_of_the_torch_engine():
    """The book drops units without scaling the others, while torch scales them by 2. With two dropouts of one half
    around the last layer, torch's network with a quarter of that layer's weights and half of its biases is the same."""
    np.random.seed(1)  # noqa: NPY002
    deep = dlfs.DeepConvNet()
    x, t = RNG.random((24, 1, 28, 28), np.float32), RNG.integers(0, 10, 24)
    grads = deep.gradient(x, t)
    scale = {"W8": 0.25, "b8": 0.5}
    weights = {}
    for i, path in enumerate(PATHS, 1):
        W, b = deep.params[f"W{i}"], deep.params[f"b{i}"]
        weights[f"{path}.weight"] = scale.get(f"W{i}", 1) * (W if W.ndim == 4 else W.T)
        weights[f"{path}.bias"] = scale.get(f"b{i}", 1) * b
    engine = TorchEngine(network("deepconvnet"), (1, 28, 28), weights, "cpu")
    masks = {"dropout1": deep.layers[17].mask, "dropout2": deep.layers[19].mask}
    found = engine.gradients(x, t, masks)
    assert deep.last_layer.loss == pytest.approx(found.loss, abs=1e-5)
    for i, path in enumerate(PATHS, 1):
        for name, key in (("weight", f"W{i}"), ("bias", f"b{i}")):
            theirs = scale.get(key, 1) * found.weights[f"{path}.{name}"]
            theirs = theirs.T if name == "weight" and i > 6 else theirs
            assert grads[key].dtype == np.float32
            worst = np.abs(grads[key] - theirs).max() / np.abs(theirs).max()
            assert worst < 2e-5, (key, worst)
    assert sum(p.size for p in deep.params.values()) == 123_552


def nets():
    np.random.seed(0)  # noqa: NPY002
    conv = {"filter_num": 3, "filter_size": 3, "pad": 1, "stride": 1}
    yield "simple", dlfs.SimpleConvNet((1, 6, 6), conv, hidden_size=5, weight_init_std=0.5), (2, 1, 6, 6)
    yield "two", dlfs.TwoLayerNet(8, 6, 10, weight_init_std=0.5), (2, 8)
    yield "multi", dlfs.MultiLayerNet(8, [6, 5], 10, "sigmoid", 0.5, weight_decay_lambda=0.1), (2, 8)
    yield "extend", dlfs.MultiLayerNetExtend(8, [6, 5], 10, use_batchnorm=True), (9, 8)


@pytest.mark.parametrize("which", range(4), ids=["simple", "two", "multi", "extend"])
def test_backpropagation_agrees_with_differences(which):
    _, net, shape = list(nets())[which]
    x, t = RNG.random(shape, np.float32), RNG.integers(0, 10, shape[0])
    before = {key: value.copy() for key, value in net.params.items()}
    differences, grads = net.numerical_gradient(x, t), net.gradient(x, t)
    assert set(differences) == set(grads) == set(net.params)
    for key in grads:
        assert np.abs(differences[key] - grads[key]).max() < 2e-6, key
        assert np.array_equal(net.params[key], before[key])


def test_seeds_give_the_books_weights():
    np.random.seed(7)  # noqa: NPY002
    net = dlfs.DeepConvNet()
    np.random.seed(7)  # noqa: NPY002
    first = np.sqrt(2 / 9) * np.random.randn(16, 1, 3, 3)  # noqa: NPY002
    second = np.sqrt(2 / 144) * np.random.randn(16, 16, 3, 3)  # noqa: NPY002
    assert np.allclose(net.params["W1"], first, atol=1e-7)
    assert np.allclose(net.params["W2"], second, atol=1e-7)


def test_accuracy_counts_every_image_once():
    net = dlfs.TwoLayerNet(4, 3, 10)
    x = RNG.random((257, 4), np.float32)
    answers = net.predict(x).argmax(1)
    assert net.accuracy(x, answers) == 1.0
    assert net.accuracy(x, np.eye(10)[answers]) == 1.0
    assert net.accuracy(x, (answers + (np.arange(257) == 256)) % 10) == pytest.approx(256 / 257)


# ── optimizers and trainer ───────────────────────────────────────────────────────────────────────────

RULES = {
    "SGD": (dlfs.SGD(0.1), lambda p: torch.optim.SGD(p, 0.1)),
    "Momentum": (dlfs.Momentum(0.1, 0.8), lambda p: torch.optim.SGD(p, 0.1, 0.8)),
    "Nesterov": (dlfs.Nesterov(0.1, 0.8), lambda p: torch.optim.SGD(p, 0.1, 0.8, nesterov=True)),
    "AdaGrad": (dlfs.AdaGrad(0.1), lambda p: torch.optim.Adagrad(p, 0.1, eps=1e-7)),
    "RMSprop": (dlfs.RMSprop(0.1, 0.9), lambda p: torch.optim.RMSprop(p, 0.1, 0.9, eps=1e-7)),
    "Adam": (dlfs.Adam(0.1, 0.8, 0.99), lambda p: torch.optim.Adam(p, 0.1, (0.8, 0.99), eps=1e-7)),
}


@pytest.mark.parametrize("name", RULES)
def test_optimizers_take_pytorchs_steps(name):
    ours, theirs = RULES[name]
    params = {"W": normal(3, 4), "b": normal(4)}
    torchs = {key: torch.tensor(value.copy(), requires_grad=True) for key, value in params.items()}
    optimizer = theirs(list(torchs.values()))
    places = {key: id(value) for key, value in params.items()}
    for _ in range(6):
        grads = {key: normal(*value.shape) for key, value in params.items()}
        kept = {key: g.copy() for key, g in grads.items()}
        ours.update(params, grads)
        for key, p in torchs.items():
            p.grad = torch.tensor(kept[key])
        optimizer.step()
        for key in params:
            same(params[key], torchs[key], 1e-12)
            assert np.array_equal(grads[key], kept[key]), "a gradient was written into"
            assert id(params[key]) == places[key], "the layers would not see it"
    with pytest.raises(UsageError, match="no gradient of 'b'"):
        ours.update(params, {"W": params["W"]})


def trainer(**settings):
    np.random.seed(0)  # noqa: NPY002
    x, t = RNG.random((50, 8), np.float32), RNG.integers(0, 3, 50)
    net = dlfs.TwoLayerNet(8, 6, 3)
    return dlfs.Trainer(net, x, t, x[:20], t[:20], verbose=False, **{"epochs": 3, "mini_batch_size": 16, **settings})


def test_an_epoch_is_every_image_once_in_whole_batches():
    t = trainer()
    seen = []
    gradient = t.network.gradient
    t.network.gradient = lambda x, labels: seen.append(x) or gradient(x, labels)
    t.train()
    assert (t.iter_per_epoch, t.max_iter, len(t.train_loss_list)) == (3, 9, 9)
    assert [len(x) for x in seen] == [16] * 9
    for epoch in range(3):
        images = np.concatenate(seen[3 * epoch : 3 * epoch + 3])
        assert len(np.unique(images, axis=0)) == 48
    assert len(t.train_acc_list) == len(t.test_acc_list) == 3
    assert t.test_acc_list[-1] == t.network.accuracy(t.x_test, t.t_test)


def test_the_recorded_loss_is_that_of_the_training_step():
    t = trainer(optimizer="Adam", optimizer_param={"lr": 0.1})
    losses = []
    forward = t.network.last_layer.forward

    def kept(*arguments):
        losses.append(forward(*arguments))
        return losses[-1]

    t.network.last_layer.forward = kept
    t.train()
    assert t.train_loss_list == losses, "one forward pass a step"


def test_a_trainers_wrong_calls():
    with pytest.raises(UsageError, match="unknown optimizer 'rmspro': did you mean 'rmsprop'"):
        trainer(optimizer="rmspro")
    assert isinstance(trainer(optimizer="rmsprpo").optimizer, dlfs.RMSprop)
    assert trainer(mini_batch_size=1000).iter_per_epoch == 1
    with pytest.raises(UsageError, match="as many labels as images: 3 images, 2 labels"):
        dlfs.Trainer(None, np.zeros(3), np.zeros(2), np.zeros(0), np.zeros(0))


# ── files ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("settings", "shape", "dtype", "top"),
    [
        ({}, (60_000, 784), np.float32, 1.0),
        ({"flatten": False}, (60_000, 1, 28, 28), np.float32, 1.0),
        ({"normalize": False, "one_hot_label": True}, (60_000, 784), np.uint8, 255),
    ],
)
def test_load_mnist(settings, shape, dtype, top):
    (x, t), (x_test, t_test) = dlfs.load_mnist(**settings, data="fashion-mnist")
    assert (x.shape, x.dtype, x.max()) == (shape, dtype, top)
    assert len(x_test) == len(t_test) == 10_000
    assert t[0].tolist() == (9 if t.ndim == 1 else np.eye(10)[9].tolist())


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["<f8", "<f4", ">f8"])
def test_the_books_pickles_are_read(tmp_path, protocol, dtype):
    arrays = {key: RNG.standard_normal(p.shape).astype(dtype) for key, p in dlfs.TwoLayerNet(4, 3, 2).params.items()}
    arrays["W1"] = np.asfortranarray(arrays["W1"])
    path = tmp_path / "params.pkl"
    path.write_bytes(pickle.dumps(arrays, protocol))
    net = dlfs.TwoLayerNet(4, 3, 2)
    net.load_params(path)
    for key, value in arrays.items():
        assert np.array_equal(net.params[key], value.astype(np.float32))
    assert net.layers["Affine1"].W is net.params["W1"]
    assert net.layers["Affine2"].b is net.params["b2"]
    net.save_params(path)
    assert np.array_equal(pickle.loads(path.read_bytes())["W1"], net.params["W1"])


class Hostile:
    """An object that runs a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def object_array():
    values = np.empty(1, object)
    values[0] = Hostile(os.system, "true")
    return values


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda path: Hostile(os.system, f"touch {path}"), "it asks for (posix|nt).system"),
        (lambda path: {"W1": Hostile(eval, f"open({str(path)!r}, 'w')")}, "it asks for builtins.eval"),
        (lambda path: {"W1": Hostile(getattr, int, "mro")}, "it asks for builtins.getattr"),
        (lambda path: {"W1": Hostile(np.save, str(path), 1)}, "it asks for numpy.*save"),
        (lambda path: {"W1": object_array()}, "it asks for|an array of type 'O8'"),
        (lambda path: {"W1": np.zeros(2, "M8[s]")}, "an array of type"),
        (lambda path: {"W1": [1.0]}, "not a dictionary of arrays"),
        (lambda path: [np.zeros(3)], "not a dictionary of arrays"),
        (lambda path: {1: np.zeros(3)}, "not a dictionary of arrays"),
    ],
)
def test_a_hostile_pickle_builds_nothing_and_is_refused(tmp_path, content, reason):
    trace, path = tmp_path / "trace", tmp_path / "params.pkl"
    path.write_bytes(pickle.dumps(content(trace)))
    net = dlfs.TwoLayerNet(4, 3, 2)
    before = net.params["W1"].copy()
    with pytest.raises(NeoclassicError, match=reason) as error:
        net.load_params(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert not trace.exists()
    assert np.array_equal(net.params["W1"], before)


def test_a_pickle_that_lies_about_a_shape_is_refused(tmp_path):
    path = tmp_path / "params.pkl"
    honest = pickle.dumps({"W1": np.zeros((4, 3))}, 2)
    assert honest.count(struct.pack("<BB", 0x4B, 4)) == 1
    path.write_bytes(honest.replace(struct.pack("<BB", 0x4B, 4), struct.pack("<BB", 0x4B, 200)))
    with pytest.raises(NeoclassicError, match="bytes do not fit its shape"):
        dlfs.load_arrays(path)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_pickle_is_refused_or_gives_arrays(tmp_path_factory, data):
    content = bytearray(pickle.dumps({"W": np.arange(6.0).reshape(2, 3)}, data.draw(st.integers(0, 5))))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("pickle") / "params.pkl"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    with contextlib.suppress(NeoclassicError):  # any other exception fails the test
        found = dlfs.load_arrays(path)
        assert all(isinstance(value, np.ndarray) and value.dtype != object for value in found.values())


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "params.pkl"
    dlfs.TwoLayerNet(4, 5, 2).save_params(path)
    with pytest.raises(NeoclassicError, match=r"W1 is \(4, 5\), the network's is \(4, 3\)"):
        dlfs.TwoLayerNet(4, 3, 2).load_params(path)
    with pytest.raises(NeoclassicError, match="W3 is missing"):
        dlfs.MultiLayerNet(4, [5, 2], 2).load_params(path)
    with pytest.raises(NeoclassicError, match="cannot read"):
        dlfs.load_arrays(tmp_path / "none.pkl")


def test_names():
    assert all(getattr(dlfs, name) is not None for name in dlfs.__all__)
    with pytest.raises(AttributeError, match=r"did you mean dlfs\.DeepConvNet\?"):
        _ = dlfs.DeepConvNets


@pytest.mark.parametrize(
    "content",
    [b"\x80\x02Nr\xff\xff\xff\x0f.", b"\x80\x02Nr\xff\xff\xff\xff.", b"Np268435455\n."],
    ids=["LONG_BINPUT", "the largest", "PUT"],
)
def test_a_memo_beyond_the_end_of_the_file_is_refused_before_it_is_made(content, tmp_path):
    (tmp_path / "p.pkl").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(NeoclassicError, match="a memo index beyond its end"):
            load_arrays(tmp_path / "p.pkl")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_arrays_that_share_their_bytes_do_not_outgrow_the_file(tmp_path):
    """Each array would be a copy of the one string of bytes in the file: a bomb of 1,000 times its size."""

    class Shared:
        def __init__(self, data):
            self.data = data

        def __reduce__(self):
            make, given, _ = np.empty(0).__reduce__()
            return make, given, (1, (len(self.data),), np.dtype("u1"), False, self.data)

    data = bytes(100_000)
    (tmp_path / "p.pkl").write_bytes(pickle.dumps({str(i): Shared(data) for i in range(1000)}))
    with pytest.raises(NeoclassicError, match="arrays that are larger than the file"):
        load_arrays(tmp_path / "p.pkl")
    (tmp_path / "p.pkl").write_bytes(pickle.dumps({"one": Shared(data)}))
    assert load_arrays(tmp_path / "p.pkl")["one"].shape == (100_000,)
