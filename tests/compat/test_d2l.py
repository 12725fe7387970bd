"""The names of Dive into Deep Learning: their results for every kind of call, and their errors."""

import math
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

import neoclassic.compat
from neoclassic.base.errors import UsageError
from neoclassic.compat import d2l
from neoclassic.compat.d2l import devices, figures, loaders


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def few(monkeypatch, train, test):
    """Shorten the data set."""

    def images(is_train, size):
        part = loaders._splits().train if is_train else loaders._splits().test
        n = train if is_train else test
        return loaders.Images(part.images[:n], part.labels[:n], loaders.LABELS, size)

    monkeypatch.setattr(loaders, "_images", images)


# ── the loaders ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("resize", [None, 96, (40, 64), 14])
def test_images_are_those_of_torchvisions_pipeline(monkeypatch, fashion, resize):
    few(monkeypatch, 300, 40)
    size = (28, 28) if resize is None else (resize, resize) if isinstance(resize, int) else resize
    pipeline = torchvision.transforms.Compose(
        [torchvision.transforms.Resize(size), torchvision.transforms.ToTensor()]
        if resize
        else [torchvision.transforms.ToTensor()]
    )
    wanted = torch.stack([pipeline(Image.fromarray(pixels[..., 0])) for pixels in fashion.test.images[:40]])
    _, test_iter = d2l.load_data_fashion_mnist(16, resize)
    batches = list(test_iter)
    assert [len(y) for _, y in batches] == [16, 16, 8]
    X, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert X.dtype == torch.float32
    assert X.shape == (40, 1, *size)
    assert y.dtype == torch.int64
    assert y.tolist() == fashion.test.labels[:40].tolist()
    assert (X - wanted).abs().max() <= 1 / 255 + 1e-6
    assert X.min() >= 0
    assert X.max() <= 1


def test_every_training_image_comes_once_per_epoch_in_an_order_that_the_seed_determines(monkeypatch):
    few(monkeypatch, 100, 4)
    train_iter, _ = d2l.load_data_fashion_mnist(32, 30)

    def epoch():
        return torch.cat([X.flatten(1).sum(1) for X, _ in train_iter])

    torch.manual_seed(5)
    first, second = epoch(), epoch()
    torch.manual_seed(5)
    assert epoch().equal(first)
    assert not second.equal(first)
    assert second.sort().values.equal(first.sort().values)
    assert len(train_iter) == 4


def test_a_batch_may_be_changed_without_changing_the_data(monkeypatch):
    few(monkeypatch, 8, 4)
    _, test_iter = d2l.load_data_fashion_mnist(4)
    X, y = next(iter(test_iter))
    kept = X.clone(), y.clone()
    X.zero_()
    y.zero_()
    again = next(iter(test_iter))
    assert again[0].equal(kept[0])
    assert again[1].equal(kept[1])


def test_the_data_set_works_with_torchs_loader(monkeypatch):
    few(monkeypatch, 10, 4)
    data = d2l.FashionMNIST(batch_size=4, resize=(32, 32))
    X, y = data.train[3]
    assert X.shape == (1, 32, 32)
    assert data.text_labels([y]) == [data.train.classes[y]]
    with pytest.raises(IndexError):
        data.train[10]
    batches = list(DataLoader(data.train, 4, num_workers=d2l.get_dataloader_workers()))
    assert batches[0][0][3].equal(X)
    assert [len(b[1]) for b in data.train_dataloader()] == [4, 4, 2]
    assert d2l.get_fashion_mnist_labels(torch.tensor([0, 9])) == ["t-shirt", "ankle boot"]


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True])
def test_an_invalid_batch_size_is_refused(wrong):
    with pytest.raises(UsageError, match="batch_size must be a whole number"):
        d2l.load_data_fashion_mnist(wrong)


@pytest.mark.parametrize("wrong", [0, "96", (1, 2, 3), 5000])
def test_an_invalid_size_is_refused(wrong):
    with pytest.raises(UsageError, match="resize must be a number of pixels"):
        d2l.load_data_fashion_mnist(8, wrong)


# ── meters and loops ─────────────────────────────────────────────────────────────────────────────────


