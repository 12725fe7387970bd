"""Files that are whole or not there: written beside their place and moved into it in one step."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from neoclassic.errors import NeoclassicError


def write(path: Path, content: bytes | str) -> None:
    """Write a file atomically. NeoclassicError when that cannot be; what stood at `path` then still stands."""
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise NeoclassicError(f"cannot write {path}: {error.strerror}; choose another place") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise NeoclassicError(f"cannot write {path}: {error.strerror}; choose another place") from None
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def make_folder(path: Path, new: bool = False) -> bool:
    """Make a folder and its parents; False where `new` and it is there: of several processes, one makes it.

    NeoclassicError when that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=not new)
        return True
    except OSError as error:
        if new and isinstance(error, FileExistsError):
            return False
        raise NeoclassicError(f"cannot make {path}: {error.strerror}; choose another place") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
