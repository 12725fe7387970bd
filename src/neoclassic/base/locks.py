"""Locks that end with their process, however that ends: the operating system holds them on an open file.

On network file systems it excludes processes of other machines as far as the file system passes locks on, which NFS,
SMB and Lustre do by default.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from neoclassic.base.errors import NeoclassicWarning, UsageError

POLL = 0.1  # seconds

if sys.platform == "win32":
    import msvcrt

    def lock(handle: int) -> None:
        """Lock an open file. BlockingIOError if another process holds it, OSError if there are no locks here."""
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error
else:
    import fcntl

    def lock(handle: int) -> None:
        """Lock an open file. BlockingIOError if another process holds it, OSError if there are no locks here."""
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Hold `folder/.lock` while the body runs. UsageError, which says who holds it, if another process does.

    what: the subject of that sentence. Where the file system knows no locks, nothing is held and the body runs.
    """
    path = folder / ".lock"
    try:
        handle = _acquired(path)
    except BlockingIOError as error:
        raise UsageError(f"{what} is in use by {error}: wait until it ends, or stop it") from None
    with _held(handle, path):
        yield


@contextmanager
def awaited(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path` while the body runs. If another process holds it, warn of that once, and wait.

    what: the subject of the warning. Where the file system knows no locks, nothing is held and the body runs.
    """
    warned = False
    while True:
        try:
            handle = _acquired(path)
            break
        except BlockingIOError as error:
            if not warned:
                warnings.warn(f"{what} is in progress in {error}: waiting for it", NeoclassicWarning, stacklevel=3)
            warned = True
            time.sleep(POLL)
    with _held(handle, path):
        yield


def held(folder: Path) -> bool:
    """Return whether a process holds `folder/.lock` now. False where the file system knows no locks."""
    try:
        handle = os.open(folder / ".lock", os.O_RDWR)
    except OSError:
        return False
    try:
        lock(handle)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


@contextmanager
def _held(handle: int | None, path: Path) -> Iterator[None]:
    """Release what `_acquired` returned when the body ends."""
    try:
        yield
    finally:
        if handle is not None:
            with suppress(OSError):
                path.unlink()  # while it is held, so that nobody is left with a lock on a removed file unknowingly
            os.close(handle)


def _acquired(path: Path) -> int | None:
    """The open, locked file; None where locks are not supported. BlockingIOError, which names the holder, if held."""
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:  # a folder that cannot be written into is reported by whoever writes the first file
            return None
        try:
            lock(handle)
        except BlockingIOError:
            holder = _holder(handle)
            os.close(handle)
            raise BlockingIOError(holder) from None
        except OSError:
            os.close(handle)
            return None
        if _is_at(handle, path):
            with suppress(OSError):  # on a full disk the holder is not named
                os.truncate(handle, 0)
                os.write(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
            return handle
        os.close(handle)  # its last holder removed it between opening and locking


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file is the one that the path names now."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False


def _holder(handle: int) -> str:
    """Who holds the lock, as far as the file tells."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        os.lseek(handle, 0, os.SEEK_SET)
        written = json.loads(os.read(handle, 1000))
        where = "" if written["host"] == socket.gethostname() else f" on {str(written['host'])[:60]}"
        return f"process {int(written['pid'])}{where}"
    return "another process"
