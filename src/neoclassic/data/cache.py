"""The folder where neoclassic keeps what it can always make or fetch again."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from neoclassic.errors import NeoclassicError, UsageError


def folder() -> Path:
    """NEOCLASSIC_CACHE, or the place that this system gives to caches. May not exist yet."""
    if own := os.environ.get("NEOCLASSIC_CACHE"):
        return Path(own).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "neoclassic"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "neoclassic" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "neoclassic"
    return Path.home() / ".cache" / "neoclassic"


@dataclass(frozen=True)
class Entry:
    """Something in the cache: a data set that was downloaded, photos that were decoded, what their files told."""

    path: Path
    about: str
    bytes: int


def entries() -> list[Entry]:
    """What is in the cache, by path."""
    found = []
    for path in sorted([*folder().glob("decoded/*"), *folder().glob("*")]):
        if path.is_dir() and path.name != "decoded":
            label = path / "about.txt"
            kind = "unfinished" if path.parent.name == "decoded" else "downloaded"
            about = label.read_text("utf-8").strip() if label.is_file() else f"{kind}: {path.name}"
            if path.name == "looks":
                about = "checksums and sizes of photos"
            found.append(Entry(path, about, sum(file.stat().st_size for file in path.rglob("*") if file.is_file())))
    return found


def clear(pattern: str = "*") -> list[Entry]:
    """Remove the entries whose name or folder's name matches a shell pattern, and say which they were.

    UsageError for no pattern; NeoclassicError for one that cannot be removed."""
    if not Path(pattern).name:
        raise UsageError(f"no pattern {pattern!r}: 'neoclassic cache' lists the names, * is all of them")
    removed = []
    for entry in entries():
        if entry.path.match(pattern) or entry.path.parent.match(pattern):
            try:
                shutil.rmtree(entry.path)
            except OSError as error:
                raise NeoclassicError(f"cannot remove {entry.path}: {error.strerror or error}") from None
            removed.append(entry)
    return removed
