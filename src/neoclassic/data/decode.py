"""Photos decoded once, in parallel, into one uint8 array on disk that is mapped into memory ever after.

The array stands in the cache under a key made of the files' contents and of what the preprocessing says of
pixels, so another mean or another label costs nothing, and a changed file or size is decoded anew. It is
written beside its place and moved there when it is whole. Neither side is taken on trust: a photo is decoded from
the very bytes whose checksum the key holds, and the array has a checksum of its own that is verified at every use.
Where the cache cannot be written, photos are decoded for one run only. JPEG's draft mode is not used: on photos of 4
megapixels it is three times as fast, but moves pixels by up to 11 levels from what a prediction sees.

Run as a program, this module is one of the processes that decode: it reads jobs and writes answers, one
line of JSON each. Unlike multiprocessing's, such a process never imports the caller's main module.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import PIL
from numpy.lib.format import open_memmap
from tqdm import tqdm

from neoclassic.base.errors import NeoclassicError
from neoclassic.base.machine import cores
from neoclassic.base.progress import QUIET, say
from neoclassic.data import cache
from neoclassic.data.preprocessing import Array, Preprocessing, is_heif, read, read_pixels, readers

FORMAT = 2  # goes up when the same photos become other pixels, or what stands in the cache changes
CHUNK = 16  # photos a job
ALONE = 128  # photos that are not worth another process
BLOCK = 1 << 22  # bytes of an array that are summed at a time
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
IMAGES, TOLD = "images.npy", "skipped.json"
CHANGED = "changed while it was read: run again"
Skipped = list[tuple[int, str]]  # index and reason
File = tuple[str, str]  # path, and SHA-256 of its content or a word where it could not be read


def decode(paths: Sequence[Path], digests: Sequence[str], p: Preprocessing, about: str) -> tuple[Array, Skipped]:
    """The pixels of those photos that can be read, in order, N×H×W×C; and which could not, each with the reason.

    digests: of each file's content, or a word where it could not be read. about: what is decoded, in a few words.
    NeoclassicError when the disk of the cache is full, and for a photo that is no longer the one of its digest.
    """
    if not paths:
        return np.empty((0, *p.size, p.channels), np.uint8), []
    files = list(zip(map(os.fspath, paths), digests, strict=True))
    pixels_only = replace(p, mean=(0.0,), std=(1.0,)).to_dict()
    key = json.dumps([FORMAT, PIL.__version__, pixels_only, list(digests)])
    place = cache.place("decoded", hashlib.sha256(key.encode()).hexdigest()[:32])
    reason = "this account has no home folder to keep a cache in"
    if place is not None:
        try:
            images, skipped = _cached(place, files, p, about)
            return images[: len(files) - len(skipped)], skipped
        except OSError as error:
            reason = f"cannot use the cache at {place.parent} ({error.strerror or error})"
    images, skipped = _for_this_run(files, p, about, reason)
    return images[: len(files) - len(skipped)], skipped


# ── in the cache ─────────────────────────────────────────────────────────────────────────────────────


def _cached(place: Path, files: Sequence[File], p: Preprocessing, about: str) -> tuple[Array, Skipped]:
    """Taken from there, or made and put there. OSError where the cache does not allow either."""
    kept = _kept(place)
    if kept is None:
        if old := cache.decoded(place):
            old.remove()
        _make(place, files, p, about)
        kept = _kept(place)
    if kept is None:
        raise OSError(errno.EEXIST, f"{place.name} is damaged and cannot be replaced")
    return kept


def _kept(place: Path) -> tuple[Array, Skipped] | None:
    """What stands there; None for nothing, for what is damaged, and where a skipped photo may be readable by now."""
    if not place.exists():
        return None
    try:
        told = json.loads((place / TOLD).read_text("utf-8"))
        skipped = [(int(i), str(reason)) for i, reason in told["skipped"]]
        if told["checksum"] != _checksum(place / IMAGES, skipped, told["readers"]):
            raise ValueError
        if told["readers"] not in ("", readers()):
            return None
        return np.load(place / IMAGES, mmap_mode="r"), skipped
    except (FileNotFoundError, ValueError, TypeError, KeyError, EOFError):
        _say(f"the decoded photos at {place} are damaged: decoding them again")
        return None


def _checksum(file: Path, skipped: Skipped, readers: str) -> str:
    """Of all that the cache says. CRC-32 of each block is enough against accidents, and several times as fast as
    SHA-256: 10 GB take about 2 seconds on two cores."""

    def block(start: int) -> int:
        with file.open("rb") as stream:
            stream.seek(start)
            return zlib.crc32(stream.read(BLOCK))

    with ThreadPoolExecutor(cores()) as pool:
        sums = list(pool.map(block, range(0, file.stat().st_size, BLOCK)))
    return hashlib.sha256(json.dumps([skipped, readers, file.stat().st_size, sums]).encode()).hexdigest()


def _make(place: Path, files: Sequence[File], p: Preprocessing, about: str) -> None:
    try:
        with cache.making(place.parent) as work:
            _fill_folder(work, files, p, about)
            try:
                cache.finish(work, place)
            except OSError:  # another run was faster
                if not place.is_dir():
                    raise
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise NeoclassicError(
            f"the cache at {place.parent} has no room ({error.strerror}): set NEOCLASSIC_CACHE"
        ) from None


def _fill_folder(work: Path, files: Sequence[File], p: Preprocessing, about: str) -> Skipped:
    """Decode into a folder: the array, what was skipped, a label. OSError where it cannot be written."""
    images = _reserved(work / IMAGES, (len(files), *p.size, p.channels))
    jobs = _run(work / IMAGES, images, files, p, about)
    images.flush()
    del images  # Windows moves no folder with a mapped file
    label = f"decoded: {about}, {len(files):,} images at {p.size[0]}×{p.size[1]}×{p.channels}"
    (work / "about.txt").write_text(label + "\n", "utf-8", "backslashreplace")
    plugged = readers() if jobs.skipped or jobs.heif else ""
    told = {"skipped": jobs.skipped, "readers": plugged, "checksum": _checksum(work / IMAGES, jobs.skipped, plugged)}
    (work / TOLD).write_text(json.dumps(told), "utf-8")
    return jobs.skipped


def _reserved(file: Path, shape: tuple[int, ...]) -> np.memmap:
    """A new array in a mapped file. OSError where the disk has no room for it: later that would be a bus error."""
    if prod(shape) > (free := shutil.disk_usage(file.parent).free):
        needs = f"{prod(shape) / 2**30:.1f} GiB are needed, {free / 2**30:.1f} are free"
        raise OSError(errno.ENOSPC, needs)
    images = open_memmap(file, "w+", np.uint8, shape)
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as stream:
            try:
                os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
            except OSError as error:  # of another kind where the file system knows no such thing
                if error.errno in FULL:
                    raise
    return images


# ── without a cache ──────────────────────────────────────────────────────────────────────────────────


def _for_this_run(files: Sequence[File], p: Preprocessing, about: str, reason: str) -> tuple[Array, Skipped]:
    """In a temporary file that is gone with the run, or where there is no place for it, in memory."""
    _say(f"{reason}: every run decodes the photos again; set NEOCLASSIC_CACHE to a folder that can be written")
    try:
        with tempfile.TemporaryDirectory(prefix="neoclassic-", ignore_cleanup_errors=True) as work:
            skipped = _fill_folder(Path(work), files, p, about)
            return np.load(Path(work) / IMAGES, mmap_mode="r"), skipped  # what is mapped outlives its name
    except OSError:
        pass
    shape = (len(files), *p.size, p.channels)
    try:
        images = np.empty(shape, np.uint8)
    except MemoryError:
        needs = f"the decoded photos need {prod(shape) / 2**30:.1f} GiB, more than the memory has"
        raise NeoclassicError(f"{needs}: set NEOCLASSIC_CACHE to a folder that can be written") from None
    return images, _run(None, images, files, p, about).skipped


@functools.cache
def _say(line: str) -> None:
    """Once in a process."""
    say(line)


# ── one photo after the other ────────────────────────────────────────────────────────────────────────


def _fill(images: Array, first: int, files: Sequence[File], p: Preprocessing) -> tuple[Skipped, bool]:
    """Decode into the rows from `first` on; which could not be read, and whether HEIF was among them."""
    skipped, heif = [], False
    for row, (path, digest) in enumerate(files, first):
        known = len(digest) == 2 * hashlib.sha256().digest_size
        try:
            content = read(path)
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


class _Jobs:
    """Chunks of photos, given to several threads one after the other, and what came of them."""

    def __init__(self, files: Sequence[File], tick: Callable[[int], object]) -> None:
        self.files, self.tick, self.at, self.lock, self.over = files, tick, 0, threading.Lock(), False
        self.skipped: Skipped = []
        self.heif = False

    def __iter__(self) -> Iterator[tuple[int, Sequence[File]]]:
        while True:
            with self.lock:
                first, self.at = self.at, self.at + CHUNK
            files = self.files[first : first + CHUNK]
            if not files or self.over:
                return
            yield first, files

    def done(self, n: int, skipped: Skipped, heif: bool) -> None:
        """Note the answer to a chunk of n. NeoclassicError for a photo that changed."""
        with self.lock:
            for i, reason in skipped:
                if reason == CHANGED:
                    raise NeoclassicError(f"{self.files[i][0]}: {CHANGED}")
                self.skipped.append((i, reason))
            self.heif |= heif
            self.tick(n)

    def stop(self) -> None:
        self.over = True


# ── several processes ────────────────────────────────────────────────────────────────────────────────


def _run(file: Path | None, images: Array, files: Sequence[File], p: Preprocessing, about: str) -> _Jobs:
    """Decode into an array, by several processes where it is a file and by threads where it is not.

    The photos that can be read are moved together at its beginning."""
    drive = functools.partial(_here, images) if file is None or len(files) <= ALONE else functools.partial(_drive, file)
    several = min(cores(), 32) if len(files) > ALONE else 1
    with tqdm(total=len(files), desc=f"decoding {about}", unit=" images", disable=None, leave=False, file=QUIET) as bar:
        jobs = _Jobs(files, bar.update)
        with ThreadPoolExecutor(several) as pool:
            try:
                for driver in [pool.submit(drive, jobs, p) for _ in range(several)]:
                    driver.result()
            finally:
                jobs.stop()
    jobs.skipped.sort()
    lost = {i for i, _ in jobs.skipped}
    for row, i in enumerate(i for i in range(len(files)) if i not in lost):
        if row != i:
            images[row] = images[i]
    return jobs


def _here(images: Array, jobs: _Jobs, p: Preprocessing) -> None:
    """Decode in this thread until there are no jobs."""
    try:
        for first, files in jobs:
            jobs.done(len(files), *_fill(images, first, files, p))
    finally:
        jobs.stop()


def _drive(file: Path, jobs: _Jobs, p: Preprocessing) -> None:
    """Give jobs to one process until there are none."""
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
                for first, files in jobs:
                    print(json.dumps([first, files]), file=process.stdin, flush=True)
                    answer = process.stdout.readline() if process.stdout else ""
                    if not answer:
                        raise BrokenPipeError
                    jobs.done(len(files), *json.loads(answer))
            finally:
                process.kill()
    except BrokenPipeError:
        raise NeoclassicError("decoding stopped: one of its processes was ended, perhaps for its memory") from None
    except OSError as error:
        raise NeoclassicError(f"decoding stopped: cannot start a process ({error.strerror or error})") from None
    finally:
        jobs.stop()


def _serve() -> None:
    file, record = json.loads(sys.stdin.readline())
    images, p = np.load(file, mmap_mode="r+"), Preprocessing.from_dict(record)
    for line in sys.stdin:
        first, files = json.loads(line)
        print(json.dumps(_fill(images, first, files, p)), flush=True)


if __name__ == "__main__":
    _serve()
