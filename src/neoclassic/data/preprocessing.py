"""Preprocessing is data: one frozen record says how an image is brought to a network.

It is executed by two functions that training, evaluation, prediction, serving and export checks all call:
`to_pixels`, from any image to uint8 H×W×C, and `to_input`, from those to float32 N×C×H×W.
"""

from __future__ import annotations

import math
import os
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from neoclassic.data.dataset import Array
from neoclassic.errors import NeoclassicError, UsageError, unknown

FITS = ("crop", "pad", "stretch")
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
MAX_SIDE = 4096  # pixels: what a record may ask for
MAX_PIXELS = 1 << 26  # what an image may have: 67 megapixels


@dataclass(frozen=True)
class Preprocessing:
    """How an image is brought to a network.

    size      height and width
    channels  1 (grey) or 3 (red, green, blue)
    fit       "crop" the middle, "pad" with black, or "stretch"
    filter    of the antialiased resize: a key of FILTERS
    mean, std of each channel, with values in [0, 1]: the network sees (x/255 − mean)/std
    invert    take 255 − x: for dark figures on white, where the network learnt bright ones on black
    keep      the part of the short side that a crop keeps; 224/256 is the ImageNet papers' habit

    UsageError for a value that cannot be.
    """

    size: tuple[int, int]
    channels: int
    fit: str = "crop"
    filter: str = "bilinear"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    invert: bool = False
    keep: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any) -> Preprocessing:
        """The record that `to_dict` wrote. NeoclassicError for anything else; it is never trusted."""
        raise NotImplementedError


def to_pixels(image: Image.Image, p: Preprocessing) -> Array:
    """uint8 H×W×C of any image: turned upright, in p's colours, fitted to p's size, inverted if p says so."""
    raise NotImplementedError


def to_input(pixels: Array, p: Preprocessing) -> Array:
    """float32 N×C×H×W from uint8 N×H×W×C: (x/255 − mean)/std."""
    raise NotImplementedError


def resize_all(images: Array, p: Preprocessing) -> Array:
    """uint8 N×h×w×c to N×H×W×C, each image by `to_pixels`, in threads. The same array when nothing is to be done."""
    raise NotImplementedError


def open_image(file: str | os.PathLike[str] | BinaryIO) -> Image.Image:
    """A decoded image, of a path or an open binary file. NeoclassicError, one line that names it, if there is none."""
    raise NotImplementedError


def bright_border(pixels: Array) -> bool:
    """Whether the outermost pixels of uint8 H×W×C are bright (median above 127): a figure on white paper."""
    raise NotImplementedError


def statistics(images: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 N×H×W×C, as values in [0, 1]. Exact."""
    raise NotImplementedError
