"""The earlier generation: its meters, and its training loops `train_ch3` and `train_ch6`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from neoclassic.base.errors import UsageError
from neoclassic.compat.d2l.loaders import get_fashion_mnist_labels
from neoclassic.compat.d2l.models import init_cnn
from neoclassic.compat.d2l.pictures import Animator, show_images, shown_in_full

Batches = Iterable[Any]
Net = Callable[[Tensor], Tensor]

# ── meters ───────────────────────────────────────────────────────────────────────────────────────────


class Timer:
    """A stopwatch: `start()`, `stop()`; `times` keeps the seconds of each."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.start()

    def start(self) -> None:
        """Begin anew."""
        self.tik = time.perf_counter()

    def stop(self) -> float:
        """Keep the seconds since the last start, and return them."""
        self.times.append(time.perf_counter() - self.tik)
        return self.times[-1]

    def avg(self) -> float:
        """Mean seconds; not a number before the first stop."""
        return self.sum() / len(self.times) if self.times else math.nan

    def sum(self) -> float:
        """All seconds."""
        return math.fsum(self.times)

    def cumsum(self) -> list[float]:
        """Seconds up to each stop."""
        return [math.fsum(self.times[: i + 1]) for i in range(len(self.times))]


class Accumulator:
    """Sums over n things: `add(…)` n numbers at a time, read them by index."""

    def __init__(self, n: int) -> None:
        self.data = [0.0] * n

    def add(self, *args: Any) -> None:
        self.data = [total + float(new) for total, new in zip(self.data, args, strict=False)]

    def reset(self) -> None:
        self.data = [0.0] * len(self.data)

    def __getitem__(self, idx: int) -> float:
        return self.data[idx]


def accuracy(y_hat: Tensor, y: Tensor) -> float:
    """How many of N predictions are right. y_hat: N×classes scores, or N classes."""
    return float(_right(y_hat, y))


def _right(y_hat: Tensor, y: Tensor) -> Tensor:
    if y_hat.ndim > 1 and y_hat.shape[1] > 1:
        y_hat = y_hat.argmax(1)
    return (y_hat.type(y.dtype) == y).sum()


@torch.no_grad()
def evaluate_accuracy(net: Any, data_iter: Batches) -> float:
    """The fraction of right predictions over a data set. A module runs as at test, on its own device."""
    return float(evaluate_accuracy_gpu(net, data_iter))


@torch.no_grad()
def evaluate_accuracy_gpu(net: Any, data_iter: Batches, device: torch.device | str | None = None) -> float:
    """The fraction of right predictions over a data set. `device`: the module's own when omitted."""
    if isinstance(net, nn.Module):
        net.eval()
        device = device or next((p.device for p in net.parameters()), None)
    right, n = torch.zeros((), dtype=torch.int64, device=device), 0
    for X, y in data_iter:
        X, y = _put(X, device), _put(y, device)
        right += _right(net(X), y)
        n += y.numel()
    if not n:
        raise UsageError("there are no images to evaluate on: data_iter is empty")
    return int(right) / n


def _put(X: Any, device: Any) -> Any:
    if device is None:
        return X
    return [x.to(device) for x in X] if isinstance(X, list) else X.to(device)


@torch.no_grad()
def evaluate_loss(net: Any, data_iter: Batches, loss: Callable[..., Tensor]) -> float:
    """The mean over all numbers that `loss` returns on a data set."""
    metric = Accumulator(2)
    for X, y in data_iter:
        out = net(X)
        each = loss(out, y.reshape(out.shape))
        metric.add(each.sum(), each.numel())
    return metric[0] / metric[1]


# ── chapter 3 ────────────────────────────────────────────────────────────────────────────────────────


