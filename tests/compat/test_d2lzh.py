"""The packages of the first Chinese edition, as its readers call them: d2lzh_pytorch, and d2lzh for MXNet."""

import re
import sys

import pytest
import torch
from torch import nn

import neoclassic.compat
from neoclassic.base.errors import UsageError
from neoclassic.compat.d2l import d2lzh as d2l
from neoclassic.compat.d2l import loaders

LINE = r"epoch \d, loss \d+\.\d{4}, train acc [01]\.\d{3}, test acc [01]\.\d{3}"


@pytest.fixture(autouse=True)
def _few_images_in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = loaders._splits()

    def images(is_train, size):
        part, n = (whole.train, 40) if is_train else (whole.test, 20)
        return loaders.Images(part.images[:n], part.labels[:n], loaders.LABELS, size)

    monkeypatch.setattr(loaders, "_images", images)


def test_both_packages_can_be_imported(monkeypatch):
    for name in ("d2l", "d2l.torch", "d2lzh", "d2lzh_pytorch"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    neoclassic.compat.install()
    import d2lzh
    import d2lzh_pytorch

    assert d2lzh_pytorch.train_ch5 is d2l.train_ch5
    assert d2lzh_pytorch.plt.__name__ == "matplotlib.pyplot"
    with pytest.raises(UsageError, match=r"d2lzh\.train_ch3 belongs to MXNet: .*from d2l import torch as d2l"):
        d2lzh.train_ch3  # noqa: B018
    with pytest.raises(AttributeError, match=r"d2lzh_pytorch\.Trainer is not available here"):
        d2lzh_pytorch.Trainer  # noqa: B018


def test_softmax_regression_from_scratch(capsys):
    train_iter, test_iter = d2l.load_data_fashion_mnist(8, root="~/Datasets/FashionMNIST")
    torch.manual_seed(0)
    W, b = torch.zeros(784, 10, requires_grad=True), torch.zeros(10, requires_grad=True)

    def net(X):
        return torch.softmax(X.reshape(len(X), -1) @ W + b, 1)

    def cross_entropy(y_hat, y):
        return -torch.log(y_hat.gather(1, y.view(-1, 1)))

    d2l.train_ch3(net, train_iter, test_iter, cross_entropy, 3, 8, [W, b], 0.1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(re.fullmatch(LINE, line) for line in lines)
    losses = [float(re.search(r"loss ([\d.]+)", line)[1]) for line in lines]
    assert losses[2] < losses[0]
    assert d2l.evaluate_accuracy(test_iter, net) > 0.2
    X, y = next(iter(test_iter))
    d2l.show_fashion_mnist(X[:3], d2l.get_fashion_mnist_labels(y[:3]))
    assert len(d2l.plt.gcf().axes) == 3
    d2l.plt.close("all")


def test_modules_train_with_an_optimizer(capsys):
    train_iter, test_iter = d2l.load_data_fashion_mnist(8)
    net = nn.Sequential(d2l.FlattenLayer(), nn.Linear(784, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    d2l.train_ch3(net, train_iter, test_iter, nn.CrossEntropyLoss(), 1, 8, None, None, optimizer)
    convolutional = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        d2l.Residual(4, 8, use_1x1conv=True, stride=2),
        d2l.GlobalAvgPool2d(),
        d2l.FlattenLayer(),
        nn.Linear(8, 10),
    )
    optimizer = torch.optim.Adam(convolutional.parameters(), lr=0.001)
    d2l.train_ch5(convolutional, train_iter, test_iter, 8, optimizer, torch.device("cpu"), 2)
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(LINE, lines[0])
    assert lines[1] == "training on  cpu"
    assert all(re.fullmatch(LINE + r", time \d+\.\d sec", line) for line in lines[2:])
    assert len(lines) == 4
    with pytest.raises(UsageError, match="needs params and lr, or an optimizer"):
        d2l.train_ch3(net, train_iter, test_iter, nn.CrossEntropyLoss(), 1, 8)
    with pytest.raises(UsageError, match="train_iter is empty"):
        d2l.train_ch5(net, [], test_iter, 8, optimizer, "cpu", 1)


def test_linear_regression_from_scratch_and_its_curves(capsys):
    torch.manual_seed(0)
    features, true_w = torch.randn(200, 2), torch.tensor([[2.0], [-3.4]])
    labels = features @ true_w + 4.2
    w, b = torch.zeros(2, 1, requires_grad=True), torch.zeros(1, requires_grad=True)
    for _ in range(6):
        for X, y in d2l.data_iter(10, features, labels):
            d2l.squared_loss(d2l.linreg(X, w, b), y).sum().backward()
            d2l.sgd([w, b], 0.1, 10)
            w.grad.data.zero_()
            b.grad.data.zero_()
    assert torch.allclose(w, true_w, atol=0.05)
    d2l.semilogy(range(1, 4), [3, 2, 1], "epochs", "loss", range(1, 4), [4, 3, 2], ["train", "test"])
    axes = d2l.plt.gcf().axes[0]
    assert (axes.get_yscale(), len(axes.lines), axes.get_xlabel()) == ("log", 2, "epochs")
    d2l.plt.close("all")
    assert d2l.resnet18(in_channels=1)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert d2l.corr2d(torch.ones(3, 3), torch.ones(2, 2)).tolist() == [[4, 4], [4, 4]]
