"""Preprocessing is data: one frozen record says how an image is brought to a network.

It is executed by two functions that training, evaluation, prediction, serving and export checks all call:
`to_pixels`, from any image to uint8 H×W×C, and `to_input`, from those to float32 N×C×H×W. What training does in their
place where the network is on a GPU, `Enlarged` and `augment`, gives the same bits.
"""

from __future__ import annotations

import importlib
import io
import math
import os
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from neoclassic.base.errors import NeoclassicError, UsageError, unknown
from neoclassic.base.records import number, record, require, whole
from neoclassic.data.suspects import refusal, what_is

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
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "HEIF", "PPM")
BITS_PER_SAMPLE, MAX_SAMPLE_VALUE = 258, 281  # TIFF's tags
ORIENTATION = 0x0112  # the EXIF tag, and what undoes each of its values
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MAX_SIDE = 1024  # pixels: what a record may ask for
STRIP = 16  # times longer than wide: what a crop looks at of an image
MAX_PIXELS = 1 << 26  # what an image may have, 67 megapixels: below Pillow's own limit, so that ours speaks first
DEPTHS = (8, 10, 12, 14, 16)  # bits that the values of a 16- or 32-bit grey image may fill: see `depth`
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")  # ISO/IEC 23008-12

File = str | os.PathLike[str] | BinaryIO


# ── the record ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Preprocessing:
    """How an image is brought to a network.

    size      height and width
    channels  1 (grey) or 3 (red, green, blue)
    fit       "crop" the middle, "pad" with black, or "stretch"
    filter    of the antialiased resize: a key of FILTERS
    mean, std of values in [0, 1], one for all channels or one for each: the network sees (x/255 − mean)/std
    invert    take 255 − x: for dark figures on white, where the network learnt bright ones on black
    keep      the part of the short side that a crop keeps; the ImageNet papers' is 224/256

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

    def __post_init__(self) -> None:
        if len(self.size) != 2 or not all(whole(s) and 1 <= s <= MAX_SIDE for s in self.size):
            raise UsageError(f"an image size is height and width, each 1 to {MAX_SIDE}, not {self.size}")
        if not whole(self.channels) or self.channels not in (1, 3):
            raise UsageError(f"images have 1 channel or 3, not {self.channels}")
        if self.fit not in FITS:
            raise unknown("fit", str(self.fit), FITS)
        if self.filter not in FILTERS:
            raise unknown("filter", str(self.filter), FILTERS)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels) or not all(number(v) and abs(v) < 1e6 for v in values):
                raise UsageError(f"{name} is 1 number, or 1 for each of {self.channels} channels, not {values}")
        require("std", self.std, min(self.std) > 0, "above 0")
        if not isinstance(self.invert, bool):
            raise UsageError(f"invert is true or false, not {self.invert}")
        if not number(self.keep) or not 0.1 <= self.keep <= 1:
            raise UsageError(f"a crop keeps 0.1 to 1 of the short side, not {self.keep}")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any) -> Preprocessing:
        """The record that `to_dict` wrote, tuples perhaps turned to lists. NeoclassicError for anything else."""
        try:
            return record(cls, data)
        except (NeoclassicError, ValueError) as error:
            raise NeoclassicError(f"not a preprocessing record: {str(error)[:100]}") from None


# ── from a file to an image ──────────────────────────────────────────────────────────────────────────

_opening = threading.Lock()  # warnings are caught for the whole process, and plug-ins are registered for it


def read(path: str | os.PathLike[str]) -> bytes:
    """The content of an image file. NeoclassicError, naming the file, for what `refusal` refuses."""
    path = Path(path)
    if reason := refusal(path):
        raise NeoclassicError(f"{path}: {reason}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise NeoclassicError(f"{path}: {error.strerror or error}") from None


def open_image(file: File) -> Image.Image:
    """The decoded image of a path or an open binary file; the first frame of several.

    NeoclassicError, naming the file: what `read` refuses, empty, no image of a format in FORMATS, above MAX_PIXELS
    (told from the header, nothing is decoded), truncated or damaged.
    """
    return _decode(*_stream(file))


def header(content: bytes, name: str) -> ImageFile.ImageFile:
    """The image of a file's content, its size, mode and metadata known, its pixels not decoded yet."""
    return _open(io.BytesIO(content), name)


def readers() -> str:
    """What decides which images can be read here: the formats that Pillow knows, and the version of pillow-heif."""
    with _opening:
        Image.init()
        _plug_in()
        version = getattr(sys.modules.get("pillow_heif"), "__version__", "")
        return " ".join([*(name for name in FORMATS if name in Image.OPEN), version])


def is_heif(start: bytes) -> bool:
    """Whether a file that starts so, 12 bytes are enough, is HEIF: what phones store as HEIC."""
    return start[4:8] == b"ftyp" and start[8:12] in HEIF_BRANDS


