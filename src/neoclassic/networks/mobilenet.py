"""MobileNet.

A. Howard et al., "MobileNets", arXiv 1704.04861, 2017 (V1). M. Sandler et al., "MobileNetV2: inverted residuals and
linear bottlenecks", arXiv 1801.04381, 2018. A. Howard et al., "Searching for MobileNetV3", arXiv 1905.02244, 2019.

Differences
- `mobilenet-v1`, `mobilenet-v1:0.*` — none: ReLU as in the paper (the authors' code has ReLU6); the last depthwise
  convolution has stride 1, as its printed output requires. The resolution multiplier is the input size.
- `mobilenet-v1:taught` — the same network for grey images and ten classes.
- `mobilenet-v2*` — none: widths are rounded to multiples of 8, and the last layer always has at least 1280 maps, as
  published.
- `mobilenet-v3-*:minimalistic` — the authors' simplified form: no squeeze-and-excite, ReLU for h-swish, 3×3 for 5×5.
- `mobilenet-v3-*` — one: the last 1×1 convolution of Small has no squeeze-and-excite, because the published 2.5
  million parameters do not include it. The hidden fully connected layer does not shrink with the width.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from neoclassic.networks.entries import Entry
from neoclassic.tree import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Hardsigmoid,
    Hardswish,
    Identity,
    Linear,
    Node,
    Product,
    ReLU,
    ReLU6,
    Sequential,
    Sum,
)

RE, RE6, HS = ReLU(), ReLU6(), Hardswish()
BN, BN_V3 = BatchNorm2d(), BatchNorm2d(eps=1e-3, momentum=0.01)


def scaled(channels: float) -> int:
    """Round to a multiple of 8, but never down by more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def conv(width: int, kernel_size: int, stride: int, act: Node, groups: int = 1, bn: Node = BN) -> Node:
    return Sequential(Conv2d(width, kernel_size, stride, kernel_size // 2, groups, bias=False), bn, act)


# ── V1 ───────────────────────────────────────────────────────────────────────────────────────────────

# Table 1: output channels and stride of each depthwise separable convolution
V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


def mobilenet_v1(classes: int, width: float = 1.0) -> Node:
    channels = max(8, int(32 * width))
    layers = {"stem": conv(channels, 3, 2, RE)}
    for i, (full, stride) in enumerate(V1, 1):
        out = max(8, int(full * width))
        layers[f"block{i}"] = Sequential(
            depthwise=conv(channels, 3, stride, RE, groups=channels),
            pointwise=conv(out, 1, 1, RE),
        )
        channels = out
    return Sequential(**layers, pool=AdaptiveAvgPool2d(1), flatten=Flatten(), fc=Linear(classes))


# ── V2 ───────────────────────────────────────────────────────────────────────────────────────────────

# Table 2: expansion, output channels, blocks, stride of the first block
V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def inverted_residual(
    channels: int,
    expanded: int,
    out: int,
    stride: int,
    kernel_size: int = 3,
    act: Node = RE6,
    bn: Node = BN,
    excite: Node | None = None,
) -> Node:
    """An expansion, a depthwise convolution and a linear projection; with a shortcut if the shapes match."""
    parts = {} if expanded == channels else {"expand": conv(expanded, 1, 1, act, bn=bn)}
    parts["depthwise"] = conv(expanded, kernel_size, stride, act, expanded, bn)
    if excite:
        parts["excite"] = excite
    path = Sequential(**parts, project=Sequential(Conv2d(out, 1, bias=False), bn))
    return Sum(path=path, shortcut=Identity()) if stride == 1 and channels == out else path


def mobilenet_v2(classes: int, width: float = 1.0) -> Node:
    channels = scaled(32 * width)
    layers = {"stem": conv(channels, 3, 2, RE6)}
    for expansion, full, count, stride in V2:
        for j in range(count):
            out = scaled(full * width)
            block = inverted_residual(channels, expansion * channels, out, stride if j == 0 else 1)
            layers[f"block{len(layers)}"], channels = block, out
    return Sequential(
        **layers,
        last=conv(scaled(1280 * max(width, 1.0)), 1, 1, RE6),
        pool=AdaptiveAvgPool2d(1),
        flatten=Flatten(),
        dropout=Dropout(0.2),
        fc=Linear(classes),
    )


# ── V3 ───────────────────────────────────────────────────────────────────────────────────────────────

SE, NO = True, False
Table = tuple[tuple[int, int, int, bool, Node, int], ...]

# Tables 1 and 2: kernel size, expanded channels, output channels, squeeze-and-excite, activation, stride
LARGE: Table = (
    *((3, 16, 16, NO, RE, 1), (3, 64, 24, NO, RE, 2), (3, 72, 24, NO, RE, 1)),
    *((5, 72, 40, SE, RE, 2), (5, 120, 40, SE, RE, 1), (5, 120, 40, SE, RE, 1)),
    *((3, 240, 80, NO, HS, 2), (3, 200, 80, NO, HS, 1), (3, 184, 80, NO, HS, 1), (3, 184, 80, NO, HS, 1)),
    *((3, 480, 112, SE, HS, 1), (3, 672, 112, SE, HS, 1)),
    *((5, 672, 160, SE, HS, 2), (5, 960, 160, SE, HS, 1), (5, 960, 160, SE, HS, 1)),
)
SMALL: Table = (
    *((3, 16, 16, SE, RE, 2), (3, 72, 24, NO, RE, 2), (3, 88, 24, NO, RE, 1)),
    *((5, 96, 40, SE, HS, 2), (5, 240, 40, SE, HS, 1), (5, 240, 40, SE, HS, 1)),
    *((5, 120, 48, SE, HS, 1), (5, 144, 48, SE, HS, 1)),
    *((5, 288, 96, SE, HS, 2), (5, 576, 96, SE, HS, 1), (5, 576, 96, SE, HS, 1)),
)


def minimalistic(table: Table) -> Table:
    return tuple((3, expanded, out, NO, RE, stride) for _, expanded, out, _, _, stride in table)


def squeeze_and_excite(channels: int) -> Node:
    """Multiply each channel by a gate that is computed from all of them."""
    gate = (AdaptiveAvgPool2d(1), Conv2d(scaled(channels // 4), 1), ReLU(), Conv2d(channels, 1), Hardsigmoid())
    return Product(input=Identity(), gate=Sequential(*gate))


def mobilenet_v3(classes: int, table: Table, hidden: int, act: Node = HS, width: float = 1.0) -> Node:
    before, channels = 16, scaled(16 * width)
    layers = {"stem": conv(channels, 3, 2, act, bn=BN_V3)}
    for i, (kernel_size, hidden_width, after, excites, inner_act, stride) in enumerate(table, 1):
        expanded, out = scaled(channels * hidden_width / before), scaled(after * width)
        gate = squeeze_and_excite(expanded) if excites else None
        layers[f"block{i}"] = inverted_residual(channels, expanded, out, stride, kernel_size, inner_act, BN_V3, gate)
        before, channels = after, out
    return Sequential(
        **layers,
        last=conv(6 * channels, 1, 1, act, bn=BN_V3),
        pool=AdaptiveAvgPool2d(1),
        flatten=Flatten(),
        classifier=Sequential(Linear(hidden), act, Dropout(0.2), Linear(classes)),
    )


large, small = partial(mobilenet_v3, table=LARGE, hidden=1280), partial(mobilenet_v3, table=SMALL, hidden=1024)
large_minimal = partial(mobilenet_v3, table=minimalistic(LARGE), hidden=1280, act=RE)
small_minimal = partial(mobilenet_v3, table=minimalistic(SMALL), hidden=1024, act=RE)


def row(name: str, build: Callable[..., Node], year: int, about: str, width: float = 1.0) -> Entry:
    if width != 1:
        name, about, build = f"{name}:{width}", f"{width} times as wide", partial(build, width=width)
    return Entry(name, build, year, (3, 224, 224), 1000, about, vary=("width",))


NETWORKS = (
    row("mobilenet-v1", mobilenet_v1, 2017, "depthwise separable convolutions"),
    *(row("mobilenet-v1", mobilenet_v1, 2017, "", width) for width in (0.75, 0.5, 0.25)),
    Entry("mobilenet-v1:taught", mobilenet_v1, 2017, (1, 96, 96), 10, "for Fashion-MNIST"),
    row("mobilenet-v2", mobilenet_v2, 2018, "inverted residuals, linear bottlenecks"),
    *(row("mobilenet-v2", mobilenet_v2, 2018, "", width) for width in (1.4, 1.3, 0.75, 0.5, 0.35)),
    row("mobilenet-v3-large", large, 2019, "searched, with squeeze-and-excite and h-swish"),
    row("mobilenet-v3-large", large, 2019, "", 0.75),
    row("mobilenet-v3-large:minimalistic", large_minimal, 2019, "ReLU and 3×3 only"),
    row("mobilenet-v3-small", small, 2019, "searched, smaller"),
    row("mobilenet-v3-small", small, 2019, "", 0.75),
    row("mobilenet-v3-small:minimalistic", small_minimal, 2019, "ReLU and 3×3 only"),
)
