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
from neoclassic.data.arrays import images_of, is_grey, labels_of, one_image
from neoclassic.data.preprocessing import Array, Preprocessing, Resized, full_size, resized


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and their labels.

    name     what it is called in reports
    images   uint8, N×H×W×C, C is 1 or 3; may be memory-mapped, or `Resized`
    labels   int64, N, each in 0 … len(classes) − 1
    classes  the name of each label
    paths    the files that the images were read from, or none
    skipped  the files that could not be read, each with the reason
    origin   the fingerprint of those files, where there are any

    NeoclassicError when they do not fit together.
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
            wanted = "uint8 N×H×W×1 or N×H×W×3"
            raise NeoclassicError(f"{self.name}: images are {images.dtype} {_by(images)}, not {wanted}")
        if labels.dtype != np.int64 or labels.ndim != 1:
            raise NeoclassicError(f"{self.name}: labels are {labels.dtype} {_by(labels)}, not a row of int64")
        if len(images) != len(labels):
            raise NeoclassicError(f"{self.name}: {len(images):,} images but {len(labels):,} labels")
        if len(set(self.classes)) != len(self.classes):
            twice = next(c for c in self.classes if self.classes.count(c) > 1)
            raise NeoclassicError(f"{self.name}: the class name {twice!r} is used twice")
        check_labels(self.name, labels, len(self.classes))

    @classmethod
    def from_arrays(
        cls, images: Any, labels: Any, classes: Sequence[str] | None = None, name: str = "arrays"
    ) -> Dataset:
        """From arrays of Python.

        images: of one size, as `data.arrays` says. labels: N integers, strings or booleans; without `classes` their
        sorted values are the classes, with `classes` they are names among them, or integers 0 … len(classes) − 1.
        UsageError for anything else.
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
        """Of one image: height, width, channels."""
        _, h, w, c = self.images.shape
        return h, w, c

    @property
    def counts(self) -> Array:
        """Images of each class."""
        return np.bincount(self.labels, minlength=len(self.classes))

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the SHA-256 of images (or their files), labels and class names."""
        if self.origin:
            return self.origin
        digest = hashlib.sha256(repr((self.images.shape, self.classes)).encode())
        digest.update(self.labels.astype("<i8").tobytes())
        for start in range(0, len(self), 4096):
            digest.update(np.ascontiguousarray(self.images[start : start + 4096]).data)
        return digest.hexdigest()[:16]

    def subset(self, indices: Array) -> Self:
        """The images at these indices, in this order."""
        paths = tuple(self.paths[i] for i in indices) if self.paths else ()
        whole: Any = self.images
        images: Any = whole.subset(indices) if isinstance(whole, Resized) else whole[indices]
        return replace(self, images=images, labels=self.labels[indices], paths=paths, origin="")


@dataclass(frozen=True, eq=False)
class Splits:
    """The parts of a data set, of one list of classes. `validation` is None where none is set apart."""

    train: Dataset
    test: Dataset
    validation: Dataset | None = None

    def __post_init__(self) -> None:
        for part in (self.test, self.validation):
            if part is not None and part.classes != self.train.classes:
                raise NeoclassicError(f"{part.name} has other classes than {self.train.name}")

    @property
    def classes(self) -> tuple[str, ...]:
        """Of every part."""
        return self.train.classes

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """Files of any part that could not be read, each with the reason."""
        parts = (self.train, self.validation, self.test)
        return tuple(pair for part in parts if part is not None for pair in part.skipped)

    def preprocessing(
        self, size: tuple[int, int], channels: int | None = None, fit: str | None = None
    ) -> Preprocessing:
        """The record that brings these images to a size: their own channels, the middle of each."""
        return Preprocessing(size, channels or self.train.shape[2], fit or "crop")

    def part(self, name: str, p: Preprocessing, strict: bool = False) -> Dataset | None:
        """ "train", "validation" or "test" as p wants it; None where there is no such part."""
        found: Dataset | None = getattr(self, name)
        return found and replace(found, images=resized(found.images, p), origin=found.fingerprint)

    def test_set(self, p: Preprocessing, learnt: Mapping[str, Sequence[str]] | None = None) -> Dataset:
        """What a model is tested on. learnt: of photos only, see `Folder.test_set`."""
        test = self.part("test", p)
        assert test is not None
        return test

    def at(self, p: Preprocessing, strict: bool = False) -> Splits:
        """Every part as p wants it."""
        train, test, validation = (self.part(name, p, strict) for name in ("train", "test", "validation"))
        assert train is not None
        assert test is not None
        return Splits(train, test, validation)


def stratified_split(labels: Array, fraction: float, seed: int) -> tuple[Array, Array]:
    """Sorted indices to keep and to hold out: of each class's n images ⌊fraction·n + ½⌋ are held out, never all.

    Depends on the labels, the fraction and the seed alone. UsageError for a fraction outside [0, 1).
    """
    if not 0 <= fraction < 1:
        raise UsageError(f"a fraction to hold out is at least 0 and below 1, not {fraction}")
    rng = np.random.default_rng([seed, 0x5EED])
    held = [np.empty(0, np.int64)]
    for label in np.unique(labels):
        (members,) = np.nonzero(labels == label)
        n = min(int(fraction * len(members) + 0.5), len(members) - 1)
        held.append(rng.permutation(members)[:n])
    mask = np.zeros(len(labels), bool)
    mask[np.concatenate(held)] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def batches(n: int, size: int, seed: int, epoch: int, shuffle: bool = True, alone: bool = True) -> list[Array]:
    """The indices 0 … n − 1 in batches, the last one perhaps smaller.

    alone: False where a batch of one image cannot be trained on: a last image on its own then joins the batch before
    it. The order depends on (seed, epoch) alone: a resumed run sees what it would have seen.
    """
    order = np.random.default_rng([seed, epoch]).permutation(n) if shuffle else np.arange(n)
    starts = list(range(0, n, size))
    if not alone and len(starts) > 1 and n - starts[-1] == 1:
        starts.pop()
    return [order[start:stop] for start, stop in pairwise([*starts, n])]


def check_labels(name: str, labels: Array, classes: int) -> None:
    """NeoclassicError naming the first label outside 0 … classes − 1."""
    (wrong,) = np.nonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        first = wrong[0]
        raise NeoclassicError(f"{name}: label {labels[first]} of image {first:,} is out of range 0 to {classes - 1}")


def _stacked(images: Sequence[Image.Image]) -> Array:
    """Images of one size as uint8 N×H×W×C, grey where all are. UsageError where one has another size."""
    for i, image in enumerate(images):
        if image.size != images[0].size:
            sizes = f"image 0 is {_size(images[0])}, image {i} is {_size(image)}"
            raise UsageError(f"{sizes}: bring them to one size first")
    channels = 1 if all(map(is_grey, images)) else 3
    return np.stack([full_size(image, channels) for image in images])


def _size(image: Image.Image) -> str:
    return f"{image.height}×{image.width}"


def _indices(labels: Array, classes: Sequence[str]) -> Array:
    index = {name: i for i, name in enumerate(classes)}
    strangers = [name for name in np.unique(labels).tolist() if name not in index]
    if strangers:
        raise UsageError(f"label {strangers[0]!r} is not among the classes {', '.join(classes)}")
    return np.array([index[name] for name in labels.tolist()], np.int64)


def _by(array: Array) -> str:
    return "×".join(map(str, array.shape)) or "alone"
