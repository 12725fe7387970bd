"""Resizing whole arrays of images: all at once, on demand, or on the GPU."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
from PIL import Image

from neoclassic.data.on_demand import OnDemand
from neoclassic.data.preprocessing import Array, Preprocessing, to_pixels

LARGE = 1 << 26  # bytes from which resized images are made on demand, if they are far larger than the originals


def resize(images: Array, p: Preprocessing) -> Array:
    """`resize_all`, or `Resized` if the result takes at least LARGE bytes and four times those of the images."""
    size = len(images) * math.prod(p.size) * p.channels
    return cast("Array", Resized(images, p)) if size >= max(LARGE, 4 * images.size) else resize_all(images, p)


def fits(images: Array, p: Preprocessing) -> bool:
    """Whether `to_pixels` would change none of these images, uint8 N×H×W×C."""
    keeps_all = p.fit != "crop" or p.keep == 1
    return images.shape[1:] == (*p.size, p.channels) and keeps_all and not p.invert


def resize_all(
    images: Array, p: Preprocessing, progress: Callable[[int], object] | None = None, threads: int | None = None
) -> Array:
    """Apply `to_pixels` to each image in threads: uint8 N×h×w×c to N×H×W×C. Returns `images` if nothing changes.

    progress: called with the number of images done since the last call.
    """
    if fits(images, p):
        return images
    resized = np.empty((len(images), *p.size, p.channels), np.uint8)

    def resize_block(start: int) -> int:
        block = images[start : start + 256]
        for i, pixels in enumerate(block, start):
            resized[i] = to_pixels(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), p)
        return len(block)

    starts = range(0, len(images), 256)
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for n in pool.map(resize_block, starts) if len(starts) > 1 else map(resize_block, starts):
            if progress is not None:
                progress(n)
    return resized


class Resized(OnDemand):
    """Images at another size: each image is resized every time it is read.

    It is meant for small images that are enlarged: 60,000 of 28×28 at 224×224 would take 3 GB, and resizing a batch
    costs far less than a training step on it.
    """

    def __init__(self, images: Array, p: Preprocessing) -> None:
        super().__init__((len(images), *p.size, p.channels))
        self.images, self.preprocessing = images, p

    def read(self, indices: Array) -> Array:
        return resize_all(self.images[indices], self.preprocessing)

    def subset(self, indices: Array) -> Resized:
        return Resized(self.images[indices], self.preprocessing)

    @property
    def enlarges(self) -> bool:
        """Whether `Enlarged` can do this resize: bilinear, from a square to a larger square, with nothing else."""
        p, (_, h, w, channels) = self.preprocessing, self.images.shape
        size_only = p.keep == 1 and not p.invert and p.channels == channels
        return p.filter == "bilinear" and size_only and h == w <= p.size[0] == p.size[1]


class Enlarged:
    """The same bits as `Resized`, computed on the device that holds the images, such as a GPU.

    This is Pillow's bilinear filter in Pillow's integer arithmetic: columns first, then rows. Each new pixel is a
    weighted sum of the two old pixels around its centre, with 22-bit weights, rounded to 8 bits.
    xp, put: as in `augment`.
    """

    BITS = 22

    def __init__(self, images: Resized, xp: Any, put: Callable[[Any], Any]) -> None:
        old, new = images.images.shape[1], images.preprocessing.size[0]
        centres = (np.arange(new) + 0.5) * (old / new)
        indices = np.floor(centres - 0.5).astype(np.int64) + np.arange(2)[:, None]
        weights = (1 - np.abs(indices + 0.5 - centres)) * ((indices >= 0) & (indices < old))
        weights = np.floor(weights / weights.sum(0) * (1 << self.BITS) + 0.5).astype(np.int32)
        self.taps = [(put(i), put(w)) for i, w in zip(indices.clip(0, old - 1), weights, strict=True)]
        self.pixels, self.xp = put(images.images), xp

    def __getitem__(self, index: Any) -> Any:
        """Return uint8 N×H×W×C for a slice or an array of indices, which must be on the images' device."""
        x_NHWC = self.pixels[index]
        for axis in (2, 1):
            before, after = (slice(None),) * axis, (1,) * (3 - axis)
            total: Any = 1 << self.BITS - 1
            for indices, weights in self.taps:
                total = total + x_NHWC[(*before, indices)] * weights.reshape(-1, *after)
            x_NHWC = self.xp.asarray(total >> self.BITS, dtype=self.xp.uint8)
        return x_NHWC

    def all(self) -> Any:
        """Return every image, uint8 N×H×W×C."""
        starts = range(0, len(self.pixels), 1024)  # in blocks, because the sums take 4 bytes per pixel
        return self.xp.concatenate([self[start : start + 1024] for start in starts])
