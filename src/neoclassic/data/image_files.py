"""Opening image files: which formats are read, which files are refused, and why."""

from __future__ import annotations

import ctypes
import functools
import io
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageFile, UnidentifiedImageError, _imaging

from neoclassic.base.errors import NeoclassicError, install
from neoclassic.data.not_images import describe, refusal

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "HEIF", "PPM")
MAX_PIXELS = 67_000_000  # of an image, by default: below Pillow's own limit, so that our error comes first
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")  # ISO/IEC 23008-12

File = str | os.PathLike[str] | BinaryIO

logging.getLogger("PIL").addHandler(logging.NullHandler())  # else what it logs of damaged images reaches the terminal
pillow_lock = threading.Lock()  # warning filters and Pillow's plug-ins belong to the whole process
_limits = [MAX_PIXELS]  # of images, the one that applies last


@contextmanager
def pixel_limit(pixels: int) -> Iterator[None]:
    """Refuse images with more pixels than this, instead of MAX_PIXELS, in all threads until the context ends.

    It is a limit of the process, like Pillow's, against images that would fill the memory.
    """
    before = Image.MAX_IMAGE_PIXELS
    _limits.append(pixels)
    if before is not None:
        Image.MAX_IMAGE_PIXELS = max(before, pixels)
    try:
        yield
    finally:
        _limits.pop()
        Image.MAX_IMAGE_PIXELS = before


def max_pixels() -> int:
    """The pixels that an image may have here."""
    return _limits[-1]


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Return the content of an image file. NeoclassicError, naming the file, if `refusal` refuses it."""
    path = Path(path)
    if reason := refusal(path):
        raise NeoclassicError(f"{path}: {reason}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise NeoclassicError(f"{path}: {error.strerror or error}") from None


def open_image(file: File) -> Image.Image:
    """Decode an image from a path or an open binary file; the first frame if it has several.

    NeoclassicError, naming the file, if `refusal` refuses it, or if it is empty, not an image of a format in FORMATS,
    larger than `max_pixels` (checked in the header, before anything is decoded), truncated or damaged.
    """
    stream, name = open_stream(file)
    return decoded(opened(stream, name), name)


def header(content: bytes, name: str) -> ImageFile.ImageFile:
    """Open an image without decoding its pixels: size, mode and metadata are known. `name` is for error messages."""
    return opened(io.BytesIO(content), name)


def open_stream(file: File) -> tuple[BinaryIO, str]:
    """Return a stream to read the file from, and its name for error messages."""
    if isinstance(file, str | os.PathLike):
        return io.BytesIO(read_file(file)), str(Path(file))
    return file, str(getattr(file, "name", "the image"))


def decoded(image: Image.Image, name: str) -> Image.Image:
    """Decode an image that `opened` has opened. NeoclassicError as from `open_image`."""
    try:
        image.load()
    except Exception as error:  # Pillow's readers raise exceptions of every type
        raise NeoclassicError(f"{name}: {_reason(error)}") from None
    if image.mode in ("P", "PA") and image.palette is None:
        raise NeoclassicError(f"{name}: is damaged: it has no palette")
    return image


def decoders() -> str:
    """Identify what decides which images can be read: Pillow's formats, the version of pillow-heif, and the limit."""
    with pillow_lock:
        Image.init()
        _register_heif()
        version = getattr(sys.modules.get("pillow_heif"), "__version__", "")
        limit = [] if max_pixels() == MAX_PIXELS else [str(max_pixels())]
        return " ".join([*(name for name in FORMATS if name in Image.OPEN), version, *limit])


def is_heif(start: bytes) -> bool:
    """Return whether a file is HEIF (phones call it HEIC), from its first 12 bytes."""
    return start[4:8] == b"ftyp" and start[8:12] in HEIF_BRANDS


def _register_heif() -> None:
    """Let Pillow read HEIF through pillow-heif, if it is installed. The import is slow, so only HEIF files cause it."""
    if "HEIF" not in Image.OPEN:
        try:
            import pillow_heif

            pillow_heif.register_heif_opener()
        except Exception:  # not installed, or the installation is broken: the error message asks for it
            return


def opened(stream: BinaryIO, name: str) -> ImageFile.ImageFile:
    """Open the image of a stream without decoding it. NeoclassicError as from `open_image`."""
    start = stream.read(1024)
    if not start:
        raise NeoclassicError(f"{name}: is empty")
    stream.seek(0)
    too_large = NeoclassicError(f"{name}: {_too_large(max_pixels())}")
    try:
        with pillow_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.init()
            if is_heif(start):
                _register_heif()
            image = Image.open(stream, formats=[f for f in FORMATS if f in Image.OPEN])
    except UnidentifiedImageError:
        raise NeoclassicError(f"{name}: {_unidentified(start)}") from None
    except Image.DecompressionBombError:
        raise too_large from None
    except Exception as error:
        raise NeoclassicError(f"{name}: {_reason(error)}") from None
    if image.width * image.height > max_pixels():
        raise too_large
    if image.format == "TIFF":
        _quiet_libtiff()
    if image.format == "PPM" and (arguments := image.tile[0][3]) and isinstance(arguments[-1], int):
        image.info["maxval"] = arguments[-1]  # Pillow forgets it once it has decoded the image
    return image


@functools.cache
def _quiet_libtiff() -> None:
    """Stop libtiff, which Pillow calls, from printing what is wrong with a file: the exception says it.

    Where Pillow contains libtiff without its names, as on Windows, it goes on printing.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(_imaging.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            function = getattr(library, name)
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
            function(None)


def _too_large(limit: int) -> str:
    return f"has more than {limit / 1e6:g} million pixels: make it smaller first, or raise --max-pixels"


def _unidentified(start: bytes) -> str:
    if is_heif(start):
        if "HEIF" in Image.OPEN:
            return "is a HEIC image that is damaged, or of a kind that pillow-heif cannot read"
        return f"is a HEIC image: run '{install('pillow-heif')}' to read it"
    if start[4:12] in (b"ftypavif", b"ftypavis"):
        if "AVIF" in Image.OPEN:
            return "is an AVIF image that is damaged, or of a kind that Pillow cannot read"
        return "is an AVIF image, which this Pillow cannot read: run 'pip install --upgrade pillow'"
    return describe(start) or "is not an image, or its format is not supported"


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:100] or type(error).__name__
    return "is truncated" if "truncated" in text.lower() else f"is damaged: {text}"
