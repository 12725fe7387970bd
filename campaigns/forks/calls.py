"""The calls with which a process changes files, counted, and one of them disturbed."""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import stat
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from campaigns.forks import Point

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
UNSYNCED = "rename without fsync"  # counted, and a fault: after a power failure such a file may be empty
AUDITED = {
    "os.rename": "rename",  # os.replace too
    "os.remove": "unlink",
    "os.rmdir": "unlink",
    "os.mkdir": "mkdir",
    "os.truncate": "truncate",
    "os.chmod": "chmod",
}


class Calls:
    """Counts, from `watch` on, the calls that change files in a folder, and disturbs the process at a point."""

    def __init__(self, place: Path, point: Point | None) -> None:
        self.place, self.point, self.counts, self.failing = os.fspath(place), point, Counter(), False
        self.synced: set[int] = set()  # inodes of files whose contents are on the disk

    def watch(self) -> None:
        """Watch this process until it ends. Python tells its audit hooks of everything but fsync and writing."""
        sys.addaudithook(self._audit)
        fsync, opened, written = os.fsync, io.open, os.write

        def counted_fsync(file: int) -> None:
            self._call("fsync")
            fsync(file)
            self.synced.add(os.fstat(file).st_ino)

        def counted_open(file: Any, mode: str = "r", *how: Any, **named: Any) -> Any:
            stream = opened(file, mode, *how, **named)
            if set(mode) & set("wxa+") and _regular(stream.fileno()):
                number, write, flush = stream.fileno(), stream.write, stream.flush
                stream.write = lambda data: self._write(number, data, write, flush)
            return stream

        def counted_write(file: int, data: bytes) -> int:
            if not _regular(file):
                return written(file, data)
            return self._write(file, data, lambda part: written(file, part), lambda: None)

        os.fsync, os.write, io.open, builtins.open = counted_fsync, counted_write, counted_open, counted_open

    def _write(self, file: int, data: Any, write: Callable[[Any], Any], flush: Callable[[], None]) -> Any:
        """Write to an open file. A disturbance comes when half of the data are in it."""
        self.synced.discard(os.fstat(file).st_ino)
        if self._comes("write"):
            write(data[: len(data) // 2])
            flush()
        self._call("write")
        return write(data)

    def _audit(self, event: str, given: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = given
            if isinstance(flags, int) and flags & WRITING and self._inside(path):
                self._call("open")
        elif event in AUDITED and any(map(self._inside, given)):
            if event == "os.rename" and Path(given[0]).is_file() and Path(given[0]).stat().st_ino not in self.synced:
                self.counts[UNSYNCED] += 1
            self._call(AUDITED[event])

    def _inside(self, path: Any) -> bool:
        """Whether a path is in the folder. The folder is the current one too."""
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        name = os.fsdecode(path)
        return name.startswith(self.place) or not Path(name).is_absolute()

    def _comes(self, kind: str) -> bool:
        """Whether the next call of this kind is the one to disturb."""
        point = self.point
        return point is not None and point.kind == kind and point.n == self.counts[kind] + 1

    def _call(self, kind: str) -> None:
        now = self._comes(kind)
        self.counts[kind] += 1
        if self.point is None or not (now or (self.failing and kind != "unlink")):
            return
        if not self.point.error:
            os.kill(os.getpid(), signal.SIGKILL)
        self.failing = self.point.lasting
        number = getattr(errno, self.point.error)
        raise OSError(number, os.strerror(number))


def _regular(file: int) -> bool:
    return stat.S_ISREG(os.fstat(file).st_mode)
