"""From any decoded image to upright 8-bit grey or RGB pixels: orientation, bit depth, transparency, colour mode."""

from __future__ import annotations

import warnings

import numpy as np
from PIL import Image

from neoclassic.base.errors import NeoclassicError
from neoclassic.data.image_files import pillow_lock

BITS_PER_SAMPLE, MAX_SAMPLE_VALUE = 258, 281  # TIFF tags
ORIENTATION = 0x0112  # EXIF tag
UPRIGHT = {  # the operation that undoes each orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
DEPTHS = (8, 10, 12, 14, 16)  # bits that the values of a 16- or 32-bit grey image may use: see `bit_depth`


def upright_8bit(image: Image.Image, channels: int) -> Image.Image:
    """Turn any image upright and convert it to 8-bit grey (1 channel) or RGB (3 channels).

    Transparent images are blended over white. NeoclassicError for pixels without a known range.
    """
    return _to_mode(_upright(_to_8bit(image), orientation(image)), "L" if channels == 1 else "RGB")


def full_size(image: Image.Image, channels: int) -> np.ndarray:
    """`upright_8bit` of an image at its own size, as uint8 H×W×C."""
    image = upright_8bit(image, channels)
    return np.asarray(image).reshape(image.height, image.width, channels)


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if there is none. Decodes no pixels."""
    try:
        with pillow_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = int(Image.Image.getexif(image).get(ORIENTATION, 1))  # PNG's override would decode the image
    except Exception:  # a broken EXIF block says nothing about the image
        return 1
    return value if value in UPRIGHT else 1


def bit_depth(image: Image.Image) -> int:
    """Return how many bits the values of a 16- or 32-bit grey image use: black is 0, white is 2^depth − 1.

    Files say how many bits store a value, but rarely how many of them are used: detectors and cameras fill 10, 12 or
    14 of 16. So the depth is the smallest of DEPTHS that holds both the largest value in the image and the largest
    value that its header declares: a TIFF's BitsPerSample if below 16, its MaxSampleValue, or a PGM's maxval if below
    65535. (PNG's sBIT does not count, because its values are scaled to 16 bits anyway.) The depth depends on the file
    alone, so every program gets the same pixels. The price: if the header declares nothing (see `guessed_depth`), an
    image whose brightest value is below a quarter of its true white becomes 4 times brighter for each step in DEPTHS.

    NeoclassicError for values below 0 or above 65535.
    """
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise NeoclassicError("has 32-bit pixels: convert it to 8 or 16 bits first")
    largest = max(int(values.max()), _declared_maximum(image))
    return next(bits for bits in DEPTHS if largest >> bits == 0)


def guessed_depth(image: Image.Image) -> int | None:
    """Return the `bit_depth` of a decoded image if it is guessed from the largest value and below 16, else None."""
    if not image.mode.startswith("I") or _declared_maximum(image):
        return None
    bits = bit_depth(image)
    return bits if bits < DEPTHS[-1] else None


def _declared_maximum(image: Image.Image) -> int:
    """The largest value that the header allows, at most 65535; 0 if it does not say."""
    if image.format == "PPM":  # Pillow scales its values to 16 bits
        return 0xFFFF if image.info.get("maxval", 0xFFFF) < 0xFFFF else 0
    bits, largest = (_tiff_tag(image, tag) for tag in (BITS_PER_SAMPLE, MAX_SAMPLE_VALUE))
    return min(max(largest, (1 << bits) - 1 if bits < 16 else 0), 0xFFFF)


def _tiff_tag(image: Image.Image, tag: int) -> int:
    """The value of a TIFF tag; 0 if it is missing or not a positive integer."""
    value = getattr(image, "tag_v2", {}).get(tag)
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, int) and value > 0 else 0


def _to_8bit(image: Image.Image) -> Image.Image:
    """Scale a 16- or 32-bit grey image to 8 bits, rounding; the white of `bit_depth` becomes 255."""
    if image.mode == "F":
        raise NeoclassicError("has floating-point pixels: convert it to 8 or 16 bits first")
    if not image.mode.startswith("I"):
        return image
    white = (1 << bit_depth(image)) - 1
    table = ((np.arange(white + 1, dtype=np.uint32) * 255 + white // 2) // white).astype(np.uint8)
    return Image.fromarray(table[np.asarray(image)])


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    operation = UPRIGHT.get(orientation)
    return image if operation is None else image.transpose(operation)


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Convert to 8-bit "L" or "RGB", blending transparency over white."""
    try:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image if image.mode == mode else image.convert(mode)
    except ValueError:
        raise NeoclassicError(f"has the colour mode {image.mode}: convert it to RGB first") from None
