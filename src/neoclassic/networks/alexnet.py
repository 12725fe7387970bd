"""AlexNet.

A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet classification with deep convolutional neural networks",
NIPS 2012.

Differences
- `alexnet` — none in structure: the two towers are two groups in convolutions 2, 4 and 5. The paper says that images
  are 224×224, but its 55×55 output of the first layer requires 227×227, which is used here.
- `alexnet:torchvision` — one tower of 64-192-384-256-256 maps without LRN, after A. Krizhevsky, "One weird trick
  for parallelizing convolutional neural networks", arXiv 1404.5997; padding 2 makes 224×224 fit; dropout comes before
  the fully connected layers.
- `alexnet:taught` — *Dive into Deep Learning*, chapter 7.1: the 2012 widths in one tower without LRN; padding 1 in the
  first convolution, so maps are 54-26-12-5; grey images and ten classes.
"""

from __future__ import annotations

from neoclassic.networks.entries import Entry
from neoclassic.tree import (
    AdaptiveAvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Node,
    ReLU,
    Sequential,
)

LRN = LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2)  # section 3.3 has α = 1e-4; torch divides alpha by n = 5


def alexnet(classes: int) -> Node:
    return Sequential(
        *(Conv2d(96, 11, stride=4), ReLU(), LRN, MaxPool2d(3, 2)),
        *(Conv2d(256, 5, padding=2, groups=2), ReLU(), LRN, MaxPool2d(3, 2)),
        *(Conv2d(384, 3, padding=1), ReLU()),
        *(Conv2d(384, 3, padding=1, groups=2), ReLU()),
        *(Conv2d(256, 3, padding=1, groups=2), ReLU(), MaxPool2d(3, 2)),
        Flatten(),
        *(Linear(4096), ReLU(), Dropout(0.5)),
        *(Linear(4096), ReLU(), Dropout(0.5)),
        Linear(classes),
    )


def alexnet_torchvision(classes: int) -> Node:
    return Sequential(
        *(Conv2d(64, 11, stride=4, padding=2), ReLU(), MaxPool2d(3, 2)),
        *(Conv2d(192, 5, padding=2), ReLU(), MaxPool2d(3, 2)),
        *(Conv2d(384, 3, padding=1), ReLU()),
        *(Conv2d(256, 3, padding=1), ReLU()),
        *(Conv2d(256, 3, padding=1), ReLU(), MaxPool2d(3, 2)),
        *(AdaptiveAvgPool2d(6), Flatten()),
        *(Dropout(0.5), Linear(4096), ReLU()),
        *(Dropout(0.5), Linear(4096), ReLU()),
        Linear(classes),
    )


def alexnet_taught(classes: int) -> Node:
    return Sequential(
        *(Conv2d(96, 11, stride=4, padding=1), ReLU(), MaxPool2d(3, 2)),
        *(Conv2d(256, 5, padding=2), ReLU(), MaxPool2d(3, 2)),
        *(Conv2d(384, 3, padding=1), ReLU()),
        *(Conv2d(384, 3, padding=1), ReLU()),
        *(Conv2d(256, 3, padding=1), ReLU(), MaxPool2d(3, 2)),
        Flatten(),
        *(Linear(4096), ReLU(), Dropout(0.5)),
        *(Linear(4096), ReLU(), Dropout(0.5)),
        Linear(classes),
    )


NETWORKS = (
    Entry("alexnet", alexnet, 2012, (3, 227, 227), 1000, "two towers, local response normalisation"),
    Entry("alexnet:torchvision", alexnet_torchvision, 2014, (3, 224, 224), 1000, "one narrower tower"),
    Entry("alexnet:taught", alexnet_taught, 2012, (1, 224, 224), 10, "one tower for Fashion-MNIST"),
)
