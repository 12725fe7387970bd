"""Decoding photos in parallel, by threads or by processes.

Run as a program, this module is one of these processes: it reads jobs and writes answers, one line of JSON each.
Unlike multiprocessing's workers, it never imports the caller's main module.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from neoclassic.base.errors import NeoclassicError
from neoclassic.base.machine import cores
from neoclassic.base.progress import progress_bar
from neoclassic.data.image_files import is_heif, max_pixels, pixel_limit, read_file
from neoclassic.data.preprocessing import Array, Preprocessing, read_pixels

CHUNK = 16  # photos per job
FEW = 128  # photos that are decoded in this process, as starting others would take longer
MAX_WORKERS = 32
CHANGED = "changed while it was read: run again"

Skipped = list[tuple[int, str]]  # index and reason
File = tuple[str, str]  # path, and SHA-256 of its content or any other word if it could not be read


class Jobs:
    """Chunks of photos for several threads, and the results.

    skipped  the photos that could not be read
    heif     whether any of them is HEIF
    """

    def __init__(self, files: Sequence[File], tick: Callable[[int], object]) -> None:
        self.files, self.tick, self.next, self.lock, self.stopped = files, tick, 0, threading.Lock(), False
        self.skipped: Skipped = []
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

    def done(self, n: int, skipped: Skipped, heif: bool) -> None:
        """Record the result for a chunk of n photos. NeoclassicError for a photo that changed."""
        with self.lock:
            for i, reason in skipped:
                if reason == CHANGED:
                    raise NeoclassicError(f"{self.files[i][0]}: {CHANGED}")
                self.skipped.append((i, reason))
            self.heif |= heif
            self.tick(n)

    def stop(self) -> None:
        """Hand out no more chunks."""
        self.stopped = True


def decode_into(images: Array, file: Path | None, files: Sequence[File], p: Preprocessing, about: str) -> Jobs:
    """Decode photos into an array, and move those that can be read to its beginning.

    If the array is mapped from `file`, many photos are decoded by processes; otherwise threads do the work.
    """
    here = functools.partial(_work_here, images)
    work = here if file is None or len(files) <= FEW else functools.partial(_drive, file)
    workers = min(cores(), MAX_WORKERS) if len(files) > FEW else 1
    with progress_bar(total=len(files), desc=f"decoding {about}", unit=" images", leave=False) as bar:
        jobs = Jobs(files, bar.update)
        with ThreadPoolExecutor(workers) as pool:
            try:
                for worker in [pool.submit(work, jobs, p) for _ in range(workers)]:
                    worker.result()
            finally:
                jobs.stop()
    jobs.skipped.sort()
    skipped = {i for i, _ in jobs.skipped}
    for row, i in enumerate(i for i in range(len(files)) if i not in skipped):
        if row != i:
            images[row] = images[i]
    return jobs


def _fill(images: Array, first: int, files: Sequence[File], p: Preprocessing) -> tuple[Skipped, bool]:
    """Decode into the rows from `first` on. Return the photos that cannot be read, and whether HEIF was among all."""
    skipped, heif = [], False
    for row, (path, digest) in enumerate(files, first):
        known = len(digest) == 2 * hashlib.sha256().digest_size
        try:
            content = read_file(path)
        except NeoclassicError as error:
            skipped.append((row, CHANGED if known else str(error).removeprefix(f"{path}: ")))
            continue
        if hashlib.sha256(content).hexdigest() != digest:
            skipped.append((row, CHANGED if known else "could not be read a moment ago: run again"))
            continue
        heif |= is_heif(content)
        stream = io.BytesIO(content)
        stream.name = path
        try:
            images[row] = read_pixels(stream, p)
        except NeoclassicError as error:
            skipped.append((row, str(error).removeprefix(f"{path}: ")))
    return skipped, heif


def _work_here(images: Array, jobs: Jobs, p: Preprocessing) -> None:
    """Decode in this thread until there are no jobs left."""
    try:
        for first, files in jobs:
            jobs.done(len(files), *_fill(images, first, files, p))
    finally:
        jobs.stop()


def _drive(file: Path, jobs: Jobs, p: Preprocessing) -> None:
    """Give jobs to one worker process until there are none left."""
    try:
        with subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # the C libraries under Pillow write to it
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            text=True,
        ) as process:
            try:
                print(json.dumps([os.fspath(file), p.to_dict(), max_pixels()]), file=process.stdin, flush=True)
                for first, files in jobs:
                    print(json.dumps([first, files]), file=process.stdin, flush=True)
                    answer = process.stdout.readline() if process.stdout else ""
                    if not answer:
                        raise BrokenPipeError
                    jobs.done(len(files), *json.loads(answer))
            finally:
                process.kill()
    except BrokenPipeError:
        raise NeoclassicError("decoding stopped: a worker process was killed, perhaps for lack of memory") from None
    except OSError as error:
        raise NeoclassicError(f"decoding stopped: cannot start a process ({error.strerror or error})") from None
    finally:
        jobs.stop()


def _serve() -> None:
    """Be a worker process: decode what the lines of standard input say."""
    file, record, limit = json.loads(sys.stdin.readline())
    images, p = np.load(file, mmap_mode="r+"), Preprocessing.from_dict(record)
    with pixel_limit(limit):
        for line in sys.stdin:
            first, files = json.loads(line)
            print(json.dumps(_fill(images, first, files, p)), flush=True)


if __name__ == "__main__":
    _serve()