def test_meters():
    timer, sums = d2l.Timer(), d2l.Accumulator(2)
    assert math.isnan(timer.avg())
    assert timer.stop() >= 0
    timer.start()
    timer.stop()
    assert timer.cumsum()[-1] == pytest.approx(timer.sum())
    assert timer.avg() == pytest.approx(timer.sum() / 2)
    sums.add(1, torch.tensor(2.5))
    sums.add(2, 1)
    assert (sums[0], sums[1]) == (3.0, 3.5)
    sums.reset()
    assert sums[0] == 0
    y_hat, y = torch.tensor([[0.1, 0.3, 0.6], [0.3, 0.2, 0.5]]), torch.tensor([0, 2])
    assert d2l.accuracy(y_hat, y) == 1.0
    assert d2l.accuracy(torch.tensor([0, 1]), y) == 1.0


def small():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


def test_both_ways_of_reducing_a_loss_are_reported_as_the_mean(monkeypatch):
    few(monkeypatch, 60, 20)
    train_iter, test_iter = d2l.load_data_fashion_mnist(16)
    found = []
    for reduction in ("none", "mean"):
        torch.manual_seed(0)
        net = small()
        trainer = torch.optim.SGD(net.parameters(), lr=0.1)
        found.append(d2l.train_epoch_ch3(net, train_iter, nn.CrossEntropyLoss(reduction=reduction), trainer))
    assert found[0] == pytest.approx(found[1])
    assert 1 < found[0][0] < 3.5
    assert d2l.evaluate_accuracy(net, test_iter) == d2l.evaluate_accuracy_gpu(net, test_iter, "cpu")
    assert not net.training


@pytest.mark.parametrize("batches", [1, 2, 4, 7])
def test_train_ch6_with_few_batches(monkeypatch, capsys, batches):
    few(monkeypatch, 8 * batches, 8)
    torch.manual_seed(0)
    d2l.train_ch6(small(), *d2l.load_data_fashion_mnist(8), 2, 0.1, d2l.cpu())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "training on cpu"
    assert len([line for line in lines if "train loss" in line]) == 2 * batches
    assert lines[-1].endswith(" examples/sec on cpu")


def test_train_ch6_finds_a_device_as_the_editions_of_2020_do(monkeypatch, capsys):
    few(monkeypatch, 8, 8)
    d2l.train_ch6(small(), *d2l.load_data_fashion_mnist(8), 1, 0.1)
    assert capsys.readouterr().out.startswith(f"training on {d2l.try_gpu()}\n")


class Elsewhere(nn.Module):
    """A network on a second device, of which this machine has none but "meta", and whose answers can be read."""

    def __init__(self, outputs):
        super().__init__()
        self.weight, self.outputs = nn.Parameter(torch.zeros(1, device="meta")), outputs

    def forward(self, X):
        assert X.device == self.weight.device
        return torch.zeros(len(X), self.outputs)


def test_predictions_and_losses_are_found_on_the_networks_device(monkeypatch, tmp_path):
    few(monkeypatch, 8, 8)
    d2l.predict_ch3(Elsewhere(10), d2l.load_data_fashion_mnist(8)[1])
    assert [ax.get_title().split("\n")[1] for ax in d2l.plt.gcf().axes] == ["t-shirt"] * 6
    d2l.plt.close("all")
    data = [(torch.rand(4, 2), torch.rand(4, 1))]
    moved = []

    def loss(y_hat, y):
        moved.append(y.device.type)
        return y_hat

    assert d2l.evaluate_loss(Elsewhere(1), data, loss) == 0
    assert moved == ["meta"]


@pytest.mark.filterwarnings("error")
def test_sums_and_curves_take_tensors_with_gradients():
    value = torch.tensor(2.0, requires_grad=True) * 1
    sums, animator = d2l.Accumulator(1), d2l.Animator(legend=["loss"])
    sums.add(value)
    animator.add(value, value)
    animator.add(2, (value,))
    assert (sums[0], animator.X, animator.Y) == (2.0, [[2.0, 2.0]], [[2.0, 2.0]])
    board = d2l.ProgressBoard()
    board.draw(value, value, "loss")
    assert board.data == {"loss": [(2.0, 2.0)]}


def test_train_ch6_takes_plain_sgd_steps_from_xavier_weights(monkeypatch):
    few(monkeypatch, 20, 10)
    train_iter, test_iter = d2l.load_data_fashion_mnist(20)
    torch.manual_seed(3)
    net = small()
    bias = net[1].bias.detach().clone()
    torch.manual_seed(4)
    d2l.train_ch6(net, train_iter, test_iter, 1, 0.5, "cpu")
    torch.manual_seed(4)
    weight = torch.empty(10, 784)
    nn.init.xavier_uniform_(weight)
    X, y = next(iter(train_iter))
    weight.requires_grad_()
    bias.requires_grad_()
    nn.functional.cross_entropy(X.flatten(1) @ weight.T + bias, y).backward()
    assert torch.allclose(net[1].weight, weight - 0.5 * weight.grad, atol=1e-6)
    assert torch.allclose(net[1].bias, bias - 0.5 * bias.grad, atol=1e-6)


