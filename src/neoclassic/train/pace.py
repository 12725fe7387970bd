"""How long a run on the NumPy engine will take, measured before it starts.

PyTorch needs no such measurement: it is what a user would be told to install.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable

import numpy as np

from neoclassic import engines
from neoclassic.base.errors import install
from neoclassic.base.machine import cores
from neoclassic.engines import Weights
from neoclassic.measure import Shape, measure
from neoclassic.train import head
from neoclassic.train.recipe import Recipe
from neoclassic.tree import Node

SLOW = 600.0  # seconds from which a run is called slow
LEAST = 10**11  # multiply-accumulates below which no run is slow, so that nothing is measured
ENOUGH = 2.0  # seconds: a first measurement that takes longer is not repeated


def advice(recipe: Recipe, tree: Node, shape: Shape, weights: Weights, images: int, trained: int) -> str | None:
    """What to tell before the NumPy engine trains slowly; None if it takes less than ten minutes.

    images: in the training set. trained: images that are trained on in all epochs together.
    """
    looked_at = images * len(head.views(recipe.augmentation, images)) if recipe.head or recipe.head_first else 0
    trained = 0 if recipe.head else trained
    if measure(tree, shape).macs * (3 * trained + looked_at) < LEAST:  # a backward pass costs two forward passes
        return None
    engine, n = engines.create("numpy", tree, shape, weights), recipe.batch_size

    def seen(n: int) -> float:
        batch = np.zeros((n, *shape), np.float32)
        return _seconds(lambda: engine.logits(batch))

    def stepped(n: int) -> float:
        batch, labels = np.zeros((n, *shape), np.float32), np.zeros(n, np.int64)
        return _seconds(lambda: engine.gradients(batch, labels))

    forward = _of_batch(seen, n) / n if looked_at else 0.0
    both = _of_batch(stepped, n) / n if trained else 0.0
    if (total := looked_at * forward + trained * both) < SLOW:
        return None
    pace = f"trains {recipe.network} on {_few(1 / both)}" if trained else f"sees {_few(1 / forward)}"
    faster = f"install PyTorch, which is much faster ({install('torch')})"
    if importlib.util.find_spec("torch") is not None:
        faster = "the torch engine is installed, and much faster"
    return f"the NumPy engine {pace} images a second here, so this run will take about {_long(total)}: {faster}"


def _of_batch(seconds: Callable[[int], float], batch: int) -> float:
    """The time that a batch takes, from the times of two smaller ones: a part of it is the same for any batch."""
    few = min(max(cores(), 2), batch)
    more = min(4 * few, batch)
    short = seconds(few)
    if more == few:
        return short
    return short + (batch - few) * max(seconds(more) - short, 0.0) / (more - few)


def _seconds(work: Callable[[], object]) -> float:
    """The time that some work takes: the shorter of two times, unless the first is long."""
    times: list[float] = []
    while len(times) < 2 and sum(times) < ENOUGH:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def _few(rate: float) -> str:
    """A rate in two digits."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _long(seconds: float) -> str:
    """A duration in its largest unit."""
    for unit, length in (("days", 86400), ("hours", 3600)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds / 60:.0f} minutes"
