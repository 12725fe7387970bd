"""Preprocessing is data: one frozen record says how an image becomes the input of a network.

Training, evaluation, prediction, serving and export checks all execute it with the same two functions: `to_pixels`,
from any image to uint8 H×W×C, and `to_input`, from those to float32 N×C×H×W. When training runs on a GPU, `Enlarged`
and `augment` do the same work there and give the same bits.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from neoclassic.base.errors import NeoclassicError, UsageError, unknown
from neoclassic.base.records import number, record, require, whole
from neoclassic.data.image_files import File, decoded, header, open_image, open_stream, opened
from neoclassic.data.pixels import upright_8bit

__all__ = [
    "FILTERS",
    "FITS",
    "MAX_SIDE",
    "Array",
    "Preprocessing",
    "bright_border",
    "header",
    "open_image",
    "read_pixels",
    "statistics",
    "to_input",
    "to_pixels",
]

Array = np.ndarray

FITS = ("crop", "pad", "stretch")
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
MAX_SIDE = 1024  # pixels that a record may ask for
MAX_ASPECT = 16  # a crop first cuts an image down to this many times as long as wide


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the input of a network.

    size      height and width
    channels  1 (grey) or 3 (red, green, blue)
    fit       "crop" to the centre, "pad" with black, or "stretch"
    filter    for the antialiased resize: a key of FILTERS
    mean, std of values in [0, 1], one for all channels or one per channel: the network sees (x/255 − mean)/std
    invert    use 255 − x: for dark figures on white, if the network was trained on bright figures on black
    keep      the fraction of the short side that a crop keeps; 224/256 in the ImageNet papers

    UsageError for an invalid value.
    """

    size: tuple[int, int]
    channels: int
    fit: str = "crop"
    filter: str = "bilinear"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    invert: bool = False
    keep: float = 1.0

    def __post_init__(self) -> None:
        if len(self.size) != 2 or not all(whole(s) and 1 <= s <= MAX_SIDE for s in self.size):
            raise UsageError(f"an image size is a height and a width from 1 to {MAX_SIDE}, not {self.size}")
        require("channels", self.channels, whole(self.channels) and self.channels in (1, 3), "1 or 3")
        if self.fit not in FITS:
            raise unknown("fit", str(self.fit), FITS)
        if self.filter not in FILTERS:
            raise unknown("filter", str(self.filter), FILTERS)
        for name, values in (("mean", self.mean), ("std", self.std)):
            valid = len(values) in (1, self.channels) and all(number(v) and abs(v) < 1e6 for v in values)
            require(name, values, valid, f"1 number, or 1 for each of the {self.channels} channels")
        require("std", self.std, min(self.std) > 0, "above 0")
        require("invert", self.invert, isinstance(self.invert, bool), "true or false")
        require("keep", self.keep, number(self.keep) and 0.1 <= self.keep <= 1, "from 0.1 to 1")

    def inverted(self, wanted: bool) -> Preprocessing:
        """Return the record that inverts images once more if that is wanted."""
        return replace(self, invert=self.invert != wanted)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any) -> Preprocessing:
        """Return the record that `to_dict` wrote; tuples may have become lists. NeoclassicError for anything else."""
        try:
            return record(cls, data)
        except (NeoclassicError, ValueError) as error:
            raise NeoclassicError(f"not a preprocessing record: {str(error)[:100]}") from None


# ── from an image to pixels ──────────────────────────────────────────────────────────────────────────


def to_pixels(image: Image.Image, p: Preprocessing) -> Array:
    """Turn any image upright, convert it to p's channels, fit it to p's size, and invert it if p says so.

    Returns uint8 H×W×C. The resize is Pillow's, antialiased; `crop` is torchvision's Resize(round(size/keep)) and
    CenterCrop(size), bit for bit. NeoclassicError for pixels without a known range.
    """
    image = upright_8bit(image, p.channels)
    h, w = p.size
    if p.fit == "pad":
        scale = min(h / image.height, w / image.width)
        inner = (max(round(scale * image.width), 1), max(round(scale * image.height), 1))
        image = image.resize(inner, FILTERS[p.filter])
    elif p.fit == "crop":
        image = _crop(image, p)
    else:
        image = image.resize((w, h), FILTERS[p.filter])
    pixels = np.asarray(image).reshape(image.height, image.width, p.channels)
    if p.invert:
        pixels = 255 - pixels
    if p.fit == "pad":
        canvas = np.zeros((h, w, p.channels), np.uint8)
        top, left = (h - image.height) // 2, (w - image.width) // 2
        canvas[top : top + image.height, left : left + image.width] = pixels
        return canvas
    return pixels


