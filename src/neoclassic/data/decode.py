"""Decoding photos once into one uint8 array on disk, which every later run maps into memory.

The cache key is made of the files' contents and of what the preprocessing says about pixels. Another mean or label
therefore costs nothing, and a changed file or size is decoded again. An array is written to a temporary folder and
moved into the cache when it is complete. Nothing is trusted: a photo is decoded from the very bytes whose checksum is
in the key, and the array has its own checksum, which is verified at every use. If the cache cannot be written, photos
are decoded for one run only. If the disk has no room for the array, every photo is decoded once, to find those that
cannot be, and then again whenever it is needed.

JPEG's draft mode is not used: for 4-megapixel photos it is three times as fast, but it changes pixels by up to 11
levels from what a prediction sees.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import cast

import numpy as np
import PIL
from numpy.lib.format import open_memmap

from neoclassic.base.machine import cores
from neoclassic.base.progress import say_once
from neoclassic.data import cache
from neoclassic.data.decode_workers import UNKNOWN, File, Jobs, Skipped, Worker, decode_into
from neoclassic.data.file_info import FileInfo
from neoclassic.data.image_files import decoders
from neoclassic.data.preprocessing import Array, Preprocessing
from neoclassic.data.undecoded import Undecoded

FORMAT = 2  # increase it when the same photos become other pixels, or the content of a cache entry changes
BLOCK = 1 << 22  # bytes per checksum
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
IN_MEMORY = 1 << 30  # bytes of decoded photos that are kept in memory where nothing can be written
IMAGES, SKIPPED = "images.npy", "skipped.json"


def decode(paths: Sequence[Path], digests: Sequence[str], p: Preprocessing, about: str) -> tuple[Array, Skipped]:
    """Decode photos: uint8 N×H×W×C of those that can be read, in order; and the others' indices and reasons.

    digests: the SHA-256 of each file's content, or any other word if it could not be read. about: describes the photos
    in a few words. NeoclassicError if a photo no longer has its digest.
    """
    if not paths:
        return np.empty((0, *p.size, p.channels), np.uint8), []
    files = list(zip(map(os.fspath, paths), digests, strict=True))
    entry = cache.path("decoded", _key(digests, p))
    reason = "this account has no home folder to keep a cache in"
    if entry is not None:
        try:
            return _cached(entry, files, p, about)
        except OSError as error:
            reason = f"cannot use the cache at {entry.parent} ({error.strerror or error})"
    return _for_this_run(files, p, about, reason)


def decode_unread(paths: Sequence[Path], p: Preprocessing, about: str, crew: Sequence[Worker]) -> list[FileInfo]:
    """Read photos for the first time, decode them into the cache, and return what their files say.

    `decode` then finds those that can be read there. OSError if the cache cannot be written.
    """
    files = [(os.fspath(path), UNKNOWN) for path in paths]
    folder = cache.path("decoded")
    if folder is None:
        raise OSError(errno.ENOENT, "there is no cache")
    with cache.making(folder) as work:
        jobs = _fill_folder(work, files, p, about, crew)
        infos = [jobs.infos[i] for i in range(len(files))]
        place = {i: n for n, i in enumerate(i for i, info in enumerate(infos) if not info.error)}
        jobs.skipped = [(place[i], reason) for i, reason in jobs.skipped if i in place]
        if place:
            _seal(work, jobs)
            _finish(work, folder / _key([infos[i].digest for i in place], p))
    return infos


def _key(digests: Sequence[str], p: Preprocessing) -> str:
    """The name of the entry of these contents as these pixels."""
    pixels_only = replace(p, mean=(0.0,), std=(1.0,)).to_dict()
    key = json.dumps([FORMAT, PIL.__version__, pixels_only, list(digests)])
    return hashlib.sha256(key.encode()).hexdigest()[:32]


# ── in the cache ─────────────────────────────────────────────────────────────────────────────────────


def _cached(entry: Path, files: Sequence[File], p: Preprocessing, about: str) -> tuple[Array, Skipped]:
    """Return the content of a cache entry, making it first if necessary. OSError if the cache allows neither."""
    content = _load(entry)
    if content and content[0] is None and _has_room(entry, (len(files), *p.size, p.channels)):
        content = None
    if content is None:
        _make(entry, files, p, about)
        content = _load(entry)
    if content is None:
        raise OSError(errno.EEXIST, f"{entry.name} is damaged and cannot be replaced")
    return _cut(*content, files, p)


def _cut(images: Array | None, skipped: Skipped, files: Sequence[File], p: Preprocessing) -> tuple[Array, Skipped]:
    """The images without the rows of photos that were skipped; without an array, as photos that are not decoded yet."""
    if images is not None:
        return images[: len(files) - len(skipped)], skipped
    needs = f"{len(files):,} decoded photos need {len(files) * prod(p.size) * p.channels / 2**30:.1f} GiB"
    every = "each is decoded again in every epoch"
    say_once(f"{needs}, for which there is no room: {every}; set NEOCLASSIC_CACHE to a folder with more room")
    left_out = {i for i, _ in skipped}
    return cast("Array", Undecoded([file for i, file in enumerate(files) if i not in left_out], p)), skipped


def _load(entry: Path) -> tuple[Array | None, Skipped] | None:
    """The content of an entry; None if it is missing or damaged, or if a skipped photo may be readable now.

    There is no array if there was no room for it.
    """
    if not entry.exists():
        return None
    try:
        record = json.loads((entry / SKIPPED).read_text("utf-8"))
        skipped = [(int(i), str(reason)) for i, reason in record["skipped"]]
        if record["checksum"] != _checksum(entry / IMAGES, skipped, record["readers"]):
            raise ValueError
        if record["readers"] not in ("", decoders()):
            return None
        return _array(entry), skipped
    except (FileNotFoundError, ValueError, TypeError, KeyError, EOFError):
        say_once(f"the decoded photos at {entry} are damaged: decoding them again")
        return None


def _array(folder: Path) -> Array | None:
    """The array of an entry, mapped into memory, if it has one."""
    file = folder / IMAGES
    return np.load(file, mmap_mode="r") if file.exists() else None


def _checksum(file: Path, skipped: Skipped, readers: str) -> str:
    """The checksum of a whole entry. CRC-32 of each block is enough against accidents, and several times as fast as
    SHA-256: 10 GB take about 2 seconds on two cores."""

    def block(start: int) -> int:
        with file.open("rb") as stream:
            stream.seek(start)
            return zlib.crc32(stream.read(BLOCK))

    size = file.stat().st_size if file.exists() else 0
    with ThreadPoolExecutor(cores()) as pool:
        sums = list(pool.map(block, range(0, size, BLOCK)))
    return hashlib.sha256(json.dumps([skipped, readers, size, sums]).encode()).hexdigest()


def _make(entry: Path, files: Sequence[File], p: Preprocessing, about: str) -> None:
    """Make an entry in place of one that is there, if there is one. OSError if that is not possible."""
    if old := cache.decoded(entry):
        old.remove()
    with cache.making(entry.parent) as work:
        _seal(work, _fill_folder(work, files, p, about))
        _finish(work, entry)


def _finish(work: Path, entry: Path) -> None:
    """Move a folder that is filled to its place, unless another run was faster. OSError if that is not possible."""
    try:
        cache.finish(work, entry)
    except OSError:
        if not entry.is_dir():
            raise


def _fill_folder(
    folder: Path, files: Sequence[File], p: Preprocessing, about: str, crew: Sequence[Worker] = ()
) -> Jobs:
    """Write the array of an entry, if there is room for it, and a label. OSError if nothing can be written."""
    try:
        images = _reserve(folder / IMAGES, (len(files), *p.size, p.channels))
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        (folder / IMAGES).unlink(missing_ok=True)
        images = None
    jobs = decode_into(images, files, p, about, crew)
    if images is not None:
        images.flush()
        del images  # Windows cannot move a folder with a mapped file
    what = "decoded" if (folder / IMAGES).exists() else "checked, but not kept"
    label = f"{what}: {about}, {len(files):,} images at {p.size[0]}×{p.size[1]}×{p.channels}"
    (folder / "about.txt").write_text(label + "\n", "utf-8", "backslashreplace")
    return jobs


def _seal(folder: Path, jobs: Jobs) -> None:
    """Write what was skipped, and the checksum of an entry whose array is complete."""
    readers = decoders() if jobs.skipped or jobs.heif else ""
    checksum = _checksum(folder / IMAGES, jobs.skipped, readers)
    record = {"skipped": jobs.skipped, "readers": readers, "checksum": checksum}
    (folder / SKIPPED).write_text(json.dumps(record), "utf-8")


def _reserve(file: Path, shape: tuple[int, ...]) -> np.memmap:
    """A new array in a mapped file. OSError if the disk has no room for it, which would later be a bus error."""
    if not _has_room(file, shape):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    images = open_memmap(file, "w+", np.uint8, shape)
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as stream:
            try:
                os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
            except OSError as error:  # other errors mean that the file system cannot reserve space
                if error.errno in DISK_FULL:
                    raise
    return images


def _has_room(file: Path, shape: tuple[int, ...]) -> bool:
    return prod(shape) <= shutil.disk_usage(file.parent).free


# ── without a cache ──────────────────────────────────────────────────────────────────────────────────


def _for_this_run(files: Sequence[File], p: Preprocessing, about: str, reason: str) -> tuple[Array, Skipped]:
    """Decode into a temporary file that ends with the run, or into memory if no temporary file can be written."""
    say_once(f"{reason}: every run decodes the photos again; set NEOCLASSIC_CACHE to a folder that can be written")
    try:
        with tempfile.TemporaryDirectory(prefix="neoclassic-", ignore_cleanup_errors=True) as folder:
            jobs = _fill_folder(Path(folder), files, p, about)
            return _cut(_array(Path(folder)), jobs.skipped, files, p)  # a mapped file outlives its name
    except OSError:
        pass
    shape = (len(files), *p.size, p.channels)
    images = np.empty(shape, np.uint8) if prod(shape) <= IN_MEMORY else None
    return _cut(images, decode_into(images, files, p, about).skipped, files, p)