def test_a_failed_training_says_what_to_try(monkeypatch, capsys):
    few(monkeypatch, 100, 10)
    d2l.train_ch6(small(), *d2l.load_data_fashion_mnist(1), 1, math.inf, "cpu")
    assert "the loss is not a number: lower lr" in capsys.readouterr().out


def test_nothing_to_train_is_an_error_of_one_line(monkeypatch):
    few(monkeypatch, 0, 0)
    train_iter, test_iter = d2l.load_data_fashion_mnist(8)
    with pytest.raises(UsageError, match="nothing to train"):
        d2l.train_ch6(small(), train_iter, test_iter, 1, 0.1, "cpu")
    with pytest.raises(UsageError, match="data_iter is empty"):
        d2l.evaluate_accuracy(small(), test_iter)
    with pytest.raises(UsageError, match="train_iter is empty"):
        d2l.train_epoch_ch3(small(), train_iter, nn.CrossEntropyLoss(), lambda n: None)
    model = d2l.LeNet()
    with pytest.raises(UsageError, match="no batches to train on"):
        d2l.Trainer(1).fit(model, d2l.FashionMNIST(8))


TOOLS = """
import pandas as pd
import torch
from d2l import torch as d2l
from matplotlib import pyplot as plt
from torch import nn


def train_ch6(net, train_iter, test_iter, num_epochs, lr, device=d2l.try_gpu()):
    net.to(device)
    optimizer, loss = torch.optim.SGD(net.parameters(), lr=lr), nn.CrossEntropyLoss()
    rows, timer = [], d2l.Timer()
    for epoch in range(num_epochs):
        metric = d2l.Accumulator(3)
        net.train()
        for X, y in train_iter:
            timer.start()
            X, y = X.to(device), y.to(device)
            optimizer.zero_grad()
            y_hat = net(X)
            l = loss(y_hat, y)
            l.backward()
            optimizer.step()
            metric.add(l * X.shape[0], d2l.accuracy(y_hat, y), X.shape[0])
            timer.stop()
        test_acc = d2l.evaluate_accuracy_gpu(net, test_iter)
        rows.append((epoch + 1, metric[0] / metric[2], metric[1] / metric[2], test_acc))
    print(f"{metric[2] * num_epochs / timer.sum():.1f} examples/sec on {device}")
    frame = pd.DataFrame(rows, columns=["epoch", "train_loss", "train_acc", "test_acc"])
    for name in frame.columns[1:]:
        plt.plot(frame["epoch"], frame[name], label=name)
    plt.legend()
    plt.savefig("curves.png")
    return frame
"""


