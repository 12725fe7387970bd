"""The cache: a folder of files that neoclassic can always make or download again.

The folder may hold other files as well. Only the following are ever listed and removed:

    decoded/<32 hex digits>/     decoded photos: the files named in DECODED; without the array if there was no room
    decoded/.making-*/           the same while they are being decoded, or after that process was killed
    features/<32 hex digits>.safetensors
                                 features of images
    looks/<32 hex digits>.json   checksums and image headers of a folder's photos, a line of JSON for each
    <any name>/                  a download; the names of its files are in MARK
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from neoclassic.base import locks
from neoclassic.base.errors import NeoclassicError, UsageError

LOCK = "lock"
DECODED = ("images.npy", "skipped.json", "about.txt", LOCK)
MARK = "neoclassic-download.txt"  # the names of the downloaded files, one per line
PART, LOCKED = ".part", ".lock"  # endings of a download that is not complete, and of the lock that its process holds
MAKING = ".making-"
KEY = re.compile(r"[0-9a-f]{32}")
KEPT = {  # folders with a file for each key: how its name ends, and what it holds
    "looks": (".json", "checksums and sizes of photos"),
    "features": (".safetensors", "features of images"),
}
STALE = 7 * 24 * 3600  # seconds, longer than any decoding takes


def folder() -> Path:
    """Return the cache folder: NEOCLASSIC_CACHE, or the usual one on this system. It may not exist yet.

    UsageError if NEOCLASSIC_CACHE begins with the home folder of an unknown user; NeoclassicError if it is not set and
    this account has no home folder.
    """
    if own := os.environ.get("NEOCLASSIC_CACHE"):
        try:
            return Path(own).expanduser()
        except RuntimeError:
            raise UsageError(f"NEOCLASSIC_CACHE is {own!r}, but there is no such user: set a full path") from None
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "neoclassic"
    try:
        home = Path.home()
    except RuntimeError:
        raise NeoclassicError("this account has no home folder to keep a cache in: set NEOCLASSIC_CACHE") from None
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local")) / "neoclassic" / "Cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "neoclassic"
    return home / ".cache" / "neoclassic"


def path(*parts: str) -> Path | None:
    """Return a path in the cache; None if there is no cache, which is not an error. UsageError as from `folder`."""
    try:
        return folder().joinpath(*parts)
    except UsageError:
        raise
    except NeoclassicError:
        return None


# ── listing and clearing ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Entry:
    """Something in the cache: a downloaded data set, weights, decoded photos, or checksums or features of photos.

    files  made by neoclassic; nothing else in the folder belongs to the entry
    bytes  their total size
    """

    path: Path
    about: str
    files: tuple[Path, ...]
    bytes: int

    @classmethod
    def of(cls, path: Path, about: str, files: Iterable[Path]) -> Entry:
        """Return an entry with those of these files that exist."""
        existing = tuple(file for file in files if file.is_file())
        return cls(path, about, existing, sum(file.stat().st_size for file in existing))

    def remove(self) -> None:
        """Remove the files, and the folder if it is empty then. OSError if something cannot be removed."""
        for file in self.files:
            file.unlink(missing_ok=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()


def entries() -> list[Entry]:
    """Return the entries of the cache, by path."""
    root = folder()
    kept = (_files(root / name, *about) for name, about in KEPT.items())
    candidates = [*map(decoded, root.glob("decoded/*")), *kept, *map(_download, root.glob("*"))]
    return sorted((entry for entry in candidates if entry), key=lambda entry: entry.path)


def decoded(path: Path) -> Entry | None:
    """Return the entry of decoded photos, finished or abandoned; None if `path` is something else."""
    if path.is_symlink() or not path.is_dir():
        return None
    if not KEY.fullmatch(path.name) and not (path.name.startswith(MAKING) and _abandoned(path)):
        return None
    label = path / "about.txt"
    about = label.read_text("utf-8", "replace").strip() if label.is_file() else f"unfinished: {path.name}"
    return Entry.of(path, about, [path / name for name in DECODED])


def _files(path: Path, ending: str, about: str) -> Entry | None:
    """Return the entry of a folder with files that are named by their keys; None if it has none."""
    files = [file for file in sorted(path.glob(f"*{ending}")) if KEY.fullmatch(file.name.removesuffix(ending))]
    return Entry.of(path, about, files) if files else None


def _download(path: Path) -> Entry | None:
    names = _marked(path)
    files = [path / part for name in names if Path(name).name == name for part in (name, name + PART, name + LOCKED)]
    return Entry.of(path, f"downloaded: {path.name}", [*files, path / MARK]) if names else None


def _marked(path: Path) -> list[str]:
    try:
        return (path / MARK).read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return []


def mark(path: Path, name: str) -> None:
    """Record that the file `name` in a folder was downloaded, so that `clear` may remove it. May raise OSError."""
    if name not in _marked(path):
        with (path / MARK).open("a", encoding="utf-8") as file:
            file.write(f"{name}\n")


def clear(pattern: str = "*") -> list[Entry]:
    """Remove the entries whose own or parent folder's name matches a shell pattern, and return them.

    UsageError for an empty pattern; NeoclassicError if an entry cannot be removed.
    """
    if not Path(pattern).name:
        raise UsageError(f"{pattern!r} is not a pattern: 'neoclassic cache' lists the names, '*' matches all of them")
    matches = [entry for entry in entries() if entry.path.match(pattern) or entry.path.parent.match(pattern)]
    for entry in matches:
        try:
            entry.remove()
        except OSError as error:
            raise NeoclassicError(f"cannot remove {entry.path}: {error.strerror or error}") from None
    return matches


# ── folders that are being filled ────────────────────────────────────────────────────────────────────


@contextmanager
def making(parent: Path) -> Iterator[Path]:
    """Make a temporary folder in `parent`, to be filled and then moved by `finish`; otherwise it is removed.

    `parent` is made too, and folders left there by killed processes are removed first. OSError if something cannot be
    written.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for leftover in parent.glob(f"{MAKING}*"):
        if entry := decoded(leftover):
            with suppress(OSError):  # it belongs to another user
                entry.remove()
    work = parent / f"{MAKING}{secrets.token_hex(8)}"
    try:
        work.mkdir()  # not by tempfile, whose folders only their owner may read
        with (work / LOCK).open("x", encoding="ascii") as lock:
            if _locked(lock):
                print(_boot(), file=lock, flush=True)
            yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def finish(work: Path, target: Path) -> None:
    """Move a finished folder to its final path. OSError if that path exists."""
    work.replace(target)
    with suppress(OSError):  # only now: nobody could tell a folder without its lock from one that is being filled
        (target / LOCK).unlink()


def _abandoned(work: Path) -> bool:
    """Whether the process that was filling a folder has certainly ended.

    Either its lock is free and was taken since this machine booted, so that this kernel has released it, or nothing
    in the folder has changed for STALE seconds.
    """
    try:
        if time.time() - max(path.stat().st_mtime for path in (work, *work.iterdir())) > STALE:
            return True
        with (work / LOCK).open("r+", encoding="ascii") as lock:
            return _locked(lock) and lock.read().strip() == _boot() != ""
    except (OSError, ValueError):  # nothing is known about it
        return False


def _locked(lock: TextIO) -> bool:
    """Lock an open file for this process. False if another process has the lock, or if there are no locks here."""
    if sys.platform == "win32":
        lock.close()  # Windows cannot move a folder with an open file
        return False
    try:
        locks.lock(lock.fileno())
    except OSError:
        return False
    return True


def _boot() -> str:
    """An identifier of this boot of the machine; empty if there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""
