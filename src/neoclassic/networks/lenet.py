"""LeNet.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE 86(11), 1998.

Differences
- `lenet` is the form that is taught (*Dive into Deep Learning*, chapter 6.6): 28×28 input padded by 2 in
  the first convolution, every feature map of the second convolution sees all of the first's (the paper's
  sees a chosen few), plain average pooling, sigmoid, a linear output.
- `lenet:bn` is the batch-normalisation chapter's: no padding, so 24-12-8-4, and batch norm before every
  sigmoid.
"""

from __future__ import annotations

from neoclassic.networks.registry import Entry
from neoclassic.tree import AvgPool2d, BatchNorm1d, BatchNorm2d, Conv2d, Flatten, Linear, Node, Sequential, Sigmoid


def lenet(classes: int) -> Node:
    return Sequential(
        *(Conv2d(6, 5, padding=2), Sigmoid(), AvgPool2d(2)),
        *(Conv2d(16, 5), Sigmoid(), AvgPool2d(2)),
        Flatten(),
        *(Linear(120), Sigmoid()),
        *(Linear(84), Sigmoid()),
        Linear(classes),
    )


def lenet_bn(classes: int) -> Node:
    return Sequential(
        *(Conv2d(6, 5), BatchNorm2d(), Sigmoid(), AvgPool2d(2)),
        *(Conv2d(16, 5), BatchNorm2d(), Sigmoid(), AvgPool2d(2)),
        Flatten(),
        *(Linear(120), BatchNorm1d(), Sigmoid()),
        *(Linear(84), BatchNorm1d(), Sigmoid()),
        Linear(classes),
    )


NETWORKS = (
    Entry("lenet", lenet, year=1998, input=(1, 28, 28), classes=10, about="as taught: sigmoid, average pooling"),
    Entry("lenet:bn", lenet_bn, year=2015, input=(1, 28, 28), classes=10, about="as taught, with batch norm"),
)
