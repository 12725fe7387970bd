"""The pictures in a run's folder. They are drawn after the result is saved, and nothing depends on them."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from neoclassic.base.errors import Ornament
from neoclassic.insight import curves
from neoclassic.model.artefact import Model
from neoclassic.train.job import Job
from neoclassic.train.listener import Listener
from neoclassic.train.run import Epoch, Result, Run, State

RARELY = 20  # drawing the curves while training may take at most a twentieth of the time


class Pictures(Listener):
    """Draws `curves.png` and `confusion.png` when a run ends, and the curves during training if that is wanted.

    Of a run that was finished before, it draws only the pictures that are missing. One that cannot be drawn is a
    warning.
    """

    def __init__(self, while_training: bool = False) -> None:
        self.while_training = while_training
        self.run: Run | None = None
        self.network = ""
        self.drawn = self.drawing = 0.0  # time.monotonic() of the last curves, and the seconds that they took

    def started(self, job: Job, run: Run, state: State) -> None:
        self.run, self.network = run, job.recipe.network

    def epoch_ended(self, log: Sequence[Epoch], best: bool, last: bool) -> None:
        started = time.monotonic()
        if self.run and self.while_training and not last and started - self.drawn > RARELY * self.drawing:
            _draw_curves(self.run, self.network, log)
            self.drawn = time.monotonic()
            self.drawing = self.drawn - started

    def finished(self, run: Run, result: Result) -> None:
        test = result.evaluation
        title = f"{result.network} on {result.data}: {test['accuracy']:.2%} of {test['n']:,} test images"
        trained_now = self.run is not None
        if trained_now or not (run.folder / "curves.png").exists():
            _draw_curves(run, title)
        if trained_now or not (run.folder / "confusion.png").exists():
            with Ornament("confusion.png"):
                classes = Model.load(run.model).classes
                curves.draw_confusion(np.array(test["confusion"]), classes, run.folder / "confusion.png", title)


def _draw_curves(run: Run, title: str, log: Sequence[Epoch] | None = None) -> None:
    """Draw `curves.png`, from the run's own log unless one is given."""
    with Ornament("curves.png"):
        curves.draw_log([vars(row) for row in log or run.log()], run.folder / "curves.png", title)
