"""A data set in memory: uint8 images N×H×W×C, int64 labels N, and the names of the classes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np
from PIL import Image

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.base.records import require
from neoclassic.data.arrays import dimensions, images_of, is_grey, labels_of, one_image
from neoclassic.data.on_demand import OnDemand
from neoclassic.data.pixels import full_size
from neoclassic.data.preprocessing import Array, Preprocessing
from neoclassic.data.resizing import resize


def evenly(count: int, n: int) -> Array:
    """The indices of at most n of `count` things, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(n, count)).astype(int))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and their labels.

    name     for reports
    images   uint8, N×H×W×C, C is 1 or 3; may be memory-mapped, or `OnDemand`
    labels   int64, N, each in 0 … len(classes) − 1
    classes  the name of each label
    paths    the files that the images were read from, if any
    skipped  the files that could not be read, each with the reason
    origin   the fingerprint of the files, if there are any

    NeoclassicError if they do not match each other.
    """

    name: str
    images: Array
    labels: Array
    classes: tuple[str, ...]
    paths: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    origin: str = ""

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
            expected = "uint8 N×H×W×1 or N×H×W×3"
            raise NeoclassicError(f"{self.name}: images are {images.dtype} {dimensions(images.shape)}, not {expected}")
        if labels.dtype != np.int64 or labels.ndim != 1:
            raise NeoclassicError(
                f"{self.name}: labels are {labels.dtype} {dimensions(labels.shape)}, not one int64 per image"
            )
        if len(images) != len(labels):
            raise NeoclassicError(f"{self.name}: {len(images):,} images but {len(labels):,} labels")
        if len(set(self.classes)) != len(self.classes):
            repeated = next(c for c in self.classes if self.classes.count(c) > 1)
            raise NeoclassicError(f"{self.name}: the class name {repeated!r} is used twice")
        check_labels(self.name, labels, len(self.classes))

    @classmethod
    def from_arrays(
        cls, images: Any, labels: Any, classes: Sequence[str] | None = None, name: str = "arrays"
    ) -> Dataset:
        """Make a data set from images and labels in memory.

        images: all of one size, in any form that `data.arrays` describes. labels: N integers, strings or booleans.
        Without `classes`, the sorted values of the labels are the classes; with `classes`, the labels are names from
        it, or integers 0 … len(classes) − 1. UsageError for anything else.
        """
        images, labels = images_of(images), labels_of(labels)
        if isinstance(images, list):
            images = _stacked([one_image(item, i) for i, item in enumerate(images)])
        try:
            if classes is None:
                values, indices = np.unique(labels, return_inverse=True)
                return cls(name, images, indices.astype(np.int64), tuple(map(str, values)))
            if labels.dtype.kind == "U":
                labels = _indices(labels, classes)
            return cls(name, images, labels.astype(np.int64), tuple(classes))
        except NeoclassicError as error:
            raise UsageError(str(error)) from None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image."""
        _, h, w, c = self.images.shape
        return h, w, c

    @property
    def counts(self) -> Array:
        """The number of images of each class."""
        return np.bincount(self.labels, minlength=len(self.classes))

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of the SHA-256 of the images (or of their files), labels and class names."""
        if self.origin:
            return self.origin
        digest = hashlib.sha256(repr((self.images.shape, self.classes)).encode())
        digest.update(self.labels.astype("<i8").tobytes())
        for start in range(0, len(self), 4096):
            digest.update(np.ascontiguousarray(self.images[start : start + 4096]).data)
        return digest.hexdigest()[:16]

    def evenly(self, n: int) -> Array:
        """Return the indices of at most n images, evenly spread: of all classes, where the images are sorted."""
        return evenly(len(self), n)

    def subset(self, indices: Array) -> Self:
        """Return the images at these indices, in this order."""
        paths = tuple(self.paths[i] for i in indices) if self.paths else ()
        every: Any = self.images
        images: Any = every.subset(indices) if isinstance(every, OnDemand) else every[indices]
        return replace(self, images=images, labels=self.labels[indices], paths=paths, origin="")


@dataclass(frozen=True, eq=False)
class Splits:
    """The splits of a data set, which have the same classes. `validation` is None if there is no validation set."""

    train: Dataset
    test: Dataset
    validation: Dataset | None = None

    def __post_init__(self) -> None:
        for split in (self.test, self.validation):
            if split is not None and split.classes != self.train.classes:
                raise NeoclassicError(f"{split.name} has different classes from {self.train.name}")

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of each label, in every split."""
        return self.train.classes

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """The files of any split that could not be read, each with the reason."""
        splits = (self.train, self.validation, self.test)
        return tuple(dict.fromkeys(pair for split in splits if split is not None for pair in split.skipped))

    def preprocessing(
        self, size: tuple[int, int], channels: int | None = None, fit: str | None = None
    ) -> Preprocessing:
        """Return the record that brings these images to a size; by default with their own channels and a crop."""
        return Preprocessing(size, channels or self.train.shape[2], fit or "crop")

    def split(self, name: str, p: Preprocessing, strict: bool = False) -> Dataset | None:
        """Return "train", "validation" or "test", resized as p says; None if there is no such split."""
        split: Dataset | None = getattr(self, name)
        return split and replace(split, images=resize(split.images, p), origin=split.fingerprint)

    def test_set(self, p: Preprocessing, trained_on: Mapping[str, Sequence[str]] | None = None) -> Dataset:
        """Return the test set, resized as p says. trained_on: only used by `Folder.test_set`."""
        test = self.split("test", p)
        assert test is not None
        return test

    def prepare(self, p: Preprocessing, strict: bool = False) -> Splits:
        """Return every split, resized as p says."""
        train, test, validation = (self.split(name, p, strict) for name in ("train", "test", "validation"))
        assert train is not None
        assert test is not None
        return Splits(train, test, validation)


