"""Photos for which there is no room decoded: each is decoded from its file whenever it is needed."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from neoclassic.base.errors import NeoclassicError
from neoclassic.base.machine import cores
from neoclassic.data.decode_workers import MAX_WORKERS, File, Jobs, Worker, share
from neoclassic.data.on_demand import OnDemand
from neoclassic.data.preprocessing import Array, Preprocessing

TOGETHER = 4 << 30  # bytes that are decoded into memory at once, at most
FEW = 8  # photos that are decoded in this process


class Undecoded(OnDemand):
    """Photos, decoded by processes that start with the first reading and end with this object.

    At most two batches are in memory: one that is read, and the one after it, which `expect` announces. NeoclassicError
    for a photo that is not what it was when the folder was read first.
    """

    def __init__(self, files: Sequence[File], p: Preprocessing) -> None:
        super().__init__((len(files), *p.size, p.channels))
        self.files, self.preprocessing = files, p
        self._decoding = threading.Lock()
        self._crew: list[Worker] = []
        self._ahead: tuple[Array, Future[Array]] | None = None
        self._thread = ThreadPoolExecutor(1)

    def read(self, indices: Array) -> Array:
        ahead, self._ahead = self._ahead, None
        if ahead and np.array_equal(ahead[0], indices):
            return ahead[1].result()
        return self._decoded(indices)

    def subset(self, indices: Array) -> Undecoded:
        return Undecoded([self.files[i] for i in indices], self.preprocessing)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if self.nbytes > TOGETHER:
            needs = f"{len(self):,} decoded photos would take {self.nbytes / 2**30:.1f} GiB of memory"
            raise NeoclassicError(f"{needs}: set NEOCLASSIC_CACHE to a folder with room for them")
        return super().__array__()

    def expect(self, indices: Array) -> None:
        self._ahead = indices, self._thread.submit(self._decoded, indices)

    def _decoded(self, indices: Array) -> Array:
        images = np.empty((len(indices), *self.shape[1:]), np.uint8)
        with self._decoding:
            if len(indices) > FEW and not self._crew:
                for _ in range(min(cores(), MAX_WORKERS)):
                    self._crew.append(Worker())
                    weakref.finalize(self, self._crew[-1].end)
            jobs = Jobs([self.files[i] for i in indices], lambda _: None)
            share(jobs, images, self.preprocessing, self._crew if len(indices) > FEW else ())
        for i, reason in jobs.skipped:  # it could be decoded before
            raise NeoclassicError(f"{jobs.files[i][0]}: {reason}")
        return images
