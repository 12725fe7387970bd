"""IDX files, the format of MNIST and Fashion-MNIST, plain or gzipped.

A file holds a magic number (0, 0, type, number of dimensions), each dimension as a big-endian 32-bit integer, and the
values: http://yann.lecun.com/exdb/mnist/, "The IDX file format". Only unsigned bytes (type 8) are read.
"""

from __future__ import annotations

import hashlib
import zlib
from math import prod
from pathlib import Path

import numpy as np

from neoclassic.base.errors import NeoclassicError
from neoclassic.data.dataset import Dataset, Splits, check_labels
from neoclassic.data.preprocessing import Array
from neoclassic.data.user_text import nfc, read_text

GZIP = b"\x1f\x8b"
UBYTE = 8
MAX_BYTES = 8 << 30  # per file: a header that claims more is wrong or malicious
ROLES: tuple[str, ...] = ("train-images", "train-labels", "test-images", "test-labels")
PREFIXES = {"train": ("train",), "test": ("t10k", "test")}
FILE_NAMES = ("{prefix}-{kind}-idx{ndim}-ubyte", "{prefix}-{kind}.idx{ndim}-ubyte")


def _unpack(data: bytes, n: int) -> tuple[bytes, bool]:
    """Unpack at most the first n bytes of a file. Also return whether the file ends cleanly within them."""
    if not data.startswith(GZIP):
        return data[:n], len(data) <= n
    inflate = zlib.decompressobj(wbits=31)
    values = inflate.decompress(data, n)
    return values, inflate.eof and not inflate.unused_data


def read(path: Path, ndim: int, md5: str | None = None) -> Array:
    """Read an IDX file with `ndim` dimensions as uint8. md5: the checksum that the uncompressed bytes must have.

    NeoclassicError, naming the file, if it cannot be read, is not IDX, is truncated or damaged, or is too long.
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
        if n > MAX_BYTES:
            raise NeoclassicError(
                f"{path}: its header claims {n / 2**30:,.0f} GiB, more than the {MAX_BYTES >> 30} allowed"
            )
        contents, complete = _unpack(data, start + n + 1)
    except OSError as error:
        raise NeoclassicError(f"{path}: {error.strerror or error}") from None
    except zlib.error as error:
        raise NeoclassicError(f"{path}: damaged: {error}") from None
    if len(contents) < start + n:
        raise NeoclassicError(f"{path}: truncated: {len(contents) - start:,} bytes of {n:,}")
    if len(contents) > start + n or not complete:
        raise NeoclassicError(f"{path}: damaged: it does not end after the {n:,} bytes that its header announces")
    if md5 and hashlib.md5(contents, usedforsecurity=False).hexdigest() != md5:
        raise NeoclassicError(f"{path}: damaged: its checksum is wrong")
    return np.frombuffer(contents, np.uint8, offset=start).reshape(shape)


def find_files(folder: Path) -> dict[str, Path]:
    """Return the files in a folder that belong to a data set, by role."""
    files: dict[str, Path] = {}
    for role in ROLES:
        split, kind = role.split("-")
        for prefix in PREFIXES[split]:
            for form in FILE_NAMES:
                name = form.format(prefix=prefix, kind=kind, ndim=3 if kind == "images" else 1)
                for path in (folder / name, folder / f"{name}.gz"):
                    if role not in files and path.is_file():
                        files[role] = path
    return files


def load(folder: Path, name: str, classes: tuple[str, ...] | None = None, md5: dict[str, str] | None = None) -> Splits:
    """Load the training and test set from a folder of four IDX files.

    classes: their names. By default those in the folder's classes.txt, one per line, or, without that file, the labels
    of the training set, which must then be 0 … n − 1 without a gap. NeoclassicError for wrong or missing files.
    """
    files = find_files(folder)
    for role in ROLES:
        if role not in files:
            split, kind = role.split("-")
            name = FILE_NAMES[0].format(prefix=PREFIXES[split][0], kind=kind, ndim=3 if kind == "images" else 1)
            raise NeoclassicError(f"{folder}: the {split} {kind} are missing ({name}, plain or .gz)")
    checksums = md5 or {}
    arrays = {role: read(path, 3 if "images" in role else 1, checksums.get(role)) for role, path in files.items()}
    if classes is None:
        classes = _classes(folder, files["train-labels"], arrays["train-labels"])
    splits = {}
    for split in PREFIXES:
        images, labels = arrays[f"{split}-images"], arrays[f"{split}-labels"]
        if len(images) != len(labels):
            path = files[f"{split}-labels"]
            raise NeoclassicError(f"{path}: {len(images):,} images but {len(labels):,} labels")
        check_labels(str(files[f"{split}-labels"]), labels, len(classes))
        splits[split] = Dataset(name, images[..., None], labels.astype(np.int64), classes)
    return Splits(splits["train"], splits["test"])


def _classes(folder: Path, path: Path, labels: Array) -> tuple[str, ...]:
    """The names in classes.txt, or the labels themselves. `path`: the file of the labels, for errors."""
    listing = folder / "classes.txt"
    if listing.is_file():
        names = tuple(nfc(line.strip()) for line in read_text(listing).split("\n") if line.strip())
        if len(names) <= labels.max(initial=0):
            raise NeoclassicError(f"{listing}: names {len(names)} classes, but labels reach {labels.max(initial=0)}")
        return names
    counts = np.bincount(labels, minlength=1)
    gaps = np.flatnonzero(counts == 0)
    if len(gaps):
        raise NeoclassicError(f"{path}: labels reach {len(counts) - 1}, but no image has label {gaps[0]}")
    return tuple(map(str, range(len(counts))))
