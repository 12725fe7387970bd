"""Doors to data: IDX and CIFAR files, tables of photos, and what the cache keeps of photos and settings."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import struct
import tarfile
import time
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from campaigns.common import idx_file, mutated
from campaigns.doors import Door
from campaigns.doors.runs import changed_json
from neoclassic.base.errors import NeoclassicError
from neoclassic.data import Preprocessing, cache, cifar, file_info, idx, scan
from neoclassic.data.dataset import Splits
from neoclassic.engines import Speed
from neoclassic.train import tuned

# ── IDX ──────────────────────────────────────────────────────────────────────────────────────────────


def idx_files(work: Path) -> Iterator[Door]:
    """Images and labels, plain and compressed. Compressed ones have gzip's checksum, published ones an MD5."""
    folder = work / "idx"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, n in (("train", 12), ("t10k", 6)):
        (folder / f"{split}-images-idx3-ubyte").write_bytes(idx_file(rng.integers(0, 256, (n, 4, 5))))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(idx_file(np.arange(n) % 3))
    images = (folder / "train-images-idx3-ubyte").read_bytes()
    md5 = hashlib.md5(images, usedforsecurity=False).hexdigest()

    def whole(path: Path) -> Any:
        return _data(idx.load(path.parent, "trial"))

    def compressed(path: Path) -> Any:
        return idx.read(path, 3)

    def published(path: Path) -> Any:
        return idx.read(path, 3, md5)

    for name in ("train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        yield Door(f"idx {name[:12]}", folder / name, (folder / name).read_bytes(), whole, edits=(_other_shape,))
    packed = gzip.compress(images, mtime=0)
    yield Door("idx gz", folder / "other.gz", packed, compressed, (mutated, _packed), proves=True)
    yield Door("idx with md5", folder / "other", images, published, (mutated, _other_shape), proves=True)


def _other_shape(content: bytes, rng: np.random.Generator) -> bytes:
    """Another number of dimensions, or one dimension changed."""
    place = 4 * int(rng.integers(1 + content[3]))
    sizes = (0, 1, 2, 3, 255, 1 << 16, 1 << 31, (1 << 32) - 1)
    other = bytes((0, 0, 8, rng.integers(6))) if not place else struct.pack(">I", sizes[rng.integers(len(sizes))])
    return content[:place] + other + content[place + 4 :]


def _packed(content: bytes, rng: np.random.Generator) -> bytes:
    """The end of the packed file changed: checksum, length, bytes behind it."""
    return content[:-8] + mutated(content[-8:], rng)


def _data(splits: Splits) -> Any:
    for part in (splits.train, splits.test):
        assert part.images.dtype == np.uint8, part.images.dtype
        assert part.images.ndim == 4, part.images.shape
        assert len(part.images) == len(part.labels), "images and labels do not match"
        assert not len(part.labels) or 0 <= part.labels.min() <= part.labels.max() < len(part.classes), "labels"
    return [(part.images, part.labels, part.classes) for part in (splits.train, splits.test)]


# ── CIFAR ────────────────────────────────────────────────────────────────────────────────────────────


def cifar_files(work: Path) -> Iterator[Door]:
    """A file of records, and the archive of all of them, which has gzip's checksum."""
    rng, classes = np.random.default_rng(0), tuple("0123456789")
    records = {role: _records(rng, 2) for role in cifar.ROLES}
    folder = work / "cifar" / "files"
    folder.mkdir(parents=True)
    for role, content in records.items():
        (folder / role).write_bytes(content)

    def opened(path: Path) -> Any:
        return _data(cifar.load(path.parent, "trial", classes))

    yield Door("cifar", folder / cifar.ROLES[2], records[cifar.ROLES[2]], opened)
    archive = work / "cifar" / "archive" / cifar.ARCHIVE
    archive.parent.mkdir()
    content = _archive(records)
    archive.write_bytes(content)
    yield Door("cifar archive", archive, content, opened, (mutated, _packed), True, (_member,))


def _records(rng: np.random.Generator, n: int) -> bytes:
    return b"".join(bytes([rng.integers(10)]) + rng.bytes(cifar.RECORD - 1) for _ in range(n))


def _archive(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{cifar.FOLDER}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), 1, mtime=0)


