"""MNIST with the book's function names, from where the book keeps it or from where `neoclassic train` finds it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from neoclassic.base.errors import NeoclassicError
from neoclassic.compat.dlfs.pickles import load_arrays
from neoclassic.data import Dataset, Splits, idx, load
from neoclassic.engines.contract import Array

Split = tuple[Array, Array]
PICKLE = "mnist.pkl"  # the book's file of the four arrays


def load_mnist(
    normalize: bool = True, flatten: bool = True, one_hot_label: bool = False, data: str = "mnist"
) -> tuple[Split, Split]:
    """(training images, labels), (test images, labels).

    normalize      float32 in [0, 1] if true, uint8 from 0 to 255 otherwise
    flatten        N×784 if true, N×1×28×28 otherwise
    one_hot_label  one-hot rows, N×10, if true; labels, N, uint8 otherwise
    data           "mnist", or another set of greyscale images; "fashion-mnist" is part of neoclassic

    MNIST is read from the book's folder `dataset`, beside the script or its folder, if the book's mnist.pkl or the four
    original files are there. NeoclassicError if the data set is not on this machine and cannot be downloaded, or if a
    file is damaged; the message says where to put it.
    """
    folder = next(_book_folders(), None) if data == "mnist" else None
    pickled = folder is not None and (folder / PICKLE).is_file()
    splits = _read_pickle(folder / PICKLE) if folder and pickled else load(data, folder)

    def arrays(split: Dataset) -> Split:
        images = split.images.transpose(0, 3, 1, 2)
        images = np.ascontiguousarray(images, np.float32) / np.float32(255) if normalize else np.array(images)
        labels = np.eye(len(split.classes))[split.labels] if one_hot_label else split.labels.astype(np.uint8)
        return (images.reshape(len(images), -1) if flatten else images), labels

    return arrays(splits.train), arrays(splits.test)


def init_mnist() -> None:
    """Download the data set if it is not on this machine yet. Nothing is converted."""
    if not any(_book_folders()):
        load("mnist")


def _book_folders() -> Iterator[Path]:
    """The folders `dataset` with MNIST in them: in the folders on sys.path and their parents, as in the book."""
    for entry in dict.fromkeys((*sys.path, "")):
        for folder in (Path(entry), Path(entry).absolute().parent):
            place = folder / "dataset"
            with suppress(OSError):  # a folder that this account may not read
                if (place / PICKLE).is_file() or len(idx.find_files(place)) == len(idx.ROLES):
                    yield place


def _read_pickle(path: Path) -> Splits:
    arrays = load_arrays(path)

    def split(part: str) -> Dataset:
        images, labels = (arrays.get(f"{part}_{kind}", np.empty(0)) for kind in ("img", "label"))
        if images.shape != (len(labels), 784) or images.dtype != np.uint8 or labels.ndim != 1:
            raise NeoclassicError(f"{path}: not the book's MNIST: delete it, or replace it with the book's file")
        return Dataset(str(path), images.reshape(-1, 28, 28, 1), labels.astype(np.int64), tuple("0123456789"))

    return Splits(split("train"), split("test"))
