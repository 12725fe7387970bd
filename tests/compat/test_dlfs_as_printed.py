"""Deep Learning from Scratch as its readers use it: numbers and vectors, arrays put in place of others, their own
files beside the script, and MNIST where the book keeps it."""

import ast
import gzip
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import write_idx
from torch import nn

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.compat import dlfs
from neoclassic.compat.dlfs import chapter4, mnist, modules

LISTINGS = Path(__file__).parents[1] / "listings" / "dlfs"
RNG = np.random.default_rng(0)
SIZES = {"input_size": 8, "hidden_size": 6, "output_size": 10, "weight_init_std": 0.5}


@pytest.fixture(autouse=True)
def _the_same_numbers_for_every_test():
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state
    np.random.seed(0)  # noqa: NPY002


def integers(*shape):
    return RNG.integers(-3, 4, shape)


def same(ours, expected, dtype=None):
    assert ours.shape == expected.shape
    assert dtype is None or ours.dtype == dtype, ours.dtype
    assert np.abs(ours - expected).max() < 1e-10


# ── the two networks of one name ─────────────────────────────────────────────────────────────────────


def test_chapter_4_has_a_sigmoid_and_probabilities_and_chapter_5_a_relu_and_scores():
    np.random.seed(0)  # noqa: NPY002
    first = chapter4.TwoLayerNet(**SIZES)
    np.random.seed(0)  # noqa: NPY002
    second = dlfs.TwoLayerNet(**SIZES)
    x, t = RNG.random((5, 8)), RNG.integers(0, 10, 5)
    p = {key: value.astype(float) for key, value in first.params.items()}
    assert all(np.array_equal(second.params[key], value) for key, value in first.params.items())
    hidden = x @ p["W1"] + p["b1"]
    same(first.predict(x), dlfs.softmax(dlfs.sigmoid(hidden) @ p["W2"] + p["b2"]))
    same(second.predict(x), np.maximum(hidden, 0) @ p["W2"] + p["b2"])
    assert first.loss(x, t) == pytest.approx(-np.log(first.predict(x)[np.arange(5), t]).mean(), abs=1e-5)
    assert first.accuracy(x, first.predict(x).argmax(1)) == 1


@pytest.mark.parametrize("hot", [True, False])
def test_chapter_4s_gradients_agree_with_differences(hot):
    net = chapter4.TwoLayerNet(**SIZES)
    x, labels = RNG.random((5, 8)), RNG.integers(0, 10, 5)
    t = np.eye(10)[labels] if hot else labels
    differences, grads = net.numerical_gradient(x, t), net.gradient(x, t)
    assert set(grads) == set(differences) == set(net.params)
    assert max(np.abs(differences[key] - grads[key]).max() for key in grads) < 1e-5


# ── what the layers take ─────────────────────────────────────────────────────────────────────────────

