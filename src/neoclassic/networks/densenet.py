"""DenseNet.

G. Huang, Z. Liu, L. van der Maaten, K. Weinberger, "Densely connected convolutional networks", arXiv 1608.06993, 2016.

Differences
- `densenet121`, `densenet161`, `densenet169`, `densenet201`, `densenet264` — none: the BC networks for ImageNet, growth
  rate 32 (161: 48), bottlenecks, transitions that halve the channels.
- `densenet40-*`, `densenet100-*` — none: the plain CIFAR networks; the name gives depth and growth rate.
- `densenet-bc*` — none: the BC CIFAR networks.
- `densenet:taught` — *Dive into Deep Learning*, chapter 7.7: four blocks of four 3×3 convolutions without bottleneck
  (the paper's "C"), with biases; grey images and ten classes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from neoclassic.base.errors import UsageError
from neoclassic.networks.entries import Entry
from neoclassic.tree import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Flatten,
    Identity,
    Linear,
    MaxPool2d,
    Node,
    ReLU,
    Sequential,
)

# Table 1: layers per block
BLOCKS = {121: (6, 12, 24, 16), 161: (6, 12, 36, 24), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32), 264: (6, 12, 64, 48)}

Layers = Callable[[int], tuple[Node, ...]]


def plain(growth_rate: int, bias: bool = False) -> tuple[Node, ...]:
    return BatchNorm2d(), ReLU(), Conv2d(growth_rate, 3, padding=1, bias=bias)


def bottleneck(growth_rate: int) -> tuple[Node, ...]:
    return BatchNorm2d(), ReLU(), Conv2d(4 * growth_rate, 1, bias=False), *plain(growth_rate)


def transition(width: int, bias: bool = False) -> Node:
    return Sequential(BatchNorm2d(), ReLU(), Conv2d(width, 1, bias=bias), AvgPool2d(2))


def densenet(
    classes: int,
    channels: int,
    stem: Node,
    blocks: tuple[int, ...],
    growth_rate: int,
    compression: float,
    layers: Layers = bottleneck,
    transition: Callable[[int], Node] = transition,
) -> Node:
    """Blocks of layers that each add `growth_rate` channels, and transitions that keep a fraction `compression`."""
    dense: dict[str, Node] = {}
    for i, count in enumerate(blocks, 1):
        layer = Concat(input=Identity(), new=Sequential(*layers(growth_rate)))
        dense[f"block{i}"] = Sequential.of({f"layer{j}": layer for j in range(1, count + 1)})
        channels += count * growth_rate
        if i < len(blocks):
            channels = int(channels * compression)
            dense[f"transition{i}"] = transition(channels)
    top = Sequential(BatchNorm2d(), ReLU(), AdaptiveAvgPool2d(1), Flatten(), fc=Linear(classes))
    return Sequential(stem=stem, **dense, **dict(top.children))


def imagenet(classes: int, blocks: tuple[int, ...], growth_rate: int = 32, compression: float = 0.5) -> Node:
    channels = 2 * growth_rate
    stem = Sequential(Conv2d(channels, 7, 2, 3, bias=False), BatchNorm2d(), ReLU(), MaxPool2d(3, 2, 1))
    return densenet(classes, channels, stem, blocks, growth_rate, compression)


def cifar(classes: int, depth: int, growth_rate: int, compression: float = 1.0) -> Node:
    return densenet(classes, 16, conv3x3(16), blocks_of(depth, 1), growth_rate, compression, layers=plain)


def cifar_bc(classes: int, depth: int, growth_rate: int, compression: float = 0.5) -> Node:
    channels = 2 * growth_rate
    return densenet(classes, channels, conv3x3(channels), blocks_of(depth, 2), growth_rate, compression)


def conv3x3(width: int) -> Node:
    return Conv2d(width, 3, padding=1, bias=False)


def blocks_of(depth: int, convolutions: int) -> tuple[int, ...]:
    """The layers per block of three equal blocks. The depth counts `convolutions` per layer, and the stem, two
    transitions and the output."""
    n, rest = divmod(depth - 4, 3 * convolutions)
    if rest or n < 1:
        raise UsageError(f"the depth must be {3 * convolutions}n + 4, not {depth}")
    return (n, n, n)


def densenet_taught(classes: int) -> Node:
    stem = Sequential(Conv2d(64, 7, 2, 3), BatchNorm2d(), ReLU(), MaxPool2d(3, 2, 1))
    layers, transitions = partial(plain, bias=True), partial(transition, bias=True)
    return densenet(classes, 64, stem, (4, 4, 4, 4), 32, 0.5, layers, transitions)


def bc(depth: int, growth_rate: int) -> Entry:
    build = partial(imagenet, blocks=BLOCKS[depth], growth_rate=growth_rate)
    vary = ("blocks", "growth_rate", "compression")
    return Entry(f"densenet{depth}", build, 2016, (3, 224, 224), 1000, f"BC, growth rate {growth_rate}", vary)


def small(name: str, build: Callable[..., Node], depth: int, growth_rate: int) -> Entry:
    build = partial(build, depth=depth, growth_rate=growth_rate)
    about = f"for CIFAR-10, growth rate {growth_rate}"
    vary = ("depth", "growth_rate", "compression")
    return Entry(f"{name}{depth}-{growth_rate}", build, 2016, (3, 32, 32), 10, about, vary)


NETWORKS = (
    *(bc(121, 32), bc(161, 48), bc(169, 32), bc(201, 32), bc(264, 32)),
    *(small("densenet", cifar, 40, 12), small("densenet", cifar, 100, 12), small("densenet", cifar, 100, 24)),
    *(small("densenet-bc", cifar_bc, 100, 12), small("densenet-bc", cifar_bc, 250, 24)),
    small("densenet-bc", cifar_bc, 190, 40),
    Entry("densenet:taught", densenet_taught, 2016, (1, 96, 96), 10, "for Fashion-MNIST"),
)
