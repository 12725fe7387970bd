"""LeNet.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE 86(11), 1998. The taught variants: *Dive into Deep Learning*, chapters 6.6 and 7.5.

Differences
- `lenet:1998` — none in its 60,000 parameters. Subsampling averages its four inputs instead of adding them, which only
  scales the coefficient. The 7×12 prototypes of the ten digits are our own drawings after the paper's. The outputs are
  negated distances, so that the largest one wins, and the loss is cross-entropy.
- `lenet` — as taught: a 28×28 image padded by 2 in the first convolution; every map of the second convolution is
  connected to all maps of the first, not to a selection as in the paper; plain average pooling; sigmoid; a linear
  output.
- `lenet:bn` — as taught: no padding, so maps are 24-12-8-4, and batch norm before every sigmoid.
"""

from __future__ import annotations

from neoclassic.base.errors import UsageError
from neoclassic.networks.entries import Entry
from neoclassic.tree import (
    RBF,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Flatten,
    Linear,
    Node,
    Select,
    Sequential,
    Sigmoid,
    Tanh,
)


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


# ── 1998 ─────────────────────────────────────────────────────────────────────────────────────────────

SQUASH = Tanh(scale=1.7159, slope=2 / 3)

# Table I: the maps of S2 to which each map of C3 is connected
C3 = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5)),
)

# the target of F6 for each digit, after Figure 3: ink is +1, paper −1
DIGITS = """
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
..###..  ...#...  .#####.  .#####.  ....##.  #######  ..####.  #######  .#####.  .#####.
.##.##.  ..##...  ##...##  ##...##  ...###.  ##.....  .##....  ##...##  ##...##  ##...##
##...##  .####..  ##...##  .....##  ..####.  ##.....  ##.....  .....##  ##...##  ##...##
##...##  ...##..  .....##  .....##  .##.##.  ##.....  ##.....  ....##.  ##...##  ##...##
##...##  ...##..  ....##.  ..####.  ##..##.  ######.  ######.  ....##.  .#####.  ##...##
##...##  ...##..  ...##..  .....##  ##..##.  .....##  ##...##  ...##..  ##...##  .######
##...##  ...##..  ..##...  .....##  #######  .....##  ##...##  ...##..  ##...##  .....##
##...##  ...##..  .##....  .....##  ....##.  .....##  ##...##  ..##...  ##...##  .....##
.##.##.  ...##..  ##.....  ##...##  ....##.  ##...##  ##...##  ..##...  ##...##  ....##.
..###..  .######  #######  .#####.  ....##.  .#####.  .#####.  ..##...  .#####.  .####..
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
"""


def prototypes() -> tuple[tuple[int, ...], ...]:
    rows = [line.split() for line in DIGITS.split("\n") if line]
    return tuple(
        tuple(1 if pixel == "#" else -1 for row in digit for pixel in row) for digit in zip(*rows, strict=True)
    )


def subsampling(channels: int) -> Node:
    """The mean of 2×2 pixels, times a coefficient, plus a bias: two parameters per map."""
    return Sequential(AvgPool2d(2), Conv2d(channels, 1, groups=channels), SQUASH)


def lenet_1998(classes: int) -> Node:
    if classes > 10:
        raise UsageError(f"lenet:1998 has one output prototype for each of the ten digits, not for {classes} classes")
    maps = {f"map{i}": Sequential(Select(inputs), Conv2d(1, 5)) for i, inputs in enumerate(C3)}
    return Sequential(
        c1=Sequential(Conv2d(6, 5), SQUASH),
        s2=subsampling(6),
        c3=Sequential(Concat.of(maps), SQUASH),
        s4=subsampling(16),
        c5=Sequential(Conv2d(120, 5), SQUASH),
        flatten=Flatten(),
        f6=Sequential(Linear(84), SQUASH),
        output=RBF(prototypes()[:classes]),
    )


NETWORKS = (
    Entry("lenet", lenet, year=1998, input=(1, 28, 28), classes=10, about="as taught: sigmoid, average pooling"),
    Entry("lenet:1998", lenet_1998, year=1998, input=(1, 32, 32), classes=10, about="LeNet-5 as published"),
    Entry("lenet:bn", lenet_bn, year=2015, input=(1, 28, 28), classes=10, about="as taught, with batch norm"),
)
