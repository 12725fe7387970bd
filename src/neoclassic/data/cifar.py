"""The binary version of CIFAR-10: records of one label byte and 3×32×32 pixels, in files or in the published archive.

https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version".
"""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path, PurePosixPath

import numpy as np

from neoclassic.base.errors import NeoclassicError
from neoclassic.data.dataset import Dataset, Splits, check_labels
from neoclassic.data.preprocessing import Array

ARCHIVE = "cifar-10-binary.tar.gz"
FOLDER = "cifar-10-batches-bin"
ROLES: tuple[str, ...] = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
RECORD = 1 + 3 * 32 * 32
MAX_BYTES = 100_000 * RECORD  # per file, ten times the published size
PADDING = 1 << 20  # bytes behind the last file of the archive; tar pads to 10 KB


def find_files(folder: Path) -> dict[str, Path]:
    """Return the files of the data set by name; if only the archive exists, each name maps to it."""
    for parent in (folder, folder / FOLDER):
        files = {role: parent / role for role in ROLES if (parent / role).is_file()}
        if files:
            return files
    archive = folder / ARCHIVE
    return dict.fromkeys(ROLES, archive) if archive.is_file() else {}


def load(folder: Path, name: str, classes: tuple[str, ...], md5: dict[str, str] | None = None) -> Splits:
    """Load the training and test set from a folder. NeoclassicError for missing, damaged or truncated files."""
    files = find_files(folder)
    if missing := [role for role in ROLES if role not in files]:
        raise NeoclassicError(f"{folder}: {missing[0]} is missing")
    archive = next(iter(files.values()))
    try:
        contents = _unpack(archive) if archive.name == ARCHIVE else {r: f.read_bytes() for r, f in files.items()}
    except OSError as error:
        raise NeoclassicError(f"{archive}: {error.strerror or error}") from None
    train = np.concatenate([_records(folder / role, contents[role], classes) for role in ROLES[:-1]])
    test = _records(folder / ROLES[-1], contents[ROLES[-1]], classes)
    return Splits(_dataset(name, train, classes), _dataset(name, test, classes))


def _unpack(path: Path) -> dict[str, bytes]:
    """Return the contents of the files, by name, without writing any. NeoclassicError for a damaged archive."""
    contents = {}
    try:
        with gzip.open(path) as packed, tarfile.open(fileobj=packed, mode="r:") as archive:
            for member in archive:
                path_inside = PurePosixPath(member.name)
                if path_inside.is_absolute() or ".." in path_inside.parts:
                    raise NeoclassicError(f"the name {member.name[:80]!r} points outside its folder")
                if path_inside.name in ROLES:
                    contents[path_inside.name] = _content(archive, member)
            if len(packed.read(PADDING + 1)) > PADDING:  # reading to the end also verifies gzip's checksum
                raise NeoclassicError("there is extra data after its files")
    except NeoclassicError as error:
        raise NeoclassicError(f"{path}: damaged: {error}") from None
    except Exception as error:  # tarfile raises exceptions of every type
        if isinstance(error, OSError) and error.errno:
            raise
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise NeoclassicError(f"{path}: damaged: {reason}") from None
    if missing := [role for role in ROLES if role not in contents]:
        raise NeoclassicError(f"{path}: {missing[0]} is missing")
    return contents


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member) if member.isreg() and member.size <= MAX_BYTES else None
    if file is None:
        raise NeoclassicError(f"{member.name[:80]!r} is not a regular file of at most {MAX_BYTES >> 20} MB")
    return file.read()


def _records(path: Path, contents: bytes, classes: tuple[str, ...]) -> Array:
    if not contents or len(contents) % RECORD:
        raise NeoclassicError(f"{path}: truncated: {len(contents):,} bytes are not a multiple of {RECORD:,}")
    records = np.frombuffer(contents, np.uint8).reshape(-1, RECORD)
    check_labels(str(path), records[:, 0], len(classes))
    return records


def _dataset(name: str, records: Array, classes: tuple[str, ...]) -> Dataset:
    images = np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return Dataset(name, images, records[:, 0].astype(np.int64), classes)
