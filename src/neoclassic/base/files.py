"""Files: written atomically, or to standard output, pipes and devices; and checked.

The rule for every file that neoclassic writes: a regular file is replaced atomically, a link is followed to its target,
and anything else (a pipe, a device) is written to directly. "-" is standard output. The exception is `stream`, for
results that come one by one and that are worth keeping if the work ends early.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from neoclassic.base.errors import NeoclassicError, UsageError

STDOUT = Path("-")
_PREFIX = ".neoclassic-"  # of temporary files, followed by the process number
_SAME_AS_STDOUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
_SPECIAL_FOLDERS = ("/dev/", "/proc/")  # their entries are always written to directly


def write(path: Path, content: bytes | str | Iterator[bytes]) -> None:
    """Write a file by the rule above. Text is encoded as UTF-8; large content may come in pieces.

    NeoclassicError if that is not possible; a regular file then keeps its previous content.
    """
    content = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    pieces = content if isinstance(content, Iterator) else [content]
    if to_stdout(path):
        _write_stdout(b"".join(pieces))
        return
    try:
        target = _target(path)
        if target is None:
            with path.open("wb") as stream:
                stream.writelines(pieces)
        else:
            _replace(target, pieces)
    except OSError as error:
        raise _cannot_write(path, error) from None


@contextmanager
def stream(path: Path) -> Iterator[Callable[[str], None]]:
    """Open a file, and yield a function that adds text to it at once, as UTF-8. Previous content is lost.

    NeoclassicError if the file cannot be opened or written to.
    """
    if to_stdout(path):
        yield lambda text: _write_stdout(text.encode("utf-8", "backslashreplace"))
        return
    try:
        file = path.open("wb", buffering=0)
    except OSError as error:
        raise _cannot_write(path, error) from None

    def add(text: str) -> None:
        try:
            data = memoryview(text.encode("utf-8", "backslashreplace"))
            while data:  # a pipe may take less at a time
                data = data[file.write(data) or 0 :]
        except BrokenPipeError:  # the reader has what it wanted
            raise
        except OSError as error:
            raise _cannot_write(path, error) from None

    with file:
        yield add


def check(path: Path) -> None:
    """Check, before the work begins, that `write` can write a file. NeoclassicError if it cannot."""
    if to_stdout(path):
        return
    try:
        target = _target(path)
        if target is not None:
            handle, temporary = _temporary(target)
            os.close(handle)
            temporary.unlink()
    except OSError as error:
        raise _cannot_write(path, error) from None


def to_stdout(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is "-" or another name of standard output."""
    return os.fspath(path) in (os.fspath(STDOUT), *_SAME_AS_STDOUT)


def make_folder(path: Path, new: bool = False) -> bool:
    """Make a folder and its parents. Return False if `new` and it exists: of several processes, only one makes it.

    NeoclassicError if the folder cannot be made, or exists and cannot be written to. UsageError for "-".
    """
    _no_stdout(path)
    try:
        path.mkdir(parents=True, exist_ok=not new)
    except OSError as error:
        if new and isinstance(error, FileExistsError):
            return False
        raise _cannot_make(path, error.strerror or str(error)) from None
    check(path / "file")
    return True


def check_folder(path: Path) -> None:
    """Check, before the work begins, that `make_folder` can make a folder. Makes nothing; raises the same errors."""
    _no_stdout(path)
    existing = next(parent for parent in (path.absolute(), *path.absolute().parents) if os.path.lexists(parent))
    if not existing.is_dir():
        raise _cannot_make(path, f"{existing} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise _cannot_make(path, f"{existing} cannot be written to")


@contextmanager
def scratch(near: Path | None = None) -> Iterator[Path]:
    """A temporary folder: the system's, or, if that cannot be written to, one next to the output file `near`.

    NeoclassicError if neither is possible.
    """
    parents = [None] if near is None or to_stdout(near) else [None, near.absolute().parent]
    temporary = None
    for parent in parents:
        with suppress(OSError):
            temporary = tempfile.TemporaryDirectory(dir=parent, ignore_cleanup_errors=True)
            break
    if temporary is None:
        raise NeoclassicError("no temporary folder can be written to: set TMPDIR to one that can")
    with temporary as folder:
        yield Path(folder)


def on_disk(path: str) -> str:
    """Return a path that was read from a file in the form that this system's functions need.

    The locale may not be able to encode all of its characters. NeoclassicError for a name that no file can have.
    """
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        try:
            return os.fsdecode(path.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError:
            raise NeoclassicError(
                f"{path.encode('utf-8', 'backslashreplace').decode()}: no file can have this name"
            ) from None
    return path


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with ~ and ~user replaced. UsageError if the user is unknown or has no home folder."""
    try:
        return Path(on_disk(os.fspath(path))).expanduser()
    except RuntimeError:
        raise UsageError(f"{os.fspath(path)}: the home folder of that user is not known: give the full path") from None


def intact(file: Path, digest: str, algorithm: str) -> bool:
    """Whether a file can be read and its checksum begins with these hexadecimal digits. algorithm: md5 or sha256."""
    try:
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    except OSError:
        return False
    return found.startswith(digest)


def sweep(folder: Path, age: float | None = None) -> None:
    """Remove the temporary files that `write` left in a folder when its process was killed.

    age: in seconds; younger ones are kept, where a process of another machine may be writing now.
    """
    for path in folder.glob(f"{_PREFIX}*-*"):
        pid = path.name.removeprefix(_PREFIX).partition("-")[0]
        with suppress(OSError):
            state = path.lstat()
            old = age is None or time.time() - state.st_mtime > age
            if old and pid.isdigit() and not _runs(int(pid)) and stat.S_ISREG(state.st_mode):
                path.unlink()


def _runs(pid: int) -> bool:
    """Whether there is a process of this number on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it belongs to another user, or there is no telling
        return True
    return True


# ── implementation ───────────────────────────────────────────────────────────────────────────────────


def _target(path: Path) -> Path | None:
    """The regular file to replace, with links followed; None if `path` is written to directly. OSError for a folder."""
    target = Path(os.path.realpath(path))
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return target
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(0, "it is a folder")
    special = any(os.fspath(name).startswith(_SPECIAL_FOLDERS) for name in (path.absolute(), target))
    return target if stat.S_ISREG(mode) and not special else None


def _temporary(target: Path) -> tuple[int, Path]:
    """Create and open a new file in the folder of `target`, with the permissions that the umask allows."""
    while True:
        temporary = target.parent / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        with suppress(FileExistsError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            return os.open(temporary, flags, 0o666), temporary


def _replace(target: Path, pieces: Iterable[bytes]) -> None:
    handle, temporary = _temporary(target)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write_stdout(data: bytes) -> None:
    sys.stdout.flush()
    if isinstance(buffer := getattr(sys.stdout, "buffer", None), io.IOBase):
        buffer.write(data)
        buffer.flush()
    else:  # something that accepts only text has replaced it
        sys.stdout.write(data.decode("utf-8", "replace"))


def _no_stdout(folder: Path) -> None:
    if to_stdout(folder):
        raise UsageError(f"{folder} is standard output, but several files are written: name a folder")


def _cannot_write(path: Path, error: OSError) -> NeoclassicError:
    return NeoclassicError(f"cannot write {path}: {error.strerror or error}; choose another place")


def _cannot_make(path: Path, reason: str) -> NeoclassicError:
    return NeoclassicError(f"cannot make {path}: {reason}; choose another place")
