"""The older edition's meters and its training loops, `train_ch3` and `train_ch6`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from neoclassic.base.errors import UsageError
from neoclassic.compat.d2l.blocks import init_cnn
from neoclassic.compat.d2l.curves import Animator
from neoclassic.compat.d2l.devices import try_gpu
from neoclassic.compat.d2l.figures import shown_in_full
from neoclassic.compat.d2l.loaders import get_fashion_mnist_labels
from neoclassic.compat.d2l.plots import show_images
from neoclassic.compat.d2l.tensors import number

Batches = Iterable[Any]


def to_device(X: Any, device: Any) -> Any:
    """A tensor, or a list of them, on a device; unchanged if that is None."""
    if device is None:
        return X
    return [x.to(device) for x in X] if isinstance(X, list) else X.to(device)


def device_of(net: Any) -> torch.device | None:
    """The device of a module's parameters. None for a plain function, or for a module without parameters."""
    return next((p.device for p in net.parameters()), None) if isinstance(net, nn.Module) else None


# ── meters ───────────────────────────────────────────────────────────────────────────────────────────


class Timer:
    """A stopwatch: `start()`, `stop()`; `times` holds the seconds of each run."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.start()

    def start(self) -> None:
        """Start again from zero."""
        self.tik = time.perf_counter()

    def stop(self) -> float:
        """Append the seconds since the last start to `times`, and return them."""
        self.times.append(time.perf_counter() - self.tik)
        return self.times[-1]

    def avg(self) -> float:
        """The mean in seconds; nan before the first stop."""
        return self.sum() / len(self.times) if self.times else math.nan

    def sum(self) -> float:
        """The total in seconds."""
        return math.fsum(self.times)

    def cumsum(self) -> list[float]:
        """The total in seconds at each stop."""
        return [math.fsum(self.times[: i + 1]) for i in range(len(self.times))]


class Accumulator:
    """n running sums: `add(…)` takes n numbers, an index reads a sum."""

    def __init__(self, n: int) -> None:
        self.data = [0.0] * n

    def add(self, *args: Any) -> None:
        self.data = [total + number(new) for total, new in zip(self.data, args, strict=False)]

    def reset(self) -> None:
        self.data = [0.0] * len(self.data)

    def __getitem__(self, idx: int) -> float:
        return self.data[idx]


def accuracy(y_hat: Tensor, y: Tensor) -> float:
    """The number of correct predictions. y_hat: N×classes scores, or N classes."""
    return float(_correct(y_hat, y))


def _correct(y_hat: Tensor, y: Tensor) -> Tensor:
    if y_hat.ndim > 1 and y_hat.shape[1] > 1:
        y_hat = y_hat.argmax(1)
    return (y_hat.type(y.dtype) == y).sum()


@torch.no_grad()
def evaluate_accuracy(net: Any, data_iter: Batches) -> float:
    """The fraction of correct predictions on a data set. A module runs in evaluation mode, on its own device."""
    return float(evaluate_accuracy_gpu(net, data_iter))


@torch.no_grad()
def evaluate_accuracy_gpu(net: Any, data_iter: Batches, device: torch.device | str | None = None) -> float:
    """The fraction of correct predictions on a data set. `device` defaults to the module's device."""
    if isinstance(net, nn.Module):
        net.eval()
    device = device or device_of(net)
    correct, n = torch.zeros((), dtype=torch.int64, device=device), 0
    for X, y in data_iter:
        X, y = to_device(X, device), to_device(y, device)
        correct += _correct(net(X), y)
        n += y.numel()
    if not n:
        raise UsageError("there are no images to evaluate on: data_iter is empty")
    return int(correct) / n


@torch.no_grad()
def evaluate_loss(net: Any, data_iter: Batches, loss: Callable[..., Tensor]) -> float:
    """The mean of all the numbers that `loss` returns on a data set."""
    metric, device = Accumulator(2), device_of(net)
    for X, y in data_iter:
        X, y = to_device(X, device), to_device(y, device)
        out = net(X)
        losses = loss(out, y.reshape(out.shape))
        metric.add(losses.sum(), losses.numel())
    return metric[0] / metric[1]


# ── chapter 3 ────────────────────────────────────────────────────────────────────────────────────────


