"""Data sets by name: what they are called, where they are looked for, and what they are fetched from.

`load` looks in the folder given, in the package, in the user's cache and in Debian's data-set folders, in
this order; only then it downloads, into the cache.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from neoclassic.data import cache, idx
from neoclassic.data.dataset import Splits
from neoclassic.errors import NeoclassicError, UsageError, unknown

DEBIAN = Path("/usr/share/datasets")
PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Source:
    """A data set that has a name.

    shape    of an image: channels, height, width
    classes  in the order of the labels
    about    what the images show, in a few words
    packaged its folder inside the package, empty when it is not shipped
    md5      of the packaged files, uncompressed, by role
    files    to download: the name of each and its MD5
    mirrors  addresses that the files' names are appended to, in the order they are tried
    """

    name: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    about: str
    packaged: str = ""
    md5: dict[str, str] = field(default_factory=dict)
    files: tuple[tuple[str, str], ...] = ()
    mirrors: tuple[str, ...] = ()


_SOURCES = (
    Source(
        "fashion-mnist",
        (1, 28, 28),
        ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
        "70,000 articles of clothing; Xiao et al. 2017, arXiv 1708.07747",
        packaged="fashion_mnist",
        md5={
            "train-images": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "train-labels": "9018921c3c673c538a1fc5bad174d6f9",
            "test-images": "8181f5470baa50b63fa0f6fddb340f0a",
            "test-labels": "15d484375f8d13e6eb1aabb0c3f46965",
        },
    ),
    Source(
        "mnist",
        (1, 28, 28),
        tuple("0123456789"),
        "70,000 handwritten digits; LeCun et al. 1998",
        files=(
            ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
            ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
            ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
        ),
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
    ),
)
SOURCES = {source.name: source for source in _SOURCES}


def load(name: str, data_dir: str | os.PathLike[str] | None = None) -> Splits:
    """The data set of that name, or the one of the folder at that path.

    data_dir: a folder to look in first. NeoclassicError when it is nowhere, with the places looked at;
    UsageError for a name or folder that cannot be.
    """
    if name not in SOURCES:
        path = Path(name).expanduser()
        if path.is_dir():
            return idx.load(path, path.resolve().name)
        if path.parent != Path() or path.exists():
            raise UsageError(f"no data folder {name!r}")
        raise unknown("data set", name, SOURCES)
    source = SOURCES[name]
    if data_dir is not None and not Path(data_dir).expanduser().is_dir():
        raise UsageError(f"no data folder {os.fspath(data_dir)!r}")
    places = list(_places(source, data_dir))
    for place in places:
        if idx.find(place):
            return idx.load(place, name, source.classes, source.md5 if place.parent == PACKAGE else None)
    raise NeoclassicError(f"{name} is in none of {', '.join(map(str, places))}")


def _places(source: Source, data_dir: str | os.PathLike[str] | None) -> Iterator[Path]:
    if data_dir is not None:
        given = Path(data_dir).expanduser()
        yield given
        for name in (source.name, source.name.replace("-", "_"), source.name.upper(), "FashionMNIST"):
            yield given / name
    if source.packaged:
        yield PACKAGE / source.packaged
    yield cache.folder() / source.name
    yield DEBIAN / source.name
