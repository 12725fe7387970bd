"""Engines for several batches side by side, each on some of the cores.

Threads that compute one batch together wait for the one that was interrupted, by the event loop for example; threads
that compute a batch each do not. With small networks and a busy server, that saves up to a fifth of the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from queue import SimpleQueue
from typing import Self

import numpy as np
from threadpoolctl import threadpool_limits

from neoclassic.base.machine import cores
from neoclassic.engines import Engine
from neoclassic.engines.contract import Array
from neoclassic.measure import measure
from neoclassic.model.artefact import Model
from neoclassic.model.predict import probabilities

MOST = 4  # lanes
MEMORY = 32 << 20  # bytes of weights and of the activations of a batch, up to which an engine is repeated


class Lanes:
    """The engines, and a thread for each. Without engines, `size` is 0. They compute while the context lasts."""

    def __init__(self, engines: list[Engine]) -> None:
        self.size = len(engines)
        self._free: SimpleQueue[Engine] = SimpleQueue()
        for engine in engines:
            self._free.put(engine)
        self.threads = ThreadPoolExecutor(max(1, self.size), "lane")

    @classmethod
    def of(cls, engine: Engine, batch: int) -> Self:
        """Lanes beside an engine; none for a large network, one core, or an engine that cannot be repeated."""
        n = min(cores(), MOST)
        with_threads = getattr(engine, "with_threads", None)
        if n < 2 or with_threads is None:
            return cls([])
        memory = measure(engine.tree, engine.input).memory(batch)
        if memory.weights + memory.inference > MEMORY:
            return cls([])
        return cls([with_threads(cores() // n) for _ in range(n)])

    @contextmanager
    def running(self) -> Iterator[None]:
        """BLAS has one thread meanwhile: NumPy engines that run at the same time would not agree on the number."""
        try:
            with threadpool_limits(1, "blas") if self.size else nullcontext():
                yield
        finally:
            self.threads.shutdown(wait=False, cancel_futures=True)

    def probabilities(self, model: Model, pixels: np.ndarray) -> Array:
        """As `model.predict.probabilities`, with the engine that is free."""
        engine = self._free.get()
        try:
            return probabilities(model, engine, pixels)
        finally:
            self._free.put(engine)
