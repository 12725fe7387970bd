"""Reading and decoding photos in parallel, by threads or by processes.

Run as a program, this module is one of these processes: it reads jobs, one line of JSON each, and answers with a line
of JSON and with the pixels. Unlike multiprocessing's workers, it never imports the caller's main module.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from neoclassic.base.errors import NeoclassicError
from neoclassic.base.machine import cores
from neoclassic.base.progress import progress_bar
from neoclassic.data.file_info import FileInfo, inspect
from neoclassic.data.image_files import is_heif, max_pixels, pixel_limit, read_file
from neoclassic.data.preprocessing import Array, Preprocessing, pixels_of, read_pixels

CHUNK = 16  # photos per job
FEW = 128  # photos that are decoded in this process, as starting others would take longer
PART = 8192  # photos whose headers are read before the results are collected
MAX_WORKERS = 32
UNKNOWN = ""  # in place of the checksum of a file that has not been read yet
CHANGED = "changed while it was read: run again"

Skipped = list[tuple[int, str]]  # index and reason
File = tuple[str, str]  # path, and the SHA-256 of its content, UNKNOWN, or any other word if it could not be read


# ── the work ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Answer:
    """What came of some photos.

    skipped  those that could not be decoded: index and reason
    infos    of those whose checksum was UNKNOWN: index and fields
    heif     whether any of them is HEIF
    """

    skipped: Skipped = field(default_factory=list)
    infos: list[tuple[int, Any]] = field(default_factory=list)
    heif: bool = False


def _fill(images: Array | None, first: int, files: Sequence[File], p: Preprocessing | None) -> Answer:
    """Decode into the rows from `first` on. Without `images`, only try it; without `p`, decode nothing."""
    answer = Answer()
    for row, (path, digest) in enumerate(files, first):
        try:
            if digest == UNKNOWN:
                info, content, image = _new(path)
                answer.infos.append((row, astuple(info)))
                if info.error:
                    raise NeoclassicError(info.error)
            else:
                content, image = _same(path, digest), None
            if p is not None:
                answer.heif |= is_heif(content)
                pixels = _pixels(content, path, image, p)
                if images is not None:
                    images[row] = pixels
        except NeoclassicError as error:
            answer.skipped.append((row, str(error).removeprefix(f"{path}: ")))
    return answer


def _new(path: str) -> tuple[FileInfo, bytes, Image.Image | None]:
    """What a file says that has not been read yet, its content, and its image if there is one."""
    try:
        content = read_file(path)
    except NeoclassicError as error:
        return FileInfo("unread", error=str(error).removeprefix(f"{path}: ")), b"", None
    info, image = inspect(content, path)
    return info, content, image


def _same(path: str, digest: str) -> bytes:
    """The content of a file, which must have this checksum. NeoclassicError if it has not."""
    known = len(digest) == 2 * hashlib.sha256().digest_size
    try:
        content = read_file(path)
    except NeoclassicError:
        if known:
            raise NeoclassicError(CHANGED) from None
        raise
    if hashlib.sha256(content).hexdigest() != digest:
        raise NeoclassicError(CHANGED if known else "could not be read a moment ago: run again")
    return content


def _pixels(content: bytes, path: str, image: Image.Image | None, p: Preprocessing) -> Array:
    """The pixels of a file. image: the same, opened but not decoded, if it is there. Every error names the file."""
    stream = io.BytesIO(content)
    stream.name = path
    if image is None or image.format != "JPEG":  # what other formats say may depend on whether they are decoded
        return read_pixels(stream, p)
    return pixels_of(image, path, p)


# ── in parallel ──────────────────────────────────────────────────────────────────────────────────────


class Jobs:
    """Chunks of photos for several threads, and the results.

    skipped  the photos that could not be read
    infos    what the files say whose checksums were UNKNOWN, in order
    heif     whether any of them is HEIF
    """

    def __init__(self, files: Sequence[File], tick: Callable[[int], object]) -> None:
        self.files, self.tick, self.next, self.lock, self.stopped = files, tick, 0, threading.Lock(), False
        self.skipped: Skipped = []
        self.infos: dict[int, FileInfo] = {}
        self.heif = False

    def __iter__(self) -> Iterator[tuple[int, Sequence[File]]]:
        """Yield the index of a chunk's first photo, and the chunk. Each chunk is given to one thread only."""
        while True:
            with self.lock:
                first, self.next = self.next, self.next + CHUNK
            files = self.files[first : first + CHUNK]
            if not files or self.stopped:
                return
            yield first, files

    def done(self, n: int, answer: Answer) -> None:
        """Record the result for a chunk of n photos. NeoclassicError for a photo that changed."""
        with self.lock:
            for i, reason in answer.skipped:
                if reason == CHANGED:
                    raise NeoclassicError(f"{self.files[i][0]}: {CHANGED}")
                self.skipped.append((i, reason))
            for i, (digest, width, height, mode, form, turn, error) in answer.infos:
                self.infos[i] = FileInfo(digest, width, height, sys.intern(mode), sys.intern(form), turn, error)
            self.heif |= answer.heif
            self.tick(n)

    def stop(self) -> None:
        """Hand out no more chunks."""
        self.stopped = True


