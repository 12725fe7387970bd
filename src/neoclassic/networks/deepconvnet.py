"""DeepConvNet, the network of *Deep Learning from Scratch* (Saitoh 2016), chapter 8.

Six 3×3 convolutions in three pairs, then two fully connected layers.

Differences
- `deepconvnet` — none. Two peculiarities of the book are kept: the fourth convolution pads by 2, so 14×14 grows to
  16×16, and a second dropout comes *after* the last layer. In training, that dropout zeroes half of the logits, so the
  training loss cannot fall below 0.83, however good the network is; in evaluation it does nothing. Do not copy it into
  a new network.
"""

from __future__ import annotations

from neoclassic.networks.entries import Entry
from neoclassic.tree import Conv2d, Dropout, Flatten, Linear, MaxPool2d, Node, ReLU, Sequential


def deepconvnet(classes: int) -> Node:
    return Sequential(
        *(Conv2d(16, 3, padding=1), ReLU(), Conv2d(16, 3, padding=1), ReLU(), MaxPool2d(2)),
        *(Conv2d(32, 3, padding=1), ReLU(), Conv2d(32, 3, padding=2), ReLU(), MaxPool2d(2)),
        *(Conv2d(64, 3, padding=1), ReLU(), Conv2d(64, 3, padding=1), ReLU(), MaxPool2d(2)),
        Flatten(),
        *(Linear(50), ReLU(), Dropout(0.5)),
        *(Linear(classes), Dropout(0.5)),
    )


NETWORKS = (
    Entry("deepconvnet", deepconvnet, year=2016, input=(1, 28, 28), classes=10, about="the book's MNIST network"),
)
