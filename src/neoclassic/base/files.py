"""Files that are whole or not there, and where else output may go.

The rule for every file that neoclassic writes: a regular file is replaced in one step, a link is followed to the file
behind it, and anything else that is there (a pipe, a device) is written into. "-" is standard output.
"""

from __future__ import annotations

import io
import os
import secrets
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from neoclassic.base.errors import NeoclassicError, UsageError

STDOUT = Path("-")
_PREFIX = ".neoclassic-"  # of temporary files, followed by the process number
_SAME_AS_STDOUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
_OPEN_FILES = ("/dev/", "/proc/")  # whose entries are written into, whatever they lead to


def write(path: Path, content: bytes | str) -> None:
    """Write a file, atomically where it is a regular one; see the rule above.

    NeoclassicError when that is not possible. A regular file at `path` then still has its former content.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    if to_stdout(path):
        _write_stdout(data)
        return
    try:
        target = _target(path)
        if target is None:
            with path.open("wb") as stream:
                stream.write(data)
        else:
            _replace(target, data)
    except OSError as error:
        raise _cannot_write(path, error) from None


def check(path: Path) -> None:
    """Raise now what `write` would raise after the work: NeoclassicError where a file cannot be written there."""
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
    """Whether this is "-", or another name of standard output."""
    return os.fspath(path) in (os.fspath(STDOUT), *_SAME_AS_STDOUT)


def make_folder(path: Path, new: bool = False) -> bool:
    """Make a folder and its parents; False where `new` and it is there: of several processes, one makes it.

    NeoclassicError where the folder cannot be made or, if it is there, not written into. UsageError for "-"."""
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
    """Raise now what `make_folder` would raise after the work; nothing is made."""
    _no_stdout(path)
    there = next(place for place in (path.absolute(), *path.absolute().parents) if os.path.lexists(place))
    if not there.is_dir():
        raise _cannot_make(path, f"{there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise _cannot_make(path, f"{there} cannot be written into")


@contextmanager
def scratch(near: Path | None = None) -> Iterator[Path]:
    """A temporary folder: the system's, or, where it has none, one inside the folder of `near`, an output file.

    NeoclassicError where neither can be had."""
    places = [None] if near is None or to_stdout(near) else [None, near.absolute().parent]
    made = None
    for place in places:
        with suppress(OSError):
            made = tempfile.TemporaryDirectory(dir=place, ignore_cleanup_errors=True)
            break
    if made is None:
        raise NeoclassicError("there is no temporary folder that can be written into: set TMPDIR to one")
    with made as folder:
        yield Path(folder)


def on_disk(path: str) -> str:
    """A path that was read from a file, as this system's functions want it: its locale may know fewer letters."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return os.fsdecode(path.encode("utf-8", "surrogateescape"))
    return path


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path, with ~ and ~user replaced. UsageError for a user who is not known or has no home folder."""
    try:
        return Path(on_disk(os.fspath(path))).expanduser()
    except RuntimeError:
        raise UsageError(
            f"{os.fspath(path)}: the home folder of that user is not known: write the whole path"
        ) from None


def sweep(folder: Path) -> None:
    """Remove the temporary files that `write` left in a folder when its process was killed."""
    for path in folder.glob(f"{_PREFIX}*-*"):
        pid = path.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not _runs(int(pid)) and path.is_file() and not path.is_symlink():
            with suppress(OSError):
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


# ── where a path leads ───────────────────────────────────────────────────────────────────────────────


def _target(path: Path) -> Path | None:
    """The regular file to replace, links followed; None for what is written into. OSError for a folder."""
    target = Path(os.path.realpath(path))
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return target
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(0, "it is a folder")
    behind = any(os.fspath(place).startswith(_OPEN_FILES) for place in (path.absolute(), target))
    return target if stat.S_ISREG(mode) and not behind else None


def _temporary(target: Path) -> tuple[int, Path]:
    """A new file in the folder of `target`, open, with the permissions that the umask leaves."""
    while True:
        temporary = target.parent / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        with suppress(FileExistsError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            return os.open(temporary, flags, 0o666), temporary


def _replace(target: Path, data: bytes) -> None:
    handle, temporary = _temporary(target)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
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
    else:  # replaced by something that takes text alone
        sys.stdout.write(data.decode("utf-8", "replace"))


def _no_stdout(folder: Path) -> None:
    if to_stdout(folder):
        raise UsageError(f"{folder} is standard output, and several files are written: name a folder")


def _cannot_write(path: Path, error: OSError) -> NeoclassicError:
    return NeoclassicError(f"cannot write {path}: {error.strerror or error}; choose another place")


def _cannot_make(path: Path, reason: str) -> NeoclassicError:
    return NeoclassicError(f"cannot make {path}: {reason}; choose another place")
