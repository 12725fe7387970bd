"""Trials: the first steps of a run, made again at other learning rates.

They start from the run's own initial weights and take its own batches, so they show what another rate would have done.
The range test raises the rate from step to step: L. Smith, "Cyclical learning rates for training neural networks",
arXiv 1506.01186, section 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neoclassic.data.dataset import batches
from neoclassic.engines import Weights
from neoclassic.engines.numpy import NumpyEngine
from neoclassic.train.feed import Feed, feed
from neoclassic.train.job import Job
from neoclassic.train.loop import AUGMENTATION

STEPS = 40  # of a trial
BATCH = 64  # images in a step of a trial, at most
FEWEST = 16  # images in a step of a trial; a network that cannot afford them is not tried
LOWEST, HIGHEST = 1e-6, 10.0  # learning rates of the range test
RANGE_STEPS = 120
BROKEN = 2.0  # times the lowest loss so far, where the range test ends
SMOOTHED = 0.8  # the share of the older losses in a smoothed one


@dataclass(frozen=True)
class Trial:
    """The losses of a few steps at one learning rate, in nats, one for each step until it was not finite."""

    rate: float
    losses: tuple[float, ...]
    steps: int

    @property
    def end(self) -> float:
        """The mean loss of the last quarter of the steps; inf if the loss was not finite before."""
        last = self.losses[-max(self.steps // 4, 1) :]
        return float(np.mean(last)) if len(self.losses) == self.steps else math.inf


@dataclass
class Steps:
    """The first steps of a run, which can be made again.

    weights  that the run starts from
    batch    images in a step
    """

    job: Job
    weights: Weights
    batch: int
    source: Feed
    engine: NumpyEngine

    @classmethod
    def of(cls, job: Job, weights: Weights, macs: int, budget: float) -> Steps | None:
        """For a run whose network takes `macs` an image; None if a step would take more than `budget` of them.

        The augmentation is that of the job's recipe.
        """
        batch = int(min(BATCH, job.recipe.batch_size, len(job.training), budget / (3 * max(macs, 1))))
        if batch < min(FEWEST, job.recipe.batch_size, len(job.training)):
            return None
        engine = NumpyEngine(job.tree, job.shape, weights)
        return cls(job, weights, batch, feed(engine, job.training, job.preprocessing, job.recipe), engine)

    def run(self, rates: Sequence[float]) -> Iterator[float]:
        """Start again, and make a step at each of the rates; yield the loss before each, until it is not finite."""
        recipe, engine = self.job.recipe, self.engine
        engine.load(self.weights)
        engine.optimize(recipe.optimizer, self.job.plan[0])
        engine.metrics()
        order: list[Any] = []
        for step, rate in enumerate(rates):
            if not order:
                order = batches(len(self.job.training), self.batch, recipe.seed, step, alone=self.job.lone_image)
            rng = np.random.default_rng([recipe.seed, 0, step, AUGMENTATION])
            with np.errstate(all="ignore"):  # a rate that is too high overflows
                engine.step(*self.source.batch(order.pop(0), rng), rate, step)
            loss = engine.metrics().loss
            if not math.isfinite(loss):
                return
            yield loss

    def trial(self, rate: float) -> Trial:
        """Train for a few steps at one rate."""
        return Trial(rate, tuple(self.run([rate] * STEPS)), STEPS)


@dataclass(frozen=True)
class RateRange:
    """What the range test found: the loss at each rate, as it was and smoothed, and the rates that it recommends.

    best     a tenth of `highest`, which leaves room for the steps after the first; None if the loss never falls
    highest  the rate at which the smoothed loss is lowest: above it, training gets worse
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    best: float | None
    highest: float | None


def rate_range(steps: Steps, tick: Callable[[], object] = lambda: None) -> RateRange:
    """Raise the rate from 1e-6 to 10 by the same factor in each step, until the loss breaks out."""
    rates = np.geomspace(LOWEST, HIGHEST, RANGE_STEPS).tolist()
    losses: list[float] = []
    smoothed: list[float] = []
    average = 0.0
    for loss in steps.run(rates):
        average = SMOOTHED * average + (1 - SMOOTHED) * loss
        losses.append(loss)
        smoothed.append(average / (1 - SMOOTHED ** len(losses)))  # as Adam corrects its averages
        tick()
        if smoothed[-1] > BROKEN * min(smoothed):
            break
    return RateRange(tuple(rates[: len(losses)]), tuple(losses), tuple(smoothed), *_recommended(rates, smoothed))


def _recommended(rates: Sequence[float], smoothed: Sequence[float]) -> tuple[float | None, float | None]:
    """The best and the highest rate; see `RateRange`."""
    if len(smoothed) < 3:
        return None, None
    lowest = int(np.argmin(smoothed))
    if smoothed[lowest] > 0.98 * smoothed[0] or lowest < 2:
        return None, None
    return float(f"{rates[lowest] / 10:.1g}"), float(f"{rates[lowest]:.1g}")
