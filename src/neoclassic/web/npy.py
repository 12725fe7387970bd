"""Images and probabilities as arrays in NumPy's own format, the `.npy` file, as the body of a request or an answer."""

from __future__ import annotations

import io
import math
import tokenize
from typing import Any

import numpy as np
from numpy.lib import format as numpy_format

from neoclassic.data.arrays import dimensions
from neoclassic.engines.contract import Array
from neoclassic.web.intake import Limits
from neoclassic.web.responses import Refusal

MEDIA_TYPE = "application/x-npy"
HEADERS: dict[Any, Any] = {(1, 0): numpy_format.read_array_header_1_0, (2, 0): numpy_format.read_array_header_2_0}


def images_of(body: bytes, limits: Limits) -> Array:
    """The images in a body, uint8 N×H×W×C or N×H×W, as N×H×W×C that shares its memory. Refusal for any other body."""
    stream = io.BytesIO(body)
    try:
        shape, columns_first, dtype = HEADERS[numpy_format.read_magic(stream)](stream)
    except (ValueError, KeyError, TypeError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError):
        raise Refusal(400, "the body is not an array in NumPy's format: write it with numpy.save") from None
    fits = len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))
    if dtype != np.uint8 or not fits or min(shape) < 1:
        expected = "uint8 N×H×W, N×H×W×1 or N×H×W×3"
        raise Refusal(400, f"the images are {str(dtype)[:40]} {dimensions(shape)[:40]}: send {expected}")
    n, height, width = shape[:3]
    if n > limits.queue:
        raise Refusal(400, f"{n:,} images in one request: send at most {limits.queue:,}")
    if height * width > limits.pixels:
        raise Refusal(400, f"images of {height * width:,} pixels: the limit is {limits.pixels:,}")
    start, promised = stream.tell(), math.prod(shape)
    if (there := len(body) - start) != promised:
        raise Refusal(400, f"the body has {there:,} bytes of pixels, but its header says {promised:,}")
    pixels = np.frombuffer(body, np.uint8, offset=start).reshape(shape, order="F" if columns_first else "C")
    return pixels if pixels.ndim == 4 else pixels[..., None]


def body_of(array: Array) -> bytes:
    """An array as the content of an `.npy` file."""
    stream = io.BytesIO()
    numpy_format.write_array(stream, array, allow_pickle=False)
    return stream.getvalue()
