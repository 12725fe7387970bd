"""What a photo's file says before its pixels are decoded: checksum, size, format, orientation. Cached on disk."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neoclassic.base import files
from neoclassic.base.errors import NeoclassicError
from neoclassic.data import cache
from neoclassic.data.image_files import header, max_pixels, read_file
from neoclassic.data.pixels import orientation

SETTLED = 2_000_000_000  # nanoseconds after which a file's times can be relied on
LEFT = 3600.0  # seconds; no writing takes so long, so an older temporary file is one of a killed process
IMAGE_WIDTH, IMAGE_LENGTH = 256, 257  # TIFF tags


@dataclass(frozen=True)
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
    digest = hashlib.sha256(content).hexdigest()
    try:
        image = header(content, str(path))
    except NeoclassicError as error:
        return FileInfo(digest, error=str(error).removeprefix(f"{path}: "))
    turn = orientation(image)
    w, h = image.size
    if image.format == "TIFF":  # Pillow has turned it already
        w, h = (int(image.tag_v2[tag]) for tag in (IMAGE_WIDTH, IMAGE_LENGTH))  # type: ignore[attr-defined]
    w, h = (w, h) if turn < 5 else (h, w)
    return FileInfo(digest, w, h, image.mode, image.format or "", turn)


def read_infos(paths: Sequence[Path], root: Path) -> dict[Path, FileInfo]:
    """`read_info` of each file, in threads. Files that have not changed since the last call come from the cache.

    Failures are not cached: permissions and plug-ins change without the file.
    """
    file = cache.path("looks", f"{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]}.json")
    cached = _cached(file) if file else {}
    stamps = {path: _stamp(path) for path in paths}
    infos = {}
    for path, stamp in stamps.items():
        with suppress(KeyError, TypeError, ValueError):
            old_stamp, values = cached[os.fspath(path)]
            info = FileInfo(*values)
            if stamp and old_stamp == stamp and 0 < info.height * info.width <= max_pixels() and not info.error:
                infos[path] = info
    with ThreadPoolExecutor(min(32, 4 * (os.cpu_count() or 1))) as pool:
        missing = [path for path in stamps if path not in infos]
        infos |= zip(missing, pool.map(read_info, missing), strict=True)
    good = {path: stamp for path, stamp in stamps.items() if stamp and not infos[path].error}
    to_cache = {os.fspath(path): [stamp, list(vars(infos[path]).values())] for path, stamp in good.items()}
    if file and to_cache != cached:
        with suppress(OSError, NeoclassicError):  # without a cache the next call is only slower
            file.parent.mkdir(parents=True, exist_ok=True)
            files.sweep(file.parent, LEFT)
            files.write(file, json.dumps({"infos": to_cache, "checksum": _checksum(to_cache)}))
    return infos


def _cached(file: Path) -> dict[str, Any]:
    """Stamps and fields by path, as cached; empty if there are none, or if the file is damaged."""
    try:
        record = json.loads(file.read_text("utf-8"))
        infos: dict[str, Any] = record["infos"]
        return infos if record["checksum"] == _checksum(infos) else {}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}


def _checksum(infos: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(infos).encode()).hexdigest()


def _stamp(path: Path) -> list[int]:
    """What changes when a file changes. Empty if it is missing, or so new that it may change within a clock tick."""
    try:
        stat = path.stat()
    except OSError:
        return []
    recent = time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) < SETTLED
    return [] if recent else [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
