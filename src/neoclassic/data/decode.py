"""Decoding photos once into one uint8 array on disk, which every later run maps into memory.

The cache key is made of the files' contents and of what the preprocessing says about pixels. Another mean or label
therefore costs nothing, and a changed file or size is decoded again. An array is written to a temporary folder and
moved into the cache when it is complete. Nothing is trusted: a photo is decoded from the very bytes whose checksum is
in the key, and the array has its own checksum, which is verified at every use. If the cache cannot be written, photos
are decoded for one run only.

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

import numpy as np
import PIL
from numpy.lib.format import open_memmap

from neoclassic.base.errors import NeoclassicError
from neoclassic.base.machine import cores
from neoclassic.base.progress import say_once
from neoclassic.data import cache
from neoclassic.data.decode_workers import File, Skipped, decode_into
from neoclassic.data.image_files import decoders
from neoclassic.data.preprocessing import Array, Preprocessing

FORMAT = 2  # increase it when the same photos become other pixels, or the content of a cache entry changes
BLOCK = 1 << 22  # bytes per checksum
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
IMAGES, SKIPPED = "images.npy", "skipped.json"


def decode(paths: Sequence[Path], digests: Sequence[str], p: Preprocessing, about: str) -> tuple[Array, Skipped]:
    """Decode photos: uint8 N×H×W×C of those that can be read, in order; and the others' indices and reasons.

    digests: the SHA-256 of each file's content, or any other word if it could not be read. about: describes the photos
    in a few words. NeoclassicError if the disk of the cache is full, or if a photo no longer has its digest.
    """
    if not paths:
        return np.empty((0, *p.size, p.channels), np.uint8), []
    files = list(zip(map(os.fspath, paths), digests, strict=True))
    pixels_only = replace(p, mean=(0.0,), std=(1.0,)).to_dict()
    key = json.dumps([FORMAT, PIL.__version__, pixels_only, list(digests)])
    entry = cache.path("decoded", hashlib.sha256(key.encode()).hexdigest()[:32])
    reason = "this account has no home folder to keep a cache in"
    if entry is not None:
        try:
            images, skipped = _cached(entry, files, p, about)
            return images[: len(files) - len(skipped)], skipped
        except OSError as error:
            reason = f"cannot use the cache at {entry.parent} ({error.strerror or error})"
    images, skipped = _for_this_run(files, p, about, reason)
    return images[: len(files) - len(skipped)], skipped


# ── in the cache ─────────────────────────────────────────────────────────────────────────────────────


def _cached(entry: Path, files: Sequence[File], p: Preprocessing, about: str) -> tuple[Array, Skipped]:
    """Return the content of a cache entry, making it first if necessary. OSError if the cache allows neither."""
    content = _load(entry)
    if content is None:
        if old := cache.decoded(entry):
            old.remove()
        _make(entry, files, p, about)
        content = _load(entry)
    if content is None:
        raise OSError(errno.EEXIST, f"{entry.name} is damaged and cannot be replaced")
    return content


def _load(entry: Path) -> tuple[Array, Skipped] | None:
    """The content of an entry; None if it is missing or damaged, or if a skipped photo may be readable now."""
    if not entry.exists():
        return None
    try:
        record = json.loads((entry / SKIPPED).read_text("utf-8"))
        skipped = [(int(i), str(reason)) for i, reason in record["skipped"]]
        if record["checksum"] != _checksum(entry / IMAGES, skipped, record["readers"]):
            raise ValueError
        if record["readers"] not in ("", decoders()):
            return None
        return np.load(entry / IMAGES, mmap_mode="r"), skipped
    except (FileNotFoundError, ValueError, TypeError, KeyError, EOFError):
        say_once(f"the decoded photos at {entry} are damaged: decoding them again")
        return None


def _checksum(file: Path, skipped: Skipped, readers: str) -> str:
    """The checksum of a whole entry. CRC-32 of each block is enough against accidents, and several times as fast as
    SHA-256: 10 GB take about 2 seconds on two cores."""

    def block(start: int) -> int:
        with file.open("rb") as stream:
            stream.seek(start)
            return zlib.crc32(stream.read(BLOCK))

    with ThreadPoolExecutor(cores()) as pool:
        sums = list(pool.map(block, range(0, file.stat().st_size, BLOCK)))
    return hashlib.sha256(json.dumps([skipped, readers, file.stat().st_size, sums]).encode()).hexdigest()


def _make(entry: Path, files: Sequence[File], p: Preprocessing, about: str) -> None:
    try:
        with cache.making(entry.parent) as work:
            _fill_folder(work, files, p, about)
            try:
                cache.finish(work, entry)
            except OSError:  # another run was faster
                if not entry.is_dir():
                    raise
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise NeoclassicError(
            f"the cache at {entry.parent} has no room ({error.strerror}): set NEOCLASSIC_CACHE"
        ) from None


def _fill_folder(folder: Path, files: Sequence[File], p: Preprocessing, about: str) -> Skipped:
    """Write the files of an entry: the array, what was skipped, a label. OSError if it cannot be written."""
    images = _reserve(folder / IMAGES, (len(files), *p.size, p.channels))
    result = decode_into(images, folder / IMAGES, files, p, about)
    images.flush()
    del images  # Windows cannot move a folder with a mapped file
    label = f"decoded: {about}, {len(files):,} images at {p.size[0]}×{p.size[1]}×{p.channels}"
    (folder / "about.txt").write_text(label + "\n", "utf-8", "backslashreplace")
    readers = decoders() if result.skipped or result.heif else ""
    checksum = _checksum(folder / IMAGES, result.skipped, readers)
    record = {"skipped": result.skipped, "readers": readers, "checksum": checksum}
    (folder / SKIPPED).write_text(json.dumps(record), "utf-8")
    return result.skipped


def _reserve(file: Path, shape: tuple[int, ...]) -> np.memmap:
    """A new array in a mapped file. OSError if the disk has no room for it, which would later be a bus error."""
    if prod(shape) > (free := shutil.disk_usage(file.parent).free):
        needs = f"{prod(shape) / 2**30:.1f} GiB are needed, {free / 2**30:.1f} are free"
        raise OSError(errno.ENOSPC, needs)
    images = open_memmap(file, "w+", np.uint8, shape)
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as stream:
            try:
                os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
            except OSError as error:  # other errors mean that the file system cannot reserve space
                if error.errno in DISK_FULL:
                    raise
    return images


# ── without a cache ──────────────────────────────────────────────────────────────────────────────────


def _for_this_run(files: Sequence[File], p: Preprocessing, about: str, reason: str) -> tuple[Array, Skipped]:
    """Decode into a temporary file that ends with the run, or into memory if no temporary file can be written."""
    say_once(f"{reason}: every run decodes the photos again; set NEOCLASSIC_CACHE to a folder that can be written")
    try:
        with tempfile.TemporaryDirectory(prefix="neoclassic-", ignore_cleanup_errors=True) as folder:
            skipped = _fill_folder(Path(folder), files, p, about)
            return np.load(Path(folder) / IMAGES, mmap_mode="r"), skipped  # a mapped file outlives its name
    except OSError:
        pass
    shape = (len(files), *p.size, p.channels)
    try:
        images = np.empty(shape, np.uint8)
    except MemoryError:
        needs = f"the decoded photos need {prod(shape) / 2**30:.1f} GiB, more than this machine's memory"
        raise NeoclassicError(f"{needs}: set NEOCLASSIC_CACHE to a folder that can be written") from None
    return images, decode_into(images, None, files, p, about).skipped