@pytest.mark.filterwarnings("error")
def test_the_tools_of_widely_read_notes_run_on_the_names(monkeypatch, tmp_path, capsys):
    """Notes on the course keep a `tools.py` of their own, whose train_ch6 returns a data frame and draws it."""
    pytest.importorskip("pandas")
    for name in ("d2l", "d2l.torch"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    neoclassic.compat.install()
    (tmp_path / "tools.py").write_text(TOOLS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tools", raising=False)
    few(monkeypatch, 40, 20)
    import tools

    frame = tools.train_ch6(small(), *d2l.load_data_fashion_mnist(8), 3, 0.1)
    monkeypatch.delitem(sys.modules, "tools")
    assert frame["train_loss"].is_monotonic_decreasing
    assert frame["test_acc"].between(0, 1).all()
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert "examples/sec on" in capsys.readouterr().out
    d2l.plt.close("all")


# ── the newer edition ────────────────────────────────────────────────────────────────────────────────


def test_hyperparameters_become_attributes():
    class Example(d2l.HyperParameters):
        def __init__(self, a, b=2, c=3, _hidden=4):
            self.save_hyperparameters(ignore=["c"])

    example = Example(1)
    assert (example.a, example.b, example.hparams) == (1, 2, {"a": 1, "b": 2})
    assert not hasattr(example, "c")

    @d2l.add_to_class(Example)
    def twice(self):
        return 2 * self.a

    assert example.twice() == 2
    assert twice(example) == 2


def test_a_trainer_trains_as_plain_torch_does(monkeypatch):
    few(monkeypatch, 32, 8)
    torch.manual_seed(0)
    model, data = d2l.LeNet(lr=0.5), d2l.FashionMNIST(batch_size=32)
    model.apply_init([torch.zeros(1, 1, 28, 28)], d2l.init_cnn)
    twin = d2l.LeNet()
    twin.apply_init([torch.zeros(1, 1, 28, 28)])
    twin.load_state_dict(model.state_dict())
    d2l.Trainer(max_epochs=2, gradient_clip_val=0.01).fit(model, data)
    sgd = torch.optim.SGD(twin.parameters(), lr=0.5)
    X, y = data.train.batch(torch.arange(32))
    for _ in range(2):
        sgd.zero_grad()
        nn.functional.cross_entropy(twin(X), y).backward()
        norm = torch.sqrt(sum((p.grad**2).sum() for p in twin.parameters()))
        for p in twin.parameters():
            p.grad *= min(1, 0.01 / norm)
        sgd.step()
    for key, value in twin.state_dict().items():
        assert torch.allclose(model.state_dict()[key], value, atol=1e-5), key
    assert model.trainer.train_batch_idx == 2
    assert list(model.board.data) == ["train_loss", "val_loss", "val_acc"]
    assert [p.x for p in model.board.data["val_acc"]] == [1.0, 2.0]


def test_a_layer_summary_trains_nothing(capsys):
    class Net(d2l.Classifier):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    model = Net()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    seed = torch.get_rng_state()
    model.layer_summary((1, 1, 3, 3))
    assert all(before[k].equal(v) for k, v in model.state_dict().items())
    assert torch.get_rng_state().equal(seed)
    assert model.training
    assert capsys.readouterr().out.splitlines()[-1] == "Flatten output shape:\t torch.Size([1, 2])"


def test_classifiers_count_and_reduce_as_asked():
    model = d2l.SoftmaxRegression(num_outputs=3, lr=0.1)
    Y_hat, Y = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 0])
    assert model.accuracy(Y_hat, Y) == 0.5
    assert model.accuracy(Y_hat, Y, averaged=False).tolist() == [1.0, 0.0]
    assert model.loss(Y_hat, Y, averaged=False).mean() == pytest.approx(float(model.loss(Y_hat, Y)))
    assert d2l.cross_entropy(torch.softmax(Y_hat, 1), Y) == pytest.approx(float(model.loss(Y_hat, Y)))
    assert model(torch.zeros(2, 1, 4, 4)).shape == (2, 3)


@pytest.mark.parametrize(
    ("args", "kwargs", "inputs"),
    [
        ((3, 6), {"use_1x1conv": True, "strides": 2}, 3),
        ((3, 6, True, 2), {}, 3),
        ((6,), {"use_1x1conv": True, "strides": 2}, 3),
        ((6, True, 2), {}, 3),
        ((), {"input_channels": 3, "num_channels": 6, "use_1x1conv": True, "strides": 2}, 3),
        ((), {"num_channels": 6, "use_1x1conv": True, "strides": 2}, 3),
    ],
)
def test_residual_accepts_the_calls_of_both_editions(args, kwargs, inputs):
    block = d2l.Residual(*args, **kwargs)
    assert block(torch.zeros(4, inputs, 6, 6)).shape == (4, 6, 3, 3)
    assert block.conv3.kernel_size == (1, 1)
    assert sum(p.numel() for p in block.parameters()) == (3 * 9 + 1) * 6 + (6 * 9 + 1) * 6 + (3 + 1) * 6 + 24


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((3, 6, True, 2, 1), {}), ((3,), {"stride": 2})])
def test_residual_refuses_calls_of_neither_edition(args, kwargs):
    with pytest.raises(UsageError, match="Residual takes"):
        d2l.Residual(*args, **kwargs)


def test_blocks_and_networks():
    X = torch.zeros(4, 32, 9, 9)
    assert d2l.ResNeXtBlock(32, 16, 1)(X).shape == X.shape
    assert d2l.ResNeXtBlock(64, 16, 1, use_1x1conv=True, strides=2)(X).shape == (4, 64, 5, 5)
    with pytest.raises(UsageError, match="groups of 5"):
        d2l.ResNeXtBlock(32, 5, 1)
    assert d2l.resnet18(10)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert sum(p.numel() for p in d2l.resnet18(10, 3).parameters()) == 11_178_378 - 64 * (49 - 9 * 3)
    with pytest.raises(UsageError, match="kernel, 3×3, is larger"):
        d2l.corr2d(torch.zeros(2, 2), torch.zeros(3, 3))


