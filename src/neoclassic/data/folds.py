"""Stratified folds in which copies of an image stay together.

A copy in another fold would be recognised by a model that has seen its twin: its accuracy would look too good, and a
wrong label that both share would never be found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from neoclassic.data.copies import THUMBNAIL, similar
from neoclassic.data.dataset import Dataset
from neoclassic.data.preprocessing import Array
from neoclassic.data.resizing import Resized


def pooled(parts: Sequence[Dataset]) -> Dataset:
    """All images of these parts of one data set, each file once."""
    if len(parts) == 1:
        return parts[0]
    images, labels = np.concatenate([np.asarray(p.images) for p in parts]), np.concatenate([p.labels for p in parts])
    paths = tuple(path for part in parts for path in part.paths)
    skipped = tuple(dict.fromkeys(pair for part in parts for pair in part.skipped))
    every = replace(parts[0], images=images, labels=labels, paths=paths, skipped=skipped, origin="")
    if not paths:
        return every
    _, once = np.unique(np.array(paths), return_index=True)  # one set may serve as two parts
    return every.subset(np.sort(once))


def groups(part: Dataset, near: bool = True) -> Array:
    """The group of each image, N int64: images with the same pixels, and, if `near`, those that show the same
    picture.

    See `data.copies`. Cropped copies are not looked for: images that were cut to the size of training need not contain
    each other any more, and the files are not decoded again. `check` finds them.
    """
    images: Any = part.images
    if isinstance(images, Resized):
        images = images.images
    first: dict[bytes, int] = {}
    marks = (hashlib.sha256(np.ascontiguousarray(images[i]).tobytes()).digest() for i in range(len(part)))
    found = np.array([first.setdefault(mark, i) for i, mark in enumerate(marks)], np.int64)
    if near:
        thumbnails = np.stack([_thumbnail(images[i]) for i in range(len(part))])
        for i, j in enumerate(similar(thumbnails)):
            if i != j:
                found[found == found[i]] = found[j]
    return found


def _thumbnail(pixels: Array) -> Array:
    image = Image.fromarray(np.asarray(pixels).squeeze()).convert("L")
    return np.asarray(image.resize(THUMBNAIL, Image.Resampling.BILINEAR))


def divided(labels: Array, group: Array, k: int, seed: int) -> Array:
    """The fold of each image, N int64 in 0 … k − 1. Every class is spread evenly, and no group is divided.

    Each group goes, the largest first and otherwise at random, to the fold that has the fewest images of its most
    frequent class. The result depends only on the labels, the groups, k and the seed.
    """
    rng = np.random.default_rng([seed, 0xF01D5])
    _, index, sizes = np.unique(group, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(index, kind="stable"), np.cumsum(sizes)[:-1])
    order = rng.permutation(len(members))
    order = order[np.argsort(-sizes[order], kind="stable")]
    counts = np.zeros((k, int(labels.max()) + 1), np.int64)
    found = np.empty(len(labels), np.int64)
    for g in order:
        own = np.bincount(labels[members[g]], minlength=counts.shape[1])
        label = int(own.argmax())
        fold = min(range(k), key=lambda f: (counts[f, label], counts[f].sum(), f))
        counts[fold] += own
        found[members[g]] = fold
    return found