def _plug_in() -> None:
    """Have Pillow read HEIF with pillow-heif, where that is installed. Importing it is slow, so a file must need it."""
    if "HEIF" not in Image.OPEN:
        try:
            importlib.import_module("pillow_heif").register_heif_opener()
        except Exception:  # not installed, or an installation that does not work: the message asks for it
            return


def _stream(file: File) -> tuple[BinaryIO, str]:
    """What is read, and what messages call it."""
    if isinstance(file, str | os.PathLike):
        return io.BytesIO(read(file)), str(Path(file))
    return file, str(getattr(file, "name", "the image"))


def _decode(stream: BinaryIO, name: str) -> Image.Image:
    image = _open(stream, name)
    try:
        image.load()
    except Exception as error:  # Pillow's readers raise of every kind
        raise NeoclassicError(f"{name}: {_reason(error)}") from None
    return image


def _open(stream: BinaryIO, name: str) -> ImageFile.ImageFile:
    start = stream.read(1024)
    if not start:
        raise NeoclassicError(f"{name}: is empty")
    stream.seek(0)
    too_large = NeoclassicError(f"{name}: has more than {MAX_PIXELS / 1e6:.0f} million pixels: make it smaller first")
    try:
        with _opening, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.init()
            if is_heif(start):
                _plug_in()
            image = Image.open(stream, formats=[f for f in FORMATS if f in Image.OPEN])
    except UnidentifiedImageError:
        raise NeoclassicError(f"{name}: {_unidentified(start)}") from None
    except Image.DecompressionBombError:
        raise too_large from None
    except Exception as error:
        raise NeoclassicError(f"{name}: {_reason(error)}") from None
    if image.width * image.height > MAX_PIXELS:
        raise too_large
    if image.format == "PPM" and (arguments := image.tile[0][3]) and isinstance(arguments[-1], int):
        image.info["maxval"] = arguments[-1]  # which Pillow forgets once it has decoded
    return image


def _unidentified(start: bytes) -> str:
    if is_heif(start):
        if "HEIF" in Image.OPEN:
            return "is a HEIC image that is damaged, or of a kind that pillow-heif does not read"
        return "is a HEIC image: pip install pillow-heif reads it"
    if start[4:12] in (b"ftypavif", b"ftypavis"):
        if "AVIF" in Image.OPEN:
            return "is an AVIF image that is damaged, or of a kind that Pillow does not read"
        return "is an AVIF image, which this Pillow does not read: pip install --upgrade pillow"
    return what_is(start) or "is not an image, or of a format that is not read here"


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:100] or type(error).__name__
    return "is truncated" if "truncated" in text.lower() else f"is damaged: {text}"


# ── from an image to pixels ──────────────────────────────────────────────────────────────────────────


def to_pixels(image: Image.Image, p: Preprocessing) -> Array:
    """uint8 H×W×C of any image: turned upright, in p's colours, fitted to p's size, inverted if p says so.

    The resize is Pillow's, antialiased, and `crop` is torchvision's Resize(round(size/keep)) and
    CenterCrop(size), bit for bit. NeoclassicError for pixels without a known range.
    """
    image = _plain(image, p.channels)
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


def full_size(image: Image.Image, channels: int) -> Array:
    """uint8 H×W×C of any image at its own size, turned upright. NeoclassicError for pixels without a known range."""
    image = _plain(image, channels)
    return np.asarray(image).reshape(image.height, image.width, channels)


def _plain(image: Image.Image, channels: int) -> Image.Image:
    """Upright, in 8 bits of grey or of RGB."""
    return _coloured(_upright(_narrow(image), orientation(image)), "L" if channels == 1 else "RGB")


def read_pixels(file: File, p: Preprocessing) -> Array:
    """`to_pixels` of `open_image`; every NeoclassicError names the file."""
    stream, name = _stream(file)
    image = _decode(stream, name)
    try:
        return to_pixels(image, p)
    except NeoclassicError as error:
        raise NeoclassicError(f"{name}: {error}") from None


def orientation(image: Image.Image) -> int:
    """The value of the EXIF tag, 1 to 8; 1 where it says nothing. Decodes no pixels."""
    try:
        with _opening, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = int(Image.Image.getexif(image).get(ORIENTATION, 1))  # PNG's own would decode
    except Exception:  # a broken EXIF block says nothing of the image
        return 1
    return value if value in UPRIGHT else 1