def read_pixels(file: File, p: Preprocessing) -> Array:
    """`to_pixels` of `open_image`. Every NeoclassicError names the file."""
    stream, name = open_stream(file)
    return pixels_of(opened(stream, name), name, p)


def pixels_of(image: Image.Image, name: str, p: Preprocessing) -> Array:
    """`read_pixels` of an image that is opened, but not decoded yet."""
    image = decoded(image, name)
    try:
        return to_pixels(image, p)
    except NeoclassicError as error:
        raise NeoclassicError(f"{name}: {error}") from None


def _crop(image: Image.Image, p: Preprocessing) -> Image.Image:
    """Crop to the centre after a resize: the tighter side becomes size/keep, the other follows, rounded down."""
    h, w = p.size
    target_h, target_w = round(h / p.keep), round(w / p.keep)
    image = _limit_aspect(image)
    H, W = image.height, image.width
    H, W = (target_h, target_h * W // H) if target_h * W >= target_w * H else (target_w * H // W, target_w)
    left, top = round((W - w) / 2), round((H - h) / 2)
    return image.resize((W, H), FILTERS[p.filter]).crop((left, top, left + w, top + h))


def _limit_aspect(image: Image.Image) -> Image.Image:
    """Keep the centre of a strip longer than MAX_ASPECT times its width, so that its resize cannot fill the memory."""
    h, w = min(image.height, MAX_ASPECT * image.width), min(image.width, MAX_ASPECT * image.height)
    left, top = (image.width - w) // 2, (image.height - h) // 2
    return image if (w, h) == image.size else image.crop((left, top, left + w, top + h))


# ── from pixels to the network ───────────────────────────────────────────────────────────────────────


def to_input(pixels: Array, p: Preprocessing) -> Array:
    """Normalise uint8 N×H×W×C to float32 N×C×H×W: (x/255 − mean)/std, in torchvision's order of operations."""
    x_NCHW = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32)
    x_NCHW /= np.float32(255)
    if any(p.mean):
        x_NCHW -= np.array(p.mean, np.float32)[:, None, None]
    if any(s != 1 for s in p.std):
        x_NCHW /= np.array(p.std, np.float32)[:, None, None]
    return x_NCHW


def statistics(images: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation of each channel of uint8 N×H×W×C, as values in [0, 1].

    They are exact, because they are computed from a histogram of the 256 values. NeoclassicError if there are no
    images.
    """
    if not images.size:
        raise NeoclassicError("cannot compute a mean: there are no images")
    channels = images.shape[3]
    counts = np.zeros((channels, 256), np.int64)
    step = max((1 << 16) // math.prod(images.shape[1:3]), 1)  # fits into the processor's cache
    block = 256 // step * step or step  # so many at a time are worth decoding by several processes
    for first in range(0, len(images), block):
        part = images[first : first + block]
        for start in range(0, len(part), step):
            values = part[start : start + step].reshape(-1, channels)
            for channel in range(channels):
                counts[channel] += np.bincount(values[:, channel], minlength=256)
    means, stds = [], []
    for row in counts.tolist():
        n, total, squares = (sum(count * value**power for value, count in enumerate(row)) for power in (0, 1, 2))
        means.append(total / (255 * n))
        stds.append(math.sqrt(n * squares - total * total) / (255 * n))
    return tuple(means), tuple(stds)


def bright_border(pixels: Array) -> bool:
    """Return whether the outermost pixels of uint8 H×W×C are bright (median above 127): a figure on white paper."""
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return bool(np.median(border) > 127)
