"""VGG.

K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale image recognition", arXiv 1409.1556, 2014.

Differences
- `vgg11`, `vgg13`, `vgg16`, `vgg19` — none: the configurations A, B, D and E.
- `vgg11:lrn` — none: A-LRN, with AlexNet's local response normalisation after the first convolution.
- `vgg16:c` — none: configuration C, whose last three stages end in a 1×1 convolution.
- `vgg*:bn` — batch norm after every convolution, as in torchvision; the biases stay.
- `vgg11:taught` — *Dive into Deep Learning*, chapter 7.2: A for grey images and ten classes.
- `vgg11:taught-quarter` — the same with a quarter of the maps, as trained in that chapter.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain

from neoclassic.networks.alexnet import LRN
from neoclassic.networks.entries import Entry
from neoclassic.tree import BatchNorm2d, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Node, ReLU, Sequential

# Table 1: the kernel sizes of each stage's convolutions
A = ((3,), (3,), (3, 3), (3, 3), (3, 3))
B = ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3))
C = ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1))
D = ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
E = ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3))
WIDTHS = (64, 128, 256, 512, 512)
QUARTER = (16, 32, 64, 128, 128)


def plain(width: int, kernel_size: int) -> tuple[Node, ...]:
    return Conv2d(width, kernel_size, padding=kernel_size // 2), ReLU()


def with_bn(width: int, kernel_size: int) -> tuple[Node, ...]:
    return Conv2d(width, kernel_size, padding=kernel_size // 2), BatchNorm2d(), ReLU()


def with_lrn(width: int, kernel_size: int) -> tuple[Node, ...]:
    return (*plain(width, kernel_size), *([LRN] if width == 64 else []))


def vgg(
    classes: int,
    stages: tuple[tuple[int, ...], ...],
    conv: Callable[[int, int], tuple[Node, ...]] = plain,
    widths: tuple[int, ...] = WIDTHS,
) -> Node:
    convolutions = {
        f"stage{i}": Sequential(*chain.from_iterable(conv(width, k) for k in kernels), MaxPool2d(2))
        for i, (width, kernels) in enumerate(zip(widths, stages, strict=True), 1)
    }
    classifier = Sequential(
        Flatten(),
        *(Linear(4096), ReLU(), Dropout(0.5)),
        *(Linear(4096), ReLU(), Dropout(0.5)),
        Linear(classes),
    )
    return Sequential.of(convolutions | dict(classifier.children))


IMAGENET, GREY = (3, 224, 224), (1, 224, 224)
NETWORKS = (
    Entry("vgg11", partial(vgg, stages=A), 2014, IMAGENET, 1000, "configuration A"),
    Entry("vgg11:lrn", partial(vgg, stages=A, conv=with_lrn), 2014, IMAGENET, 1000, "A-LRN"),
    Entry("vgg11:bn", partial(vgg, stages=A, conv=with_bn), 2014, IMAGENET, 1000, "A with batch norm"),
    Entry("vgg13", partial(vgg, stages=B), 2014, IMAGENET, 1000, "configuration B"),
    Entry("vgg13:bn", partial(vgg, stages=B, conv=with_bn), 2014, IMAGENET, 1000, "B with batch norm"),
    Entry("vgg16", partial(vgg, stages=D), 2014, IMAGENET, 1000, "configuration D"),
    Entry("vgg16:c", partial(vgg, stages=C), 2014, IMAGENET, 1000, "configuration C, with 1×1 convolutions"),
    Entry("vgg16:bn", partial(vgg, stages=D, conv=with_bn), 2014, IMAGENET, 1000, "D with batch norm"),
    Entry("vgg19", partial(vgg, stages=E), 2014, IMAGENET, 1000, "configuration E"),
    Entry("vgg19:bn", partial(vgg, stages=E, conv=with_bn), 2014, IMAGENET, 1000, "E with batch norm"),
    Entry("vgg11:taught", partial(vgg, stages=A), 2014, GREY, 10, "A for Fashion-MNIST"),
    Entry("vgg11:taught-quarter", partial(vgg, stages=A, widths=QUARTER), 2014, GREY, 10, "a quarter as wide"),
)
