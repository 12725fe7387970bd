"""Images and labels as Python users have them: arrays, tensors, tables, lists, PIL images, paths.

- Four axes are N×H×W×C with 1, 3 or 4 channels, or N×C×H×W if the shape allows nothing else.
- Three axes are N×H×W, grey. For a prediction, which may be of one image, they are one H×W×C if the last axis is 1, 3
  or 4 long. Two axes are refused, because they may be one image or a table of features. In a list, each item is one
  image: two axes are H×W, and C×H×W is accepted as well.
- Pixels are integers of any type from 0 to 255, or booleans. Floating point is refused, with the conversion to write,
  because pixels from 0 to 1, from 0 to 255 and standardised ones can look the same. A fourth channel is opacity, and
  the image is blended over white, as for files.
- Labels are integers, strings or booleans. Floating-point numbers without a fraction, which pandas makes of integers,
  count as integers.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
from PIL import Image

from neoclassic.base.errors import UsageError
from neoclassic.data.image_files import open_image
from neoclassic.data.preprocessing import Array

CHANNELS = (1, 3, 4)
LABELS = "give one integer or string for each image"
Images = Array | list[Any]  # uint8 N×H×W×C, or a list of images of any size


def images_of(X: Any, one: bool = False) -> Images:
    """Return images as one array, uint8 N×H×W×1 or N×H×W×3, if they come as one; otherwise as a list for `one_image`.

    one: whether X may be a single image. UsageError, saying how to convert it, if X is not images.
    """
    if isinstance(X, Image.Image | str | os.PathLike | bytes | bytearray) or hasattr(X, "read"):
        return [X]
    if isinstance(X, Iterator):
        X = list(X)
    if not (hasattr(X, "__array__") or isinstance(X, Iterable)) or isinstance(X, Mapping | Set):
        raise UsageError(f"images are of type {type(X).__name__}: give an array or a list of images")
    array = None if isinstance(X, Sequence) else _array(X)
    if array is None or array.dtype.kind in "OUS":
        items = list(X) if array is None else list(array.ravel())
        if not items:
            raise UsageError("there are no images: give at least one")
        return items
    shape = array.shape
    if len(shape) == 3 and not (one and shape[2] in CHANNELS):
        array = array[..., None]
    elif len(shape) == 3:
        array = array[None]
    elif len(shape) == 4 and shape[3] not in CHANNELS and shape[1] in CHANNELS:
        array = np.moveaxis(array, 1, 3)
    if array.ndim != 4 or array.shape[3] not in CHANNELS or not array.size:
        more = ": reshape rows of features with X.reshape(-1, HEIGHT, WIDTH), one image with X[None]"
        expected = "give uint8, 0 to 255, N×H×W or N×H×W×3"
        raise UsageError(f"images are {array.dtype} {dimensions(shape)}: {expected}{more if len(shape) == 2 else ''}")
    pixels = _bytes(array, f"images are {array.dtype} {dimensions(shape)}")
    return list(pixels) if pixels.shape[3] == 4 else pixels


def one_image(item: Any, i: int) -> Image.Image:
    """Return one image from a path, an open file, its content, a PIL image, or an array H×W, H×W×C or C×H×W.

    i: its index, for errors. UsageError if the item is none of these; NeoclassicError for a file that cannot be read.
    """
    if isinstance(item, Image.Image):
        return item
    if isinstance(item, np.bytes_):  # from an array of paths
        item = os.fsdecode(item)
    if isinstance(item, io.TextIOBase):
        raise UsageError(f"image {i} is a file opened as text: open it with mode 'rb'")
    if isinstance(item, bytes | bytearray):
        item = io.BytesIO(item)
        item.name = f"image {i}"
    if isinstance(item, str | os.PathLike) or hasattr(item, "read"):
        return open_image(item)
    array = _array(item)
    if array is None or array.ndim not in (2, 3) or not array.size or array.dtype.kind not in "uibf":
        what = type(item).__name__ if array is None else f"{array.dtype} {dimensions(array.shape)}"
        raise UsageError(f"image {i} must be a file, a PIL image or a uint8 array H×W or H×W×3, not {what}")
    if array.ndim == 3 and array.shape[2] not in CHANNELS and array.shape[0] in CHANNELS:
        array = np.moveaxis(array, 0, 2)
    if array.ndim == 3 and array.shape[2] not in CHANNELS:
        raise UsageError(f"image {i} has {array.shape[2]} channels: give 1 or 3")
    pixels = _bytes(array, f"image {i} is {array.dtype} {dimensions(array.shape)}")
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels))


def is_grey(image: Image.Image) -> bool:
    """Return whether an image is grey."""
    return image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I")


def labels_of(y: Any) -> Array:
    """Return labels as a one-dimensional array of int64, strings or booleans.

    UsageError if a label is missing or has a fraction, for a table, and for labels of several types.
    """
    if isinstance(y, Iterator | Sequence) and not isinstance(y, str):  # as objects: NumPy would make numbers strings
        y = np.array(list(y), object)
    labels = _array(y)
    if labels is None:
        raise UsageError(f"labels are a {type(y).__name__}: {LABELS}")
    if labels.ndim == 2 and labels.shape[1] == 1:  # a column of a table
        labels = labels[:, 0]
    if labels.ndim != 1:
        hint = ", such as y.argmax(1) if there is one column per class" if labels.ndim == 2 else ""
        raise UsageError(f"labels are {labels.dtype} {dimensions(labels.shape)}: {LABELS}{hint}")
    if labels.dtype.kind == "O":
        labels = _of_one_type(labels)
    if labels.dtype.kind == "S":
        labels = np.array([label.decode() for label in labels.tolist()])
    if labels.dtype.kind == "f":
        labels = _integers(labels)
    if labels.dtype.kind not in "iuUb":
        raise UsageError(f"labels are {labels.dtype} {dimensions(labels.shape)}: {LABELS}")
    return labels.astype(np.int64) if labels.dtype.kind in "iu" else labels


def _integers(labels: Array) -> Array:
    """Floating-point labels as int64. UsageError if one is missing or has a fraction."""
    if len(missing := np.flatnonzero(np.isnan(labels))):
        raise UsageError(f"the label of image {missing[0]} is missing: leave such images out")
    integers = labels.astype(np.int64, copy=True) if np.abs(labels).max(initial=0) < 1 << 53 else labels
    if (integers != labels).any() or integers.dtype.kind == "f":
        example = [*labels[integers != labels], labels.max()][0]
        raise UsageError(f"labels are {labels.dtype}, such as {example}: {LABELS}")
    return integers


def _of_one_type(labels: Array) -> Array:
    """Python objects as an array of strings, numbers or booleans."""
    values = [value.item() if hasattr(value, "item") else value for value in labels.tolist()]
    for i, value in enumerate(values):
        if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
            raise UsageError(f"the label of image {i} is missing: leave such images out")
    kinds: dict[str, Any] = {"a string": str, "a boolean": bool, "a number": int | float}
    names = [next((kind for kind, types in kinds.items() if isinstance(v, types)), type(v).__name__) for v in values]
    if strange := [i for i, kind in enumerate(names) if kind != names[0] or kind not in kinds]:
        i = strange[0]
        also = f" and {names[i]}" if names[i] != names[0] else ""
        raise UsageError(f"labels are {names[0]}{also} (image {i}): {LABELS}")
    return np.array(values)


def _array(value: Any) -> Array | None:
    """The array of an array, tensor on any device, series or table; None for anything else."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    if isinstance(value, str | bytes | dict | set | Image.Image):
        return None
    try:
        array = np.asarray(value)
    except Exception:  # items of several shapes, for example, or a tensor type that NumPy does not have
        return None
    return array if array.ndim or hasattr(value, "__array__") else None


def _bytes(array: Array, what: str) -> Array:
    """Pixels as uint8. what: the beginning of the error message if that is not possible."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    low, high = (array.min(), array.max()) if array.dtype.kind in "iuf" else (np.nan, np.nan)
    if array.dtype.kind in "iu" and low >= 0 and high <= 255:
        return array.astype(np.uint8)
    if array.dtype.kind in "iu":
        how = f"by scaling {low} to {high} with the largest value that is possible"
    elif low >= 0 and high <= 1:
        how = "as (X * 255).round().astype('uint8')"
    elif low >= 0 and high <= 255:
        how = "as X.round().astype('uint8')"
    else:
        how = "as they were before they were standardised"
    raise UsageError(f"{what}: give uint8, 0 to 255, {how}")


def dimensions(shape: tuple[int, ...]) -> str:
    """Return a shape as text: 40×28×28."""
    return "×".join(map(str, shape)) or "scalar"