def _member(content: bytes, rng: np.random.Generator) -> bytes:
    """The archive inside changed near the head of a member, and packed again with the checksum that fits."""
    inside = gzip.decompress(content)
    size = 512 + -(-2 * cifar.RECORD // 512) * 512
    start = size * int(rng.integers(len(cifar.ROLES)))
    return gzip.compress(inside[:start] + mutated(inside[start : start + 512], rng) + inside[start + 512 :], 1, mtime=0)


# ── photos ───────────────────────────────────────────────────────────────────────────────────────────


def tables_of_photos(work: Path) -> Iterator[Door]:
    """A CSV table."""
    _photos(work / "tables")
    rows = [f"{name}/{i}.png,{name},{('train', 'val', 'test')[i % 3]}" for name in ("ants", "bees") for i in range(3)]
    table = work / "tables" / "photos.csv"
    table.write_text("path,label,split\n" + "\n".join(rows) + "\n", "utf-8")

    def opened(path: Path) -> Any:
        folder = scan(path)
        assert all(0 <= photo.label < len(folder.classes) for photo in folder.photos), "labels"
        return folder.classes, [(name, [(str(p.path), p.label) for p in part]) for name, part in folder.splits.items()]

    yield Door("csv table", table, table.read_bytes(), opened, edits=(_row,))


def _row(content: bytes, rng: np.random.Generator) -> bytes:
    """One cell, or all ends of lines, replaced by odd ones."""
    odd = (
        b"",
        b'"',
        b'"a\nb"',
        b"\0",
        b"\xe9",
        b"x" * 70_000,
        b"/proc/self/mem",
        b"..",
        b"~",
        b"\x1b[31m",
        b"$^$",
        b";",
    )
    if rng.random() < 0.2:
        ends = (b"\r", b"\r\n", b"\n\n", b"\0\n", b"\xe2\x80\xa8")
        return content.replace(b"\n", ends[rng.integers(len(ends))])
    if rng.random() < 0.1:
        return content.decode().encode(["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"][rng.integers(4)])
    rows = [line.split(b",") for line in content.splitlines()]
    row = rows[rng.integers(len(rows))]
    row[rng.integers(len(row))] = odd[rng.integers(len(odd))]
    return b"\n".join(map(b",".join, rows))


def _photos(root: Path) -> None:
    """Three small photos in each of two classes."""
    rng = np.random.default_rng(0)
    for name in ("ants", "bees"):
        (root / name).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(rng.integers(0, 256, (7, 9, 3), np.uint8)).save(root / name / f"{i}.png")


# ── the cache ────────────────────────────────────────────────────────────────────────────────────────


def decoded_photos(work: Path) -> Iterator[Door]:
    """The files of the cache of decoded photos: whatever they hold, the photos must come out."""
    root, p = work / "garden", Preprocessing((6, 6), 3)
    _photos(root)
    before = set(cache.folder().glob("decoded/*"))

    def opened(_path: Path) -> Any:
        part = scan(root).split("all", p)
        assert part is not None
        return np.array(part.images), part.labels, part.skipped

    opened(root)
    (entry,) = set(cache.folder().glob("decoded/*")) - before
    for name in ("images.npy", "skipped.json"):
        edits = (changed_json,) if name == "skipped.json" else ()
        damages = (mutated, *edits)
        yield Door(f"decoded {name}", entry / name, (entry / name).read_bytes(), opened, damages, proves=True)


def changed_line(content: bytes, rng: np.random.Generator) -> bytes:
    """JSON values changed in one line."""
    *lines, checksum = content.splitlines(keepends=True)
    i = rng.integers(len(lines))
    lines[i] = changed_json(lines[i], rng) + b"\n"
    return b"".join([*lines, checksum])


def looks_of_photos(work: Path) -> Iterator[Door]:
    """The cache of checksums and image headers of photos: whatever it holds, the right ones must come out."""
    root = work / "looks"
    _photos(root)
    time.sleep(file_info.SETTLED / 1e9 + 0.1)  # newer files are not cached
    before = set(cache.folder().glob("looks/*.json"))

    def opened(_path: Path) -> Any:
        return {str(path): astuple(info) for path, info in scan(root).infos.items()}

    opened(root)
    (file,) = set(cache.folder().glob("looks/*.json")) - before
    yield Door("looks of photos", file, file.read_bytes(), opened, (mutated, changed_line), proves=True)


def tuned_settings(work: Path) -> Iterator[Door]:
    """tuned.json; nothing without PyTorch."""
    if importlib.util.find_spec("torch") is None:
        return
    asked = ("lenet", (28, 28), 128, "cpu")
    tuned.remember(*asked, Speed("bf16", "on"))

    def opened(_path: Path) -> Any:
        speed = tuned.remembered(*asked)
        if speed is None:  # the usual rule counts
            raise NeoclassicError("nothing is remembered")
        assert speed.precision in ("32", "bf16"), speed
        assert speed.compile in ("on", "off"), speed
        return speed

    yield Door("tuned.json", tuned.file(), tuned.file().read_bytes(), opened, proves=True, edits=(changed_json,))
