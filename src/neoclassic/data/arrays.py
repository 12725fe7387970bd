"""Images and labels as people have them in Python, and the one rule for what they are.

- Four axes are N×H×W×C with 1, 3 or 4 channels; N×C×H×W where only that can be meant.
- Three axes are N×H×W, grey; but where one image can be meant, to predict, they are one H×W×C where the last is 1, 3 or
  4 long. Two axes are refused: they may be one image or a table of features. In a list, where each is one image, two
  are H×W, and C×H×W is understood too.
- Pixels are 0 to 255, of any integer kind, or booleans. Floating point is refused with what to write, as 0 to 1, 0 to
  255 and standardised pixels can look the same. A fourth channel is opacity, seen on white as in files.
- Labels are integers, names or booleans; whole floating-point numbers, which pandas makes of integers, are integers.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
from PIL import Image

from neoclassic.base.errors import UsageError
from neoclassic.data.preprocessing import Array, open_image

CHANNELS = (1, 3, 4)
Images = Array | list[Any]  # uint8 N×H×W×C, or images of several sizes, one by one


def images_of(X: Any, one: bool = False) -> Images:
    """Images as one array uint8 N×H×W×1 or N×H×W×3 where they come as one, else as a list for `one_image`.

    one: whether a single image can be meant.
    UsageError for what are no images, in one line that says how to make them.
    """
    if isinstance(X, Image.Image | str | os.PathLike | bytes | bytearray) or hasattr(X, "read"):
        return [X]
    if isinstance(X, Iterator):
        X = list(X)
    if not (hasattr(X, "__array__") or isinstance(X, Iterable)) or isinstance(X, Mapping | Set):
        raise UsageError(f"images are of the kind {type(X).__name__}: give an array or a list of them")
    array = None if isinstance(X, Sequence) else _array(X)
    if array is None or array.dtype.kind in "OUS":
        items = list(X) if array is None else list(array.ravel())
        if not items:
            raise UsageError("images are nothing: give at least one")
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
        wanted = "give uint8, 0 to 255, N×H×W or N×H×W×3"
        raise UsageError(f"images are {array.dtype} {_by(shape)}: {wanted}{more if len(shape) == 2 else ''}")
    pixels = _bytes(array, f"images are {array.dtype} {_by(shape)}")
    return list(pixels) if pixels.shape[3] == 4 else pixels


def one_image(item: Any, i: int) -> Image.Image:
    """An image of a file, an open file, the content of one, a PIL image, or an array H×W, H×W×C or C×H×W.

    i: its place, which errors name.

    UsageError for what is none; NeoclassicError for a file that cannot be read.
    """
    if isinstance(item, Image.Image):
        return item
    if isinstance(item, np.bytes_):  # of an array of paths
        item = os.fsdecode(item)
    if isinstance(item, io.TextIOBase):
        raise UsageError(f"image {i} is a file that is open as text: open it with mode 'rb'")
    if isinstance(item, bytes | bytearray):
        item = io.BytesIO(item)
        item.name = f"image {i}"
    if isinstance(item, str | os.PathLike) or hasattr(item, "read"):
        return open_image(item)
    array = _array(item)
    if array is None or array.ndim not in (2, 3) or not array.size or array.dtype.kind not in "uibf":
        what = type(item).__name__ if array is None else f"{array.dtype} {_by(array.shape)}"
        raise UsageError(f"image {i} is no file, PIL image or array H×W or H×W×3 of uint8, but {what}")
    if array.ndim == 3 and array.shape[2] not in CHANNELS and array.shape[0] in CHANNELS:
        array = np.moveaxis(array, 0, 2)
    if array.ndim == 3 and array.shape[2] not in CHANNELS:
        raise UsageError(f"image {i} has {array.shape[2]} channels: give 1 or 3")
    what = f"image {i} is no file, PIL image or uint8 array, but {array.dtype} {_by(array.shape)}"
    pixels = _bytes(array, what)
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels))


def is_grey(image: Image.Image) -> bool:
    """Whether an image has no colours."""
    return image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I")


def labels_of(y: Any) -> Array:
    """Labels as a row of int64, of text or of booleans.

    UsageError for one that is missing, for numbers that are not whole, for a table, and for several kinds at once.
    """
    if isinstance(y, Iterator | Sequence) and not isinstance(y, str):  # as objects, or NumPy would make text of numbers
        y = np.array(list(y), object)
    found = _array(y)
    if found is None:
        raise UsageError(f"labels are a {type(y).__name__}: give one integer or string for each image")
    if found.ndim == 2 and found.shape[1] == 1:  # a column of a table
        found = found[:, 0]
    if found.ndim != 1:
        hint = ", as y.argmax(1) of one column a class" if found.ndim == 2 else ""
        table = f"labels are {found.dtype} {_by(found.shape)}"
        raise UsageError(f"{table}: give one integer or string for each image{hint}")
    if found.dtype.kind == "O":
        found = _of_one_kind(found)
    if found.dtype.kind == "S":
        found = np.array([label.decode() for label in found.tolist()])
    if found.dtype.kind == "f":
        if len(missing := np.flatnonzero(np.isnan(found))):
            raise UsageError(f"the label of image {missing[0]} is missing: leave such images out")
        whole = found.astype(np.int64, copy=True) if np.abs(found).max(initial=0) < 1 << 53 else found
        if (whole != found).any() or whole.dtype.kind == "f":
            odd = [*found[whole != found], found.max()][0]
            raise UsageError(f"labels are {found.dtype}, as {odd}: give one integer or string for each image")
        found = whole
    if found.dtype.kind not in "iuUb":
        raise UsageError(f"labels are {found.dtype} {_by(found.shape)}: give one integer or string for each image")
    return found.astype(np.int64) if found.dtype.kind in "iu" else found


def _of_one_kind(found: Array) -> Array:
    """Python's objects as an array of text, whole numbers or booleans."""
    values = [value.item() if hasattr(value, "item") else value for value in found.tolist()]
    for i, value in enumerate(values):
        if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
            raise UsageError(f"the label of image {i} is missing: leave such images out")
    kinds: dict[str, Any] = {"a string": str, "a boolean": bool, "a number": int | float}
    named = [next((kind for kind, types in kinds.items() if isinstance(v, types)), type(v).__name__) for v in values]
    if strange := [i for i, kind in enumerate(named) if kind != named[0] or kind not in kinds]:
        i = strange[0]
        also = f" and {named[i]}" if named[i] != named[0] else ""
        raise UsageError(f"labels are {named[0]}{also} (of image {i}): give one integer or string for each image")
    return np.array(values)


def _array(value: Any) -> Array | None:
    """Of arrays, tensors wherever they are, series and tables; None for what is none of these."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    if isinstance(value, str | bytes | dict | set | Image.Image):
        return None
    try:
        array = np.asarray(value)
    except Exception:  # of several shapes, say, or a tensor of a kind that NumPy does not have
        return None
    return array if array.ndim or hasattr(value, "__array__") else None


def _bytes(array: Array, what: str) -> Array:
    """Pixels as uint8. what: the beginning of the error that refuses others."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    low, high = (array.min(), array.max()) if array.dtype.kind in "iuf" else (np.nan, np.nan)
    if array.dtype.kind in "iu" and low >= 0 and high <= 255:
        return array.astype(np.uint8)
    if array.dtype.kind in "iu":
        how = f"of their {low} to {high}, scaled by what their largest possible value is"
    elif low >= 0 and high <= 1:
        how = "as (X * 255).round().astype('uint8')"
    elif low >= 0 and high <= 255:
        how = "as X.round().astype('uint8')"
    else:
        how = "as they were before they were standardised"
    raise UsageError(f"{what}: give uint8, 0 to 255, {how}")


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "alone"