def depth(image: Image.Image) -> int:
    """How many bits the values of a 16- or 32-bit grey image fill: black is 0, white is 2^depth − 1.

    Files say how many bits store a value, but rarely how many of them are used: detectors and cameras fill 10, 12 or
    14 of 16. So the depth is the smallest of DEPTHS that holds the image's largest value and the largest that its
    header tells of: by a TIFF's BitsPerSample below 16, its MaxSampleValue, or a PGM's maxval below 65535. (PNG's
    sBIT does not count, as its values are scaled to 16 bits in any case.) Only the file decides, so every program
    gives the same pixels. The price: where the header is silent, see `guessed`, an image whose brightest value stays
    below a quarter of its true white becomes up to 4 times brighter for each step that it falls short of.

    NeoclassicError for values below 0 or above 65535.
    """
    wide = np.asarray(image)
    if wide.min() < 0 or wide.max() > 0xFFFF:
        raise NeoclassicError("has 32-bit pixels: convert it to 8 or 16 bits first")
    largest = max(int(wide.max()), _told(image))
    return next(bits for bits in DEPTHS if largest >> bits == 0)


def guessed(image: Image.Image) -> int | None:
    """The `depth` of a decoded image where it is a guess from the largest value and below 16; else None."""
    if not image.mode.startswith("I") or _told(image):
        return None
    bits = depth(image)
    return bits if bits < DEPTHS[-1] else None


def _told(image: Image.Image) -> int:
    """The largest value that the header allows for, at most 65535; 0 where it does not tell."""
    if image.format == "PPM":  # whose values Pillow scales to 16 bits
        return 0xFFFF if image.info.get("maxval", 0xFFFF) < 0xFFFF else 0
    bits, most = (_tag(image, tag) for tag in (BITS_PER_SAMPLE, MAX_SAMPLE_VALUE))
    return min(max(most, (1 << bits) - 1 if bits < 16 else 0), 0xFFFF)


def _tag(image: Image.Image, number: int) -> int:
    """The value of a TIFF's tag; 0 where it has none, or none that is a number."""
    value = getattr(image, "tag_v2", {}).get(number)
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, int) and value > 0 else 0


