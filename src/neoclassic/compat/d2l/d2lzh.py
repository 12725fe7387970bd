"""The package `d2lzh_pytorch` of the first Chinese edition's translation into PyTorch (2019).

What means the same there has the same name here. Some calls differ from the later editions': `evaluate_accuracy` takes
the data first, `train_ch3` a batch size, and `train_ch5` an optimizer. The package `d2lzh` is that edition's own, for
MXNet; its names are not here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from neoclassic.base.errors import UsageError
from neoclassic.compat.d2l import blocks, loaders, loops
from neoclassic.compat.d2l.blocks import corr2d
from neoclassic.compat.d2l.figures import Display, pyplot
from neoclassic.compat.d2l.loaders import get_fashion_mnist_labels
from neoclassic.compat.d2l.loops import Batches, linreg, squared_loss, to_device
from neoclassic.compat.d2l.missing import MissingName
from neoclassic.compat.d2l.plots import set_figsize, show_images, use_svg_display

__all__ = [
    "FlattenLayer",
    "GlobalAvgPool2d",
    "Residual",
    "corr2d",
    "data_iter",
    "evaluate_accuracy",
    "get_fashion_mnist_labels",
    "linreg",
    "load_data_fashion_mnist",
    "resnet18",
    "semilogy",
    "set_figsize",
    "sgd",
    "show_fashion_mnist",
    "squared_loss",
    "train_ch3",
    "train_ch5",
    "use_svg_display",
]


def __getattr__(name: str) -> Any:
    if name == "plt":
        return pyplot()
    if name.startswith("__"):
        raise AttributeError(name)
    raise MissingName(
        f"d2lzh_pytorch.{name} is not available here; the later editions have more: from d2l import torch as d2l"
    )


def not_in_mxnets(name: str) -> NoReturn:
    """Raise the error for a name of `d2lzh`, the package for MXNet."""
    if name.startswith("__"):
        raise AttributeError(name)
    raise UsageError(f"d2lzh.{name} belongs to MXNet: use the book's PyTorch edition, from d2l import torch as d2l")


# ── data and figures ─────────────────────────────────────────────────────────────────────────────────


def load_data_fashion_mnist(
    batch_size: int, resize: int | None = None, root: str | None = None
) -> tuple[loaders.Loader, loaders.Loader]:
    """Fashion-MNIST in batches: (training set, shuffled; test set). `root` is ignored: neoclassic has the images."""
    return loaders.load_data_fashion_mnist(batch_size, resize)


def data_iter(batch_size: int, features: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows of `features` and `labels` in batches, in a new order."""
    for indices in torch.randperm(len(features)).split(batch_size):
        yield features[indices], labels[indices]


def show_fashion_mnist(images: Sequence[Tensor], labels: Sequence[str]) -> None:
    """Draw images in a row, titled with the names of their classes."""
    show_images([image.reshape(28, 28) for image in images], 1, len(images), titles=labels)


def semilogy(
    x_vals: Any,
    y_vals: Any,
    x_label: str,
    y_label: str,
    x2_vals: Any = None,
    y2_vals: Any = None,
    legend: Sequence[str] | None = None,
    figsize: tuple[float, float] = (3.5, 2.5),
) -> None:
    """Draw one line, and a dotted one if x2_vals and y2_vals are given, on a logarithmic y axis."""
    set_figsize(figsize)
    plt = pyplot()
    plt.xlabel(x_label)
    plt.ylabel(y_label)
    plt.semilogy(x_vals, y_vals)
    if x2_vals is not None and y2_vals is not None:
        plt.semilogy(x2_vals, y2_vals, linestyle=":")
        plt.legend(legend)
    Display.of(plt.gcf()).changed()


# ── layers ───────────────────────────────────────────────────────────────────────────────────────────


class FlattenLayer(nn.Flatten):
    """N×… → N×D."""


class GlobalAvgPool2d(nn.AdaptiveAvgPool2d):
    """N×C×H×W → N×C×1×1: the mean of each channel."""

    def __init__(self) -> None:
        super().__init__(1)


class Residual(blocks.Residual):
    """The residual block, with that edition's argument `stride`."""

    def __init__(self, in_channels: int, out_channels: int, use_1x1conv: bool = False, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, use_1x1conv, stride)


def resnet18(output: int = 10, in_channels: int = 3) -> nn.Sequential:
    """The book's ResNet-18 for small images."""
    return blocks.resnet18(output, in_channels)


# ── training ─────────────────────────────────────────────────────────────────────────────────────────


@torch.no_grad()
def sgd(params: Iterable[Tensor], lr: float, batch_size: int) -> None:
    """w ← w − lr · g / batch_size. The gradients stay, and the training loop clears them."""
    for param in params:
        param -= lr * param.grad / batch_size


def evaluate_accuracy(data_iter: Batches, net: Any, device: torch.device | str | None = None) -> float:
    """The fraction of correct predictions on a data set. `device` defaults to the module's device."""
    return float(loops.evaluate_accuracy_gpu(net, data_iter, device))


def train_ch3(
    net: Any,
    train_iter: Batches,
    test_iter: Batches,
    loss: Callable[..., Tensor],
    num_epochs: int,
    batch_size: int,
    params: Sequence[Tensor] | None = None,
    lr: float | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Train with an optimizer, or with `sgd` on `params`, and print the mean loss and the accuracies of each epoch."""
    if optimizer is None and (params is None or lr is None):
        raise UsageError("train_ch3 needs params and lr, or an optimizer")

    def update(y_hat: Tensor, y: Tensor) -> Tensor:
        losses = loss(y_hat, y)
        for param in params or ():
            param.grad = None
        if optimizer is not None:
            optimizer.zero_grad()
        losses.sum().backward()
        if optimizer is not None:
            optimizer.step()
        else:
            assert params is not None
            assert lr is not None
            sgd(params, lr, batch_size)
        return losses.detach().mean()

    _train(net, train_iter, test_iter, num_epochs, update, None, "")


def train_ch5(
    net: nn.Module,
    train_iter: Batches,
    test_iter: Batches,
    batch_size: int,
    optimizer: torch.optim.Optimizer,
    device: torch.device | str,
    num_epochs: int,
) -> None:
    """Train with cross-entropy on a device, and print the mean loss, the accuracies and the seconds of each epoch."""
    net.to(device)
    print("training on ", device)

    def update(y_hat: Tensor, y: Tensor) -> Tensor:
        loss = nn.functional.cross_entropy(y_hat, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    _train(net, train_iter, test_iter, num_epochs, update, device, ", time {:.1f} sec")


def _train(
    net: Any,
    train_iter: Batches,
    test_iter: Batches,
    num_epochs: int,
    update: Callable[[Tensor, Tensor], Tensor],
    device: torch.device | str | None,
    ending: str,
) -> None:
    """`update` takes a step from the predictions and labels of a batch, and returns the mean loss."""
    for epoch in range(num_epochs):
        total, correct, n, start = 0.0, 0.0, 0, time.perf_counter()
        if isinstance(net, nn.Module):
            net.train()
        for X, y in train_iter:
            X, y = to_device(X, device), to_device(y, device)
            y_hat = net(X)
            total += float(update(y_hat, y)) * len(y)
            correct += loops.accuracy(y_hat, y)
            n += len(y)
        if not n:
            raise UsageError("there are no images to train on: train_iter is empty")
        test_acc = evaluate_accuracy(test_iter, net, device)
        seconds = ending.format(time.perf_counter() - start)
        print(f"epoch {epoch + 1}, loss {total / n:.4f}, train acc {correct / n:.3f}, test acc {test_acc:.3f}{seconds}")