ARRAYS = {
    "Relu": (lambda: dlfs.Relu(), (4, 3), "int64"),
    "Sigmoid": (lambda: dlfs.Sigmoid(), (4, 3), "float64"),
    "Affine": (lambda: dlfs.Affine(integers(3, 2), integers(2)), (4, 3), "int64"),
    "Affine, W real": (lambda: dlfs.Affine(integers(3, 2) / 2, integers(2)), (4, 3), "float64"),
    "BatchNormalization": (lambda: dlfs.BatchNormalization(1, 0), (4, 3), "float64"),
    "Convolution": (lambda: dlfs.Convolution(integers(2, 3, 3, 3), 0, 1, 1), (2, 3, 5, 5), "int64"),
    "Convolution, 2×3": (lambda: dlfs.Convolution(integers(2, 3, 2, 3), 0, 1, 1), (2, 3, 5, 5), "int64"),
    "Pooling": (lambda: dlfs.Pooling(2, 2, 2, 1), (2, 3, 6, 6), "int64"),
    "Pooling, 2×3": (lambda: dlfs.Pooling(2, 3, 2, 1), (2, 3, 6, 6), "int64"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_whole_numbers_give_what_the_same_real_numbers_give(name):
    make, shape, dtype = ARRAYS[name]
    layer, x = make(), integers(*shape)
    y = layer.forward(x)
    real = layer.forward(x.astype(float))
    same(y, real, dtype)
    layer.forward(x)
    ones = np.ones(y.shape, int)
    dx = layer.backward(ones)
    layer.forward(x.astype(float))
    same(dx, layer.backward(ones.astype(float)), "float64")


@pytest.mark.parametrize("x", [np.array([2, -1, 0]), np.array([0.5, -2.0, 1.0])], ids=["whole", "real"])
def test_a_vector_is_one_row(x):
    for layer in (dlfs.Relu(), dlfs.Sigmoid(), dlfs.Affine(integers(3, 2), integers(2))):
        y, dx = layer.forward(x[None]), layer.backward(np.ones_like(layer.forward(x[None])))
        same(layer.forward(x), y[0])
        same(layer.backward(np.ones_like(y[0])), dx[0])
    same(dlfs.Dropout(0.5).forward(x, train_flg=False), x * 0.5, "float64")
    norm = dlfs.BatchNormalization(np.ones(3), np.zeros(3), running_mean=np.ones(3), running_var=np.ones(3))
    same(norm.forward(x, train_flg=False), (x - 1) / np.sqrt(1 + 1e-6))
    for t in (np.array([0, 0, 1]), np.array(2), 2):
        vector, row = dlfs.SoftmaxWithLoss(), dlfs.SoftmaxWithLoss()
        assert vector.forward(x, t) == row.forward(x[None], np.array([2])) == pytest.approx(-np.log(vector.y[2]))
        same(vector.backward(), row.backward()[0])
    assert dlfs.Affine(integers(1, 2), 0).forward(np.array([1, 2, 3])).shape == (3, 2), "rows of one number"


def test_a_plain_number_is_an_array_without_axes():
    assert dlfs.Relu().forward(-2) == 0
    assert dlfs.Sigmoid().forward(0) == dlfs.sigmoid(0) == 0.5
    assert dlfs.sigmoid(np.array([0, 1])).dtype == np.float64
    assert dlfs.sigmoid(np.array([0, 1], np.float32)).dtype == np.float32
    assert dlfs.sigmoid(np.array([255], np.uint8)) == 1


@pytest.mark.parametrize("b", [0, 0.5, [0.5], np.full((1, 2), 0.5)], ids=["0", "0.5", "[0.5]", "1×2"])
def test_a_bias_may_be_a_number(b):
    filters, full = RNG.standard_normal((2, 3, 3, 3)), np.full(2, np.ravel(b)[0], float)
    for kind, W, x in (
        (dlfs.Convolution, filters, RNG.random((2, 3, 6, 6))),
        (dlfs.Convolution, filters[..., :2], RNG.random((2, 3, 6, 6))),
        (dlfs.Affine, filters.reshape(2, -1).T, RNG.random((4, 27))),
    ):
        number, vector = kind(W, b), kind(W, full)
        y = number.forward(x)
        same(y, vector.forward(x), np.float64)
        same(number.backward(y), vector.backward(y))
        same(number.db, vector.db)


def test_the_precision_is_that_of_numpy():
    W, x = RNG.random((3, 2)), RNG.random((4, 3))
    for w_type, x_type in (("f4", "f4"), ("f4", "f8"), ("f8", "f4"), ("f4", "f2"), ("f4", "u1"), ("f2", "f2")):
        y = dlfs.Affine(W.astype(w_type), 0).forward(x.astype(x_type))
        assert y.dtype == (x.astype(x_type) @ W.astype(w_type)).dtype


@pytest.mark.parametrize("N", [1, 3, 150])  # the cores share the last
@pytest.mark.parametrize(("h", "w", "stride", "pad"), [(2, 3, 1, 0), (5, 1, 2, 1), (1, 4, 3, 2), (3, 2, 1, 1)])
def test_windows_that_are_no_squares(N, h, w, stride, pad):
    x = RNG.standard_normal((N, 4, 11, 12))
    X = torch.tensor(x, requires_grad=True)
    module = nn.Conv2d(4, 5, (h, w), stride, pad, dtype=torch.float64)
    layer = dlfs.Convolution(module.weight.detach().numpy(), module.bias.detach().numpy(), stride, pad)
    pad = min(h, w) // 2  # PyTorch takes no more for pooling
    for ours, theirs in ((layer, module), (dlfs.Pooling(h, w, stride, pad), nn.MaxPool2d((h, w), stride, pad))):
        X.grad = None
        Y = theirs(X)
        same(ours.forward(x), Y.detach().numpy())
        dy = RNG.standard_normal(Y.shape)
        Y.backward(torch.tensor(dy))
        same(ours.backward(dy), X.grad.numpy())
    same(layer.dW, module.weight.grad.numpy())
    same(layer.db, module.bias.grad.numpy())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dlfs.Affine(np.ones((3, 2)), 0).forward(np.ones((4, 5))), r"of 3 inputs takes N×3, not .* \(4, 5\)"),
        (lambda: dlfs.Affine(np.ones((3, 2)), 0).forward(np.ones(5)), r"of 3 inputs takes N×3, not .* \(5,\)"),
        (lambda: dlfs.Affine(np.ones((3, 2)), np.ones(3)).forward(np.ones(3)), "the bias is one number, or 2 of them"),
        (
            lambda: dlfs.Affine(np.ones((3, 2)), np.ones((2, 1))).forward(np.ones((2, 3))),
            "the bias is one number, or 2",
        ),
        (lambda: dlfs.Affine(np.ones(3), 0).forward(np.ones(3)), "the weights are inputs×outputs"),
        (lambda: dlfs.Convolution(np.ones((3, 2)), 0).forward(np.ones(3)), "the weights are filters×channels"),
        (lambda: dlfs.Pooling(2, 2).forward(np.ones((6, 6))), "pooling takes images N×C×H×W"),
        (lambda: dlfs.Pooling(3, 2).forward(np.ones((1, 1, 2, 6))), "a 3×2 filter does not fit into a 2×6 image"),
        (lambda: dlfs.BatchNormalization(np.ones(3), 0).forward(np.ones((2, 4))), "gamma is one number, or 4 of them"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(call, message):
    with pytest.raises(UsageError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


# ── optimizers ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["SGD", "Momentum", "Nesterov", "AdaGrad", "RMSprop", "Adam"])
def test_optimizers_take_the_same_steps_with_plain_numbers(name):
    numbers, arrays = getattr(dlfs, name)(lr=0.1), getattr(dlfs, name)(lr=0.1)
    params = {"x": -7.0, "y": 2, "whole": np.array([-7, 2])}
    expected = {"x": np.array([-7.0]), "y": np.array([2.0]), "whole": np.array([-7.0, 2.0])}
    for _ in range(5):
        numbers.update(params, {key: value / 10 for key, value in params.items()})
        arrays.update(expected, {key: value / 10 for key, value in expected.items()})
    assert type(params["x"]) is type(params["y"]) is float
    for key, value in expected.items():
        assert np.array_equal(np.atleast_1d(params[key]), value), key


# ── parameters that a reader puts in place of others ─────────────────────────────────────────────────


def networks():
    conv = {"filter_num": 3, "filter_size": 3, "pad": 1, "stride": 1}
    yield dlfs.SimpleConvNet((1, 6, 8), conv, hidden_size=5), (2, 1, 6, 8)
    yield dlfs.TwoLayerNet(**SIZES), (2, 8)
    yield chapter4.TwoLayerNet(**SIZES), (2, 8)
    yield dlfs.MultiLayerNetExtend(8, [6, 5], 10, use_batchnorm=True), (9, 8)
    yield dlfs.DeepConvNet(hidden_size=7), (2, 1, 28, 28)


@pytest.mark.parametrize("which", range(5), ids=["simple", "two", "chapter 4", "extend", "deep"])
def test_parameters_that_a_reader_rebinds_are_the_ones_used(which):
    net, shape = list(networks())[which]
    x, t = RNG.random(shape), RNG.integers(0, 10, shape[0])
    last = f"b{sum(key[0] == 'b' and key[1].isdigit() for key in net.params)}"
    owner = {layer_and_name[1]: layer_and_name[0] for key, layer_and_name in net._owners().items() if key == last}
    scores = net.predict(x)
    net.params[last] = np.arange(10.0)
    first = net.predict(x)
    assert not np.allclose(first, scores)
    owner["b"].b = np.arange(10.0)[::-1]
    second = net.predict(x)
    assert not np.allclose(second, first)
    assert net.params[last][0] == 9, "what is saved is what is used"
    net.params = {key: np.zeros_like(value) for key, value in net.params.items()}
    assert np.ptp(net.predict(x)) == 0
    dlfs.SGD(0.1).update(net.params, net.gradient(x, t))
    assert np.ptp(net.predict(x)) > 0, "the optimizer changes the arrays that the layers use"
    net.params["b1"] = 0
    dlfs.SGD(0.1).update(net.params, net.gradient(x, t))
    assert net.params["b1"].shape == net.gradient(x, t)["b1"].shape, "a bias for each output, from one number"
    del net.params["W1"]
    with pytest.raises(UsageError, match="params has no 'W1': put an array for each of W1, b1"):
        net.predict(x)


# ── results stay what they are ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ARRAYS)
def test_a_later_call_changes_nothing_that_an_earlier_one_returned(name):
    make, shape, _ = ARRAYS[name]
    layer, x = make(), RNG.standard_normal(shape)

    def results(x):
        y = layer.forward(x)
        return [y, layer.backward(np.cos(y)), *(getattr(layer, d) for d in ("dW", "db", "dgamma") if hasattr(layer, d))]

    first = results(x)
    kept = [value.copy() for value in first]
    for scale in (2, 3):
        results(scale * x)
    assert all(np.array_equal(value, copy) for value, copy in zip(first, kept, strict=True))


@pytest.mark.parametrize("which", range(5), ids=["simple", "two", "chapter 4", "extend", "deep"])
def test_gradients_of_a_network_stay_what_they_are(which):
    net, shape = list(networks())[which]
    x, t = RNG.random(shape, np.float32), RNG.integers(0, 10, shape[0])
    grads = net.gradient(x, t) | {"y": net.predict(x)}
    kept = {key: value.copy() for key, value in grads.items()}
    for _ in range(2):
        dlfs.Adam(0.1).update(net.params, net.gradient(1 - x, t))
        net.predict(2 * x)
    assert all(np.array_equal(grads[key], value) for key, value in kept.items())


def test_a_network_that_has_been_trained_is_pickled():
    net, x = dlfs.TwoLayerNet(**SIZES), RNG.random((3, 8))
    net.gradient(x, np.arange(3))
    assert np.array_equal(pickle.loads(pickle.dumps(net)).predict(x), net.predict(x))


def test_columns_may_be_written_to():
    for size in ((1, 3), (1, 1), (3, 3)):
        columns = dlfs.im2col(np.ones((1, 1, 3, 5)), *size)
        columns[0] = 0
        assert columns.sum() == columns.size - columns.shape[1], "no two of them share memory"


def test_functions_of_chapter_4():
    y, t = [0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0], [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert dlfs.mean_squared_error(np.array(y), np.array(t)) == dlfs.sum_squared_error(y, t) == pytest.approx(0.0975)
    assert dlfs.numerical_gradient(lambda x: np.sum(x**2), np.array([3, 4])) == pytest.approx([6, 8])
    rows = dlfs.numerical_gradient_2d(lambda x: x[0] ** 2 + 3 * x[1], np.array([[3.0, 4.0], [1.0, 2.0]]))
    assert rows == pytest.approx(np.array([[6, 3], [2, 3]]))


# ── imports: the reader's own files come first ───────────────────────────────────────────────────────

INSTALL = 'import neoclassic.compat; neoclassic.compat.install("dlfs")\n'
PARENT = "import sys, os\nsys.path.append(os.pardir)\n"


def python(folder, code, files=()):
    """What a script of this code prints, in a folder with these files, as a reader runs it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in dict(files).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))
    (folder / "script.py").write_text(code)
    done = subprocess.run([sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize(("folder", "chapter"), [("ch04", 4), ("ch05", 5), ("Chapter 5", 5), ("work", 4)])
def test_which_network_is_chosen_by_the_books_folders(tmp_path, folder, chapter):
    code = (
        INSTALL
        + """
import numpy as np
import ch04.two_layer_net, ch05.two_layer_net, two_layer_net
for module in (ch04.two_layer_net, ch05.two_layer_net, two_layer_net):
    print(np.allclose(module.TwoLayerNet(4, 3, 10).predict(np.ones((2, 4))).sum(1), 1))
"""
    )
    assert python(tmp_path / folder, code).stdout.split() == ["True", "False", str(chapter == 4)]


OWN = {
    "two_layer_net.py": "class TwoLayerNet:\n    mine = True",
    "common/__init__.py": "",
    "common/utils.py": "answer = 42",
    "common/functions.py": "def relu(x):\n    return 'mine'",
    "common/layers.py": "from .functions import *\n__all__ = ['Affine']\nclass Affine:\n    out = relu(1), sigmoid(0)",
    "dataset/notes.txt": "a folder without Python files",
}


def test_a_readers_own_modules_come_first_and_are_filled_in(tmp_path):
    code = """
    from two_layer_net import TwoLayerNet
    from common.utils import answer
    from common.layers import *
    from common.functions import relu, softmax
    from common.optimizer import SGD
    from dataset.mnist import load_mnist
    assert TwoLayerNet.mine and answer == 42 and relu(1) == "mine" and Affine.out == ("mine", 0.5)
    print(Affine.__module__, Convolution.__module__, SGD.__module__, load_mnist.__module__)
    """
    expected = (
        "common.layers neoclassic.compat.dlfs.layers neoclassic.compat.dlfs.optimizers neoclassic.compat.dlfs.mnist"
    )
    done = python(tmp_path, INSTALL + textwrap.dedent(code), OWN)
    assert done.stdout.strip() == expected
    assert not done.stderr
    later = "import common.functions, common\n" + INSTALL + textwrap.dedent(code)
    assert python(tmp_path, later, OWN).stdout.strip() == expected, "already imported"


def test_a_package_in_the_parent_folder_is_used_if_it_is_on_the_path_before_install(tmp_path):
    for name, text in OWN.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    code = "from common.functions import relu, softmax\nfrom common.utils import answer\nprint(relu(-1), answer)"
    done = python(tmp_path / "ch05", PARENT + INSTALL + code)
    assert (done.stdout, done.stderr) == ("mine 42\n", "")
    done = python(tmp_path / "ch05", INSTALL + PARENT + code)
    assert done.stdout == "0 42\n"
    assert "common is neoclassic's, not " in done.stderr, "nothing is passed over in silence"
    assert f"add {tmp_path.resolve()} to sys.path before install()" in done.stderr


def test_an_installed_package_of_the_same_name_is_no_file_of_the_readers(tmp_path):
    package = tmp_path / "site-packages" / "dataset"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("connect = None")
    found = f"import sys; sys.path.insert(1, {str(package.parent)!r})\n"
    code = "from dataset.mnist import load_mnist\nprint(load_mnist.__module__)"
    assert python(tmp_path, found + INSTALL + code).stdout == "neoclassic.compat.dlfs.mnist\n"
    code = f"try:\n    {INSTALL}except Exception as error:\n    print(error)"
    assert "'dataset' is already imported from" in python(tmp_path, f"{found}import dataset\n{code}").stdout


# ── MNIST where the book keeps it ────────────────────────────────────────────────────────────────────


@pytest.fixture
def digits():
    images, labels = RNG.integers(0, 256, (12, 784), np.uint8), RNG.integers(0, 10, 12).astype(np.uint8)
    return {"train_img": images[:8], "train_label": labels[:8], "test_img": images[8:], "test_label": labels[8:]}


def four_files(folder, arrays):
    folder.mkdir(parents=True)
    for role, part in (("train", "train"), ("t10k", "test")):
        write_idx(folder / f"{role}-images-idx3-ubyte.gz", arrays[f"{part}_img"].reshape(-1, 28, 28))
        write_idx(folder / f"{role}-labels-idx1-ubyte.gz", arrays[f"{part}_label"])


@pytest.mark.parametrize("where", [".", ".."], ids=["beside the script", "beside its folder"])
@pytest.mark.parametrize("form", ["pickle", "four files"])
def test_mnist_is_read_from_the_books_folder(tmp_path, monkeypatch, digits, where, form):
    script = tmp_path / "ch05"
    script.mkdir()
    place = (script / where / "dataset").resolve()
    if form == "pickle":
        place.mkdir()
        (place / "mnist.pkl").write_bytes(pickle.dumps(digits, -1))
    else:
        four_files(place, digits)
    monkeypatch.chdir(script)
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "nothing"))
    (x, t), (x_test, t_test) = dlfs.load_mnist(normalize=False)
    for ours, theirs in zip((x, t, x_test, t_test), digits.values(), strict=True):
        assert ours.dtype == np.uint8
        assert np.array_equal(ours, theirs)
    (x, t), _ = dlfs.load_mnist(flatten=False, one_hot_label=True)
    assert (x.shape, x.dtype, t.shape) == ((8, 1, 28, 28), np.float32, (8, 10))
    x[:] = 0
    assert dlfs.load_mnist()[0][0].any(), "another call gives other arrays"
    dlfs.init_mnist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda digits: pickle.dumps({**digits, "train_label": digits["train_label"][:3]}), "not the book's MNIST"),
        (lambda digits: pickle.dumps({"train_img": digits["train_img"]}), "not the book's MNIST"),
        (lambda digits: pickle.dumps({**digits, "test_label": digits["test_label"] + 10}), "label"),
        (lambda digits: pickle.dumps(os.system), "refused"),
        (lambda digits: gzip.compress(pickle.dumps(digits)), "damaged, or not a pickle"),
    ],
)
def test_another_pickle_is_refused_in_one_line(tmp_path, monkeypatch, digits, content, message):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / mnist.PICKLE).write_bytes(content(digits))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NeoclassicError, match=message) as error:
        dlfs.load_mnist()
    assert "dataset/mnist.pkl" in str(error.value)
    assert "\n" not in str(error.value)


# ── the listings ─────────────────────────────────────────────────────────────────────────────────────


def calls_of(listing):
    """The (module, name) pairs that a listing imports and calls."""
    nodes = list(ast.walk(ast.parse(listing.read_text())))
    called = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module in modules.MODULES:
            imported = {alias.asname or alias.name: alias.name for alias in node.names}
            if "*" in imported:
                imported = {name: name for name in modules.MODULES[node.module]}
            yield from ((node.module, name) for local, name in imported.items() if local in called)


def test_every_public_function_is_called_in_a_listing():
    called = set().union(*map(calls_of, LISTINGS.glob("*.py")))
    expected = {(m, name) for m, names in modules.MODULES.items() for name in names or () if not m.startswith("ch0")}
    # the same objects under a second name, which no chapter imports from there
    expected -= {("common.layers", name) for name in modules.MODULES["common.functions"]}
    expected -= {("common.trainer", name) for name in modules.MODULES["common.optimizer"]}
    assert expected - called == set()
