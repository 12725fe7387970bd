"""MNIST with the book's function names, found or downloaded as `neoclassic train` does."""

from __future__ import annotations

import numpy as np

from neoclassic.data import Dataset, load
from neoclassic.engines.contract import Array

Split = tuple[Array, Array]


def load_mnist(
    normalize: bool = True, flatten: bool = True, one_hot_label: bool = False, data: str = "mnist"
) -> tuple[Split, Split]:
    """(training images, labels), (test images, labels).

    normalize      float32 in [0, 1] if true, uint8 from 0 to 255 otherwise
    flatten        N×784 if true, N×1×28×28 otherwise
    one_hot_label  one-hot rows, N×10, if true; labels, N, uint8 otherwise
    data           "mnist", or another set of greyscale images; "fashion-mnist" is part of neoclassic

    NeoclassicError if the data set is not on this machine and cannot be downloaded; the message says where to put it.
    """
    splits = load(data)

    def arrays(split: Dataset) -> Split:
        images = split.images.transpose(0, 3, 1, 2)
        images = np.ascontiguousarray(images, np.float32) / np.float32(255) if normalize else np.array(images)
        labels = np.eye(len(split.classes))[split.labels] if one_hot_label else split.labels.astype(np.uint8)
        return (images.reshape(len(images), -1) if flatten else images), labels

    return arrays(splits.train), arrays(splits.test)


def init_mnist() -> None:
    """Download the data set if it is not on this machine yet. Nothing is converted."""
    load("mnist")
