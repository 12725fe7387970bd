"""Photos decoded once, in parallel, into one uint8 array on disk that is mapped into memory ever after.

The array stands in the cache under a key made of the files' contents and of what the preprocessing says of
pixels, so another mean or another label costs nothing, and a changed file or size is decoded anew. It is
written beside its place and moved there when it is whole. JPEG's draft mode is not used: on photos of 4
megapixels it is three times as fast, but moves pixels by up to 11 levels from what a prediction sees.

Run as a program, this module is one of the processes that decode: it reads jobs and writes answers, one
line of JSON each. Unlike multiprocessing's, such a process never imports the caller's main module.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import PIL
from numpy.lib.format import open_memmap
from tqdm import tqdm

from neoclassic.data import cache
from neoclassic.data.preprocessing import Array, Preprocessing, read_pixels
from neoclassic.errors import NeoclassicError
from neoclassic.machine import cores

FORMAT = 1
CHUNK = 16  # photos a job
ALONE = 128  # photos that are not worth another process
Skipped = list[tuple[int, str]]  # index and reason


def decode(paths: Sequence[Path], digests: Sequence[str], p: Preprocessing, about: str) -> tuple[Array, Skipped]:
    """The pixels of those photos that can be read, in order, N×H×W×C; and which could not, each with the reason.

    digests: of each file's content. about: what is decoded, in a few words. NeoclassicError when the cache
    cannot be written or has no room.
    """
    if not paths:
        return np.empty((0, *p.size, p.channels), np.uint8), []
    pixels_only = replace(p, mean=(0.0,), std=(1.0,)).to_dict()
    key = json.dumps([FORMAT, PIL.__version__, pixels_only, list(digests)])
    place = cache.folder() / "decoded" / hashlib.sha256(key.encode()).hexdigest()[:32]
    try:
        if not (place / "skipped.json").is_file():
            shutil.rmtree(place, ignore_errors=True)
            _make(place, paths, p, about)
        skipped = [(int(i), str(reason)) for i, reason in json.loads((place / "skipped.json").read_text("utf-8"))]
        images = np.load(place / "images.npy", mmap_mode="r")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise NeoclassicError(f"cannot use the cache at {place} ({reason}): set NEOCLASSIC_CACHE") from None
    return images[: len(paths) - len(skipped)], skipped


def _make(place: Path, paths: Sequence[Path], p: Preprocessing, about: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    shape = (len(paths), *p.size, p.channels)
    free = shutil.disk_usage(place.parent).free
    if prod(shape) > free:
        needs = f"{prod(shape) / 2**30:.1f} GiB are needed, {free / 2**30:.1f} are free"
        raise NeoclassicError(f"the cache at {place.parent} has no room ({needs}): set NEOCLASSIC_CACHE")
    work = Path(tempfile.mkdtemp(dir=place.parent, prefix=".making-"))
    try:
        images = open_memmap(work / "images.npy", "w+", np.uint8, shape)
        with tqdm(total=len(paths), desc=f"decoding {about}", unit=" images", disable=None, leave=False) as bar:
            skipped = sorted(_run(work / "images.npy", images, paths, p, bar.update))
        lost = {i for i, _ in skipped}
        for row, i in enumerate(i for i in range(len(paths)) if i not in lost):
            if row != i:
                images[row] = images[i]
        images.flush()
        del images  # Windows moves no folder with a mapped file
        label = f"decoded: {about}, {len(paths):,} images at {p.size[0]}×{p.size[1]}×{p.channels}"
        (work / "about.txt").write_text(label + "\n", "utf-8")
        (work / "skipped.json").write_text(json.dumps(skipped), "utf-8")
        try:
            work.replace(place)
        except OSError:  # another run was faster
            if not (place / "skipped.json").is_file():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _fill(images: Array, first: int, paths: Sequence[Path | str], p: Preprocessing) -> Skipped:
    skipped = []
    for row, path in enumerate(paths, first):
        try:
            images[row] = read_pixels(path, p)
        except NeoclassicError as error:
            skipped.append((row, str(error).removeprefix(f"{path}: ")))
    return skipped


# ── several processes ────────────────────────────────────────────────────────────────────────────────


class _Jobs:
    """Chunks of photos, given to several threads one after the other."""

    def __init__(self, paths: Sequence[Path], tick: Callable[[int], object]) -> None:
        self.paths, self.tick, self.at, self.lock = [os.fspath(path) for path in paths], tick, 0, threading.Lock()

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        while True:
            with self.lock:
                first, self.at = self.at, self.at + CHUNK
            if not (paths := self.paths[first : first + CHUNK]):
                return
            yield first, paths

    def done(self, n: int) -> None:
        with self.lock:
            self.tick(n)

    def stop(self) -> None:
        self.paths = []


def _run(file: Path, images: Array, paths: Sequence[Path], p: Preprocessing, tick: Callable[[int], object]) -> Skipped:
    if len(paths) <= ALONE:
        skipped = _fill(images, 0, paths, p)
        tick(len(paths))
        return skipped
    jobs = _Jobs(paths, tick)
    several = min(cores(), 32)
    with ThreadPoolExecutor(several) as pool:
        try:
            drivers = [pool.submit(_drive, file, jobs, p) for _ in range(several)]
            return [pair for driver in drivers for pair in driver.result()]
        finally:
            jobs.stop()


def _drive(file: Path, jobs: _Jobs, p: Preprocessing) -> Skipped:
    """Give jobs to one process until there are none."""
    skipped: Skipped = []
    try:
        with subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libraries below Pillow write there
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            text=True,
        ) as process:
            try:
                print(json.dumps([os.fspath(file), p.to_dict()]), file=process.stdin, flush=True)
                for first, paths in jobs:
                    print(json.dumps([first, paths]), file=process.stdin, flush=True)
                    answer = process.stdout.readline() if process.stdout else ""
                    if not answer:
                        raise BrokenPipeError
                    skipped += [(i, reason) for i, reason in json.loads(answer)]
                    jobs.done(len(paths))
                return skipped
            finally:
                process.kill()
    except BrokenPipeError:
        jobs.stop()
        raise NeoclassicError("decoding stopped: one of its processes was ended, perhaps for its memory") from None


def _serve() -> None:
    file, record = json.loads(sys.stdin.readline())
    images, p = np.load(file, mmap_mode="r+"), Preprocessing.from_dict(record)
    for line in sys.stdin:
        first, paths = json.loads(line)
        print(json.dumps(_fill(images, first, paths, p)), flush=True)


if __name__ == "__main__":
    _serve()