def test_unfinished_classes_say_what_is_missing():
    with pytest.raises(UsageError, match="has no network"):
        d2l.Module()(torch.zeros(1))
    with pytest.raises(UsageError, match="no trainer"):
        d2l.LeNet().plot("loss", 1.0, train=True)


# ── devices ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["cuda", "xpu", "mps", None])
def test_accelerators_of_every_maker(monkeypatch, kind):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: kind == "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "xpu", types.SimpleNamespace(is_available=lambda: kind == "xpu", device_count=lambda: 1))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: kind == "mps")
    count = {"cuda": 2, "xpu": 1, "mps": 1, None: 0}[kind]
    assert d2l.num_gpus() == count
    assert d2l.try_gpu().type == (kind or "cpu")
    assert d2l.try_gpu(7) == d2l.cpu()
    assert [d.type for d in d2l.try_all_gpus()] == [kind or "cpu"] * max(count, 1)
    assert d2l.gpu(0).type == (kind or "cuda")
    assert devices.cpu() == torch.device("cpu")


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_board_averages_and_draws(capsys, tmp_path):
    board = d2l.ProgressBoard("epoch", xlim=[0, 1])
    for i in range(5):
        board.draw(i / 4, torch.tensor(float(i), requires_grad=True), "loss", every_n=2)
    assert board.data["loss"] == [(0.125, 0.5), (0.625, 2.5)]
    assert capsys.readouterr().out == "epoch 0.125  loss 0.5\nepoch 0.625  loss 2.5\n"
    assert len(list((tmp_path / "figures").glob("*.png"))) == 1
    quiet = d2l.ProgressBoard(display=False)
    quiet.draw(0, 1.0, "loss", every_n=0)
    assert quiet.data["loss"] == [(0.0, 1.0)]
    assert quiet.fig is None
    assert capsys.readouterr().out == ""


def test_one_epoch_can_be_drawn_on_an_axis_from_one_to_one(tmp_path):
    animator = d2l.Animator(xlabel="epoch", xlim=[1, 1], ylim=[0, 1], legend=["a", "b"])
    animator.add(1, (0.5, None))
    animator.add(1, [None, 0.25])
    assert (animator.X, animator.Y) == ([[1.0], [1.0]], [[0.5], [0.25]])
    assert [line.get_ydata().tolist() for line in animator.axes[0].lines] == [[0.5], [0.25]]


def test_a_folder_that_cannot_be_written_loses_only_the_picture(capsys, tmp_path):
    (tmp_path / "figures").write_text("in the way")
    d2l.plot([1, 2, 3], xlabel="x")
    d2l.ProgressBoard().draw(0, 1, "loss")
    out, err = capsys.readouterr()
    assert err.count("no picture: cannot write") == 2
    assert "loss 1" in out


def test_plot_and_show_images(tmp_path):
    x = torch.arange(0, 3, 0.1)
    d2l.plot(x, [x**2, x**3], "x", "f(x)", legend=["square", "cube"])
    lines = d2l.plt.gcf().axes[0].lines
    assert len(lines) == 2
    assert np.allclose(lines[1].get_ydata(), x.numpy() ** 3)
    axes = d2l.show_images(torch.zeros(3, 1, 5, 5), 1, 3, titles=list("abc"))
    assert [a.get_title() for a in axes] == ["a", "b", "c"]
    assert len(d2l.show_images([np.zeros((5, 5, 3)), Image.new("L", (4, 4))], 1, 1)) == 1
    assert len(list((tmp_path / "figures").glob("*.png"))) == 3
    d2l.plt.close("all")


def test_plot_draws_into_the_axes_that_the_reader_has_chosen():
    d2l.plot([1, 2, 3])
    first = d2l.plt.gcf()
    d2l.plot([3, 2, 1])
    assert d2l.plt.gcf() is not first, "the book's own figure is not drawn over"
    own = d2l.plt.figure()
    for i, data in enumerate(([1, 2], [3, 4]), 1):
        d2l.plt.subplot(1, 2, i)
        d2l.plot([0, 1], data)
    assert d2l.plt.gcf() is own
    assert [ax.lines[0].get_ydata().tolist() for ax in own.axes] == [[1, 2], [3, 4]]
    _, axes = d2l.plt.subplots(1, 2)
    d2l.plot([5, 6], axes=axes[0])
    assert [len(ax.lines) for ax in axes] == [1, 0]
    d2l.plt.close("all")


