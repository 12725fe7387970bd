"""What a photo's file says before its pixels are decoded: checksum, size, format, orientation. Cached on disk.

The memory that this takes grows by a few hundred bytes for each file: files are read in parts, and the cache is read
and written line by line.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ImageFile

from neoclassic.base import files
from neoclassic.base.errors import NeoclassicError
from neoclassic.data import cache
from neoclassic.data.image_files import header, max_pixels, read_file
from neoclassic.data.pixels import orientation

SETTLED = 2_000_000_000  # nanoseconds after which a file's times can be relied on
LEFT = 3600.0  # seconds; no writing takes so long, so an older temporary file is one of a killed process
IMAGE_WIDTH, IMAGE_LENGTH = 256, 257  # TIFF tags
CHECKSUM = 64  # bytes
FEW = 1024  # files that are read in this process, as starting others would take longer
SAVE_SECONDS, RARELY = 60.0, 20  # how often to save while reading: never for more than a twentieth of the time


@dataclass(frozen=True, slots=True)
class FileInfo:
    """The SHA-256 of a file's content, and what its image header says.

    width and height are those of the upright image. If the header cannot be read, `error` says why and both are 0.
    """

    digest: str
    width: int = 0
    height: int = 0
    mode: str = ""
    format: str = ""
    orientation: int = 1
    error: str = ""


def read_info(path: Path) -> FileInfo:
    """Read a file without decoding its pixels. Errors are reported in the result's `error`."""
    try:
        content = read_file(path)
    except NeoclassicError as error:
        return FileInfo("unread", error=str(error).removeprefix(f"{path}: "))
    return inspect(content, str(path))[0]


def inspect(content: bytes, name: str) -> tuple[FileInfo, ImageFile.ImageFile | None]:
    """What the content of a file says, and its image, not decoded yet; None if it is not an image."""
    digest = hashlib.sha256(content).hexdigest()
    try:
        image = header(content, name)
    except NeoclassicError as error:
        return FileInfo(digest, error=str(error).removeprefix(f"{name}: ")), None
    turn = orientation(image)
    w, h = image.size
    if image.format == "TIFF":  # Pillow has turned it already
        w, h = (int(image.tag_v2[tag]) for tag in (IMAGE_WIDTH, IMAGE_LENGTH))  # type: ignore[attr-defined]
    w, h = (w, h) if turn < 5 else (h, w)
    return FileInfo(digest, w, h, image.mode, image.format or "", turn), image


Reader = Callable[[Sequence[Path]], Iterable[FileInfo]]


def read_infos(paths: Sequence[Path], root: Path, read: Reader | None = None) -> dict[Path, FileInfo]:
    """`read_info` of each file, by path. Files that have not changed since the last call come from the cache.

    read: reads the others, in their order, in place of `read_all`. Failures are not cached: permissions and plug-ins
    change without the file. A long reading is cached from time to time, so that a killed process loses little.
    """
    file = cache.path("looks", f"{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]}.json")
    stamps = _stamps(paths)
    infos, current = _cached(file, paths, stamps) if file else ({}, True)
    missing = [path for path in paths if path not in infos]
    saved, took = time.monotonic(), 0.0
    for path, info in zip(missing, (read or read_all)(missing), strict=True):
        infos[path] = info
        if file and time.monotonic() - saved > max(SAVE_SECONDS, RARELY * took):
            started = time.monotonic()
            _save(file, paths, stamps, infos)
            saved = time.monotonic()
            took = saved - started
    if file and (missing or not current):
        _save(file, paths, stamps, infos)
    return infos


def read_all(paths: Sequence[Path]) -> Iterable[FileInfo]:
    """`read_info` of each file, in threads; of many files, in processes."""
    if len(paths) > FEW:
        from neoclassic.data.decode_workers import read_many  # which imports this module

        return read_many(paths)
    with ThreadPoolExecutor(min(32, 4 * (os.cpu_count() or 1))) as pool:
        return list(pool.map(read_info, paths))


# ── in the cache ─────────────────────────────────────────────────────────────────────────────────────
# A line for each file, [path, stamp, fields of FileInfo], and at the end the SHA-256 of these lines.


def _cached(file: Path, paths: Sequence[Path], stamps: np.ndarray) -> tuple[dict[Path, FileInfo], bool]:
    """What is cached of these files and still true, and whether nothing else is cached."""
    infos: dict[Path, FileInfo] = {}
    lines = 0
    with suppress(OSError, ValueError), file.open("rb") as stream:
        left = _verified(stream)
        places = {os.fspath(path): i for i, path in enumerate(paths)}
        while left:
            line = stream.readline()
            left -= len(line)
            lines += 1
            with suppress(KeyError, TypeError, ValueError, RecursionError):
                name, stamp, (digest, width, height, mode, form, turn, error) = json.loads(line)
                i = places[name]
                known = any(stamp) and stamp == stamps[i].tolist()
                if known and 0 < width * height <= max_pixels() and not error:
                    infos[paths[i]] = FileInfo(digest, width, height, sys.intern(mode), sys.intern(form), turn)
    return infos, lines == len(infos)


def _verified(stream: BinaryIO) -> int:
    """The number of bytes before the checksum, which must be right: else ValueError."""
    size: int = max(stream.seek(0, os.SEEK_END) - CHECKSUM, 0)
    left = size
    stream.seek(0)
    digest = hashlib.sha256()
    while left:
        block = stream.read(min(left, 1 << 20))
        digest.update(block)
        left -= len(block)
    if stream.read() != _checksum(digest).encode():
        raise ValueError
    stream.seek(0)
    return size


def _save(file: Path, paths: Sequence[Path], stamps: np.ndarray, infos: Mapping[Path, FileInfo]) -> None:
    """Cache what is known of these files, if that is possible; without a cache the next call is only slower."""

    def lines() -> Iterator[bytes]:
        digest = hashlib.sha256()
        for path, stamp in zip(paths, stamps, strict=True):
            info = infos.get(path)
            if info and not info.error and stamp.any():
                line = json.dumps([os.fspath(path), stamp.tolist(), astuple(info)]).encode() + b"\n"
                digest.update(line)
                yield line
        yield _checksum(digest).encode()

    with suppress(OSError, NeoclassicError):
        if not stamps.any():
            file.unlink(missing_ok=True)
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        files.sweep(file.parent, LEFT)
        files.write(file, lines())


def _checksum(digest: Any) -> str:
    hexadecimal: str = digest.hexdigest()
    return hexadecimal


def _stamps(paths: Sequence[Path]) -> np.ndarray:
    """What changes when a file changes, N×4 int64: 0 if it is missing, or may still change within a clock tick."""
    stamps = np.zeros((len(paths), 4), np.int64)
    for i, path in enumerate(paths):
        with suppress(OSError):
            stat = path.stat()
            if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) >= SETTLED:
                stamps[i] = stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino & (1 << 63) - 1
    return stamps
