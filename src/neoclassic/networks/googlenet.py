"""GoogLeNet.

C. Szegedy et al., "Going deeper with convolutions", arXiv 1409.4842, 2014. With batch norm: S. Ioffe, C. Szegedy,
"Batch normalization", arXiv 1502.03167, 2015.

Differences
- `googlenet` — none in the widths of Table 1. The paper does not give the constants of LRN or the rounding of pooled
  sizes: both follow BVLC's Caffe model (n = 5, α = 1e-4, β = 0.75, k = 1; sizes are rounded up). The first row and the
  5a row of the printed table do not match the network that it describes.
- `googlenet:bn` — one in Figure 5 of the 2015 paper: the pooling branch of 4c and 4d has 96 maps, because the printed
  128 do not add up to the printed 576.
- `googlenet:torchvision` — batch norm (ε = 1e-3) instead of biases and LRN; 3×3 instead of the paper's 5×5, a mistake
  that is kept for torchvision's published weights; a 2×2 fourth pooling; dropout 0.2 instead of the paper's 0.4.
- `googlenet:taught` — *Dive into Deep Learning*, chapter 7.4: no LRN, no dropout, no auxiliary heads; poolings padded
  by 1; grey images and ten classes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from neoclassic.networks.entries import Entry
from neoclassic.tree import (
    AdaptiveAvgPool2d,
    Auxiliary,
    AvgPool2d,
    BatchNorm2d,
    Concat,
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

# Table 1: 1×1 | 3×3 reduce, 3×3 | 5×5 reduce, 5×5 | pool proj
TABLE = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
# Figure 5 of the 2015 paper: 1×1 | 3×3 reduce, 3×3 | double 3×3 reduce, double 3×3 | pooling, proj
TABLE_BN = {
    "3a": (64, 64, 64, 64, 96, AvgPool2d(3, 1, 1), 32),
    "3b": (64, 64, 96, 64, 96, AvgPool2d(3, 1, 1), 64),
    "4a": (224, 64, 96, 96, 128, AvgPool2d(3, 1, 1), 128),
    "4b": (192, 96, 128, 96, 128, AvgPool2d(3, 1, 1), 128),
    "4c": (160, 128, 160, 128, 160, AvgPool2d(3, 1, 1), 96),
    "4d": (96, 128, 192, 160, 192, AvgPool2d(3, 1, 1), 96),
    "5a": (352, 192, 320, 160, 224, AvgPool2d(3, 1, 1), 128),
    "5b": (352, 192, 320, 192, 224, MaxPool2d(3, 1, 1), 128),
}
LRN = LocalResponseNorm(5, alpha=1e-4, beta=0.75)
POOL = MaxPool2d(3, 2, ceil_mode=True)
Conv = Callable[..., tuple[Node, ...]]


def plain(width: int, kernel_size: int, stride: int = 1) -> tuple[Node, ...]:
    return Conv2d(width, kernel_size, stride, kernel_size // 2), ReLU()


def with_bn(width: int, kernel_size: int, stride: int = 1, eps: float = 1e-5) -> tuple[Node, ...]:
    return Conv2d(width, kernel_size, stride, kernel_size // 2, bias=False), BatchNorm2d(eps), ReLU()


def inception(row: str, conv: Conv = plain, large: int = 5) -> Node:
    n1x1, n3x3_reduce, n3x3, n5x5_reduce, n5x5, pool_proj = TABLE[row]
    return Concat(
        branch1x1=Sequential(*conv(n1x1, 1)),
        branch3x3=Sequential(*conv(n3x3_reduce, 1), *conv(n3x3, 3)),
        branch5x5=Sequential(*conv(n5x5_reduce, 1), *conv(n5x5, large)),
        branch_pool=Sequential(MaxPool2d(3, 1, 1), *conv(pool_proj, 1)),
    )


def head(classes: int, pool: Node, conv: Conv = plain) -> Node:
    return Auxiliary(pool, *conv(128, 1), Flatten(), *(Linear(1024), ReLU(), Dropout(0.7)), Linear(classes), weight=0.3)


def body(stage1: Node, stage2: Node, module: Callable[[str], Node], pool4: Node, aux: Node, top: Sequential) -> Node:
    def modules(*rows: str) -> dict[str, Node]:
        return {f"inception{row}": module(row) for row in rows}

    stage3 = modules("3a", "3b") | {"pool3": POOL}
    stage4 = modules("4a") | {"auxiliary1": aux} | modules("4b", "4c", "4d") | {"auxiliary2": aux} | modules("4e")
    stage5 = {"pool4": pool4} | modules("5a", "5b") | {"pool5": AdaptiveAvgPool2d(1)}
    return Sequential(
        stage1=stage1, stage2=stage2, **stage3, **stage4, **stage5, flatten=Flatten(), **dict(top.children)
    )


def googlenet(classes: int) -> Node:
    return body(
        stage1=Sequential(*plain(64, 7, stride=2), POOL, LRN),
        stage2=Sequential(*plain(64, 1), *plain(192, 3), LRN, POOL),
        module=inception,
        pool4=POOL,
        aux=head(classes, AvgPool2d(5, 3)),
        top=Sequential(Dropout(0.4), Linear(classes)),
    )


def googlenet_torchvision(classes: int) -> Node:
    conv = partial(with_bn, eps=1e-3)
    return body(
        stage1=Sequential(*conv(64, 7, stride=2), POOL),
        stage2=Sequential(*conv(64, 1), *conv(192, 3), POOL),
        module=partial(inception, conv=conv, large=3),
        pool4=MaxPool2d(2, 2, ceil_mode=True),
        aux=head(classes, AdaptiveAvgPool2d(4), conv),
        top=Sequential(Dropout(0.2), Linear(classes)),
    )


def googlenet_taught(classes: int) -> Node:
    def stage(*rows: str, **end: Node) -> Node:
        return Sequential.of({f"inception{row}": inception(row) for row in rows} | end)

    pool = MaxPool2d(3, 2, padding=1)
    return Sequential(
        stage1=Sequential(*plain(64, 7, stride=2), pool),
        stage2=Sequential(*plain(64, 1), *plain(192, 3), pool),
        stage3=stage("3a", "3b", pool=pool),
        stage4=stage("4a", "4b", "4c", "4d", "4e", pool=pool),
        stage5=stage("5a", "5b", pool=AdaptiveAvgPool2d(1), flatten=Flatten()),
        fc=Linear(classes),
    )


# ── with batch norm ──────────────────────────────────────────────────────────────────────────────────


def inception_bn(row: str) -> Node:
    n1x1, n3x3_reduce, n3x3, double_reduce, double, pool, pool_proj = TABLE_BN[row]
    return Concat(
        branch1x1=Sequential(*with_bn(n1x1, 1)),
        branch3x3=Sequential(*with_bn(n3x3_reduce, 1), *with_bn(n3x3, 3)),
        branch_double=Sequential(*with_bn(double_reduce, 1), *with_bn(double, 3), *with_bn(double, 3)),
        branch_pool=Sequential(pool, *with_bn(pool_proj, 1)),
    )


def reduction(n3x3_reduce: int, n3x3: int, double_reduce: int, double: int) -> Node:
    """The modules 3c and 4e: stride 2, no 1×1 branch, and a pooling branch without projection."""
    return Concat(
        branch3x3=Sequential(*with_bn(n3x3_reduce, 1), *with_bn(n3x3, 3, stride=2)),
        branch_double=Sequential(*with_bn(double_reduce, 1), *with_bn(double, 3), *with_bn(double, 3, stride=2)),
        branch_pool=MaxPool2d(3, 2, 1),
    )


def googlenet_bn(classes: int) -> Node:
    return Sequential(
        stage1=Sequential(*with_bn(64, 7, stride=2), POOL),
        stage2=Sequential(*with_bn(64, 1), *with_bn(192, 3), POOL),
        **{f"inception{row}": inception_bn(row) for row in ("3a", "3b")},
        inception3c=reduction(128, 160, 64, 96),
        **{f"inception{row}": inception_bn(row) for row in ("4a", "4b", "4c", "4d")},
        inception4e=reduction(128, 192, 192, 256),
        **{f"inception{row}": inception_bn(row) for row in ("5a", "5b")},
        pool=AdaptiveAvgPool2d(1),
        flatten=Flatten(),
        fc=Linear(classes),
    )


NETWORKS = (
    Entry("googlenet", googlenet, 2014, (3, 224, 224), 1000, "nine Inception modules, two auxiliary heads"),
    Entry("googlenet:bn", googlenet_bn, 2015, (3, 224, 224), 1000, "BN-Inception"),
    Entry("googlenet:torchvision", googlenet_torchvision, 2014, (3, 224, 224), 1000, "batch norm, 3×3 for 5×5"),
    Entry("googlenet:taught", googlenet_taught, 2014, (1, 96, 96), 10, "for Fashion-MNIST"),
)