def linreg(X: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """Xw + b."""
    return X @ w + b


def squared_loss(y_hat: Tensor, y: Tensor) -> Tensor:
    """(ŷ − y)² / 2, elementwise."""
    return (y_hat - y.reshape(y_hat.shape)) ** 2 / 2


@torch.no_grad()
def sgd(params: Iterable[Tensor], lr: float, batch_size: int) -> None:
    """w ← w − lr · g / batch_size, then g ← 0. The gradients must be those of a summed loss."""
    for param in params:
        param -= lr * param.grad / batch_size
        param.grad.zero_()


def train_epoch_ch3(net: Any, train_iter: Batches, loss: Callable[..., Tensor], updater: Any) -> tuple[float, float]:
    """Train for one epoch; return (mean loss, fraction of correct predictions).

    loss     returns one value per image or their mean; both are reported as the mean over images
    updater  a torch optimizer, or a function of the batch size that updates the weights and clears the gradients
    """
    if isinstance(net, nn.Module):
        net.train()
    metric = Accumulator(3)
    for X, y in train_iter:
        y_hat = net(X)
        losses = loss(y_hat, y)
        if isinstance(updater, torch.optim.Optimizer):
            updater.zero_grad()
            losses.mean().backward()
            updater.step()
        else:
            losses.sum().backward()
            updater(X.shape[0])
        metric.add(losses.detach().mean() * y.numel(), accuracy(y_hat, y), y.numel())
    if not metric[2]:
        raise UsageError("there are no images to train on: train_iter is empty")
    return metric[0] / metric[2], metric[1] / metric[2]


@shown_in_full()
def train_ch3(
    net: Any, train_iter: Batches, test_iter: Batches, loss: Callable[..., Tensor], num_epochs: int, updater: Any
) -> None:
    """Train, and draw the training loss and the training and test accuracy after every epoch."""
    legend = ["train loss", "train acc", "test acc"]
    animator = Animator(xlabel="epoch", xlim=[1, num_epochs], ylim=[0.3, 0.9], legend=legend)
    for epoch in range(num_epochs):
        train_metrics = train_epoch_ch3(net, train_iter, loss, updater)
        animator.add(epoch + 1, (*train_metrics, evaluate_accuracy(net, test_iter)))


@torch.no_grad()
def predict_ch3(net: Any, test_iter: Batches, n: int = 6) -> None:
    """Draw the first n images of a data set, each titled with its true class above the predicted one.

    The network is asked on its own device.
    """
    X, y = next(iter(test_iter))
    X, y = X[:n], y[:n]
    predicted = net(to_device(X, device_of(net))).argmax(1)
    names = zip(get_fashion_mnist_labels(y), get_fashion_mnist_labels(predicted), strict=True)
    show_images(X.reshape(len(X), *X.shape[-2:]), 1, len(X), titles=["\n".join(pair) for pair in names])


# ── chapter 6 ────────────────────────────────────────────────────────────────────────────────────────


@shown_in_full()
def train_ch6(
    net: nn.Module,
    train_iter: Any,
    test_iter: Batches,
    num_epochs: int,
    lr: float,
    device: torch.device | str | None = None,
) -> None:
    """Train with plain SGD from Xavier-uniform weights, and print the loss, the accuracies and examples/sec.

    device: by default `try_gpu()`, as in the editions v0.14 to v0.16, which print the call without it.
    Five points are drawn in an epoch, or one per batch if there are fewer than five. Loss and training accuracy are
    means over the epoch so far. examples/sec counts the training loop, including loading but not evaluation.
    """
    num_batches = len(train_iter)
    if not num_batches or num_epochs < 1:
        raise UsageError(f"there is nothing to train: {num_batches} batches, {num_epochs} epochs")
    device = device or try_gpu()
    net.apply(init_cnn)
    print("training on", device)
    net.to(device)
    _set_memory_format(net, torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    loss = nn.CrossEntropyLoss()
    animator = Animator(xlabel="epoch", xlim=[0, num_epochs], legend=["train loss", "train acc", "test acc"])
    timer, every, seen = Timer(), max(num_batches // 5, 1), 0
    train_l = train_acc = test_acc = math.nan
    for epoch in range(num_epochs):
        sums, n = torch.zeros(2, device=device), 0  # on the device, so that no batch is waited for
        net.train()
        timer.start()
        for i, (X, y) in enumerate(train_iter):
            X, y = to_device(X, device), to_device(y, device)
            optimizer.zero_grad()
            y_hat = net(X)
            mean_loss = loss(y_hat, y)
            mean_loss.backward()
            optimizer.step()
            with torch.no_grad():
                sums += torch.stack([mean_loss * len(y), _correct(y_hat, y).float()])
            n += len(y)
            if (i + 1) % every == 0 or i == num_batches - 1:
                train_l, train_acc = (sums / n).tolist()
                if i == num_batches - 1:
                    timer.stop()
                animator.add(epoch + (i + 1) / num_batches, (train_l, train_acc, None))
        seen += n
        test_acc = evaluate_accuracy_gpu(net, test_iter, device)
        animator.add(epoch + 1, (None, None, test_acc))
    _set_memory_format(net, torch.contiguous_format)
    print(f"loss {train_l:.3f}, train acc {train_acc:.3f}, test acc {test_acc:.3f}")
    print(f"{seen / timer.sum():.1f} examples/sec on {device}")
    if num_epochs * num_batches >= PATIENCE and (hint := _hint(train_l, train_acc, y_hat.shape[1])):
        print(hint)


def _set_memory_format(net: nn.Module, memory_format: torch.memory_format) -> None:
    """Store the same weights in another memory format: CPUs compute convolutions faster with channels last."""
    if not any(isinstance(p, nn.UninitializedParameter) for p in net.parameters()):
        net.to(memory_format=memory_format)


PATIENCE = 100  # steps after which a network should have learnt something


def _hint(loss: float, accuracy: float, classes: int) -> str:
    """What to try if training failed, as it did in 8 of 101 published runs of the book's NiN, twice with a nan loss."""
    if not math.isfinite(loss):
        return "the loss is not a number: lower lr, or start again with another seed (torch.manual_seed)"
    if loss > 0.98 * math.log(classes) and accuracy < 2 / classes:
        return "nothing was learnt (the loss is no better than guessing): start again with another seed, or change lr"
    return ""
