"""MNIST as the book's readers get it, from wherever neoclassic finds or fetches it."""

from __future__ import annotations

import numpy as np

from neoclassic.data import Dataset, load
from neoclassic.engines.contract import Array

Part = tuple[Array, Array]


def load_mnist(
    normalize: bool = True, flatten: bool = True, one_hot_label: bool = False, data: str = "mnist"
) -> tuple[Part, Part]:
    """(training images, labels), (test images, labels).

    normalize      float32 in [0, 1]; else uint8, 0 to 255
    flatten        N×784; else N×1×28×28
    one_hot_label  labels N×10, with a 1 at the label; else N, uint8
    data           "mnist", or another set of grey images: "fashion-mnist" comes with neoclassic

    NeoclassicError when it is nowhere and cannot be downloaded: the message says where to put the files.
    """
    splits = load(data)

    def part(of: Dataset) -> Part:
        images = of.images.transpose(0, 3, 1, 2)
        images = np.ascontiguousarray(images, np.float32) / np.float32(255) if normalize else np.array(images)
        labels = np.eye(len(of.classes))[of.labels] if one_hot_label else of.labels.astype(np.uint8)
        return (images.reshape(len(images), -1) if flatten else images), labels

    return part(splits.train), part(splits.test)


def init_mnist() -> None:
    """Fetch the data set if it is not here yet; nothing is converted or kept beside it."""
    load("mnist")