def stratified_split(labels: Array, fraction: float, seed: int) -> tuple[Array, Array]:
    """Return the sorted indices to keep and to hold out.

    Of each class's n images, ⌊fraction·n + ½⌋ are held out, never all. The result depends only on the labels, the
    fraction and the seed. UsageError for a fraction outside [0, 1).
    """
    require("the fraction to hold out", fraction, 0 <= fraction < 1, "at least 0 and below 1")
    rng = np.random.default_rng([seed, 0x5EED])
    held_out = [np.empty(0, np.int64)]
    for label in np.unique(labels):
        (members,) = np.nonzero(labels == label)
        n = min(int(fraction * len(members) + 0.5), len(members) - 1)
        held_out.append(rng.permutation(members)[:n])
    mask = np.zeros(len(labels), bool)
    mask[np.concatenate(held_out)] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def batches(n: int, size: int, seed: int, epoch: int, shuffle: bool = True, alone: bool = True) -> list[Array]:
    """Return the indices 0 … n − 1 in batches; the last one may be smaller.

    alone: if False, a last batch of a single image is merged into the one before it, for networks that cannot train on
    one image. The order depends only on (seed, epoch), so a resumed run sees the same batches.
    """
    order = np.random.default_rng([seed, epoch]).permutation(n) if shuffle else np.arange(n)
    starts = list(range(0, n, size))
    if not alone and len(starts) > 1 and n - starts[-1] == 1:
        starts.pop()
    return [order[start:stop] for start, stop in pairwise([*starts, n])]


def check_labels(name: str, labels: Array, classes: int) -> None:
    """Check that labels are in 0 … classes − 1. NeoclassicError, naming the first that is not."""
    (wrong,) = np.nonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        first = wrong[0]
        raise NeoclassicError(f"{name}: label {labels[first]} of image {first:,} is out of range 0 to {classes - 1}")


def _stacked(images: Sequence[Image.Image]) -> Array:
    """Images as uint8 N×H×W×C, grey if all of them are. UsageError if their sizes differ."""
    for i, image in enumerate(images):
        if image.size != images[0].size:
            sizes = f"image 0 is {_size(images[0])}, image {i} is {_size(image)}"
            raise UsageError(f"{sizes}: resize them to one size first")
    channels = 1 if all(map(is_grey, images)) else 3
    return np.stack([full_size(image, channels) for image in images])


def _size(image: Image.Image) -> str:
    return f"{image.height}×{image.width}"


def _indices(labels: Array, classes: Sequence[str]) -> Array:
    index = {name: i for i, name in enumerate(classes)}
    unknown = [name for name in np.unique(labels).tolist() if name not in index]
    if unknown:
        raise UsageError(f"label {unknown[0]!r} is not among the classes {', '.join(classes)}")
    return np.array([index[name] for name in labels.tolist()], np.int64)
