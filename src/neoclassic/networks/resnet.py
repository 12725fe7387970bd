"""ResNet.

K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image recognition", arXiv 1512.03385, 2015 (v1), and
"Identity mappings in deep residual networks", arXiv 1603.05027, 2016 (v2).

Differences
- `resnet18`, `resnet34` — none: shortcuts are projections where the shape changes (option B).
- `resnet50`, `resnet101`, `resnet152` — the stride is in the 3×3 convolution, not in the first 1×1, as is usual today
  ("v1.5"); this takes 6 % more multiplications.
- `resnet*:2015` — none: the stride is in the first 1×1, which gives the paper's 3.8, 7.6 and 11.3 billion.
- `resnet*:a` — none: option A, shortcuts without parameters, which take every second pixel and fill new channels with
  zeros.
- `resnet20`, `resnet32`, `resnet44`, `resnet56`, `resnet110` — none: the CIFAR-10 networks, option A.
- `resnet*:v2` — batch norm and ReLU before each convolution, nothing after the sum; where the shape changes, the
  shortcut is a projection of the activated input, without batch norm. The ImageNet bottlenecks have the stride in the
  3×3, as in v1.5; those for CIFAR-10 have it in the first 1×1, as published.
- `resnet18:taught` — *Dive into Deep Learning*, chapter 7.6: convolutions have biases, and projections have no batch
  norm; grey images and ten classes.
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
    Conv2d,
    Flatten,
    Identity,
    Linear,
    MaxPool2d,
    Node,
    PadChannels,
    ReLU,
    Sequential,
    Sum,
)

# Table 1: blocks per stage
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
NARROW, WIDE = (64, 128, 256, 512), (256, 512, 1024, 2048)  # channels per stage: basic blocks, bottlenecks

conv1x1 = partial(Conv2d, kernel_size=1, bias=False)
conv3x3 = partial(Conv2d, kernel_size=3, padding=1, bias=False)

# ── blocks ───────────────────────────────────────────────────────────────────────────────────────────

Block = Callable[[int, int, int], Node]  # input channels, output channels, stride


def projection(channels: int, width: int, stride: int) -> Node:
    """Option B: the identity if the shape stays the same, otherwise a 1×1 convolution."""
    if channels == width and stride == 1:
        return Identity()
    return Sequential(conv1x1(width, stride=stride), BatchNorm2d())


def padding(channels: int, width: int, stride: int) -> Node:
    """Option A: the identity if the shape stays the same, otherwise every second pixel and zeros for new channels."""
    if channels == width and stride == 1:
        return Identity()
    return Sequential(AvgPool2d(1, stride), PadChannels(width))


def basic_path(width: int, stride: int) -> tuple[Node, ...]:
    return conv3x3(width, stride=stride), BatchNorm2d(), ReLU(), conv3x3(width)


def bottleneck_path(width: int, stride1: int, stride2: int) -> tuple[Node, ...]:
    """The convolutions of a bottleneck. stride1, stride2: of the first 1×1 and of the 3×3."""
    return (
        *(conv1x1(width // 4, stride=stride1), BatchNorm2d(), ReLU()),
        *(conv3x3(width // 4, stride=stride2), BatchNorm2d(), ReLU()),
        conv1x1(width),
    )


def activated(path: Node, shortcut: Node) -> Node:
    return Sequential(Sum(path=path, shortcut=shortcut), ReLU())


def preactivated(channels: int, width: int, stride: int, path: tuple[Node, ...]) -> Node:
    if channels == width and stride == 1:
        return Sum(path=Sequential(BatchNorm2d(), ReLU(), *path), shortcut=Identity())
    return Sequential(BatchNorm2d(), ReLU(), Sum(path=Sequential(*path), shortcut=conv1x1(width, stride=stride)))


def basic(channels: int, width: int, stride: int, shortcut: Block = projection) -> Node:
    return activated(Sequential(*basic_path(width, stride), BatchNorm2d()), shortcut(channels, width, stride))


def bottleneck(channels: int, width: int, stride: int) -> Node:
    return activated(Sequential(*bottleneck_path(width, 1, stride), BatchNorm2d()), projection(channels, width, stride))


def bottleneck_2015(channels: int, width: int, stride: int) -> Node:
    return activated(Sequential(*bottleneck_path(width, stride, 1), BatchNorm2d()), projection(channels, width, stride))


def basic_v2(channels: int, width: int, stride: int) -> Node:
    return preactivated(channels, width, stride, basic_path(width, stride))


def bottleneck_v2(channels: int, width: int, stride: int) -> Node:
    return preactivated(channels, width, stride, bottleneck_path(width, 1, stride))


def bottleneck_v2_2016(channels: int, width: int, stride: int) -> Node:
    return preactivated(channels, width, stride, bottleneck_path(width, stride, 1))


def taught(channels: int, width: int, stride: int) -> Node:
    conv = partial(Conv2d, width, kernel_size=3, padding=1)
    path = Sequential(conv(stride=stride), BatchNorm2d(), ReLU(), conv(), BatchNorm2d())
    return activated(path, Identity() if channels == width else Conv2d(width, 1, stride))


# ── networks ─────────────────────────────────────────────────────────────────────────────────────────


def stages(block: Block, channels: int, widths: tuple[int, ...], blocks: tuple[int, ...]) -> dict[str, Node]:
    """Return the stages, given the width and the number of blocks of each. All but the first halve the map."""
    stages: dict[str, Node] = {}
    for i, (width, count) in enumerate(zip(widths, blocks, strict=True), 1):
        first = block(channels, width, 1 if i == 1 else 2)
        others = {f"block{j}": block(width, width, 1) for j in range(2, count + 1)}
        stages[f"stage{i}"], channels = Sequential(block1=first, **others), width
    return stages


def top(classes: int) -> dict[str, Node]:
    return {"pool": AdaptiveAvgPool2d(1), "flatten": Flatten(), "fc": Linear(classes)}


def resnet(classes: int, block: Block, widths: tuple[int, ...], blocks: tuple[int, ...]) -> Node:
    return Sequential(
        stem=Sequential(Conv2d(64, 7, 2, 3, bias=False), BatchNorm2d(), ReLU(), MaxPool2d(3, 2, 1)),
        **stages(block, 64, widths, blocks),
        **top(classes),
    )


def resnet_v2(classes: int, block: Block, widths: tuple[int, ...], blocks: tuple[int, ...]) -> Node:
    return Sequential(
        stem=Sequential(Conv2d(64, 7, 2, 3, bias=False), MaxPool2d(3, 2, 1)),
        **stages(block, 64, widths, blocks),
        norm=Sequential(BatchNorm2d(), ReLU()),
        **top(classes),
    )


def resnet_taught(classes: int) -> Node:
    return Sequential(
        stem=Sequential(Conv2d(64, 7, 2, 3), BatchNorm2d(), ReLU(), MaxPool2d(3, 2, 1)),
        **stages(taught, 64, NARROW, BLOCKS[18]),
        **top(classes),
    )


def blocks_of(depth: int, convolutions: int) -> tuple[int, ...]:
    """Section 4.2: three stages of n blocks. The depth is 3n times the convolutions per block, plus 2."""
    n, rest = divmod(depth - 2, 3 * convolutions)
    if rest or n < 1:
        raise UsageError(f"the depth must be {3 * convolutions}n + 2, not {depth}")
    return (n, n, n)


def resnet_cifar(classes: int, depth: int) -> Node:
    return Sequential(
        stem=Sequential(conv3x3(16), BatchNorm2d(), ReLU()),
        **stages(partial(basic, shortcut=padding), 16, (16, 32, 64), blocks_of(depth, 2)),
        **top(classes),
    )


def resnet_cifar_v2(classes: int, depth: int, block: Block) -> Node:
    widths, convolutions = ((16, 32, 64), 2) if block is basic_v2 else ((64, 128, 256), 3)
    return Sequential(
        stem=conv3x3(16),
        **stages(block, 16, widths, blocks_of(depth, convolutions)),
        norm=Sequential(BatchNorm2d(), ReLU()),
        **top(classes),
    )


def row(name: str, about: str, build: Callable[..., Node], block: Block, year: int = 2015) -> Entry:
    """An ImageNet network, whose depth is in its name."""
    depth = int(name.removeprefix("resnet").partition(":")[0])
    build = partial(build, block=block, widths=NARROW if depth < 50 else WIDE, blocks=BLOCKS[depth])
    return Entry(name, build, year, (3, 224, 224), 1000, about, vary=("blocks",))


NETWORKS = (
    row("resnet18", "basic blocks, projections where the shape changes", resnet, basic),
    row("resnet34", "basic blocks", resnet, basic),
    row("resnet50", "bottlenecks, the stride in the 3×3", resnet, bottleneck),
    row("resnet101", "bottlenecks", resnet, bottleneck),
    row("resnet152", "bottlenecks", resnet, bottleneck),
    row("resnet18:a", "shortcuts without parameters", resnet, partial(basic, shortcut=padding)),
    row("resnet34:a", "shortcuts without parameters", resnet, partial(basic, shortcut=padding)),
    *(row(f"resnet{n}:2015", "the stride in the first 1×1", resnet, bottleneck_2015) for n in (50, 101, 152)),
    *(row(f"resnet{n}:v2", "pre-activated", resnet_v2, basic_v2, 2016) for n in (18, 34)),
    *(row(f"resnet{n}:v2", "pre-activated", resnet_v2, bottleneck_v2, 2016) for n in (50, 101, 152)),
    Entry("resnet18:taught", resnet_taught, 2015, (1, 96, 96), 10, "for Fashion-MNIST"),
    *(
        Entry(f"resnet{n}", partial(resnet_cifar, depth=n), 2015, (3, 32, 32), 10, "for CIFAR-10", vary=("depth",))
        for n in (20, 32, 44, 56, 110)
    ),
    *(
        Entry(f"resnet{n}:v2", partial(resnet_cifar_v2, depth=n, block=block), 2016, (3, 32, 32), 10, about, ("depth",))
        for n, block, about in (
            (110, basic_v2, "for CIFAR-10, pre-activated"),
            (164, bottleneck_v2_2016, "for CIFAR-10, pre-activated bottlenecks"),
            (1001, bottleneck_v2_2016, "for CIFAR-10, pre-activated bottlenecks"),
        )
    ),
)
