"""Damaged images of every format that is read, and of formats that must never be opened.

A trial damages a valid image, by bytes or in its header, and reads it as a photo is read. It fails if

- it ends in another way than with pixels of the right shape and type, or refused in one line;
- a valid image is refused;
- it takes more than 2 s of processor time, or 10 s if its header says over 16 million pixels, or raises the peak of
  memory by more than 1 GiB;
- Pillow opens it as another format than those of the documentation.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from campaigns.common import Session, minimised, mutated
from campaigns.doors import attempt, silent
from neoclassic.data.preprocessing import Preprocessing, header, read_pixels

READ = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "HEIF", "PPM")
SECONDS, SECONDS_LARGE = 2.0, 10.0  # of processor time
LARGE = 16_000_000  # pixels
FEW = 3  # failures of a kind whose inputs are minimised
RECORDS = (
    Preprocessing((28, 28), 1, fit="pad", invert=True),
    Preprocessing((32, 32), 3, keep=0.875),
    Preprocessing((16, 24), 3, fit="stretch", filter="lanczos"),
)


@dataclass(frozen=True)
class Seed:
    """A valid image file. kind: its format; foreign: whether the format must never be opened."""

    kind: str
    content: bytes
    foreign: bool = False


def run(session: Session) -> None:
    """Read every valid image, then damaged ones while there is time."""
    with silent():
        _run(session)


def _run(session: Session) -> None:
    seeds = [*readable(), *foreign()]
    for seed in seeds:
        fault, refused = _read(seed.content, RECORDS[1], seed.foreign)
        if not fault and refused != seed.foreign:
            fault = "a valid image is refused" if refused else "a foreign image is read"
        _count(session, f"{seed.kind}, valid", fault, refused, seed.content)
    while session.goes_on():
        seed = seeds[session.rng.integers(len(seeds))]
        record = RECORDS[session.rng.integers(len(RECORDS))]
        content = _damaged(seed, session.rng)
        fault, refused = _read(content, record, seed.foreign)
        kind = f"{'foreign' if seed.foreign else seed.kind}, damaged"
        if fault and session.counts[kind].failed < FEW:
            fails = partial(_fails, record=record, is_foreign=seed.foreign)
            content = minimised(content, fails, 3.0)
        _count(session, kind, fault, refused, content)


def _count(session: Session, kind: str, fault: str, refused: bool, content: bytes) -> None:
    if fault:
        session.failed(kind, fault, content=content)
    elif refused:
        session.refused(kind)
    else:
        session.answered(kind)


def _read(content: bytes, record: Preprocessing, is_foreign: bool) -> tuple[str, bool]:
    """What is wrong with how an image is read, if anything, and whether it was refused."""
    opened = attempt(lambda: header(content, "image"), SECONDS)
    if opened.value is not None and (opened.value.format not in READ or is_foreign):
        return f"opened as {opened.value.format}", False
    is_large = opened.value is not None and opened.value.width * opened.value.height > LARGE
    seconds = SECONDS_LARGE if is_large else SECONDS
    outcome = attempt(lambda: read_pixels(io.BytesIO(content), record), seconds)
    if outcome.fault or opened.fault or outcome.refusal:
        return outcome.fault or opened.fault, bool(outcome.refusal)
    if outcome.value.dtype != np.uint8 or outcome.value.shape != (*record.size, record.channels):
        return f"pixels of {outcome.value.dtype} {outcome.value.shape}", False
    return "", False


def _fails(content: bytes, record: Preprocessing, is_foreign: bool) -> bool:
    return bool(_read(content, record, is_foreign)[0])


# ── damage ───────────────────────────────────────────────────────────────────────────────────────────

NUMBERS = (0, 1, 2, 255, 8191, 20_000, 32_767, 65_535, 65_536, 1 << 26, (1 << 31) - 1, (1 << 32) - 1)
HEAD = 160  # bytes in which most headers say size and depth


def _damaged(seed: Seed, rng: np.random.Generator) -> bytes:
    """The image with bytes damaged anywhere, or a number of its header replaced. Checksums of PNG are often mended."""
    if rng.random() < 0.6:
        content = mutated(seed.content, rng)
    else:
        place = int(rng.integers(min(len(seed.content), HEAD)))
        number, order = NUMBERS[rng.integers(len(NUMBERS))], "<>"[rng.integers(2)]
        size = int(rng.choice([1, 2, 4]))
        packed = struct.pack(order + {1: "B", 2: "H", 4: "I"}[size], number & ((1 << 8 * size) - 1))
        content = seed.content[:place] + packed + seed.content[place + size :]
    return _mended_png(content) if rng.random() < 0.7 else content


def _mended_png(content: bytes) -> bytes:
    """The content with the right checksums, if it is PNG, so that its decoder sees the damage."""
    if not content.startswith(b"\x89PNG"):
        return content
    data, place = bytearray(content), 8
    while place + 12 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4], "big")
        if end + 4 > len(data):
            break
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[place + 4 : end]))
        place = end + 4
    return bytes(data)


# ── valid images ─────────────────────────────────────────────────────────────────────────────────────


def readable() -> Iterator[Seed]:
    """Images of every format that this Pillow writes, and of each of their kinds."""
    images = _modes()
    rgb, grey, palette = images["RGB"], images["L"], images["P"]
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode in ("RGB", "L", "CMYK"):
        yield from _saved("JPEG", images[mode], quality=80)
        yield from _saved("JPEG", images[mode], progressive=True, exif=exif.tobytes())
    for mode in ("RGB", "L", "RGBA", "P", "1", "LA", "I;16"):
        yield from _saved("PNG", images[mode])
    yield from _saved("PNG", palette, transparency=3)
    yield from _saved("PNG", rgb, save_all=True, append_images=[grey.convert("RGB")], exif=exif.tobytes())
    yield from _saved("GIF", palette)
    yield from _saved("GIF", palette, save_all=True, append_images=[grey.convert("P")], transparency=1)
    for mode in ("RGB", "L", "RGBA", "P", "1", "CMYK", "I;16", "LA"):
        yield from _saved("TIFF", images[mode])
        yield from _saved("TIFF", images[mode], compression="tiff_lzw")
    for compression in ("tiff_deflate", "packbits", "jpeg"):
        yield from _saved("TIFF", rgb, compression=compression, exif=exif.tobytes())
    yield from _saved("TIFF", images["1"], compression="group4")
    for lossless in (True, False):
        yield from _saved("WEBP", images["RGBA"], lossless=lossless)
    yield from _saved("WEBP", rgb, save_all=True, append_images=[rgb.rotate(90)])
    for mode in ("RGB", "L", "P", "1", "RGBA"):
        yield from _saved("BMP", images[mode])
        yield from _saved("DIB", images[mode])
    for mode in ("RGB", "L", "1", "I;16"):
        yield from _saved("PPM", images[mode])
    yield Seed("PPM", b"P3\n# c\n4 4 255\n" + b" ".join(b"%d" % (i * 5) for i in range(48)))
    yield Seed("PPM", b"P2\n4 4 15\n" + b"1 " * 16)
    yield from _saved("AVIF", rgb)
    yield from _saved("MPO", rgb, save_all=True, append_images=[rgb])


def _modes() -> dict[str, Image.Image]:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
    rgb = small.resize((40, 30), Image.Resampling.BICUBIC)
    images = {mode: rgb.convert(mode) for mode in ("RGB", "L", "RGBA", "P", "1", "CMYK", "LA")}
    images["RGBA"].putalpha(images["L"])
    images["I;16"] = Image.fromarray(rng.integers(0, 4096, (20, 24)).astype(np.uint16))
    images["F"] = Image.fromarray(rng.random((9, 9), np.float32))
    return images


def _saved(kind: str, image: Image.Image, is_foreign: bool = False, **options: object) -> Iterator[Seed]:
    """The file of an image; nothing if this Pillow cannot write it."""
    file = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that a later Pillow drops
            image.save(file, kind, **options)
    except (OSError, KeyError, ValueError, AttributeError):
        return
    yield Seed(kind, file.getvalue(), is_foreign)


def foreign() -> Iterator[Seed]:
    """Files that Pillow could open, and some that start other programs, but that are no photos here."""
    images = _modes()
    Image.init()
    for kind in sorted(set(Image.SAVE) - set(READ)):
        mode = {"XBM": "1", "MSP": "1", "SPIDER": "F"}.get(kind, "RGB")
        yield from _saved(kind, images[mode], is_foreign=True)
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    yield Seed("EPS", page, True)
    yield Seed("EPS", b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 32, len(page)) + bytes(20) + page, True)
    yield Seed("PSD", b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 16, 16, 8, 3) + bytes(14) + bytes(800), True)
    yield Seed("XPM", b'/* XPM */\nstatic char *a[] = {"1 1 1 1", "a c #ffffff", "a"};', True)
    yield Seed("WMF", b"\xd7\xcd\xc6\x9a" + bytes(60), True)
    yield Seed("FITS", b"SIMPLE  =                    T" + b" " * 3000, True)
    yield Seed("SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:1/x"/></svg>', True)
