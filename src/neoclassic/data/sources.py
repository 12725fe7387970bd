"""Data sets by name: what they contain, where they are searched for, and where they are downloaded from.

`load` searches the given folder, the package, the user's cache and Debian's data-set folders, in this order. If the
data set is in none of them, it is downloaded into the cache.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from neoclassic.base.errors import NeoclassicError, UsageError, unknown
from neoclassic.base.files import expanded
from neoclassic.data import cache, cifar, idx
from neoclassic.data.dataset import Splits
from neoclassic.data.folders import Folder, scan
from neoclassic.data.user_text import nfc

DEBIAN = Path("/usr/share/datasets")
PACKAGE = Path(__file__).parent


class Reader(Protocol):
    """A module that reads a file format: `find_files` finds its files in a folder, by role, and `load` reads them."""

    ROLES: tuple[str, ...]

    def find_files(self, folder: Path) -> dict[str, Path]: ...

    def load(self, folder: Path, name: str, classes: tuple[str, ...], md5: dict[str, str] | None = None) -> Splits: ...


@dataclass(frozen=True)
class Source:
    """A data set that has a name.

    shape     channels, height and width of an image
    classes   in the order of the labels
    about     what the images show, in a few words
    reader    of its files
    aliases   other names of its folder, such as torchvision's
    packaged  its folder inside the package; empty if it is not shipped
    md5       checksums of the packaged files, uncompressed, by role
    files     to download: the name and MD5 of each
    mirrors   URLs to which the file names are appended, in the order in which they are tried
    labels    MD5 of the test labels, one byte each: files of another data set with the same names differ in it
    """

    name: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    about: str
    reader: Reader = idx
    aliases: tuple[str, ...] = ()
    packaged: str = ""
    md5: dict[str, str] = field(default_factory=dict)
    files: tuple[tuple[str, str], ...] = ()
    mirrors: tuple[str, ...] = ()
    labels: str = ""


_SOURCES = (
    Source(
        "fashion-mnist",
        (1, 28, 28),
        ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
        "70,000 articles of clothing; Xiao et al. 2017, arXiv 1708.07747",
        aliases=("FashionMNIST",),
        packaged="fashion_mnist",
        md5={
            "train-images": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "train-labels": "9018921c3c673c538a1fc5bad174d6f9",
            "test-images": "8181f5470baa50b63fa0f6fddb340f0a",
            "test-labels": "15d484375f8d13e6eb1aabb0c3f46965",
        },
        labels="8dea97a4e78c1bd1b5a6e8efbb870b6e",
    ),
    Source(
        "mnist",
        (1, 28, 28),
        tuple("0123456789"),
        "70,000 handwritten digits; LeCun et al. 1998",
        aliases=("MNIST",),
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
        labels="073c3904dfbd3e141ff8aa01cfde6b15",
    ),
    Source(
        "cifar-10",
        (3, 32, 32),
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        "60,000 small photos; Krizhevsky 2009",
        reader=cifar,
        aliases=("CIFAR10",),
        files=(("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),),
        mirrors=("https://www.cs.toronto.edu/~kriz/",),
    ),
)
SOURCES = {source.name: source for source in _SOURCES}


def load(name: str, data_dir: str | os.PathLike[str] | None = None) -> Splits:
    """Load a data set by its name, or from the folder of arrays at that path.

    data_dir: a folder to search first. NeoclassicError, listing the searched folders, if the data set is not found;
    UsageError for an unknown name, a folder that does not exist, or one that holds another data set in files of the
    same names.
    """
    if name not in SOURCES:
        path = expanded(name)
        if not path.is_dir():
            raise _no_such(name)
        if len(cifar.find_files(path)) == len(cifar.ROLES):
            return cifar.load(path, "cifar-10", SOURCES["cifar-10"].classes)
        return idx.load(path, path.resolve().name)
    source = SOURCES[name]
    if data_dir is not None and not expanded(data_dir).is_dir():
        raise UsageError(f"no data folder {os.fspath(data_dir)!r}")
    given = [] if data_dir is None else list(_candidates(expanded(data_dir), source))
    packaged = [PACKAGE / source.packaged] if source.packaged else []
    folders = [*given, *_places(source)]
    for folder in folders:
        files = source.reader.find_files(folder)
        if len(files) == len(source.reader.ROLES) or (files and folder in given):
            splits = source.reader.load(folder, name, source.classes, source.md5 if folder in packaged else None)
            _check_that_it_is(source, splits, folder)
            return splits
    return source.reader.load(_download(source, folders), name, source.classes)


def _check_that_it_is(source: Source, splits: Splits, folder: Path) -> None:
    """UsageError if the files are those of another data set."""
    labels = hashlib.md5(splits.test.labels.astype(np.uint8).tobytes(), usedforsecurity=False).hexdigest()
    for other in _SOURCES:
        if other is not source and labels == other.labels:
            name = other.name
            raise UsageError(f"{folder} holds {name}, not {source.name}: use --data {name}, or another --data-dir")


def present(name: str) -> bool:
    """Whether the data set of a name is on this machine, so that `load` downloads nothing."""
    source = SOURCES[name]
    return any(len(source.reader.find_files(place)) == len(source.reader.ROLES) for place in _places(source))


def _places(source: Source) -> list[Path]:
    """Where a data set may be: in the package, in the user's cache, in Debian's folder."""
    packaged = [PACKAGE / source.packaged] if source.packaged else []
    cached = cache.path(source.name)
    return [*packaged, *([cached] if cached else []), DEBIAN / source.name]


def open_dataset(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
    validation: float = 0.0,
    seed: int = 0,
    test: float | None = None,
    split_seed: int | None = None,
) -> Splits | Folder:
    """Open any data set: as `load` does, or as a `Folder` if the path is a folder of photos or a CSV table.

    Both results have `classes`, `preprocessing(size)`, `split(name, preprocessing)` and `prepare(preprocessing)`.
    The other arguments are those of `folders.scan`; for arrays, only `classes` is used, and must be those of the data.
    UsageError for `test` where there is a test set.
    """
    if is_photos(name):
        return scan(name, classes, validation, seed, test, split_seed)
    if test is not None:
        raise UsageError(f"{name} has a test set of its own: leave out --test")
    splits = load(name, data_dir)
    if classes is not None and [*map(nfc, splits.classes)] != [*map(nfc, classes)]:
        theirs, ours = ", ".join(splits.classes[:10]), ", ".join(classes[:10])
        raise NeoclassicError(f"the classes of {splits.train.name} ({theirs}) are not the model's ({ours})")
    return splits


def is_photos(name: str) -> bool:
    """Return whether a name is the path of a folder or table of photos, not a data set or a folder of arrays."""
    path = expanded(name)
    return name not in SOURCES and path.exists() and not (idx.find_files(path) or cifar.find_files(path))


def _no_such(name: str) -> UsageError:
    if len(Path(name).parts) > 1 or Path(name).exists():
        return UsageError(f"no data folder {name!r}")
    return unknown("data set", name, SOURCES)


def _candidates(folder: Path, source: Source) -> Iterator[Path]:
    """The folders in which a data set may be, if users name `folder`."""
    for candidate in (*(folder / name for name in (source.name, *source.aliases)), folder):
        yield candidate
        yield candidate / "raw"


def _download(source: Source, searched: list[Path]) -> Path:
    """Download a data set into the cache, and return its folder."""
    from neoclassic.data.download import DownloadError, fetch

    folder = cache.folder() / source.name
    try:
        for name, md5 in source.files:
            if not (folder / name).is_file():
                fetch(name, source.mirrors, folder, md5)
    except DownloadError as error:
        places = ", ".join(str(path) for path in searched if path.name != "raw")
        raise NeoclassicError(
            f"{source.name} is not on this machine (searched {places}) and cannot be downloaded ({error}): "
            f"put {', '.join(name for name, _ in source.files)} into {folder}, or name their folder with --data-dir"
        ) from None
    return folder