def _narrow(image: Image.Image) -> Image.Image:
    """An image of 16 or 32 bits of grey in 8, rounded: the white that `depth` tells becomes 255."""
    if image.mode == "F":
        raise NeoclassicError("has floating-point pixels: convert it to 8 or 16 bits first")
    if not image.mode.startswith("I"):
        return image
    white = (1 << depth(image)) - 1
    wide = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((wide * 255 + white // 2) // white).astype(np.uint8))


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def _coloured(image: Image.Image, mode: str) -> Image.Image:
    """8 bits in `mode` ("L" or "RGB"); what is transparent lies on white."""
    try:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image if image.mode == mode else image.convert(mode)
    except ValueError:
        raise NeoclassicError(f"has {image.mode} colours: convert it to RGB first") from None


def _crop(image: Image.Image, p: Preprocessing) -> Image.Image:
    """The middle, after scaling the tighter side to the size over `keep`, the other following, rounded down."""
    h, w = p.size
    tall, wide = round(h / p.keep), round(w / p.keep)
    image = _shorter(image)
    H, W = image.height, image.width
    H, W = (tall, tall * W // H) if tall * W >= wide * H else (wide * H // W, wide)
    left, top = round((W - w) / 2), round((H - h) / 2)
    return image.resize((W, H), FILTERS[p.filter]).crop((left, top, left + w, top + h))


def _shorter(image: Image.Image) -> Image.Image:
    """The middle of a strip longer than STRIP times its width, which scaled whole would fill the memory."""
    h, w = min(image.height, STRIP * image.width), min(image.width, STRIP * image.height)
    left, top = (image.width - w) // 2, (image.height - h) // 2
    return image if (w, h) == image.size else image.crop((left, top, left + w, top + h))


LARGE = 1 << 26  # bytes of resized images that are not kept, as they come from much fewer


def resize_all(
    images: Array, p: Preprocessing, progress: Callable[[int], object] | None = None, threads: int | None = None
) -> Array:
    """uint8 N×h×w×c to N×H×W×C, each image by `to_pixels`, in threads. The same array when nothing is to be done.

    progress: called with the number of images done since the last call.
    """
    whole = p.fit != "crop" or p.keep == 1
    if images.shape[1:] == (*p.size, p.channels) and whole and not p.invert:
        return images
    done = np.empty((len(images), *p.size, p.channels), np.uint8)

    def resize(start: int) -> int:
        part = images[start : start + 256]
        for i, pixels in enumerate(part, start):
            done[i] = to_pixels(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), p)
        return len(part)

    starts = range(0, len(images), 256)
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for n in pool.map(resize, starts) if len(starts) > 1 else map(resize, starts):
            if progress is not None:
                progress(n)
    return done


class Resized:
    """Images at another size, an array to read from: each is resized when it is asked for, again every time.

    For small images that are blown up: 60,000 of 28×28 at 224×224 would be 3 GB, and a step costs far more than this.
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, images: Array, p: Preprocessing) -> None:
        self.images, self.preprocessing = images, p
        self.shape = (len(images), *p.size, p.channels)
        self.size = self.nbytes = math.prod(self.shape)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> Array:
        """Of one image H×W×C, of a slice or an array of places N×H×W×C."""
        one = np.ndim(index) == 0 and not isinstance(index, slice)
        found = resize_all(self.images[[index] if one else index], self.preprocessing)
        return found[0] if one else found

    def subset(self, indices: Array) -> Resized:
        """Only these images, still to be resized."""
        return Resized(self.images[indices], self.preprocessing)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return resize_all(self.images, self.preprocessing)

    @property
    def enlarges(self) -> bool:
        """Whether `Enlarged` can do it: bilinear, square to a larger square, as it is otherwise."""
        p, (_, h, w, channels) = self.preprocessing, self.images.shape
        as_it_is = p.keep == 1 and not p.invert and p.channels == channels
        return p.filter == "bilinear" and as_it_is and h == w <= p.size[0] == p.size[1]


class Enlarged:
    """What `Resized` gives, bit for bit, computed where the images are put: on a GPU, say.

    Pillow's filter in its own whole numbers: columns, then rows, each new pixel from the two old ones around its
    middle, with weights of 22 bits, rounded to 8. xp, put: as `augment` has them.
    """

    BITS = 22

    def __init__(self, images: Resized, xp: Any, put: Callable[[Any], Any]) -> None:
        old, new = images.images.shape[1], images.preprocessing.size[0]
        middles = (np.arange(new) + 0.5) * (old / new)
        places = np.floor(middles - 0.5).astype(np.int64) + np.arange(2)[:, None]
        weights = (1 - np.abs(places + 0.5 - middles)) * ((places >= 0) & (places < old))
        weights = np.floor(weights / weights.sum(0) * (1 << self.BITS) + 0.5).astype(np.int32)
        self.taps = [(put(i), put(w)) for i, w in zip(places.clip(0, old - 1), weights, strict=True)]
        self.pixels, self.xp = put(images.images), xp

    def __getitem__(self, index: Any) -> Any:
        """uint8 N×H×W×C of a slice or an array of places, which must be where the images are."""
        x_NHWC = self.pixels[index]
        for axis in (2, 1):
            before, after = (slice(None),) * axis, (1,) * (3 - axis)
            total: Any = 1 << self.BITS - 1
            for places, weights in self.taps:
                total = total + x_NHWC[(*before, places)] * weights.reshape(-1, *after)
            x_NHWC = self.xp.asarray(total >> self.BITS, dtype=self.xp.uint8)
        return x_NHWC

    def all(self) -> Any:
        """Every image, uint8 N×H×W×C."""
        starts = range(0, len(self.pixels), 1024)  # at a time: their sums take 4 bytes a pixel
        return self.xp.concatenate([self[start : start + 1024] for start in starts])


def resized(images: Array, p: Preprocessing) -> Array:
    """`resize_all`, or where that would take much more memory than the images do, at least LARGE, `Resized`."""
    size = len(images) * math.prod(p.size) * p.channels
    return cast("Array", Resized(images, p)) if size >= max(LARGE, 4 * images.size) else resize_all(images, p)


# ── from pixels to the network ───────────────────────────────────────────────────────────────────────


def to_input(pixels: Array, p: Preprocessing) -> Array:
    """float32 N×C×H×W from uint8 N×H×W×C: (x/255 − mean)/std, in this order, as torchvision computes it."""
    x_NCHW = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32)
    x_NCHW /= np.float32(255)
    if any(p.mean):
        x_NCHW -= np.array(p.mean, np.float32)[:, None, None]
    if any(s != 1 for s in p.std):
        x_NCHW /= np.array(p.std, np.float32)[:, None, None]
    return x_NCHW


def statistics(images: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 N×H×W×C, as values in [0, 1].

    Exact: from the counts of the 256 values. NeoclassicError without images.
    """
    if not images.size:
        raise NeoclassicError("there are no images to take the mean of")
    channels = images.shape[3]
    counts = np.zeros((channels, 256), np.int64)
    step = max((1 << 16) // math.prod(images.shape[1:3]), 1)  # what stays near the processor
    for start in range(0, len(images), step):
        values = images[start : start + step].reshape(-1, channels)
        for channel in range(channels):
            counts[channel] += np.bincount(values[:, channel], minlength=256)
    means, stds = [], []
    for row in counts.tolist():
        n, total, squares = (sum(count * value**power for value, count in enumerate(row)) for power in (0, 1, 2))
        means.append(total / (255 * n))
        stds.append(math.sqrt(n * squares - total * total) / (255 * n))
    return tuple(means), tuple(stds)


def bright_border(pixels: Array) -> bool:
    """Whether the outermost pixels of uint8 H×W×C are bright (median above 127): a figure on white paper."""
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return bool(np.median(border) > 127)
