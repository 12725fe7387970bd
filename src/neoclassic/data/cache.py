"""The folder where neoclassic keeps what it can always make or fetch again.

It may hold other things as well: what is listed and removed is only what stands here.

    decoded/<32 hex digits>/     photos that were decoded: the files named in DECODED
    decoded/.making-*/           the same while they are decoded, or left by a process that was killed
    looks/<32 hex digits>.json   what the headers of a folder's photos told
    <any name>/                  a download, with the names of its files in MARK
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

from neoclassic.base.errors import NeoclassicError, UsageError

if sys.platform != "win32":
    import fcntl

LOCK = "lock"
DECODED = ("images.npy", "skipped.json", "about.txt", LOCK)
MARK = "neoclassic-download.txt"  # the names of the files that were downloaded, one a line
MAKING = ".making-"
KEY, LOOK = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{32}\.json")
STALE = 7 * 24 * 3600  # seconds: nothing takes so long to decode


def folder() -> Path:
    """NEOCLASSIC_CACHE, or the place that this system gives to caches. May not exist yet.

    UsageError where NEOCLASSIC_CACHE begins with the home folder of a user that does not exist; NeoclassicError where
    it is not set and this account has no home folder.
    """
    if own := os.environ.get("NEOCLASSIC_CACHE"):
        try:
            return Path(own).expanduser()
        except RuntimeError:
            raise UsageError(f"NEOCLASSIC_CACHE is {own!r}, but nobody has such a home: set a full path") from None
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


def place(*parts: str) -> Path | None:
    """Where something is kept; None where there is no cache, which is no reason to stop. UsageError as of `folder`."""
    try:
        return folder().joinpath(*parts)
    except UsageError:
        raise
    except NeoclassicError:
        return None


# ── what is there ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Entry:
    """Something in the cache: a data set that was downloaded, photos that were decoded, what their files told.

    files  those that neoclassic made; nothing else in the folder belongs to the entry
    bytes  of them
    """

    path: Path
    about: str
    files: tuple[Path, ...]
    bytes: int

    @classmethod
    def of(cls, path: Path, about: str, files: Iterable[Path]) -> Entry:
        """What is there of these files."""
        there = tuple(file for file in files if file.is_file())
        return cls(path, about, there, sum(file.stat().st_size for file in there))

    def remove(self) -> None:
        """Remove its files, and its folder where nothing else is in it. OSError for what cannot be removed."""
        for file in self.files:
            file.unlink(missing_ok=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()


def entries() -> list[Entry]:
    """What is in the cache, by path."""
    root = folder()
    found = [*map(decoded, root.glob("decoded/*")), _looks(root / "looks"), *map(_download, root.glob("*"))]
    return sorted((entry for entry in found if entry), key=lambda entry: entry.path)


def decoded(path: Path) -> Entry | None:
    """The entry of photos that were decoded, or that a process began to decode and does no more."""
    if path.is_symlink() or not path.is_dir():
        return None
    if not KEY.fullmatch(path.name) and not (path.name.startswith(MAKING) and _abandoned(path)):
        return None
    label = path / "about.txt"
    about = label.read_text("utf-8", "replace").strip() if label.is_file() else f"unfinished: {path.name}"
    return Entry.of(path, about, [path / name for name in DECODED])


def _looks(path: Path) -> Entry | None:
    files = [file for file in sorted(path.glob("*.json")) if LOOK.fullmatch(file.name)]
    return Entry.of(path, "checksums and sizes of photos", files) if files else None


def _download(path: Path) -> Entry | None:
    names = _marked(path)
    files = [path / name for whole in names if Path(whole).name == whole for name in (whole, f"{whole}.part")]
    return Entry.of(path, f"downloaded: {path.name}", [*files, path / MARK]) if names else None


def _marked(path: Path) -> list[str]:
    try:
        return (path / MARK).read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return []


def mark(path: Path, name: str) -> None:
    """Say that the file of that name in a folder was downloaded, so that it may be removed. OSError."""
    if name not in _marked(path):
        with (path / MARK).open("a", encoding="utf-8") as file:
            file.write(f"{name}\n")


def clear(pattern: str = "*") -> list[Entry]:
    """Remove the entries whose name or folder's name matches a shell pattern, and say which they were.

    UsageError for no pattern; NeoclassicError for one that cannot be removed."""
    if not Path(pattern).name:
        raise UsageError(f"no pattern {pattern!r}: 'neoclassic cache' lists the names, * is all of them")
    found = [entry for entry in entries() if entry.path.match(pattern) or entry.path.parent.match(pattern)]
    for entry in found:
        try:
            entry.remove()
        except OSError as error:
            raise NeoclassicError(f"cannot remove {entry.path}: {error.strerror or error}") from None
    return found


# ── folders that are being filled ────────────────────────────────────────────────────────────────────


@contextmanager
def making(parent: Path) -> Iterator[Path]:
    """A new folder in `parent`, which is made too, to be filled and then moved by `finish`; removed if it was not.

    Those that killed processes left there are removed first. OSError for what cannot be written.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{MAKING}*"):
        if entry := decoded(left):
            with suppress(OSError):  # another user's
                entry.remove()
    work = parent / f"{MAKING}{secrets.token_hex(8)}"
    work.mkdir()  # not tempfile's, which only its owner may read
    lock = (work / LOCK).open("x", encoding="ascii")
    try:
        if _taken(lock):
            print(_boot(), file=lock, flush=True)
        yield work
    finally:
        lock.close()
        shutil.rmtree(work, ignore_errors=True)


def finish(work: Path, target: Path) -> None:
    """Move a folder that was made to its place. OSError where something stands there."""
    (work / LOCK).unlink()
    work.replace(target)


def _abandoned(work: Path) -> bool:
    """Whether the process that filled a folder is surely gone: its lock is free and was taken since this machine
    was started, so that it was this kernel's; or nothing happened there for STALE seconds."""
    try:
        if time.time() - max(path.stat().st_mtime for path in (work, *work.iterdir())) > STALE:
            return True
        with (work / LOCK).open("r+", encoding="ascii") as lock:
            return _taken(lock) and lock.read().strip() == _boot() != ""
    except (OSError, ValueError):  # nothing is known of it
        return False


def _taken(lock: TextIO) -> bool:
    """Whether this process has the lock of an open file now; False where another has it, or there are no locks."""
    if sys.platform == "win32":
        lock.close()  # a folder with an open file cannot be moved there
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""
