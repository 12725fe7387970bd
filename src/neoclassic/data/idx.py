"""IDX files, the format of MNIST and its kin, plain or gzipped, read strictly.

A magic number (0, 0, type, dimensions), each dimension as a big-endian 32-bit integer, then the values:
http://yann.lecun.com/exdb/mnist/, "The IDX file format". Here the values are unsigned bytes (type 8).
"""

from __future__ import annotations

import hashlib
import zlib
from math import prod
from pathlib import Path

import numpy as np

from neoclassic.base.errors import NeoclassicError
from neoclassic.data.dataset import Dataset, Splits, check_labels
from neoclassic.data.given import read_text, same
from neoclassic.data.preprocessing import Array

GZIP = b"\x1f\x8b"
UBYTE = 8
LIMIT = 8 << 30  # bytes that one file may hold: a header that claims more is a lie or a bomb
ROLES: tuple[str, ...] = ("train-images", "train-labels", "test-images", "test-labels")
PARTS = {"train": ("train",), "test": ("t10k", "test")}
FORMS = ("{part}-{kind}-idx{ndim}-ubyte", "{part}-{kind}.idx{ndim}-ubyte")


def _unpack(data: bytes, n: int) -> tuple[bytes, bool]:
    """The first n bytes of a file, unpacking no more than those, and whether it ends cleanly within them."""
    if not data.startswith(GZIP):
        return data[:n], len(data) <= n
    inflate = zlib.decompressobj(wbits=31)
    values = inflate.decompress(data, n)
    return values, inflate.eof and not inflate.unused_data


def read(path: Path, ndim: int, md5: str | None = None) -> Array:
    """The uint8 array of an IDX file of `ndim` dimensions. `md5`: what the uncompressed bytes must have.

    NeoclassicError, naming the file: unreadable, not IDX, truncated, damaged, or with surplus bytes.
    """
    start, magic = 4 + 4 * ndim, bytes((0, 0, UBYTE, ndim))
    try:
        data = path.read_bytes()
        header, _ = _unpack(data, start)
        if len(header) >= 4 and header[:4] != magic:
            raise NeoclassicError(f"{path}: wrong magic number 0x{header[:4].hex()}, not 0x{magic.hex()}")
        if len(header) < start:
            raise NeoclassicError(f"{path}: truncated: it ends inside the header")
        shape = tuple(int.from_bytes(header[i : i + 4], "big") for i in range(4, start, 4))
        n = prod(shape)
        if n > LIMIT:
            raise NeoclassicError(
                f"{path}: its header claims {n / 2**30:,.0f} GiB, more than the {LIMIT >> 30} allowed"
            )
        contents, complete = _unpack(data, start + n + 1)
    except OSError as error:
        raise NeoclassicError(f"{path}: {error.strerror or error}") from None
    except zlib.error as error:
        raise NeoclassicError(f"{path}: damaged: {error}") from None
    if len(contents) < start + n:
        raise NeoclassicError(f"{path}: truncated: {len(contents) - start:,} bytes of {n:,}")
    if len(contents) > start + n or not complete:
        raise NeoclassicError(f"{path}: does not end after the {n:,} bytes that its header announces")
    if md5 and hashlib.md5(contents, usedforsecurity=False).hexdigest() != md5:
        raise NeoclassicError(f"{path}: damaged: its checksum is wrong")
    return np.frombuffer(contents, np.uint8, offset=start).reshape(shape)


def find(folder: Path) -> dict[str, Path]:
    """The files of a folder that are part of a data set, by role."""
    found: dict[str, Path] = {}
    for role in ROLES:
        part, kind = role.split("-")
        for prefix in PARTS[part]:
            for form in FORMS:
                name = form.format(part=prefix, kind=kind, ndim=3 if kind == "images" else 1)
                for path in (folder / name, folder / f"{name}.gz"):
                    if role not in found and path.is_file():
                        found[role] = path
    return found


def load(folder: Path, name: str, classes: tuple[str, ...] | None = None, md5: dict[str, str] | None = None) -> Splits:
    """Training and test set of a folder of four IDX files.

    classes: their names; else those of the folder's classes.txt, one a line; else the labels of the training
    set, which must then be 0 … n − 1 without a gap. NeoclassicError for files that are wrong or missing.
    """
    files = find(folder)
    for role in ROLES:
        if role not in files:
            part, kind = role.split("-")
            wanted = FORMS[0].format(part=PARTS[part][0], kind=kind, ndim=3 if kind == "images" else 1)
            raise NeoclassicError(f"{folder}: the {part} {kind} are missing ({wanted}, plain or .gz)")
    sums = md5 or {}
    arrays = {role: read(path, 3 if "images" in role else 1, sums.get(role)) for role, path in files.items()}
    if classes is None:
        classes = _classes(folder, files["train-labels"], arrays["train-labels"])
    parts = {}
    for part in PARTS:
        images, labels = arrays[f"{part}-images"], arrays[f"{part}-labels"]
        if len(images) != len(labels):
            path = files[f"{part}-labels"]
            raise NeoclassicError(f"{path}: {len(images):,} images but {len(labels):,} labels")
        check_labels(str(files[f"{part}-labels"]), labels, len(classes))
        parts[part] = Dataset(name, images[..., None], labels.astype(np.int64), classes)
    return Splits(parts["train"], parts["test"])


def _classes(folder: Path, path: Path, labels: Array) -> tuple[str, ...]:
    listing = folder / "classes.txt"
    if listing.is_file():
        names = tuple(same(line.strip()) for line in read_text(listing).split("\n") if line.strip())
        if len(names) <= labels.max(initial=0):
            raise NeoclassicError(f"{listing}: names {len(names)} classes, but labels reach {labels.max(initial=0)}")
        return names
    present = np.bincount(labels, minlength=1)
    gaps = np.flatnonzero(present == 0)
    if len(gaps):
        raise NeoclassicError(f"{path}: labels reach {len(present) - 1}, but no image has label {gaps[0]}")
    return tuple(map(str, range(len(present))))