def test_a_picture_saved_right_after_training_has_every_point(tmp_path):
    animator, board = d2l.Animator(xlim=[1, 50]), d2l.ProgressBoard("x")
    for i in range(50):
        animator.add(i + 1, [i])
        board.draw(i, i, "line", every_n=2)
    d2l.plt.savefig("curve.png")
    assert [len(axes.lines[0].get_xdata()) for axes in (animator.axes[0], board.axes)] == [50, 25]
    d2l.plt.close("all")


def test_in_a_notebook_one_picture_is_updated(monkeypatch, capsys, tmp_path):
    d2l.plt.close(d2l.plt.figure())  # the first figure looks for IPython's real shell
    shown = []

    class Handle:
        def update(self, figure):
            shown.append("update")

    def display(figure, display_id):
        shown.append("display")
        return Handle()

    shell = types.SimpleNamespace(kernel=object(), events=types.SimpleNamespace(register=lambda *_: None))
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    monkeypatch.setattr(figures, "PAUSE", 0)
    animator = d2l.Animator()
    for x in range(3):
        animator.add(x, 1.0)
    assert shown == ["display", "update", "update"]
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "figures").exists(), "no file is written that the reader has not asked for"


# ── names ────────────────────────────────────────────────────────────────────────────────────────────


def test_every_public_name_is_there():
    assert all(getattr(d2l, name) is not None for name in d2l.__all__)
    assert d2l.nn is nn
    assert d2l.plt.__name__ == "matplotlib.pyplot"
    assert {"train_ch6", "Trainer", "plt"} <= set(dir(d2l))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("train_ch66", "did you mean d2l.train_ch6\\?"),
        ("train_ch5", "d2l.train_ch6"),
        ("train_ch8", "chapters on text"),
        ("load_data_voc", "d2l.download gets the file"),
        ("load_data_fashion_mist", "did you mean d2l.load_data_fashion_mnist\\?"),
        ("TransformerEncoder", "covers the book's convolutional chapters"),
    ],
)
def test_a_missing_name_says_what_to_use(name, says):
    with pytest.raises(AttributeError, match=says) as error:
        getattr(d2l, name)
    assert isinstance(error.value, UsageError)
    assert not hasattr(d2l, name)


def script(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_install_makes_the_books_names_importable():
    code = """
import sys
import neoclassic.compat
assert not {"torch", "matplotlib"} & set(sys.modules)
neoclassic.compat.install()
assert "matplotlib" not in sys.modules
from d2l import torch as d2l
import d2l.torch
import d2l as package
assert d2l.torch.Trainer is package.torch.Trainer
neoclassic.compat.install()
for code in ("from d2l import tensorflow", "package.train_ch3"):
    try:
        exec(code)
    except Exception as error:
        print(error)
assert not hasattr(package, "train_ch3")
assert package.__version__ == "1.0.3"
from IPython import display
display.set_matplotlib_formats("svg")  # typed in the editions to v0.16; IPython 8 has it elsewhere
assert "matplotlib_inline.backend_inline" in sys.modules
"""
    done = script(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "only the book's PyTorch edition is available here, not tensorflow: from d2l import torch as d2l",
        "the package d2l has no train_ch3; its module for PyTorch does: from d2l import torch as d2l",
    ]


def test_install_refuses_if_another_package_is_imported(monkeypatch):
    stranger = types.ModuleType("d2l")
    stranger.__file__ = "/elsewhere/d2l/__init__.py"
    monkeypatch.setitem(sys.modules, "d2l", stranger)
    with pytest.raises(UsageError, match=r"'d2l' is already imported from /elsewhere/d2l/__init__\.py"):
        neoclassic.compat.install()
    assert sys.modules["d2l"] is stranger
    with pytest.raises(UsageError, match="unknown book 'd2ll': did you mean 'd2l'"):
        neoclassic.compat.install("d2ll")


def test_without_torch_the_book_says_what_to_install():
    done = script(
        "import sys; sys.modules['torch'] = None\nimport importlib.util as u\n"
        "find = u.find_spec\nu.find_spec = lambda n, *a: None if n == 'torch' else find(n, *a)\n"
        "from neoclassic.base.errors import UsageError\n"
        "try:\n    from neoclassic.compat import d2l\nexcept UsageError as error:\n    print(error)"
    )
    assert "pip install torch" in done.stdout, done.stderr