class Worker:
    """A process that does jobs. NeoclassicError if it cannot be started, or dies."""

    def __init__(self) -> None:
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-W", "ignore", "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # the C libraries under Pillow write to it
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        except OSError as error:
            raise NeoclassicError(f"decoding stopped: cannot start a process ({error.strerror or error})") from None

    def fill(self, images: Array | None, first: int, files: Sequence[File], p: Preprocessing | None) -> Answer:
        """`_fill`, in the process."""
        job = [first, files, p and p.to_dict(), images is not None, max_pixels()]
        to: Any = self.process.stdin
        back: Any = self.process.stdout
        try:
            to.write(json.dumps(job).encode() + b"\n")
            to.flush()
            line = back.readline()
            if line and images is not None:
                rows = images[first : first + len(files)].reshape(-1).data
                while rows:
                    n = back.readinto(rows)
                    if not n:
                        raise BrokenPipeError
                    rows = rows[n:]
        except OSError:
            line = b""
        if not line:
            why = "a worker process was killed, perhaps for lack of memory"
            raise NeoclassicError(f"decoding stopped: {why}") from None
        return Answer(**json.loads(line))

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with suppress(OSError):
                    pipe.close()
        self.process.wait()


@contextmanager
def workers(n: int) -> Iterator[list[Worker]]:
    """Processes that end with the context."""
    crew: list[Worker] = []
    try:
        for _ in range(n):
            crew.append(Worker())  # noqa: PERF401  # the first ones must end if another cannot start
        yield crew
    finally:
        for worker in crew:
            worker.end()


def share(jobs: Jobs, images: Array | None, p: Preprocessing | None, crew: Sequence[Worker] = ()) -> None:
    """Do jobs, each worker's in a thread of its own; without workers in this thread."""

    def work(fill: Callable[..., Answer]) -> None:
        try:
            for first, files in jobs:
                jobs.done(len(files), fill(images, first, files, p))
        finally:
            jobs.stop()

    if not crew:
        work(_fill)
        return
    with ThreadPoolExecutor(len(crew)) as pool:
        try:
            for done in [pool.submit(work, worker.fill) for worker in crew]:
                done.result()
        finally:
            jobs.stop()


def number(photos: int) -> int:
    """How many processes are worth starting for so many photos; 0 for few of them."""
    return 0 if photos <= FEW else min(cores(), MAX_WORKERS)


def decode_into(
    images: Array | None, files: Sequence[File], p: Preprocessing, about: str, crew: Sequence[Worker] = ()
) -> Jobs:
    """Decode photos into an array, and move those that can be read to its beginning.

    Without an array, only find out which can be read. crew: does the work, if it is there; else new processes, if
    there are many photos.
    """
    with progress_bar(total=len(files), desc=f"decoding {about}", unit=" images", leave=False) as bar:
        jobs = Jobs(files, bar.update)
        with nullcontext(crew) if crew else workers(number(len(files))) as crew:
            share(jobs, images, p, crew)
    jobs.skipped.sort()
    skipped = {i for i, _ in jobs.skipped}
    if images is not None and skipped:
        for row, i in enumerate(i for i in range(len(files)) if i not in skipped):
            if row != i:
                images[row] = images[i]
    return jobs


def read_many(paths: Sequence[Path]) -> Iterator[FileInfo]:
    """`read_info` of each file, by processes."""
    with (
        progress_bar(total=len(paths), desc="reading photos", unit=" images", leave=False) as bar,
        workers(number(len(paths))) as crew,
    ):
        for start in range(0, len(paths), PART):
            jobs = Jobs([(os.fspath(path), UNKNOWN) for path in paths[start : start + PART]], bar.update)
            share(jobs, None, None, crew)
            yield from (jobs.infos[i] for i in range(len(jobs.files)))


# ── as a process ─────────────────────────────────────────────────────────────────────────────────────


def _serve() -> None:
    """Be a worker process: do what the lines of standard input say."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that gives the jobs
    back = sys.stdout.buffer
    for line in sys.stdin.buffer:
        first, files, record, wanted, limit = json.loads(line)
        p = Preprocessing.from_dict(record) if record else None
        rows = np.zeros((len(files), *p.size, p.channels), np.uint8) if p and wanted else None
        with pixel_limit(limit):
            answer = _fill(rows, 0, files, p)
        answer.skipped = [(first + i, reason) for i, reason in answer.skipped]
        answer.infos = [(first + i, info) for i, info in answer.infos]
        back.write(json.dumps(vars(answer)).encode() + b"\n")
        if rows is not None:
            back.write(rows.data)
        back.flush()


if __name__ == "__main__":
    _serve()
