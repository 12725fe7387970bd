"""The two MNIST networks of *PyTorch Deep Learning Practice*: a small Inception network and a small residual network.

Differences
- `mnist-inception` — its module is Inception v3's "A" scaled down (C. Szegedy et al., arXiv 1512.00567): average
  pooling and a double 3×3 branch, concatenated in the order 1×1, 5×5, 3×3, pool. As taught, a module has no activation,
  so each branch is one linear map; the only ReLUs come after the two poolings.
- `mnist-residual` — a residual block of K. He et al., arXiv 1512.03385, without batch norm.
"""

from __future__ import annotations

from neoclassic.networks.entries import Entry
from neoclassic.tree import AvgPool2d, Concat, Conv2d, Flatten, Identity, Linear, MaxPool2d, Node, ReLU, Sequential, Sum


def inception_a() -> Node:
    return Concat(
        branch1x1=Conv2d(16, 1),
        branch5x5=Sequential(Conv2d(16, 1), Conv2d(24, 5, padding=2)),
        branch3x3=Sequential(Conv2d(16, 1), Conv2d(24, 3, padding=1), Conv2d(24, 3, padding=1)),
        branch_pool=Sequential(AvgPool2d(3, 1, padding=1), Conv2d(24, 1)),
    )


def mnist_inception(classes: int) -> Node:
    return Sequential(
        stage1=Sequential(Conv2d(10, 5), MaxPool2d(2), ReLU()),
        inception1=inception_a(),
        stage2=Sequential(Conv2d(20, 5), MaxPool2d(2), ReLU()),
        inception2=inception_a(),
        flatten=Flatten(),
        fc=Linear(classes),
    )


def residual(width: int) -> Node:
    path = Sequential(Conv2d(width, 3, padding=1), ReLU(), Conv2d(width, 3, padding=1))
    return Sequential(Sum(path=path, shortcut=Identity()), ReLU())


def mnist_residual(classes: int) -> Node:
    return Sequential(
        stage1=Sequential(Conv2d(16, 5), ReLU(), MaxPool2d(2)),
        block1=residual(16),
        stage2=Sequential(Conv2d(32, 5), ReLU(), MaxPool2d(2)),
        block2=residual(32),
        flatten=Flatten(),
        fc=Linear(classes),
    )


NETWORKS = (
    Entry("mnist-inception", mnist_inception, year=2015, input=(1, 28, 28), classes=10, about="two Inception modules"),
    Entry("mnist-residual", mnist_residual, year=2015, input=(1, 28, 28), classes=10, about="two residual blocks"),
)