def linreg(X: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """Xw + b."""
    return X @ w + b


def squared_loss(y_hat: Tensor, y: Tensor) -> Tensor:
    """(ŷ − y)² / 2, each."""
    return (y_hat - y.reshape(y_hat.shape)) ** 2 / 2


@torch.no_grad()
def sgd(params: Iterable[Tensor], lr: float, batch_size: int) -> None:
    """w ← w − lr · g / batch_size, and g ← 0: for gradients of a loss that was added up."""
    for param in params:
        param -= lr * param.grad / batch_size
        param.grad.zero_()


def train_epoch_ch3(net: Any, train_iter: Batches, loss: Callable[..., Tensor], updater: Any) -> tuple[float, float]:
    """One epoch: (mean loss, fraction right) over it.

    loss     of each image or their mean: both are reported as the mean over images
    updater  a torch optimizer, or a function of the batch size that updates and clears gradients
    """
    if isinstance(net, nn.Module):
        net.train()
    metric = Accumulator(3)
    for X, y in train_iter:
        y_hat = net(X)
        each = loss(y_hat, y)
        if isinstance(updater, torch.optim.Optimizer):
            updater.zero_grad()
            each.mean().backward()
            updater.step()
        else:
            each.sum().backward()
            updater(X.shape[0])
        metric.add(each.detach().mean() * y.numel(), accuracy(y_hat, y), y.numel())
    if not metric[2]:
        raise UsageError("there are no images to train on: train_iter is empty")
    return metric[0] / metric[2], metric[1] / metric[2]


@shown_in_full()
def train_ch3(
    net: Any, train_iter: Batches, test_iter: Batches, loss: Callable[..., Tensor], num_epochs: int, updater: Any
) -> None:
    """Train, drawing loss and accuracies after every epoch; the accuracies are of training and test set."""
    legend = ["train loss", "train acc", "test acc"]
    animator = Animator(xlabel="epoch", xlim=[1, num_epochs], ylim=[0.3, 0.9], legend=legend)
    for epoch in range(num_epochs):
        trained = train_epoch_ch3(net, train_iter, loss, updater)
        animator.add(epoch + 1, (*trained, evaluate_accuracy(net, test_iter)))


@torch.no_grad()
def predict_ch3(net: Any, test_iter: Batches, n: int = 6) -> None:
    """Draw the first n images of a data set, each with its true name over the predicted one."""
    X, y = next(iter(test_iter))
    X, y = X[:n], y[:n]
    names = zip(get_fashion_mnist_labels(y), get_fashion_mnist_labels(net(X).argmax(1)), strict=True)
    show_images(X.reshape(len(X), *X.shape[-2:]), 1, len(X), titles=["\n".join(pair) for pair in names])


# ── chapter 6 ────────────────────────────────────────────────────────────────────────────────────────


@shown_in_full()
def train_ch6(
    net: nn.Module,
    train_iter: Any,
    test_iter: Batches,
    num_epochs: int,
    lr: float,
    device: torch.device | str,
) -> None:
    """Train with plain SGD from Xavier-uniform weights, and print loss, accuracies and examples/sec.

    Five points an epoch are drawn, all of them when there are fewer batches. Loss and training accuracy are means over
    the epoch so far. The seconds are those of the whole training loop, loading included, evaluation not.
    """
    num_batches = len(train_iter)
    if not num_batches or num_epochs < 1:
        raise UsageError(f"there is nothing to train: {num_batches} batches, {num_epochs} epochs")
    net.apply(init_cnn)
    print("training on", device)
    net.to(device)
    _lay_out(net, torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    loss = nn.CrossEntropyLoss()
    animator = Animator(xlabel="epoch", xlim=[0, num_epochs], legend=["train loss", "train acc", "test acc"])
    timer, every, seen = Timer(), max(num_batches // 5, 1), 0
    train_l = train_acc = test_acc = math.nan
    for epoch in range(num_epochs):
        sums, n = torch.zeros(2, device=device), 0  # on the device, so that a batch need not be waited for
        net.train()
        timer.start()
        for i, (X, y) in enumerate(train_iter):
            X, y = _put(X, device), _put(y, device)
            optimizer.zero_grad()
            y_hat = net(X)
            mean_loss = loss(y_hat, y)
            mean_loss.backward()
            optimizer.step()
            with torch.no_grad():
                sums += torch.stack([mean_loss * len(y), _right(y_hat, y).float()])
            n += len(y)
            if (i + 1) % every == 0 or i == num_batches - 1:
                train_l, train_acc = (sums / n).tolist()
                if i == num_batches - 1:
                    timer.stop()
                animator.add(epoch + (i + 1) / num_batches, (train_l, train_acc, None))
        seen += n
        test_acc = evaluate_accuracy_gpu(net, test_iter, device)
        animator.add(epoch + 1, (None, None, test_acc))
    _lay_out(net, torch.contiguous_format)
    print(f"loss {train_l:.3f}, train acc {train_acc:.3f}, test acc {test_acc:.3f}")
    print(f"{seen / timer.sum():.1f} examples/sec on {device}")
    if num_epochs * num_batches >= PATIENCE and (hint := _hint(train_l, train_acc, y_hat.shape[1])):
        print(hint)


def _lay_out(net: nn.Module, order: torch.memory_format) -> None:
    """The weights of convolutions in another order of memory: the same numbers; processors like the channels last."""
    if not any(isinstance(p, nn.UninitializedParameter) for p in net.parameters()):
        net.to(memory_format=order)


PATIENCE = 100  # steps after which something ought to have been learnt


def _hint(loss: float, right: float, classes: int) -> str:
    """What to try when a run has come to nothing: 6 of 101 published runs of the book's NiN end so, 2 more as NaN."""
    if not math.isfinite(loss):
        return "the loss is not a number: lower lr, or start again from another seed (torch.manual_seed)"
    if loss > 0.98 * math.log(classes) and right < 2 / classes:
        return "nothing was learnt (the loss is that of guessing): start again from another seed, or change lr"
    return ""
