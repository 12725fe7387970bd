"""Network in Network.

M. Lin, Q. Chen, S. Yan, "Network in network", arXiv 1312.4400, 2013. The widths are those of the authors' Caffe models.

Differences
- `nin` — the authors' ImageNet model. The class maps pass through a ReLU as well, as in the paper's formula, so logits
  are never negative.
- `nin:cifar` — the authors' CIFAR-10 model, whose second pooling is an average.
- `nin:taught` — *Dive into Deep Learning*, chapter 7.3: AlexNet's shapes, padding 1 in the first convolution, grey
  images, ten classes. Its last ReLU can die: 6 of 101 published runs stayed at chance.
- `nin:taught-linear` — the same without the last ReLU, so it cannot die.
"""

from __future__ import annotations

from neoclassic.networks.entries import Entry
from neoclassic.tree import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    MaxPool2d,
    Node,
    ReLU,
    Sequential,
)


def mlpconv(conv: Conv2d, *widths: int) -> Node:
    """A convolution, and two 1×1 convolutions, which are fully connected layers at every pixel."""
    inner, outer = widths
    return Sequential(*(conv, ReLU()), *(Conv2d(inner, 1), ReLU()), *(Conv2d(outer, 1), ReLU()))


def nin(classes: int) -> Node:
    return Sequential(
        stage1=mlpconv(Conv2d(96, 11, stride=4), 96, 96),
        pool1=MaxPool2d(3, 2, ceil_mode=True),
        stage2=mlpconv(Conv2d(256, 5, padding=2), 256, 256),
        pool2=MaxPool2d(3, 2, ceil_mode=True),
        stage3=mlpconv(Conv2d(384, 3, padding=1), 384, 384),
        pool3=MaxPool2d(3, 2, ceil_mode=True),
        dropout=Dropout(0.5),
        stage4=mlpconv(Conv2d(1024, 3, padding=1), 1024, classes),
        pool4=AdaptiveAvgPool2d(1),
        flatten=Flatten(),
    )


def nin_cifar(classes: int) -> Node:
    return Sequential(
        stage1=mlpconv(Conv2d(192, 5, padding=2), 160, 96),
        pool1=MaxPool2d(3, 2, ceil_mode=True),
        dropout1=Dropout(0.5),
        stage2=mlpconv(Conv2d(192, 5, padding=2), 192, 192),
        pool2=AvgPool2d(3, 2, ceil_mode=True),
        dropout2=Dropout(0.5),
        stage3=mlpconv(Conv2d(192, 3, padding=1), 192, classes),
        pool3=AdaptiveAvgPool2d(1),
        flatten=Flatten(),
    )


def taught(last: Node) -> Node:
    return Sequential(
        stage1=mlpconv(Conv2d(96, 11, stride=4, padding=1), 96, 96),
        pool1=MaxPool2d(3, 2),
        stage2=mlpconv(Conv2d(256, 5, padding=2), 256, 256),
        pool2=MaxPool2d(3, 2),
        stage3=mlpconv(Conv2d(384, 3, padding=1), 384, 384),
        pool3=MaxPool2d(3, 2),
        dropout=Dropout(0.5),
        stage4=last,
        pool4=AdaptiveAvgPool2d(1),
        flatten=Flatten(),
    )


def nin_taught(classes: int) -> Node:
    return taught(mlpconv(Conv2d(classes, 3, padding=1), classes, classes))


def nin_taught_linear(classes: int) -> Node:
    return taught(Sequential(Conv2d(classes, 3, padding=1), ReLU(), Conv2d(classes, 1), ReLU(), Conv2d(classes, 1)))


NETWORKS = (
    Entry("nin", nin, 2013, (3, 224, 224), 1000, "1×1 convolutions and global average pooling"),
    Entry("nin:cifar", nin_cifar, 2013, (3, 32, 32), 10, "for CIFAR-10"),
    Entry("nin:taught", nin_taught, 2013, (1, 224, 224), 10, "for Fashion-MNIST"),
    Entry("nin:taught-linear", nin_taught_linear, 2013, (1, 224, 224), 10, "without the last ReLU"),
)
